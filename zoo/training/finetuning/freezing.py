"""Fine-tuning: train only what is new, all of it later, or low-rank updates of what was given.

A frozen batch normalisation keeps its statistics; it also does once the rest is trained again, as
statistics of a small data set would undo what the weights were trained for.
"""

import math

import keras

from zoo.training.finetuning import transfer

SLOWER = 0.1  # factor on the learning rate when all is trained after `--unfreeze-after`


def freeze(model, transferred, all_may=False):
    """Freeze the layers all of whose weights were transferred.

    Args:
        model: a `keras.Model`.
        transferred: paths of weights, see `zoo.training.finetuning.transfer.transfer`.
        all_may: whether every layer may be frozen.

    Raises:
        ValueError: every layer would be frozen.
    """
    paths, layers = set(transferred), complete_layers(model)
    for layer in layers:
        names = {transfer.path(model, variable) for variable in layer.weights}
        layer.trainable = not names <= paths
    if not model.trainable_variables and not all_may:
        raise ValueError("all weights are transferred, so --freeze would leave none to train")


def unfreeze(model):
    """Train all layers again, except batch normalisations that are frozen."""
    for layer in complete_layers(model):
        if not isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = True


def complete_layers(model):
    """Return the layers with weights of a model and its inner models, none of them a model."""
    layers = transfer.owners(model).values()
    return list({id(layer): layer for layer in layers}.values())


def counts(model):
    """Return the numbers of parameters of a model: trained, trainable, and of all.

    All of them are Keras' `count_params`, statistics of batch normalisations included.
    """
    variables = [v for layer in model._flatten_layers() for v in layer._trainable_variables]
    sizes = [(math.prod(variable.shape), variable.trainable) for variable in variables]
    trained = sum(size for size, trained in sizes if trained)
    return trained, sum(size for size, _ in sizes), model.count_params()


def sentence(model):
    """Return how many parameters a model has, and how many are trained if some are not."""
    trained, trainable, total = counts(model)
    if trained == trainable:
        return f"{total:,} parameters"
    return f"{total:,} parameters, {trained:,} of {trainable:,} trainable ones trained"
