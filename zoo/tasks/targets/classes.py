"""Targets that are one class each: a softmax, accuracy, a confusion matrix."""

import keras
import numpy as np

from zoo.nn.losses import OneVersusAll
from zoo.nn.metrics import MeanClassAccuracy
from zoo.tasks import report
from zoo.tasks.targets.target import Target


def cross_entropy(info, options):
    """Return cross-entropy on logits of classes."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def accuracies(info):
    """Return the metrics of a classifier in the progress bar."""
    return [
        keras.metrics.SparseCategoricalAccuracy("accuracy"),
        MeanClassAccuracy(len(info["classes"]), "mean_class_accuracy"),
    ]


def shown(y, outputs, info, count):
    """Return the examples of a figure, misclassified ones first."""
    predicted = np.argmax(outputs, axis=-1)
    return [
        (i, *report.verdict(info["classes"], y[i], predicted[i]))
        for i in report.examples(y, predicted, count)
    ]


TARGET = Target(
    what="classes",
    units=lambda info: len(info["classes"]),
    label=lambda label, info: np.int32(label),
    losses={
        "cross_entropy": lambda: cross_entropy({}, {}),
        "one_vs_all": OneVersusAll,
    },
    metrics=accuracies,
    best=("val_accuracy", "max"),
    summarize=report.summarize,
    score=report.score,
    curves=report.curves,
    shown=shown,
    titles=lambda y, info: [info["classes"][k] for k in y],
    decode=report.decode,
    row=lambda decoded, info: decoded,
    caption=lambda decoded, info: f"{decoded['class']}  {decoded['probability']:.0%}",
)
