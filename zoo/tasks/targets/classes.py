"""Targets that are one class each: a softmax, accuracy, a confusion matrix."""

import numpy as np

from zoo.nn.losses import ClassCrossEntropy, OneVersusAll
from zoo.nn.metrics import ClassAccuracy, MeanClassAccuracy
from zoo.tasks.targets import report
from zoo.tasks.targets.target import Target


def cross_entropy(info, options):
    """Return cross-entropy on logits of classes."""
    return ClassCrossEntropy(options.get("label_smoothing", 0.0), info.get("class_weights"))


def one_vs_all(info, options):
    """Return cross-entropy of a sigmoid a class; raise `ValueError` for options it has not."""
    if options.get("label_smoothing") or info.get("class_weights"):
        raise ValueError("one_vs_all has neither label_smoothing nor class_weights: leave them out")
    return OneVersusAll()


def accuracies(info):
    """Return the metrics of a classifier in the progress bar."""
    return [
        ClassAccuracy("accuracy"),
        MeanClassAccuracy(len(info["classes"]), "mean_class_accuracy"),
    ]


def shown(y, outputs, info, count):
    """Return the examples of a figure, misclassified ones first."""
    predicted = report.predicted(outputs, info)
    return [
        (i, *report.verdict(info["classes"], y[i], predicted[i]))
        for i in report.examples(y, predicted, count)
    ]


def titles(y, info):
    """Return the classes of examples in training, of mixtures those of 5 % and more."""
    if np.ndim(y) == 1:
        return [info["classes"][k] for k in y]
    texts = []
    for row in y:
        parts = [(share, name) for share, name in zip(row, info["classes"], strict=True)]
        parts = sorted((part for part in parts if part[0] >= 0.05), reverse=True)
        texts.append("\n".join(f"{name}  {share:.0%}" for share, name in parts))
    return texts


TARGET = Target(
    what="classes",
    units=lambda info: len(info["classes"]),
    label=lambda label, info: np.int32(label),
    losses={"cross_entropy": cross_entropy, "one_vs_all": one_vs_all},
    metrics=accuracies,
    best=("val_accuracy", "max"),
    summarize=report.summarize,
    score=report.score,
    curves=report.curves,
    shown=shown,
    titles=titles,
    decode=report.decode,
    row=report.row,
    caption=lambda decoded, info: report.caption(decoded),
)
