"""Differencing: a network forecasts changes of a series, and the model around it returns levels.

The inverse is exact and part of the model, so loss, scores, export and ensembles use levels only.
"""

import keras
from keras import ops

register = keras.saving.register_keras_serializable("zoo")
CENTERS = ("none", "last", "mean")


class Differencing(keras.layers.Layer):
    """Base class of both directions.

    Args:
        order: d, how often each step's predecessor is subtracted.
        season: s, steps of a season.
        seasonal: D, how often the same step of the season before is subtracted.
        center: what of the differences is subtracted from them: "none", their "last", their "mean".
    """

    def __init__(self, order=0, season=0, seasonal=0, center="none", **kwargs):
        super().__init__(**kwargs)
        if center not in CENTERS:
            raise ValueError(f"center is {center!r}: give one of {', '.join(CENTERS)}")
        if min(order, season, seasonal) < 0 or seasonal and season < 2:
            raise ValueError(f"order {order}, season {season}, seasonal {seasonal}: give a season")
        self.order, self.season, self.seasonal, self.center = order, season, seasonal, center

    @property
    def lags(self):
        """How far back each subtraction reaches, in order."""
        return [self.season] * self.seasonal + [1] * self.order

    def origin(self, differences):
        """Return what is subtracted from differences (B, T, K), (B, 1, K)."""
        if self.center == "last":
            return differences[:, -1:]
        if self.center == "mean":
            return ops.mean(differences, axis=1, keepdims=True)
        return ops.zeros_like(differences[:, -1:])

    def stages(self, x):
        """Return a series (B, T, K) before, between and after its subtractions, a list."""
        stages = [x]
        for lag in self.lags:
            stages.append(stages[-1][:, lag:] - stages[-1][:, :-lag])
        return stages

    def get_config(self):
        """Return the arguments."""
        arguments = {key: getattr(self, key) for key in ("order", "season", "seasonal", "center")}
        return {**super().get_config(), **arguments}


@register
class Difference(Differencing):
    """Levels (B, T, F) to differences (B, T - d - s D, F)."""

    def call(self, x):
        """Return the differences."""
        differences = self.stages(x)[-1]
        return differences - self.origin(differences)

    def compute_output_shape(self, input_shape):
        """Return the shape without the steps that have nothing to be subtracted from them."""
        batch, steps, features = input_shape
        return (batch, None if steps is None else steps - sum(self.lags), features)


@register
class Integrate(Differencing):
    """Forecast differences (B, H, K), and the levels before them (B, T, F), to levels.

    Called on a list of both; the first K of the F features are the targets.
    """

    def call(self, inputs):
        """Return levels (B, H, K)."""
        y, x = inputs
        *befores, last = self.stages(x[..., : y.shape[-1]])
        y = y + self.origin(last)
        for before, lag in zip(befores[::-1], self.lags[::-1], strict=True):
            y = self.summed(y, before[:, -lag:])
        return y

    def summed(self, y, before):
        """Add to each step of (B, H, K) the step a lag before it, with the (B, lag, K) before."""
        lag, steps, values = before.shape[1], y.shape[1], y.shape[2]
        rounds = -(-steps // lag)
        y = ops.pad(y, ((0, 0), (0, rounds * lag - steps), (0, 0)))
        y = ops.cumsum(ops.reshape(y, (-1, rounds, lag, values)), axis=1) + before[:, None]
        return ops.reshape(y, (-1, rounds * lag, values))[:, :steps]

    def undo(self, levels, x):
        """Return the differences (B, H, K) that would have given levels (B, H, K)."""
        x = x[..., : levels.shape[-1]]
        differences = self.stages(ops.concatenate([x, levels], axis=1))[-1]
        return differences[:, -levels.shape[1] :] - self.origin(self.stages(x)[-1])

    def compute_output_shape(self, input_shapes):
        """Return the shape of the forecast."""
        return input_shapes[0]


def around(core, **settings):
    """Return the model from levels to levels around one from differences to differences.

    Args:
        core: a `keras.Model` from (B, T, F) to (B, H, K).
        settings: arguments of `Differencing`; without any, the model stays as it is.
    """
    difference, integrate = (kind(**settings) for kind in (Difference, Integrate))
    if not difference.lags and difference.center == "none":
        return core
    steps, features = core.inputs[0].shape[1:]
    steps = None if steps is None else steps + sum(difference.lags)
    series = keras.Input((steps, features), name="series")
    levels = integrate([core(difference(series)), series])
    return type(core)(series, levels, name=f"{core.name}_of_differences")
