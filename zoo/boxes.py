"""Boxes: what a detector's raw outputs mean, from numbers to corners in pixels.

Every detector ends in a `zoo.layers.Grid`, which joins the maps of its scales into rows
(B, A, 4 + 1 + C), one an anchor: four numbers for the box, one for whether there is an object, one
for each class. `grid` describes it with plain values, which loss, decoding, export and fusion take.
"""

import numpy as np
from keras import ops

from zoo.layers import Grid

BOX, OBJECT, CLASSES = slice(0, 4), 4, slice(5, None)  # of the last axis of raw outputs
LARGEST = 10.0  # of the logarithm of a size, in anchors: its exponential is still finite


def grid(model):
    """Describe the grid that a detector ends in.

    Returns:
        {"form", "anchors", "strides", "size"}: the arguments of `Grid`, and (H, W) of the input.

    Raises:
        ValueError: if the model has no grid, or takes images of any size.
    """
    found = [layer for layer in model.layers if isinstance(layer, Grid)]
    size = model.inputs[0].shape[1:3]
    if len(found) != 1 or None in size:
        raise ValueError(f"{model.name} is no detector of images of one size: it has no grid")
    layer = found[0]
    return {
        "form": layer.form,
        "anchors": layer.anchors,
        "strides": layer.strides,
        "size": [int(side) for side in size],
    }


def places(grid):
    """Return where the rows of a grid are: cells (A, 2), strides (A, 1), anchors (A, 2), float32.

    Cells are (column, row), strides and anchors (width, height) are in pixels.
    """
    cells, strides, sizes = [], [], []
    for anchors, stride in zip(grid["anchors"], grid["strides"], strict=True):
        height, width = (-(-side // stride) for side in grid["size"])
        y, x = np.mgrid[:height, :width].reshape(2, -1, 1)
        cells.append(np.repeat(np.concatenate([x, y], axis=1), len(anchors), axis=0))
        strides.append(np.full((len(cells[-1]), 1), stride))
        sizes.append(np.tile(np.array(anchors), (height * width, 1)))
    return [np.concatenate(part).astype(np.float32) for part in (cells, strides, sizes)]


def decode(raw, grid):
    """Turn raw outputs into boxes and chances.

    Redmon & Farhadi 2018, https://arxiv.org/abs/1804.02767, Fig. 2; for the form "yolo" Redmon et
    al. 2016, https://arxiv.org/abs/1506.02640, Sec. 2, where sizes are predicted as square roots.

    Args:
        raw: (B, A, 5 + C).
        grid: what `grid` returns.

    Returns:
        Boxes (B, A, 4) x1, y1, x2, y2 in pixels of the input, not clipped to it; chances of an
        object (B, A); chances of each class if there is one (B, A, C). Tensors.
    """
    cells, strides, anchors = map(ops.convert_to_tensor, places(grid))
    raw = ops.cast(raw, "float32")
    if grid["form"] == "yolov3":
        centers = (ops.sigmoid(raw[..., :2]) + cells) * strides
        sizes = anchors * ops.exp(ops.minimum(raw[..., 2:4], LARGEST))
        objects, classes = ops.sigmoid(raw[..., OBJECT]), ops.sigmoid(raw[..., CLASSES])
    else:
        centers = (raw[..., :2] + cells) * strides
        sizes = anchors * ops.square(raw[..., 2:4])
        objects, classes = ops.clip(raw[..., OBJECT], 0, 1), ops.clip(raw[..., CLASSES], 0, 1)
    corners = ops.concatenate([centers - sizes / 2, centers + sizes / 2], axis=-1)
    return corners, objects, classes


def scored(raw, grid):
    """Turn raw outputs (B, A, 5 + C) into boxes, clipped to the input, and scores of each class.

    Returns:
        Boxes (B, A, 4) x1, y1, x2, y2 in pixels of the input; scores (B, A, C), the chance of an
        object times that of the class. Tensors, as `zoo.suppression.suppress` takes them.
    """
    corners, objects, classes = decode(raw, grid)
    height, width = grid["size"]
    corners = ops.clip(corners, 0.0, np.float32([width, height, width, height]))
    return corners, objects[..., None] * classes


def iou(one, other):
    """Return the intersection over union of boxes (..., 4) and (..., 4) in corners, broadcast."""
    width = ops.minimum(one[..., 2], other[..., 2]) - ops.maximum(one[..., 0], other[..., 0])
    height = ops.minimum(one[..., 3], other[..., 3]) - ops.maximum(one[..., 1], other[..., 1])
    shared = ops.maximum(width, 0) * ops.maximum(height, 0)
    return shared / ops.maximum(area(one) + area(other) - shared, 1e-9)


def area(boxes):
    """Return the areas (...) of boxes (..., 4) in corners; 0 for negative sizes."""
    return ops.prod(ops.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)
