"""Autoregression: the next value is a linear function of the last ones, fitted by least squares.

Box & Jenkins 1970, "Time Series Analysis: Forecasting and Control", Sec. 3.2 (AR(p) with an
intercept); several steps at once as in Zeng, Chen, Zhang & Xu, AAAI 2023,
https://arxiv.org/abs/2205.13504, Sec. 4.
Departures: each step of the horizon has its own weights (direct forecasts), so that errors do not
accumulate; the weights are shared by all variables, which leaves fewer to estimate.
"""

import keras
import numpy as np
from keras import layers

from zoo.registry import register

COEFFICIENTS = "coefficients"  # name of the layer with all weights


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
        order: p, the number of lags; 0 for all T steps.
        name: name of the model.

    Returns:
        A `LeastSquares` from series (B, T, F) to float32 values (B, H, K). Its layer
        "coefficients" has the kernel (p, H), a_p first, and the bias (H,).

    Raises:
        ValueError: if the order is above T, or K is above F.
    """
    (steps, features), (horizon, values) = input_shape, output_shape
    order = order or steps
    if steps is None or order is None or order > steps:
        raise ValueError(f"order {order} needs series of at least {order} steps, not {steps}")
    if values > features:
        raise ValueError(f"{values} values cannot be forecast from {features}")
    series = keras.Input(input_shape, name="series")
    x = layers.Permute((2, 1), name="values_first")(series[:, -order:, :values])  # (B, K, p)
    x = layers.Dense(horizon, dtype="float32", name=COEFFICIENTS)(x)
    x = layers.Permute((2, 1), dtype="float32", name="steps_first")(x)  # (B, H, K)
    return LeastSquares(series, x, name=name)


@keras.saving.register_keras_serializable("zoo")
class LeastSquares(keras.Model):
    """A functional model, linear in its weights, which `fit` solves for in one pass.

    It may forecast differences, see `zoo.tasks.forecasting.differencing`; the squared error is then
    that of the differences.
    """

    one_shot = True  # more epochs would give the same weights

    def fit(self, x, y=None, *, validation_data=None, callbacks=(), **options):
        """Solve for the weights with the least squared error on all examples.

        Args:
            x: series (n, T, F); or batches, whose method `whole`, if any, yields all of them.
            y: targets (n, H, K), if x are series.
            validation_data: batches, or a pair of arrays (x, y).
            callbacks: called for one epoch.
            options: other options of `keras.Model.fit`, ignored.

        Returns:
            A `keras.callbacks.History` of one epoch.
        """
        history = keras.callbacks.History()
        callback_list = keras.callbacks.CallbackList([*callbacks, history], model=self, epochs=1)
        self.stop_training = False
        callback_list.on_train_begin()
        callback_list.on_epoch_begin(0)
        self.solve([(x, y)] if y is not None else getattr(x, "whole", lambda: x)())
        quiet = dict(verbose=0, return_dict=True)
        logs = self.evaluate(x, y, **quiet)
        if validation_data is not None:
            pair = validation_data if isinstance(validation_data, tuple) else (validation_data,)
            logs |= {f"val_{k}": value for k, value in self.evaluate(*pair, **quiet).items()}
        callback_list.on_epoch_end(0, logs)
        callback_list.on_train_end(logs)
        return history

    def solve(self, batches):
        """Set the weights with the least squared error on batches of (x, y)."""
        layer = next(item for item in self._flatten_layers() if item.name == COEFFICIENTS)
        order, horizon = layer.kernel.shape
        count, mean, scatter = 0, 0.0, 0.0  # of lags and targets; scatter: sums of products
        for x, y in batches:
            for item in self.layers:
                if hasattr(item, "undo"):  # it sums up differences
                    differences = item.stages(x)[-1]
                    y, x = item.undo(y, x), differences - item.origin(differences)
            values = y.shape[-1]
            lags = np.asarray(x, np.float64)[:, -order:, :values].swapaxes(1, 2)  # (B, K, p)
            y = np.asarray(y, np.float64).swapaxes(1, 2)
            rows = np.concatenate([lags, y], axis=-1).reshape(-1, order + horizon)
            # Products about the mean, batch by batch (Chan, Golub & LeVeque 1983, Eq. 2.1): about
            # zero, a mean far above the standard deviation would cancel all digits.
            center, total = rows.mean(axis=0), count + len(rows)
            shift = center - mean
            scatter = scatter + (rows - center)[:, :order].T @ (rows - center)
            scatter = scatter + np.outer(shift[:order], shift) * (count * len(rows) / total)
            count, mean = total, mean + shift * (len(rows) / total)
        kernel = np.linalg.lstsq(scatter[:, :order], scatter[:, order:], rcond=None)[0]
        kernel = kernel.astype(np.float32)
        bias = mean[order:] - mean[:order] @ kernel  # for the rounded weights
        layer.set_weights([kernel, bias.astype(np.float32)])
