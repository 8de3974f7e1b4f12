"""Layers of a model by name, and which of them have kernels or maps to show."""

import keras

from zoo.registry import unknown


def named(model, name):
    """Return the layer of a name; raise a `ValueError` with similar names if there is none."""
    known = {layer.name: layer for layer in model.layers}
    if name not in known:
        raise ValueError(unknown(f"layer of {model.name}", name, known))
    return known[name]


def convolutions(model):
    """Return the layers whose weights are kernels of two-dimensional convolutions, in order."""
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return [layer for layer in model._flatten_layers(include_self=False) if is_one(layer, kinds)]


def is_one(layer, kinds):
    """Return whether a layer is a convolution, and not a transposed one."""
    return isinstance(layer, kinds) and not isinstance(layer, keras.layers.Conv2DTranspose)
