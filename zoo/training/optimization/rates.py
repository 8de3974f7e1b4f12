"""Schedules of the learning rate, by the step of training or by the scores of the epochs."""

import math

import keras
from keras import ops


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Base class: a linear warm-up from 0, then a factor on the rate; subclasses give `factor`.

    Goyal et al. 2017, https://arxiv.org/abs/1706.02677, Sec. 2.2, warm up like this.

    Args:
        rate: learning rate after the warm-up.
        steps: number of steps of the whole training, batches times epochs.
        epoch: number of steps of an epoch.
        warmup: number of steps in which the rate grows.
        held: number of steps after which the rate stays as it is; None for never.
        **options: of `factor`.
    """

    def __init__(self, rate, steps, epoch, warmup=0, held=None, **options):
        super().__init__()
        self.rate, self.steps, self.epoch = rate, steps, epoch
        self.warmup, self.held, self.options = min(warmup, steps), held, options

    def __call__(self, step):
        """Return the learning rate of a step, an integer from 0."""
        step = ops.cast(step, "float32")
        if self.held is not None:
            step = ops.minimum(step, float(self.held))
        rate = self.rate * self.factor(
            ops.maximum(step - self.warmup, 0.0), self.steps - self.warmup, **self.options
        )
        if not self.warmup:
            return rate
        return ops.where(step < self.warmup, self.rate * (step + 1) / self.warmup, rate)

    def factor(self, step, steps):
        """Return the factor on the rate.

        Args:
            step: from 0, after the warm-up; a float32 scalar.
            steps: number of steps after the warm-up.
        """
        return ops.ones_like(step)

    def get_config(self):
        """Return the arguments."""
        names = ("rate", "steps", "epoch", "warmup", "held")
        return {**{name: getattr(self, name) for name in names}, **self.options}


class Constant(Schedule):
    """The same rate at all steps."""


class Cosine(Schedule):
    """Half a cosine; Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, Eq. 5."""

    def factor(self, step, steps, end=0.01):
        """Return the factor, `end` at the last step."""
        return end + (1 - end) / 2 * (1 + ops.cos(math.pi / max(steps, 1) * step))


class Linear(Schedule):
    """A line, then constant; Goodfellow, Bengio & Courville 2016, Eq. 8.14."""

    def factor(self, step, steps, end=0.01, until=1.0):
        """Return the factor, `end` from a share `until` of the steps on."""
        share = ops.minimum(step / max(until * steps, 1), 1.0)
        return (1 - share) + share * end


class Step(Schedule):
    """A division at some steps; He et al. 2015, https://arxiv.org/abs/1512.03385, Sec. 4.2."""

    def factor(self, step, steps, factor=0.1, at=(0.5, 0.75)):
        """Return the power of `factor` by the number of shares in `at` that are passed."""
        passed = sum(ops.cast(step >= math.ceil(share * steps), "float32") for share in at)
        return ops.power(factor, passed)


class Exponential(Schedule):
    """The same factor after every epoch."""

    def factor(self, step, steps, factor=0.95):
        """Return the power of `factor` by the number of finished epochs."""
        return ops.power(factor, ops.floor(step / self.epoch))


class Cycles(keras.optimizers.schedules.LearningRateSchedule):
    """Cosine annealing from a learning rate to 0, with a restart after every cycle.

    Huang et al. 2017, https://arxiv.org/abs/1704.00109, Eq. 2. Keras' CosineDecayRestarts, once
    compiled, misses the first step of some cycles, because it rounds a quotient.

    Args:
        rate: learning rate at the first step of every cycle.
        steps: number of steps per cycle.
    """

    def __init__(self, rate, steps):
        super().__init__()
        self.rate, self.steps = rate, steps

    def __call__(self, step):
        """Return the learning rate of a step, an integer from 0."""
        position = ops.cast(ops.mod(step, self.steps), "float32")
        return self.rate / 2 * (1 + ops.cos(math.pi / self.steps * position))

    def get_config(self):
        """Return the arguments."""
        return {"rate": self.rate, "steps": self.steps}


SCHEDULES = {
    "constant": Constant,
    "cosine": Cosine,
    "linear": Linear,
    "step": Step,
    "exponential": Exponential,
}


class Plateau(keras.callbacks.Callback):
    """Multiplies the learning rate after epochs without a better score, as ReduceLROnPlateau.

    The rate follows from the scores of the epochs alone, so that a resumed training has it, too.

    Args:
        recorder: the `zoo.training.recorder.Recorder` of the scores.
        rate: learning rate of the first epoch.
        start: number of the epoch, from 0, from which scores count.
        factor: of the rate.
        patience: number of epochs without a better score.
    """

    def __init__(self, recorder, rate, start=0, factor=0.1, patience=5):
        super().__init__()
        self.recorder, self.rate, self.start = recorder, rate, start
        self.factor, self.patience = factor, patience

    def on_epoch_begin(self, epoch, logs=None):
        """Set the rate."""
        drops = reductions(self.recorder.scores[self.start :], self.patience)
        self.model.optimizer.learning_rate = self.rate * self.factor**drops


def reductions(scores, patience):
    """Return how often `patience` epochs in a row had no better score than all before them."""
    drops, waited, best = 0, 0, None
    for score in scores:
        if best is None or score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited == patience:
            drops, waited = drops + 1, 0
    return drops
