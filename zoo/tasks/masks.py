"""Masks: read off a segmenter's logits, judged beside the truth, and drawn."""

import numpy as np

from zoo import losses, plots
from zoo.tasks import report

BACKGROUND = "background"


def labels(outputs):
    """Return the most probable class (..., H, W) of logits (..., H, W, K); of one logit 0 or 1."""
    if outputs.shape[-1] == 1:
        return (outputs[..., 0] > 0).astype(np.int64)
    return np.argmax(outputs, axis=-1)


def probabilities(outputs):
    """Return the probabilities (..., K), of all K classes, of logits; of one logit that of 1."""
    if outputs.shape[-1] == 1:
        return 1 / (1 + np.exp(-np.asarray(outputs, np.float32)))
    return report.softmax(outputs)


def score(y, outputs, info):
    """Score logits (B, h, w, K) against labels (B, H, W), void pixels left out."""
    y = np.asarray(losses.middle(y, outputs))
    scores, text = report.classification(y, labels(outputs), info["classes"], iou=True)
    chosen = info["classes"][1:] if len(info["classes"]) == 2 else info["classes"]
    held = [scores["classes"][name] for name in chosen]
    held = [found for found in held if found["support"] or found["precision"]] or held[:1]
    for key, name in {"dice": "f1-score", "precision": "precision", "recall": "recall"}.items():
        scores[key] = float(np.mean([found[name] for found in held]))
    return scores, text


def painted(classes):
    """Return the colours (K, 3) of the classes, and which are painted: all but the background."""
    colours = plots.palette(len(classes))
    return colours, [name != BACKGROUND for name in classes]


def plot(x, y, outputs, info):
    """Draw the confusion matrix, and images with truth and prediction, from worst to best."""
    found = labels(outputs)
    y = np.asarray(losses.middle(y, outputs))
    x = np.asarray(losses.middle(x, outputs))
    right = np.mean((found == y) | (y < 0), axis=(1, 2))
    order = np.argsort(right, kind="stable")
    panels = []
    for i in order[np.linspace(0, len(x) - 1, min(5, len(x))).round().astype(int)]:
        panels.append((plots.rgb(x[i]), "image", plots.INK))
        for mask, title in [(y[i], "truth"), (found[i], f"prediction, {right[i]:.1%} right")]:
            panels.append((plots.overlay(x[i], mask, *painted(info["classes"])), title, plots.INK))
    matrix = report.confusion(y, found, len(info["classes"]))
    return {
        "confusion_matrix": plots.confusion_matrix(matrix, info["classes"]),
        "examples": plots.images(panels, legend(info), columns=3),
    }


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
