"""The schedule of a training: batch size and epochs that follow the number of examples.

Also what is printed before it starts, so that the user knows how long it takes.
"""

import math

import numpy as np

BATCHES = 10  # an epoch at least, as Wang et al. 2017, https://arxiv.org/abs/1611.06455, on UCR
SMALLEST = 4  # examples a batch, of fewer batch normalization knows too little
LONGER = 10  # times a task's default epochs, at most
FEW = 200  # updates, with fewer of which hardly a network learns
UNBALANCED = 3  # times as many examples of one class as of another


def complete(settings, defaults, count):
    """Return settings with the batch size and the epochs that were not given.

    A large data set gets the task's defaults. A small one gets smaller batches, a tenth of the
    examples, and as many epochs as make the task's least number of updates; so that the epochs
    are whole cycles where snapshots are wished.

    Args:
        settings: with "batch_size" and "epochs", None where not given, and maybe "snapshots".
        defaults: the task's `training`: "batch_size", "epochs" and "updates".
        count: training examples.

    Returns:
        A new dictionary.
    """
    size, epochs = settings["batch_size"], settings["epochs"]
    if size is None:
        size = min(defaults["batch_size"], max(SMALLEST, count // BATCHES))
    if epochs is None:
        needed = math.ceil(defaults["updates"] / math.ceil(count / size))
        epochs = max(defaults["epochs"], min(needed, LONGER * defaults["epochs"]))
        cycles = settings.get("snapshots") or 1
        epochs = math.ceil(epochs / cycles) * cycles
    return {**settings, "batch_size": size, "epochs": epochs}


def described(steps, epochs, size):
    """Return lines on the length of a training: steps an epoch of so many examples, epochs."""
    updates = steps * epochs
    lines = [
        f"{steps:,} steps an epoch, batches of {size:,}; {epochs:,} epochs; {updates:,} updates"
    ]
    if updates < FEW:
        lines.append(
            f"Warning: hardly a network learns in {updates} updates. "
            "Give more --epochs, or a smaller --batch-size"
        )
    return lines


def labels(arrays):
    """Return the labels (n,) of a split, `datasets.splits.Arrays`; None if it has no such."""
    y = arrays.y
    if getattr(y, "ndim", 0) != 1 or not np.issubdtype(y.dtype, np.integer):
        return None
    return np.asarray(y[arrays.rows])


def balance(values, classes):
    """Return sentences on classes that have few or no training examples.

    Args:
        values: labels (n,) of the training split, or None.
        classes: names.
    """
    if values is None or not classes:
        return []
    counts = np.bincount(values, minlength=len(classes))
    few, many = int(counts.argmin()), int(counts.argmax())
    if counts[many] < UNBALANCED * max(counts[few], 1):
        return []
    return [
        f"Classes are unbalanced: {counts[few]:,} training examples of {classes[few]}, "
        f"{counts[many]:,} of {classes[many]}. Read mean_class_accuracy beside accuracy"
    ]


def unlearned(values, accuracies):
    """Return a warning if a classifier learned no more than which class is the most frequent.

    Args:
        values: labels (n,) of the training split, or None.
        accuracies: of the training split, of each epoch.

    Returns:
        A list of no sentence, or one.
    """
    if values is None or not len(accuracies):
        return []
    share = np.bincount(values).max() / len(values)
    best = max(accuracies)
    if share == 1 or best > share + 0.1 * (1 - share):
        return []
    return [
        f"Warning: the model has not learned: its training accuracy stayed at {best:.2f}, and the "
        f"most frequent class makes {share:.2f}. Try another --learning-rate, more --epochs, or a "
        "larger model"
    ]


def duration(seconds):
    """Return seconds in the unit that suits them: "40 s", "12 minutes", "3.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
