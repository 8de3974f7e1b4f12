"""Targets of examples that are not one class each: several labels, or values.

The constants go to the record of a model, see `datasets.source.Source`; without any, a target is
the index of a class.
"""

import numpy as np

from datasets.source import TARGETS, BadInput, flag

LABELS = {"target": "labels"}  # the constants of examples with several labels, or none


def check(target):
    """Raise unless the hint `target` is None or one of TARGETS."""
    if target not in (None, *TARGETS):
        why = f"there is no kind of target called {target}"
        raise BadInput(flag("target"), why, f"Write {', '.join(TARGETS[:-1])} or {TARGETS[-1]}")


def values(names, numbers):
    """Return the constants of values, and notes on those that never change.

    Args:
        names: of the K values.
        numbers: those of training, (n, K).
    """
    numbers = np.asarray(numbers, np.float64)
    constant = np.ptp(numbers, axis=0) == 0
    deviation = np.where(constant, 1.0, numbers.std(axis=0))
    scales = {"mean": numbers.mean(axis=0).tolist(), "deviation": deviation.tolist()}
    notes = []
    if constant.any():
        which = ", ".join(name for name, same in zip(names, constant, strict=True) if same)
        notes = [f"constant in training, so that there is nothing to learn: {which}"]
    return {"target": "values", "columns": [*names], "targets": len(names), **scales}, notes


def absent(names, multi_hot):
    """Return a note on labels without an example in training, (n, K) of 0 and 1, in a list."""
    missing = [
        name for name, some in zip(names, np.any(multi_hot, axis=0), strict=True) if not some
    ]
    return [f"no training image has the label {', '.join(missing[:10])}"] if missing else []


def otherwise(*kinds):
    """Return the end of a note that says how to read targets in another way."""
    ways = {
        "classes": "as one class each",
        "labels": "as labels, several or none an image",
        "values": "as numbers to predict",
    }
    return "; ".join(f"{flag('target')} {kind} reads them {ways[kind]}" for kind in kinds)
