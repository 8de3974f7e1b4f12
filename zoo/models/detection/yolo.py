"""YOLO: one look at the whole image, which says for each cell of a grid what object is there.

Redmon, Divvala, Girshick & Farhadi, CVPR 2016, https://arxiv.org/abs/1506.02640. Fig. 3, Sec. 2;
padding and first weights (He et al. 2015) from the authors' program.
Departures: the first 20 convolutions are not trained on ImageNet before, for which there is
`backbone`; each cell's numbers are its boxes, then its classes. The paper has no batch
normalisation, the authors' later yolov1.cfg has.
"""

import keras
from keras import layers

from zoo.models.detection.yolov3 import encode
from zoo.nn.blocks import leaky_conv
from zoo.nn.layers import Grid
from zoo.registry import register

BLOCKS = (  # (channels, size of the kernel) between the poolings of Fig. 3
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
    backbone=None,
    depth=None,
    backbone_weights=None,
    name="yolo",
):
    """Build the detector of Fig. 3.

    Args:
        input_shape: (H, W, C), both sizes fixed: the first dense layer sees every place apart.
        num_classes: C, the number of classes.
        grid: S, the number of cells along the longer side; the last may reach over the edge.
        boxes: B, how many each cell predicts.
        width: factor on every channel count, the backbone's too.
        dropout: rate behind the first dense layer.
        batch_norm: normalise behind every convolution, but for the backbone's.
        backbone: name of a classifier whose coarsest map replaces the first 20 convolutions.
        depth: the backbone's, if not its default.
        backbone_weights: "imagenet", or a trained classifier of the zoo: a preset, run folder or
            file. Like everything else, they are trained further.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 rows (B, A, 5 + C), raw, see
        `zoo.tasks.boxes.coding`: the cells row by row, in each its boxes, which have its classes in
        common.

    Raises:
        ValueError: if so many cells do not fit the image, or options contradict each other.
    """
    if backbone is None and (depth or backbone_weights):
        raise ValueError("depth and backbone_weights are a backbone's: name the backbone")
    height, width_of_image = input_shape[:2]
    stride, cells = divided(height, width_of_image, grid)
    image = keras.Input(input_shape, name="image")
    if backbone:
        maps = encode(image, backbone, depth, backbone_weights, width)
        x = maps[max(maps)]
    else:
        x = convolve(image, width, batch_norm)
    for i, strides in enumerate((1, 2, 1, 1), start=1):
        style = dict(strides=strides, batch_norm=batch_norm)
        x = leaky_conv(x, int(1024 * width), 3, f"top_{i}", **style)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(int(4096 * width), kernel_initializer="he_normal", name="fc_dense")(x)
    x = layers.LeakyReLU(0.1, name="fc")(x)
    x = layers.Dropout(dropout, name="fc_dropout")(x)
    each = 5 * boxes + num_classes
    x = layers.Dense(cells[0] * cells[1] * each, dtype="float32", name="raw")(x)
    x = layers.Reshape((*cells, each), dtype="float32", name="cells")(x)
    anchors = [(width_of_image, height)] * boxes  # sizes are shares of the image
    rows = Grid([anchors], [stride], form="yolo", dtype="float32", name="rows")([x])
    return keras.Model(image, rows, name=name)


def convolve(x, width, batch_norm):
    """Apply the first 20 convolutions, which the paper trains on ImageNet: to stride 32."""
    for block, convolutions in enumerate(BLOCKS, start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, padding="same", name=f"pool{block - 1}")(x)
        for i, (channels, size) in enumerate(convolutions, start=1):
            style = dict(strides=2 if size == 7 else 1, batch_norm=batch_norm)
            x = leaky_conv(x, int(channels * width), size, f"block{block}_{i}", **style)
    return x


def divided(height, width, count):
    """Return the pixels of a cell's side and the numbers of (rows, columns) of cells.

    Raises:
        ValueError: if there cannot be so many cells along the longer side.
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
