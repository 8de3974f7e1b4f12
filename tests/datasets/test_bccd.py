"""Facts of bccd: what is embedded, what was repaired, and that it arrives unchanged."""

import configparser
import os
import pathlib
import re
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

import tensorflow_datasets as tfds

from datasets import builders
from datasets.bccd.bccd_dataset_builder import HEIGHT, HERE, WIDTH, Builder
from datasets.readers.boxes import voc
from datasets.readers.images import read_image, read_size

PUBLISHED = {
    "train": {"RBC": 2382, "WBC": 214, "Platelets": 209},
    "validation": {"RBC": 968, "WBC": 87, "Platelets": 83},
    "test": {"RBC": 805, "WBC": 71, "Platelets": 69},
}
SIZELESS = {  # left out
    ("train", "BloodImage_00343.jpg", "RBC", 181, 329, 181, 329),
    ("validation", "BloodImage_00338.jpg", "RBC", 504, 337, 504, 337),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def source(folder):
    return builders.load("bccd", data_dir=folder)


@pytest.fixture(scope="module")
def rows():
    return [
        (split, name, *row)
        for split, images in Builder.rows().items()
        for name, some in images.items()
        for row in some
    ]


def sound(rows):
    """Return the rows of boxes that have a size."""
    return [row for row in rows if row[3] < row[5] and row[4] < row[6]]


def test_boxes_as_published(rows):
    counts = Counter((split, label) for split, _, label, *_ in rows)
    assert counts == {(s, label): n for s, some in PUBLISHED.items() for label, n in some.items()}
    totals = Counter(label for _, _, label, *_ in rows)
    assert totals == {"RBC": 4155, "WBC": 372, "Platelets": 361} and len(rows) == 4888


def test_faults_are_those_that_the_readme_counts(rows):
    assert set(rows) - set(sound(rows)) == SIZELESS
    assert len(set(rows)) == len(rows)
    corners = np.array([row[3:] for row in rows])
    assert corners.min() >= 0 and (corners.max(axis=0) <= [WIDTH, HEIGHT] * 2).all()
    for images in Builder.rows().values():
        for name, some in images.items():
            assert some and read_size(HERE / "images" / name) == (HEIGHT, WIDTH)
    pairs = Counter()
    for split, images in Builder.rows().items():
        for some in images.values():
            pairs[split] += doubles(some)
    assert pairs == {"train": 5, "validation": 2, "test": 1}


def doubles(rows):
    """Count pairs of boxes that share more than 0.8 of their union; all are of red cells."""
    corners = np.array([row[1:] for row in rows], float)
    low = np.maximum(corners[:, None, :2], corners[:, :2])
    high = np.minimum(corners[:, None, 2:], corners[:, 2:])
    shared = (high - low).clip(0).prod(-1)
    area = (corners[:, 2:] - corners[:, :2]).prod(-1)
    alike = np.triu(shared / (area[:, None] + area - shared + 1e-9) > 0.8, 1)
    assert {rows[i][0] for i in np.argwhere(alike).ravel()} <= {"RBC"}
    return int(alike.sum())


def test_the_readme_says_these_numbers(rows):
    text = (HERE / "README.md").read_text("utf-8")
    table = {"all": sum(map(Counter, PUBLISHED.values()), Counter()), **PUBLISHED}
    for split, counts in table.items():
        name = split if split == "all" else f"`{split}`"
        numbers = [counts[label] for label in Builder.CLASSES]
        assert "| ".join([f"| {name} ", *(f"{n:,} " for n in [*numbers, sum(numbers)])]) in text
    left = Counter((split, label) for split, _, label, *_ in sound(rows))
    plain = " ".join(text.split())
    assert f"(`train`, now {left['train', 'RBC']:,})" in plain
    assert f"(`validation`, now {left['validation', 'RBC']:,})" in plain
    assert f"{4155 - 2:,} RBC and {len(sound(rows)):,} boxes remain" in plain
    assert "5 in `train`, 2 in `validation`, 1 in `test`" in plain
    per_image = sorted(len(some) for images in Builder.rows().values() for some in images.values())
    assert (per_image[0], per_image[-1]) == (1, 30) and np.median(per_image) == 14
    assert "1 to 30 boxes, 14 in the median" in plain


def test_splits_overlap_as_the_readme_says():
    owner = {name: split for split, images in Builder.rows().items() for name in images}
    names = sorted(owner)
    small = np.stack(
        [read_image(HERE / "images" / n).mean(-1).reshape(60, 8, 80, 8).mean((1, 3)) for n in names]
    )
    pairs = [(owner[names[i]], owner[names[j]], i, j) for i, j in overlapping(small)]
    between = [pair for pair in pairs if pair[0] != pair[1]]
    test = {
        i if first == "test" else j for first, second, i, j in between if "test" in (first, second)
    }
    assert (len(pairs), len(between), len(test)) == (32, 20, 11)
    text = " ".join((HERE / "README.md").read_text("utf-8").split())
    assert "32 pairs" in text and "20 of these pairs" in text and "11 of the 72 images" in text


def overlapping(images):
    """Return pairs of images (n, H, W) that show one field, shifted: where they overlap, alike.

    The shift is where the correlation of the phases is highest.
    """
    height, width = images.shape[1:]
    waves = np.fft.rfft2(images - images.mean((1, 2), keepdims=True))
    waves = (waves / (np.abs(waves) + 1e-6)).astype(np.complex64)
    pairs = []
    for i in range(len(images) - 1):
        peaks = np.fft.irfft2(waves[i] * waves[i + 1 :].conj(), s=(height, width))
        peaks = peaks.reshape(len(peaks), -1)
        for j in np.flatnonzero(peaks.max(axis=1) > 0.08):
            y, x = divmod(int(peaks[j].argmax()), width)
            moves = [(b, a) for b in (y, y - height) for a in (x, x - width)]
            if max(alike(images[i], images[i + 1 + j], *move) for move in moves) > 0.75:
                pairs.append((i, i + 1 + j))
    return pairs


def alike(before, after, y, x):
    """Return the correlation of two images where they overlap, one being shifted."""
    height, width = before.shape
    if (height - abs(y)) * (width - abs(x)) < 0.25 * height * width:
        return -1.0
    first = before[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
    second = after[max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)]
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


def test_source_is_as_documented(source):
    assert source.name == "bccd" and source.classes == ("RBC", "WBC", "Platelets")
    assert source.info["licence"] == "MIT" and source.info["builder"] == "bccd/2.0.0"
    assert source.options == {"flip": "horizontal_and_vertical"}
    assert {split: len(some) for split, some in source.splits.items()} == Builder.COUNTS


def test_examples_are_the_sound_boxes(source, rows):
    wanted, counts = Counter(), Counter()
    for split, _, label, *corners in sound(rows):
        wanted[split, Builder.CLASSES.index(label), *corners] += 1
    for split, some in source.splits.items():
        for example in (example.read() for example in some):
            objects = example["objects"]
            assert example["image"].shape == (HEIGHT, WIDTH, 3)
            assert example["image"].dtype == np.uint8 and set(objects) == {"bbox", "label"}
            assert (objects["bbox"].dtype, objects["label"].dtype) == (np.float32, np.int64)
            assert objects["bbox"].shape == (len(objects["label"]), 4)
            pixels = objects["bbox"][:, [1, 0, 3, 2]] * np.float32([WIDTH, HEIGHT] * 2)
            np.testing.assert_allclose(pixels, pixels.round(), atol=1e-3)
            for label, corners in zip(objects["label"], pixels.round().astype(int), strict=True):
                counts[split, int(label), *corners.tolist()] += 1
    assert counts == wanted


def test_images_are_the_embedded_bytes(source, folder):
    assert source  # it is prepared
    builder, embedded = Builder(data_dir=folder), {}
    for split, images in Builder.rows().items():
        for name in images:
            embedded[(HERE / "images" / name).read_bytes()] = split
    raw = {"image": tfds.decode.SkipDecoding()}
    for split in Builder.COUNTS:
        for example in tfds.as_numpy(builder.as_dataset(split=split, decoders=raw)):
            assert embedded.pop(example["image"]) == split
    assert not embedded


def test_boxes_fit_their_images(source):
    """White cells are purple: the green of their boxes is darker than that of the image."""
    for example in source.splits["test"]:
        example = example.read()
        image, objects = example["image"].astype(float), example["objects"]
        for bbox, label in zip(objects["bbox"], objects["label"], strict=True):
            if label == 1:
                sides = [HEIGHT, WIDTH] * 2
                top, left, bottom, right = (bbox * sides).round().astype(int)
                assert image[top:bottom, left:right, 1].mean() < image[..., 1].mean()


def test_preparing_again_gives_the_same(source, tmp_path):
    again = builders.load("bccd", data_dir=tmp_path)
    assert again.fingerprint == source.fingerprint
    for split, some in again.splits.items():
        for first, second in zip(some, source.splits[split], strict=True):
            np.testing.assert_array_equal(first.read()["image"], second.read()["image"])


def test_the_builder_of_tfds_with_this_name_stays_what_it_is():
    from tensorflow_datasets.datasets.bccd import bccd_dataset_builder as theirs

    assert "bccd" in builders.ours() and builders.names().count("bccd") == 1
    assert theirs.Builder is not Builder and theirs.Builder.name == Builder.name == "bccd"
    assert theirs.Builder.VERSION != Builder.VERSION


@pytest.mark.parametrize("beside", [{}, {"labels": ["a", "b"]}])
def test_classes_of_objects_are_found(beside):
    named = tfds.features.ClassLabel(names=["a", "b"])
    objects = {"bbox": tfds.features.BBoxFeature(), "label": named}
    features = {"image": tfds.features.Image(), "objects": tfds.features.Sequence(objects)}
    features |= {key: tfds.features.Sequence(named) for key in beside}
    assert builders._classes(tfds, tfds.features.FeaturesDict(features)) == ("a", "b")


def test_files_are_small_and_packed():
    files = [*(HERE / "images").glob("*.jpg"), HERE / "boxes.csv", HERE / "LICENSE"]
    assert len(files) == 364 + 2 and sum(path.stat().st_size for path in files) < 10e6
    config = configparser.ConfigParser()
    config.read(pathlib.Path(__file__).parents[2] / "setup.cfg")
    packed = config["options.package_data"]["datasets"].split(", ")
    paths = {path for pattern in packed for path in HERE.parent.glob(pattern)}
    assert set(files) <= paths and HERE / "README.md" in paths


def test_licence_is_beside_the_data():
    text = (HERE / "LICENSE").read_text("utf-8")
    assert "MIT License" in text and "Copyright (c) 2017 shenggan" in text
    notice = (HERE.parent.parent / "NOTICE").read_text("utf-8")
    assert re.search(r"datasets/bccd.*MIT", notice, re.DOTALL)


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
def test_what_is_embedded_equals_the_originals():
    root = pathlib.Path(os.environ["ZOO_DATA"]) / "bccd"
    original_names = {"train": "train", "validation": "val", "test": "test"}
    for split, images in Builder.rows().items():
        listed = (root / "ImageSets" / "Main" / f"{original_names[split]}.txt").read_text().split()
        assert sorted(images) == sorted(f"{name}.jpg" for name in listed)
        for name, rows in images.items():
            note = voc.parse(root / "Annotations" / name.replace(".jpg", ".xml"))
            assert rows == [(thing.name, *thing.corners) for thing in note.things]
            assert note.size == (WIDTH, HEIGHT)
            original = root / "JPEGImages" / name
            assert original.read_bytes() == (HERE / "images" / name).read_bytes()
