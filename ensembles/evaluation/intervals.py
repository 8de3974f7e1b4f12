"""Bootstrap confidence intervals of scores on the test split.

Efron & Tibshirani 1993, "An Introduction to the Bootstrap", Ch. 13: percentile intervals of the
scores of resamples with replacement. Scores of labels are functions of counts that are summed over
examples, so all resamples are scored by one matrix product.
"""

import dataclasses

import numpy as np

from zoo.tasks.image_segmentation import masks

DRAWS = 1000  # number of resamples
PART = 50  # resamples at a time, where each needs memory for all examples
COVERAGE = 0.95


def counts(y, logits, info):
    """Return the counts that the scores of labels are computed from, for each example.

    Args:
        y: labels (n, ...), -1 is void.
        logits: (n, ..., K).
        info: of the task, with its C classes.

    Returns:
        (3, n, C) float64: true positives, true labels and predicted labels of each class.
    """
    count = len(info["classes"])
    table = np.zeros((3, len(y), count))
    for i in range(len(y)):
        predicted, truth = masks.labels(np.asarray(logits[i]), info), np.asarray(y[i])
        valid = truth >= 0
        truth, predicted = truth[valid].astype(int), predicted[valid]
        for part, labels in zip(table, (truth[truth == predicted], truth, predicted), strict=True):
            part[i] = np.bincount(labels, minlength=count)
    return table


def accuracy(true_positives, support, predicted):
    """Return the share of correct labels; arrays (..., C)."""
    return true_positives.sum(axis=-1) / np.maximum(support.sum(axis=-1), 1)


def mean_class_accuracy(true_positives, support, predicted):
    """Return the mean recall of the classes with true labels."""
    return mean(true_positives, support, support > 0)


def mean_iou(true_positives, support, predicted):
    """Return the mean intersection over union of the classes with true or predicted labels."""
    union = support + predicted - true_positives
    return mean(true_positives, union, union > 0)


def dice(true_positives, support, predicted):
    """Return the Dice score: of class 1 if binary, else the mean over classes with labels."""
    total = support + predicted
    if true_positives.shape[-1] == 2:
        return 2 * true_positives[..., 1] / np.maximum(total[..., 1], 1)
    return mean(2 * true_positives, total, support > 0)


def mean(numerators, denominators, valid):
    """Return the mean of ratios (..., C) over the valid classes."""
    ratios = np.where(valid, numerators / np.maximum(denominators, 1), 0.0)
    return ratios.sum(axis=-1) / np.maximum(valid.sum(axis=-1), 1)


SCORES = {
    "accuracy": accuracy,
    "mean_class_accuracy": mean_class_accuracy,
    "mean_iou": mean_iou,
    "dice": dice,
}
ERRORS = {"mse": np.square, "mae": np.abs}


@dataclasses.dataclass(frozen=True)
class Ranking:
    """True labels (n, K) bool and their logits, of which the mean average precision is computed."""

    y: np.ndarray
    logits: np.ndarray

    def resampled(self, weights):
        """Return the mean average precision of each resample, with weights (DRAWS, n): (DRAWS,).

        A label that no example of a resample has is left out of its mean.
        """
        total, count = np.zeros(len(weights)), np.zeros(len(weights))
        for truth, logits in zip(self.y.T, self.logits.T, strict=True):
            order = np.argsort(-logits, kind="stable")
            last = np.flatnonzero(np.diff(logits[order], append=-np.inf))  # of equal scores
            for start in range(0, len(weights), PART):
                part = slice(start, start + PART)
                drawn = weights[part][:, order].astype(np.float64)
                chosen = np.cumsum(drawn, axis=1)[:, last]
                hits = np.cumsum(drawn * truth[order], axis=1)[:, last]
                gained = np.diff(hits, axis=1, prepend=0)
                precision = hits / np.maximum(chosen, 1)
                support = hits[:, -1]
                area = (gained * precision).sum(axis=1) / np.maximum(support, 1)
                total[part] += np.where(support > 0, area, 0)
                count[part] += support > 0
        return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def statistics(task, info, y, logits):
    """Return the statistics of each example that a task's first score is computed from.

    Args:
        task: the task record.
        info: of the task, with its classes.
        y: labels or values (n, ...).
        logits: logits or values (n, ..., K).

    Returns:
        `counts` of labels, the mean errors (n,) of forecasts, the summaries (n, S) of a task whose
        summaries are arrays, the `Ranking` of several labels; or None if the score is no function
        of sums over examples.
    """
    name = first_score(task)
    if task.multilabel:
        return Ranking(np.asarray(y, bool), np.asarray(logits, np.float32))
    if not task.data.series and task.values:
        rows = (slice(i, i + 1) for i in range(len(y)))
        summaries = [task.results.summarize(y[row], np.asarray(logits[row]), info) for row in rows]
        return np.stack(summaries) if isinstance(summaries[0], np.ndarray) else None
    if not task.values:
        return counts(y, logits, info) if name in SCORES else None
    if name not in ERRORS:
        return None
    error = ERRORS[name](np.asarray(logits, np.float64) - y)
    return error.reshape(len(y), -1).mean(axis=1)


def first_score(task):
    """Return the name of the score that picks the best epoch of a task."""
    return task.training.best[0].removeprefix("val_")


def draws(count, groups=None, block=1, seed=0):
    """Draw examples with replacement.

    Args:
        count: n, the number of examples.
        groups: (n,) integers; the examples of one group, such as the tiles of one image, are drawn
            together. None draws each example separately.
        block: number of consecutive examples that are drawn together, for overlapping windows.
        seed: random seed.

    Returns:
        (DRAWS, n) float32: how often each example is drawn in each resample.
    """
    groups = np.arange(count) // block if groups is None else groups
    groups = np.unique(groups, return_inverse=True)[1]
    total = groups.max() + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(total, np.full(total, 1 / total), size=DRAWS)
    return times[:, groups].astype(np.float32)


def resampled(statistics, name, weights, score=None):
    """Return the score of each resample, (DRAWS,).

    Args:
        statistics: of a row's predictions, as `statistics` returns them.
        name: of the score: one of SCORES, or of an error.
        weights: what `draws` returns.
        score: from a summary to a dictionary of scores, where the statistics are summaries.
    """
    if isinstance(statistics, Ranking):
        return statistics.resampled(weights)
    if statistics.ndim == 2:
        return np.array([score(summary)[name] for summary in weights @ statistics])
    if statistics.ndim == 1:
        return weights @ statistics / weights.sum(axis=1)
    return SCORES[name](*(weights @ part for part in statistics))


def interval(values):
    """Return the central 95 % percentile interval [low, high] of values (d,)."""
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return [float(low), float(high)]


def add(rows, statistics, name, weights, lower_is_better=False, score=None):
    """Add to each row the interval of its score, and to combinations the interval of their gain.

    Args:
        rows: of the report; each gets "interval", [low, high], and each combination "gain":
            {"over": name of the best member, "value", "interval"}, above 0 if it is better.
        statistics: of each row, or None.
        name: of the score.
        weights: what `draws` returns.
        lower_is_better: whether the score is an error, such as the MSE.
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
