"""Detections of several models as those of one: boxes that agree are fused, or the best is kept.

Weighted boxes fusion, Solovyev, Wang & Gabruseva 2021, https://arxiv.org/abs/1910.13302, Sec. 3;
and suppression of all boxes at once, where soft scores are those of Bodla et al. 2017,
https://arxiv.org/abs/1704.04503. Both are for one image at a time, after the members' own
suppression.
"""

import numpy as np

CONFIDENCES = ("box_and_model_avg", "avg", "max", "absent_model_aware_avg")


def weighted_boxes_fusion(
    found, weights=None, iou=0.55, skip=0.0, confidence="box_and_model_avg", limit=None
):
    """Fuse boxes that overlap into their mean, weighted by their scores.

    From the best to the worst, each box joins the fused box of its class that it overlaps most,
    or begins one. Scores become less sure the fewer models have found a box.

    Args:
        found: for each model its rows (m, 6): x1, y1, x2, y2 in a unit that all share, score,
            class; or nothing, []. Corners that are swapped are swapped back. Rows without an area,
            or of class -1, are skipped.
        weights: one number a model, none below 0 and one above; all the same unless given. Boxes
            that only models of weight 0 have found are left out, where the authors' package gives
            them the score 0 or NaN.
        iou: above which a box joins a fused one.
        skip: boxes of a lower score are left out.
        confidence: how scores are joined: "avg", the mean over boxes, less by as many as they
            are fewer than the models; "max", the best; "box_and_model_avg", the mean by weight,
            times the share of the weight of the models that found it; "absent_model_aware_avg",
            the mean by weight, to which models that did not find it add 0.
        limit: the image's side: what lies beyond 0 and it is cut off, as the package does at 1.
            None leaves boxes as they are.

    Returns:
        (k, 6) float32 rows, best first.

    Raises:
        ValueError: if there is no such confidence, or rows or weights are not of their form.
    """
    if confidence not in CONFIDENCES:
        raise ValueError(f"no confidence is {confidence!r}: give one of {', '.join(CONFIDENCES)}")
    rows, members, weights = joined(found, weights, limit)
    kept = rows[:, 4] >= skip
    rows, members = rows[kept], members[kept]
    rows[:, 4] *= weights[members]
    order = np.lexsort((-rows[:, 4], rows[:, 5]))
    rows, members = rows[order], members[order]
    places, fused = np.zeros(len(rows), int), [np.zeros((0, 6))]
    for label in np.unique(rows[:, 5]):
        own = rows[:, 5] == label
        places[own], boxes = clusters(rows[own, :4], rows[own, 4], iou)
        places[own] += sum(map(len, fused))
        fused.append(np.pad(boxes, ((0, 0), (0, 2)), constant_values=label))
    fused = np.concatenate(fused)
    fused[:, 4] = joint(confidence, places, rows[:, 4], members, weights)
    counted = np.bincount(places, weights[members], minlength=len(fused)) > 0
    return best_first(fused[counted])


def suppressed(found, weights=None, iou=0.5, sigma=0.0, skip=0.001, limit=None):
    """Keep of all models' boxes those that no better one of their class overlaps.

    Args:
        found: as of `weighted_boxes_fusion`.
        weights: one number a model, none below 0 and one above; its share of their sum multiplies
            the scores, which stay what they are unless weights are given.
        iou: above which a box goes.
        sigma: above 0, no box goes, but each lowers the scores of worse ones by
            exp(-IoU² / sigma); `iou` has no effect then.
        skip: boxes whose score is not above are left out, in the end.
        limit: as of `weighted_boxes_fusion`.

    Returns:
        (k, 6) float32 rows, best first.

    Raises:
        ValueError: if rows or weights are not of their form.
    """
    rows, members, shares = joined(found, weights, limit)
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


def joined(found, weights, limit=None):
    """Return the rows of all models (n, 6) float64, the models (n,) they are of, and weights."""
    weights = np.ones(len(found)) if weights is None else np.asarray(weights, np.float64)
    if not len(found) or weights.shape != (len(found),) or not usable(weights):
        given = f"weights {weights.tolist()} of {len(found)} models"
        raise ValueError(f"{given}: give each model one, none below 0 and one above")
    found = [rows if np.size(rows) else np.zeros((0, 6)) for rows in found]
    for i, rows in enumerate(found):
        if np.ndim(rows) != 2 or np.shape(rows)[1] != 6:
            shape = np.shape(rows)
            raise ValueError(f"model {i}: rows {shape} are to be (m, 6): corners, score, class")
    rows = np.concatenate([np.zeros((0, 6)), *found]).astype(np.float64)
    members = np.repeat(np.arange(len(found)), [len(one) for one in found])
    pairs = rows[:, :4].reshape(-1, 2, 2)
    corners = np.concatenate([pairs.min(axis=1), pairs.max(axis=1)], axis=1)
    rows[:, :4] = corners if limit is None else np.clip(corners, 0, limit)
    sound = (rows[:, 2:4] > rows[:, :2]).all(axis=1) & (rows[:, 5] >= 0)
    return rows[sound], members[sound], weights


def usable(weights):
    """Tell whether weights are finite numbers, none below 0 and one above."""
    weights = np.asarray(weights, np.float64)
    return bool(np.isfinite(weights).all() and (weights >= 0).all() and (weights > 0).any())


# Not `zoo.tasks.boxes.coding.iou`: fusion asks box after box, and with tensors that takes 100 times
# as long.
def overlaps(one, other):
    """Return the intersection over union of boxes (..., 4 or more) that have areas, broadcast."""
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., 2:4], other[..., 2:4])
    sides = np.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    return shared / (area(one) + area(other) - shared)


def area(boxes):
    """Return the areas (...) of boxes (..., 4 or more)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clusters(boxes, scores, iou):
    """Fuse boxes of one class, best first.

    Returns:
        For each box the place of the fused one that it went into (n,), and these, (k, 4).
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


def joint(confidence, places, scores, members, weights):
    """Return the scores (k,) of fused boxes.

    Args:
        confidence: one of `CONFIDENCES`.
        places: which fused box each went into, (n,).
        scores: of each, times its model's weight, (n,).
        members: the model that each is of, (n,).
        weights: of the models.
    """
    number = np.bincount(places)
    if confidence == "max":
        best = np.zeros(len(number))
        np.maximum.at(best, places, scores)
        return best / weights.max()
    total, whole = np.bincount(places, scores), weights.sum()
    if confidence == "avg":
        return total / number * np.minimum(number, len(weights)) / whole
    weight = np.bincount(places, weights[members])
    took_part = np.zeros((len(number), len(weights)), bool)
    took_part[places, members] = True
    present = took_part @ weights
    if confidence == "absent_model_aware_avg":
        return total / (weight + whole - present)
    return total / np.where(weight > 0, weight, 1) * present / whole


def greedy(rivals):
    """Return which boxes stay, (n,) bool, best first; rivals (n, n) bool, which overlap."""
    stays = np.ones(len(rivals), bool)
    for i in range(len(rivals)):
        if stays[i]:
            stays[i + 1 :] &= ~rivals[i, i + 1 :]
    return stays


def softened(scores, factors):
    """Return the scores (n,) after each box, the best that is left first, lowered the rest.

    Args:
        scores: (n,).
        factors: (n, n), what the score of the one is multiplied by for the other.
    """
    scores, waits = scores.copy(), np.ones(len(scores), bool)
    for _ in range(len(scores)):
        best = np.argmax(np.where(waits, scores, -1))
        waits[best] = False
        scores[waits] *= factors[best, waits]
    return scores


def best_first(rows):
    """Return rows by falling score, float32."""
    return rows[np.argsort(-rows[:, 4], kind="stable")].astype(np.float32)
