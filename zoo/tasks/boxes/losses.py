"""Losses of detectors: which row of a grid is responsible for which box, and its error.

The ground truth is padded, (B, M, 7) float32: x1, y1, x2, y2 in pixels of the input, the class
(-1: no box), the area in pixels of the original image, and whether it is ignored: 0 no, 1 as a
difficult object, 2 as a crowd. Outputs are raw, (B, A, 5 + C), see `zoo.tasks.boxes.coding`.
"""

import math

import keras
import numpy as np
from keras import ops

from zoo.tasks.boxes import coding

CORNERS, LABEL, AREA, IGNORED = slice(0, 4), 4, 5, 6  # of the last axis of the truth
COLUMNS = 7
DIFFICULT, CROWD = 1, 2  # values of IGNORED
EPSILON = 1e-7  # pixels; keeps quotients finite
SMALLEST = 1e-3  # pixels of a side, so that its logarithm and its root have finite slopes


class GridLoss(keras.losses.Loss):
    """Base class: the sum of the errors of boxes, classes and objectness of each image.

    Args:
        grid: what `zoo.tasks.boxes.coding.grid` returns.
        ciou: compare boxes by the complete IoU (Zheng et al. 2020,
            https://arxiv.org/abs/1911.08287), not by the paper's squared errors.
        smoothing: share of the probability that label smoothing (Szegedy et al. 2016) gives to all
            classes alike.
        focal: exponent of the focal weight of objectness (Lin et al. 2017), 0 for none.
    """

    def __init__(self, grid, ciou=True, smoothing=0.0, focal=0.0, name="boxes", **kwargs):
        super().__init__(name=name, **kwargs)
        self.grid, self.ciou, self.smoothing, self.focal = grid, ciou, smoothing, focal
        self.places = coding.places(grid)

    def call(self, truth, raw):
        """Return the loss of each image, (B,) float32."""
        truth = ops.cast(truth, "float32")
        place, objects, classes = coding.parts(raw)
        corners = truth[..., CORNERS]
        valid = (truth[..., LABEL] >= 0) & (coding.area(corners) > 0)
        counted = valid & (truth[..., IGNORED] == 0)  # (B, M)
        drawn = coding.corners(place, self.grid)  # (B, A, 4)
        boxes = ops.stop_gradient(drawn)
        rows = self.assign(corners, boxes)  # (B, M)
        responsible = rows[:, None] == ops.arange(boxes.shape[1])[:, None]  # (B, A, M)
        true_boxes = ops.where(valid[..., None], corners, 0.0)  # padding overlaps nothing
        objects = self.objects(objects, responsible & counted[:, None], boxes, true_boxes)
        place, drawn, classes = (
            ops.take_along_axis(part, rows[..., None], axis=1) for part in (place, drawn, classes)
        )
        if self.ciou:
            error = 1 - complete_iou(drawn, corners)
        else:
            error = self.squares(place, corners, rows)
        count = classes.shape[-1]
        labels = ops.cast(ops.maximum(truth[..., LABEL], 0), "int32")
        targets = ops.one_hot(labels, count) * (1 - self.smoothing) + self.smoothing / count
        error = self.coordinates(corners) * error + self.classes(classes, targets)
        return ops.sum(ops.where(counted, error, 0.0), axis=1) + ops.sum(objects, axis=1)

    def cells(self, corners, strides):
        """Return the cells of boxes' centers: (row, column), float32, for each of the strides."""
        centers = (corners[..., :2] + corners[..., 2:]) / 2
        last = [side - 1 for side in self.grid["size"][::-1]]
        places = ops.floor(ops.clip(centers, 0.0, last)[..., None, :] / strides[:, None])
        return places[..., 1], places[..., 0]


class YOLOv3Loss(GridLoss):
    """Redmon & Farhadi 2018, https://arxiv.org/abs/1804.02767, Sec. 2.1 to 2.3.

    The anchor whose shape overlaps a box most is responsible for it, at the cell of its center.
    Other predictions that overlap a box by more than half are ignored. Small boxes have weights of
    up to 2, as in the authors' program.
    """

    IGNORE = 0.5

    def assign(self, corners, boxes):
        """Return which row is responsible for each box, (B, M) integers."""
        anchors, strides, starts, steps, orders = [], [], [], [], []
        start = 0
        for level, stride in zip(self.grid["anchors"], self.grid["strides"], strict=True):
            height, width = (-(-side // stride) for side in self.grid["size"])
            anchors += level
            strides += [stride] * len(level)
            steps += [[width * len(level), len(level)]] * len(level)
            starts += [start] * len(level)
            orders += range(len(level))
            start += height * width * len(level)
        sizes = ops.maximum(corners[..., 2:] - corners[..., :2], 0)[..., None, :]  # (B, M, 1, 2)
        anchors = np.array(anchors, np.float32)  # (K, 2)
        shared = ops.prod(ops.minimum(sizes, anchors), axis=-1)
        union = ops.prod(sizes, axis=-1) + np.prod(anchors, axis=-1) - shared
        best = ops.argmax(shared / union, axis=-1)  # (B, M)
        row, column = self.cells(corners, np.array(strides, np.float32))  # (B, M, K)
        steps = np.array(steps, np.float32)
        places = row * steps[:, 0] + column * steps[:, 1] + np.array(starts) + np.array(orders)
        places = ops.take_along_axis(places, best[..., None], axis=-1)[..., 0]
        return ops.cast(places, "int32")

    def coordinates(self, corners):
        """Return the weight of boxes, (B, M)."""
        height, width = self.grid["size"]
        return 2 - coding.area(corners) / (height * width)

    def squares(self, raw, corners, rows):
        """Return the squared errors of center and logarithm of size, (B, M), in cells, anchors."""
        cells, strides, anchors = (ops.take(part, rows, axis=0) for part in self.places)
        centers = (corners[..., :2] + corners[..., 2:]) / 2
        sizes = ops.maximum(corners[..., 2:] - corners[..., :2], SMALLEST)
        error = [
            ops.sigmoid(raw[..., :2]) - (centers / strides - cells),
            raw[..., 2:4] - ops.log(sizes / anchors),
        ]
        return ops.sum(ops.square(ops.concatenate(error, axis=-1)), axis=-1)

    def classes(self, raw, targets):
        """Return binary cross-entropy, the sum over classes, (B, M)."""
        return ops.sum(ops.binary_crossentropy(targets, raw, from_logits=True), axis=-1)

    def objects(self, raw, responsible, boxes, corners):
        """Return binary cross-entropy of each row, (B, A)."""
        targets = ops.any(responsible, axis=-1)
        overlap = coding.iou(boxes[:, :, None], corners[:, None])  # (B, A, M)
        counts = targets | (ops.max(overlap, axis=-1) <= self.IGNORE)
        targets = ops.cast(targets, "float32")
        error = ops.binary_crossentropy(targets, raw, from_logits=True)
        if self.focal:
            error = error * ops.abs(targets - ops.sigmoid(raw)) ** self.focal
        return ops.where(counts, error, 0.0)


class YOLOLoss(GridLoss):
    """Redmon et al. 2016, https://arxiv.org/abs/1506.02640, Eq. 3: squared errors.

    Of the predictions of the cell that contains the center of a box, the one that overlaps it most
    is responsible for it.
    """

    COORDINATES, EMPTY = 5.0, 0.5

    def assign(self, corners, boxes):
        """Return which row is responsible for each box, (B, M) integers."""
        count, stride = len(self.grid["anchors"][0]), self.grid["strides"][0]
        width = -(-self.grid["size"][1] // stride)
        row, column = self.cells(corners, np.array([stride], np.float32))
        first = ops.cast((row[..., 0] * width + column[..., 0]) * count, "int32")  # (B, M)
        rows = first[:, None] + ops.arange(count)[:, None]  # (B, a, M)
        overlap = coding.iou(boxes[:, :, None], corners[:, None])  # (B, A, M)
        best = ops.argmax(ops.take_along_axis(overlap, rows, axis=1), axis=1)
        return first + ops.cast(best, "int32")

    def coordinates(self, corners):
        """Return the weight of boxes."""
        return self.COORDINATES

    def squares(self, raw, corners, rows):
        """Return the squared errors of center and root of size, (B, M), in cells and images."""
        cells, strides, images = (ops.take(part, rows, axis=0) for part in self.places)
        centers = (corners[..., :2] + corners[..., 2:]) / 2
        sizes = ops.maximum(corners[..., 2:] - corners[..., :2], SMALLEST)
        error = [
            raw[..., :2] - (centers / strides - cells),
            ops.abs(raw[..., 2:4]) - ops.sqrt(sizes / images),
        ]
        return ops.sum(ops.square(ops.concatenate(error, axis=-1)), axis=-1)

    def classes(self, raw, targets):
        """Return the squared errors, the sum over classes, (B, M)."""
        return ops.sum(ops.square(raw - targets), axis=-1)

    def objects(self, raw, responsible, boxes, corners):
        """Return the squared error of each row, (B, A): the target of an object is its overlap."""
        overlap = coding.iou(boxes[:, :, None], corners[:, None])  # (B, A, M)
        targets = ops.max(ops.where(responsible, overlap, 0.0), axis=-1)
        present = ops.any(responsible, axis=-1)
        error = ops.square(raw - targets)
        if self.focal:
            error = error * ops.abs(targets - ops.clip(raw, 0, 1)) ** self.focal
        return ops.where(present, error, self.EMPTY * error)


def complete_iou(predicted, corners):
    """Return the complete IoU of predicted and true boxes (..., 4) in corners, (...).

    Zheng et al. 2020, https://arxiv.org/abs/1911.08287, Eq. 10 to 12: IoU, less the squared
    distance of the centers over the squared diagonal around both, less alpha times the difference
    in aspect ratio. As in the authors' program, alpha is a constant of the gradient;
    `keras.utils.bounding_boxes.compute_ciou` has the same values and differentiates alpha, too.
    """
    share = coding.iou(predicted, corners)
    low = ops.minimum(predicted[..., :2], corners[..., :2])
    high = ops.maximum(predicted[..., 2:], corners[..., 2:])
    diagonal = ops.sum(ops.square(high - low), axis=-1) + EPSILON
    apart = predicted[..., :2] + predicted[..., 2:] - corners[..., :2] - corners[..., 2:]
    distance = ops.sum(ops.square(apart / 2), axis=-1)
    angles = [
        ops.arctan((ends[..., 2] - ends[..., 0]) / (ends[..., 3] - ends[..., 1] + EPSILON))
        for ends in (corners, predicted)
    ]
    aspect = 4 / math.pi**2 * ops.square(angles[0] - angles[1])
    alpha = ops.stop_gradient(aspect / (aspect - share + (1 + EPSILON)))
    return share - distance / diagonal - alpha * aspect


def loss(grid, **options):
    """Return the loss of a grid's form; options as for `GridLoss`."""
    return {"yolov3": YOLOv3Loss, "yolo": YOLOLoss}[grid["form"]](grid, **options)
