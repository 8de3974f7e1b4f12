"""A choice of classes, of sources whose examples have a class, labels, maps or boxes."""

import dataclasses

import numpy as np
import pytest
from conftest import toy

from datasets import chosen, prepared
from datasets.source import BadInput, Examples, Source
from zoo import tasks

NAMES = ("background", "cat", "dog", "fish, small", "bird")


def source(examples, classes=NAMES, label=lambda item: None, **more):
    """Return a source of examples that are in memory; `reads` counts how often they are read."""
    reads = []

    def read(item):
        reads.append(item)
        if isinstance(item, BadInput):
            raise item
        return item

    split = Examples.of(examples, read, lambda item: "one", label)
    return Source("own", "0" * 16, tuple(classes), {"train": split}, **more), reads


def changed(text, examples, field, **more):
    """Return the classes that are chosen, and the targets."""
    result = chosen.choose(source(examples, **more)[0], text, field)
    split = result.splits["train"]
    read = [example.read()[field] for example in split]
    assert len(read) == len(split)
    return result.classes, read


@pytest.mark.parametrize("text", ["cat,bird", "bird, cat", "1,4", "cat,4", "cat,cat,bird"])
def test_examples_of_other_classes_are_left_out(text):
    examples = [{"image": np.zeros(1), "label": k} for k in (0, 4, 1, 2, 4)]
    assert changed(text, examples, "label") == (("cat", "bird"), [1, 0, 1])


def test_labels_known_before_are_not_read():
    examples = [{"image": np.zeros(1), "label": k} for k in (0, 4, 1)]
    own, reads = source(examples, label=lambda item: item["label"])
    split = chosen.choose(own, "1,4", "label").splits["train"]
    assert len(split) == 2 and not reads
    assert len([example.read() for example in split]) == len(reads) == 2


def test_a_split_without_a_chosen_class_is_left_out():
    own, _ = source([{"label": 1}, {"label": 2}])
    splits = {**own.splits, "test": source([{"label": 4}])[0].splits["train"]}
    result = chosen.choose(dataclasses.replace(own, splits=splits), "cat,dog", "label")
    assert [*result.splits] == ["train"] and "the test split has no example" in result.info[
        "notes"
    ][1]


def test_a_name_goes_before_an_index_and_may_have_a_comma():
    digits = tuple("9876543210")
    assert changed("9,1", [{"label": 0}, {"label": 8}], "label", classes=digits)[0] == ("9", "1")
    assert changed('"fish, small",1', [{"label": 3}], "label")[0] == ("cat", "fish, small")


def test_of_several_labels_the_chosen_remain():
    examples = [{"label": np.array(row, np.uint8)} for row in ([0, 1, 1, 0, 0], [1, 0, 0, 0, 1])]
    more = dict(constants={"target": "labels"})
    names, labels = changed("dog,bird", examples, "label", **more)
    assert names == ("dog", "bird") and [row.tolist() for row in labels] == [[1, 0], [0, 1]]
    assert changed("dog", examples, "label", **more)[0] == ("dog",)


def test_other_pixels_become_background_or_void():
    examples = [{"segmentation_mask": np.array([[0, 1, -1], [2, 3, 4]], np.int32)}]
    names, (mask,) = changed("dog", examples, "segmentation_mask")
    assert names == ("background", "dog") and mask.tolist() == [[0, 0, -1], [1, 0, 0]]
    without = ("sky", *NAMES[1:])
    names, (mask,) = changed("dog,bird", examples, "segmentation_mask", classes=without)
    assert names == ("dog", "bird") and mask.tolist() == [[-1, -1, -1], [0, -1, 1]]
    with pytest.raises(BadInput, match="dog is one class"):
        changed("dog", examples, "segmentation_mask", classes=without)


def test_other_boxes_are_dropped():
    boxes = {
        "bbox": np.arange(12).reshape(3, 4),
        "label": np.array([4, 1, 2]),
        "is_crowd": [0, 1, 0],
    }
    names, (first, second) = changed(
        "dog,bird",
        [{"objects": boxes}, {"objects": {**boxes, "label": np.array([0, 1, 1])}}],
        "objects",
    )
    assert names == ("dog", "bird") and first["label"].tolist() == [1, 0]
    assert first["bbox"][:, 0].tolist() == [0, 8] and first["is_crowd"].tolist() == [0, 0]
    assert second["bbox"].shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat,brid", ["no class brid", "Did you mean bird? Indices are 0 to 4."]),
        (
            "cat,17",
            [
                "no class 17",
                "They are background, cat, dog, fish, small, bird. Indices are 0 to 4.",
            ],
        ),
        ("cat", ["cat is one class"]),
        (" , ", ["no class is named"]),
    ],
)
def test_a_choice_that_cannot_be_is_refused(text, words):
    with pytest.raises(BadInput) as caught:
        changed(text, [{"label": 0}], "label")
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(BadInput, match="no classes to choose from"):
        changed(text, [], "label", classes=())


def test_examples_that_cannot_be_read_are_reported_as_always():
    fault = BadInput("1.png", "it is corrupt", "", partial={"label": 4})
    split = chosen.choose(source([{"label": 0}, fault])[0], "1,4", "label").splits["train"]
    (example,) = split
    with pytest.raises(BadInput, match="corrupt") as caught:
        example.read()
    assert caught.value.partial == {"label": 1}


@pytest.mark.parametrize(
    "name",
    ["image_classification", "sequence_classification", "pointcloud_classification"],
)
def test_a_task_prepares_the_classes_of_its_option(name):
    batch = toy(name, 40)
    labels = [example["label"] for example in batch.examples]
    data = {}
    for text in ("rod,disc", "", "1,2"):
        own, _ = source(batch.examples, batch.info["classes"])
        options = {**batch.options, "classes": text}
        data[text] = prepared.prepare("own", tasks.get(name), "key", source=own, options=options)
    some, others = data["rod,disc"], data["1,2"]
    assert some.info["classes"] == others.info["classes"] == ["disc", "rod"]
    assert some.options["classes"] == "rod,disc" and len(data[""].info["classes"]) == 4
    for result, kept in ((some, (1, 2)), (others, (1, 2)), (data[""], (0, 1, 2, 3))):
        sizes = result.about["sizes"]
        assert sum(sizes.values()) == sum(label in kept for label in labels)
        y = np.concatenate([arrays.take()[1] for arrays in result.splits.values()])
        assert sorted(y) == sorted(kept.index(label) for label in labels if label in kept)
    assert any("2 of 4 classes are chosen: disc, rod" in note for note in some.about["notes"])
