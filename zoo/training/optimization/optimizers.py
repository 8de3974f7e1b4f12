"""The optimizer of a recipe, and the penalties and constraints that it trains under."""

import keras
from keras import ops

from zoo.training import recipe
from zoo.training.optimization import rates


def optimizer(settings, variables, steps, epochs, rate):
    """Return the optimizer of a training.

    Args:
        settings: of the command: recipe, seed, snapshots.
        variables: those that are trained.
        steps: number of batches of an epoch.
        epochs: number of epochs.
        rate: the learning rate.
    """
    chosen = settings["recipe"]
    name, _, _ = recipe.OPTIMIZERS[chosen["optimizer"]]
    kind = getattr(keras.optimizers, name)
    if chosen["gradient_noise"]:
        kind = noisy(kind, chosen["gradient_noise"], settings["seed"])
    options = dict(recipe.OPTIMIZERS[chosen["optimizer"]][1], **chosen["optimizer_options"])
    if chosen["weight_decay"] is not None:
        options["weight_decay"] = chosen["weight_decay"]
        if name == "Muon":
            options["adam_weight_decay"] = chosen["weight_decay"]
    if chosen["ema"]:
        options |= dict(use_ema=True, ema_momentum=chosen["ema"])
    if chosen["accumulate"] > 1:
        options["gradient_accumulation_steps"] = chosen["accumulate"]
    built = kind(
        scheduled(settings, steps, epochs, rate),
        clipvalue=chosen["clip_value"],
        global_clipnorm=chosen["clip_norm"],
        name=name.lower(),
        **options,
    )
    built.exclude_from_weight_decay([v for v in variables if len(v.shape) < 2])
    return built


def scheduled(settings, steps, epochs, rate):
    """Return the learning rate by steps: a schedule, or the rate itself if scores decide it."""
    chosen = settings["recipe"]
    if settings.get("snapshots"):
        return rates.Cycles(rate, steps * epochs // settings["snapshots"])
    if chosen["schedule"] == "plateau":
        return rate
    held = recipe.averaged_from(chosen, epochs) * steps if chosen["swa"] else None
    warmup = round(chosen["warmup"] * steps)
    kind = rates.SCHEDULES[chosen["schedule"]]
    return kind(rate, steps * epochs, steps, warmup, held, **chosen["schedule_options"])


def noisy(kind, variance, seed):
    """Return an optimizer class that adds Gaussian noise to gradients.

    Neelakantan et al. 2015, https://arxiv.org/abs/1511.06807, Sec. 3: of the variance
    eta / (1 + t)^0.55 at step t.

    Args:
        kind: a class of `keras.optimizers`.
        variance: eta.
        seed: an integer.
    """

    class Noisy(kind):
        def build(self, variables):
            super().build(variables)
            self.noise = keras.random.SeedGenerator(seed)
            self._track_variable(self.noise.state)  # for the checkpoint, and for JAX

        def update_step(self, gradient, variable, learning_rate):
            step = ops.cast(self.iterations, gradient.dtype)
            deviation = ops.sqrt(variance / ops.power(1 + step, 0.55))
            noise = keras.random.normal(gradient.shape, dtype=gradient.dtype, seed=self.noise)
            super().update_step(gradient + deviation * noise, variable, learning_rate)

    Noisy.__name__ = kind.__name__
    return Noisy


def regularize(model, l1=0.0, l2=0.0, max_norm=None):
    """Set penalties and constraints on the kernels of a model, which are not saved with it.

    A kernel that has a penalty or a constraint of its own keeps it.

    Args:
        model: the `keras.Model` that is trained.
        l1: factor of the sum of absolute values, added to the loss.
        l2: factor of the sum of squares.
        max_norm: largest Euclidean norm of the weights into a unit; Srivastava et al. 2014,
            https://jmlr.org/papers/v15/srivastava14a.html, Sec. 5.1.
    """
    for variable in model.trainable_variables:
        if len(variable.shape) < 2:
            continue
        if (l1 or l2) and variable.regularizer is None:
            variable.regularizer = keras.regularizers.L1L2(l1, l2)
        if max_norm and variable.constraint is None:
            axes = list(range(len(variable.shape) - 1))
            variable.constraint = keras.constraints.MaxNorm(max_norm, axes)
