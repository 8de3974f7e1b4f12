"""Conformal quantiles of a model on held-out examples, and the coverage that they have on others.

`zoo.tasks.targets.conformal` has the methods and their sources; the quantiles are stored in the
model's `info`, from where the task reads them in prediction.
"""

import numpy as np

from ensembles.evaluation import probabilities
from zoo.tasks.targets import conformal

MOST = 2**21  # labels of maps that are used at most
PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)  # of "raps", Angelopoulos et al., Appendix E
WINDOWS = 1000  # examples that a conditional quantile is fitted to at most


def method(task, name):
    """Return the conformal method of a task: the given one, or its default.

    Raises:
        ValueError: if it is for another kind of targets.
    """
    methods = conformal.INTERVALS if task.values else conformal.SETS
    if name in (None, *methods):
        return name or methods[0]
    what = "values" if task.values else "classes"
    raise ValueError(f"--method {name} is not for {what}. Give {', '.join(methods)}")


def tuned(name):
    """Return whether a method needs further examples to fit something besides the quantile."""
    return name in ("raps", "quantile")


def labelled(logits, y, groups=None):
    """Return the probabilities (m, C) of labels that are not void, the labels, and their groups.

    Args:
        logits: (n, ..., K), of decisions.
        y: labels (n, ...).
        groups: (n,) integers, or None if each example is one.
    """
    logits, y, groups = probabilities.labelled(logits, y, groups, MOST)
    return probabilities.of_logits(logits), y, groups


def true_scores(p, y, name, **extra):
    """Return the nonconformity scores of the true classes (m,), of probabilities (m, C)."""
    return np.take_along_axis(conformal.scores(p, name, **extra), y[:, None], -1)[:, 0]


def for_classes(logits, y, coverage, name, groups=None, tuning=None):
    """Fit the sets of classes.

    Args:
        logits: (n, ..., K), of decisions.
        y: labels (n, ...), -1 is void.
        coverage: the promised coverage.
        name: one of `conformal.SETS`.
        groups: (n,) integers: labels of one group are parts of one example.
        tuning: (logits, y, groups) of other examples, for the penalty of "raps".

    Returns:
        What a model's `info` stores under "conformal".
    """
    p, y, groups = labelled(logits, y, groups)
    extra = penalty(*labelled(*tuning), coverage) if name == "raps" else {}
    bound = conformal.quantile(true_scores(p, y, name, **extra), coverage, groups)
    check(bound, coverage, len(np.unique(groups)))
    return {"method": name, "coverage": coverage, "quantile": bound, **extra}


def penalty(p, y, groups, coverage):
    """Return the penalty and the number of free classes for which the sets are the smallest."""
    ranks = 1 + np.sum(p > np.take_along_axis(p, y[:, None], -1), axis=-1)
    free = int(min(conformal.quantile(ranks, coverage, groups), p.shape[-1]))
    best, smallest = {}, np.inf
    for value in PENALTIES:
        extra = {"penalty": value, "free": free}
        bound = conformal.quantile(true_scores(p, y, "raps", **extra), coverage, groups)
        settings = {"method": "raps", "quantile": bound, **extra}
        if (size := conformal.sets(p, settings).sum(axis=-1).mean()) < smallest:
            best, smallest = extra, size
    return best


def check(bounds, coverage, count):
    """Raise a `ValueError` if quantiles of so many examples are infinite."""
    if np.isinf(bounds).any():
        raise ValueError(
            f"{count} examples are too few for a coverage of {coverage:g}, which needs "
            f"{conformal.least(coverage)}. Ask for less coverage, or train with more validation "
            "data; --scaling none leaves all of it to lac, aps and split"
        )


def for_values(outputs, y, coverage, name, groups=None, tuning=None):
    """Fit the intervals of values, each value of its own.

    Args:
        outputs: (n, ..., K).
        y: likewise.
        coverage: the promised coverage of each interval.
        name: one of `conformal.INTERVALS`.
        groups: (n,) integers: examples of one group are parts of one.
        tuning: (outputs, y) of other examples, which conditional quantiles are fitted to.

    Returns:
        What a model's `info` stores under "conformal".
    """
    outputs, y = np.asarray(outputs, np.float64), np.asarray(y, np.float64)
    low = high = outputs
    facts = {"method": name, "coverage": coverage}
    if name == "quantile":
        facts["slopes"] = slopes(*tuning[:2], coverage)
        ends = [conformal.conditional(outputs, facts["slopes"][key]) for key in ("lower", "upper")]
        low, high = np.minimum(*ends), np.maximum(*ends)
    distances = np.maximum(low - y, y - high).reshape(len(y), -1)
    bounds = [conformal.quantile(column, coverage, groups) for column in distances.T]
    check(bounds, coverage, len(y) if groups is None else len(np.unique(groups)))
    bounds = np.reshape(bounds, y.shape[1:])
    return {**facts, "lower": (-bounds).tolist(), "upper": bounds.tolist()}


def slopes(outputs, y, coverage):
    """Fit the conditional quantiles of each value, a + b times its prediction, by linear programs.

    Koenker & Bassett, Econometrica 1978. Their width may change with the predicted value.

    Returns:
        {"lower": [a, b], "upper": [a, b]}, lists (..., K).
    """
    from sklearn.linear_model import QuantileRegressor

    shape = np.shape(y)[1:]
    rows = np.sort(np.random.default_rng(0).permutation(len(y))[:WINDOWS])
    outputs, y = (np.asarray(a, np.float64)[rows].reshape(len(rows), -1) for a in (outputs, y))
    fitted = {}
    for key, level in (("lower", (1 - coverage) / 2), ("upper", (1 + coverage) / 2)):
        lines = []
        for x, truth in zip(outputs.T, y.T, strict=True):
            fit = QuantileRegressor(quantile=level, alpha=0, solver="highs").fit(x[:, None], truth)
            lines.append((float(fit.intercept_), float(fit.coef_[0])))
        fitted[key] = [np.reshape(part, shape).tolist() for part in zip(*lines, strict=True)]
    return fitted


def of_classes(logits, y, settings, classes, groups=None):
    """Measure sets on other examples, such as the test split.

    Returns:
        {"coverage", "size": the mean number of classes in a set, "sizes": {size: share of the
        sets}, "classes": {name: coverage where it is the true one, None if it never is}}.
    """
    p, y, groups = labelled(logits, y, groups)
    inside = conformal.sets(p, settings)
    hit = np.take_along_axis(inside, y[:, None], -1)[:, 0]
    sizes, count = inside.sum(axis=-1), inside.shape[-1]
    shares = np.bincount(sizes, minlength=count + 1) / max(len(sizes), 1)
    return {
        "coverage": mean_by_group(hit, groups),
        "size": float(sizes.mean()),
        "sizes": {k: float(share) for k, share in enumerate(shares) if share},
        "classes": {
            name: float(hit[y == k].mean()) if (y == k).any() else None
            for k, name in enumerate(classes)
        },
    }


def of_values(outputs, y, settings):
    """Measure intervals on other examples.

    Returns:
        {"coverage", "width": arrays (K,), means over examples and steps; the width is standardized
        as the values are}.
    """
    outputs, y = np.asarray(outputs, np.float64), np.asarray(y, np.float64)
    low, high = conformal.offsets(outputs, settings)
    hit = (y >= outputs + low - conformal.ROUNDING) & (y <= outputs + high + conformal.ROUNDING)
    axes = tuple(range(y.ndim - 1))
    width = np.broadcast_to(high - low, y.shape)
    return {"coverage": hit.mean(axis=axes), "width": width.mean(axis=axes)}


def mean_by_group(values, groups):
    """Return the mean over groups of the means in each."""
    groups = np.unique(groups, return_inverse=True)[1]
    return float((np.bincount(groups, values) / np.bincount(groups)).mean())
