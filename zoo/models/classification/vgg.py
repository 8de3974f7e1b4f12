"""VGG: nothing but 3x3 convolutions, two to four between poolings, up to 19 layers deep.

Simonyan & Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556. Table 1, columns A, B, D and E;
names and order of the layers are those of `keras.applications`, whose weights load by place.
Departures: pooling rounds up, as the authors' framework does, where an odd size meets it; weights
start as He et al. 2015 draw them, where the paper starts deep networks from a trained shallow one;
with batch normalisation, which the paper did not have, convolutions have no bias.
"""

import keras
from keras import layers, ops

from zoo.nn.blocks import MOMENTUM
from zoo.registry import register

CONVOLUTIONS = {  # of each block, by the number of layers that have weights
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CHANNELS = (64, 128, 256, 512, 512)
MEAN = (103.939, 116.779, 123.68)  # of ImageNet's blue, green and red, of 255


@register(
    "image_classification",
    paper=dict(input_shape=(224, 224, 3), num_classes=1000),
    parameters=138_357_544,
    test=dict(depth=11, width=0.0625, dropout=0.0),
)
def VGG(
    input_shape, num_classes, *, depth=16, width=1.0, dropout=0.5, batch_norm=False, name="vgg"
):
    """Build the classifier of Table 1.

    Args:
        input_shape: (H, W, C), both sizes fixed: the first dense layer sees every place apart.
        num_classes: K, the number of classes.
        depth: how many layers have weights: 11, 13, 16 or 19.
        width: factor on every channel count.
        dropout: rate behind both hidden dense layers.
        batch_norm: normalise behind every convolution.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if there is no such depth.
    """
    image = keras.Input(input_shape, name="image")
    x = features(image, depth=depth, width=width, batch_norm=batch_norm)[16]
    x = layers.MaxPooling2D(2, padding="same", name="block5_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for hidden in ("fc1", "fc2"):
        units, start = int(4096 * width), "he_normal"
        x = layers.Dense(units, activation="relu", kernel_initializer=start, name=hidden)(x)
        x = layers.Dropout(dropout, name=f"{hidden}_dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(x, *, depth=16, width=1.0, batch_norm=False):
    """Apply all convolutions to images (B, H, W, C), with the options of `VGG`.

    Returns:
        The last map before each pooling, in a dictionary by its stride 1, 2, 4, 8, 16: a tensor
        (B, ⌈H / stride⌉, ⌈W / stride⌉, channels).

    Raises:
        ValueError: if there is no such depth.
    """
    if depth not in CONVOLUTIONS:
        raise ValueError(f"VGG has depth {', '.join(map(str, CONVOLUTIONS))}, not {depth!r}")
    maps = {}
    for block, count in enumerate(CONVOLUTIONS[depth], start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, padding="same", name=f"block{block - 1}_pool")(x)
        for i in range(1, count + 1):
            channels = int(CHANNELS[block - 1] * width)
            x = conv(x, channels, f"block{block}_conv{i}", batch_norm)
        maps[2 ** (block - 1)] = x
    return maps


def conv(x, channels, name, batch_norm):
    """Apply a 3x3 convolution, batch normalisation if wished, and ReLU."""
    x = layers.Conv2D(
        channels,
        3,
        padding="same",
        use_bias=not batch_norm,
        activation=None if batch_norm else "relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)
    if batch_norm:
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def imagenet(x):
    """Turn RGB images in [0, 1] into what the published weights expect: BGR of 255, mean 0."""
    x = ops.flip(x, axis=-1)
    offset = [-mean for mean in MEAN]
    return layers.Rescaling(255.0, offset, dtype="float32", name="imagenet")(x)


def applications(depth=16, *, top=False):
    """Return the model of `keras.applications` with its weights of ImageNet, fetched once.

    Args:
        depth: 16 or 19.
        top: with the dense layers; these are nine tenths of the half gigabyte.

    Raises:
        ValueError: if there are no weights for the depth.
    """
    builders = {16: keras.applications.VGG16, 19: keras.applications.VGG19}
    if depth not in builders:
        raise ValueError(f"there are ImageNet weights for VGG of depth 16 and 19, not {depth!r}")
    return builders[depth](include_top=top, weights="imagenet")
