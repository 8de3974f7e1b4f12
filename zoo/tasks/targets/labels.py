"""Targets of several labels or none: a sigmoid each, scored by the mean average precision.

y is (n, K) bool, outputs are logits (n, K) whose sigmoids are the probabilities of the labels.
"""

import keras
import numpy as np

from zoo import plots
from zoo.nn.metrics import LabelAccuracy
from zoo.tasks.targets import conformal, report
from zoo.tasks.targets.target import Target

LONGEST = 44  # characters of a title


def probabilities(logits):
    """Return the sigmoids of logits, float64."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -80, 80)))


def average_precision(truth, scores):
    """Return the average precision of one label, None if no example has it.

    The mean precision at the examples that have it, in the order of their scores: the sum of
    (R_n - R_n-1) P_n over thresholds, without interpolation, as scikit-learn's.

    Args:
        truth: (n,) bool.
        scores: (n,), higher for examples that more likely have the label.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, scores)) if truth.any() else None


def cross_entropy(info, options):
    """Return the mean cross-entropy of the labels' sigmoids."""
    smoothing = options.get("label_smoothing", 0.0)
    return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)


def summarize(y, outputs, info):
    """Return pairs of true labels and logits, (n, K) each, a list."""
    return [(np.asarray(y, bool), np.asarray(outputs))]


def concatenated(pairs):
    """Return all true labels and all logits of a summary, (n, K) each."""
    return [np.concatenate(parts) for parts in zip(*pairs, strict=True)]


def score(pairs, info):
    """Score logits against true labels.

    Returns:
        A dictionary: map, the mean average precision over the labels that occur (without any it is
        left out); f1 and f1_micro, of the labels of probability above 0.5, the mean over the labels
        and that of all decisions; exact_match, the share of the examples whose labels are all
        correct; and "classes" with ap, precision, recall, f1-score and support; and a table.
    """
    y, outputs = concatenated(pairs)
    predicted, rows = outputs > 0, {}
    for k, name in enumerate(info["classes"]):
        hits, support = int((y[:, k] & predicted[:, k]).sum()), int(y[:, k].sum())
        chosen = int(predicted[:, k].sum())
        rows[name] = {
            "ap": average_precision(y[:, k], outputs[:, k]),
            "precision": hits / max(chosen, 1),
            "recall": hits / max(support, 1),
            "f1-score": 2 * hits / max(chosen + support, 1),
            "support": support,
        }
    hits, total = (y & predicted).sum(), predicted.sum() + y.sum()
    occurring = [row for row in rows.values() if row["support"]]
    means = {"map": "ap", "f1": "f1-score"} if occurring else {}
    scores = {key: float(np.mean([row[of] for row in occurring])) for key, of in means.items()}
    scores["f1_micro"] = float(2 * hits / max(total, 1))
    scores["exact_match"] = float((y == predicted).all(axis=1).mean())
    return {**scores, "classes": rows}, table(rows, scores)


def table(rows, scores):
    """Return the scores of the labels as text."""
    keys = ("ap", "precision", "recall", "f1-score")
    width = max(12, *(len(name) for name in rows))
    titles = ("AP", *keys[1:], "support")
    lines = [" ".join([" " * width, *(f"{title:>9}" for title in titles)]), ""]
    for name, row in rows.items():
        cells = (f"{'-':>9}" if row[key] is None else f"{row[key]:9.3f}" for key in keys)
        lines.append(f"{name:>{width}} {' '.join(cells)} {row['support']:9}")
    means = "no example has a label"
    if "map" in scores:
        means = f"mean AP {scores['map']:.3f}, mean F1 {scores['f1']:.3f} of the labels that occur"
    lines += ["", means]
    lines += [f"all labels correct: {scores['exact_match']:.1%} of the examples", ""]
    return "\n".join(lines)


def curves(pairs, info):
    """Draw precision over recall of each label."""
    from sklearn.metrics import precision_recall_curve

    y, outputs = concatenated(pairs)
    lines, areas = [], []
    for k in range(len(info["classes"])):
        line = None
        if y[:, k].any():
            precision, recall, _ = precision_recall_curve(y[:, k], outputs[:, k])
            line = recall, precision
        lines.append(line)
        areas.append(average_precision(y[:, k], outputs[:, k]))
    figure = plots.precision_recall(lines, info["classes"], areas, "average precision")
    return {"precision_recall": figure}


def named(flags, classes):
    """Return the names of the labels that are true, as a text."""
    text = ", ".join(name for name, flag in zip(classes, flags, strict=True) if flag) or "none"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def rarest(y):
    """Return the index of the rarest label that each example (n, K) bool has, -1 without any."""
    ranked = np.where(y, y.sum(axis=0), len(y) + 1)
    return np.where(y.any(axis=1), ranked.argmin(axis=1), -1)


def shown(y, outputs, info, count):
    """Return the examples of a figure: up to half with an error, the rarest labels in turns."""
    y, predicted, classes = np.asarray(y, bool), np.asarray(outputs) > 0, info["classes"]
    wrong, turns = (y != predicted).any(axis=1), rarest(y)
    chosen = [
        *report.taking_turns(np.flatnonzero(wrong), turns)[: count // 2],
        *report.taking_turns(np.flatnonzero(~wrong), turns),
    ]
    panels = []
    for i in chosen[:count]:
        title = named(y[i], classes)
        if wrong[i]:
            title = f"true {title}\npredicted {named(predicted[i], classes)}"
        panels.append((i, title, report.WRONG if wrong[i] else plots.INK))
    return panels


def decode(outputs, info):
    """Turn logits (n, K) into the labels of probability above 0.5, and all probabilities.

    With a conformal quantile in `info`, also into the labels that are certain, whose sets of
    decisions have no absence, and those that are possible, whose sets have a presence.
    """
    names, p = info["classes"], probabilities(outputs)

    def chosen(flags):
        return [name for name, flag in zip(names, flags, strict=True) if flag]

    decoded = [
        {"labels": chosen(row > 0.5), "probabilities": dict(zip(names, row.tolist(), strict=True))}
        for row in p
    ]
    if "conformal" in info:
        inside = conformal.sets(np.stack([1 - p, p], axis=-1), info["conformal"])
        for entry, (absent, present) in zip(decoded, inside.transpose(0, 2, 1), strict=True):
            entry |= {"certain": chosen(~absent), "possible": chosen(present)}
    return decoded


def row(decoded, info):
    """Return a row: labels as a table of images has them, "cat;dog", and as a list for Python."""
    lists = {key: decoded[key] for key in ("labels", "certain", "possible") if key in decoded}
    texts = {key: ";".join(names) for key, names in lists.items()}
    return {**texts, "probabilities": decoded["probabilities"], "arrays": lists}


def caption(decoded, info):
    """Return the labels with their probabilities, or the most probable one if there is none."""
    known = decoded["probabilities"]
    if not decoded["labels"]:
        best = max(known, key=known.get)
        return f"none ({best} {known[best]:.0%})"
    return "\n".join(f"{name}  {known[name]:.0%}" for name in decoded["labels"])


TARGET = Target(
    what="labels",
    units=lambda info: len(info["classes"]),
    label=lambda label, info: np.asarray(label, bool),
    losses={"cross_entropy": cross_entropy},
    metrics=lambda info: [LabelAccuracy("label_accuracy")],
    best=("val_map", "max"),
    summarize=summarize,
    score=score,
    curves=curves,
    shown=shown,
    titles=lambda y, info: [named(flags, info["classes"]) for flags in y],
    decode=decode,
    row=row,
    caption=caption,
    multilabel=True,
)
