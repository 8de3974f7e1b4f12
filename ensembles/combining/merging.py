"""Merging: the weights of models of one architecture combined by more than their mean.

SLERP, Shoemake, SIGGRAPH 1985, https://doi.org/10.1145/325334.325242, for each array of weights;
TIES, Yadav et al., NeurIPS 2023, https://arxiv.org/abs/2306.01708; DARE, Yu et al., ICML 2024,
https://arxiv.org/abs/2311.03099; Model Stock, Jang et al., ECCV 2024,
https://arxiv.org/abs/2403.19522. The last three combine the members' changes of a base, the model
that all were fine-tuned from. Arrays that are not trained, such as moving statistics, and those
that differ in shape from the base's, such as a head for other classes, are averaged.
"""

import itertools

import numpy as np

from ensembles.combining import soup

ON_BASE = ("ties", "dare", "model_stock")  # recipes that need the base
RECIPES = ("slerp", *ON_BASE)
DENSITY = {  # the share of the changes that is kept
    "ties": 0.2,  # the paper's
    "dare": 0.5,  # the paper drops 0.1 to 0.99 of language models, small networks need more
}
PARALLEL = 1e-6  # sine of an angle, below which arrays are interpolated linearly


def merge(
    recipe,
    weights,
    base=None,
    *,
    trained=None,
    names=None,
    fraction=0.5,
    density=None,
    scale=1.0,
    seed=0,
):
    """Merge the weights of members.

    Args:
        recipe: one of RECIPES.
        weights: for each member, the list of arrays that `get_weights` returns.
        base: the arrays of the model that all were fine-tuned from; None for "slerp".
        trained: for each array whether it is trained, a list of bools; all by default.
        names: of the members, for error messages.
        fraction: of "slerp", the way from the first of two members (0) to the second (1).
        density: of "ties" and "dare", the share of the changes that is kept; by default DENSITY.
        scale: of "ties" and "dare", the factor on the merged changes; λ of the papers.
        seed: of the changes that "dare" drops.

    Returns:
        (weights, averaged): a list of arrays, and the number of trained arrays that are averaged
        because the base has others.

    Raises:
        ValueError: if the weights differ in number or shape, or a setting is out of its range.
    """
    soup.check(weights, names)
    merged = soup.uniform(weights)
    trained = [True] * len(merged) if trained is None else trained
    floats = [np.issubdtype(array.dtype, np.floating) for array in merged]
    some = [i for i in range(len(merged)) if trained[i] and floats[i]]
    if recipe == "slerp":
        if len(weights) != 2:
            raise ValueError(f"slerp is between two members, not {len(weights)}: give two")
        if not 0 <= fraction <= 1:
            raise ValueError(f"the fraction of slerp is {fraction}: give a number from 0 to 1")
        arrays = [slerp(weights[0][i], weights[1][i], fraction) for i in some]
        return replaced(merged, some, arrays), 0
    if base is None:
        raise ValueError(f"{recipe} needs the base, the model that all members were tuned from")
    if len(base) != len(merged):
        raise ValueError(
            f"the base has {len(base)} arrays of weights, and the members {len(merged)}: give the "
            "model that they were tuned from"
        )
    same = [i for i in some if np.shape(base[i]) == merged[i].shape]
    if not same:
        raise ValueError("no array of the base has the shape of the members': give another base")
    base = [np.asarray(base[i], np.float32) for i in same]
    changes = [
        [np.asarray(arrays[i], np.float32) - own for i, own in zip(same, base, strict=True)]
        for arrays in weights
    ]
    if recipe == "model_stock":
        changes = [model_stock(column) for column in zip(*changes, strict=True)]
    else:
        density = DENSITY[recipe] if density is None else density
        if not 0 < density <= 1:
            raise ValueError(f"the density is {density}: give a number above 0, at most 1")
        if recipe == "ties":
            trim = [trimmed(member, density) for member in changes]
            changes = [disjoint_mean(column) for column in zip(*trim, strict=True)]
        else:
            rng = np.random.default_rng(seed)
            drop = [dropped(member, density, rng) for member in changes]
            changes = [np.mean(column, axis=0) for column in zip(*drop, strict=True)]
        changes = [scale * change for change in changes]
    arrays = [own + change for own, change in zip(base, changes, strict=True)]
    return replaced(merged, same, arrays), len(some) - len(same)


def replaced(arrays, some, new):
    """Return arrays in which those at the indices `some` are new ones, in the dtype of the old."""
    result = list(arrays)
    for i, array in zip(some, new, strict=True):
        result[i] = np.asarray(array).astype(arrays[i].dtype)
    return result


def slerp(a, b, fraction):
    """Return the spherical interpolation of two arrays, linear if they are (anti)parallel or 0."""
    p, q = (np.asarray(array, np.float64).ravel() for array in (a, b))
    norms = np.linalg.norm(p) * np.linalg.norm(q)
    angle = np.arccos(np.clip(p @ q / norms, -1, 1)) if norms else 0.0
    if (sine := np.sin(angle)) < PARALLEL:
        mixed = (1 - fraction) * p + fraction * q
    else:
        mixed = (np.sin((1 - fraction) * angle) * p + np.sin(fraction * angle) * q) / sine
    return mixed.reshape(np.shape(a))


def trimmed(changes, density):
    """Return one member's changes, all but the largest set to 0; TIES, step 1.

    The largest are chosen among all arrays together.
    """
    sizes = np.abs(np.concatenate([change.ravel() for change in changes]))
    count = max(1, round(density * len(sizes)))
    smallest = np.partition(sizes, len(sizes) - count)[len(sizes) - count]
    return [np.where(np.abs(change) >= smallest, change, 0) for change in changes]


def disjoint_mean(changes):
    """Return the mean of the members' changes that have the elected sign; TIES, steps 2 and 3.

    The sign is that of their sum; changes of 0 do not count.
    """
    changes = np.stack(changes)
    agreed = np.where(np.sign(changes) == np.sign(changes.sum(axis=0)), changes, 0)
    return agreed.sum(axis=0) / np.maximum((agreed != 0).sum(axis=0), 1)


def dropped(changes, density, rng):
    """Return one member's changes, a random part of them set to 0, the others rescaled; DARE."""
    masks = (rng.random(change.shape, np.float32) < density for change in changes)
    return [
        change * mask / np.float32(density) for change, mask in zip(changes, masks, strict=True)
    ]


def model_stock(changes):
    """Return the mean of the members' changes of an array, times the ratio of Model Stock.

    The ratio is N cos / (1 + (N - 1) cos), for the mean cosine of the angles between two of the N
    members' changes; it is the point closest to the center of the members' distribution. A mean
    angle above 90°, for which the paper has no ratio, is taken as 90°.
    """
    count, mean = len(changes), np.mean(changes, axis=0)
    flat = [np.asarray(change, np.float64).ravel() for change in changes]
    norms = [np.linalg.norm(change) for change in flat]
    if min(norms) == 0:
        return mean
    pairs = [*itertools.combinations(range(count), 2)]
    cosines = [flat[i] @ flat[j] / (norms[i] * norms[j]) for i, j in pairs]
    cosine = max(float(np.mean(cosines)), 0.0) if cosines else 1.0
    return mean * (count * cosine / (1 + (count - 1) * cosine))
