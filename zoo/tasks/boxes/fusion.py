"""Boxes of several detectors combined: those that agree are fused, or the best one stays.

Weighted boxes fusion, Solovyev, Wang & Gabruseva 2021, https://arxiv.org/abs/1910.13302, Sec. 3;
and non-maximum suppression of all boxes at once, where soft scores are those of Bodla et al. 2017,
https://arxiv.org/abs/1704.04503. Both take one image at a time, after each detector's own
non-maximum suppression.
"""

import numpy as np

CONFIDENCES = ("box_and_model_avg", "avg", "max", "absent_model_aware_avg")
ROWS = "rows"  # the form of a model's grid whose outputs are the rows of several detectors
SIGMA = 0.5  # of soft non-maximum suppression, as in its paper


def fuse(
    rows,
    *,
    method,
    iou,
    skip,
    weights,
    limit,
    sigma=SIGMA,
    confidence=CONFIDENCES[0],
    clip=True,
):
    """Combine the boxes (m, 6) of several detectors in one image.

    Args:
        rows: for each detector, as of `weighted_boxes_fusion`.
        method: "wbf", "nms" or "soft_nms".
        iou: from which IoU boxes are combined.
        skip: boxes of lower scores are ignored.
        weights: one number per detector, or None for equal ones.
        limit: the image's side.
        sigma: of "soft_nms".
        confidence: of "wbf", one of CONFIDENCES.
        clip: whether boxes that reach beyond the image are clipped to it.

    Returns:
        (k, 6) float32 rows, best first.
    """
    settings = dict(weights=weights, iou=iou, skip=skip, limit=limit if clip else None)
    if method == "wbf":
        return weighted_boxes_fusion(rows, confidence=confidence, **settings)
    return suppressed(rows, sigma=sigma if method == "soft_nms" else 0.0, **settings)


def weighted_boxes_fusion(
    rows, weights=None, iou=0.55, skip=0.0, confidence="box_and_model_avg", limit=None
):
    """Fuse boxes that overlap into their mean, weighted by their scores.

    In the order of their scores, each box is added to the fused box of its class that it overlaps
    most, or starts a new one. The fewer models predict a box, the lower its score.

    Args:
        rows: for each model (m, 6): x1, y1, x2, y2 in a unit that all share, score, class; or an
            empty list. Corners that are swapped are swapped back. Rows without an area, or of
            class -1, are skipped.
        weights: one number per model, none negative and at least one positive; equal by default.
            Boxes that only models of weight 0 predict are dropped, where the authors' package
            gives them the score 0 or NaN.
        iou: a box is added to a fused one that it overlaps by more than this.
        skip: boxes of a lower score are ignored.
        confidence: how scores are combined: "avg", the mean over boxes, times the number of boxes
            over the number of models where they are fewer; "max", the highest;
            "box_and_model_avg", the weighted mean, times the share of the weight of the models
            that predict the box; "absent_model_aware_avg", the weighted mean, in which models that
            do not predict the box count as 0.
        limit: the image's side: boxes are clipped to 0 ... limit, as the package does at 1. None
            leaves boxes as they are.

    Returns:
        (k, 6) float32 rows, best first.

    Raises:
        ValueError: if there is no such confidence, or rows or weights have another shape.
    """
    if confidence not in CONFIDENCES:
        raise ValueError(f"no confidence is {confidence!r}: give one of {', '.join(CONFIDENCES)}")
    rows, members, weights = concatenated(rows, weights, limit)
    scored = rows[:, 4] >= skip
    rows, members = rows[scored], members[scored]
    rows[:, 4] *= weights[members]
    order = np.lexsort((-rows[:, 4], rows[:, 5]))
    rows, members = rows[order], members[order]
    places, fused = np.zeros(len(rows), int), [np.zeros((0, 6))]
    for label in np.unique(rows[:, 5]):
        of_class = rows[:, 5] == label
        places[of_class], boxes = clusters(rows[of_class, :4], rows[of_class, 4], iou)
        places[of_class] += sum(map(len, fused))
        fused.append(np.pad(boxes, ((0, 0), (0, 2)), constant_values=label))
    fused = np.concatenate(fused)
    fused[:, 4] = combined_scores(confidence, places, rows[:, 4], members, weights)
    counted = np.bincount(places, weights[members], minlength=len(fused)) > 0
    return best_first(fused[counted])


def suppressed(rows, weights=None, iou=0.5, sigma=0.0, skip=0.001, limit=None):
    """Apply non-maximum suppression to the boxes of all models together.

    Args:
        rows: as of `weighted_boxes_fusion`.
        weights: one number per model, none negative and at least one positive; its share of their
            sum multiplies the scores, which stay unchanged unless weights are given.
        iou: a box is dropped if it overlaps a better one of its class by more than this.
        sigma: above 0, no box is dropped, but each lowers the scores of worse ones by
            exp(-IoU² / sigma); `iou` has no effect then.
        skip: boxes whose final score is not above this are dropped.
        limit: as of `weighted_boxes_fusion`.

    Returns:
        (k, 6) float32 rows, best first.

    Raises:
        ValueError: if rows or weights have another shape.
    """
    rows, members, shares = concatenated(rows, weights, limit)
    if weights is not None:
        rows[:, 4] *= shares[members] / shares.sum()
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    overlap = overlaps(rows[:, None], rows)
    overlap[rows[:, None, 5] != rows[:, 5]] = 0
    if sigma:
        rows[:, 4] = softened(rows[:, 4], np.exp(-(overlap**2) / sigma))
    else:
        rows = rows[greedy(overlap > iou)]
    return best_first(rows[rows[:, 4] > skip])


def concatenated(rows, weights, limit=None):
    """Return all models' rows (n, 6) float64, the index of each row's model (n,), and weights."""
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if not len(rows) or weights.shape != (len(rows),) or not usable(weights):
        given = f"weights {weights.tolist()} of {len(rows)} models"
        raise ValueError(f"{given}: give one per model, none negative and at least one positive")
    rows = [boxes if np.size(boxes) else np.zeros((0, 6)) for boxes in rows]
    for i, boxes in enumerate(rows):
        if np.ndim(boxes) != 2 or np.shape(boxes)[1] != 6:
            shape = np.shape(boxes)
            raise ValueError(f"model {i}: rows {shape}, expected (m, 6): corners, score, class")
    members = np.repeat(np.arange(len(rows)), [len(boxes) for boxes in rows])
    rows = np.concatenate([np.zeros((0, 6)), *rows]).astype(np.float64)
    pairs = rows[:, :4].reshape(-1, 2, 2)
    corners = np.concatenate([pairs.min(axis=1), pairs.max(axis=1)], axis=1)
    rows[:, :4] = corners if limit is None else np.clip(corners, 0, limit)
    valid = (rows[:, 2:4] > rows[:, :2]).all(axis=1) & (rows[:, 5] >= 0)
    return rows[valid], members[valid], weights


def usable(weights):
    """Return whether weights are finite, none negative and at least one positive."""
    weights = np.asarray(weights, np.float64)
    return bool(np.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any())


# Not `zoo.tasks.boxes.coding.iou`: fusion compares box by box, and tensors take 100 times as long.
def overlaps(a, b):
    """Return the IoU of boxes (..., 4 or more) that have areas, broadcast."""
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., 2:4], b[..., 2:4])
    sides = np.maximum(high - low, 0)
    intersection = sides[..., 0] * sides[..., 1]
    return intersection / (area(a) + area(b) - intersection)


def area(boxes):
    """Return the areas (...) of boxes (..., 4 or more)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clusters(boxes, scores, iou):
    """Fuse boxes of one class, best first.

    Returns:
        The index of each box's fused box (n,), and the fused boxes (k, 4).
    """
    places, number = np.zeros(len(boxes), int), 0
    fused, sums, totals = np.zeros_like(boxes), np.zeros_like(boxes), np.zeros(len(boxes))
    for i, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        overlap = overlaps(fused[:number], box)
        place = int(overlap.argmax()) if number else 0
        if number == 0 or overlap[place] <= iou:
            place, number = number, number + 1
            fused[place] = box
        places[i] = place
        sums[place] += score * box
        totals[place] += score
        if totals[place] > 0:  # boxes of score 0 move no other
            fused[place] = sums[place] / totals[place]
    return places, fused[:number]


def combined_scores(confidence, places, scores, members, weights):
    """Return the scores (k,) of fused boxes.

    Args:
        confidence: one of `CONFIDENCES`.
        places: the index of each box's fused box, (n,).
        scores: of each box, times its model's weight, (n,).
        members: the index of each box's model, (n,).
        weights: of the models.
    """
    number = np.bincount(places)
    if confidence == "max":
        best = np.zeros(len(number))
        np.maximum.at(best, places, scores)
        return best / weights.max()
    total, total_weight = np.bincount(places, scores), weights.sum()
    if confidence == "avg":
        return total / number * np.minimum(number, len(weights)) / total_weight
    weight = np.bincount(places, weights[members])
    predicted = np.zeros((len(number), len(weights)), bool)
    predicted[places, members] = True
    present = predicted @ weights
    if confidence == "absent_model_aware_avg":
        return total / (weight + total_weight - present)
    return total / np.where(weight > 0, weight, 1) * present / total_weight


def greedy(rivals):
    """Return which boxes stay, (n,) bool; they are sorted by score, rivals (n, n) overlap."""
    stays = np.ones(len(rivals), bool)
    for i in range(len(rivals)):
        if stays[i]:
            stays[i + 1 :] &= ~rivals[i, i + 1 :]
    return stays


def softened(scores, factors):
    """Return scores (n,) lowered by each box in turn, the best remaining one first.

    Args:
        scores: (n,).
        factors: (n, n): the score of box j is multiplied by factors[i, j] in the turn of box i.
    """
    scores, remaining = scores.copy(), np.ones(len(scores), bool)
    for _ in range(len(scores)):
        best = np.argmax(np.where(remaining, scores, -1))
        remaining[best] = False
        scores[remaining] *= factors[best, remaining]
    return scores


def best_first(rows):
    """Return rows sorted by descending score, float32."""
    return rows[np.argsort(-rows[:, 4], kind="stable")].astype(np.float32)
