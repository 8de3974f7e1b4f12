"""Scores of predicted labels and their report, for every task with classes."""

import re

import numpy as np

from zoo import plots
from zoo.tasks.targets import conformal

WRONG = "#b3261e"  # colour of the titles of wrong predictions


def softmax(logits):
    """Return the probabilities of logits (..., K), float64."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def confusion(y, predicted, count):
    """Return the confusion matrix (K, K), true classes in rows; label -1 is void."""
    valid = y >= 0
    pairs = y[valid].astype(np.int64) * count + predicted[valid]
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def mean_iou(matrix):
    """Return the mean intersection over union of the classes that occur or are predicted.

    Args:
        matrix: (K, K) counts, as of `confusion`.
    """
    hits = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    return float(np.mean(hits[union > 0] / union[union > 0])) if union.any() else float("nan")


def classification(matrix, classes, iou=False):
    """Score predicted labels.

    Args:
        matrix: (K, K) counts, as of `confusion`.
        classes: their names.
        iou: whether intersection over union is scored, as in segmentation.

    Returns:
        A dictionary: accuracy, mean_class_accuracy (mean recall of the classes that occur), with
        `iou` mean_iou and each class's, and "classes" with precision, recall, F1 and support; and
        a printable table of the same.
    """
    from sklearn.metrics import classification_report

    # There may be tens of millions of pixels: pairs of classes, weighted by counts, are the same.
    truth, predicted = np.nonzero(matrix)
    settings = dict(labels=range(len(classes)), target_names=list(classes), zero_division=0)
    settings["sample_weight"] = matrix[truth, predicted]
    results = classification_report(truth, predicted, output_dict=True, **settings)
    hits, support = np.diag(matrix), matrix.sum(axis=1)
    occurs = support > 0
    scores = {
        "accuracy": float(hits.sum() / max(matrix.sum(), 1)),
        "mean_class_accuracy": float(np.mean(hits[occurs] / support[occurs])),
        "classes": {name: results[name] for name in classes},
    }
    text = classification_report(truth, predicted, digits=3, **settings)
    text = re.sub(r"( +)(\d+)\.0$", r"  \1\2", text, flags=re.MULTILINE)  # supports are counts
    if iou:
        ious = hits / np.maximum(support + matrix.sum(axis=0) - hits, 1)
        scores["mean_iou"] = mean_iou(matrix)
        for name, value in zip(classes, ious, strict=True):
            scores["classes"][name]["iou"] = float(value)
        rows = [f"{name:>12} {value:9.3f}" for name, value in zip(classes, ious, strict=True)]
        mean = f"{'mean':>12} {scores['mean_iou']:9.3f}"
        text += "\n".join(["", f"{'':>12} {'IoU':>9}", "", *rows, "", mean, ""])
    return scores, text


def predicted(outputs, info):
    """Return the labels (...) of logits (..., K); a single logit is that of class 1.

    They are the most probable classes. Of two classes, a model may have a threshold, the
    probability above which the second is predicted: `info["threshold"]`.
    """
    outputs = np.asarray(outputs)
    threshold = info.get("threshold", 0.5)
    if outputs.shape[-1] > 2 or (threshold == 0.5 and outputs.shape[-1] == 2):
        return np.argmax(outputs, axis=-1)
    logit = outputs[..., -1] - (outputs[..., 0] if outputs.shape[-1] == 2 else 0)
    return (logit > np.log(threshold / (1 - threshold))).astype(np.int64)


def summarize(y, outputs, info):
    """Return the confusion matrix of logits (B, ..., K) and labels (B, ...)."""
    return confusion(np.asarray(y), predicted(outputs, info), len(info["classes"]))


def score(matrix, info):
    """Score a confusion matrix (K, K)."""
    return classification(matrix, info["classes"])


def score_iou(matrix, info):
    """Score a confusion matrix (K, K) of points or pixels, by intersection over union too."""
    return classification(matrix, info["classes"], iou=True)


def curves(matrix, info):
    """Draw a confusion matrix (K, K)."""
    return {"confusion_matrix": plots.confusion_matrix(matrix, info["classes"])}


def decode(outputs, info):
    """Turn logits (B, K) into class, probability and all probabilities.

    With a conformal quantile in `info`, also into the set of classes, the most probable first.
    """
    rows, names, p = [], info["classes"], softmax(outputs)
    for k, row in zip(predicted(outputs, info), p, strict=True):
        known = dict(zip(names, row.tolist(), strict=True))
        rows.append({"class": names[k], "probability": float(row[k]), "probabilities": known})
    if "conformal" in info:
        for row, shares, inside in zip(rows, p, conformal.sets(p, info["conformal"]), strict=True):
            order = np.argsort(-shares, kind="stable")
            row["set"] = [names[k] for k in order if inside[k]]
    return rows


def row(decoded, info):
    """Return a table's row of a decoded prediction: its set is text, and a list for Python."""
    if "set" not in decoded:
        return decoded
    return {**decoded, "set": ";".join(decoded["set"]), "arrays": {"set": decoded["set"]}}


def caption(decoded):
    """Return the title of a picture: the class, its probability, and others that are possible."""
    title = f"{decoded['class']}  {decoded['probability']:.0%}"
    others = [name for name in decoded.get("set", ()) if name != decoded["class"]]
    return f"{title}\nor {', '.join(others)}" if others else title


def examples(y, predicted, count):
    """Choose examples to show: up to half of them misclassified, then correct ones, of all classes.

    Args:
        y: true labels (n,).
        predicted: predicted labels (n,).
        count: how many at most.

    Returns:
        Indices (count,) or fewer, always the same; the true classes take turns.
    """
    y, wrong = np.asarray(y), np.asarray(predicted) != np.asarray(y)
    first = taking_turns(np.flatnonzero(wrong), y)[: count // 2]
    return np.concatenate([first, taking_turns(np.flatnonzero(~wrong), y)])[:count].astype(int)


def taking_turns(rows, labels):
    """Return rows in a random order, always the same, in which their labels take turns."""
    rows = np.random.default_rng(0).permutation(rows)
    turns = np.zeros(len(rows), int)
    for label in np.unique(labels[rows]):
        same = labels[rows] == label
        turns[same] = np.arange(same.sum())
    return rows[np.argsort(turns, kind="stable")]


def verdict(classes, truth, predicted):
    """Return the title of an example, and its colour."""
    if truth == predicted:
        return classes[truth], plots.INK
    return f"true {classes[truth]}, predicted {classes[predicted]}", WRONG
