"""The schedule of a training: batch size and epochs by the number of examples.

Also the messages on its length and on unbalanced classes.
"""

import math

import numpy as np

BATCHES = 10  # per epoch at least, as Wang et al. 2017, https://arxiv.org/abs/1611.06455, on UCR
SMALLEST = 4  # examples per batch; fewer make batch statistics too noisy
LONGER = 10  # largest factor on a task's default epochs
FEW = 200  # updates below which networks hardly learn
UNBALANCED = 3  # ratio of the largest to the smallest class


def complete(settings, defaults, count):
    """Return settings with default batch size and epochs.

    A large data set gets the task's defaults. A small one gets smaller batches, a tenth of the
    examples, and enough epochs for the task's minimum number of updates. With snapshots, the epochs
    are rounded up to complete cycles.

    Args:
        settings: with "batch_size" and "epochs", None for the default, and maybe "snapshots".
        defaults: the task's `training`: "batch_size", "epochs" and "updates".
        count: number of training examples.

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
    """Return lines on the length of a training: steps per epoch, epochs, updates."""
    updates = steps * epochs
    lines = [
        f"{steps:,} steps an epoch, batches of {size:,}; {epochs:,} epochs; {updates:,} updates"
    ]
    if updates < FEW:
        lines.append(
            f"Warning: {updates} updates are too few for most networks. "
            "Use more --epochs, or a smaller --batch-size"
        )
    return lines


def labels(arrays, multilabel=False):
    """Return the labels of a split, `datasets.splits.Arrays`; None if it has none.

    They are integers (n,), or with `multilabel` (n, K) bool.
    """
    y = arrays.y
    if multilabel:
        return np.asarray(y[arrays.rows])
    if getattr(y, "ndim", 0) != 1 or not np.issubdtype(y.dtype, np.integer):
        return None
    return np.asarray(y[arrays.rows])


def balance(values, classes):
    """Return messages on unbalanced classes or labels.

    Args:
        values: labels of the training split, see `labels`, or None.
        classes: names of the classes.
    """
    if values is None or not classes:
        return []
    several = values.ndim == 2
    counts = values.sum(axis=0) if several else np.bincount(values, minlength=len(classes))
    few, many = int(counts.argmin()), int(counts.argmax())
    if counts[many] < UNBALANCED * max(counts[few], 1):
        return []
    what = "Labels" if several else "Classes"
    advice = "The mean average precision counts all labels alike"
    return [
        f"{what} are unbalanced: {counts[few]:,} training examples of {classes[few]}, "
        f"{counts[many]:,} of {classes[many]}. "
        + (advice if several else "Compare mean_class_accuracy with accuracy")
    ]


def unlearned(values, accuracies):
    """Return a warning if a classifier is hardly better than the most frequent class.

    Args:
        values: labels (n,) of the training split, or None.
        accuracies: training accuracy of each epoch.

    Returns:
        A list with at most one message.
    """
    if values is None or not len(accuracies):
        return []
    share = np.bincount(values).max() / len(values)
    best = max(accuracies)
    if share == 1 or best > share + 0.1 * (1 - share):
        return []
    return [
        f"Warning: the model has not learned: its training accuracy stayed at {best:.2f}, and the "
        f"most frequent class alone gives {share:.2f}. Try another --learning-rate, more --epochs, "
        "or a larger model"
    ]


def duration(seconds):
    """Return seconds in a suitable unit: "40 s", "12 minutes", "3.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
