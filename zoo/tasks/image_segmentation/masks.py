"""Masks: decoded from a segmenter's logits, scored against the ground truth, and drawn."""

import numpy as np

from zoo import plots
from zoo.nn import losses
from zoo.tasks.targets import report

BACKGROUND = "background"


def labels(outputs, info=None):
    """Return the predicted class (..., H, W) of logits (..., H, W, K); of one logit 0 or 1."""
    return report.predicted(outputs, info or {})


def probabilities(outputs):
    """Return the probabilities (..., K) of K logits; of a single logit that of class 1."""
    if outputs.shape[-1] == 1:
        return 1 / (1 + np.exp(-np.asarray(outputs, np.float32)))
    return report.softmax(outputs)


def summarize(y, outputs, info):
    """Return the confusion matrix of logits (B, h, w, K) and labels (B, H, W), without void."""
    y = np.asarray(losses.middle(y, outputs))
    return report.confusion(y, labels(outputs, info), len(info["classes"]))


def score(matrix, info):
    """Score the confusion matrix (K, K) of the pixels."""
    scores, text = report.score_iou(matrix, info)
    chosen = info["classes"][1:] if len(info["classes"]) == 2 else info["classes"]
    rows = [scores["classes"][name] for name in chosen]
    rows = [row for row in rows if row["support"] or row["precision"]] or rows[:1]
    for key, name in {"dice": "f1-score", "precision": "precision", "recall": "recall"}.items():
        scores[key] = float(np.mean([row[name] for row in rows]))
    return scores, text


def painted(classes):
    """Return the colours (K, 3) of the classes, and which are painted: all but the background."""
    colours = plots.palette(len(classes))
    return colours, [name != BACKGROUND for name in classes]


def plot(x, y, outputs, info):
    """Draw images with true and predicted masks, from worst to best.

    Pixels that do not count are grayed out: void ones, and those that another tile counts.
    """
    predicted = labels(outputs, info)
    y = np.asarray(losses.middle(y, outputs))
    x = np.asarray(losses.middle(x, outputs))
    dice = [image_dice(*masks, len(info["classes"])) for masks in zip(y, predicted, strict=True)]
    order = np.argsort(dice, kind="stable")
    order = order[np.isin(order, mostly_counted(y))]
    panels = []
    for i in order[np.linspace(0, len(order) - 1, min(5, len(order))).round().astype(int)]:
        panels.append((plots.rgb(x[i]), "image", plots.INK))
        counted = np.where(y[i] < 0, -1, predicted[i])
        title = "prediction, no object" if np.isnan(dice[i]) else f"prediction, Dice {dice[i]:.3f}"
        for mask, text in [(y[i], "ground truth"), (counted, title)]:
            drawn = plots.overlay(x[i], mask, *painted(info["classes"]), void=True)
            panels.append((drawn, text, plots.INK))
    return {"examples": plots.images(panels, legend(info), columns=3)}


def mostly_counted(y):
    """Return which masks (n, H, W) have half as many counted pixels as any, or more: (m,)."""
    counted = np.mean(np.asarray(y) >= 0, axis=(1, 2))
    return np.flatnonzero(counted >= counted.max(initial=0.0) / 2)


def image_dice(y, predicted, count):
    """Return the Dice score of one image: of class 1 of two, else the mean of those that occur.

    Args:
        y: true mask (H, W), -1 is void.
        predicted: (H, W).
        count: number of classes.

    Returns:
        A number from 0 to 1; NaN if none of these classes is there and none is predicted.
    """
    matrix = report.confusion(y, predicted, count)
    marked = matrix.sum(axis=0) + matrix.sum(axis=1)
    scored = np.arange(count) == 1 if count == 2 else marked > 0
    scored &= marked > 0
    return float(np.mean(2 * np.diag(matrix)[scored] / marked[scored])) if scored.any() else np.nan


def preview(x, y, info):
    """Draw images as training sees them, with the mask drawn in; void is grayed out."""
    panels = [
        (plots.overlay(image, mask, *painted(info["classes"]), void=True), "", plots.INK)
        for image, mask in zip(x[:12], y[:12], strict=True)
    ]
    return plots.images(panels, legend(info), columns=4)


def legend(info):
    """Return pairs of the names and colours of the classes that are painted."""
    colours, shown = painted(info["classes"])
    named = zip(info["classes"], colours, shown, strict=True)
    return [(name, colour) for name, colour, visible in named if visible]
