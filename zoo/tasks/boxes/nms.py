"""Non-maximum suppression: of the boxes of a class that overlap the best one stays.

Greedy non-maximum suppression within each class, or its soft form, Bodla et al., ICCV 2017,
https://arxiv.org/abs/1704.04503. All shapes are fixed, so it compiles, and exports with a model.
"""

import keras
import numpy as np
from keras import ops

from zoo.nn.layers import register
from zoo.tasks.boxes.coding import iou as overlaps
from zoo.tasks.boxes.coding import scored

NONE = -1.0  # the score of entries that are not candidates, below that of any box


def suppress(boxes, scores, *, iou=0.5, score=0.01, limit=100, candidates=1000, sigma=0.0):
    """Apply non-maximum suppression within each class.

    One anchor may be predicted as several classes, as in Darknet and in COCO's evaluation. Of equal
    scores the lower anchor comes first, then the lower class; PyTorch does not guarantee it.

    Args:
        boxes: (B, A, 4) x1, y1, x2, y2, any unit.
        scores: (B, A, C), of each class, 0 to 1.
        iou: a box is dropped if it overlaps a better one of its class that stays by more than this.
        score: boxes of no higher score are left out; 0 or more.
        limit: rows per image.
        candidates: pairs of anchor and class per image that are considered, the best ones.
        sigma: above 0, no box is dropped: each that stays lowers the scores of worse ones of its
            class by exp(-IoU² / sigma), Bodla's Sec. 3, where it is 0.5; `iou` has no effect then.

    Returns:
        (B, limit, 6) float32: x1, y1, x2, y2, score, class, best first; unused rows
        are 0, their class -1.

    Raises:
        ValueError: if `score` or `sigma` is negative, or `limit` or `candidates` below 1.
    """
    if min(score, sigma) < 0 or min(limit, candidates) < 1:
        given = f"score={score}, sigma={sigma}, limit={limit}, candidates={candidates}"
        raise ValueError(f"{given}: give scores and sigmas from 0, limits and candidates from 1")
    corners, confidences, labels = strongest(boxes, scores, score, candidates)
    if sigma:
        confidences = softened(corners, confidences, labels, sigma, score, limit)
    else:
        confidences = ops.where(greedy(corners, confidences, labels, iou, score), confidences, NONE)
    confidences, index = ops.top_k(confidences, min(limit, confidences.shape[1]))
    labels = ops.cast(pick(labels, index), "float32")[..., None]
    rows = ops.concatenate([pick(corners, index), confidences[..., None], labels], axis=-1)
    empty = ops.convert_to_tensor([0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    rows = ops.where(confidences[..., None] > score, rows, empty)
    missing = ops.zeros_like(rows[:, :1]) + empty
    return ops.concatenate([rows] + [missing] * (limit - rows.shape[1]), axis=1)


@register
class Boxes(keras.layers.Layer):
    """Turns a detector's raw outputs (B, A, 5 + C) into rows (B, limit, 6) of boxes.

    Args:
        grid: what `zoo.tasks.boxes.coding.grid` returns.
        settings: those of `suppress`, whose rows it returns.
    """

    def __init__(self, grid, settings, **kwargs):
        super().__init__(**kwargs)
        self.grid, self.settings = grid, settings

    def call(self, inputs):
        """Return the rows, float32."""
        return suppress(*scored(inputs, self.grid), **self.settings)

    def get_config(self):
        """Return the arguments."""
        arguments = {"grid": dict(self.grid), "settings": dict(self.settings)}
        return {**super().get_config(), **arguments}


def detections(rows):
    """Return a list of the rows (m, 6) of each image, a NumPy array, without unused rows.

    Args:
        rows: (B, limit, 6) as `suppress` returns them.
    """
    return [image[image[:, 5] >= 0] for image in np.asarray(ops.convert_to_numpy(rows))]


def strongest(boxes, scores, score, candidates):
    """Return corners (B, K, 4), scores and classes (B, K) of the best pairs of anchor and class.

    The best K pairs belong to the K anchors with the highest scores of any class, so the many pairs
    of the other anchors are never sorted.
    """
    boxes, scores = ops.cast(boxes, "float32"), ops.cast(scores, "float32")
    scores = ops.where(scores > score, scores, NONE)  # (B, A, C)
    count, classes = scores.shape[1:]
    anchors = ops.top_k(ops.max(scores, axis=-1), min(candidates, count))[1]
    anchors = ops.sort(ops.cast(anchors, "int32"), axis=-1)  # so that ties go by index
    pairs = ops.reshape(pick(scores, anchors), (-1, anchors.shape[1] * classes))
    confidences, index = ops.top_k(pairs, min(candidates, pairs.shape[1]))
    index = ops.cast(index, "int32")
    return pick(boxes, pick(anchors, index // classes)), confidences, index % classes


def pick(x, index):
    """Return the entries (B, K, ...) of x (B, A, ...) at indices (B, K)."""
    index = ops.cast(index, "int32")
    start = ops.arange(ops.shape(x)[0], dtype="int32")[:, None] * x.shape[1]
    return ops.take(ops.reshape(x, (-1, *x.shape[2:])), index + start, axis=0)


def greedy(corners, confidences, labels, iou, score):
    """Return which boxes stay, (B, K) bool; they are sorted, best first.

    A box stays if no better one that stays overlaps it. Each iteration decides on all boxes at
    once, given the result of the one before, until nothing changes. The result is that of the
    sequential algorithm: a box depends on better ones only, so the first is right from the start,
    and once the first n are right, the first n + 1 are right after the next iteration. For the same
    reason there is no other fixed point. There are as many iterations as boxes in the longest chain
    of boxes that depend on one another: few in practice, never more than K.
    """
    place = ops.arange(corners.shape[1])
    better = place < place[:, None]  # (K, K), by row
    same = labels[:, :, None] == labels[:, None]
    rivals = (overlaps(corners[:, :, None], corners[:, None]) > iou) & same & better  # (B, K, K)
    rivals, valid = ops.cast(rivals, "float32"), ops.cast(confidences > score, "float32")

    def iterate(stays, _):
        dropped = ops.matmul(rivals, stays[..., None])[..., 0] > 0
        updated = ops.where(dropped, 0.0, valid)
        return updated, ops.any(updated != stays)

    start = (valid, ops.any(valid > 0))
    stays, _ = ops.while_loop(lambda _, changed: changed, iterate, start, corners.shape[1])
    return stays > 0


def softened(corners, confidences, labels, sigma, score, limit):
    """Return the scores (B, K) after soft suppression, `NONE` for boxes that are not selected.

    Each iteration selects the best remaining box and lowers the scores of the remaining ones of its
    class. Classes are independent, so one loop serves all of them; scores only decrease, so the
    boxes that are selected first are the best.
    """
    place = ops.arange(corners.shape[1], dtype="int32")

    def unfinished(confidences, remaining):
        return ops.any(remaining & (confidences > score))

    def select(confidences, remaining):
        # ops.argmax cannot be exported.
        best = ops.top_k(ops.where(remaining, confidences, NONE), 1)[1]
        best = ops.cast(best, "int32")  # (B, 1)
        remaining = remaining & (place != best)
        affected = remaining & (labels == pick(labels, best))
        shared = overlaps(corners, pick(corners, best))  # (B, K)
        return ops.where(
            affected, confidences * ops.exp(-ops.square(shared) / sigma), confidences
        ), remaining

    start = (confidences, ops.ones_like(confidences, dtype="bool"))
    confidences, remaining = ops.while_loop(unfinished, select, start, limit)
    return ops.where(remaining, NONE, confidences)
