"""YOLO: one pass over the whole image predicts the objects of each cell of a grid.

Redmon, Divvala, Girshick & Farhadi, CVPR 2016, https://arxiv.org/abs/1506.02640. Fig. 3, Sec. 2;
padding and initial weights (He et al. 2015) follow the authors' code.
Departures: the first 20 convolutions are not pretrained on ImageNet (see `backbone`); the outputs
of a cell are its boxes, then its classes. The paper has no batch normalisation; the authors' later
yolov1.cfg has.
"""

import keras
from keras import layers

from zoo.models.detection.yolov3 import encode
from zoo.nn.blocks import leaky_conv
from zoo.nn.layers import Grid
from zoo.registry import register

BLOCKS = (  # (channels, kernel size) between the poolings of Fig. 3
    ((64, 7),),
    ((192, 3),),
    ((128, 1), (256, 3), (256, 1), (512, 3)),
    ((256, 1), (512, 3)) * 4 + ((512, 1), (1024, 3)),
    ((512, 1), (1024, 3)) * 2,
)


@register(
    "image_detection",
    paper=dict(input_shape=(448, 448, 3), num_classes=20),
    parameters=271_703_550,
    test=dict(grid=4, width=0.125, dropout=0.0, batch_norm=True),
)
def YOLO(
    input_shape,
    num_classes,
    *,
    grid=7,
    boxes=2,
    width=1.0,
    dropout=0.5,
    batch_norm=False,
    epsilon=1e-5,
    backbone=None,
    depth=None,
    backbone_weights=None,
    name="yolo",
):
    """Build the detector of Fig. 3.

    Args:
        input_shape: (H, W, C), H and W fixed, because of the dense layers.
        num_classes: C, the number of classes.
        grid: S, the number of cells along the longer side; the last one may exceed the image.
        boxes: B, the number of boxes per cell.
        width: factor on every channel count, including the backbone's.
        dropout: dropout rate after the first dense layer.
        batch_norm: apply batch normalisation after every convolution, except the backbone's.
        epsilon: of that batch normalisation, added to the variance.
        backbone: name of a classifier whose coarsest map replaces the first 20 convolutions.
        depth: depth of the backbone, if not its default.
        backbone_weights: "imagenet", or a trained classifier of the zoo: a preset, run folder or
            file. They are fine-tuned with the rest of the network.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 raw outputs (B, A, 5 + C), see
        `zoo.tasks.boxes.coding`: cells in row-major order, then the boxes of each cell, which share
        its class scores.

    Raises:
        ValueError: if the grid does not fit the image, or options contradict each other.
    """
    if backbone is None and (depth or backbone_weights):
        raise ValueError("depth and backbone_weights need a backbone: name the backbone")
    height, width_of_image = input_shape[:2]
    stride, cells = divided(height, width_of_image, grid)
    image = keras.Input(input_shape, name="image")
    norm = dict(batch_norm=batch_norm, epsilon=epsilon)
    if backbone:
        maps = encode(image, backbone, depth, backbone_weights, width)
        x = maps[max(maps)]
    else:
        x = convolve(image, width, **norm)
    for i, strides in enumerate((1, 2, 1, 1), start=1):
        x = leaky_conv(x, int(1024 * width), 3, f"top_{i}", strides=strides, **norm)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(int(4096 * width), kernel_initializer="he_normal", name="fc_dense")(x)
    x = layers.LeakyReLU(0.1, name="fc")(x)
    x = layers.Dropout(dropout, name="fc_dropout")(x)
    outputs = 5 * boxes + num_classes  # per cell
    x = layers.Dense(cells[0] * cells[1] * outputs, dtype="float32", name="raw")(x)
    x = layers.Reshape((*cells, outputs), dtype="float32", name="cells")(x)
    anchors = [(width_of_image, height)] * boxes  # sizes are fractions of the image
    rows = Grid([anchors], [stride], form="yolo", dtype="float32", name="rows")([x])
    return keras.Model(image, rows, name=name)


def convolve(x, width, **norm):
    """Apply the first 20 convolutions, up to stride 32; the paper pretrains them on ImageNet."""
    for block, convolutions in enumerate(BLOCKS, start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, padding="same", name=f"pool{block - 1}")(x)
        for i, (channels, size) in enumerate(convolutions, start=1):
            style = dict(strides=2 if size == 7 else 1, **norm)
            x = leaky_conv(x, int(channels * width), size, f"block{block}_{i}", **style)
    return x


def divided(height, width, count):
    """Return the side of a cell in pixels and the numbers (rows, columns) of cells.

    Raises:
        ValueError: if the longer side cannot be divided into that many cells.
    """
    if None in (height, width):
        raise ValueError(f"yolo takes images of a fixed height and width, not {height}, {width}")
    stride = -(-max(height, width) // max(count, 1))
    cells = tuple(-(-size // stride) for size in (height, width))
    if max(cells) != count:
        near = max(cells)
        raise ValueError(
            f"{count} cells of equal sides do not fit {max(height, width)} pixels: "
            f"choose a grid of {near}"
        )
    return stride, cells
