"""Split of the examples for a meta-learner: a part to fit it, a held-out part to choose the epoch.

Prepared examples are ordered by class or file, so the held-out part is a random sample. Windows of
a series overlap, so they are split by time.
"""

import numpy as np

from zoo.tasks.targets import labels

SHARE = 0.15  # of the groups of each class, or of the windows of each series


def split(examples, y, common, seed=0, share=SHARE):
    """Split the examples for a meta-learner.

    Args:
        examples: the examples with labels `y`; `groups` (n,), if present, are the image, series or
            file that each example is part of, and `rows` (n,) its position in time.
        y: labels or values (n, ...).
        common: what the members share; forecasting tasks are split by time.
        seed: seed of the random split.
        share: how much is held out.

    Returns:
        (fit, held out): two ascending arrays of indices.

    Raises:
        ValueError: if there are fewer than two examples.
    """
    if len(y) < 2:
        raise ValueError(f"{len(y)} examples are too few to fit a meta-learner. Use average")
    if common.task.data.series:
        rows = getattr(examples, "rows", None)
        return split_by_time(np.arange(len(y)) if rows is None else rows, y.shape[1], seed, share)
    return random_split(y, getattr(examples, "groups", None), seed, share)


def random_split(y, groups=None, seed=0, share=SHARE):
    """Draw the held-out part, stratified by class if each example has one label.

    With several labels, (n, K) bool, the class of an example is the rarest label that it has.
    Groups are not divided; the class of a group is that of its first example. A class with one
    group is not held out, unless all classes have one group.

    Args:
        y: labels (n, ...).
        groups: (n,) integers, or None if the examples are independent. A single group is divided.
        seed: seed of the random split.
        share: how much is held out.

    Returns:
        (fit, held out): two ascending arrays of indices.
    """
    y, indices = np.asarray(y), np.arange(len(y))
    if y.ndim == 2 and y.dtype == bool:
        y = labels.rarest(y)
    if groups is not None and len(np.unique(groups)) > 1:
        indices = np.unique(groups, return_inverse=True)[1]
    first = np.unique(indices, return_index=True)[1]
    strata = y[first] if y.ndim == 1 else np.zeros(len(first))
    rng, held = np.random.default_rng(seed), []
    for stratum in np.unique(strata):
        order = rng.permutation(np.flatnonzero(strata == stratum))
        size = max(1, round(share * len(order)))
        held += order[:size].tolist() if len(order) > size else []
    if not held:
        held = rng.permutation(len(first))[: max(1, round(share * len(first)))]
    held_out = np.isin(indices, held)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def split_by_time(rows, horizon, seed=0, share=SHARE):
    """Hold out the last windows of each series, because forecasts are of later steps.

    Windows whose forecast steps overlap with those held out are in neither part, as long as half of
    the other windows remain.

    Args:
        rows: position in time of each window, (n,) ascending; a jump separates two series.
        horizon: number of forecast steps.
        seed: seed of a random split, which is used if no series has two windows.
        share: how much is held out.

    Returns:
        (fit, held out): two ascending arrays of indices.
    """
    fit, held = [], []
    for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        size = max(1, round(share * len(part))) if len(part) > 1 else 0
        rest = len(part) - size
        fit.append(part[: rest - min(horizon - 1, rest // 2)])
        held.append(part[rest:])
    fit, held = np.concatenate(fit), np.concatenate(held)
    return (fit, held) if len(held) else random_split(np.zeros(len(rows)), None, seed, share)
