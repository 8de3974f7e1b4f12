"""The schedule of a training depends on the number of examples, and its messages are right."""

import numpy as np
import pytest

from datasets.splits import Arrays
from zoo import index
from zoo.training import schedule

GIVEN = {"batch_size": None, "epochs": None}
DEFAULTS = {"batch_size": 16, "epochs": 100, "updates": 1500}


@pytest.mark.parametrize(
    ("count", "given", "expected"),
    [
        (30, {}, (4, 188)),  # ArrowHead of UCR: 8 steps
        (300, {}, (16, 100)),
        (3, {}, (4, 1000)),  # no more than ten times the epochs
        (30, {"batch_size": 16}, (16, 750)),
        (30, {"epochs": 5}, (4, 5)),
        (30, {"batch_size": 10, "epochs": 2, "snapshots": 2}, (10, 2)),
        (30, {"snapshots": 10}, (4, 190)),
        (300, {"snapshots": 3}, (16, 102)),
    ],
)
def test_small_sets_get_small_batches_and_more_epochs(count, given, expected):
    settings = schedule.complete({"seed": 3, **GIVEN, **given}, DEFAULTS, count)
    assert (settings["batch_size"], settings["epochs"]) == expected and settings["seed"] == 3
    assert schedule.complete(settings, DEFAULTS, 10 * count) == settings  # --resume changes nothing


@pytest.mark.parametrize(
    ("task", "count"),
    [  # training examples of the embedded sets, of which there are records
        ("pointcloud_classification", 1_700),
        ("pointcloud_segmentation", 13_407),
        ("image_segmentation", 234),
        ("image_detection", 205),
        ("forecasting", 6_881),
    ],
)
def test_defaults_of_larger_sets_are_the_task_s(task, count):
    defaults = index.tasks()[task]["defaults"]
    settings = schedule.complete(GIVEN, defaults, count)
    assert settings == {key: defaults[key] for key in GIVEN}


def test_length_of_a_training_is_told_and_a_short_one_warned_of():
    assert schedule.described(1200, 10, 8) == [
        "1,200 steps an epoch, batches of 8; 10 epochs; 12,000 updates"
    ]
    line, warning = schedule.described(2, 12, 8)
    assert "24 updates" in line and "24 updates" in warning and "--epochs" in warning


def test_labels_are_those_of_the_split_s_rows():
    rows = np.array([1, 3])
    x = np.zeros((4, 2))
    np.testing.assert_array_equal(schedule.labels(Arrays(x, np.arange(4), rows)), rows)
    for y in (np.zeros((4, 3), int), np.zeros(4), {"a": np.arange(4)}):
        assert schedule.labels(Arrays(x, y, rows)) is None


def test_unbalanced_classes_are_told():
    few = np.array([0] * 2 + [1] * 6 + [2] * 5)
    (sentence,) = schedule.balance(few, ["rare", "usual", "other"])
    assert "2 training examples of rare, 6 of usual" in sentence
    assert "0 training" in schedule.balance(few, ["rare", "usual", "other", "none"])[0]
    assert schedule.balance(few[1:], ["rare", "usual", "other"])[0].count("1 training") == 1
    assert schedule.balance(few[few > 0], ["x", "usual", "other"])
    assert schedule.balance(np.array([0, 0, 1, 1, 1]), ["a", "b"]) == []
    assert schedule.balance(None, ["a"]) == [] == schedule.balance(few, [])


@pytest.mark.parametrize(
    ("accuracies", "warned"), [([0.5, 0.51, 0.52], True), ([0.5, 0.7, 0.4], False), ([], False)]
)
def test_an_accuracy_that_stays_at_chance_is_warned_of(accuracies, warned):
    labels = np.array([0, 1, 1, 0, 2, 1])
    assert bool(schedule.unlearned(labels, accuracies)) == warned
    assert schedule.unlearned(None, accuracies) == []


def test_durations_have_the_unit_that_suits_them():
    texts = [schedule.duration(seconds) for seconds in (61, 720, 12_600)]
    assert texts == ["61 s", "12 minutes", "3.5 hours"]
