"""Scores of labels against predictions, and their report, for every task that names classes."""

import numpy as np


def softmax(logits):
    """Return the probabilities of logits (..., K), float64."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def confusion(y, predicted, count):
    """Count pairs: (K, K), truth down, prediction across; label -1 is void."""
    valid = y >= 0
    pairs = y[valid].astype(np.int64) * count + predicted[valid]
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def classification(y, predicted, classes, iou=False):
    """Score labels (...) against predicted ones (...); label -1 is void.

    Returns:
        A dictionary: accuracy, mean_class_accuracy (mean recall of the classes that occur), with
        `iou` mean_iou and each class's, and "classes" with precision, recall, F1 and support; and
        a table of the same for people.
    """
    from sklearn.metrics import classification_report

    matrix = confusion(y, predicted, len(classes))
    valid = y >= 0
    settings = dict(labels=range(len(classes)), target_names=list(classes), zero_division=0)
    truth, guess = y[valid], predicted[valid]
    found = classification_report(truth, guess, output_dict=True, **settings)
    hits, support = np.diag(matrix), matrix.sum(axis=1)
    occurs = support > 0
    scores = {
        "accuracy": float(hits.sum() / max(matrix.sum(), 1)),
        "mean_class_accuracy": float(np.mean(hits[occurs] / support[occurs])),
        "classes": {name: found[name] for name in classes},
    }
    text = classification_report(truth, guess, digits=3, **settings)
    if iou:
        union = support + matrix.sum(axis=0) - hits
        each = hits / np.maximum(union, 1)
        scores["mean_iou"] = float(np.mean(each[union > 0]))
        for name, value in zip(classes, each, strict=True):
            scores["classes"][name]["iou"] = float(value)
        rows = [f"{name:>12} {value:9.3f}" for name, value in zip(classes, each, strict=True)]
        mean = f"{'mean':>12} {scores['mean_iou']:9.3f}"
        text += "\n".join(["", f"{'':>12} {'IoU':>9}", "", *rows, "", mean, ""])
    return scores, text
