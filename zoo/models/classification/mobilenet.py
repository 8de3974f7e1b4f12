"""MobileNetV2: blocks widen thin maps, convolve each channel alone, and make them thin again.

Sandler, Howard, Zhu, Zhmoginov & Chen, CVPR 2018, https://arxiv.org/abs/1801.04381. Table 2, with
the inverted residual of Fig. 3; channels of other widths are rounded as in the authors' program.
Departures: strided convolutions pad both sides, as the widely used programs in PyTorch do; the
authors' pads only one side of even sizes (`form="keras"`).
"""

import keras
from keras import layers

from zoo.nn.blocks import conv_norm, standardized
from zoo.registry import register

STAGES = (  # Table 2: expansion, channels, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@register(
    "image_classification",
    paper=dict(input_shape=(224, 224, 3), num_classes=1000),
    parameters=3_504_872,
    test=dict(width=0.25, depth=0.3, dropout=0.0, last=64),
)
def MobileNet(
    input_shape,
    num_classes,
    *,
    width=1.0,
    depth=1.0,
    last=1280,
    dropout=0.2,
    epsilon=1e-3,
    form="torch",
    pixel_mean=None,
    pixel_std=None,
    name="mobilenet",
):
    """Build the classifier of Table 2.

    Args:
        input_shape: (H, W, C); H and W may be None.
        num_classes: K, the number of classes.
        width: factor on every channel count, rounded to multiples of 8; the last layer grows only.
        depth: factor on the number of blocks of each stage, one at least.
        last: channels of the last convolution.
        dropout: rate in front of the head.
        epsilon: of batch normalisation, added to the variance; the authors' value.
        form: "torch" pads both sides in strided convolutions, "keras" as Keras' and the authors'.
        pixel_mean: of each channel, from 0 to 1, subtracted first, as published weights need it.
        pixel_std: standard deviation of each channel, by which it is then divided.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if there is no such form.
    """
    image = keras.Input(input_shape, name="image")
    x = standardized(image, pixel_mean, pixel_std)
    maps = features(x, width=width, depth=depth, epsilon=epsilon, form=form)
    channels = rounded(last * max(1.0, width))
    x = conv_norm(maps[32], channels, 1, "last", activation="relu6", epsilon=epsilon)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(x, *, width=1.0, depth=1.0, epsilon=1e-3, form="torch"):
    """Apply all blocks to images (B, H, W, C), with the options of `MobileNet`.

    Returns:
        The last map before each halving, and the last of all, in a dictionary by its stride 2, 4,
        8, 16, 32: a tensor (B, ⌈H / stride⌉, ⌈W / stride⌉, channels).

    Raises:
        ValueError: as `MobileNet`.
    """
    if form not in ("torch", "keras"):
        raise ValueError(f'form is "torch" or "keras", not {form!r}')
    style = dict(activation="relu6", epsilon=epsilon, same=form == "keras")
    x = conv_norm(x, rounded(32 * width), 3, "stem", strides=2, **style)
    maps, stride, number = {}, 2, 0
    for expansion, channels, count, first in STAGES:
        for i in range(max(1, round(count * depth))):
            number, strides = number + 1, first if i == 0 else 1
            stride *= strides
            x = inverted(x, expansion, rounded(channels * width), strides, f"block{number}", style)
            maps[stride] = x
    return maps


def inverted(x, expansion, channels, strides, name, style):
    """Apply an inverted residual: expand, convolve each channel, project without an activation."""
    y = x
    if expansion > 1:
        y = conv_norm(y, expansion * x.shape[-1], 1, f"{name}_expand", **style)
    y = conv_norm(y, None, 3, f"{name}_depthwise", strides=strides, groups=0, **style)
    linear = {**style, "activation": None}
    y = conv_norm(y, channels, 1, f"{name}_project", **linear)
    if strides == 1 and x.shape[-1] == channels:
        y = layers.Add(name=name)([x, y])
    return y


def rounded(channels):
    """Return the multiple of 8 that is nearest, at least 8 and no less than nine tenths."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
