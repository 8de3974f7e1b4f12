"""Facts of clothing: what is embedded, how it is split, and at which size it is trained on."""

import collections

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from datasets import builders, prepared
from datasets.clothing.clothing_dataset_builder import COLUMNS, HERE, SIDE, Builder
from zoo import tasks


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return builders.load("clothing", data_dir=tmp_path_factory.mktemp("tfds"))


def test_source_is_as_documented(source):
    assert source.classes == Builder.CLASSES and source.info["licence"] == "CC0-1.0"
    assert {split: len(examples) for split, examples in source.splits.items()} == Builder.COUNTS
    classes = collections.Counter(label for _, label in Builder.rows()["train"])
    assert set(classes) == set(Builder.CLASSES)
    assert classes["t-shirt"] == 795 and classes["skirt"] == 112 == min(classes.values())


def test_photographs_are_the_squares_of_the_sheets(source):
    for split, rows in Builder.rows().items():
        sheet = np.asarray(Image.open(HERE / "images" / f"{split}.jpg"))
        assert sheet.shape == (-(-len(rows) // COLUMNS) * SIDE, COLUMNS * SIDE, 3)
        squares = collections.Counter()
        for i, (_, label) in enumerate(rows):
            top, left = SIDE * (i // COLUMNS), SIDE * (i % COLUMNS)
            square = sheet[top : top + SIDE, left : left + SIDE]
            squares[square.tobytes(), Builder.CLASSES.index(label)] += 1
        if split == "test":
            examples = [example.read() for example in source.splits[split]]
            read = collections.Counter((e["image"].tobytes(), int(e["label"])) for e in examples)
            assert read == squares
        assert len(squares) > 0.99 * len(rows), "photographs differ"


def test_splits_share_no_photograph():
    names = [name for rows in Builder.rows().values() for name, _ in rows]
    assert len(set(names)) == len(names) == sum(Builder.COUNTS.values())


@pytest.mark.parametrize(("asked", "side"), [(0, 40), (24, 24)])
def test_images_keep_their_size_unless_another_is_asked_for(tmp_path, monkeypatch, asked, side):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        for label in ("cat", "dog"):
            folder = tmp_path / "pets" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (40, 52, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    task = tasks.get("image_classification")
    options = {"image_size": asked}
    data = prepared.prepare(str(tmp_path / "pets"), task, "test", options=options)
    assert data.options["image_size"] == side
    assert data.splits["train"].take(slice(0, 1))[0].shape == (1, side, side, 3)
    assert task.training.arguments(data.info, data.options)["input_shape"] == (side, side, 3)
