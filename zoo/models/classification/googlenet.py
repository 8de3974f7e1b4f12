"""GoogLeNet: each Inception module looks at several scales at once, behind cheap 1x1 convolutions.

Szegedy et al., CVPR 2015, https://arxiv.org/abs/1409.4842. Table 1, Fig. 2 (b) and Fig. 3; batch
normalisation as in Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167.
Departures: batch normalisation, which the paper did not have, in place of biases and of local
response normalisation (`batch_norm=False` is the paper's); with it the largest kernel of a module
is 3x3, as in the widely used program whose weights are published (`kernel=5` is the paper's).
Maps of odd sizes are pooled to half rounded up, there rounded down: images of 224 pixels have none.
No auxiliary heads unless asked for: normalised gradients reach all layers, and the heads double the
parameters. They average over 4 x 4 windows of equal size, as there; the paper's are 5x5, 3 apart.
"""

import keras
from keras import layers

from zoo.nn.auxiliary import supervised
from zoo.nn.blocks import conv_norm, padded_conv, standardized
from zoo.nn.layers import LocalResponseNormalization
from zoo.registry import register

MODULES = {  # Table 1: 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, projection of the pooling
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
AUXILIARY, WEIGHT = ("4a", "4d"), 0.3  # Sec. 5: the modules with a head, and its loss's weight


@register(
    "image_classification",
    paper=dict(input_shape=(224, 224, 3), num_classes=1000),
    parameters=6_624_904,
    test=dict(depth=10, width=0.125, dropout=0.0),
)
def GoogLeNet(
    input_shape,
    num_classes,
    *,
    depth=22,
    width=1.0,
    dropout=0.4,
    batch_norm=True,
    kernel=3,
    epsilon=1e-3,
    auxiliary=False,
    auxiliary_dropout=0.7,
    pixel_mean=None,
    pixel_std=None,
    name="googlenet",
):
    """Build the classifier of Table 1.

    Args:
        input_shape: (H, W, C); H and W may be None.
        num_classes: K, the number of classes.
        depth: layers with weights on a path, 4 and two per Inception module; 22 has all nine, and
            less leaves the last ones out.
        width: factor on every channel count.
        dropout: rate in front of the head.
        batch_norm: normalise behind every convolution; without, they have a bias, and local
            response normalisation follows the first two stages.
        kernel: the largest of a module, 3 or 5.
        epsilon: of batch normalisation, added to the variance.
        auxiliary: train with the auxiliary heads of Sec. 5 on modules 4a and 4d, if others follow
            them. Predictions and exported files do not use them.
        auxiliary_dropout: rate in front of their logits.
        pixel_mean: of each channel, from 0 to 1, subtracted first, as published weights need it.
        pixel_std: standard deviation of each channel, by which it is then divided.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if there is no such depth, or auxiliary heads do not fit depth or image size.
    """
    image = keras.Input(input_shape, name="image")
    style = dict(width=width, batch_norm=batch_norm, epsilon=epsilon)
    x = standardized(image, pixel_mean, pixel_std)
    maps = features(x, depth=depth, kernel=kernel, **style)
    x = layers.GlobalAveragePooling2D(name="pool")(maps[max(maps)])
    x = layers.Dropout(dropout, name="dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    heads = []
    if auxiliary:
        modules, trunk = list(MODULES)[: (depth - 4) // 2], keras.Model(image, logits)
        places = [module for module in AUXILIARY if module in modules[:-1]]
        if not places:
            raise ValueError(f"auxiliary heads need a depth of 12 or more, not {depth}")
        heads = [
            head(trunk.get_layer(place).output, num_classes, place, auxiliary_dropout, **style)
            for place in places
        ]
    return supervised(image, logits, heads, WEIGHT, name)


def head(x, num_classes, place, dropout, *, width, batch_norm, epsilon):
    """Return the logits of an auxiliary head: maps (B, h, w, C) to float32 (B, K)."""
    if None in x.shape[1:3] or min(x.shape[1:3]) < 2:
        size = " x ".join("?" if side is None else str(side) for side in x.shape[1:3])
        raise ValueError(
            "auxiliary heads need images of a fixed height and width above 16 pixels: the map of "
            f"module {place} is {size}"
        )
    name = f"auxiliary_{place}"
    x = layers.AdaptiveAveragePooling2D(4, name=f"{name}_pool")(x)
    style = dict(width=width, batch_norm=batch_norm, epsilon=epsilon)
    x = conv(x, 128, 1, f"{name}_reduce", **style)
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(int(1024 * width), activation="relu", name=f"{name}_hidden")(x)
    x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return layers.Dense(num_classes, dtype="float32", name=name)(x)


def features(x, *, depth=22, width=1.0, batch_norm=True, kernel=3, epsilon=1e-3):
    """Apply all modules to images (B, H, W, C), with the options of `GoogLeNet`.

    Returns:
        The last map before each halving, and the last of all, in a dictionary by its stride 2, 4,
        8, 16, 32: a tensor (B, ⌈H / stride⌉, ⌈W / stride⌉, channels).

    Raises:
        ValueError: as `GoogLeNet`.
    """
    if depth not in range(6, 23, 2):
        raise ValueError(f"depth is 4 and 2 for each of 1 to 9 modules, not {depth!r}")

    style = dict(width=width, batch_norm=batch_norm, epsilon=epsilon)

    def apply(x, channels, size, name, strides=1):
        return conv(x, channels, size, name, strides=strides, **style)

    def halved(x, name, size=3):
        return layers.MaxPooling2D(size, 2, padding="same", name=name)(x)

    def normalized(x, name):
        return x if batch_norm else LocalResponseNormalization(name=name)(x)

    maps = {2: apply(x, 64, 7, "conv1", strides=2)}
    x = normalized(halved(maps[2], "pool1"), "norm1")
    x = apply(x, 64, 1, "conv2_reduce")
    maps[4] = normalized(apply(x, 192, 3, "conv2"), "norm2")
    x, stride = halved(maps[4], "pool2"), 8
    for name, (one, reduce3, three, reduce5, five, pooled) in list(MODULES.items())[
        : (depth - 4) // 2
    ]:
        if name in ("4a", "5a"):  # the second of these pools 2 x 2 in the widely used program
            size = 2 if batch_norm and name == "5a" else 3
            x, stride = halved(x, f"pool{int(name[0]) - 1}", size), stride * 2
        a = apply(x, one, 1, f"{name}_1x1")
        b = apply(apply(x, reduce3, 1, f"{name}_3x3_reduce"), three, 3, f"{name}_3x3")
        c = apply(apply(x, reduce5, 1, f"{name}_5x5_reduce"), five, kernel, f"{name}_5x5")
        d = layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
        d = apply(d, pooled, 1, f"{name}_pool_project")
        x = layers.Concatenate(name=name)([a, b, c, d])
        maps[stride] = x
    return maps


def conv(x, channels, size, name, *, width, batch_norm, epsilon, strides=1):
    """Apply a convolution, batch normalisation unless switched off, and ReLU."""
    channels = int(channels * width)
    if batch_norm:
        return conv_norm(x, channels, size, name, strides=strides, epsilon=epsilon)
    return padded_conv(x, channels, size, name, strides=strides, activation="relu")
