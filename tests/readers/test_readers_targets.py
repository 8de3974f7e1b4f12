"""Targets of images that are not one class each: several labels and values, in tables and .npz."""

import numpy as np
import pytest
from PIL import Image

from datasets.readers import read
from datasets.source import BadInput

KIND = "image_classification"


def table(folder, text, count=4):
    """Write a table and images 0.png, 1.png ... beside it."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((4, 5, 3), i, np.uint8)).save(folder / f"{i}.png")
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder


def labels(source, split="train"):
    return [np.asarray(example.read()["label"]).tolist() for example in source.splits[split]]


def refused(path, *words, target=None):
    with pytest.raises(BadInput) as caught:
        read(path, KIND, {"target": target} if target else None)
    for word in words:
        assert word in str(caught.value)


CATS = [[1, 1], [0, 1], [0, 0], [1, 0]]  # cat, dog


@pytest.mark.parametrize(
    "text",
    [
        "file,label\n0,cat;dog\n1,dog\n2,\n3,cat\n",
        "file;tags\n0;cat dog\n1;dog\n2;\n3;cat\n",
        'file,labels\n0,"cat, dog"\n1,dog\n2,\n3,cat\n',
        "file\tFinding Labels\n0\tcat|dog\n1\tdog\n2\t\n3\tcat\n",
        "file,cat,dog\n0,1,1\n1,0,1.0\n2,0,0\n3,1,0\n",
        ",file,cat,dog,note\n0,0,1,1,a\n1,1,-1,1,b\n2,2,-1,-1,c\n3,3,1,-1,d\n",
    ],
)
def test_several_labels_in_a_column_or_in_one_each(text, tmp_path):
    source = read(table(tmp_path, text), KIND)
    assert source.classes == ("cat", "dog") and source.constants == {"target": "labels"}
    assert labels(source) == CATS
    assert any("--target" in note for note in source.info["notes"])


def test_a_hint_decides_what_a_table_leaves_open(tmp_path):
    path = table(tmp_path, "file,cat,dog\n0,1,0\n1,0,1\n2,0,1\n3,1,0\n")
    source = read(path, KIND)
    assert labels(source) == [0, 1, 1, 0] and not source.constants
    assert any("--target labels reads them as labels" in note for note in source.info["notes"])
    several = read(path, KIND, {"target": "labels"})
    assert labels(several) == [[1, 0], [0, 1], [0, 1], [1, 0]]
    assert several.fingerprint != source.fingerprint
    numbers = read(path, KIND, {"target": "values"})
    assert numbers.constants["columns"] == ["cat", "dog"] and numbers.classes == ()
    ages = table(tmp_path / "ages", "file,label\n0,30\n1,4\n2,30\n3,11\n")
    source = read(ages, KIND)
    assert source.classes == ("4", "11", "30") and labels(source) == [2, 0, 2, 1]
    assert any("--target values" in note for note in source.info["notes"])
    assert labels(read(ages, KIND, {"target": "values"})) == [[30], [4], [30], [11]]
    names = table(tmp_path / "names", "file,label\n0,red fox\n1,red fox\n2,red panda\n3,panda\n")
    assert read(names, KIND).classes == ("panda", "red fox", "red panda")
    source = read(names, KIND, {"target": "labels"})
    assert source.classes == ("fox", "panda", "red") and labels(source)[2] == [0, 1, 1]


@pytest.mark.parametrize("name", ["value", "label"])
def test_values_have_the_scales_of_training(name, tmp_path):
    text = f"file,{name},split\n0,1.5,train\n1,2.5,train\n2,-1e2,test\n3,5,train\n"
    source = read(table(tmp_path, text), KIND)
    constants = dict(source.constants)
    assert constants.pop("mean") == [3.0]
    np.testing.assert_allclose(constants.pop("deviation"), [np.std([1.5, 2.5, 5])])
    assert constants == {"target": "values", "columns": [name], "targets": 1}
    assert source.classes == () and labels(source) == [[1.5], [2.5], [5]]
    assert labels(source, "test") == [[-100]]


def test_several_values_of_which_one_is_constant(tmp_path):
    path = table(tmp_path, "id,width,height\n0,2,7\n1,4,7\n2,6,7\n3,8,7\n")
    source = read(path, KIND)
    assert source.constants["columns"] == ["width", "height"]
    assert source.constants["deviation"][1] == 1 and source.constants["mean"] == [5, 7]
    assert any("constant" in note and "height" in note for note in source.info["notes"])


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("file,value\n0,1\n1,2\n2,\n3,4\n", None, ["line 4 has no number", "'value'"]),
        ("file,value\n0,1\n1,nan\n2,2\n3,4\n", None, ["line 3", "'nan'", "finite"]),
        ("file,value\n0,1\n1,many\n2,2\n3,4\n", None, ["line 3", "'many'", "number"]),
        ("file,value\n0,1\n1,inf\n2,2\n3,4\n", None, ["line 3", "'inf'"]),
        ("file,cat,dog\n0,1,1\n1,0,\n2,0,0\n3,1,0\n", None, ["line 3", "'dog'"]),
        ("file,cat,dog\n0,1,1\n1,0,1\n2,0,0\n3,1,0\n", "classes", ["line 2", "labels"]),
        ("file,label\n0,a;b\n1,b\n2,a\n3,\n", "classes", ["line 5 has no label"]),
        ("file,label\n0,a\n1,b\n2,a\n3,b\n", "values", ["line 2", "'a'", "number"]),
        ("file,label\n0,a\n1,b\n2,a\n3,b\n", "several", ["--target", "classes, labels or values"]),
        ("file,label\n0,\n1,\n2,\n3,\n", "labels", ["no row has a label"]),
        ("file,note\n0,a\n1,b\n2,a\n3,b\n", None, ["none of its columns", "'value'"]),
        (
            "file,label,split\n0,a;b,train\n1,b,train\n2,a;c,test\n3,a,test\n",
            None,
            ["line 4", "'c'", "not in train"],
        ),
    ],
)
def test_faults_of_targets_are_named(text, target, words, tmp_path):
    refused(
        table(tmp_path, text), "labels.csv" if target != "several" else "", *words, target=target
    )


def npz(path, y, **more):
    x = np.zeros((len(y), 4, 5, 3), np.uint8)
    np.savez(path, x_train=x, y_train=y, **more)
    return path


def test_arrays_of_labels_and_of_values(tmp_path):
    path = tmp_path / "own.npz"
    source = read(npz(path, np.array(CATS), classes=np.array(["cat", "dog"])), KIND)
    assert source.classes == ("cat", "dog") and source.constants == {"target": "labels"}
    assert labels(source) == CATS
    assert read(npz(path, np.array(CATS, bool)), KIND).classes == ("0", "1")
    assert labels(read(npz(path, np.eye(2)), KIND)) == [0, 1]
    assert labels(read(npz(path, np.eye(2)), KIND, {"target": "labels"})) == [[1, 0], [0, 1]]
    source = read(npz(path, np.array([0.5, 1.5, 4.0])), KIND)
    assert source.constants["columns"] == ["value"] and source.constants["mean"] == [2.0]
    assert labels(source) == [[0.5], [1.5], [4]]
    y = np.array([[0.5, 2], [1, 3], [7, 1]])
    source = read(npz(path, y, columns=np.array(["x", "y"])), KIND)
    assert source.constants["columns"] == ["x", "y"] and labels(source) == y.tolist()
    assert read(npz(path, y.astype(int)[:, 1]), KIND).classes == ("0", "1", "2", "3")
    assert labels(read(npz(path, y.astype(int)), KIND, {"target": "values"})) == [
        [0, 2],
        [1, 3],
        [7, 1],
    ]


@pytest.mark.parametrize(
    ("y", "more", "target", "words"),
    [
        (np.array([0.5, np.nan, 2.5]), {}, "values", ["'y_train'", "NaN", "y_train[1]"]),
        (np.array([[0, 2], [1, 1]]), {}, "labels", ["of 0 and 1"]),
        (np.array([[0.5, 0.5], [0.2, 0.8]]), {}, None, ["argmax"]),
        (np.array(CATS), {"classes": np.array(["a"])}, None, ["1 names", "2 columns"]),
        (
            np.array([0.5, 1.5]),
            {"x_test": np.zeros((3, 4, 5, 3), np.uint8), "y_test": np.array([0.5, 1])},
            None,
            ["'y_test'", "'x_test'"],
        ),
    ],
)
def test_faults_of_arrays_are_named(y, more, target, words, tmp_path):
    refused(npz(tmp_path / "own.npz", y, **more), "own.npz", *words, target=target)


def test_other_layouts_take_no_hint_on_targets(tmp_path):
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / name)
    refused(tmp_path, "none of the layouts", "--target labels", target="labels")
