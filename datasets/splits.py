"""Splits of the prepared examples into training, validation and test.

The seed is fixed, so that all members of an ensemble have the same splits. Series are split by time
instead, see `datasets.windows`.
"""

import dataclasses

import numpy as np
from keras import tree

from datasets.source import SPLITS, BadInput

HELD_OUT = 0.15  # fraction of the examples, for each split that the source does not have
CLASSES = 2  # held out at least where splits differ in their classes: one has nothing to confuse


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The prepared examples of one split: rows of arrays that other splits may share.

    Attributes:
        x: an array (n, ...), or a dictionary of them; memory-mapped when it is large.
        y: an array (n, ...), or a dictionary of them.
        rows: indices of the split's examples, ascending; a bootstrap sample repeats some.
        places: (n, 3), the numbers of the file, the example and the block of each; None if these
            are not known.
    """

    x: object
    y: object
    rows: np.ndarray
    places: np.ndarray | None = None

    def __len__(self):
        return len(self.rows)

    def take(self, some=slice(None)):
        """Return (x, y) of some of the examples: copies, or views of a range."""
        rows = self.rows[some]
        if isinstance(some, slice) and len(rows) and (np.diff(rows) == 1).all():
            rows = slice(int(rows[0]), int(rows[-1]) + 1)
        return tree.map_structure(lambda array: np.asarray(array[rows]), (self.x, self.y))

    @property
    def groups(self):
        """The group of each row, (len,) integers, or None if the places are not known.

        A group is a file where there are three or more, else an image, cloud or series where there
        are two or more, else a block.
        """
        if self.places is None:
            return None
        for level, least in ((1, 3), (2, 2), (3, 1)):
            places = self.places[self.rows, :level]
            numbers, group = np.unique(places, axis=0, return_inverse=True)
            if len(numbers) >= least:
                break
        return group


def bootstrap(arrays, seed):
    """Return a bootstrap sample: as many examples as there are, drawn with replacement by a seed.

    Breiman 1996, https://doi.org/10.1007/BF00058655, Sec. 1: it leaves out about 37 % of them.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))  # not of `Batches`
    drawn = rng.integers(len(arrays), size=len(arrays))
    return dataclasses.replace(arrays, rows=arrays.rows[np.sort(drawn)])


def split(stored, fold=None, validate=None, by_class=False):
    """Return the rows of each split; splits that the source does not have are taken from training.

    The seed is fixed, so that all members of an ensemble have the same splits.

    Args:
        stored: {split: (arrays "x" and "y", places (n, 3))}.
        fold: (k, n), see `datasets.pipeline.prepare`.
        validate: (k, n), likewise.
        by_class: hold out whole classes, whose images training does not see.
    """
    name = next(split for split in SPLITS if split in stored)
    stored = {"train": stored[name], **{s: stored[s] for s in stored if s != name}}
    splits = {
        split: Arrays(arrays["x"], arrays["y"], np.arange(len(groups)), groups)
        for split, (arrays, groups) in stored.items()
    }
    missing = [split for split in ("validation", "test") if split not in splits]
    if fold and not missing:
        raise BadInput("The data", "they already have all splits", "Train without --fold")
    if missing:
        needed = [s for s in missing if not validate or s == "test"]
        splits |= _cut(stored, missing, fold, needed, by_class)
    return splits | _parts(stored, splits, validate, by_class) if validate else splits


def pooled(stored, hashes):
    """Return data whose held-out splits share no class with the training split.

    A split that does is added to training, from which whole classes are held out in its place.

    Args:
        stored: {split: (arrays "x" and "y" (n,), places (n, 3))}; the first is for training.
        hashes: {split: digests by number of the example}.

    Returns:
        Both without the splits that were added, whose names are returned as a list.
    """
    first, *others = [split for split in SPLITS if split in stored]
    stored, hashes, added = {**stored}, {**hashes}, []
    while shared := [s for s in others if np.isin(stored[s][0]["y"], stored[first][0]["y"]).any()]:
        others.remove(split := shared[0])
        (arrays, places), (more, others_places) = stored[first], stored.pop(split)
        offset = [places[:, 0].max() + 1, len(hashes[first]), 0]  # other files, other examples
        x, y = tree.map_structure(_Concatenated, *((a["x"], a["y"]) for a in (arrays, more)))
        both = {"x": x, "y": y[:]}
        stored[first] = both, np.concatenate([places, others_places + offset])
        hashes[first] = np.concatenate([hashes[first], hashes.pop(split)])
        added.append(split)
    return stored, hashes, added


def _cut(stored, missing, fold, needed, by_class):
    """Return the missing splits, taken from the training split, and what remains for training.

    Each takes a fixed fraction of every class, except the last one with a fold, which determines
    its size. Where classes are so small that a needed split would be empty, the fractions are of
    all classes together, and each class keeps at least one training example.
    """
    arrays, groups = stored["train"]
    ids = _class_ids(arrays["y"], len(missing)) if by_class else _group_ids(groups)
    strata = np.zeros(ids.max() + 1, int) if by_class else _strata(arrays["y"], ids)
    rng, owner = np.random.default_rng(0), np.full(len(strata), "train", dtype="<U10")
    for value in np.unique(strata):
        order = rng.permutation(np.flatnonzero(strata == value))
        share = max(CLASSES if by_class else 1, round(HELD_OUT * len(order)))
        if fold:
            owner[order[fold[0] - 1 :: fold[1]]] = missing[-1]
            order = order[owner[order] == "train"]
        for split in missing[:-1] if fold else missing:
            if len(order) > share:
                owner[order[:share]], order = split, order[share:]
    if fold and not (owner == missing[-1]).any():
        raise BadInput(
            "The data", f"{len(strata)} groups are too few for {fold[1]} folds", "Use fewer folds"
        )
    drawn = missing[:-1] if fold else missing
    if not all((owner == split).any() for split in drawn if split in needed):
        owner[np.isin(owner, drawn)] = "train"
        _spare(owner, strata, drawn, rng)
    return {
        split: Arrays(arrays["x"], arrays["y"], np.flatnonzero(owner[ids] == split), groups)
        for split in ("train", *missing)
    }


def _spare(owner, strata, drawn, rng):
    """Assign a fraction of the training groups to each split, never the last group of a class.

    Args:
        owner: the split of each group, changed in place.
        strata: the class of each group.
        drawn: names of the splits.
        rng: a NumPy generator.

    Raises:
        BadInput: if the classes have too few groups.
    """
    pool = np.flatnonzero(owner == "train")
    share, order = max(1, round(HELD_OUT * len(pool))), rng.permutation(pool)
    left = dict(zip(*np.unique(strata[pool], return_counts=True), strict=True))
    for split in drawn:
        taken = 0
        for group in order:
            if taken < share and owner[group] == "train" and left[strata[group]] > 1:
                owner[group] = split
                left[strata[group]] -= 1
                taken += 1
        if not taken:
            why = f"{len(pool)} examples of {len(left)} classes are too few to hold any out for the"
            raise BadInput("The data", f"{why} {split}", "Add more: three of each class suffice")


def _parts(stored, splits, validate, by_class):
    """Split all but the test: the k-th of n equal parts is validation, the rest is training."""
    (k, n), (x, y), (_, groups) = validate, (splits["train"].x, splits["train"].y), stored["train"]
    rows, others = splits["train"].rows, splits["validation"].rows
    if "validation" in stored:
        more = stored["validation"][1] + [groups[:, 0].max() + 1, 0, 0]  # other files
        others, groups = others + len(groups), np.concatenate([groups, more])
        held = splits["validation"]
        x, y = tree.map_structure(_Concatenated, (x, y), (held.x, held.y))
    rows = np.union1d(rows, others)
    groups_of_rows = y[rows] if by_class else _group_ids(groups)[rows]
    unique, ids = np.unique(groups_of_rows, return_inverse=True)
    if len(unique) < n:
        what = "classes" if by_class else "files"
        why = f"without the test there are {len(unique)} {what}, never divided, too few for {n}"
        raise BadInput("The data", why, "Use fewer parts")
    stratified = not by_class and (getattr(y, "ndim", 0) == 1 or is_multi_hot(y))
    labels = y[rows] if stratified else None
    strata = _strata(labels, ids)
    rng = np.random.default_rng(0)
    order = [rng.permutation(np.flatnonzero(strata == value)) for value in np.unique(strata)]
    held = np.isin(ids, np.concatenate(order)[k - 1 :: n])
    parts = {"train": rows[~held], "validation": rows[held]}
    return {split: Arrays(x, y, chosen, groups) for split, chosen in parts.items()}


def _group_ids(groups):
    """Return the group of each example, which is never divided, from its (n, 3) places.

    Pieces of one file stay together; where there are fewer than three files, pieces of one example,
    and otherwise of one block.
    """
    for level in (1, 2, 3):
        unique, ids = np.unique(groups[:, :level], axis=0, return_inverse=True)
        if len(unique) >= 3:
            return ids
    raise BadInput("The data", f"{len(unique)} examples are too few to split", "Add more")


def _class_ids(y, missing):
    """Return the number of each example's class among those of an array of labels, (n,).

    Raises:
        BadInput: if so many splits cannot be given classes of their own.
    """
    classes, ids = np.unique(y, return_inverse=True)
    needed = CLASSES * (missing + 1)
    if len(classes) < needed:
        why = f"{len(classes)} classes are too few to hold whole classes out"
        raise BadInput("The data", why, f"Add classes: {needed} suffice")
    return ids


def _strata(y, ids):
    """Return the label of each group, if labels are one integer per group; else zeros.

    Of several labels, (n, K) bool, it is the rarest one that the group has, -1 without any.
    """
    first = np.unique(ids, return_index=True)[1]
    if is_multi_hot(y):
        y = rarest(np.asarray(y))
    if isinstance(y, np.ndarray) and y.ndim == 1 and np.array_equal(y, y[first][ids]):
        return y[first]
    return np.zeros(len(first), int)


def is_multi_hot(y):
    """Return whether y has several labels for each example, (n, K) bool."""
    return getattr(y, "ndim", 0) == 2 and y.dtype == bool


def rarest(y):
    """Return the index of the rarest label that each example (n, K) bool has, -1 without any."""
    support = y.sum(axis=0)
    return np.where(y.any(axis=1), np.where(y, support, len(y) + 1).argmin(axis=1), -1)


class _Concatenated:
    """Two arrays (n, ...) and (m, ...) as one (n + m, ...), which copies indexed rows only."""

    def __init__(self, first, second):
        self.parts, self.dtype = (first, second), first.dtype
        self.shape = (len(first) + len(second), *first.shape[1:])
        self.ndim = first.ndim

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        rows = np.arange(len(self))[rows]
        first, second = self.parts
        values, in_second = np.empty((len(rows), *self.shape[1:]), self.dtype), rows >= len(first)
        values[~in_second], values[in_second] = (
            first[rows[~in_second]],
            second[rows[in_second] - len(first)],
        )
        return values
