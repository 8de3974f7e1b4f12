"""Object detection: what is in this image, and where?"""

import json

import numpy as np

from zoo import box_losses, boxes, plots, precision, suppression
from zoo.box_losses import AREA, CORNERS, CROWD, DIFFICULT, IGNORED, LABEL
from zoo.tasks import images
from zoo.tasks.boxes import anchors, augment, letterbox, padded, real
from zoo.tasks.task import Task

SHOWN = 0.25  # chance from which a box is drawn and told
SCORED = 0.005  # chance from which a box counts for precision and recall, as in Darknet's program
KINDS = 6, 9  # numbers of anchors of the detectors that have any: two and three maps of three


def arguments(info, options):
    """Return what the data decides of the builder's arguments, with anchors that were asked for."""
    size, channels = options["image_size"], images.channels(info, options)
    found = dict(input_shape=(size, size, channels), num_classes=len(info["classes"]))
    if options["anchors"] == "auto":
        found["anchors"] = info["anchors"]
    elif options["anchors"] is not None:
        found["anchors"] = options["anchors"]
    return found


def built(model, options):
    """Return the model's grid, and how its boxes are suppressed."""
    names = {"nms_iou": "iou", "soft_nms": "sigma"}
    settings = {short: options[name] for name, short in names.items()}
    return {"grid": boxes.grid(model), "suppression": settings}


def measure(examples, options):
    """Return the channels and the range of values, and anchors if they are asked for."""
    found = images.measure(examples, options)
    if options["anchors"] == "auto":
        sizes = []
        for example in examples:
            height, width = example["image"].shape[:2]
            bbox = np.asarray(example["objects"]["bbox"], np.float64).reshape(-1, 4)
            factor = options["image_size"] / max(height, width)
            sizes.append((bbox[:, 2:] - bbox[:, :2])[:, ::-1] * (width, height) * factor)
        sizes = np.concatenate(sizes)
        sizes = sizes[(sizes > 0).all(axis=1)]
        found["anchors"] = {str(count): anchors(sizes, count) for count in KINDS}
    return found


def cut(example, options):
    """Return the image as the only piece."""
    return [example]


def prepare(piece, info, options):
    """Return the image in a square (S, S, C) float16 from 0 to 1, and boxes (M, 7) float32.

    Half precision holds the 256 values of a photograph apart, and takes half the disk.
    """
    image, size = piece["image"], options["image_size"]
    x = images.scale(image, images.bits(image) or info["range"], info["channels"])
    x, factor, corner = letterbox(x, size)
    if "objects" not in piece:
        return x.astype(np.float16), None
    objects, (height, width) = piece["objects"], image.shape[:2]
    bbox = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
    bbox = bbox * np.float32([width, height, width, height])
    rows = np.zeros((len(bbox), box_losses.COLUMNS), np.float32)
    rows[:, CORNERS] = bbox * factor + np.float32([*corner, *corner])
    rows[:, LABEL] = objects["label"]
    rows[:, AREA] = (bbox[:, 2:] - bbox[:, :2]).prod(axis=1)
    for key, kind in (("is_difficult", DIFFICULT), ("is_crowd", CROWD)):
        if key in objects:
            rows[np.asarray(objects[key], bool), IGNORED] = kind
    return x.astype(np.float16), padded(rows, options["max_boxes"])


def views(shape, options):
    """Return the image as it is, the only view: detections of several are fused, not averaged."""
    return [(lambda x: x, lambda outputs: outputs)]


def loss(info, options):
    """Return the loss of the model's grid."""
    return box_losses.loss(
        info["grid"],
        ciou=options["loss"] == "ciou",
        smoothing=options["label_smoothing"],
        focal=options["focal"],
    )


def detected(outputs, info, score, batch=16):
    """Turn raw outputs (n, A, 5 + C) into boxes: for each image (m, 6), see `zoo.suppression`."""
    found = []
    for start in range(0, len(outputs), batch):
        several = boxes.scored(outputs[start : start + batch], info["grid"])
        rows = suppression.suppress(*several, score=score, **info["suppression"])
        found += suppression.found(rows)
    return found


def decode(outputs, info):
    """Turn raw outputs into boxes: corners in pixels of the model's input, chances, classes."""
    return [
        {"boxes": rows[:, :4], "probability": rows[:, 4], "labels": rows[:, 5].astype(int)}
        for rows in detected(outputs, info, SHOWN)
    ]


def judged(y, found):
    """Return truth (n, M, 7) and detections as `zoo.precision.average_precision` takes them."""
    truth = []
    for rows in map(real, y):
        here = boxes.area(rows[:, CORNERS])
        truth.append(
            {
                "boxes": rows[:, CORNERS],
                "labels": rows[:, LABEL].astype(int),
                "area": rows[:, AREA],
                "ignore": rows[:, IGNORED] > 0,
                "crowd": rows[:, IGNORED] == CROWD,
                "scale": float(np.median(rows[:, AREA] / here)) if len(rows) else 1.0,
            }
        )
    return truth, found


def score(y, outputs, info):
    """Score raw outputs (n, A, 5 + C) against boxes (n, M, 7) by COCO's average precision."""
    return judge(y, detected(outputs, info, SCORED), info)


def judge(y, found, info):
    """Score detections, for each image (m, 6), against boxes (n, M, 7): numbers and a report."""
    names = info["classes"]
    found = precision.average_precision(*judged(y, found), len(names))
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


def plot(x, y, outputs, info):
    """Draw what was found: see `pictures`."""
    return pictures(x, y, detected(outputs, info, SCORED), info)


def pictures(x, y, found, info):
    """Draw precision over recall, and images with truth and detections, from worst to best."""
    curves = precision.average_precision(*judged(y, found), len(info["classes"]))["curves"]
    curves = [curves.get(k) for k in range(len(info["classes"]))]
    quality = [agreement(real(rows), seen) for rows, seen in zip(y, found, strict=True)]
    order, panels = np.argsort(quality, kind="stable"), []
    for i in order[np.linspace(0, len(x) - 1, min(5, len(x))).round().astype(int)]:
        truth, seen = real(y[i]), found[i][found[i][:, 4] >= SHOWN]
        panels.append((drawn(x[i], truth[:, CORNERS], truth[:, LABEL], info), "truth", plots.INK))
        title = f"{len(seen)} found of {len(truth)}"
        panels.append((drawn(x[i], seen[:, :4], seen[:, 5], info), title, plots.INK))
    return {
        "precision_recall": plots.precision_recall(curves, info["classes"]),
        "examples": plots.images(panels, legend(info), columns=2, size=4.0),
    }


def agreement(truth, seen):
    """Return the mean, over true boxes (n, 7), of the best overlap of a detection (m, 6)."""
    seen = seen[seen[:, 4] >= SHOWN]
    if not len(truth) or not len(seen):
        return float(len(truth) == len(seen))
    overlap = boxes.iou(truth[:, None, CORNERS], seen[:, :4])
    overlap = np.where(truth[:, None, LABEL] == seen[:, 5], overlap, 0.0)
    return float(overlap.max(axis=1).mean() * min(1.0, len(truth) / len(seen)))


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


def present(example, pieces, outputs, info):
    """Return the table's row of one image (how many of each class), its picture and COCO's JSON."""
    image, size = example["image"], info["grid"]["size"][0]
    height, width = image.shape[:2]
    rows = detected(np.stack([*outputs]), info, SHOWN)[0]
    rows = unboxed(rows, (height, width), size)
    labels, names = rows[:, 5].astype(int), info["classes"]
    row = {"height": height, "width": width, "objects": len(rows)}
    row |= {name: int(np.sum(labels == k)) for k, name in enumerate(names)}

    def picture(path):
        x = images.scale(image, images.bits(image) or info["range"], image.shape[-1])
        words = [f"{names[k]} {chance:.0%}" for k, chance in zip(labels, rows[:, 4], strict=True)]
        order = np.argsort(rows[:, 4], kind="stable")
        shown = drawn(x, rows[order, :4], labels[order], info, [words[i] for i in order])
        plots.save_image(path, shown)

    def results(path):
        found = [
            {
                "image_id": path.stem.removesuffix("_boxes"),
                "category_id": int(row[5]),
                "category": names[int(row[5])],
                "bbox": [round(float(v), 2) for v in (*row[:2], *(row[2:4] - row[:2]))],
                "score": round(float(row[4]), 4),
            }
            for row in rows
        ]
        path.write_text(json.dumps(found, indent=1) + "\n")

    return row, {"_boxes.png": picture, "_boxes.json": results}


def unboxed(rows, shape, size):
    """Return detections (m, 6) in pixels of an image of a shape, not of the square of a size."""
    height, width = shape
    factor = size / max(height, width)
    h, w = (max(1, round(side * factor)) for side in shape)
    corner = np.float32([(size - w) // 2, (size - h) // 2] * 2)
    corners = (rows[:, :4] - corner) / factor
    corners = np.clip(corners, 0, np.float32([width, height, width, height]))
    return np.concatenate([corners, rows[:, 4:]], axis=1)


TASK = Task(
    name="image_detection",
    dataset="bccd",
    options=dict(
        image_size=416,
        max_boxes=100,  # of an image; the smallest of more are left out
        channels=0,  # 1 gray, 3 colour, 0 as the data
        anchors=None,  # "auto": found in the data; or pairs (width, height), pixels of the input
        loss="ciou",
        label_smoothing=0.0,
        focal=0.0,
        nms_iou=0.45,
        soft_nms=0.0,  # deviation of the Gaussian of soft suppression; 0: the hard one
        flip="horizontal",
        scale=0.5,
        shift=0.1,
        mosaic=0.5,
        mixup=0.0,
        brightness=0.2,
        contrast=0.2,
        color_jitter=0.1,
        blur=0.0,
        noise=0.0,
        erasing=0.0,
    ),
    prepared=("image_size", "max_boxes", "channels", "anchors"),
    sizes=("image_size",),
    fields=("image", "objects"),
    training=dict(epochs=100, batch_size=8, learning_rate=0.001, jit=False),
    losses=("ciou", "paper"),
    best=("val_map50", "max"),
    arguments=arguments,
    built=built,
    measure=measure,
    cut=cut,
    cover=cut,
    prepare=prepare,
    augment=augment,
    views=views,
    loss=loss,
    metrics=lambda info: [],
    score=score,
    decode=decode,
    plot=plot,
    preview=preview,
    present=present,
)
