"""VGG: nothing but 3x3 convolutions, two to four between poolings, up to 19 layers deep.

Simonyan & Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556. Table 1, all six columns;
layer names and order follow `keras.applications`, whose weights load by layer order.
Departures: pooling rounds odd sizes up, as the authors' framework does; weights are initialized as
in He et al. 2015, where the paper initializes deep networks from a trained shallow one; with batch
normalisation, which the paper does not use, convolutions have no bias.
"""

import keras
from keras import layers, ops

from zoo.nn.blocks import MOMENTUM, standardized
from zoo.nn.layers import LocalResponseNormalization
from zoo.registry import register

CONVOLUTIONS = {  # per block, by the number of layers with weights
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CHANNELS = (64, 128, 256, 512, 512)
MEAN = (103.939, 116.779, 123.68)  # ImageNet's blue, green and red, from 0 to 255


@register(
    "image_classification",
    paper=dict(input_shape=(224, 224, 3), num_classes=1000),
    parameters=138_357_544,
    test=dict(depth=11, width=0.0625, dropout=0.0),
)
def VGG(
    input_shape,
    num_classes,
    *,
    depth=16,
    width=1.0,
    dropout=0.5,
    batch_norm=False,
    epsilon=1e-5,
    lrn=False,
    pointwise=False,
    pool=0,
    pixel_mean=None,
    pixel_std=None,
    name="vgg",
):
    """Build the classifier of Table 1.

    Args:
        input_shape: (H, W, C), H and W fixed, because of the dense layers.
        num_classes: K, the number of classes.
        depth: number of layers with weights: 11, 13, 16 or 19.
        width: factor on every channel count.
        dropout: dropout rate after both hidden dense layers.
        batch_norm: apply batch normalisation after every convolution.
        epsilon: of batch normalisation, added to the variance.
        lrn: local response normalisation after the first convolution, as in column A-LRN.
        pointwise: the last convolution of blocks of three is 1x1, as in column C.
        pool: pixels a side to which maps are averaged in front of the dense layers, so that images
            of any size suit published weights (7); 0 leaves maps as they are.
        pixel_mean: of each channel, from 0 to 1, subtracted first, as published weights need it.
        pixel_std: standard deviation of each channel, by which it is then divided.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if the depth is not supported.
    """
    image = keras.Input(input_shape, name="image")
    style = dict(batch_norm=batch_norm, epsilon=epsilon, lrn=lrn, pointwise=pointwise)
    x = standardized(image, pixel_mean, pixel_std)
    x = features(x, depth=depth, width=width, **style)[16]
    x = layers.MaxPooling2D(2, padding="same", name="block5_pool")(x)
    if pool:
        x = layers.AdaptiveAveragePooling2D(pool, name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for hidden in ("fc1", "fc2"):
        units, initializer = int(4096 * width), "he_normal"
        x = layers.Dense(units, activation="relu", kernel_initializer=initializer, name=hidden)(x)
        x = layers.Dropout(dropout, name=f"{hidden}_dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(x, *, depth=16, width=1.0, batch_norm=False, epsilon=1e-5, lrn=False, pointwise=False):
    """Apply all convolutions to images (B, H, W, C), with the options of `VGG`.

    Returns:
        A dictionary from stride (1, 2, 4, 8, 16) to the last map before each pooling: a tensor
        (B, ⌈H / stride⌉, ⌈W / stride⌉, channels).

    Raises:
        ValueError: if the depth is not supported.
    """
    if depth not in CONVOLUTIONS:
        raise ValueError(f"VGG has depth {', '.join(map(str, CONVOLUTIONS))}, not {depth!r}")
    maps = {}
    for block, count in enumerate(CONVOLUTIONS[depth], start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, padding="same", name=f"block{block - 1}_pool")(x)
        for i in range(1, count + 1):
            channels = int(CHANNELS[block - 1] * width)
            size = 1 if pointwise and i == count == 3 else 3
            x = conv(x, channels, size, f"block{block}_conv{i}", batch_norm, epsilon)
            if lrn and block == 1:
                x = LocalResponseNormalization(name="block1_lrn")(x)
        maps[2 ** (block - 1)] = x
    return maps


def conv(x, channels, size, name, batch_norm, epsilon):
    """Apply a convolution, optional batch normalisation, and ReLU."""
    x = layers.Conv2D(
        channels,
        size,
        padding="same",
        use_bias=not batch_norm,
        activation=None if batch_norm else "relu",
        kernel_initializer="he_normal",
        name=name,
    )(x)
    if batch_norm:
        norm = dict(momentum=MOMENTUM, epsilon=epsilon, name=f"{name}_norm")
        x = layers.BatchNormalization(**norm)(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def imagenet(x):
    """Convert RGB images in [0, 1] to the published weights' input: BGR, 0 to 255, zero mean."""
    x = ops.flip(x, axis=-1)
    offset = [-mean for mean in MEAN]
    return layers.Rescaling(255.0, offset, dtype="float32", name="imagenet")(x)


def applications(depth=16, *, top=False):
    """Return the model of `keras.applications` with ImageNet weights, downloaded once.

    Args:
        depth: 16 or 19.
        top: include the dense layers, which are 90 % of the 0.5 GB.

    Raises:
        ValueError: if there are no weights for this depth.
    """
    builders = {16: keras.applications.VGG16, 19: keras.applications.VGG19}
    if depth not in builders:
        raise ValueError(f"there are ImageNet weights for VGG of depth 16 and 19, not {depth!r}")
    return builders[depth](include_top=top, weights="imagenet")
