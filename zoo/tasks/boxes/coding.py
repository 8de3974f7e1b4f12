"""Boxes: what a detector's raw outputs mean, from numbers to corners in pixels.

Every detector ends in a `zoo.nn.layers.Grid`, which concatenates the maps of its scales to
rows (B, A, 4 + 1 + C), one per anchor: four numbers for the box, one for the objectness, one for
each class. `grid` describes it with plain values, which loss, decoding, export and fusion take.
"""

import numpy as np
from keras import ops

from zoo.nn.layers import Grid

BOX, OBJECT = slice(0, 4), 4  # of the last axis of raw outputs; behind them the classes
LARGEST = 10.0  # of the logarithm of a size, in anchors: its exponential is still finite


def grid(model):
    """Describe the grid that a detector ends in.

    Returns:
        {"form", "anchors", "strides", "size"}: the arguments of `Grid`, and (H, W) of the input.

    Raises:
        ValueError: if the model has no grid, or takes images of any size.
    """
    layers = [layer for layer in model.layers if isinstance(layer, Grid)]
    size = model.inputs[0].shape[1:3]
    if len(layers) != 1 or None in size:
        raise ValueError(f"{model.name} is not a detector of images of one size: it has no grid")
    layer = layers[0]
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
    """Turn raw outputs into boxes and probabilities.

    Args:
        raw: (B, A, 5 + C).
        grid: what `grid` returns.

    Returns:
        Boxes (B, A, 4) x1, y1, x2, y2 in pixels of the input, not clipped to it; probabilities
        of an object (B, A); probabilities of each class if there is one (B, A, C). Tensors.
    """
    place, objects, classes = parts(raw)
    if grid["form"] == "yolov3":
        objects, classes = ops.sigmoid(objects), ops.sigmoid(classes)
    else:
        objects, classes = ops.clip(objects, 0, 1), ops.clip(classes, 0, 1)
    return corners(place, grid), objects, classes


def parts(raw):
    """Split raw outputs (B, A, 5 + C) once: the gradient of each slice would have their size.

    Returns:
        Raw boxes (B, A, 4), objectness (B, A) and classes (B, A, C), float32.
    """
    place, objects, classes = ops.split(ops.cast(raw, "float32"), [OBJECT, OBJECT + 1], -1)
    return place, objects[..., 0], classes


def corners(place, grid):
    """Turn raw boxes (B, A, 4) into x1, y1, x2, y2 in pixels of the input.

    Redmon & Farhadi 2018, https://arxiv.org/abs/1804.02767, Fig. 2; for the form "yolo" Redmon et
    al. 2016, https://arxiv.org/abs/1506.02640, Sec. 2, where sizes are predicted as square roots.
    """
    cells, strides, anchors = map(ops.convert_to_tensor, places(grid))
    centers, sizes = ops.split(place, 2, axis=-1)
    if grid["form"] == "yolov3":
        centers, sizes = ops.sigmoid(centers), ops.exp(ops.minimum(sizes, LARGEST))
    else:
        sizes = ops.square(sizes)
    centers, halves = (centers + cells) * strides, anchors * sizes / 2
    return ops.concatenate([centers - halves, centers + halves], axis=-1)


def scored(raw, grid):
    """Turn raw outputs (B, A, 5 + C) into boxes, clipped to the input, and scores of each class.

    Returns:
        Boxes (B, A, 4) x1, y1, x2, y2 in pixels of the input; scores (B, A, C), the probability
        of an object times that of the class. Tensors, as `zoo.tasks.boxes.nms.suppress` takes them.
    """
    boxes, objects, classes = decode(raw, grid)
    height, width = grid["size"]
    boxes = ops.clip(boxes, 0.0, np.float32([width, height, width, height]))
    return boxes, objects[..., None] * classes


def iou(a, b):
    """Return the intersection over union of boxes a and b (..., 4) in corners, broadcast."""
    width = ops.minimum(a[..., 2], b[..., 2]) - ops.maximum(a[..., 0], b[..., 0])
    height = ops.minimum(a[..., 3], b[..., 3]) - ops.maximum(a[..., 1], b[..., 1])
    shared = ops.maximum(width, 0) * ops.maximum(height, 0)
    return shared / ops.maximum(area(a) + area(b) - shared, 1e-9)


def area(boxes):
    """Return the areas (...) of boxes (..., 4) in corners; 0 for negative sizes."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]
