"""Probabilities of the members, and their metrics: log-loss, calibration error, agreement.

Labels are integers (n, ...); -1 is void and is ignored. Arrays may be large and memory-mapped, so
they are processed in blocks of examples.
"""

import numpy as np

SMALLEST = 1e-7  # probabilities are clipped at this value
BLOCK = 2**22  # values per block


def of_logits(logits):
    """Return the probabilities (n, ..., C) float32 of logits (n, ..., K): C = K, or 2 for K = 1."""
    logits = np.asarray(logits, np.float32)
    if logits.shape[-1] == 1:
        negative = 1 / (1 + np.exp(np.clip(logits, -80, 80)))
        positive = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        return np.concatenate([negative, positive], axis=-1)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def blocks(*arrays):
    """Yield tuples of the same block of examples of each array."""
    size = max(array[:1].size for array in arrays)
    step = max(1, BLOCK // max(1, size))
    for start in range(0, len(arrays[0]), step):
        yield tuple(array[start : start + step] for array in arrays)


def labelled(outputs, y, groups=None, most=BLOCK):
    """Return the outputs (m, K) of labels that are not void, the labels, and their groups.

    Of more than `most` labels of maps, a fixed random sample of about this size is used.

    Args:
        outputs: (n, ..., K).
        y: labels (n, ...).
        groups: (n,) integers, or None if each example is one.
        most: number of labels.
    """
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    rng, parts = np.random.default_rng(0), []
    for part, truth, own in blocks(outputs, y, groups):
        truth = np.asarray(truth).reshape(len(truth), -1)
        rows, columns = np.nonzero(truth >= 0)
        room = -(-most * len(truth) // len(y))
        if len(rows) > room:
            chosen = np.sort(rng.choice(len(rows), room, replace=False))
            rows, columns = rows[chosen], columns[chosen]
        part = np.asarray(part).reshape(*truth.shape, -1)
        parts.append((part[rows, columns], truth[rows, columns].astype(int), own[rows]))
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def of_truth(p, y):
    """Return the probability of the true class for every label that is not void, (v,)."""
    valid = np.asarray(y) >= 0
    return np.take_along_axis(p[valid], np.asarray(y)[valid][:, None].astype(int), -1)[:, 0]


def negative_log_likelihood(p, y):
    """Return the mean of -log of the true class's probability, in nats; p is (n, ..., C)."""
    logarithms = [np.log(np.maximum(of_truth(*pair), SMALLEST)) for pair in blocks(p, y)]
    return -float(np.mean(np.concatenate(logarithms), dtype=np.float64))


def calibration(p, y, bins=15):
    """Compare the confidence of predictions with their accuracy.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, Eq. 3.

    Args:
        p: probabilities (n, ..., C).
        y: labels (n, ...).
        bins: number of bins of equal width.

    Returns:
        A dictionary of arrays (bins,): "confidence" and "accuracy", the means, NaN where a bin is
        empty, and "share" of the labels; and "error", the expected calibration error.
    """
    count, confidence_sum, correct = np.zeros(bins), np.zeros(bins), np.zeros(bins)
    for part, labels in blocks(p, y):
        valid = np.asarray(labels) >= 0
        part, labels = part[valid], np.asarray(labels)[valid]
        confidence = part.max(axis=-1).astype(np.float64)
        index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # (lower, upper]
        count += np.bincount(index, minlength=bins)
        confidence_sum += np.bincount(index, confidence, minlength=bins)
        correct += np.bincount(index, part.argmax(axis=-1) == labels, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = confidence_sum / count, correct / count
    error = float(np.abs(correct - confidence_sum).sum() / max(count.sum(), 1))
    share = count / max(count.sum(), 1)
    return {"confidence": confidence, "accuracy": accuracy, "share": share, "error": error}


def brier(p, y):
    """Return the Brier score of probabilities (m, C): the mean of Σ (p - truth)² over the classes.

    Brier, Monthly Weather Review 1950. From 0 to 2; of two classes it is twice (p - y)².
    """
    squares = (np.asarray(p, np.float64) ** 2).sum(axis=-1)
    return float(np.mean(squares - 2 * of_truth(p, y) + 1))


def adaptive_error(p, y, bins=15):
    """Return the calibration error over bins of as many labels each, probabilities (m, C).

    Nixon et al., CVPR workshops 2019, https://arxiv.org/abs/1904.01685, Sec. 3.3, of the predicted
    class: bins of equal width leave most of them to few labels where a model is certain.
    """
    confidence = np.asarray(p.max(axis=-1), np.float64)
    order = np.argsort(confidence, kind="stable")
    correct = (p.argmax(axis=-1) == y)[order]
    parts = np.array_split(confidence[order] - correct, min(bins, len(y)))
    return float(sum(abs(part.sum()) for part in parts) / len(y))


def agreement(outputs, y=None):
    """Return how often each pair of members predicts the same class.

    Args:
        outputs: list of M arrays of logits (n, ..., K).
        y: labels (n, ...), to ignore void ones.

    Returns:
        (M, M) array of shares of the labels.
    """
    equal, count = np.zeros((len(outputs), len(outputs))), 0
    extra = [] if y is None else [y]
    for parts in blocks(*outputs, *extra):
        predicted = [of_logits(part).argmax(axis=-1) for part in parts[: len(outputs)]]
        valid = np.ones(predicted[0].shape, bool) if y is None else np.asarray(parts[-1]) >= 0
        predicted = np.stack([labels[valid] for labels in predicted])
        count += predicted.shape[1]
        equal += [[np.sum(a == b) for b in predicted] for a in predicted]
    return equal / max(count, 1)
