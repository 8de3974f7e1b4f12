"""Which examples fit a meta-learner, and which others pick its epoch.

Prepared examples stand in the order of their classes or files, so the last ones are no sample of
them: the held-out part is drawn by a seed. Windows of a series overlap, so theirs is cut by time.
"""

import numpy as np

SHARE = 0.15  # of the groups of each class, or of the windows of each series


def split(examples, y, common, seed=0):
    """Split the examples that a meta-learner is fitted to.

    Args:
        examples: what `y` are the labels of; its `groups` (n,), if it has any, number the images,
            series or files that examples are pieces of, and its `rows` (n,) are places in time.
        y: labels or values (n, ...).
        common: what the members share; its task says whether values are forecast.
        seed: of the draw.

    Returns:
        (fit, held out): two arrays of row numbers, ascending.

    Raises:
        ValueError: if there are fewer than two examples.
    """
    if len(y) < 2:
        raise ValueError(f"{len(y)} examples are too few to fit a meta-learner. Use average")
    if common.task.data.series:
        rows = getattr(examples, "rows", None)
        return in_time(np.arange(len(y)) if rows is None else rows, y.shape[1], seed)
    return drawn(y, getattr(examples, "groups", None), seed)


def drawn(y, groups=None, seed=0):
    """Draw the held-out part of examples, by class where each has one label.

    A group is held out as a whole, and counts as of its first example's class. A class of one
    group is fitted to, unless all are.

    Args:
        y: labels (n, ...).
        groups: (n,) numbers, or None for examples that have nothing to do with each other. One
            group alone is parted.
        seed: of the draw.

    Returns:
        (fit, held out): two arrays of row numbers, ascending.
    """
    y, group = np.asarray(y), np.arange(len(y))
    if groups is not None and len(np.unique(groups)) > 1:
        group = np.unique(groups, return_inverse=True)[1]
    first = np.unique(group, return_index=True)[1]
    strata = y[first] if y.ndim == 1 else np.zeros(len(first))
    rng, held = np.random.default_rng(seed), []
    for stratum in np.unique(strata):
        order = rng.permutation(np.flatnonzero(strata == stratum))
        size = max(1, round(SHARE * len(order)))
        held += order[:size].tolist() if len(order) > size else []
    if not held:
        held = rng.permutation(len(first))[: max(1, round(SHARE * len(first)))]
    out = np.isin(group, held)
    return np.flatnonzero(~out), np.flatnonzero(out)


def in_time(rows, horizon, seed=0):
    """Hold out the last windows of each series, as what is forecast lies behind what is known.

    Windows whose forecast steps overlap with those held out are left to neither part, as far as
    that leaves half of the others.

    Args:
        rows: place in time of each window, (n,) ascending; series are parted by a jump.
        horizon: steps that a window forecasts.
        seed: of the draw if no series has two windows.

    Returns:
        (fit, held out): two arrays of row numbers, ascending.
    """
    fit, held = [], []
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        size = max(1, round(SHARE * len(part))) if len(part) > 1 else 0
        rest = len(part) - size
        fit.append(part[: rest - min(horizon - 1, rest // 2)])
        held.append(part[rest:])
    fit, held = np.concatenate(fit), np.concatenate(held)
    return (fit, held) if len(held) else drawn(np.zeros(len(rows)), None, seed)
