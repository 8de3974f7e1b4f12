"""Low-rank adaptation: transferred weights stay, and the product of two small matrices is added.

Hu et al. 2022, https://arxiv.org/abs/2106.09685, Sec. 4.1. Keras' layers do it; here they are
chosen, and merged into plain ones to save.
"""

import copy

import keras
from keras import ops

from zoo.training.finetuning import freezing


def adapt(model, rank, transferred):
    """Freeze the transferred layers of a model and add low-rank updates to their kernels.

    Args:
        model: a `keras.Model`; it is changed.
        rank: of the updates.
        transferred: paths of weights, see `zoo.training.finetuning.transfer.transfer`.

    Returns:
        A function from the changed model to a plain one with its weights merged, to save.

    Raises:
        ValueError: no transferred layer can be adapted.
    """
    config = keras.saving.serialize_keras_object(model)
    freezing.freeze(model, transferred, all_may=True)
    adapted = 0
    for layer in leaves(model):
        if hasattr(layer, "enable_lora") and layer.built and not layer.trainable:
            layer.trainable = True
            frozen = list(layer.trainable_variables)
            layer.enable_lora(rank)
            for variable in frozen:
                variable.trainable = False
            adapted += 1
    if not adapted:
        raise ValueError("--lora finds no transferred layer of the kinds that it can adapt")

    def merged(trained):
        plain = keras.saving.deserialize_keras_object(copy.deepcopy(config))  # it empties some
        for layer, target in zip(leaves(trained), leaves(plain), strict=True):
            values = {variable.name: variable for variable in own(layer)}
            for variable in own(target):
                value = values[variable.name]
                if variable.name in ("kernel", "embeddings") and "lora_kernel_a" in values:
                    update = ops.matmul(values["lora_kernel_a"], values["lora_kernel_b"])
                    value = value + layer.lora_alpha / layer.lora_rank * update
                variable.assign(value)
        return plain

    return merged


def leaves(model):
    """Return all layers inside a model, also those inside other layers, in a fixed order."""
    return list(model._flatten_layers(include_self=False))


def own(layer):
    """Return the variables of a layer without those of layers inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]
