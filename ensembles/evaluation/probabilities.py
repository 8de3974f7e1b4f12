"""Probabilities of the members, and what is measured on them: likelihood, calibration, agreement.

Labels are integers (n, ...), where -1 is void and counts nowhere. Arrays may be large and mapped
from disk, so they are gone through in blocks of examples.
"""

import numpy as np

SMALLEST = 1e-7  # a probability below counts as this
BLOCK = 2**22  # numbers that are worked on at a time


def of_logits(logits):
    """Return the probabilities (n, ..., C) float32 of logits (n, ..., K): C = K, or 2 for K = 1."""
    logits = np.asarray(logits, np.float32)
    if logits.shape[-1] == 1:
        one = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        return np.concatenate([1 / (1 + np.exp(np.clip(logits, -80, 80))), one], axis=-1)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def blocks(*arrays):
    """Yield tuples of the same examples of each array, some examples at a time."""
    size = max(array[:1].size for array in arrays)
    step = max(1, BLOCK // max(1, size))
    for start in range(0, len(arrays[0]), step):
        yield tuple(array[start : start + step] for array in arrays)


def of_truth(p, y):
    """Return the probability of the true class of every label that is not void, (v,)."""
    valid = np.asarray(y) >= 0
    return np.take_along_axis(p[valid], np.asarray(y)[valid][:, None].astype(int), -1)[:, 0]


def negative_log_likelihood(p, y):
    """Return the mean of -log of the true class' probability, nats; p is (n, ..., C)."""
    found = [np.log(np.maximum(of_truth(*pair), SMALLEST)) for pair in blocks(p, y)]
    return -float(np.mean(np.concatenate(found), dtype=np.float64))


def calibration(p, y, bins=15):
    """Compare the confidence of predictions with their accuracy.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, Eq. 3.

    Args:
        p: probabilities (n, ..., C).
        y: labels (n, ...).
        bins: of equal width.

    Returns:
        A dictionary of arrays (bins,): "confidence" and "accuracy", the means, NaN where a bin is
        empty, and "share" of the labels; and "error", the expected calibration error.
    """
    count, sure, right = np.zeros(bins), np.zeros(bins), np.zeros(bins)
    for part, labels in blocks(p, y):
        valid = np.asarray(labels) >= 0
        part, labels = part[valid], np.asarray(labels)[valid]
        confidence = part.max(axis=-1).astype(np.float64)
        place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # (lower, upper]
        count += np.bincount(place, minlength=bins)
        sure += np.bincount(place, confidence, minlength=bins)
        right += np.bincount(place, part.argmax(axis=-1) == labels, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = sure / count, right / count
    error = float(np.abs(right - sure).sum() / max(count.sum(), 1))
    share = count / max(count.sum(), 1)
    return {"confidence": confidence, "accuracy": accuracy, "share": share, "error": error}


def agreement(outputs, y=None):
    """Return how often members decide alike.

    Args:
        outputs: list of M arrays of logits (n, ..., K).
        y: labels (n, ...), if void ones are to be left out.

    Returns:
        (M, M), shares of the labels.
    """
    alike, count = np.zeros((len(outputs), len(outputs))), 0
    extra = [] if y is None else [y]
    for parts in blocks(*outputs, *extra):
        decided = [of_logits(part).argmax(axis=-1) for part in parts[: len(outputs)]]
        valid = np.ones(decided[0].shape, bool) if y is None else np.asarray(parts[-1]) >= 0
        decided = np.stack([one[valid] for one in decided])
        count += decided.shape[1]
        alike += [[np.sum(one == other) for other in decided] for one in decided]
    return alike / max(count, 1)
