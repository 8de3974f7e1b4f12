"""Bootstrap intervals: how far a score would move on another test split of as many examples.

Efron & Tibshirani 1993, "An Introduction to the Bootstrap", Ch. 13: examples are drawn with
replacement, and the percentiles of the scores are the interval. Scores of labels are functions of
counts that add up over examples, so a draw costs a product of matrices instead of a new scoring.
"""

import numpy as np

from zoo.tasks.image_segmentation import masks

DRAWS = 1000  # resamples; enough for percentiles of two digits
COVERAGE = 0.95


def counts(y, logits, count):
    """Return what the scores of labels are made of, for each example.

    Args:
        y: labels (n, ...), -1 is void.
        logits: (n, ..., K).
        count: C, the number of classes.

    Returns:
        (3, n, C) float64: hits, true labels and predicted labels of each class.
    """
    table = np.zeros((3, len(y), count))
    for i in range(len(y)):
        predicted, truth = masks.labels(np.asarray(logits[i])), np.asarray(y[i])
        valid = truth >= 0
        truth, predicted = truth[valid].astype(int), predicted[valid]
        for part, labels in zip(table, (truth[truth == predicted], truth, predicted), strict=True):
            part[i] = np.bincount(labels, minlength=count)
    return table


def accuracy(hits, support, predicted):
    """Return the share of labels that are right; arrays (..., C)."""
    return hits.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1)


def mean_class_accuracy(hits, support, predicted):
    """Return the mean recall of the classes that occur."""
    return mean(hits, support, support > 0)


def mean_iou(hits, support, predicted):
    """Return the mean intersection over union of the classes that occur or are predicted."""
    union = support + predicted - hits
    return mean(hits, union, union > 0)


def dice(hits, support, predicted):
    """Return the Dice score: of class 1 of two, else the mean of the classes that occur."""
    marked = support + predicted
    if hits.shape[-1] == 2:
        return 2 * hits[..., 1] / np.maximum(marked[..., 1], 1)
    return mean(2 * hits, marked, support > 0)


def mean(above, below, counted):
    """Return the mean of quotients (..., C) over those of the classes that count."""
    shares = np.where(counted, above / np.maximum(below, 1), 0.0)
    return shares.sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)


SCORES = {
    "accuracy": accuracy,
    "mean_class_accuracy": mean_class_accuracy,
    "mean_iou": mean_iou,
    "dice": dice,
}
ERRORS = {"mse": np.square, "mae": np.abs}


def statistics(task, info, y, logits):
    """Return what the score of a task that picks its best epoch is made of, for each example.

    Args:
        task: the task record.
        info: of the task, with its classes.
        y: labels or values (n, ...).
        logits: logits or values (n, ..., K).

    Returns:
        `counts` of labels, the mean errors (n,) of forecasts, the summaries (n, S) of a task whose
        summaries are arrays; or None where examples do not add up.
    """
    name = first_score(task)
    if not task.data.series and task.values:
        rows = (slice(i, i + 1) for i in range(len(y)))
        summaries = [task.results.summarize(y[row], np.asarray(logits[row]), info) for row in rows]
        return np.stack(summaries) if isinstance(summaries[0], np.ndarray) else None
    if not task.values:
        return counts(y, logits, len(info["classes"])) if name in SCORES else None
    if name not in ERRORS:
        return None
    error = ERRORS[name](np.asarray(logits, np.float64) - y)
    return error.reshape(len(y), -1).mean(axis=1)


def first_score(task):
    """Return the name of the score that picks a task's best epoch."""
    return task.training.best[0].removeprefix("val_")


def draws(count, groups=None, block=1, seed=0):
    """Draw examples with replacement.

    Args:
        count: n, the number of examples.
        groups: (n,) integers: examples of one group, such as the tiles of one image, are drawn
            together; each is its own group if None.
        block: neighbours that are drawn together, for windows of series that overlap.
        seed: of the draws.

    Returns:
        (DRAWS, n) float32: how often each example is drawn.
    """
    groups = np.arange(count) // block if groups is None else groups
    groups = np.unique(groups, return_inverse=True)[1]
    total = groups.max() + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(total, np.full(total, 1 / total), size=DRAWS)
    return times[:, groups].astype(np.float32)


def resampled(statistics, name, weights, score=None):
    """Return a score for each of some draws, (DRAWS,).

    Args:
        statistics: of a row's predictions, as `statistics` returns them.
        name: of the score: one of SCORES, or of an error.
        weights: what `draws` returns.
        score: from a summary to a dictionary of scores, where the statistics are summaries.
    """
    if statistics.ndim == 2:
        return np.array([score(summary)[name] for summary in weights @ statistics])
    if statistics.ndim == 1:
        return weights @ statistics / weights.sum(axis=1)
    return SCORES[name](*(weights @ part for part in statistics))


def interval(values):
    """Return the (low, high) that hold 95 % of values (d,)."""
    rest = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(values, [rest, 100 - rest])
    return [float(low), float(high)]


def add(rows, statistics, name, weights, lower_is_better=False, score=None):
    """Add to each row the interval of its score, and to combinations that of their gain.

    Args:
        rows: of the report; each gets "interval", [low, high], and each that is no member "gain":
            {"over": name of the best member, "value", "interval"}, above 0 where it is better.
        statistics: of each row, or None.
        name: of the score.
        weights: what `draws` returns.
        lower_is_better: whether the score is an error.
        score: see `resampled`.
    """
    sign = -1 if lower_is_better else 1
    scores = [
        None if part is None else resampled(part, name, weights, score) for part in statistics
    ]
    members = [i for i, row in enumerate(rows) if row["kind"] == "member" and scores[i] is not None]
    best = max(members, key=lambda i: sign * rows[i]["scores"][name], default=None)
    for row, values in zip(rows, scores, strict=True):
        if values is None:
            continue
        row["interval"] = interval(values)
        if row["kind"] != "member" and best is not None:
            row["gain"] = {
                "over": rows[best]["name"],
                "value": sign * (row["scores"][name] - rows[best]["scores"][name]),
                "interval": interval(sign * (values - scores[best])),
            }
