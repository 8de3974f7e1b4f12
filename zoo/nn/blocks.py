"""Functions from tensors to tensors that three or more model files use."""

import math

import keras
from keras import layers

from zoo.nn.layers import (
    PADDING,
    AttachMask,
    Dropout,
    MeanOfSteps,
    PaddingMask,
    Patches,
    RowNormalization,
    StepReshape,
)

# With Keras' default of 0.99 the statistics of a short training stay close to their initial values.
MOMENTUM = 0.9
# Epsilon of Darknet's normalisation on a GPU, as for its published weights; Keras' is 1e-3.
EPSILON = 1e-5


def dense_norm(x, units, name, epsilon=1e-3):
    """Apply Dense, batch normalisation and ReLU to the last axis: (..., C) to (..., units)."""
    x = layers.Dense(units, name=f"{name}_dense")(x)
    x = RowNormalization(momentum=MOMENTUM, epsilon=epsilon, name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)


def standardized(image, mean, std):
    """Subtract the mean of each channel and divide by its standard deviation, as published.

    Args:
        image: (B, H, W, C) in [0, 1].
        mean: C numbers, or None for 0.
        std: C numbers, or None for 1.

    Raises:
        ValueError: if there are not as many numbers as channels, or a deviation is not positive.
    """
    if mean is None and std is None:
        return image
    count = image.shape[-1]
    mean, std = mean or (0.0,) * count, std or (1.0,) * count
    for name, values in (("pixel_mean", mean), ("pixel_std", std)):
        if not isinstance(values, list | tuple) or len(values) != count:
            raise ValueError(f"{name} is {values!r}, and the images have {count} channels")
    if min(std) <= 0:
        raise ValueError(f"pixel_std is {std!r}, and must be above 0")
    scale, offset = [1 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
    return layers.Rescaling(scale, offset, dtype="float32", name="standardized")(image)


def padded_conv(x, channels, size, name, *, strides=1, groups=1, same=False, **options):
    """Apply a convolution that pads all sides by ⌊size / 2⌋, as PyTorch's and Darknet's do.

    Keras' "same" pads an even input of a strided convolution on two sides.

    Args:
        x: maps (B, H, W, C).
        channels: of the output; without effect if depthwise.
        size: of the kernel, odd.
        name: of the layers.
        strides: of the convolution.
        groups: of channels that are convolved apart; 0 for each channel by itself (depthwise).
        same: pad as Keras' "same" does.
        options: of the layer.
    """
    explicit = strides > 1 and size > 1 and not same
    if explicit:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    options |= dict(strides=strides, padding="valid" if strides > 1 and not same else "same")
    options |= dict(name=f"{name}_conv")
    if groups:
        options |= dict(groups=groups, kernel_initializer="he_normal")
        return layers.Conv2D(channels, size, **options)(x)
    return layers.DepthwiseConv2D(size, depthwise_initializer="he_normal", **options)(x)


def leaky_conv(x, channels, size, name, *, strides=1, batch_norm=True, epsilon=EPSILON):
    """Apply a convolution, optional batch normalisation, and leaky ReLU, as Darknet does."""
    x = padded_conv(x, channels, size, name, strides=strides, use_bias=not batch_norm)
    if batch_norm:
        norm = layers.BatchNormalization(momentum=MOMENTUM, epsilon=epsilon, name=f"{name}_norm")
        x = norm(x)
    return layers.LeakyReLU(0.1, name=name)(x)


def conv_norm(
    x,
    channels,
    size,
    name,
    *,
    strides=1,
    dilation=1,
    groups=1,
    same=False,
    activation="relu",
    epsilon=EPSILON,
):
    """Apply `padded_conv` without bias, batch normalisation and an activation.

    Args:
        x: maps (B, H, W, C).
        channels: of the output.
        size: of the kernel, odd.
        name: of the layers.
        strides: of the convolution.
        dilation: pixels between the inputs of an output, instead of strides.
        groups: of channels that are convolved apart; 0 for each channel by itself (depthwise).
        same: pad as Keras' "same" does.
        activation: a name that Keras knows, or None.
        epsilon: added to the variance.
    """
    options = dict(strides=strides, dilation_rate=dilation, groups=groups, same=same)
    x = padded_conv(x, channels, size, name, use_bias=False, **options)
    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=epsilon, name=f"{name}_norm")(x)
    return layers.Activation(activation, name=name)(x) if activation else x


def series(input_shape, masked=False, patch=1):
    """Return the input for series, its preprocessed tensor, and the mask.

    Args:
        input_shape: (T, F), T steps of F values; T may be None where `patch` is 1.
        masked: mask steps whose values are all `zoo.nn.layers.PADDING`.
        patch: number of consecutive steps that are concatenated to one.

    Returns:
        The input (B, T, F), a tensor (B, ⌈T / patch⌉, patch · F), and its mask (B, ⌈T / patch⌉),
        False for padding, or None if not `masked`.

    Raises:
        ValueError: if the series cannot be divided into such patches.
    """
    inputs = x = keras.Input(input_shape, name="series")
    if patch < 1 or (patch > 1 and input_shape[0] is None):
        raise ValueError(f"patch is {patch}, and series have {input_shape[0]} steps: use patch=1")
    if patch > 1:
        x = Patches(patch, masked, dtype="float32", name="patches")(x)
    elif masked:  # in float32: bfloat16 rounds -32,640 to -32,896 to one number
        x = layers.Masking(PADDING, dtype="float32", name="mask")(x)
    mask = PaddingMask(patch, dtype="float32", name="padding_mask")(inputs) if masked else None
    return inputs, x, mask


def recurrent(
    x, make, depth, *, mask=None, top=None, dropout=0.0, bidirectional=False, steps="last"
):
    """Apply a stack of recurrent layers, with dropout between them as in `torch.nn.LSTM`.

    The mask is passed to every layer, because layers of Keras 3.16 no longer propagate it.

    Args:
        x: series (B, T, F).
        make: function of `return_sequences` and `name` that returns a recurrent layer.
        depth: number of layers.
        mask: (B, T), False for padding; None if there is none.
        top: function that returns the last layer, if not `make`.
        dropout: dropout rate between layers; none after the last.
        bidirectional: read the series in both directions and concatenate the states.
        steps: "last" for the state after the last step that is not padding (backward: after the
            first step); "mean" for the mean over all such steps; "all" for the states of all
            steps.

    Returns:
        (B, units), or (B, T, units) for all steps; twice as many units if bidirectional.

    Raises:
        ValueError: if `steps` is not supported, or there are no layers.
    """
    if steps not in ("last", "mean", "all"):
        raise ValueError(f"steps is last, mean or all, not {steps!r}")
    if depth < 1:
        raise ValueError(f"a recurrent network has 1 layer or more, not {depth}")
    for i in range(1, depth + 1):
        if i > 1:
            x = Dropout(dropout, name=f"layer_{i - 1}_dropout")(x)
        factory = top if top and i == depth else make
        layer = factory(return_sequences=i < depth or steps != "last", name=f"layer_{i}")
        if bidirectional:
            layer = layers.Bidirectional(layer, name=f"layer_{i}")
        x = layer(x, mask=mask)
    if steps == "mean":
        x = MeanOfSteps(dtype="float32", name="mean")(x, mask=mask)
    elif steps == "all" and mask is not None:
        x = AttachMask(dtype="float32", name="all_steps")(x, mask=mask)
    return x


def answer(x, output_shape):
    """Apply a linear head to the last axis: (..., C) to float32 (..., *output_shape)."""
    x = layers.Dense(math.prod(output_shape), dtype="float32", name="head")(x)
    return shaped(x, output_shape)


def shaped(x, output_shape):
    """Reshape the last axis: (..., product of `output_shape`) to float32 (..., *output_shape)."""
    if len(output_shape) == 1:
        return x
    steps = [-1 if size is None else size for size in x.shape[1:-1]]
    return StepReshape((*steps, *output_shape), dtype="float32", name="answer")(x)
