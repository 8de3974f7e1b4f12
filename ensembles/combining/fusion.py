"""Combination of detectors by fusion of their boxes.

The raw outputs of detectors cannot be averaged, because image sizes and grids may differ, so no
combined model is built. Instead, boxes are fused, in coordinates relative to the square into which
each detector resizes its images.
"""

import time

import numpy as np

from ensembles.combining import boxes
from ensembles.evaluation import report
from zoo.inference import predictors
from zoo.tasks.boxes import detections
from zoo.tasks.image_detection import task as image_detection
from zoo.training import runs
from zoo.weights import provenance, saving

SCORES = ("map50", "map", "map75", "ar100")
SIGMA = 0.5  # of Soft-NMS, as in its paper


def fuse(members, data, args, cut, warnings=()):
    """Detect boxes in the test split, fuse them, score all detections and write a run folder.

    Args:
        members: list of `ensembles.members.opening.Member` that passed `check`.
        data: for each member, what `datasets.prepared.prepare` returns.
        args: settings of the command: out, method, iou, skip, weights, fit, batch_size,
            command_line.
        cut: how the data are split: fold, validate, skip_bad.
        warnings: sentences for the report.

    Returns:
        (run folder, text of the table).
    """
    began, detected, rows = time.time(), [], []
    settings = dict(method=args.method, iou=args.iou, skip=args.skip, weights=args.weights)
    if args.fit:
        settings |= fitted(members, data, settings, args.batch_size)
    for member, member_data in zip(members, data, strict=True):
        split = member_data.splits["test"]
        images, y, milliseconds = predict(member, split, args.batch_size)
        detected.append(images)
        facts = dict(parameters=member.parameters, milliseconds=milliseconds)
        rows.append(row(member.name, "member", member, y, images, **facts))
    fused = [combine(image, **settings) for image in zip(*detected, strict=True)]
    rows.append(row(args.method, "ensemble", member, y, fused))
    about, info = member_data.about, member.record["info"]
    held = member_data.examples["validation"] if args.fit else provenance.NONE
    known = [(member.name, member.record) for member in members]
    record = {
        "model": "fuse",
        "found": settings,
        **({"fitted": "validation"} if args.fit else {}),
        "task": image_detection.TASK.name,
        "info": {"classes": info["classes"]},
        "data": about,
        "settings": {**cut, "command": args.command_line},
        "members": [member.manifest() for member in members],
        **({"warnings": list(warnings)} if warnings else {}),
        **provenance.merged(held, known, member_data.examples, about, cut),
        **runs.environment(),
    }
    run = runs.Run.created(args.out, f"fuse-{about['name']}", record, began)
    facts = {
        "data": f"{about['name']} ({about['fingerprint']}), {len(split):,} test images",
        "command": args.command_line,
        **{key: str(value) for key, value in settings.items()},
        **{f"warning {i}": text for i, text in enumerate(warnings, 1)},
    }
    x, size = split.take()[0], info["grid"]["size"][0]
    boxes_of_images = [scaled(rows, size) for rows in fused]
    drawn = detections.curves(list(zip(y, boxes_of_images, strict=True)), info)
    drawn |= detections.pictures(x, y, boxes_of_images, info)
    report.write(run.folder, f"fuse: {about['name']}", rows, facts=facts, figures=drawn)
    run.note(status="finished", rows=rows, scores={"test": rows[-1]["scores"]})
    return run.folder, report.table(rows)


def fitted(members, data, settings, batch_size):
    """Fit the weights and the IoU threshold to the highest mAP on the validation split.

    Coordinate search: each weight is doubled and halved and the IoU is changed by 0.05, until
    nothing improves. The few parameters limit overfitting.

    Returns:
        {"weights": one per member, "iou": a number}.
    """
    splits = [member_data.splits["validation"] for member_data in data]
    pairs = zip(members, splits, strict=True)
    predictions = [predict(member, split, batch_size)[:2] for member, split in pairs]
    detected, y = [images for images, _ in predictions], predictions[-1][1]

    def score(iou, weights):
        tried = {**settings, "iou": iou, "weights": weights}
        fused = [combine(image, **tried) for image in zip(*detected, strict=True)]
        return row("", "", members[-1], y, fused)["scores"]["map"]

    best = settings["iou"], settings["weights"] or [1.0] * len(members)
    best_score, before = score(*best), None
    while best != before:
        before, (iou, weights) = best, best
        tries = [(round(iou + step, 2), weights) for step in (-0.05, 0.05)]
        for i, weight in enumerate(weights):
            for factor in (0.5, 2.0):
                tries.append((iou, [*weights[:i], weight * factor, *weights[i + 1 :]]))
        for candidate in tries:
            if 0 < candidate[0] < 1 and (value := score(*candidate)) > best_score + 1e-4:
                best_score, best = value, candidate
    return {"iou": best[0], "weights": best[1]}


def check(members, weights):
    """Raise a `ValueError` unless detectors have the same classes in the same order."""
    for member in members:
        classes = [detector.record["info"]["classes"] for detector in (members[0], member)]
        if classes[0] != classes[1]:
            lists = " and ".join(", ".join(names) for names in classes)
            raise ValueError(
                f"{members[0].name} and {member.name} cannot be fused: their classes are {lists}. "
                "Train them on data of the same classes, in the same order"
            )
    if weights and len(weights) != len(members):
        raise ValueError(f"{len(weights)} weights for {len(members)} members: give one per member")
    if weights and not boxes.usable(weights):
        raise ValueError(
            f"weights {weights}: give numbers of which none is below 0 and at least one above"
        )


def predict(member, split, batch_size):
    """Detect the boxes of a split.

    Returns:
        The detections of each image (m, 6), in relative coordinates; the ground truth (n, M, 7),
        in pixels of the model's input; and the median milliseconds per image.

    Raises:
        ValueError: if the outputs are not finite.
    """
    model, info = saving.load(member.path), member.record["info"]
    detected, truth, times = [], [], []
    for start in range(0, len(split), batch_size):
        x, y = split.take(slice(start, start + batch_size))
        began = time.perf_counter()
        outputs = predictors.predict(model, x, batch_size)
        if not np.isfinite(outputs).all():
            raise ValueError(
                f"{member.name}: it returns NaN or infinite values. Leave it out, or train it "
                "again with a lower learning rate"
            )
        detected += detections.detected(outputs, info, detections.SCORED)
        times.append(time.perf_counter() - began)
        truth.append(y)
    size = info["grid"]["size"][0]
    detected = [scaled(rows, 1 / size) for rows in detected]
    milliseconds = 1000 * float(np.median(times)) / min(batch_size, len(split))
    return detected, np.concatenate(truth), milliseconds


def scaled(rows, factor):
    """Return detections (m, 6) with the corners multiplied by a factor."""
    return np.concatenate([rows[:, :4] * np.float32(factor), rows[:, 4:]], axis=1)


def combine(detected, *, method, iou, skip, weights):
    """Return the fused detections (k, 6) of several detectors for one image, clipped to it."""
    settings = dict(weights=weights, iou=iou, skip=skip, limit=1.0)
    if method == "wbf":
        return boxes.weighted_boxes_fusion(detected, **settings)
    return boxes.suppressed(detected, sigma=SIGMA if method == "soft_nms" else 0.0, **settings)


def row(name, kind, member, y, detected, **facts):
    """Return the report's row of detections, in relative coordinates, scored on boxes y."""
    info = member.record["info"]
    size = info["grid"]["size"][0]
    pairs = list(zip(y, [scaled(rows, size) for rows in detected], strict=True))
    scores, _ = detections.score(pairs, info)
    plain = {key: scores.get(key) for key in SCORES}
    return {"name": name, "kind": kind, "scores": plain, **facts}
