"""YOLOv3: three anchors per cell of three maps, each finer map combined with the coarser ones.

Redmon & Farhadi, 2018, https://arxiv.org/abs/1804.02767. Sec. 2.3, Table 1; layers and anchors of
the authors' yolov3.cfg and yolov3-tiny.cfg, whose .weights files `zoo.weights.darknet_weights`
reads.
Departures: objectness is initialized to a probability of 0.01, as in Lin et al. 2017,
https://arxiv.org/abs/1708.02002, Sec. 4.1, since nearly all anchors are background. The finer map
of the tiny version has the three smallest anchors, as in the current yolov3-tiny.cfg; its published
weights were trained with the second to the fourth: for them, pass `anchors` with the fourth twice.
"""

import math

import keras
import numpy as np
from keras import layers

from zoo.nn import encoders
from zoo.nn.blocks import leaky_conv
from zoo.nn.layers import Grid
from zoo.registry import register

PRIOR = 0.01  # initial probability of an object


@register(
    "image_detection",
    paper=dict(input_shape=(416, 416, 3), num_classes=80),
    parameters=61_949_149,
    test=dict(depth=21, width=0.05),
)
def YOLOv3(
    input_shape,
    num_classes,
    *,
    anchors=(
        (10, 13),
        (16, 30),
        (33, 23),
        (30, 61),
        (62, 45),
        (59, 119),
        (116, 90),
        (156, 198),
        (373, 326),
    ),
    width=1.0,
    epsilon=1e-5,
    backbone="darknet",
    depth=None,
    backbone_weights=None,
    name="yolov3",
):
    """Build the detector of Sec. 2 on the three coarsest maps of a classifier.

    Args:
        input_shape: (H, W, C), H and W multiples of the coarsest stride: 32 with `darknet`.
        num_classes: C, the number of classes.
        anchors: pairs (width, height) in input pixels, smallest first, the same number for each
            map, the first ones for the finest map. Or a dictionary from the number of anchors, as
            a string, to such lists; the list with three anchors per map is used.
        width: factor on every channel count, including the backbone's.
        epsilon: of batch normalisation, added to the variance, except the backbone's.
        backbone: name of a classifier with a `features` function.
        depth: depth of the backbone, if not its default; `darknet` has 53 or 21.
        backbone_weights: "imagenet", or a trained classifier of the zoo: a preset, run folder or
            file. They are fine-tuned with the rest of the network.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 raw outputs (B, A, 5 + C), see
        `zoo.tasks.boxes.coding`: maps from coarse to fine, in each the cells in row-major order,
        in each cell its anchors.

    Raises:
        ValueError: if the size is not such a multiple, or the anchors do not fit the maps.
    """
    image = keras.Input(input_shape, name="image")
    maps = encode(image, backbone, depth, backbone_weights, width)
    encoders.check_sizes(backbone, image, maps)
    if len(maps) < 3:
        strides = " and ".join(map(str, sorted(maps)))
        raise ValueError(f"{backbone} has maps of stride {strides} alone, and {name} needs three")
    maps = {stride: maps[stride] for stride in sorted(maps)[-3:]}
    channels = int(512 * width)
    return detector(image, maps, num_classes, anchors, channels, (5, 5, 5), epsilon, name)


@register(
    "image_detection",
    paper=dict(input_shape=(416, 416, 3), num_classes=80),
    parameters=8_852_366,
    test=dict(width=0.25),
)
def YOLOv3Tiny(
    input_shape,
    num_classes,
    *,
    anchors=((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)),
    width=1.0,
    epsilon=1e-5,
    name="yolov3_tiny",
):
    """Build the detector of yolov3-tiny.cfg: seven convolutions, two scales.

    Args:
        input_shape: (H, W, C), H and W multiples of 32.
        num_classes: C, the number of classes.
        anchors: as for `YOLOv3`; the published weights need ((23, 27), (37, 58), (81, 82),
            (81, 82), (135, 169), (344, 319)).
        width: factor on every channel count.
        epsilon: of batch normalisation, added to the variance.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 raw outputs (B, A, 5 + C), see
        `zoo.tasks.boxes.coding`: maps from coarse to fine, in each the cells in row-major order,
        in each cell its anchors.

    Raises:
        ValueError: if the size is not such a multiple, or the anchors do not fit the maps.
    """
    image = keras.Input(input_shape, name="image")
    maps = tiny_features(image, width, epsilon)
    return detector(image, maps, num_classes, anchors, int(256 * width), (1, 0), epsilon, name)


def detector(image, maps, num_classes, anchors, channels, convolutions, epsilon, name):
    """Add neck, heads and grid to feature maps, a dictionary by stride; see `neck`."""
    strides = sorted(maps, reverse=True)
    for size in image.shape[1:3]:
        if not size or size % strides[0]:
            raise ValueError(
                f"{name} needs images whose height and width are multiples of {strides[0]}, the "
                f"stride of its coarsest map, not {size}"
            )
    levels = shared_out(anchors, strides)
    necks = neck(maps, channels, convolutions, epsilon)
    raw = []
    for i, (stride, x) in enumerate(zip(strides, necks, strict=True)):
        wide = 2 * (channels // 2**i)
        raw.append(head(x, wide, len(levels[i]), num_classes, epsilon, f"head{stride}"))
    rows = Grid(levels, strides, dtype="float32", name="rows")(raw)
    return keras.Model(image, rows, name=name)


def encode(image, backbone, depth, weights, width):
    """Return a classifier's feature maps by stride, with trained weights if given."""
    x = encoders.prepared(image, backbone, weights, depth)
    options = {"depth": depth} if depth else {}
    maps = encoders.features(backbone, weights)(x, width=width, **options)
    if weights:
        encoders.load_weights(keras.Model(image, list(maps.values())), backbone, weights, depth)
    return maps


def tiny_features(x, width, epsilon):
    """Apply the convolutions of the tiny version; return its two coarsest maps by stride."""
    maps = {}
    for i in range(1, 8):
        x = leaky_conv(x, int(2 ** (i + 3) * width), 3, f"block{i}", epsilon=epsilon)
        if i in (5, 7):
            maps[{5: 16, 7: 32}[i]] = x
        if i < 7:
            strides = 1 if i == 6 else 2  # the sixth pads right and bottom, and keeps the size
            x = layers.MaxPooling2D(2, strides=strides, padding="same", name=f"pool{i}")(x)
    return maps


def neck(maps, channels, convolutions, epsilon):
    """Concatenate each map with the up-sampled features of the coarser ones.

    Args:
        maps: tensors (B, h, w, any) by stride, which doubles from one to the next.
        channels: of the 1x1 convolutions on the coarsest map; halved for each finer map.
        convolutions: number of convolutions for each map from coarse to fine, alternating 1x1 and
            3x3, the latter with twice the channels.
        epsilon: of batch normalisation.

    Returns:
        A list of tensors (B, h, w, C), from coarse to fine.
    """
    outputs = []
    for stride, count in zip(sorted(maps, reverse=True), convolutions, strict=True):
        x, name = maps[stride], f"neck{stride}"
        if outputs:
            above = leaky_conv(outputs[-1], channels, 1, f"{name}_up", epsilon=epsilon)
            above = layers.UpSampling2D(2, name=f"{name}_sample")(above)
            x = layers.Concatenate(name=f"{name}_join")([above, x])
        for i in range(count):
            wide, size = (channels, 1) if i % 2 == 0 else (2 * channels, 3)
            x = leaky_conv(x, wide, size, f"{name}_{i + 1}", epsilon=epsilon)
        outputs.append(x)
        channels //= 2
    return outputs


def head(x, channels, anchors, num_classes, epsilon, name):
    """Apply a 3x3 and an output convolution: (B, h, w, any) to (B, h, w, anchors * (5 + C))."""
    x = leaky_conv(x, channels, 3, name, epsilon=epsilon)
    raw = layers.Conv2D(anchors * (5 + num_classes), 1, dtype="float32", name=f"{name}_raw")
    x = raw(x)
    objectness = math.log(PRIOR / (1 - PRIOR))
    raw.bias.assign(np.tile([0.0] * 4 + [objectness] + [0.0] * num_classes, anchors))
    return x


def shared_out(anchors, strides):
    """Return the anchors of each map as lists, from coarse to fine.

    Raises:
        ValueError: if they are not pairs above 0, or not the same number for each map.
    """
    count = len(strides)
    if isinstance(anchors, dict):
        anchors = anchors.get(str(3 * count), ())
    try:
        pairs = np.array(anchors, "float64")
    except (TypeError, ValueError):
        pairs = np.zeros(0)
    size, rest = divmod(len(pairs), count) if pairs.shape[1:] == (2,) else (0, 0)
    if not size or rest or (pairs <= 0).any():
        raise ValueError(
            f"anchors are pairs (width, height) in pixels above 0, the same number for each of "
            f"the {count} maps, for example {3 * count} pairs, not {anchors}"
        )
    return [pairs[i * size : (i + 1) * size].tolist() for i in reversed(range(count))]
