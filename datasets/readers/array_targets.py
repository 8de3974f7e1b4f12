"""The targets in an .npz of images that are not one class each: several labels, or values.

Rows of 0 and 1 of which some have several ones, or none, are labels; numbers that are not integers
are values. What else the arrays may mean is said by the hint `target`.
"""

import dataclasses

import numpy as np

from datasets.readers import targets
from datasets.source import BadInput


@dataclasses.dataclass(frozen=True)
class Targets:
    """The targets of an .npz.

    Attributes:
        arrays: by split, (n, K): uint8 of 0 and 1, or float64.
        names: of the labels or values.
        notes: sentences on how the arrays were read.
        constants: see `datasets.source.Source`.
    """

    arrays: dict
    names: tuple
    notes: list
    constants: dict


def read(path, arrays, names, splits, target):
    """Return the targets if they are labels or values, None if they are classes.

    Args:
        path: of the file, for messages.
        arrays: y by name: "y_train" and so on.
        names: the array `classes` or `columns`, or None.
        splits: the split of each of the arrays, by name.
        target: one of `datasets.source.TARGETS`, or None to decide by the arrays.

    Raises:
        BadInput: an array has not the shape or the values of the target.
    """
    targets.check(target)
    kind = target or guess(arrays["y_train"])
    if kind == "classes":
        return None
    check = multi_hot if kind == "labels" else finite
    by_split = {splits[name]: check(path, name, y) for name, y in arrays.items()}
    width = by_split["train"].shape[1]
    for name, split in splits.items():
        if by_split[split].shape[1] != width:
            why = f"array {name!r} has {by_split[split].shape[1]} columns, and y_train has {width}"
            raise BadInput(path, why, "Save the same columns in each split")
    known = called(path, names, width, "" if kind == "labels" else "value")
    if kind == "labels":
        notes = [f"the rows of y_train are labels; {targets.otherwise('values')}"]
        notes += targets.absent(known, by_split["train"])
        return Targets(by_split, known, notes, targets.LABELS)
    constants, notes = targets.values(known, by_split["train"])
    notes = [f"y_train has values to predict; {targets.otherwise('classes')}", *notes]
    return Targets(by_split, known, notes, constants)


def guess(y):
    """Return what an array of targets is: one of `datasets.source.TARGETS`."""
    if y.dtype.kind not in "biuf" or y.ndim not in (1, 2) or not y.size:
        return "classes"
    if y.ndim == 2 and y.shape[1] > 1 and np.isin(y, (0, 1)).all():
        return "classes" if (y.sum(axis=1) == 1).all() else "labels"
    if y.dtype.kind != "f" or (y == np.round(y)).all():
        return "classes"
    several = y.ndim == 2 and y.shape[1] > 1
    shares = several and y.min() >= 0 and np.allclose(y.sum(axis=1), y.sum(axis=1)[0])
    return "classes" if shares else "values"  # probabilities of classes are refused as such


def multi_hot(path, name, y):
    """Return an array (n, K) uint8 of 0 and 1; raise if it is not."""
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
        why = f"array {name!r} of shape {y.shape} and type {y.dtype} is not (examples, labels)"
        remedy = "Save 1 for each label that an image has, 0 for the others"
        raise BadInput(path, f"{why} of 0 and 1", remedy)
    return y.astype(np.uint8)


def finite(path, name, y):
    """Return an array (n, K) float64 of finite numbers; raise if it is not."""
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.dtype.kind not in "biuf" or not y.shape[1]:
        why = f"array {name!r} of shape {y.shape} and type {y.dtype} is not (examples, values)"
        raise BadInput(path, why, "Save a row of numbers for each image")
    y = y.astype(np.float64)
    if not (valid := np.isfinite(y).all(axis=1)).all():
        why = f"array {name!r} has NaN or infinity in {(~valid).sum()} rows, the first is "
        raise BadInput(path, f"{why}{name}[{valid.argmin()}]", "Remove those examples")
    return y


def called(path, names, count, word):
    """Return the names of `count` labels or values; by default "0", "1", ... or "value_1", ..."""
    if names is None:
        if not word:
            return tuple(map(str, range(count)))
        return (word,) if count == 1 else tuple(f"{word}_{i}" for i in range(1, count + 1))
    if len(names) != count:
        why = f"it has {len(names)} names, and y_train has {count} columns"
        raise BadInput(path, why, "Save a name for each column, in their order")
    return tuple(map(str, names.tolist()))
