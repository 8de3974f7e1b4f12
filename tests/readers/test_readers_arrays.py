"""One .npz of arrays for any task, and layouts damaged in many ways."""

import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest

from datasets.readers import files, read
from datasets.source import BadInput
from tests.readers.test_readers_layouts import (
    OBJECTS,
    RNG,
    SCENES,
    examples,
    put,
    refused,
    write_kitti,
)


def arrays(**changes):
    made = {
        "x_train": RNG.normal(size=(6, 5, 3)),
        "y_train": np.arange(6) % 3,
        "x_test": RNG.normal(size=(2, 5, 3)).astype(np.float32),
        "y_test": np.array([[2], [0]], np.uint8),
    } | changes
    return {name: array for name, array in made.items() if array is not None}


def test_arrays_for_classification(tmp_path):
    np.savez(tmp_path / "own.npz", **arrays(classes=np.array(["a", "b", "c"])))
    source = read(tmp_path / "own.npz", OBJECTS)
    assert (source.name, source.classes) == ("own", ("a", "b", "c"))
    (name, first), (_, second) = examples(source, "test")
    assert name == "own.npz#x_test[0]" and (first["label"], second["label"]) == (2, 0)
    assert first["points"].shape == (5, 3) and first["points"].dtype == np.float32
    np.savez(tmp_path / "own.npz", **arrays())
    assert read(tmp_path / "own.npz", OBJECTS).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("y_train", "y_test", "classes", "first"),
    [
        (np.eye(3)[[2, 0, 1, 2, 1, 0]], np.eye(3)[:2], ("0", "1", "2"), 2),
        (np.eye(2, dtype=bool)[[1, 0] * 3], np.array([[1], [0]]), ("0", "1"), 1),
        (np.array([2.0, 0, 1, 2, 1, 0]), np.array([True, False]), ("0", "1", "2"), 2),
        (np.array(["b", "a"] * 3), np.array(["a", "b"]), ("a", "b"), 1),
        (np.array([b"b", b"a"] * 3), np.array([["a"], ["b"]]), ("a", "b"), 1),
    ],
)
def test_labels_may_be_one_hot_names_or_whole_floats(y_train, y_test, classes, first, tmp_path):
    np.savez(tmp_path / "own.npz", **arrays(y_train=y_train, y_test=y_test))
    source = read(tmp_path / "own.npz", OBJECTS)
    assert source.classes == classes and examples(source)[0][1]["label"] == first
    assert bool(source.info.get("notes")) == (y_train.dtype.kind in "USb" or y_train.ndim == 2)
    if y_train.dtype.kind == "U":  # in the order that the array says
        changed = arrays(y_train=y_train, y_test=y_test, classes=np.array(["b", "a"]))
        np.savez(tmp_path / "own.npz", **changed)
        source = read(tmp_path / "own.npz", OBJECTS)
        assert source.classes == ("b", "a") and examples(source)[0][1]["label"] == 0


def test_classes_txt_beside_arrays_of_images_names_the_classes(tmp_path):
    images = dict(x_train=np.zeros((6, 8, 8, 3), np.uint8), x_test=np.ones((2, 8, 8, 3), np.uint8))
    np.savez(tmp_path / "own.npz", **arrays(**images))
    unnamed = read(tmp_path / "own.npz", "image_classification")
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    source = read(tmp_path / "own.npz", "image_classification")
    assert (unnamed.classes, source.classes) == (("0", "1", "2"), ("cat", "dog", "owl"))
    assert unnamed.fingerprint != source.fingerprint
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(BadInput, match="has label 2, but there are 2 classes"):
        read(tmp_path / "own.npz", "image_classification")


def test_arrays_of_clouds_take_an_axis_and_a_unit(tmp_path):
    made = arrays()
    np.savez(tmp_path / "own.npz", **made)
    source = read(tmp_path / "own.npz", OBJECTS, {"up": "y", "units": "mm"})
    x, y, z = made["x_train"][0].T / 1000
    np.testing.assert_allclose(examples(source)[0][1]["points"], np.stack([x, -z, y], 1), 1e-6)
    with pytest.raises(BadInput, match="--columns"):
        read(tmp_path / "own.npz", OBJECTS, {"columns": "1,2,3"})


def test_arrays_for_segmentation(tmp_path):
    labels = RNG.integers(-1, 4, (6, 5))
    labels[0, 0] = 3
    np.savez(tmp_path / "own.npz", **arrays(y_train=labels, x_test=None, y_test=None))
    source = read(tmp_path / "own.npz", SCENES)
    assert len(source.classes) == 4 and set(source.splits) == {"train"}
    np.testing.assert_array_equal(examples(source)[2][1]["labels"], labels[2])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(x_train=None), ["no array 'x_train'", "x_test"]),
        (dict(y_test=None), ["no array 'y_test'"]),
        (dict(x_train=np.zeros((6, 5))), ["'x_train' of shape (6, 5)", "(examples, points, 3)"]),
        (dict(x_train=np.zeros((6, 5, 3), bool)), ["'x_train'", "bool"]),
        (dict(x_train=np.full((6, 5, 3), np.nan)), ["NaN", "x_train[0]"]),
        (
            dict(x_train=np.array([{}] * 6, object)),
            ["'x_train'", "Python objects", "class folders"],
        ),
        (dict(y_train=np.arange(5)), ["'y_train' of shape (5,)", "(6,)"]),
        (dict(y_train=np.eye(6) / 2), ["'y_train'", "float64", "integers", "argmax(axis=1)"]),
        (dict(y_train=np.full(6, 0.5)), ["integers", "round()"]),
        (dict(y_train=1 + np.eye(6, dtype=int)), ["argmax"]),
        (dict(y_train=np.array([*"abcabc"])), ["'y_train'", "integers"]),
        (dict(y_train=np.array([*"abcabc"]), y_test=np.array(["a", "d"])), ["'d'", "a, b, c"]),
        (dict(y_train=np.arange(6) - 1), ["from -1 to 4"]),
        (dict(y_train=np.arange(6) * 10**9), ["to 5000000000"]),
        (dict(y_test=np.array([7, 0])), ["'y_test' has label 7", "3 classes"]),
        (dict(y_train=np.zeros(6, int), y_test=np.zeros(2, int)), ["has 1 class"]),
        (dict(classes=np.array(["a", "a", "b"])), ["'classes'", "distinct names"]),
    ],
)
def test_faults_of_arrays_are_named(changes, words, tmp_path):
    np.savez(tmp_path / "own.npz", **arrays(**changes))
    refused(tmp_path / "own.npz", OBJECTS, "own.npz", *words)


def test_reading_arrays_needs_numpy_alone(tmp_path):
    np.savez(tmp_path / "own.npz", **arrays())
    code = (
        "import sys; from datasets.readers import read; import pathlib;"
        f"s = read(pathlib.Path({str(tmp_path / 'own.npz')!r}), {OBJECTS!r});"
        "[e.read() for e in s.splits['train']];"
        "bad = {'tensorflow', 'keras', 'open3d', 'laspy', 'sklearn', 'matplotlib'};"
        "sys.exit(str(bad & set(sys.modules)) if bad & set(sys.modules) else 0)"
    )
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


@pytest.mark.parametrize("layout", ["arrays", "kitti", "semantic_kitti"])
@pytest.mark.parametrize("kind", [OBJECTS, SCENES])
def test_damaged_layouts_are_refused_or_read_soundly(layout, kind, tmp_path):
    if layout == "arrays":
        y = np.arange(6) % 3 if kind == OBJECTS else RNG.integers(0, 3, (6, 5))
        np.savez_compressed(tmp_path / "own.npz", **arrays(y_train=y, x_test=None, y_test=None))
        path = tmp_path / "own.npz"
    elif layout == "kitti":
        path = write_kitti(tmp_path / "training")
    elif kind == SCENES:
        path = tmp_path / "s"
        put(path / "velodyne" / "1.bin", np.ones((9, 4), "<f4").tobytes())
        put(path / "labels" / "1.label", np.arange(9, dtype="<u4").tobytes())
    else:
        return
    sound = {file: file.read_bytes() for file in ([path] if path.is_file() else files.walk(path))}
    rng = random.Random(layout + kind)
    for _ in range(80):
        for file, raw in sound.items():
            file.write_bytes(raw)
        victim = rng.choice(list(sound))
        raw = bytearray(sound[victim])
        if rng.random() < 0.4:
            raw = raw[: rng.randrange(len(raw))]
        else:
            for _ in range(rng.choice([1, 3])):
                raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        victim.write_bytes(raw)
        try:
            source = read(path, kind)
        except BadInput:
            continue
        for item in source.splits["train"]:
            try:
                example = item.read()
            except BadInput:
                continue
            points = example["points"]
            assert points.dtype == np.float32 and points.ndim == 2 and points.shape[1] == 3
            assert len(points) and np.isfinite(points).all()
            label = np.atleast_1d(example["label" if kind == OBJECTS else "labels"])
            assert -1 <= label.min() and label.max() < len(source.classes)
            assert kind == OBJECTS or label.shape == points.shape[:1]


def test_a_folder_with_a_file_for_each_split_is_read_like_one_file(tmp_path):
    arrays = {
        f"{name}_{split}": RNG.integers(0, 2, shape, np.uint8)
        for split, n in (("train", 8), ("val", 4), ("test", 6))
        for name, shape in (("x", (n, 5, 4, 3)), ("y", (n,)))
    }
    for split in ("train", "val", "test"):
        parts = {name: arrays[f"{name}_{split}"] for name in "xy"}
        (tmp_path / "three").mkdir(exist_ok=True)
        np.savez(tmp_path / "three" / f"{split}.npz", **parts)
    np.savez(tmp_path / "three.npz", **arrays)
    one, three = (read(tmp_path / name, "image_classification") for name in ("three.npz", "three"))
    assert one.classes == three.classes and one.name == three.name == "three"
    assert one.splits.keys() == three.splits.keys()
    for split in one.splits:
        for a, b in zip(one.splits[split], three.splits[split], strict=True):
            a, b = a.read(), b.read()
            assert a["label"] == b["label"]
            np.testing.assert_array_equal(a["image"], b["image"])
    (tmp_path / "three" / "train.npz").unlink()
    with pytest.raises(BadInput):
        read(tmp_path / "three", "image_classification")
