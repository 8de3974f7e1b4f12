"""YOLOv3: three anchors in every cell of three maps, the finer ones shown what the coarser found.

Redmon & Farhadi, 2018, https://arxiv.org/abs/1804.02767. Sec. 2.3, Table 1; layers and anchors from
the authors' yolov3.cfg and yolov3-tiny.cfg, whose .weights files `zoo.weights.darknet_weights`
reads.
Departures: objectness starts at a probability of 0.01, as in Lin et al. 2017,
https://arxiv.org/abs/1708.02002, Sec. 4.1, since nearly all rows are empty. The finer map of the
tiny form has the three smallest anchors, as in today's yolov3-tiny.cfg; its published weights were
trained with the second to the fourth: pass `anchors` of which the fourth is there twice.
"""

import math

import keras
import numpy as np
from keras import layers

from zoo.nn import encoders
from zoo.nn.blocks import leaky_conv
from zoo.nn.layers import Grid
from zoo.registry import register

PRIOR = 0.01  # probability of an object in a row before training


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
    backbone="darknet",
    depth=None,
    backbone_weights=None,
    name="yolov3",
):
    """Build the detector of Sec. 2 on the three coarsest maps of a classifier.

    Args:
        input_shape: (H, W, C), H and W multiples of the coarsest stride: 32 with `darknet`.
        num_classes: C, the number of classes.
        anchors: pairs (width, height), pixels of the input, smallest first; equally many for each
            map, the first for the finest. Or a dictionary of such lists by their length as text,
            of which the one with three for each map is taken.
        width: factor on every channel count, the backbone's too.
        backbone: name of a classifier that has features.
        depth: the backbone's, if not its default; `darknet` has 53 or 21.
        backbone_weights: "imagenet", or a trained classifier of the zoo: a preset, run folder or
            file. Like everything else, they are trained further.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 rows (B, A, 5 + C), raw, see
        `zoo.tasks.boxes.coding`: maps from coarse to fine, in each the cells row by row, then
        anchors.

    Raises:
        ValueError: if the size is no such multiple, or the anchors cannot be shared out.
    """
    image = keras.Input(input_shape, name="image")
    maps = encode(image, backbone, depth, backbone_weights, width)
    maps = {stride: maps[stride] for stride in sorted(maps)[-3:]}
    return detector(image, maps, num_classes, anchors, int(512 * width), (5, 5, 5), name)


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
    name="yolov3_tiny",
):
    """Build the detector of yolov3-tiny.cfg: seven convolutions, two scales.

    Args:
        input_shape: (H, W, C), H and W multiples of 32.
        num_classes: C, the number of classes.
        anchors: as for `YOLOv3`; the published weights want ((23, 27), (37, 58), (81, 82),
            (81, 82), (135, 169), (344, 319)).
        width: factor on every channel count.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 rows (B, A, 5 + C), raw, see
        `zoo.tasks.boxes.coding`: maps from coarse to fine, in each the cells row by row, then
        anchors.

    Raises:
        ValueError: if the size is no such multiple, or the anchors cannot be shared out.
    """
    image = keras.Input(input_shape, name="image")
    maps = tiny_features(image, width)
    return detector(image, maps, num_classes, anchors, int(256 * width), (1, 0), name)


def detector(image, maps, num_classes, anchors, channels, convolutions, name):
    """Put neck, heads and grid on feature maps, a dictionary by stride; see `neck`."""
    strides = sorted(maps, reverse=True)
    for size in image.shape[1:3]:
        if not size or size % strides[0]:
            raise ValueError(
                f"{name} takes images whose height and width are multiples of {strides[0]}, the "
                f"stride of its coarsest map, not {size}"
            )
    levels = shared_out(anchors, strides)
    necks = neck(maps, channels, convolutions)
    raw = []
    for i, (stride, x) in enumerate(zip(strides, necks, strict=True)):
        wide = 2 * (channels // 2**i)
        raw.append(head(x, wide, len(levels[i]), num_classes, f"head{stride}"))
    rows = Grid(levels, strides, dtype="float32", name="rows")(raw)
    return keras.Model(image, rows, name=name)


def encode(image, backbone, depth, weights, width):
    """Apply a classifier's features, with weights if wished: a dictionary of maps by stride."""
    x = encoders.prepared(image, backbone, weights)
    options = {"depth": depth} if depth else {}
    maps = encoders.features(backbone)(x, width=width, **options)
    if weights:
        encoders.load_weights(keras.Model(image, list(maps.values())), backbone, weights, depth)
    return maps


def tiny_features(x, width):
    """Apply the convolutions of the tiny form: a dictionary of its two coarsest maps by stride."""
    maps = {}
    for i in range(1, 8):
        x = leaky_conv(x, int(2 ** (i + 3) * width), 3, f"block{i}")
        if i in (5, 7):
            maps[{5: 16, 7: 32}[i]] = x
        if i < 7:
            strides = 1 if i == 6 else 2  # the sixth pads right and below, and keeps the size
            x = layers.MaxPooling2D(2, strides=strides, padding="same", name=f"pool{i}")(x)
    return maps


def neck(maps, channels, convolutions):
    """Show each map what the coarser ones found.

    Args:
        maps: tensors (B, h, w, any) by stride, which doubles from each to the next.
        channels: of the narrow convolutions on the coarsest map, half as many on each finer one.
        convolutions: for each map from coarse to fine, how many follow: a narrow 1x1 first, then a
            3x3 twice as wide and a 1x1 in turns.

    Returns:
        A list of tensors (B, h, w, some), from coarse to fine.
    """
    found = []
    for stride, count in zip(sorted(maps, reverse=True), convolutions, strict=True):
        x, name = maps[stride], f"neck{stride}"
        if found:
            above = leaky_conv(found[-1], channels, 1, f"{name}_up")
            above = layers.UpSampling2D(2, name=f"{name}_sample")(above)
            x = layers.Concatenate(name=f"{name}_join")([above, x])
        for i in range(count):
            x = leaky_conv(x, channels * (1 + i % 2), 1 + 2 * (i % 2), f"{name}_{i + 1}")
        found.append(x)
        channels //= 2
    return found


def head(x, channels, anchors, num_classes, name):
    """Apply a 3x3 convolution and one that predicts: (B, h, w, any) to (B, h, w, a (5 + C))."""
    x = leaky_conv(x, channels, 3, name)
    raw = layers.Conv2D(anchors * (5 + num_classes), 1, dtype="float32", name=f"{name}_raw")
    x = raw(x)
    objectness = math.log(PRIOR / (1 - PRIOR))
    raw.bias.assign(np.tile([0.0] * 4 + [objectness] + [0.0] * num_classes, anchors))
    return x


def shared_out(anchors, strides):
    """Return the anchors of each map, of strides from coarse to fine, as lists.

    Raises:
        ValueError: if they are no pairs above 0, or not equally many for each map.
    """
    count = len(strides)
    if isinstance(anchors, dict):
        anchors = anchors.get(str(3 * count), ())
    try:
        found = np.array(anchors, "float64")
    except (TypeError, ValueError):
        found = np.zeros(0)
    each, rest = divmod(len(found), count) if found.shape[1:] == (2,) else (0, 0)
    if not each or rest or (found <= 0).any():
        raise ValueError(
            f"anchors are pairs (width, height) in pixels above 0, as many for each of the {count} "
            f"maps: {3 * count} of them for instance, not {anchors}"
        )
    return [found[i * each : (i + 1) * each].tolist() for i in reversed(range(count))]
