"""Darknet-53: residual blocks of a 1x1 and a 3x3 convolution, and strides instead of pooling.

Redmon & Farhadi, 2018, https://arxiv.org/abs/1804.02767. Table 1; padding, the slope of leaky ReLU
and the initial weights (He et al. 2015) follow the authors' code.
Departures: depth 21, for small machines, follows Milioto, Vizzo, Behley & Stachniss, IROS 2019,
https://github.com/PRBonn/lidar-bonnetal.
"""

import keras
from keras import layers

from zoo.nn.blocks import leaky_conv
from zoo.registry import register

BLOCKS = {  # residual blocks per stage, by the number of layers with weights
    21: (1, 1, 2, 2, 1),
    53: (1, 2, 8, 8, 4),
}


@register(
    "image_classification",
    paper=dict(input_shape=(256, 256, 3), num_classes=1000),
    parameters=41_609_928,
    test=dict(depth=21, width=0.125),
)
def Darknet(
    input_shape,
    num_classes,
    *,
    depth=53,
    width=1.0,
    batch_norm=True,
    epsilon=1e-5,
    name="darknet",
):
    """Build the classifier of Table 1.

    Args:
        input_shape: (H, W, C); H and W may be None.
        num_classes: K, the number of classes.
        depth: number of layers with weights: 53 or 21.
        width: factor on every channel count.
        batch_norm: apply batch normalisation after every convolution; without it, convolutions
            have a bias.
        epsilon: of batch normalisation, added to the variance.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if the depth is not supported.
    """
    image = keras.Input(input_shape, name="image")
    style = dict(batch_norm=batch_norm, epsilon=epsilon)
    x = features(image, depth=depth, width=width, **style)[32]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(x, *, depth=53, width=1.0, batch_norm=True, epsilon=1e-5):
    """Apply all convolutions to images (B, H, W, C), with the options of `Darknet`.

    Returns:
        A dictionary from stride (1, 2, 4, 8, 16, 32) to the last feature map of that stride: a
        tensor (B, ⌈H / stride⌉, ⌈W / stride⌉, channels).

    Raises:
        ValueError: if the depth is not supported.
    """
    if depth not in BLOCKS:
        raise ValueError(f"Darknet has depth {', '.join(map(str, BLOCKS))}, not {depth!r}")
    style = dict(batch_norm=batch_norm, epsilon=epsilon)
    x = leaky_conv(x, int(32 * width), 3, "stem", **style)
    maps = {1: x}
    for stage, count in enumerate(BLOCKS[depth], start=1):
        channels, name = int(32 * width) * 2**stage, f"stage{stage}"
        x = leaky_conv(x, channels, 3, f"{name}_down", strides=2, **style)
        for i in range(1, count + 1):
            y = leaky_conv(x, channels // 2, 1, f"{name}_block{i}_1x1", **style)
            y = leaky_conv(y, channels, 3, f"{name}_block{i}_3x3", **style)
            x = layers.Add(name=f"{name}_block{i}")([x, y])
        maps[2**stage] = x
    return maps
