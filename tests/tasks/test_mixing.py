"""MixUp and CutMix: images and targets are mixed in the same shares, and models train on them."""

import keras
import numpy as np
import pytest

from zoo import tasks
from zoo.nn import metrics
from zoo.tasks.image_classification import mixing

TASK = tasks.get("image_classification")
STILL = {**TASK.options, "flip": "none"} | dict.fromkeys(
    ("rotation", "zoom", "shift", "brightness", "contrast"), 0.0
)
INFO = {"classes": ["a", "b", "c"], "channels": 1, "range": [0.0, 255.0]}
LABELS = np.array([0, 1, 2, 1, 0, 2], "int32")
# An image of the value that is its label, so that its mean tells what is in it.
IMAGES = np.broadcast_to(LABELS[:, None, None, None] / 2, (6, 64, 64, 1)).astype("float32")


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_targets_are_mixed_as_the_images_are(options):
    apply = mixing.augment(INFO, {**STILL, **options})
    x, y = apply(IMAGES, LABELS, (0, 0, 1))
    assert y.shape == (6, 3) and y.dtype == "float32"
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)
    means = x.mean(axis=(1, 2, 3))
    # a rectangle's area is that of whole pixels, its share is not rounded
    tolerance = 1e-5 if "mixup" in options else 0.03
    np.testing.assert_allclose(means, y @ [0, 0.5, 1], atol=tolerance)
    assert (np.abs(x - IMAGES) > 1e-3).any()
    again = apply(IMAGES, LABELS, (0, 0, 1))
    np.testing.assert_array_equal(again[0], x)
    assert not np.array_equal(apply(IMAGES, LABELS, (0, 1, 1))[1], y)


def test_with_both_a_batch_gets_one_of_them():
    apply = mixing.augment(INFO, {**STILL, "mixup": 0.4, "cutmix": 1.0})
    kinds = set()
    for i in range(8):
        x, _ = apply(IMAGES, LABELS, (0, 0, i))
        kinds.add(all(len(np.unique(image)) == 1 for image in x))
    assert kinds == {True, False}


def test_labels_and_values_are_mixed_too():
    rows = np.eye(3, dtype=bool)[LABELS]
    _, y = mixing.augment(INFO, {**STILL, "mixup": 0.4})(IMAGES, rows, (0, 0, 1))
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)


def test_accuracy_counts_the_largest_share():
    logits = np.array([[2.0, 1, 0], [0, 1, 2]], "float32")
    shares = np.array([[0.6, 0.4, 0], [0.6, 0, 0.4]], "float32")
    metric = metrics.ClassAccuracy()
    metric.update_state(shares, logits)
    assert float(metric.result()) == 0.5
    mean = metrics.MeanClassAccuracy(3)
    mean.update_state(shares, logits)
    assert float(mean.result()) == 0.5


def test_a_model_trains_on_mixtures_and_is_validated_on_classes():
    model = keras.Sequential(
        [keras.Input((64, 64, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    options = {**STILL, "mixup": 0.4}
    model.compile("sgd", TASK.training.loss(INFO, options), metrics=TASK.training.metrics(INFO))
    x, y = mixing.augment(INFO, options)(IMAGES, LABELS, (0, 0, 1))
    logs = model.fit(x, y, 6, epochs=1, validation_data=(IMAGES, LABELS), verbose=0).history
    assert {"accuracy", "val_accuracy"} <= logs.keys() and np.isfinite(logs["loss"]).all()


def test_a_preview_names_what_is_mixed():
    (title,) = tasks.targets.of(INFO).titles(np.array([[0.7, 0.28, 0.02]]), INFO)
    assert title == "a  70%\nb  28%"
