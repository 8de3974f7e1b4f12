"""Calibration of a model on the validation split: probabilities, threshold, and promised coverage.

What is fitted to choose probabilities and thresholds is fitted to one half of the split where the
quantile of a coverage needs examples that nothing was fitted to.
"""

import dataclasses

import numpy as np

from ensembles.combining import combine, holdout
from ensembles.evaluation import calibration, conformal, intervals, probabilities, scaling
from zoo.tasks.targets import conformal as sets


@dataclasses.dataclass(frozen=True)
class Part:
    """Examples of the validation split: outputs (n, ..., K), labels (n, ...) and groups or None."""

    outputs: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None

    def take(self, rows):
        """Return the part with these rows."""
        groups = None if self.groups is None else self.groups[rows]
        return Part(self.outputs[rows], self.y[rows], groups)


def calibrate(ensemble, args):
    """Calibrate probabilities, and fit a threshold and the sets or intervals of a coverage.

    Returns:
        (head, facts, None), see `ensembles.combining.methods`; the facts have a dictionary "info",
        which belongs in the model's.
    """
    task, common = ensemble.common.task, ensemble.common
    check(ensemble, args)
    split = ensemble.data.splits["validation"]
    y = ensemble.labels("validation")
    whole = fitted = held = Part(ensemble.outputs("validation")[0], y, examples_of(split, y, args))
    method = conformal.method(task, args.method) if args.coverage else None
    change = not task.values and args.scaling != "none"
    if method and (change or args.threshold or conformal.tuned(method)):
        parts = holdout.split(split, y, common, args.seed, share=0.5)
        fitted, held = map(whole.take, parts)
    head, facts = scaled(fitted, ensemble, args.scaling if change else "none")

    def calibrated(part):
        outputs = combine.apply(head, [part.outputs], batch_size=ensemble.batch_size)
        return dataclasses.replace(part, outputs=outputs)

    info = {}
    if args.threshold:
        facts["threshold"] = info["threshold"] = threshold(calibrated(fitted), ensemble)
    if method:
        known = promised(calibrated(held), calibrated(fitted), ensemble, args.coverage, method)
        info["conformal"] = known
        facts |= {"sets" if method in sets.SETS else "intervals": method}
        facts |= {"coverage": args.coverage, "calibration examples": len(held.y)}
    return head, {**facts, "info": info}, None


def check(ensemble, args):
    """Raise a `ValueError` if a task cannot do what was asked for."""
    task = ensemble.common.task
    if task.values and args.coverage is None:
        raise ValueError(
            "calibrate is for classes, but these members return values. Give --coverage for "
            "intervals, or use average"
        )
    if args.method and args.coverage is None:
        raise ValueError(f"--method {args.method} needs a coverage: give --coverage 0.9")
    if args.threshold and (task.values or task.multilabel or ensemble.common.units > 2):
        raise ValueError("--threshold is for two classes: leave it out")
    if task.multilabel and args.scaling not in ("auto", *scaling.OF_LABELS):
        names = ", ".join(scaling.OF_LABELS)
        raise ValueError(f"--scaling {args.scaling} is not for several labels. Give {names}")


def examples_of(split, y, args):
    """Return which image, cloud or file each piece is of, (n,); None if pieces are examples.

    They are where an example has one label, and where there are too few images for the coverage.
    """
    places = getattr(split, "places", None)
    if np.ndim(y) == 1 or places is None:
        return None
    groups = np.unique(places[split.rows, :2], axis=0, return_inverse=True)[1]
    few = args.coverage and len(np.unique(groups)) < 2 * sets.least(args.coverage)
    return None if few else groups


def scaled(part, ensemble, method):
    """Return the head that calibrates logits, and facts: the method and what it was chosen from."""
    task = ensemble.common.task
    facts, fitted = {}, {"method": "none"}
    if method != "none":
        if task.multilabel:
            logits, y, groups = np.asarray(part.outputs), np.asarray(part.y, bool), None
        else:
            several = (part.outputs, part.y, part.groups, scaling.MOST)
            logits, y, groups = probabilities.labelled(*several)
        if method == "auto":
            losses = scaling.choose(logits, y, groups)
            facts["log-loss"] = losses
            method = min(losses, key=losses.get) if losses else "temperature"
        fitted = scaling.fit(method, logits, y)
        if method == "temperature":  # of all labels
            temperature = calibration.temperature(ensemble.decisions(part.outputs), part.y)
            fitted["temperature"] = facts["temperature"] = temperature
        facts = {"scaling": method, **facts}
    change = scaling.layer(fitted, ensemble.common.units)
    return combine.head(lambda logits, passed: change(logits[0]), ensemble.shapes), facts


def threshold(part, ensemble):
    """Return the threshold with the best score of the task."""
    task, info = ensemble.common.task, ensemble.common.info
    name = intervals.first_score(task)

    def score(matrix):
        return task.results.score(matrix, info)[0].get(name, 0.0)

    return calibration.threshold(part.outputs, part.y, score)


def promised(held, tuning, ensemble, coverage, method):
    """Return what a model's `info` stores of its sets or intervals."""
    if ensemble.common.task.values:
        pair = tuning.outputs, tuning.y
        return conformal.for_values(held.outputs, held.y, coverage, method, None, pair)
    parts = [(ensemble.decisions(part.outputs), part.y, part.groups) for part in (held, tuning)]
    logits, y, groups = parts[0]
    return conformal.for_classes(logits, y, coverage, method, groups, parts[1])
