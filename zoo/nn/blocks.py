"""Functions from tensor to tensor that three or more model files use."""

import math

import keras
from keras import layers

from zoo.nn.layers import PADDING, Dropout, MeanOfSteps, Patches, RowNormalization, StepReshape

# Keras' default of 0.99 leaves the statistics of a short training half way to their start.
MOMENTUM = 0.9
# Of Darknet's normalisation on a GPU, where its published weights were trained; Keras' is 1e-3.
EPSILON = 1e-5


def dense_norm(x, units, name):
    """Apply Dense, batch normalisation and ReLU to the last axis: (..., C) to (..., units)."""
    x = layers.Dense(units, name=f"{name}_dense")(x)
    x = RowNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)


def leaky_conv(x, channels, size, name, *, strides=1, batch_norm=True):
    """Apply a convolution, batch normalisation if wished, and leaky ReLU, as Darknet does.

    Strided ones pad all four sides, where Keras' "same" leaves out two of an even size.
    """
    if strides > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        channels,
        size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        use_bias=not batch_norm,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    if batch_norm:
        norm = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_norm")
        x = norm(x)
    return layers.LeakyReLU(0.1, name=name)(x)


def series(input_shape, masked=False, patch=1):
    """Return the input for series and what a network sees of it.

    Args:
        input_shape: (T, F), T steps of F values; T may be None where `patch` is 1.
        masked: hide steps all of whose values are `zoo.nn.layers.PADDING` from the network.
        patch: steps that are seen at once, side by side.

    Returns:
        Two tensors (B, T, F), of which the second has ⌈T / patch⌉ steps of patch · F values.

    Raises:
        ValueError: if there are no such patches.
    """
    inputs = x = keras.Input(input_shape, name="series")
    if patch < 1 or (patch > 1 and input_shape[0] is None):
        raise ValueError(f"patch is {patch} steps of {input_shape[0]}: give 1")
    if patch > 1:
        x = Patches(patch, masked, dtype="float32", name="patches")(x)
    elif masked:  # in float32: to bfloat16, all from -32,640 to -32,896 is one number
        x = layers.Masking(PADDING, dtype="float32", name="mask")(x)
    return inputs, x


def recurrent(x, make, depth, *, top=None, dropout=0.0, bidirectional=False, steps="last"):
    """Apply recurrent layers in a stack, dropout between them as in `torch.nn.LSTM`.

    Args:
        x: series (B, T, F), masked or not.
        make: function of `return_sequences` and `name` that returns a recurrent layer.
        depth: how many layers.
        top: makes the last layer, if not `make`.
        dropout: rate between two layers; none follows the last.
        bidirectional: give each layer a second network, which reads backwards, and put the states
            of both together.
        steps: "last" for the state behind the last step that is no padding, of the network that
            reads backwards the state behind the first; "mean" for the mean over all such steps;
            "all" for the states of all steps.

    Returns:
        (B, units), or (B, T, units) for all steps; twice as many units for both directions.

    Raises:
        ValueError: if there are no such steps, or no layers.
    """
    if steps not in ("last", "mean", "all"):
        raise ValueError(f"steps is last, mean or all, not {steps!r}")
    if depth < 1:
        raise ValueError(f"a recurrent network has 1 layer or more, not {depth}")
    for i in range(1, depth + 1):
        if i > 1:
            x = Dropout(dropout, name=f"layer_{i - 1}_dropout")(x)
        chosen = top if top and i == depth else make
        layer = chosen(return_sequences=i < depth or steps != "last", name=f"layer_{i}")
        if bidirectional:
            layer = layers.Bidirectional(layer, name=f"layer_{i}")
        x = layer(x)
    if steps == "mean":
        x = MeanOfSteps(dtype="float32", name="mean")(x)
    return x


def answer(x, output_shape):
    """Apply a linear head to the last axis: (..., C) to float32 (..., *output_shape)."""
    x = layers.Dense(math.prod(output_shape), dtype="float32", name="head")(x)
    return shaped(x, output_shape)


def shaped(x, output_shape):
    """Give the last axis a shape: (..., its product) to float32 (..., *output_shape)."""
    if len(output_shape) == 1:
        return x
    steps = [-1 if size is None else size for size in x.shape[1:-1]]
    return StepReshape((*steps, *output_shape), dtype="float32", name="answer")(x)
