"""Scans with a label a point: SemanticKITTI, surveys cut into tiles, label columns."""

import numpy as np
import pytest

from datasets.readers import read
from datasets.readers.clouds import semantic_kitti
from datasets.source import BadInput
from tests.readers.test_readers_clouds import write_las
from tests.readers.test_readers_layouts import RNG, SCENES, examples, put, refused


def test_semantic_kitti_has_its_19_classes_and_its_splits(tmp_path):
    for sequence, labelled in [("00", True), ("08", True), ("11", False)]:
        folder = tmp_path / "sequences" / sequence
        put(folder / "velodyne" / "000000.bin", np.ones((4, 4), "<f4").tobytes())
        if labelled:
            codes = np.array([10, 252, 0, 81 | 5 << 16], "<u4")
            put(folder / "labels" / "000000.label", codes.tobytes())
    source = read(tmp_path, SCENES)
    assert len(source.classes) == 19 and source.info["unlabelled sequences"] == ["11"]
    assert {split: len(e) for split, e in source.splits.items()} == {"train": 1, "validation": 1}
    name, scan = examples(source, "validation")[0]
    assert name == "08/velodyne/000000.bin"
    np.testing.assert_array_equal(scan["labels"], [0, 0, -1, 18])
    put(tmp_path / "sequences/00/labels/000000.label", np.full(4, 12, "<u4").tobytes())
    with pytest.raises(BadInput, match=r"unknown codes \[12\]"):
        examples(read(tmp_path, SCENES))
    assert len(semantic_kitti.INDEX) == 34  # the codes of the published table


def test_velodyne_beside_labels_is_read_without_sequences(tmp_path):
    put(tmp_path / "velodyne" / "1.bin", np.ones((4, 4), "<f4").tobytes())
    put(tmp_path / "labels" / "1.label", np.array([0, 3, 500, 3], "<u4").tobytes())
    source = read(tmp_path, SCENES)
    assert source.classes == ("class 3", "class 500")
    np.testing.assert_array_equal(examples(source)[0][1]["labels"], [-1, 0, 1, 0])
    put(tmp_path / "labels" / "1.label", np.array([0, 10, 50, 10], "<u4").tobytes())
    assert len(read(tmp_path, SCENES).classes) == 19


def test_classes_of_a_survey_are_named_and_a_block_is_suggested(tmp_path):
    points = RNG.uniform(0, [25, 18, 3], (60, 3)) + [100_000, 400_000, 0]
    write_las(tmp_path / "town.laz", points)
    source = read(tmp_path / "town.laz", SCENES)
    assert source.name == "town" and source.options == {"block": 10.0}
    assert source.classes == ("other", "ground", "low vegetation")  # code 0 is no class
    [(_, example)] = examples(source)
    assert len(example["points"]) == len(example["labels"]) == 60
    assert set(example["labels"].tolist()) == {-1, 0, 1, 2}


def test_scans_with_a_label_column_and_splits(tmp_path):
    put(tmp_path / "train" / "a.csv", b"x,y,z,label\n0,0,0,5\n1,1,1,-1\n2,2,2,9\n")
    put(tmp_path / "test" / "b.csv", b"x,y,z,label\n0,0,0,9\n")
    source = read(tmp_path, SCENES)
    assert source.classes == ("class 5", "class 9") and set(source.splits) == {"train", "test"}
    np.testing.assert_array_equal(examples(source)[0][1]["labels"], [0, -1, 1])
    np.testing.assert_array_equal(examples(source, "test")[0][1]["labels"], [1])
    put(tmp_path / "train" / "c.csv", b"0,0,0\n")
    with pytest.raises(BadInput, match=r"c\.csv: it has no labels"):
        examples(read(tmp_path, SCENES))
    put(tmp_path / "d.csv")
    refused(tmp_path, SCENES, "d.csv", "in no split")


def test_faults_of_scans_are_named(tmp_path):
    file = put(tmp_path / "plain" / "a.xyz")
    refused(file, SCENES, "a.xyz", "has no labels")
    put(tmp_path / "one" / "a.csv", b"x,y,z,label\n0,0,0,5\n")
    refused(tmp_path / "one", SCENES, "one", "1 classes")
    write_las(put(tmp_path / "one" / "b.las"))
    refused(tmp_path / "one", SCENES, "different meanings")
