"""Classes that training does not see: official ones are kept, else whole classes are held out."""

import numpy as np
import pytest
from PIL import Image

from datasets import prepared
from datasets.readers import read
from datasets.source import BadInput
from zoo import tasks

KIND = "image_embedding"


def folders(root, splits, count=3):
    """Write images of class folders: {split or "": classes}."""
    rng = np.random.default_rng(0)
    for split, classes in splits.items():
        for label in classes:
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def classes(path, **settings):
    """Prepare data; return the names of the classes of each split, and the notes."""
    data = prepared.prepare(str(path), tasks.get(KIND), "test", **settings)
    names = np.array(data.info["classes"])
    return {s: set(names[a.take()[1]]) for s, a in data.splits.items()}, data.about["notes"], data


def test_class_folders_with_classes_of_their_own_are_honoured(tmp_path):
    splits = {"train": ["a", "c", "e"], "val": ["b", "f"], "test": ["d", "g"]}
    split_classes, notes, _ = classes(folders(tmp_path / "images", splits))
    assert split_classes == {"train": {*"ace"}, "validation": {*"bf"}, "test": {*"dg"}}
    assert not notes
    with pytest.raises(BadInput, match="not in train"):
        read(tmp_path / "images", "image_classification")


def test_of_one_folder_whole_classes_are_held_out(tmp_path):
    path = folders(tmp_path / "images", {"": "abcdefghijklmnopqrst"}, count=2)
    split_classes, _, data = classes(path)
    assert {split: len(names) for split, names in split_classes.items()} == {
        "train": 14,
        "validation": 3,
        "test": 3,
    }
    assert len(set.union(*split_classes.values())) == 20
    assert {s: len(a) for s, a in data.splits.items()} == {"train": 28, "validation": 6, "test": 6}
    assert classes(path)[0] == split_classes, "by a fixed seed"


def test_folds_are_of_classes(tmp_path):
    path, tested = folders(tmp_path / "images", {"": "abcdefghij"}, count=2), []
    for k in range(1, 4):
        split_classes, _, _ = classes(path, fold=(k, 3))
        assert (
            sum(map(len, split_classes.values())) == len(set.union(*split_classes.values())) == 10
        )
        tested += split_classes["test"]
        held, _, _ = classes(path, validate=(k, 3))
        assert not held["train"] & held["validation"] and not held["test"] & held["train"]
    assert sorted(tested) == [*"abcdefghij"]


@pytest.mark.parametrize("form", ["names", "numbers", "table"])
def test_splits_that_share_classes_with_training_are_divided_anew(tmp_path, form):
    names = np.array([*"aabbccddeeffgghh"])
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8), np.uint8)
    held = np.arange(16) % 2 == 1
    if form == "table":
        lines = ["filename,label,split"]
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / f"{i}.png")
            lines.append(f"{i}.png,{names[i]},{'test' if held[i] else 'train'}")
        path = tmp_path / "labels.csv"
        path.write_text("\n".join(lines))
    else:
        y = names if form == "names" else np.unique(names, return_inverse=True)[1]
        path = tmp_path / "data.npz"
        arrays = dict(x_train=images[~held], y_train=y[~held])
        np.savez(path, **arrays, x_test=images[held], y_test=y[held])
    split_classes, notes, data = classes(path)
    assert {split: len(some) for split, some in split_classes.items()} == {
        "train": 4,
        "validation": 2,
        "test": 2,
    }
    assert len(set.union(*split_classes.values())) == 8
    assert any("the test split shares classes with training" in note for note in notes)
    pairs = {}
    for arrays in data.splits.values():
        for x, label in zip(*arrays.take(), strict=True):
            pairs[np.round(255 * x[..., 0]).astype(np.uint8).tobytes()] = data.info["classes"][
                label
            ]
    by_image = {image.tobytes(): name for image, name in zip(images, names, strict=True)}
    if form == "numbers":
        by_image = {image: str(ord(name) - ord("a")) for image, name in by_image.items()}
    assert pairs == by_image, "images keep their classes"
    units = {split: set(map(tuple, some.tolist())) for split, some in data.examples.items()}
    assert sum(map(len, units.values())) == len(set.union(*units.values())) == 16


def test_an_npz_with_classes_of_its_own_is_honoured(tmp_path):
    x, y = np.zeros((9, 8, 8), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None], [0, 1, 2]
    arrays = {f"x_{s}": x[3 * i : 3 * i + 3] for i, s in enumerate(("train", "val", "test"))}
    labels = {f"y_{s}": np.add(y, 3 * i) for i, s in enumerate(("train", "val", "test"))}
    np.savez(tmp_path / "data.npz", **arrays, **labels)
    split_classes, _, _ = classes(tmp_path / "data.npz")
    assert split_classes == {"train": {*"012"}, "validation": {*"345"}, "test": {*"678"}}


def test_too_few_classes_are_refused(tmp_path):
    path = folders(tmp_path / "images", {"": "abcde"})
    with pytest.raises(BadInput, match="5 classes are too few .* Add classes: 6 suffice"):
        classes(path)
