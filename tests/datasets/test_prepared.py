"""A data set for a task: the defaults that suit it, and its name in what is wrong with it."""

import dataclasses

import pytest
from conftest import toy

from datasets import prepared
from datasets.source import BadInput, Examples, Source
from zoo import tasks

TASK = "image_classification"


def source(examples, classes, **more):
    """Return a source of examples that are in memory."""
    split = Examples.of(examples, lambda item: item, lambda item: "one")
    return Source("own", "0" * 16, tuple(classes), {"train": split}, **more)


def test_defaults_of_the_data_are_stated_unless_given():
    batch = toy(TASK, 16)
    suggested = {"flip": "none", "rotation": 3.0, "zoom": 0.1, "points": 9, "image_size": 8}
    own = source(batch.examples, batch.info["classes"], options=suggested)
    given = {"image_size": 16, "rotation": 5.0}
    data = prepared.prepare("own", tasks.get(TASK), "key", source=own, options=given)
    assert data.about["notes"][0] == "Defaults of own: --set flip=none, unless set otherwise"
    assert data.options["flip"] == "none" and data.options["rotation"] == 5.0
    plain = dataclasses.replace(own, options={})
    data = prepared.prepare("own", tasks.get(TASK), "key", source=plain, options=given)
    assert not any("Defaults" in note for note in data.about["notes"])


def test_data_that_cannot_be_split_are_named():
    batch = toy(TASK, 2)
    own = source(batch.examples, batch.info["classes"])
    with pytest.raises(BadInput, match="my_photos: 2 examples are too few to split"):
        prepared.prepare("my_photos", tasks.get(TASK), "key", source=own)
