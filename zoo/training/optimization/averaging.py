"""Averages of the weights over training, which are validated, saved and scored in their place."""

import keras
import numpy as np
from keras import ops

from zoo.training.recipe import averaged_from


class Averaging(keras.callbacks.Callback):
    """Base class: puts averages into the model for validation, and the weights back after it.

    The recorder saves the model between the two, and calls `restore`.
    """

    def averages(self):
        """Return pairs of a variable and its average, or [] if there is none yet."""
        raise NotImplementedError

    def on_train_begin(self, logs=None):
        """Remember no weights yet."""
        self.trained = []

    def on_test_begin(self, logs=None):
        """Put the averages into the model."""
        pairs = self.averages()
        self.trained = [(variable, ops.convert_to_numpy(variable)) for variable, _ in pairs]
        for variable, average in pairs:
            variable.assign(average)

    def restore(self):
        """Put the weights back that are trained further."""
        for variable, value in self.trained:
            variable.assign(value)
        self.trained = []

    def state(self):
        """Return arrays by name for the checkpoint."""
        return {}

    def load(self, state):
        """Restore what `state` returned."""


class Exponential(Averaging):
    """The exponential moving average that Keras' optimizers keep of the trained weights."""

    def averages(self):
        """Return each trained variable with its average."""
        optimizer = inner(self.model.optimizer)
        averages = optimizer._model_variables_moving_average
        pairs = zip(optimizer._trainable_variables, averages, strict=True)
        return [(variable, ops.convert_to_numpy(average)) for variable, average in pairs]


class ScheduleFree(Averaging):
    """The averaged weights x of schedule-free AdamW, which trains y = beta x + (1 - beta) z.

    Defazio et al. 2024, https://arxiv.org/abs/2405.15682, Eqs. 3 to 5. z is Keras' "momentum".
    """

    def averages(self):
        """Return each trained variable with its average."""
        optimizer = inner(self.model.optimizer)
        beta, pairs = optimizer.beta_1, []
        for variable, z in zip(optimizer._trainable_variables, optimizer._momentums, strict=True):
            y, z = ops.convert_to_numpy(variable), ops.convert_to_numpy(z)
            pairs.append((variable, (y - (1 - beta) * z) / beta))
        return pairs


class Stochastic(Averaging):
    """The mean of the weights after each epoch from some epoch on.

    Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, Algorithm 1. The statistics of batch
    normalisation are computed anew for the averaged weights, from all training batches.

    Args:
        model: the `keras.Model` whose weights are averaged.
        batches: the training batches, see `datasets.pipeline.Batches.whole`.
        first: number of the first epoch that is averaged, from 0.
    """

    def __init__(self, model, batches, first):
        super().__init__()
        self.network, self.batches, self.first = model, batches, first
        self.count, self.means = 0, []

    def on_epoch_begin(self, epoch, logs=None):
        """Store the number of the epoch."""
        self.epoch = epoch

    def averages(self):
        """Take the weights of this epoch into the mean; return pairs of variable and mean."""
        if self.epoch < self.first:
            return []
        values = [ops.convert_to_numpy(v) for v in self.network.trainable_variables]
        self.count += 1
        if self.count == 1:
            self.means = values
        else:
            pairs = zip(self.means, values, strict=True)
            self.means = [mean + (value - mean) / self.count for mean, value in pairs]
        return list(zip(self.network.trainable_variables, self.means, strict=True))

    def on_test_begin(self, logs=None):
        """Put the averages into the model, and statistics of theirs into batch normalisation."""
        super().on_test_begin(logs)
        if not self.trained:
            return
        layers = normalizations(self.network)
        statistics = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
        self.trained += [(v, ops.convert_to_numpy(v)) for v in statistics]
        recompute(self.network, layers, self.batches)

    def state(self):
        """Return the mean, and the number of epochs in it."""
        return {"count": np.int64(self.count), **{f"m{i}": m for i, m in enumerate(self.means)}}

    def load(self, state):
        """Restore the mean."""
        self.count = int(state["count"])
        size = len(self.network.trainable_variables) if self.count else 0
        self.means = [state[f"m{i}"] for i in range(size)]


def normalizations(model):
    """Return the batch normalisations of a model that are trained, those of inner models too."""
    kind = keras.layers.BatchNormalization
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, kind) and layer.trainable
    ]


def recompute(model, layers, batches):
    """Set the statistics of batch normalisations to the mean over all batches.

    Args:
        model: the `keras.Model` that the layers are in.
        layers: of the class `keras.layers.BatchNormalization`.
        batches: with a method `whole` that yields (x, y).
    """
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    try:
        for i, (x, _) in enumerate(batches.whole()):
            for layer in layers:
                layer.momentum = i / (i + 1)
            model(x, training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def inner(optimizer):
    """Return the optimizer inside one that scales the loss, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averaging(recipe, model, batches, epochs):
    """Return the averaging of a recipe, or None.

    Args:
        recipe: see `zoo.training.recipe`.
        model: the `keras.Model` that is trained.
        batches: the training batches.
        epochs: number of epochs.
    """
    if recipe["ema"]:
        return Exponential()
    if recipe["optimizer"] == "schedule_free_adamw":
        return ScheduleFree()
    if recipe["swa"]:
        return Stochastic(model, batches, averaged_from(recipe, epochs))
    return None
