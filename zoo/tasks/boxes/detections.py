"""Detections: decoded from raw outputs, scored against the ground truth, and drawn.

They are rows (m, 6) of an image, as `zoo.tasks.boxes.nms` makes them: corners, score, class.
"""

import functools
import json

import keras
import numpy as np

from zoo import plots
from zoo.tasks.boxes import average_precision, coding, nms
from zoo.tasks.boxes.losses import AREA, CORNERS, CROWD, IGNORED, LABEL
from zoo.tasks.boxes.preparation import real, unframed

SHOWN = 0.25  # score from which a box is drawn and listed
SCORED = 0.005  # score from which a box counts for precision and recall, as in Darknet's program
BATCH = 16  # images whose detections are found at once


def detected(outputs, info, score):
    """Turn raw outputs (n, A, 5 + C) into detections above a score: for each image (m, 6)."""
    settings = {**info["suppression"], "score": score}
    finder = compiled(json.dumps([outputs.shape[1:], info["grid"], settings]))
    batch, found = min(BATCH, len(outputs)) or 1, []
    for start in range(0, len(outputs), batch):
        # The last batch is filled up: another shape would be compiled anew.
        rows = np.minimum(np.arange(start, start + batch), len(outputs) - 1)
        found += nms.found(finder.predict_on_batch(outputs[rows]))
    return found[: len(outputs)]


@functools.lru_cache(maxsize=8)
def compiled(key):
    """Return what finds boxes, of a key: JSON of the outputs' shape, the grid and the settings."""
    shape, grid, settings = json.loads(key)
    layer = nms.Boxes(grid, settings, dtype="float32")
    finder = keras.Sequential([keras.Input(shape), layer])  # a model, so that Keras compiles it
    # PyTorch's compiler takes longer than the work that it would save.
    finder.compile(jit_compile=keras.config.backend() != "torch")
    return finder


def summarize(y, outputs, info):
    """Return pairs of boxes (M, 7) and detections (m, 6) in raw outputs (n, A, 5 + C), a list."""
    return list(zip(y, detected(outputs, info, SCORED), strict=True))


def score(pairs, info):
    """Score boxes (M, 7) and detections (m, 6) of each image by COCO's average precision."""
    names, (y, found) = info["classes"], zip(*pairs, strict=True)
    found = average_precision.average_precision(truths(y), found, len(names))
    scores = {key: value for key, value in found.items() if isinstance(value, float)}
    scores["classes"] = {names[k]: each for k, each in found["classes"].items()}
    lines = [f"{'':>16} {'AP@0.5':>9} {'AP':>9} {'support':>9}", ""]
    occurring = {name: each for name, each in scores["classes"].items() if each["support"]}
    for name, each in occurring.items():
        lines.append(f"{name:>16} {each['ap50']:9.3f} {each['ap']:9.3f} {each['support']:9}")
    total = sum(each["support"] for each in occurring.values())
    if occurring:
        lines += ["", f"{'mean':>16} {found['map50']:9.3f} {found['map']:9.3f} {total:9}", ""]
    return scores, "\n".join(lines)


def truths(y):
    """Return boxes (n, M, 7) as `average_precision.average_precision` takes them."""
    found = []
    for rows in map(real, y):
        here = coding.area(rows[:, CORNERS])
        found.append(
            {
                "boxes": rows[:, CORNERS],
                "labels": rows[:, LABEL].astype(int),
                "area": rows[:, AREA],
                "ignore": rows[:, IGNORED] > 0,
                "crowd": rows[:, IGNORED] == CROWD,
                "scale": float(np.median(rows[:, AREA] / here)) if len(rows) else 1.0,
            }
        )
    return found


def curves(pairs, info):
    """Draw precision over recall of boxes (M, 7) and detections (m, 6) of each image."""
    y, found = zip(*pairs, strict=True)
    lines = average_precision.average_precision(truths(y), found, len(info["classes"]))["curves"]
    lines = [lines.get(k) for k in range(len(info["classes"]))]
    return {"precision_recall": plots.precision_recall(lines, info["classes"])}


def plot(x, y, outputs, info):
    """Draw images with true and predicted boxes: see `pictures`."""
    return pictures(x, y, detected(outputs, info, SCORED), info)


def pictures(x, y, found, info):
    """Draw images with true and predicted boxes, from worst to best."""
    shown = [rows[rows[:, 4] >= SHOWN] for rows in found]
    matches = [matched(real(rows), seen) for rows, seen in zip(y, shown, strict=True)]
    order, panels = np.argsort([f1(*match) for match in matches], kind="stable"), []
    for i in order[np.linspace(0, len(x) - 1, min(5, len(x))).round().astype(int)]:
        objects, (hits, missed) = real(y[i]), matches[i]
        objects = objects[objects[:, IGNORED] == 0]
        left, top, right, bottom = unframed(x[i])
        image, corner = x[i][top:bottom, left:right], np.float32([left, top, left, top])
        words = ["missed" if miss else "" for miss in missed]
        truth = drawn(image, objects[:, CORNERS] - corner, objects[:, LABEL], info, words)
        panels.append((truth, f"ground truth, {len(objects)} boxes", plots.INK))
        rows = shown[i][np.argsort(shown[i][:, 4], kind="stable")]
        hit = hits[np.argsort(shown[i][:, 4], kind="stable")]
        words = [
            f"{'' if right else 'FP '}{row[4]:.2f}" for row, right in zip(rows, hit, strict=True)
        ]
        title = f"TP {hits.sum()}, FP {(~hits).sum()}, FN {missed.sum()}"
        panels.append(
            (drawn(image, rows[:, :4] - corner, rows[:, 5], info, words), title, plots.INK)
        )
    return {"examples": plots.images(panels, legend(info), columns=2, size=4.0)}


def matched(truth, seen):
    """Match detections with objects of their class by IoU 0.5 or more, the highest scores first.

    Args:
        truth: boxes (n, 7) of an image; those to be ignored are left out, and what finds them.
        seen: detections (m, 6).

    Returns:
        (hits, missed): for each detection whether it is a true positive (one that finds an ignored
        object counts as one), and for each object that is not ignored whether it is missed.
    """
    ignored = truth[:, IGNORED] > 0
    corners = np.asarray(seen[:, None, :4], truth.dtype)
    overlap = np.asarray(coding.iou(corners, truth[:, CORNERS]))  # (m, n)
    hits, taken = np.zeros(len(seen), bool), np.zeros(len(truth), bool)
    for i in np.argsort(-seen[:, 4], kind="stable"):
        fits = (truth[:, LABEL] == seen[i, 5]) & (overlap[i] >= 0.5) & (~taken | ignored)
        if fits.any():
            best = np.argmax(np.where(fits, overlap[i] - ignored, -2.0))  # ignored ones come last
            hits[i] = taken[best] = True
    return hits, ~taken[~ignored]


def f1(hits, missed):
    """Return the F1 score of `matched`'s result; 1 where there is nothing and nothing is seen."""
    total = 2 * hits.sum() + (~hits).sum() + missed.sum()
    return float(2 * hits.sum() / total) if total else 1.0


def drawn(image, corners, labels, info, words=None):
    """Return an image (H, W, 3) with boxes (n, 4) in the colours of their classes."""
    colours = plots.palette(len(info["classes"]))[np.asarray(labels, int)]
    return plots.boxes(np.asarray(image, np.float32), corners, colours, words)


def preview(x, y, info):
    """Draw images as training sees them, with their boxes."""
    panels = []
    for image, rows in zip(x[:12], map(real, y[:12]), strict=True):
        panels.append((drawn(image, rows[:, CORNERS], rows[:, LABEL], info), "", plots.INK))
    return plots.images(panels, legend(info), columns=4)


def legend(info):
    """Return pairs of the names and colours of the classes."""
    return list(zip(info["classes"], plots.palette(len(info["classes"])), strict=True))
