"""Splits: which of the prepared examples are for training, for validation and for the test.

The seed is fixed, so that all members of an ensemble have the same splits. Series are cut by time
instead, see `datasets.windows`.
"""

import dataclasses

import numpy as np
from keras import tree

from datasets.source import SPLITS, BadInput

HELD_OUT = 0.15  # of the examples, for each split that the source does not bring


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The prepared examples of one split: rows of arrays that other splits may share.

    Attributes:
        x: an array (n, ...), or a dictionary of them; mapped from disk when it is large.
        y: likewise.
        rows: which of the n are this split's, ascending; of a bootstrap some repeatedly.
        places: of the n: the numbers of the file, the example and the block, (n, 3); None if these
            are not known.
    """

    x: object
    y: object
    rows: np.ndarray
    places: np.ndarray | None = None

    def __len__(self):
        return len(self.rows)

    def take(self, some=slice(None)):
        """Return (x, y) of some of the examples: arrays of their own, or views of a range."""
        rows = self.rows[some]
        if isinstance(some, slice) and len(rows) and (np.diff(rows) == 1).all():
            rows = slice(int(rows[0]), int(rows[-1]) + 1)
        return tree.map_structure(lambda array: np.asarray(array[rows]), (self.x, self.y))

    @property
    def groups(self):
        """Number of what each of the rows is a piece of, (len,), or None if that is not known.

        It is the file where there are three or more, else the image, cloud or series where there
        are two, else the block.
        """
        if self.places is None:
            return None
        for level, least in ((1, 3), (2, 2), (3, 1)):
            own = self.places[self.rows, :level]
            numbers, group = np.unique(own, axis=0, return_inverse=True)
            if len(numbers) >= least:
                break
        return group


def bootstrap(arrays, seed):
    """Return a sample with replacement of as many examples as there are, drawn by a seed.

    Breiman 1996, https://doi.org/10.1007/BF00058655, Sec. 1: it leaves out about 37 % of them.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))  # not `Batches`' own
    drawn = rng.integers(len(arrays), size=len(arrays))
    return dataclasses.replace(arrays, rows=arrays.rows[np.sort(drawn)])


def split(stored, fold=None, validate=None):
    """Give each split its rows, cutting those that the source does not bring from its training.

    The seed is fixed, so that all members of an ensemble have the same splits.
    """
    name = next(split for split in SPLITS if split in stored)
    stored = {"train": stored[name], **{s: stored[s] for s in stored if s != name}}
    splits = {
        split: Arrays(arrays["x"], arrays["y"], np.arange(len(groups)), groups)
        for split, (arrays, groups) in stored.items()
    }
    missing = [split for split in ("validation", "test") if split not in splits]
    if fold and not missing:
        raise BadInput("The data", "they bring all their splits", "Train without --fold")
    if missing:
        splits |= _cut(stored, missing, fold, [s for s in missing if not validate or s == "test"])
    return splits | _parts(stored, splits, validate) if validate else splits


def _cut(stored, missing, fold, needed):
    """Return the training split without what the splits that are missing take from it, and these.

    Each takes a fixed share of every class, but for the last one if a fold says how much. Where
    classes are so small that a split which is needed would be empty, shares are of all classes
    together, and each class keeps an example at least for the training.
    """
    arrays, groups = stored["train"]
    member = _member(groups)
    strata = _strata(arrays["y"], member)
    rng, owner = np.random.default_rng(0), np.full(len(strata), "train", dtype="<U10")
    for value in np.unique(strata):
        order = rng.permutation(np.flatnonzero(strata == value))
        share = max(1, round(HELD_OUT * len(order)))
        if fold:
            owner[order[fold[0] - 1 :: fold[1]]] = missing[-1]
            order = order[owner[order] == "train"]
        for split in missing[:-1] if fold else missing:
            if len(order) > share:
                owner[order[:share]], order = split, order[share:]
    if fold and not (owner == missing[-1]).any():
        raise BadInput("The data", f"{len(strata)} parts make no {fold[1]} folds", "Take fewer")
    drawn = missing[:-1] if fold else missing
    if not all((owner == split).any() for split in drawn if split in needed):
        owner[np.isin(owner, drawn)] = "train"
        _spare(owner, strata, drawn, rng)
    return {
        split: Arrays(arrays["x"], arrays["y"], np.flatnonzero(owner[member] == split), groups)
        for split in ("train", *missing)
    }


def _spare(owner, strata, drawn, rng):
    """Give each split a share of the training's groups, but the last ones of their classes.

    Args:
        owner: the split of each group, changed in place.
        strata: the class of each group.
        drawn: names of the splits.
        rng: NumPy's generator.

    Raises:
        BadInput: if classes have too few for that.
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


def _parts(stored, splits, validate):
    """Return all that is not the test as training and validation, the k-th of n equal parts."""
    (k, n), (x, y), (_, groups) = validate, (splits["train"].x, splits["train"].y), stored["train"]
    rows, others = splits["train"].rows, splits["validation"].rows
    if "validation" in stored:
        more = stored["validation"][1] + [groups[:, 0].max() + 1, 0, 0]  # other files
        others, groups = others + len(groups), np.concatenate([groups, more])
        held = splits["validation"]
        x, y = tree.map_structure(_Joined, (x, y), (held.x, held.y))
    rows = np.union1d(rows, others)
    members, member = np.unique(_member(groups)[rows], return_inverse=True)
    if len(members) < n:
        why = f"what is not the test are {len(members)} files that are not parted, too few for {n}"
        raise BadInput("The data", why, "Take fewer parts")
    labels = y[rows] if getattr(y, "ndim", 0) == 1 else None
    strata = _strata(labels, member)
    rng = np.random.default_rng(0)
    order = [rng.permutation(np.flatnonzero(strata == value)) for value in np.unique(strata)]
    held = np.isin(member, np.concatenate(order)[k - 1 :: n])
    parts = {"train": rows[~held], "validation": rows[held]}
    return {split: Arrays(x, y, own, groups) for split, own in parts.items()}


def _member(groups):
    """Return which of the groups that are not parted each example is in, from its (n, 3) places.

    What comes from one file stays together; where there are fewer than three files, what comes
    from one example, and then from one block.
    """
    for level in (1, 2, 3):
        members, member = np.unique(groups[:, :level], axis=0, return_inverse=True)
        if len(members) >= 3:
            return member
    raise BadInput("The data", f"{len(members)} examples are too few to split", "Add more")


def _strata(y, member):
    """Return the label of each group, if labels are one integer a group; else 0 for each."""
    place = np.unique(member, return_index=True)[1]
    if isinstance(y, np.ndarray) and y.ndim == 1 and np.array_equal(y, y[place][member]):
        return y[place]
    return np.zeros(len(place), int)


class _Joined:
    """Two arrays (n, ...) and (m, ...) as one (n + m, ...), which takes rows and copies no more."""

    def __init__(self, first, second):
        self.parts, self.dtype = (first, second), first.dtype
        self.shape = (len(first) + len(second), *first.shape[1:])
        self.ndim = first.ndim

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        rows = np.arange(len(self))[rows]
        first, second = self.parts
        found, later = np.empty((len(rows), *self.shape[1:]), self.dtype), rows >= len(first)
        found[~later], found[later] = first[rows[~later]], second[rows[later] - len(first)]
        return found
