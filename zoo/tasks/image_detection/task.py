"""Object detection: what is in this image, and where?"""

import json

import numpy as np

from zoo import plots
from zoo.tasks import images
from zoo.tasks.boxes import coding, losses
from zoo.tasks.boxes.detections import (
    SHOWN,
    curves,
    detected,
    drawn,
    plot,
    preview,
    score,
    summarize,
)
from zoo.tasks.boxes.losses import AREA, CORNERS, CROWD, DIFFICULT, IGNORED, LABEL
from zoo.tasks.boxes.preparation import anchors, augment, fitted, letterbox, padded, unboxed
from zoo.tasks.task import Data, Results, Task, Training, Usage

KINDS = 6, 9  # numbers of anchors of the detectors that have any: two and three maps of three


def arguments(info, options):
    """Return what the data decides of the builder's arguments, with the anchors of the options."""
    size, channels = options["image_size"], images.channels(info, options)
    values = dict(input_shape=(size, size, channels), num_classes=len(info["classes"]))
    if options["anchors"] == "auto":
        values["anchors"] = info["anchors"]
    elif options["anchors"] is not None:
        values["anchors"] = options["anchors"]
    return values


def built(model, options):
    """Return the model's grid and the settings of non-maximum suppression."""
    names = {"nms_iou": "iou", "soft_nms": "sigma"}
    settings = {short: options[name] for name, short in names.items()}
    return {"grid": coding.grid(model), "suppression": settings}


def measure(examples, options):
    """Return the channels and the range of values, and anchors if they are "auto"."""
    constants = images.measure(examples, options)
    if options["anchors"] == "auto":
        sizes = []
        for example in examples:
            height, width = example["image"].shape[:2]
            factor, _, _ = fitted((height, width), options["image_size"])
            bbox = np.asarray(example["objects"]["bbox"], np.float64).reshape(-1, 4)
            sizes.append((bbox[:, 2:] - bbox[:, :2])[:, ::-1] * (width, height) * factor)
        sizes = np.concatenate(sizes)
        sizes = sizes[(sizes > 0).all(axis=1)]
        constants["anchors"] = {str(count): anchors(sizes, count) for count in KINDS}
    return constants


def prepare(piece, info, options):
    """Return the image in a square (S, S, C) float16 from 0 to 1, and boxes (M, 7) float32.

    Half precision distinguishes the 256 values of a photograph, in half of the disk space.
    """
    image, size = piece["image"], options["image_size"]
    x = images.scale(image, images.bits(image) or info["range"], info["channels"])
    x, factor, corner = letterbox(x, size)
    if "objects" not in piece:
        return x.astype(np.float16), None
    objects, (height, width) = piece["objects"], image.shape[:2]
    bbox = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
    bbox = bbox * np.float32([width, height, width, height])
    rows = np.zeros((len(bbox), losses.COLUMNS), np.float32)
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
    return losses.loss(
        info["grid"],
        ciou=options["loss"] == "ciou",
        smoothing=options["label_smoothing"],
        focal=options["focal"],
    )


def objects(y):
    """Count the boxes (n, M, 7) that are trained on and scored: no padding, no crowds."""
    return int(np.sum((y[..., LABEL] >= 0) & (y[..., IGNORED] == 0)))


def decode(outputs, info):
    """Turn raw outputs into boxes: corners in pixels of the model's input, scores, classes."""
    return [
        {"boxes": rows[:, :4], "probability": rows[:, 4], "labels": rows[:, 5].astype(int)}
        for rows in detected(outputs, info, info.get("confidence", SHOWN))
    ]


def present(example, pieces, outputs, info):
    """Return the table's row of one image (how many of each class), its picture and COCO's JSON."""
    image, size = example["image"], info["grid"]["size"][0]
    height, width = image.shape[:2]
    rows = detected(np.stack([*outputs]), info, info.get("confidence", SHOWN))[0]
    rows = unboxed(rows, image.shape, size)
    labels, names = rows[:, 5].astype(int), info["classes"]
    arrays = {"boxes": rows[:, :4], "scores": rows[:, 4], "labels": labels}
    row = {"height": height, "width": width, "objects": len(rows)}
    row |= {name: int(np.sum(labels == k)) for k, name in enumerate(names)}

    def picture(path):
        x = images.scale(image, images.bits(image) or info["range"], image.shape[-1])
        words = [f"{names[k]} {score:.0%}" for k, score in zip(labels, rows[:, 4], strict=True)]
        order = np.argsort(rows[:, 4], kind="stable")
        shown = drawn(x, rows[order, :4], labels[order], info, [words[i] for i in order])
        plots.save_image(path, shown)

    def results(path):
        entries = [
            {
                "image_id": path.stem.removesuffix("_boxes"),
                "category_id": int(row[5]),
                "category": names[int(row[5])],
                "bbox": [round(float(v), 2) for v in (*row[:2], *(row[2:4] - row[:2]))],
                "score": round(float(row[4]), 4),
            }
            for row in rows
        ]
        path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")

    return {**row, "arrays": arrays}, {"_boxes.png": picture, "_boxes.json": results}


TASK = Task(
    name="image_detection",
    dataset="bccd",
    options=dict(
        image_size=416,  # pixels a side of the square that images are fitted into
        max_boxes=100,  # of an image; the smallest of more are left out
        channels=0,  # 1 gray, 3 colour, or the number of bands; 0 as the data
        anchors=None,  # "auto": computed from the data; or pairs (width, height), in pixels
        classes="",  # names or indices of those chosen; boxes of others are dropped
        loss="ciou",
        label_smoothing=0.0,  # share of the probability taken from the true class
        focal=0.0,  # exponent of the focal loss of the objectness; 0: plain cross-entropy
        nms_iou=0.45,  # overlap from which the less probable of two boxes is dropped
        soft_nms=0.0,  # sigma of soft non-maximum suppression; 0: the hard one
        flip="horizontal",
        scale=0.5,  # 0.5: from 1/1.5 to 1.5 times the size
        shift=0.1,
        mosaic=0.5,  # share of the images that are made of four
        mixup=0.0,  # share of the images that are blended with another
        brightness=0.2,
        contrast=0.2,
        color_jitter=0.1,
        blur=0.0,
        noise=0.0,
        erasing=0.0,
    ),
    data=Data(
        prepared=("image_size", "max_boxes", "channels", "anchors"),
        sizes=("image_size",),
        fields=("image", "objects"),
        measure=measure,
        prepare=prepare,
        objects=objects,
    ),
    training=Training(
        defaults=dict(epochs=100, updates=1000, batch_size=8, learning_rate=0.001, jit=False),
        losses=("ciou", "paper"),
        best=("val_map50", "max"),
        arguments=arguments,
        built=built,
        augment=lambda info, options: augment(options),
        loss=loss,
        metrics=lambda info: [],
        preview=preview,
    ),
    results=Results(
        summarize=summarize,
        score=score,
        curves=curves,
        plot=plot,
    ),
    usage=Usage(
        views=views,
        decode=decode,
        present=present,
    ),
)
