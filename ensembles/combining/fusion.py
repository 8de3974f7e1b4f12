"""Detectors combined: each finds its boxes, and those that agree become one.

Detectors share no rows that could be averaged, so there is no joined model: their images may be of
different sizes, their grids of different forms. What is compared and fused are boxes, in shares of
the square into which each detector fits its images.
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
SIGMA = 0.5  # of soft suppression, as in its paper


def fuse(members, data, args, cut, warnings=()):
    """Let detectors find boxes in a test split, fuse these, score all, and write a run folder.

    Args:
        members: list of `ensembles.members.opening.Member`, as `check` wants them.
        data: for each its data, as `datasets.prepared.prepare` returns them.
        args: settings of the command: out, method, iou, skip, weights, fit, batch_size,
            command_line.
        cut: how the data are split: fold, validate, skip_bad.
        warnings: sentences that belong in the report.

    Returns:
        (run folder, text of the table).
    """
    began, found, rows = time.time(), [], []
    settings = dict(method=args.method, iou=args.iou, skip=args.skip, weights=args.weights)
    if args.fit:
        settings |= fitted(members, data, settings, args.batch_size)
    for member, own in zip(members, data, strict=True):
        split = own.splits["test"]
        said, y, milliseconds = detected(member, split, args.batch_size)
        found.append(said)
        facts = dict(parameters=member.parameters, milliseconds=milliseconds)
        rows.append(row(member.name, "member", member, y, said, **facts))
    fused = [combine(each, **settings) for each in zip(*found, strict=True)]
    rows.append(row(args.method, "ensemble", member, y, fused))
    about, info = own.about, member.record["info"]
    held = own.examples["validation"] if args.fit else provenance.NONE
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
        **provenance.merged(held, known, own.examples, about, cut),
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
    drawn = detections.pictures(x, y, [scaled(one, size) for one in fused], info)
    report.write(run.folder, f"fuse: {about['name']}", rows, facts=facts, figures=drawn)
    run.note(status="finished", rows=rows, scores={"test": rows[-1]["scores"]})
    return run.folder, report.table(rows)


def fitted(members, data, settings, batch_size):
    """Find the weights and the IoU of the highest mAP on the validation split.

    One after the other each weight is doubled and halved and the IoU moved by 0.05, and whatever
    is best is kept, until nothing improves: few numbers, so little is fitted to little.

    Returns:
        {"weights": one a member, "iou": a number}.
    """
    split = [own.splits["validation"] for own in data]
    found = [detected(one, own, batch_size)[:2] for one, own in zip(members, split, strict=True)]
    said, y = [rows for rows, _ in found], found[-1][1]

    def score(iou, weights):
        tried = {**settings, "iou": iou, "weights": weights}
        fused = [combine(each, **tried) for each in zip(*said, strict=True)]
        return row("", "", members[-1], y, fused)["scores"]["map"]

    kept = settings["iou"], settings["weights"] or [1.0] * len(members)
    best, before = score(*kept), None
    while kept != before:
        before, (iou, weights) = kept, kept
        tries = [(round(iou + step, 2), weights) for step in (-0.05, 0.05)]
        for i, weight in enumerate(weights):
            for factor in (0.5, 2.0):
                tries.append((iou, [*weights[:i], weight * factor, *weights[i + 1 :]]))
        for one in tries:
            if 0 < one[0] < 1 and (value := score(*one)) > best + 1e-4:
                best, kept = value, one
    return {"iou": kept[0], "weights": kept[1]}


def check(members, weights):
    """Raise a `ValueError` unless detectors have the same classes in the same order."""
    for member in members:
        classes = [one.record["info"]["classes"] for one in (members[0], member)]
        if classes[0] != classes[1]:
            names = " and ".join(", ".join(each) for each in classes)
            raise ValueError(
                f"{members[0].name} and {member.name} cannot be fused: their classes are {names}. "
                "Train them on data of the same classes, in the same order"
            )
    if weights and len(weights) != len(members):
        raise ValueError(f"{len(weights)} weights do not fit {len(members)} members: give one each")
    if weights and not boxes.usable(weights):
        raise ValueError(f"weights {weights}: give numbers of which none is below 0 and one above")


def detected(member, split, batch_size):
    """Let a detector find the boxes of a split.

    Returns:
        What it finds, for each image (m, 6), in shares; the truth (n, M, 7) in pixels of its
        input; and the milliseconds that it takes for an image, the median of the steps.

    Raises:
        ValueError: if its outputs are not all finite numbers.
    """
    model, info = saving.load(member.path), member.record["info"]
    found, truth, times = [], [], []
    for start in range(0, len(split), batch_size):
        x, y = split.take(slice(start, start + batch_size))
        began = time.perf_counter()
        outputs = predictors.predict(model, x, batch_size)
        if not np.isfinite(outputs).all():
            raise ValueError(
                f"{member.name}: it returns NaN or infinite numbers. Leave it out, or train it "
                "again with a lower learning rate"
            )
        found += detections.detected(outputs, info, detections.SCORED)
        times.append(time.perf_counter() - began)
        truth.append(y)
    found = [scaled(one, 1 / info["grid"]["size"][0]) for one in found]
    milliseconds = 1000 * float(np.median(times)) / min(batch_size, len(split))
    return found, np.concatenate(truth), milliseconds


def scaled(rows, factor):
    """Return detections (m, 6) with their corners times a factor."""
    return np.concatenate([rows[:, :4] * np.float32(factor), rows[:, 4:]], axis=1)


def combine(found, *, method, iou, skip, weights):
    """Return the fused rows (k, 6) of what several detectors found in one image, cut to it."""
    settings = dict(weights=weights, iou=iou, skip=skip, limit=1.0)
    if method == "wbf":
        return boxes.weighted_boxes_fusion(found, **settings)
    return boxes.suppressed(found, sigma=SIGMA if method == "soft_nms" else 0.0, **settings)


def row(name, kind, member, y, found, **facts):
    """Return the report's row of what was found, in shares of the member's square, of boxes y."""
    info = member.record["info"]
    size = info["grid"]["size"][0]
    scores, _ = detections.judge(y, [scaled(one, size) for one in found], info)
    plain = {key: scores.get(key) for key in SCORES}
    return {"name": name, "kind": kind, "scores": plain, **facts}
