"""How often each class occurs in training: messages, and weights of the loss that balance it."""

import numpy as np

UNBALANCED = 3  # ratio of the largest to the smallest class
BLOCK = 256  # examples that are counted at once, as they may be on disk


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


def sentences(values, classes):
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


def weights(arrays, count):
    """Return weights of the classes, inversely to how often each occurs, of the mean 1.

    n / (K n_k), as scikit-learn's "balanced"; a class that does not occur has the weight 1.

    Args:
        arrays: the training split, `datasets.splits.Arrays`, whose y are classes of examples, or of
            their points or pixels; negative ones are void.
        count: K, the number of classes.

    Returns:
        A list of K floats.
    """
    numbers = np.zeros(count, np.int64)
    for start in range(0, len(arrays), BLOCK):
        y = arrays.y[arrays.rows[start : start + BLOCK]]
        numbers += np.bincount(y[y >= 0].reshape(-1), minlength=count)
    total, present = numbers.sum(), (numbers > 0).sum()
    return [float(total / (present * n)) if n else 1.0 for n in numbers]
