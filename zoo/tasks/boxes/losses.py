"""Losses of detectors: which row of a grid answers for which box, and how wrong it is.

Truth is padded, (B, M, 7) float32: x1, y1, x2, y2 in pixels of the input, the class (-1: no box),
the area in pixels of the picture as it came, and whether it is to be ignored: 0 no, 1 it is
difficult, 2 it is a crowd. Outputs are raw, (B, A, 5 + C), see `zoo.tasks.boxes.coding`.
"""

import math

import keras
import numpy as np
from keras import ops

from zoo.tasks.boxes import coding

CORNERS, LABEL, AREA, IGNORED = slice(0, 4), 4, 5, 6  # of the last axis of the truth
COLUMNS = 7
DIFFICULT, CROWD = 1, 2  # what is to be ignored
EPSILON = 1e-7  # pixels; keeps quotients finite
SMALLEST = 1e-3  # pixels of a side, so that its logarithm and its root have finite slopes


class GridLoss(keras.losses.Loss):
    """Base: adds up, for each image, what is wrong with boxes, classes and objectness.

    Args:
        grid: what `zoo.tasks.boxes.coding.grid` returns.
        ciou: compare boxes by the complete IoU (Zheng et al. 2020,
            https://arxiv.org/abs/1911.08287), not by the paper's squares.
        smoothing: share of a class' certainty that goes to all classes (Szegedy et al. 2016).
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
        sound = (truth[..., LABEL] >= 0) & (coding.area(corners) > 0)
        kept = sound & (truth[..., IGNORED] == 0)  # (B, M)
        drawn = coding.corners(place, self.grid)  # (B, A, 4)
        found = ops.stop_gradient(drawn)
        rows = self.assign(corners, found)  # (B, M)
        answers = rows[:, None] == ops.arange(found.shape[1])[:, None]  # (B, A, M)
        there = ops.where(sound[..., None], corners, 0.0)  # what is no box overlaps nothing
        objects = self.objects(objects, answers & kept[:, None], found, there)
        place, drawn, classes = (
            ops.take_along_axis(part, rows[..., None], axis=1) for part in (place, drawn, classes)
        )
        if self.ciou:
            wrong = 1 - complete_iou(drawn, corners)
        else:
            wrong = self.squares(place, corners, rows)
        count = classes.shape[-1]
        labels = ops.cast(ops.maximum(truth[..., LABEL], 0), "int32")
        wanted = ops.one_hot(labels, count) * (1 - self.smoothing) + self.smoothing / count
        wrong = self.coordinates(corners) * wrong + self.classes(classes, wanted)
        return ops.sum(ops.where(kept, wrong, 0.0), axis=1) + ops.sum(objects, axis=1)

    def cells(self, corners, strides):
        """Return the cells of boxes' centers: (row, column), float32, for each of the strides."""
        centers = (corners[..., :2] + corners[..., 2:]) / 2
        last = [side - 1 for side in self.grid["size"][::-1]]
        places = ops.floor(ops.clip(centers, 0.0, last)[..., None, :] / strides[:, None])
        return places[..., 1], places[..., 0]


class YOLOv3Loss(GridLoss):
    """Redmon & Farhadi 2018, https://arxiv.org/abs/1804.02767, Sec. 2.1 to 2.3.

    The anchor whose shape overlaps a box most answers for it, at the cell of its center. Whatever
    else overlaps a box by more than half is neither right nor wrong. Small boxes count up to twice,
    as in the authors' program.
    """

    IGNORE = 0.5

    def assign(self, corners, found):
        """Return which row answers for each box, (B, M) integers."""
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

    def squares(self, said, corners, rows):
        """Return the squared errors of center and logarithm of size, (B, M), in cells, anchors."""
        cells, strides, anchors = (ops.take(part, rows, axis=0) for part in self.places)
        centers = (corners[..., :2] + corners[..., 2:]) / 2
        sizes = ops.maximum(corners[..., 2:] - corners[..., :2], SMALLEST)
        error = [
            ops.sigmoid(said[..., :2]) - (centers / strides - cells),
            said[..., 2:4] - ops.log(sizes / anchors),
        ]
        return ops.sum(ops.square(ops.concatenate(error, axis=-1)), axis=-1)

    def classes(self, said, wanted):
        """Return binary cross-entropy, the sum over classes, (B, M)."""
        return ops.sum(ops.binary_crossentropy(wanted, said, from_logits=True), axis=-1)

    def objects(self, said, answers, found, corners):
        """Return binary cross-entropy of each row, (B, A)."""
        wanted = ops.any(answers, axis=-1)
        overlap = coding.iou(found[:, :, None], corners[:, None])  # (B, A, M)
        counts = wanted | (ops.max(overlap, axis=-1) <= self.IGNORE)
        wanted = ops.cast(wanted, "float32")
        error = ops.binary_crossentropy(wanted, said, from_logits=True)
        if self.focal:
            error = error * ops.abs(wanted - ops.sigmoid(said)) ** self.focal
        return ops.where(counts, error, 0.0)


class YOLOLoss(GridLoss):
    """Redmon et al. 2016, https://arxiv.org/abs/1506.02640, Eq. 3: squares of everything.

    Of the boxes of the cell where a box has its center, the one that overlaps it most answers.
    """

    COORDINATES, EMPTY = 5.0, 0.5

    def assign(self, corners, found):
        """Return which row answers for each box, (B, M) integers."""
        count, stride = len(self.grid["anchors"][0]), self.grid["strides"][0]
        width = -(-self.grid["size"][1] // stride)
        row, column = self.cells(corners, np.array([stride], np.float32))
        first = ops.cast((row[..., 0] * width + column[..., 0]) * count, "int32")  # (B, M)
        rows = first[:, None] + ops.arange(count)[:, None]  # (B, a, M)
        overlap = coding.iou(found[:, :, None], corners[:, None])  # (B, A, M)
        best = ops.argmax(ops.take_along_axis(overlap, rows, axis=1), axis=1)
        return first + ops.cast(best, "int32")

    def coordinates(self, corners):
        """Return the weight of boxes."""
        return self.COORDINATES

    def squares(self, said, corners, rows):
        """Return the squared errors of center and root of size, (B, M), in cells and images."""
        cells, strides, images = (ops.take(part, rows, axis=0) for part in self.places)
        centers = (corners[..., :2] + corners[..., 2:]) / 2
        sizes = ops.maximum(corners[..., 2:] - corners[..., :2], SMALLEST)
        error = [
            said[..., :2] - (centers / strides - cells),
            ops.abs(said[..., 2:4]) - ops.sqrt(sizes / images),
        ]
        return ops.sum(ops.square(ops.concatenate(error, axis=-1)), axis=-1)

    def classes(self, said, wanted):
        """Return the squares, the sum over classes, (B, M)."""
        return ops.sum(ops.square(said - wanted), axis=-1)

    def objects(self, said, answers, found, corners):
        """Return the squared error of each row, (B, A): an object's should be its overlap."""
        overlap = coding.iou(found[:, :, None], corners[:, None])  # (B, A, M)
        mine = ops.max(ops.where(answers, overlap, 0.0), axis=-1)
        wanted = ops.any(answers, axis=-1)
        error = ops.square(said - mine)
        if self.focal:
            error = error * ops.abs(mine - ops.clip(said, 0, 1)) ** self.focal
        return ops.where(wanted, error, self.EMPTY * error)


def complete_iou(drawn, corners):
    """Return the complete IoU of boxes (..., 4) in corners with others, (...).

    Zheng et al. 2020, https://arxiv.org/abs/1911.08287, Eq. 10 to 12: IoU, less the squared
    distance of the centers over the squared diagonal around both, less alpha times the difference
    in aspect ratio. As in the authors' program, alpha is a constant of the gradient;
    `keras.utils.bounding_boxes.compute_ciou` has the same values and differentiates alpha, too.
    """
    share = coding.iou(drawn, corners)
    low = ops.minimum(drawn[..., :2], corners[..., :2])
    high = ops.maximum(drawn[..., 2:], corners[..., 2:])
    diagonal = ops.sum(ops.square(high - low), axis=-1) + EPSILON
    apart = drawn[..., :2] + drawn[..., 2:] - corners[..., :2] - corners[..., 2:]
    distance = ops.sum(ops.square(apart / 2), axis=-1)
    angles = [
        ops.arctan((ends[..., 2] - ends[..., 0]) / (ends[..., 3] - ends[..., 1] + EPSILON))
        for ends in (corners, drawn)
    ]
    aspect = 4 / math.pi**2 * ops.square(angles[0] - angles[1])
    alpha = ops.stop_gradient(aspect / (aspect - share + (1 + EPSILON)))
    return share - distance / diagonal - alpha * aspect


def loss(grid, **options):
    """Return the loss of a grid's form; options as for `GridLoss`."""
    return {"yolov3": YOLOv3Loss, "yolo": YOLOLoss}[grid["form"]](grid, **options)
