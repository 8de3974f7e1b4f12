"""Detectors combined into one model: boxes of several that overlap become one.

Detectors share no outputs that could be averaged: their images may be of different sizes, their
grids of different forms. The combined model ends in the boxes of each of its members, and the task
fuses these when it decodes them, see `zoo.tasks.boxes.fusion`.
"""

import time

import keras
import numpy as np
from keras import layers, ops

from ensembles.reporting import report
from zoo.inference import predictors
from zoo.nn.ensemble import Frozen, Joined, Members, digest
from zoo.tasks import images
from zoo.tasks.boxes import detections, fusion, nms
from zoo.tasks.image_detection import task as image_detection
from zoo.training import runs
from zoo.weights import provenance, saving

SCORES = ("map50", "map", "map75", "ar100")


def fuse(members, data, args, cut, warnings=()):
    """Combine detectors, score them and the combination on the test split, write a run folder.

    Args:
        members: list of `ensembles.members.opening.Member`, as `check` wants them.
        data: for each its data, as `datasets.prepared.prepare` returns them.
        args: settings of the command: out, method, iou, skip, weights, confidence, clip, fit,
            batch_size, command_line.
        cut: how the data are split: fold, validate, skip_bad.
        warnings: sentences that belong in the report.

    Returns:
        (run folder, text of the table).
    """
    began, rows = time.time(), []
    names = ("method", "iou", "skip", "weights", "confidence", "clip")
    settings = {name: getattr(args, name) for name in names}
    if args.fit:
        settings |= fitted(members, data, settings, args.batch_size)
    for member, prepared in zip(members, data, strict=True):
        model, info = saving.load(member.path), member.record["info"]
        test = prepared.splits["test"]
        boxes, y, milliseconds = predicted(model, info, test, args.batch_size)
        facts = dict(parameters=member.parameters, milliseconds=milliseconds)
        rows.append(row(member.name, "member", info, y, boxes, **facts))
    place = largest(members)
    about, split = data[place].about, data[place].splits["test"]
    model, info = combined(members, settings)
    held = data[place].examples["validation"] if args.fit else provenance.NONE
    known = [(member.name, member.record) for member in members]
    record = {
        "model": "fuse",
        "found": settings,
        **({"fitted": "validation"} if args.fit else {}),
        "task": image_detection.TASK.name,
        "task_options": members[place].record["task_options"],
        "info": info,
        "data": about,
        "settings": {**cut, "command": args.command_line},
        "members": [member.manifest() for member in members],
        **({"warnings": list(warnings)} if warnings else {}),
        **provenance.merged(held, known, data[place].examples, about, cut),
        **runs.environment(),
    }
    run = runs.Run.created(args.out, f"fuse-{about['name']}", record, began)
    saving.save(model, run.folder / "model.keras", record)
    boxes, y, milliseconds = predicted(model, info, split, args.batch_size)
    facts = dict(parameters=model.count_params(), milliseconds=milliseconds)
    rows.append(row(args.method, "ensemble", info, y, boxes, **facts))
    facts = {
        "data": f"{about['name']} ({about['fingerprint']}), {len(split):,} test images",
        "command": args.command_line,
        **{key: str(value) for key, value in settings.items()},
        **{f"warning {i}": text for i, text in enumerate(warnings, 1)},
    }
    figures = detections.curves(list(zip(y, boxes, strict=True)), info)
    figures |= detections.pictures(split.take()[0], y, boxes, info)
    report.write(run.folder, f"fuse: {about['name']}", rows, facts=facts, figures=figures)
    digests = dict(sha256=saving.sha256(run.folder / "model.keras"))
    run.note(status="finished", rows=rows, scores={"test": rows[-1]["scores"]}, **digests)
    return run.folder, report.table(rows)


def combined(members, settings):
    """Combine detectors in one model, from images to the boxes of each.

    The input is that of the largest detector. The others get it resized, and in their own range.

    Args:
        members: list of `ensembles.members.opening.Member`.
        settings: of `zoo.tasks.boxes.fusion.fuse`: method, iou, skip, weights, confidence, clip.

    Returns:
        A `keras.Model` from images (B, S, S, C) to (B, M, 100, 6) rows of M detectors, see
        `zoo.tasks.boxes.nms.suppress`, in pixels of S; and its `info`.
    """
    info = members[largest(members)].record["info"]
    size = info["grid"]["size"]
    entry, outputs = keras.Input((*size, info["channels"]), name="input"), []
    networks = [Frozen.of(saving.load(member.path), member.layer) for member in members]
    known = Members({model.name: digest(model) for model in networks}, name="members")
    x = known(entry)
    for i, (member, network) in enumerate(zip(members, networks, strict=True), 1):
        of = member.record["info"]
        rest = {**of["suppression"], "score": detections.SCORED}
        boxes = nms.Boxes(of["grid"], rest, dtype="float32", name=f"boxes_{i}")
        rows = boxes(network(adapted(x, info, of, i)))
        ratio = size[0] / of["grid"]["size"][0]  # inputs of detectors are squares
        outputs.append(rows * np.float32([ratio, ratio, ratio, ratio, 1, 1]))
    model = Joined(entry, ops.stack(outputs, axis=1), name="fused")
    suppression = {"sigma": fusion.SIGMA, **settings}
    names = ("classes", "channels", "range")
    grid = {"form": fusion.ROWS, "size": size}
    return model, {**{name: info[name] for name in names}, "grid": grid, "suppression": suppression}


def adapted(x, info, of, number):
    """Return images (B, S, S, C) as a detector takes them: its size, range and channels.

    Args:
        x: values from 0 to 1 for the range of `info`.
        info: of the combined model.
        of: of the detector.
        number: of the detector, for names.
    """
    if of["grid"]["size"] != info["grid"]["size"]:
        x = layers.Resizing(*of["grid"]["size"], antialias=True, name=f"resize_{number}")(x)
    if of["range"] != info["range"]:
        (low, high), (own_low, own_high) = info["range"], of["range"]
        scale, offset = (high - low) / (own_high - own_low), (low - own_low) / (own_high - own_low)
        x = ops.clip(x * scale + offset, 0.0, 1.0)
    if of["channels"] == 1 < info["channels"]:
        x = ops.sum(x * images.LUMA, axis=-1, keepdims=True)
    return x


def largest(members):
    """Return the index of the member of the largest input."""
    sizes = [member.record["info"]["grid"]["size"] for member in members]
    return max(range(len(members)), key=lambda i: sizes[i])


def fitted(members, data, settings, batch_size):
    """Search the weights and the IoU of the highest mAP on the validation split.

    In turn each weight is doubled and halved and the IoU changed by 0.05, and an improvement is
    kept, until nothing improves: few numbers, so that they hardly overfit.

    Returns:
        {"weights": one per member, "iou": a number}.
    """
    splits = [prepared.splits["validation"] for prepared in data]
    pairs = zip(members, splits, strict=True)
    results = [detected(member, split, batch_size) for member, split in pairs]
    boxes, y = [rows for rows, *_ in results], results[-1][1]

    def score(iou, weights):
        tried = {**settings, "iou": iou, "weights": weights}
        fused = [fusion.fuse(rows, limit=1.0, **tried) for rows in zip(*boxes, strict=True)]
        info = members[-1].record["info"]
        fused = [scaled(rows, info["grid"]["size"][0]) for rows in fused]
        return row("", "", info, y, fused)["scores"]["map"]

    best = settings["iou"], settings["weights"] or [1.0] * len(members)
    highest, before = score(*best), None
    while best != before:
        before, (iou, weights) = best, best
        tries = [(round(iou + step, 2), weights) for step in (-0.05, 0.05)]
        for i, weight in enumerate(weights):
            for factor in (0.5, 2.0):
                tries.append((iou, [*weights[:i], weight * factor, *weights[i + 1 :]]))
        for iou, weights in tries:
            if 0 < iou < 1 and (value := score(iou, weights)) > highest + 1e-4:
                highest, best = value, (iou, weights)
    return {"iou": best[0], "weights": best[1]}


def check(members, weights):
    """Raise a `ValueError` unless detectors can be fused.

    They have the same classes in the same order, and the channels of the largest one, or one.
    """
    for member in members:
        if member.record["info"]["grid"]["form"] == fusion.ROWS:
            raise ValueError(f"{member.name} combines detectors already: give its members instead")
        classes = [other.record["info"]["classes"] for other in (members[0], member)]
        if classes[0] != classes[1]:
            names = " and ".join(", ".join(names) for names in classes)
            raise ValueError(
                f"{members[0].name} and {member.name} cannot be fused: their classes are {names}. "
                "Train them on data of the same classes, in the same order"
            )
    first = members[largest(members)]
    channels = first.record["info"]["channels"]
    for member in members:
        if (own := member.record["info"]["channels"]) not in (1, channels):
            why = f"takes {own} channels, and {first.name}, the largest, {channels}"
            raise ValueError(f"{member.name} {why}: train both on as many")
    if weights and len(weights) != len(members):
        raise ValueError(f"{len(weights)} weights for {len(members)} members: give one per member")
    if weights and not fusion.usable(weights):
        raise ValueError(f"weights {weights}: give numbers, none negative, at least one positive")


def detected(member, split, batch_size):
    """Predict the boxes of a split with a member.

    Returns:
        For each image its boxes (m, 6), in shares of the image's side; and what `predicted`
        returns besides.
    """
    info = member.record["info"]
    boxes, y, milliseconds = predicted(saving.load(member.path), info, split, batch_size)
    return [scaled(rows, 1 / info["grid"]["size"][0]) for rows in boxes], y, milliseconds


def predicted(model, info, split, batch_size):
    """Predict the boxes of a split.

    Returns:
        For each image its boxes (m, 6) in pixels of the model's input; the ground truth (n, M, 7);
        and the milliseconds per image, the median of the batches.

    Raises:
        ValueError: if outputs of the model are not finite.
    """
    boxes, truth, times = [], [], []
    for start in range(0, len(split), batch_size):
        x, y = split.take(slice(start, start + batch_size))
        began = time.perf_counter()
        outputs = predictors.predict(model, x, batch_size)
        if not np.isfinite(outputs).all():
            raise ValueError(
                f"{model.name}: it returns NaN or infinite numbers. Leave it out, or train it "
                "again with a lower learning rate"
            )
        boxes += detections.detected(outputs, info, detections.SCORED)
        times.append(time.perf_counter() - began)
        truth.append(y)
    milliseconds = 1000 * float(np.median(times)) / min(batch_size, len(split))
    return boxes, np.concatenate(truth), milliseconds


def scaled(rows, factor):
    """Return detections (m, 6) with their corners times a factor."""
    return np.concatenate([rows[:, :4] * np.float32(factor), rows[:, 4:]], axis=1)


def row(name, kind, info, y, boxes, **facts):
    """Return the report's row of boxes of each image, of ground truth y, both in pixels."""
    scores, _ = detections.score(list(zip(y, boxes, strict=True)), info)
    return {"name": name, "kind": kind, "scores": {key: scores.get(key) for key in SCORES}, **facts}
