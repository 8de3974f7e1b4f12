"""Each layout of the user's own files becomes the right source, and its faults are named."""

import os
import pathlib
import shutil

import numpy as np
import pytest

from datasets import open_source, pipeline, readers
from datasets.readers import LAYOUTS, files, read
from datasets.readers.images import class_folders
from datasets.source import BadInput, Source

OBJECTS, SCENES = "pointcloud_classification", "pointcloud_segmentation"
RNG = np.random.default_rng(1)


def put(path, content=b"0 0 0\n1 1 1\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def examples(source, split="train"):
    return [(example.name, example.read()) for example in source.splits[split]]


def refused(path, kind, *words):
    with pytest.raises(BadInput) as caught:
        read(path, kind)
    for word in words:
        assert str(word) in str(caught.value)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_what_has_no_layout_is_told_which_there_are(kind, tmp_path):
    put(tmp_path / "notes.md")
    words = {"pointcloud": ["label_2", "clouds as", ".laz"], "image": ["images as", ".jpeg"]}
    words |= {"forecasting": ["series as", ".parquet"], "sequence": ["X_TRAIN.ts", ".ts"]}
    expected = {"image_detection": "(COCO)", "forecasting": "data.npz"}.get(kind, "x_train")
    refused(tmp_path, kind, tmp_path, expected, *words[kind.partition("_")[0]])
    refused(tmp_path / "nowhere", kind, "nowhere", "no such file or folder")
    refused(tmp_path, "weather", "weather", kind)


def test_the_only_file_of_a_folder_is_told_to_be_given(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.zeros((4, 8, 8, 3)), y=np.arange(4))
    file = tmp_path / "mine.npz"
    refused(tmp_path, "image_classification", f"give the file in it: {file}. Use")
    refused(tmp_path, "image_detection", "it can be read for pointcloud_segmentation or")


def test_class_folders_without_splits(tmp_path):
    for name in ["tree/b.xyz", "car/2.XYZ", "car/deep/3.txt", "tree/a.xyz", "tree/.x.xyz"]:
        put(tmp_path / "my scans" / name)
    put(tmp_path / "my scans" / "car" / "1.png")
    source = read(tmp_path / "my scans", OBJECTS)
    assert (source.name, source.classes, set(source.splits)) == (
        "my_scans",
        ("car", "tree"),
        {"train"},
    )
    assert source.info["ignored"] == {".png": 1}
    items = examples(source)
    assert [(name, example["label"]) for name, example in items] == [
        ("car/2.XYZ", 0),
        ("car/deep/3.txt", 0),
        ("tree/a.xyz", 1),
        ("tree/b.xyz", 1),
    ]
    assert set(items[0][1]) == {"points", "label"} and items[0][1]["points"].shape == (2, 3)
    before = source.fingerprint
    put(tmp_path / "my scans" / "tree" / "a.xyz", b"0 0 0\n")
    assert read(tmp_path / "my scans", OBJECTS).fingerprint != before


@pytest.mark.parametrize("order", ["{split}/{name}", "{name}/{split}"])
def test_class_folders_with_official_splits(order, tmp_path):
    for split, count in [("train", 3), ("valid", 2), ("test", 1)]:
        for name in ["car", "tree"]:
            for i in range(count):
                put(tmp_path / order.format(split=split, name=name) / f"{split}{i}.xyz")
    source = read(tmp_path, OBJECTS)
    sizes = {split: len(items) for split, items in source.splits.items()}
    assert sizes == {"train": 6, "validation": 4, "test": 2}
    assert [e["label"] for _, e in examples(source, "test")] == [0, 1]


def test_class_folders_serve_any_extension(tmp_path):
    put(tmp_path / "cat" / "1.png"), put(tmp_path / "dog" / "1.png")
    assert class_folders.match(tmp_path, (".png",))
    source = class_folders.read(tmp_path, (".png",), lambda path: {"image": path.name})
    assert examples(source)[1] == ("dog/1.png", {"image": "1.png", "label": 1})


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["car/1.xyz", "tree/1.png"], ["tree", "class folder is empty"]),
        (["train/car/1.xyz", "train/tree/1.xyz", "test/car/1.png"], ["test/car", "is empty"]),
        (["train/car/1.xyz", "train/tree/1.xyz", "test/bus/1.xyz"], ["'bus'", "not in train"]),
        (["train/car/1.xyz", "train/tree/1.xyz", "bus/1.xyz"], ["bus", "in no split"]),
        (["train/1.xyz", "test/2.xyz"], ["2.xyz", "in no class"]),
        (["car/1.xyz", "tree/1.xyz", "2.xyz"], ["2.xyz", "beside the class folders"]),
        (["car/1.xyz"], ["two classes", "'car'"]),
        (["test/car/1.xyz", "test/tree/1.xyz"], ["not in train"]),
    ],
)
def test_faults_of_class_folders_are_named(names, words, tmp_path):
    for name in names:
        put(tmp_path / name)
    refused(tmp_path, OBJECTS, *words)


def test_a_bad_file_is_found_when_it_is_read_and_not_before(tmp_path):
    put(tmp_path / "car" / "1.xyz"), put(tmp_path / "tree" / "1.xyz", b"")
    good, bad = read(tmp_path, OBJECTS).splits["train"]
    assert good.read()["label"] == 0
    with pytest.raises(BadInput, match="1.xyz: the file is empty"):
        bad.read()


def test_links_back_to_a_folder_above_end(tmp_path):
    put(tmp_path / "a" / "1.xyz")
    os.symlink(tmp_path, tmp_path / "a" / "up")
    assert len(files.walk(tmp_path)) == 1


BOX = dict(h=1.5, w=1.6, l=4.0, x=2.0, y=1.7, z=15.0, ry=0.6)
# A camera that looks along the sensor's x: x_cam = -y, y_cam = -z, z_cam = x; then shifted.
TURN = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0.0]])
SHIFT = np.array([0.1, -0.2, -0.3])


def box_points(inside):
    """Points in a KITTI box, or just outside, from the devkit's corner formula, in sensor frame."""
    half = np.array([BOX["l"], BOX["h"], BOX["w"]]) / 2
    local = RNG.uniform(-0.99, 0.99, (40, 3)) * half
    if not inside:
        axis = RNG.integers(0, 3, 40)
        local[np.arange(40), axis] = (RNG.choice([-1.05, 1.05], 40)) * half[axis]
    local[:, 1] -= half[1]
    c, s = np.cos(BOX["ry"]), np.sin(BOX["ry"])
    camera = local @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + [BOX[k] for k in "xyz"]
    return (camera - SHIFT) @ TURN


def write_kitti(root, frames=2, scans="velodyne"):
    calib = (
        "P0: 1 2 3\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: "
        + " ".join(str(v) for v in np.hstack([TURN, SHIFT[:, None]]).ravel())
        + "\n\n"
    )
    line = "{} 0.00 0 0.1 1 2 3 4 " + " ".join(str(v) for v in BOX.values()) + "\n"
    far = "Tram 0 0 0 1 2 3 4 3 3 9 0 0 500 0\n"
    dont = "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10\n"
    for i in range(frames):
        name = f"{i:06}"
        points = np.vstack([box_points(True), box_points(False)])
        put(root / scans / f"{name}.bin", np.pad(points, ((0, 0), (0, 1))).astype("<f4").tobytes())
        put(root / "calib" / f"{name}.txt", calib.encode())
        kind = ["Pedestrian", "Car"][i % 2]
        put(root / "label_2" / f"{name}.txt", (line.format(kind) + far + dont).encode())
    return root


def test_kitti_objects_are_what_lies_in_their_boxes(tmp_path):
    write_kitti(tmp_path / "kitti" / "training")
    source = read(tmp_path / "kitti", OBJECTS)
    assert source.classes == ("Car", "Pedestrian") and source.name == "kitti"
    (name, first), (_, second) = examples(source)
    assert name == "000000.bin#0" and (first["label"], second["label"]) == (1, 0)
    raw = np.fromfile(tmp_path / "kitti/training/velodyne/000000.bin", "<f4").reshape(-1, 4)
    np.testing.assert_array_equal(first["points"], raw[:40, :3])


def test_kitti_scenes_label_the_points_in_boxes(tmp_path):
    source = read(write_kitti(tmp_path / "training"), SCENES)
    assert source.classes == ("background", "Car", "Pedestrian")
    _, scene = examples(source)[0]
    np.testing.assert_array_equal(scene["labels"], np.repeat([2, 0], 40))


def test_kitti_prefers_reduced_scans_where_they_are_complete(tmp_path):
    write_kitti(tmp_path)
    assert read(tmp_path, SCENES).info["scans"] == "velodyne"
    shutil.copytree(tmp_path / "velodyne", tmp_path / "velodyne_reduced")
    assert read(tmp_path, SCENES).info["scans"] == "velodyne_reduced"
    (tmp_path / "velodyne_reduced" / "000001.bin").unlink()
    assert read(tmp_path, SCENES).info["scans"] == "velodyne"


@pytest.mark.parametrize("kind", [OBJECTS, SCENES])
@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("velodyne/000000.bin", b"12345", "not a whole number of points"),
        ("label_2/000000.txt", b"Car 0 0 0 1 2\n", "line 1 has 6 columns"),
        ("label_2/000000.txt", b"Car a 0 0 1 2\n", "line 1: could not convert"),
        ("label_2/000000.txt", b"Car" + b" 0" * 14, "has zero size"),
        ("calib/000000.txt", b"R0_rect: 1 0 0 0 1 0 0 0 1\n", "Tr_velo_to_cam"),
        ("calib/000000.txt", b"R0_rect: 1 0\nTr_velo_to_cam: 1\n", "missing or truncated"),
        ("calib/000000.txt", b"", "missing or truncated"),
    ],
)
def test_bad_kitti_frames_are_one_example_that_says_why(kind, file, content, reason, tmp_path):
    write_kitti(tmp_path, frames=3)
    put(tmp_path / file, content)
    bad, *good = read(tmp_path, kind).splits["train"]
    assert len(good) == 2 and all(len(example.read()["points"]) for example in good)
    with pytest.raises(BadInput) as caught:
        bad.read()
    assert file in str(caught.value) and reason in str(caught.value)


def test_a_labelled_kitti_frame_without_its_scan_is_named(tmp_path):
    write_kitti(tmp_path)
    (tmp_path / "velodyne" / "000001.bin").unlink()
    with pytest.raises(BadInput, match="000001.bin: there is no such file"):
        examples(read(tmp_path, SCENES))


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
@pytest.mark.parametrize(
    ("path", "kind", "sizes", "classes"),
    [
        ("dales_objects", OBJECTS, {"train": 400, "test": 99}, 5),
        ("kitti", OBJECTS, {"train": 50}, 6),
        ("kitti", SCENES, {"train": 13}, 7),
        ("ahn", SCENES, {"train": 1}, 3),
    ],
)
def test_real_data(path, kind, sizes, classes):
    source = read(pathlib.Path(os.environ["ZOO_DATA"]) / path, kind)
    assert {split: len(items) for split, items in source.splits.items()} == sizes
    assert len(source.classes) == classes
    for split in sizes:
        seen = set()
        for _, example in examples(source, split):
            seen |= set(np.unique(example["label" if kind == OBJECTS else "labels"]).tolist())
        assert seen == set(range(classes))


def test_a_hint_that_nothing_takes_is_refused(tmp_path):
    with pytest.raises(BadInput, match="--masks: it does not apply to files for forecasting"):
        read(tmp_path, "forecasting", {"masks": "gt"})
    with pytest.raises(BadInput, match="--masks: mnist is a data set by name"):
        open_source("mnist", "image_segmentation", {"masks": "gt"})


def test_hints_are_part_of_the_fingerprint():
    source = Source("data", "0" * 16, (), {})
    prints = {readers.hinted(source, {"masks": name}).fingerprint for name in ("a", "b", "a")}
    assert len(prints) == 2 and all(len(fingerprint) == 16 for fingerprint in prints)


def vehicles(root, splits=("",), classes=("bus", "car", "train")):
    for split in splits:
        for name in classes:
            put(root / split / name / "0.xyz")
            put(root / split / name / "1.xyz")
    return root


@pytest.mark.parametrize(
    "splits, classes",
    [
        ([""], ("bus", "car", "train")),
        (["train", "test"], ("bus", "car", "train")),
        ([""], ("test", "train", "validated")),
    ],
)
def test_a_class_may_be_called_train(splits, classes, tmp_path):
    source = read(vehicles(tmp_path / "data", splits, classes), OBJECTS)
    assert source.classes == classes
    assert [*source.splits] == (["train", "test"] if len(splits) > 1 else ["train"])
    assert all(len(examples) == 6 for examples in source.splits.values())


def test_a_link_to_nothing_is_named_and_may_be_skipped(tmp_path):
    vehicles(tmp_path)
    (tmp_path / "car" / "gone.xyz").symlink_to("nowhere")
    bad = []
    assert len([*pipeline.read(read(tmp_path, OBJECTS).splits["train"], bad)]) == 6
    assert ["car/gone.xyz" in str(error) for error in bad] == [True]
    with pytest.raises(BadInput, match="gone.xyz: it is a link to nowhere, which does not exist"):
        files.read_bytes(tmp_path / "car" / "gone.xyz")


def test_pipes_and_what_systems_leave_are_no_data(tmp_path):
    vehicles(tmp_path)
    os.mkfifo(tmp_path / "car" / "pipe.xyz")
    (tmp_path / "bus" / "device.xyz").symlink_to("/dev/zero")
    for name in ("__MACOSX/car/._0.xyz", "car/Thumbs.db", "car/.DS_Store", "@eaDir/0.xyz"):
        put(tmp_path / name)
    source = read(tmp_path, OBJECTS)
    assert len(source.splits["train"]) == 6 and [*source.info] == ["layout"]
    with pytest.raises(BadInput, match="pipe or device"):
        files.read_bytes(tmp_path / "car" / "pipe.xyz")


def test_a_split_may_be_a_link_to_another(tmp_path):
    vehicles(tmp_path, ["train", "val"])
    (tmp_path / "test").symlink_to("val")
    (tmp_path / "val" / "car" / "loop").symlink_to(tmp_path)
    assert {s: len(items) for s, items in read(tmp_path, OBJECTS).splits.items()} == {
        "train": 6,
        "validation": 6,
        "test": 6,
    }


def test_names_of_any_bytes_are_read_and_printed(tmp_path):
    names = ["caf\udce9", "bell\x07\x1b[2J", "plain"]
    try:
        vehicles(tmp_path / "data", classes=names)
    except OSError:
        pytest.skip("this file system keeps names as Unicode")
    put(tmp_path / "data" / "plain" / "caf\udce9.xyz", b"no numbers")
    source = read(tmp_path / "data", OBJECTS)
    assert set(source.classes) == {r"caf\udce9", r"bell\x07\x1b[2J", "plain"}
    messages = []
    assert len([*pipeline.read(source.splits["train"], messages)]) == 6
    assert r"caf\udce9.xyz" in str(messages[0])
    str(messages[0]).encode("utf-8")


def test_the_memory_for_one_file_is_bounded(tmp_path, monkeypatch):
    file = put(tmp_path / "large.xyz", b"1" * 3000)
    for text, allowed in {"2K": 2048, "1.5 MB": 3 * 2**19, "8GiB": 2**33, "": 2**32}.items():
        monkeypatch.setenv("ZOO_MEMORY", text)
        assert files.budget() == allowed
    monkeypatch.setenv("ZOO_MEMORY", "2K")
    with pytest.raises(BadInput, match="large.xyz.* of memory.*ZOO_MEMORY=1G"):
        files.read_bytes(file)
    monkeypatch.setenv("ZOO_MEMORY", "much")
    with pytest.raises(BadInput, match="'much' is not an amount of memory"):
        files.budget()
