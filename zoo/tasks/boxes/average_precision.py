"""COCO's scores of detections: average precision over classes, overlaps and sizes of objects.

Lin et al., ECCV 2014, https://arxiv.org/abs/1405.0312, and https://cocodataset.org/#detection-eval.
Matching and counting are pycocotools'.
"""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

OVERLAPS, RECALLS, MOST = 10, 101, 100  # IoU 0.5 to 0.95, points of a curve, rows of a class
HALF, THREE_QUARTERS = 0, 5  # indices of IoU 0.5 and 0.75
ALL, SMALL, MEDIUM, LARGE = range(4)  # indices of sizes: to 32² pixels, to 96², above


def average_precision(truth, predictions, count):
    """Score detections as COCO does.

    A detection is a true positive if it overlaps an object of its class, which no better one has
    matched, by the IoU threshold or more; a second detection of an object is a false positive.
    Ignored objects do not count, and neither do detections that match them, however many there
    are (difficult ones, as in VOC); a detection inside a crowd matches it, however small it is.

    Args:
        truth: for each image a dictionary of "boxes" (n, 4) x1, y1, x2, y2, pixels; "labels" (n,)
            integers; "area" (n,), pixels of the original image, by which objects are small or
            large; "ignore" (n,) bool; and, if there are any, "crowd" (n,) bool, which of the
            ignored ones are crowds, and "scale", the pixels of the original image, by area, in one
            pixel of the boxes, 1 unless given.
        predictions: for each image rows (m, 6) as of `nms.suppress`: corners, score, class;
            rows of class -1 are skipped, and so are those after the first 100 of a class.
        count: number of classes.

    Returns:
        "map", the mean average precision over IoU 0.5 to 0.95 and the classes that occur, "map50"
        and "map75" at one IoU, "map_small", "map_medium", "map_large" for objects of one size, and
        "ar100", the mean recall: floats, None if there is no such object. "classes", for each
        index {"ap", "ap50", "support"}; "curves", for each that occurs (recall, precision), both
        (101,) float64, at IoU 0.5.

    Raises:
        ValueError: if images or arrays do not match, or a label is not one of the classes.
    """
    check(truth, predictions, count)
    labels = [np.asarray(image["labels"])[~np.asarray(image["ignore"], bool)] for image in truth]
    support = np.bincount(np.concatenate([[], *labels]).astype(int), minlength=count)
    occurring = np.flatnonzero(support)
    precision = np.full((OVERLAPS, RECALLS, count, 4), -1.0)
    recall = np.full((OVERLAPS, count), -1.0)
    if len(occurring):
        result = evaluate(objects(truth), detections(truth, predictions), len(truth), occurring)
        precision[:, :, occurring] = result["precision"][..., 0]
        recall[:, occurring] = result["recall"][:, :, ALL, 0]
    points = np.linspace(0, 1, RECALLS)
    return {
        "map": mean(precision[..., ALL]),
        "map50": mean(precision[HALF, ..., ALL]),
        "map75": mean(precision[THREE_QUARTERS, ..., ALL]),
        "map_small": mean(precision[..., SMALL]),
        "map_medium": mean(precision[..., MEDIUM]),
        "map_large": mean(precision[..., LARGE]),
        "ar100": mean(recall),
        "classes": {
            i: {
                "ap": mean(precision[:, :, i, ALL]),
                "ap50": mean(precision[HALF, :, i, ALL]),
                "support": int(support[i]),
            }
            for i in range(count)
        },
        "curves": {int(i): (points, precision[HALF, :, i, ALL]) for i in occurring},
    }


def mean(values):
    """Return the mean of the values that COCO could compute, which are not -1; None without any."""
    values = values[values > -1]
    return float(values.mean()) if len(values) else None


def check(truth, predictions, count):
    """Raise a `ValueError` that names the image whose arrays cannot be scored."""
    if len(truth) != len(predictions):
        given = f"{len(predictions)} lists of rows do not fit {len(truth)} images"
        raise ValueError(f"{given}: give one each")
    for i, (image, rows) in enumerate(zip(truth, predictions, strict=True)):
        labels, rows = np.asarray(image["labels"]), np.asarray(rows)
        for name in ("boxes", "area", "ignore", "crowd"):
            expected = (len(labels), 4) if name == "boxes" else (len(labels),)
            if name in image and np.shape(image[name]) != expected:
                raise ValueError(f"image {i}: {name} {np.shape(image[name])} instead of {expected}")
        if rows.ndim != 2 or rows.shape[1] != 6:
            shape = f"rows {rows.shape} instead of (m, 6)"
            raise ValueError(f"image {i}: {shape}, as `suppress` returns them")
        for kind, classes, low in (("truth", labels, 0), ("rows", rows[:, 5], -1)):
            invalid = classes[(classes < low) | (classes >= count)]
            if len(invalid):
                label = f"{invalid[0]:g} of {count}"
                raise ValueError(f"image {i}: {kind} of class {label}: count from 0")


def objects(truth):
    """Return the ground truth as COCO annotations, with "crowd" for `Evaluation`."""
    annotations = []
    for i, image in enumerate(truth):
        image = {"crowd": np.zeros(len(image["labels"]), bool), **image}
        boxes, areas = sides(image["boxes"]), image["area"]
        for k, label in enumerate(image["labels"]):
            entry = annotation(len(annotations), i, boxes[k], label, areas[k])
            flags = {"iscrowd": int(image["ignore"][k]), "crowd": int(image["crowd"][k])}
            annotations.append({**entry, **flags})
    return annotations


def detections(truth, predictions):
    """Return rows as COCO annotations, those of class -1 left out."""
    annotations = []
    for i, (image, rows) in enumerate(zip(truth, predictions, strict=True)):
        rows = np.asarray(rows)[np.asarray(rows)[:, 5] >= 0]
        scale = float(image.get("scale", 1.0))
        for box, score, label in zip(sides(rows), rows[:, 4], rows[:, 5], strict=True):
            entry = annotation(len(annotations), i, box, label, box[2] * box[3] * scale)
            annotations.append({**entry, "iscrowd": 0, "score": float(score)})
    return annotations


def sides(boxes):
    """Return boxes (n, 4 or more) in corners as lists x, y, width, height."""
    boxes = np.asarray(boxes, np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]], axis=1).tolist()


def annotation(index, image, box, label, area):
    """Return what annotations of objects and detections share; an id of 0 would mean no match."""
    shared = {"image_id": image, "category_id": int(label), "bbox": box, "area": float(area)}
    return {"id": index + 1, **shared}


def evaluate(objects, detections, images, classes):
    """Return pycocotools' scores: "precision" (10, 101, K, 4, 1) and "recall" (10, K, 4, 1)."""
    with contextlib.redirect_stdout(io.StringIO()):
        tables = []
        for annotations in (objects, detections):
            table = COCO()
            table.dataset = {
                "images": [{"id": i} for i in range(images)],
                "categories": [{"id": int(i)} for i in classes],
                "annotations": annotations,
            }
            table.createIndex()
            tables.append(table)
        evaluation = Evaluation(*tables, "bbox")
        evaluation.params.maxDets = [MOST]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


class Evaluation(COCOeval):
    """COCOeval for objects that are ignored without being a crowd.

    COCOeval reads "iscrowd" alone, and sets "ignore" to it. Such an object may be matched any
    number of times, as is right for all ignored objects; but the overlap with it is the share of
    the detection that it covers, so that any part of it would match. Here "crowd" decides how the
    overlap is computed.
    """

    def computeIoU(self, imgId, catId):
        """Return the overlaps (m, n) of detections and objects, by score."""
        ignored = [entry["iscrowd"] for entry in self._gts[imgId, catId]]
        for entry in self._gts[imgId, catId]:
            entry["iscrowd"] = entry["crowd"]
        overlaps = super().computeIoU(imgId, catId)
        for entry, value in zip(self._gts[imgId, catId], ignored, strict=True):
            entry["iscrowd"] = value
        return overlaps
