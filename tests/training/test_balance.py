"""How often classes occur: messages, and weights of the loss."""

import numpy as np
import pytest

from datasets.splits import Arrays
from zoo.training import balance


def test_labels_are_those_of_the_split_s_rows():
    rows = np.array([1, 3])
    x = np.zeros((4, 2))
    np.testing.assert_array_equal(balance.labels(Arrays(x, np.arange(4), rows)), rows)
    for y in (np.zeros((4, 3), int), np.zeros(4), {"a": np.arange(4)}):
        assert balance.labels(Arrays(x, y, rows)) is None


def test_unbalanced_classes_are_told():
    few = np.array([0] * 2 + [1] * 6 + [2] * 5)
    (sentence,) = balance.sentences(few, ["rare", "usual", "other"])
    assert "2 training examples of rare, 6 of usual" in sentence
    assert "0 training" in balance.sentences(few, ["rare", "usual", "other", "none"])[0]
    assert balance.sentences(few[1:], ["rare", "usual", "other"])[0].count("1 training") == 1
    assert balance.sentences(few[few > 0], ["x", "usual", "other"])
    assert balance.sentences(np.array([0, 0, 1, 1, 1]), ["a", "b"]) == []
    assert balance.sentences(None, ["a"]) == [] == balance.sentences(few, [])


@pytest.mark.parametrize(
    ("accuracies", "warned"), [([0.5, 0.51, 0.52], True), ([0.5, 0.7, 0.4], False), ([], False)]
)
def test_an_accuracy_that_stays_at_chance_is_warned_of(accuracies, warned):
    labels = np.array([0, 1, 1, 0, 2, 1])
    assert bool(balance.unlearned(labels, accuracies)) == warned
    assert balance.unlearned(None, accuracies) == []


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    y = np.array([0, 0, 0, 1, 2, 2, 9, 9])  # the last two are not of the split
    arrays = Arrays(np.zeros(8), y, np.arange(6))
    known = compute_class_weight("balanced", classes=np.arange(3), y=y[:6])
    np.testing.assert_allclose(balance.weights(arrays, 3), known)
    assert balance.weights(arrays, 4) == [*balance.weights(arrays, 3), 1.0]


def test_weights_of_masks_count_pixels_without_void():
    y = np.array([[[0, 0], [0, 1]], [[-1, -1], [0, 1]]])
    arrays = Arrays(np.zeros(2), y, np.arange(2))
    np.testing.assert_allclose(balance.weights(arrays, 2), [6 / (2 * 4), 6 / (2 * 2)])
