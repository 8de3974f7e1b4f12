"""Autoregression: the next value is a weighted sum of the last ones, found by least squares.

Box & Jenkins 1970, "Time Series Analysis: Forecasting and Control", Sec. 3.2 (AR(p) with an
intercept); several steps at once as in Zeng, Chen, Zhang & Xu, AAAI 2023,
https://arxiv.org/abs/2205.13504, Sec. 4.
Departures: each step of the horizon has weights of its own, so that errors do not add up; the same
for all values of a step, since a weight each would be as many times as hard to learn.
"""

import keras
import numpy as np
from keras import layers

from zoo.registry import register

COEFFICIENTS = "coefficients"  # name of the layer that has all weights


@register(
    "forecasting",
    paper=dict(input_shape=(12, 1), output_shape=(1, 1)),
    parameters=13,
    test=dict(),
)
def Autoregression(input_shape, output_shape, *, order=0, name="autoregression"):
    """Build the linear model x_t = c + a_1 x_{t-1} + ... + a_p x_{t-p}.

    Args:
        input_shape: (T, F), T steps of F values each.
        output_shape: (H, K), H steps ahead of the first K values.
        order: p, the number of last steps that count; 0 for all.
        name: name of the model.

    Returns:
        A `LeastSquares` from series (B, T, F) to float32 values (B, H, K). Its layer
        "coefficients" has the kernel (p, H), a_p first, and the bias (H,).

    Raises:
        ValueError: if a series has fewer steps than the order, or fewer values than are asked for.
    """
    (steps, features), (horizon, values) = input_shape, output_shape
    order = order or steps
    if steps is None or order is None or order > steps:
        raise ValueError(f"order {order} needs as many steps, and series have {steps}")
    if values > features:
        raise ValueError(f"{values} values cannot be forecast from {features}")
    series = keras.Input(input_shape, name="series")
    x = layers.Permute((2, 1), name="values_first")(series[:, -order:, :values])  # (B, K, p)
    x = layers.Dense(horizon, dtype="float32", name=COEFFICIENTS)(x)
    x = layers.Permute((2, 1), dtype="float32", name="steps_first")(x)  # (B, H, K)
    return LeastSquares(series, x, name=name)


@keras.saving.register_keras_serializable("zoo")
class LeastSquares(keras.Model):
    """A functional model, linear in its weights, for which `fit` solves in one pass.

    It may be of differences, see `zoo.tasks.forecasting.differencing`; the squares are then those
    of differences.
    """

    one_shot = True  # more epochs would find the same

    def fit(self, x, y=None, *, validation_data=None, callbacks=(), **options):
        """Solve for the weights that have the least squared error on all examples.

        Args:
            x: series (n, T, F); or batches, of which `whole()`, if there is one, yields all.
            y: what follows (n, H, K), if x are series.
            validation_data: what `evaluate` takes: batches, or a pair of arrays.
            callbacks: they see one epoch.
            options: of `keras.Model.fit`, without effect.

        Returns:
            A `keras.callbacks.History` of one epoch.
        """
        history = keras.callbacks.History()
        called = keras.callbacks.CallbackList([*callbacks, history], model=self, epochs=1)
        self.stop_training = False
        called.on_train_begin()
        called.on_epoch_begin(0)
        self.solve([(x, y)] if y is not None else getattr(x, "whole", lambda: x)())
        quiet = dict(verbose=0, return_dict=True)
        logs = self.evaluate(x, y, **quiet)
        if validation_data is not None:
            pair = validation_data if isinstance(validation_data, tuple) else (validation_data,)
            logs |= {f"val_{k}": value for k, value in self.evaluate(*pair, **quiet).items()}
        called.on_epoch_end(0, logs)
        called.on_train_end(logs)
        return history

    def solve(self, batches):
        """Set the weights that have the least squared error on batches of (x, y)."""
        layer = next(one for one in self._flatten_layers() if one.name == COEFFICIENTS)
        order, horizon = layer.kernel.shape
        count, mean, spread = 0, 0.0, 0.0  # of lags and what follows; spread: sum of squares
        for x, y in batches:
            for one in self.layers:
                if hasattr(one, "undo"):  # it adds up differences
                    differences = one.stages(x)[-1]
                    y, x = one.undo(y, x), differences - one.origin(differences)
            values = y.shape[-1]
            lags = np.asarray(x, np.float64)[:, -order:, :values].swapaxes(1, 2)  # (B, K, p)
            y = np.asarray(y, np.float64).swapaxes(1, 2)
            rows = np.concatenate([lags, y], axis=-1).reshape(-1, order + horizon)
            # Squares about the mean, batch by batch (Chan, Golub & LeVeque 1983, Eq. 2.1): about
            # zero, a level far above the spread would leave nothing of the differences.
            own, total = rows.mean(axis=0), count + len(rows)
            shift = own - mean
            spread = spread + (rows - own)[:, :order].T @ (rows - own)
            spread = spread + np.outer(shift[:order], shift) * (count * len(rows) / total)
            count, mean = total, mean + shift * (len(rows) / total)
        kernel = np.linalg.lstsq(spread[:, :order], spread[:, order:], rcond=None)[0]
        kernel = kernel.astype(np.float32)
        bias = mean[order:] - mean[:order] @ kernel  # of the rounded weights
        layer.set_weights([kernel, bias.astype(np.float32)])
