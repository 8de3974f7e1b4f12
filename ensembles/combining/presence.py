"""Calibration of a detector: the score from which boxes hold a promised share of the objects.

An image's risk is the share of its objects that are missed, which is controlled as in Angelopoulos
et al., ICLR 2024, https://arxiv.org/abs/2208.02814: in the mean over images with objects it is at
most what the promise allows.
"""

import numpy as np

from ensembles.combining import fusion
from ensembles.reporting import report
from zoo.tasks.boxes import coding, detections
from zoo.tasks.boxes.losses import CORNERS, IGNORED, LABEL
from zoo.tasks.boxes.preparation import real
from zoo.tasks.targets import conformal
from zoo.training import runs
from zoo.weights import provenance, saving

MISSED = 1.0  # nonconformity of an object that no box matches: that of a score of 0


def calibrate(member, data, args, cut, warnings, began):
    """Fit the score from which a detector's boxes are predicted, and write a run folder.

    Args:
        member: the `ensembles.members.opening.Member`.
        data: as `datasets.prepared.prepare` returns it.
        args: settings of the command: out, coverage, batch_size, command_line.
        cut: how the data are split: fold, validate, skip_bad.
        warnings: sentences that belong in the report.
        began: when the command began.

    Returns:
        (run folder, text of the tables).

    Raises:
        ValueError: if no score keeps the promise.
    """
    model, info = saving.load(member.path), member.record["info"]
    boxes, y, _ = fusion.predicted(model, info, data.splits["validation"], args.batch_size)
    missing, images = misses(boxes, y)
    bound = conformal.quantile(missing, args.coverage, images)
    check(bound, missing, images, args.coverage)
    settings = {"method": "presence", "coverage": args.coverage, "quantile": bound}
    confidence = max(0.0, 1 - bound - conformal.ROUNDING)
    info = {**info, "confidence": confidence, "conformal": settings}
    known = [(member.name, member.record)]
    record = {
        **member.record,
        "found": {"coverage": args.coverage, "confidence": confidence},
        "fitted": "validation",
        "info": info,
        "settings": {**cut, "command": args.command_line},
        "members": [member.manifest()],
        **({"warnings": list(warnings)} if warnings else {}),
        **provenance.merged(data.examples["validation"], known, data.examples, data.about, cut),
        **runs.environment(),
    }
    run = runs.Run.created(args.out, f"calibrate-{data.about['name']}", record, began)
    saving.save(model, run.folder / "model.keras", record)
    split = data.splits["test"]
    boxes, y, milliseconds = fusion.predicted(model, info, split, args.batch_size)
    facts = dict(parameters=member.parameters, milliseconds=milliseconds)
    rows = [fusion.row(member.name, "member", info, y, boxes, **facts)]
    tables = {
        f"Objects on the test split, promised coverage {args.coverage:g}": table(boxes, y, info)
    }
    texts = {
        "data": f"{data.about['name']} ({data.about['fingerprint']}), {len(split):,} test images",
        "command": args.command_line,
        "fitted on": f"validation, {len(np.unique(images))} images with objects",
        **{f"warning {i}": text for i, text in enumerate(warnings, 1)},
    }
    figures = detections.curves(list(zip(y, boxes, strict=True)), info)
    figures |= detections.pictures(split.take()[0], y, boxes, info)
    title = f"calibrate: {data.about['name']}"
    report.write(run.folder, title, rows, facts=texts, figures=figures, tables=tables)
    digest = dict(sha256=saving.sha256(run.folder / "model.keras"))
    run.note(status="finished", rows=rows, scores={"test": rows[0]["scores"]}, **digest)
    return run.folder, "\n\n".join([report.table(rows), *report.plain_tables(tables)])


def misses(boxes, y):
    """Return 1 - the score of the box that matches each object (m,), and the objects' images.

    Boxes are matched by `detections.matched`, the highest scores first, so that an object is found
    from a score on if and only if that is not above its box's.

    Args:
        boxes: of each image, detections (m, 6).
        y: true boxes (n, M, 7); ignored ones do not count.
    """
    missing, images = [], []
    for i, (rows, truth) in enumerate(zip(boxes, map(real, y), strict=True)):
        truth = truth[truth[:, IGNORED] == 0]
        scores = np.zeros(len(truth))
        order = np.argsort(-rows[:, 4], kind="stable")
        overlap = np.asarray(
            coding.iou(np.asarray(rows[:, None, :4], truth.dtype), truth[:, CORNERS])
        )
        for k in order:
            fits = (truth[:, LABEL] == rows[k, 5]) & (overlap[k] >= 0.5) & (scores == 0)
            if fits.any():
                scores[np.argmax(np.where(fits, overlap[k], -1.0))] = rows[k, 4]
        missing.append(np.where(scores > 0, 1 - scores, MISSED))
        images.append(np.full(len(truth), i))
    return np.concatenate(missing), np.concatenate(images)


def check(bound, missing, images, coverage):
    """Raise a `ValueError` if no score keeps the promise."""
    if np.isinf(bound):
        raise ValueError(
            f"{len(np.unique(images))} images with objects are too few for a coverage of "
            f"{coverage:g}, which needs {conformal.least(coverage)}. Ask for less coverage, or "
            "train with more validation data"
        )
    if bound >= MISSED:
        raise ValueError(
            f"the detector finds {np.mean(missing < MISSED):.1%} of the objects at any score, too "
            f"few for a coverage of {coverage:g}. Ask for less, or train it longer"
        )


def table(boxes, y, info):
    """Return the coverage and the boxes per image, from the calibrated and the default score."""
    missing, images = misses(boxes, y)
    _, ids = np.unique(images, return_inverse=True)
    counts = {"calibrated": info["confidence"], "default": detections.SHOWN}
    rows = []
    for name, score in counts.items():
        hit = missing < 1 - score
        share = (np.bincount(ids, hit) / np.bincount(ids)).mean()
        per_image = np.mean([(rows[:, 4] > score).sum() for rows in boxes])
        rows.append(
            {
                "score": f"{name}, {score:.4f}",
                "coverage": f"{share:.4f}",
                "boxes per image": f"{per_image:.1f}",
                "objects per image": f"{len(missing) / len(y):.1f}",
            }
        )
    return rows
