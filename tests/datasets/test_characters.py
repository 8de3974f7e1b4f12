"""Facts of characters: what is embedded, and that no alphabet is in two splits."""

import collections

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from datasets import builders
from datasets.characters.characters_dataset_builder import HERE, SIDE, WRITERS, Builder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return builders.load("characters", data_dir=tmp_path_factory.mktemp("tfds"))


def test_source_is_as_documented(source):
    assert source.info["licence"] == "MIT" and len(source.classes) == 242
    assert {split: len(examples) for split, examples in source.splits.items()} == Builder.COUNTS
    assert source.options["flip"] == "none", "a mirrored character is another one"
    for split, alphabets in Builder.ALPHABETS.items():
        assert WRITERS * sum(alphabets.values()) == Builder.COUNTS[split]
        assert sum(alphabets.values()) >= 20


def test_splits_share_no_alphabet_and_each_character_has_all_writers(source):
    seen = {}
    for split in ("validation", "test"):
        labels = collections.Counter(int(e.read()["label"]) for e in source.splits[split])
        assert set(labels.values()) == {WRITERS}
        seen[split] = {source.classes[k].split("/")[0] for k in labels}
        assert seen[split] == set(Builder.ALPHABETS[split])
    every = [name for alphabets in Builder.ALPHABETS.values() for name in alphabets]
    assert len(every) == len(set(every)) == len(list((HERE / "images").glob("*.png"))) == 8


def test_characters_are_the_squares_of_the_sheets(source):
    squares = collections.Counter()
    for alphabet, count in Builder.ALPHABETS["validation"].items():
        with Image.open(HERE / "images" / f"{alphabet}.png") as file:
            assert file.mode == "1"
            sheet = np.asarray(file.convert("L"))
        assert sheet.shape == (count * SIDE, WRITERS * SIDE)
        for row, column in np.ndindex(count, WRITERS):
            square = sheet[SIDE * row :, SIDE * column :][:SIDE, :SIDE]
            squares[square.tobytes(), f"{alphabet}/{row + 1:02}"] += 1
    examples = [example.read() for example in source.splits["validation"]]
    assert {example["image"].shape for example in examples} == {(SIDE, SIDE, 1)}
    read = [(e["image"].tobytes(), source.classes[int(e["label"])]) for e in examples]
    assert collections.Counter(read) == squares and len(squares) == len(examples)
