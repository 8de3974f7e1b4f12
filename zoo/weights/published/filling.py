"""Fill a model with the arrays of a file, each in its place by name: all of them, or none.

The two layouts are PyTorch's, kernels (out, in, height, width) and flat maps (channels, height,
width), and Keras', which is ours. A convolution's bias in front of our batch normalisation, where
ours has none, is subtracted from the moving mean: it has the same effect.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from zoo.weights.records import trouble

SHOWN = 3  # names in a message
NORMS = (layers.BatchNormalization, layers.LayerNormalization)
NORM = {  # PyTorch's name of each variable of a normalisation
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
COUNTERS = "num_batches_tracked"  # of PyTorch's normalisations, without effect


class Place(NamedTuple):
    """Where a variable comes from: the name of an array, and a function to the variable's layout.

    The function returns an array of the variable's size, or raises a `ValueError`.
    """

    variable: keras.Variable
    name: str
    arrange: Callable


class Content(NamedTuple):
    """What a file of published weights has, and where it goes.

    Attributes:
        arrays: by name.
        count: of classes.
        options: of the builder, as the file's authors had them.
        task_options: of image classification, likewise.
        labels: the names of the classes, or None.
        places: model to the `Place` of each weight.
        unused: model to the names of arrays that it does not need.
    """

    arrays: dict
    count: int
    options: dict
    task_options: dict
    labels: list | None
    places: Callable
    unused: Callable


def remedy(options):
    """Return what to do where a file does not fit a model of these options."""
    given = " ".join(f"--set {key}={value}" for key, value in options.items())
    if given:
        return f"Check {given}, and that the file is complete"
    return "Give the options of the model that it was saved from, such as --set depth=18"


def fill(model, arrays, places, path, unused=(), options=()):
    """Set all weights of a model.

    Args:
        model: a `keras.Model`.
        arrays: a dictionary by the names of the file.
        places: the `Place` of each weight of the model.
        path: of the file, for messages.
        unused: names of arrays that are not needed.
        options: of the model's builder that the user gave, for messages.

    Raises:
        ValueError: if an array is missing, left over, or of another shape.
    """
    needed = {place.name for place in places}
    folded = {norm: name for norm, name in biases(model, places).items() if name in arrays}
    missing = sorted(needed - arrays.keys())
    surplus = sorted(arrays.keys() - needed - {*folded.values()} - {*unused})
    if missing or surplus:
        parts = [f"it lacks {listed(missing)}"] if missing else []
        parts += [f"{model.name} has no place for {listed(surplus)}"] if surplus else []
        raise trouble(path, "; ".join(parts), remedy(dict(options)))
    means = {norm: model.get_layer(norm).moving_mean for norm in folded}
    checked = [*places, *(Place(means[norm], name, np.asarray) for norm, name in folded.items())]
    values = [arranged(place, arrays[place.name], path, options) for place in checked]
    for place, value in zip(checked, values, strict=True):  # the means are set before
        mean = place.name in folded.values()
        variable = place.variable
        variable.assign(ops.convert_to_numpy(variable) - value if mean else value)


def arranged(place, array, path, options=()):
    """Return an array in the layout of its variable, or raise a `ValueError`."""
    shape = tuple(place.variable.shape)
    if not np.isfinite(array).all():
        raise trouble(path, f"its {place.name} has values that are not finite", "Copy it again")
    try:
        value = place.arrange(array)
        if value.shape == shape:
            return value
        ours = f", {value.shape} in Keras' order" if value.shape != array.shape else ""
    except ValueError:
        ours = ""
    why = f"its {place.name} has the shape {array.shape}{ours}, and the model has {shape}"
    raise trouble(path, why, remedy(dict(options)))


def listed(names):
    """Return names for a message: a few, and how many more there are."""
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def biases(model, places):
    """Return the names that biases of convolutions without one would have, by the layer behind.

    That is a batch normalisation, called as the convolution with "_norm" for "_conv", or behind it.
    """
    known = {layer.name for layer in model.layers if isinstance(layer, layers.BatchNormalization)}
    names = {id(variable): name for variable, name, _ in places}
    results = {}
    for layer in model.layers:
        if getattr(layer, "use_bias", True) or not hasattr(layer, "kernel"):
            continue
        norm = f"{layer.name.removesuffix('_conv')}_norm"
        if norm in known:
            results[norm] = re.sub("(weight|kernel)$", "bias", names[id(layer.kernel)])
    return results


def from_keras(model, names):
    """Return the `Place` of each weight in arrays "layer/variable" of Keras.

    Args:
        model: a `keras.Model`.
        names: the name there of each of its layers with weights.
    """
    return [
        Place(variable, f"{names[layer.name]}/{variable.name}", np.asarray)
        for layer in model.layers
        for variable in layer.weights
    ]


def from_torch(model, names):
    """Return the `Place` of each weight in arrays "layer.variable" of PyTorch.

    Args:
        model: a `keras.Model`.
        names: the name there of each of its layers with weights.
    """
    weighted = [layer for layer in model.layers if layer.weights]
    return [place for layer in weighted for place in places(layer, names[layer.name])]


def places(layer, name):
    """Yield the `Place`s of a layer in PyTorch's arrays."""
    if isinstance(layer, layers.MultiHeadAttention):
        yield from attention(layer, name)
    elif isinstance(layer, NORMS):
        for variable in layer.weights:
            yield Place(variable, f"{name}.{NORM[variable.name]}", np.asarray)
    elif hasattr(layer, "kernel"):
        yield Place(layer.kernel, f"{name}.weight", kernel_of(layer))
        if layer.use_bias:
            yield Place(layer.bias, f"{name}.bias", np.asarray)
    else:  # of a ViT: the tokens, which are in no layer there
        yield Place(layer.token, "cls_token", np.asarray)
        yield Place(layer.positions, "pos_embed", np.asarray)


def kernel_of(layer):
    """Return the function from PyTorch's kernel to that of a layer."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return lambda array: array.transpose(2, 3, 0, 1)
    if isinstance(layer, layers.Dense) and (maps := flattened(layer)):
        height, width, channels = maps

        def flat(array):  # (units, C H W), or a convolution's (units, C, H, W)
            array = array.reshape(len(array), channels, height, width)
            return array.transpose(2, 3, 1, 0).reshape(-1, len(array))

        return flat
    if isinstance(layer, layers.Dense):
        return lambda array: array.reshape(len(array), -1).T
    return lambda array: array.transpose(2, 3, 1, 0)


def flattened(layer):
    """Return the shape (H, W, C) of the maps that a dense layer gets flattened, or None."""
    before = layer.input._keras_history.operation
    return before.input.shape[1:] if isinstance(before, layers.Flatten) else None


def attention(layer, name):
    """Yield the `Place`s of self-attention, whose three projections are in one array there."""
    heads, size = layer.num_heads, layer.key_dim

    def part(i, shape):
        def take(array):  # (3 h d, D) or (3 h d,)
            parts = np.split(array, 3)
            if parts[i].shape[0] != heads * size:
                raise ValueError
            return parts[i].T.reshape(shape)

        return take

    variables = {"/".join(variable.path.split("/")[-2:]): variable for variable in layer.weights}
    for i, projection in enumerate(("query", "key", "value")):
        kernel = variables[f"{projection}/kernel"]
        yield Place(kernel, f"{name}.qkv.weight", part(i, kernel.shape))
        yield Place(variables[f"{projection}/bias"], f"{name}.qkv.bias", part(i, (heads, size)))
    kernel = variables["attention_output/kernel"]
    yield Place(kernel, f"{name}.proj.weight", lambda array: array.T.reshape(kernel.shape))
    yield Place(variables["attention_output/bias"], f"{name}.proj.bias", np.asarray)
