"""Rows of numbers, what scikit-learn calls X (n, F): standardized by column, with any target.

A task without files: it is for arrays alone, and for models that flatten their input.
"""

import numpy as np

from zoo.tasks import series, targets
from zoo.tasks.task import Data, Results, Task, Training, Usage

MODELS = ("logistic_regression", "mlp")  # they take inputs of any shape


def measure(examples, options):
    """Return the mean and the standard deviation of each column."""
    center, spread = series.scales(np.stack([example["row"] for example in examples]))
    return {"center": center, "spread": spread}


def prepare(piece, info, options):
    """Return the standardized row (F,) float32, and its target."""
    x = (np.asarray(piece["row"], np.float64) - info["center"]) / info["spread"]
    y = targets.of(info).label(piece["label"], info) if "label" in piece else None
    return x.astype(np.float32), y


def arguments(info, options):
    """Return what the data decides of the builder's arguments."""
    return dict(input_shape=(len(info["center"]),), num_classes=targets.of(info).units(info))


TASK = Task(
    name="rows",
    options=dict(
        loss="auto",  # as that of image_classification
        label_smoothing=0.0,  # share of each target that is spread evenly over the classes
        class_weights="none",  # "none", or "balanced": a class counts inversely to its frequency
    ),
    data=Data(fields=("row", "label"), measure=measure, measures_all=True, prepare=prepare),
    training=Training(
        arguments=arguments,
        defaults=dict(epochs=50, updates=1500, batch_size=32, learning_rate=0.003, jit=False),
        losses=("auto", "cross_entropy", "one_vs_all", "mse", "mae", "huber"),
        loss=targets.loss,
        metrics=targets.metrics,
    ),
    results=Results(summarize=targets.summarize, score=targets.score, curves=targets.curves),
    usage=Usage(
        decode=targets.decode,
        present=lambda example, pieces, outputs, info: (
            targets.of(info).row(targets.decode(np.stack([*outputs]), info)[0], info),
            {},
        ),
    ),
)
