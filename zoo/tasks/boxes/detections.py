"""Detections: decoded from raw outputs, scored against the ground truth, and drawn.

They are rows (m, 6) of an image, as `zoo.tasks.boxes.nms` makes them: corners, score, class.
"""

import functools
import json

import keras
import numpy as np

from zoo import plots
from zoo.tasks.boxes import average_precision, coding, fusion, nms
from zoo.tasks.boxes.losses import AREA, CORNERS, CROWD, IGNORED, LABEL
from zoo.tasks.boxes.preparation import real, unframed

SHOWN = 0.25  # score from which a box is drawn and listed
SCORED = 0.005  # score from which a box counts for precision and recall, as in Darknet's program
BATCH = 16  # images whose detections are computed at once


def detected(outputs, info, score):
    """Turn a detector's outputs into detections above a score, for each image (m, 6).

    Args:
        outputs: raw, (n, A, 5 + C); or of several detectors in one model their rows (n, M, R, 6),
            which are combined here.
        info: of the model, with its grid and the settings of non-maximum suppression, or of
            `fusion.fuse`.
        score: boxes of no higher score are dropped.
    """
    if info["grid"]["form"] == fusion.ROWS:
        settings = dict(info["suppression"], limit=max(info["grid"]["size"]))
        images = [fusion.fuse(list(rows), **settings) for rows in outputs]
        return [rows[rows[:, 4] > score] for rows in images]
    settings = {**info["suppression"], "score": score}
    ending = compiled(json.dumps([outputs.shape[1:], info["grid"], settings]))
    batch, images = min(BATCH, len(outputs)) or 1, []
    for start in range(0, len(outputs), batch):
        # The last batch is filled up: another shape would be compiled again.
        rows = np.minimum(np.arange(start, start + batch), len(outputs) - 1)
        images += nms.detections(ending.predict_on_batch(outputs[rows]))
    return images[: len(outputs)]


@functools.lru_cache(maxsize=8)
def compiled(key):
    """Return a model from raw outputs to boxes for JSON of their shape, the grid and settings."""
    shape, grid, settings = json.loads(key)
    layer = nms.Boxes(grid, settings, dtype="float32")
    ending = keras.Sequential([keras.Input(shape), layer])  # a model, so that Keras compiles it
    # PyTorch's compiler takes longer than the work that it would save.
    ending.compile(jit_compile=keras.config.backend() != "torch")
    return ending


def summarize(y, outputs, info):
    """Return a list of pairs: an image's true boxes (M, 7), and its detections (m, 6)."""
    return list(zip(y, detected(outputs, info, SCORED), strict=True))


def score(pairs, info):
    """Score boxes (M, 7) and detections (m, 6) of each image by COCO's average precision."""
    names, (y, detections) = info["classes"], zip(*pairs, strict=True)
    results = average_precision.average_precision(truths(y), detections, len(names))
    scores = {key: value for key, value in results.items() if isinstance(value, float)}
    scores["classes"] = {names[k]: row for k, row in results["classes"].items()}
    lines = [f"{'':>16} {'AP@0.5':>9} {'AP':>9} {'support':>9}", ""]
    occurring = {name: row for name, row in scores["classes"].items() if row["support"]}
    for name, row in occurring.items():
        lines.append(f"{name:>16} {row['ap50']:9.3f} {row['ap']:9.3f} {row['support']:9}")
    total = sum(row["support"] for row in occurring.values())
    if occurring:
        lines += ["", f"{'mean':>16} {results['map50']:9.3f} {results['map']:9.3f} {total:9}", ""]
    return scores, "\n".join(lines)


def truths(y):
    """Return boxes (n, M, 7) as `average_precision.average_precision` takes them."""
    truth = []
    for rows in map(real, y):
        areas = coding.area(rows[:, CORNERS])
        truth.append(
            {
                "boxes": rows[:, CORNERS],
                "labels": rows[:, LABEL].astype(int),
                "area": rows[:, AREA],
                "ignore": rows[:, IGNORED] > 0,
                "crowd": rows[:, IGNORED] == CROWD,
                "scale": float(np.median(rows[:, AREA] / areas)) if len(rows) else 1.0,
            }
        )
    return truth


def curves(pairs, info):
    """Draw precision over recall of boxes (M, 7) and detections (m, 6) of each image."""
    y, detections = zip(*pairs, strict=True)
    results = average_precision.average_precision(truths(y), detections, len(info["classes"]))
    lines = results["curves"]
    lines = [lines.get(k) for k in range(len(info["classes"]))]
    return {"precision_recall": plots.precision_recall(lines, info["classes"])}


def plot(x, y, outputs, info):
    """Draw images with true and predicted boxes: see `pictures`."""
    return pictures(x, y, detected(outputs, info, SCORED), info)


def pictures(x, y, detections, info):
    """Draw images with true and predicted boxes, from worst to best."""
    shown = [rows[rows[:, 4] >= SHOWN] for rows in detections]
    matches = [matched(real(truth), rows) for truth, rows in zip(y, shown, strict=True)]
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


def matched(truth, predicted):
    """Match detections with objects of their class by IoU 0.5 or more, the highest scores first.

    Args:
        truth: boxes (n, 7) of an image; ignored ones count neither as missed nor as false.
        predicted: detections (m, 6).

    Returns:
        (hits, missed): for each detection whether it is a true positive (one that matches an
        ignored object counts as one), and for each object that is not ignored whether it is missed.
    """
    ignored = truth[:, IGNORED] > 0
    corners = np.asarray(predicted[:, None, :4], truth.dtype)
    overlap = np.asarray(coding.iou(corners, truth[:, CORNERS]))  # (m, n)
    hits, taken = np.zeros(len(predicted), bool), np.zeros(len(truth), bool)
    for i in np.argsort(-predicted[:, 4], kind="stable"):
        fits = (truth[:, LABEL] == predicted[i, 5]) & (overlap[i] >= 0.5) & (~taken | ignored)
        if fits.any():
            best = np.argmax(np.where(fits, overlap[i] - ignored, -2.0))  # ignored ones come last
            hits[i] = taken[best] = True
    return hits, ~taken[~ignored]


def f1(hits, missed):
    """Return the F1 score of `matched`'s result; 1 without objects and detections."""
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
