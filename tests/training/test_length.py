"""The length of a training depends on the number of examples, and its messages are right."""

import pytest

from zoo import index
from zoo.training import length

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
    settings = length.complete({"seed": 3, **GIVEN, **given}, DEFAULTS, count)
    assert (settings["batch_size"], settings["epochs"]) == expected and settings["seed"] == 3
    assert length.complete(settings, DEFAULTS, 10 * count) == settings  # --resume changes nothing


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
    settings = length.complete(GIVEN, defaults, count)
    assert settings == {key: defaults[key] for key in GIVEN}


def test_length_of_a_training_is_told_and_a_short_one_warned_of():
    assert length.described(1200, 10, 8) == [
        "1,200 steps an epoch, batches of 8; 10 epochs; 12,000 updates"
    ]
    line, warning = length.described(2, 12, 8)
    assert length.described(1, 1, 8)[0] == "1 step an epoch, batches of 8; 1 epoch; 1 update"
    assert "24 updates" in line and "24 updates" in warning and "--epochs" in warning


def test_durations_have_the_unit_that_suits_them():
    texts = [length.duration(seconds) for seconds in (61, 720, 12_600)]
    assert texts == ["61 s", "12 minutes", "3.5 hours"]
