"""Facts of dsb2018: what is embedded, how it is split, and that it arrives unchanged."""

import configparser
import hashlib
import pathlib

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

import zoo
from datasets import builders
from datasets.dsb2018.dsb2018_dataset_builder import HERE, Builder
from datasets.readers import read
from datasets.readers.images import read_image, read_mask
from zoo import index, tasks
from zoo.inference import predictors

SPLITS_OF_1_0_0 = "fc79da8b29ad007d"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return builders.load("dsb2018", data_dir=tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="module")
def examples(source):
    return {split: [example.read() for example in some] for split, some in source.splits.items()}


def test_source_is_as_documented(source, examples):
    assert source.classes == ("background", "nucleus")
    assert source.options == {"tile_height": 256, "tile_width": 256, "normalize": "image"}
    assert source.info["licence"] == "CC0-1.0"
    assert {split: len(some) for split, some in source.splits.items()} == Builder.COUNTS
    for some in examples.values():
        for example in some:
            image, mask = example["image"], example["segmentation_mask"]
            assert image.shape == (256, 256, 1) and image.dtype == np.uint8
            assert mask.shape == (256, 256) and mask.dtype == np.int32
            assert set(np.unique(mask)) == {0, 1}


def test_examples_are_the_embedded_files(examples):
    for split, names in Builder.names().items():
        images = {read_image(HERE / "images" / name).tobytes(): name for name in names}
        assert len(images) == len(names) == len(examples[split])
        for example in examples[split]:
            name = images.pop(example["image"].tobytes())
            np.testing.assert_array_equal(
                example["segmentation_mask"], read_mask(HERE / "masks" / name)
            )


def test_splits_part_all_files_and_stay_as_they_are():
    splits = Builder.names()
    names = [name for some in splits.values() for name in some]
    assert sorted(names) == [f"{i:03}.png" for i in range(334)]
    listed = "\n".join(f"{split}/{name}" for split, some in splits.items() for name in some)
    assert hashlib.blake2b(listed.encode(), digest_size=8).hexdigest() == SPLITS_OF_1_0_0


def test_no_image_is_another_one_turned_or_mirrored():
    images = [read_image(path)[..., 0] for path in sorted((HERE / "images").iterdir())]
    small = np.stack([image.reshape(64, 4, 64, 4).mean((1, 3)) for image in images])
    fields = [normed(small)] + [
        normed(np.rot90(side, turns, (1, 2)))
        for side in (small, small[:, :, ::-1])
        for turns in range(4)
    ]
    for turned in fields[1:]:
        alike = fields[0] @ turned.T
        np.fill_diagonal(alike, 0)
        assert alike.max() < 0.8


def normed(images):
    """Return images as rows (n, pixels) of mean 0 and length 1."""
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_preparing_again_gives_the_same(source, examples, tmp_path):
    again = builders.load("dsb2018", data_dir=tmp_path)
    assert again.fingerprint == source.fingerprint
    for split, some in again.splits.items():
        for first, second in zip(some, examples[split], strict=True):
            assert first.read()["image"].tobytes() == second["image"].tobytes()


def test_the_embedded_folder_reads_as_own_files():
    source = read(HERE, "image_segmentation")
    assert len(source.splits["train"]) == 334 and source.classes == ("background", "foreground")
    assert source.options == {"tile_height": 256, "tile_width": 256}


def test_files_are_few_small_and_packed():
    files = [path for path in HERE.rglob("*") if path.is_file() and path.suffix == ".png"]
    assert len(files) == 2 * 334 and sum(path.stat().st_size for path in files) < 9e6
    config = configparser.ConfigParser()
    config.read(pathlib.Path(__file__).parents[2] / "setup.cfg")
    packed = config["options.package_data"]["datasets"].split(", ")
    paths = {path for pattern in packed for path in HERE.parent.glob(pattern)}
    assert set(files) <= paths and HERE / "README.md" in paths


@pytest.mark.parametrize("name", ["unet_dsb2018", "unet_dsb2018_dice"])
def test_presets_score_on_the_test_split_what_their_cards_say(name, source):
    card, model = index.presets()[name], zoo.load(name)
    task, info = tasks.get(card["task"]), card["info"]
    assert source.fingerprint == card["data"]["fingerprint"]
    pairs = [
        task.data.prepare(piece, info, card["task_options"])
        for example in source.splits["test"]
        for piece in task.data.cut(example.read(), card["task_options"])
    ]
    x, y = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    scores, _ = task.results.evaluate(y, predictors.predict(model, x, 8), info)
    for key in ("dice", "mean_iou", "accuracy"):
        assert scores[key] == pytest.approx(card["scores"]["test"][key], abs=1e-4)
