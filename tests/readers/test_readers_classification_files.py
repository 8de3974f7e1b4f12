"""Images with one label each, as idx files, CIFAR's batches, tables and nested class folders."""

import gzip
import os
import pathlib
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from datasets.readers import read
from datasets.readers.images import array_pickle, cifar
from datasets.source import BadInput

KIND = "image_classification"
RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (6, 5, 4), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)
ROWS = RNG.integers(0, 256, (4, 3072), np.uint8)
MNIST = pathlib.Path(os.environ.get("ZOO_DATA", "/nowhere")) / "mnist"


def refused(path, *words):
    with pytest.raises(BadInput) as caught:
        read(path, KIND)
    for word in words:
        assert str(word) in str(caught.value)


def examples(source, split="train"):
    return [(example.name, example.read()) for example in source.splits[split]]


def sizes(source):
    return {split: len(items) for split, items in source.splits.items()}


# idx files


def idx(path, array, magic=None, sizes=None):
    """Write an idx file, compressed if its name ends in .gz."""
    head = struct.pack(">I", magic if magic is not None else 0x800 | array.ndim)
    raw = head + struct.pack(f">{array.ndim}I", *(sizes or array.shape)) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def write_pair(folder, name="train-{}-{}-ubyte", images=IMAGES, labels=LABELS):
    folder.mkdir(exist_ok=True)
    idx(folder / name.format("images", "idx3"), images)
    idx(folder / name.format("labels", "idx1"), labels)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_idx_files(dot, ending, tmp_path):
    for split in ("train", "t10k", "val"):
        write_pair(tmp_path, f"{split}-{{}}{dot}{{}}-ubyte{ending}")
    source = read(tmp_path, KIND)
    assert sizes(source) == {"train": 6, "validation": 6, "test": 6}
    assert source.classes == ("0", "1", "2") and "MNIST" in source.info["layout"]
    name, example = examples(source, "test")[4]
    assert name == f"t10k-labels{dot}idx1-ubyte{ending}#4" and example["label"] == 1
    assert example["image"].dtype == np.uint8
    np.testing.assert_array_equal(example["image"], IMAGES[4][..., None])


def test_idx_files_of_one_pair_with_names_of_classes(tmp_path):
    write_pair(tmp_path, "kuzushiji-{}-{}-ubyte")
    (tmp_path / "classes.txt").write_text("o\nki\nsu\ntsu\n", encoding="utf-8")
    source = read(tmp_path, KIND)
    assert source.classes == ("o", "ki", "su", "tsu") and set(source.splits) == {"train"}
    before = source.fingerprint
    (tmp_path / "classes.txt").write_text("o\nki\nsu\n", encoding="utf-8")
    assert read(tmp_path, KIND).fingerprint != before
    (tmp_path / "classes.txt").write_text("o\nki\n", encoding="utf-8")
    refused(tmp_path, "kuzushiji-labels-idx1-ubyte", "image 2 has label 2", "2 classes, 0 to 1")


def test_compressed_copies_of_idx_files_are_ignored(tmp_path):
    write_pair(tmp_path), write_pair(tmp_path, "train-{}-{}-ubyte.gz")
    source = read(tmp_path, KIND)
    assert len(source.splits["train"]) == 6
    assert "train-images-idx3-ubyte.gz is ignored" in source.info["notes"][0]


TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "array", "changes", "words"),
    [
        (TRAIN_IMAGES, IMAGES, dict(magic=0x801), ["0x00000801", "0x00000803", "other file"]),
        (TRAIN_IMAGES, IMAGES, dict(magic=0xD03), ["0x00000d03", "0x00000803", "again"]),
        (TRAIN_LABELS, LABELS, dict(magic=0x803), ["0x00000803", "0x00000801"]),
        (TRAIN_IMAGES, IMAGES, dict(sizes=(7, 5, 4)), ["7 x 5 x 4 = 140 bytes", "120 follow"]),
        (TRAIN_IMAGES, IMAGES, dict(sizes=(2**32 - 1,) * 3), ["4294967295", "120 follow"]),
        (TRAIN_LABELS, LABELS, dict(sizes=(5,)), ["declares 5 = 5 bytes", "6 follow"]),
        (TRAIN_LABELS, LABELS[:5], dict(), ["5 labels", TRAIN_IMAGES, "6 images"]),
        (TRAIN_IMAGES, IMAGES[:0], dict(), ["0 x 5 x 4", "not be empty"]),
        (TRAIN_LABELS, LABELS * 0, dict(), ["at least two classes", "'0'"]),
    ],
)
def test_faults_of_idx_files_are_named(name, array, changes, words, tmp_path):
    write_pair(tmp_path)
    idx(tmp_path / name, array, **changes)
    refused(tmp_path, name if "classes" not in words[0] else tmp_path, *words)


def test_truncated_idx_files_are_refused(tmp_path):
    write_pair(tmp_path, "train-{}-{}-ubyte.gz"), write_pair(tmp_path, "test-{}-{}-ubyte")
    for name in ("train-images-idx3-ubyte.gz", "test-images-idx3-ubyte", "test-labels-idx1-ubyte"):
        raw = (tmp_path / name).read_bytes()
        for cut in (0, 3, 12, len(raw) - 1):
            (tmp_path / name).write_bytes(raw[:cut])
            refused(tmp_path, name)
        (tmp_path / name).write_bytes(raw)
    assert sizes(read(tmp_path, KIND)) == {"train": 6, "test": 6}


def test_large_idx_files_are_refused(tmp_path, monkeypatch):
    write_pair(tmp_path, "train-{}-{}-ubyte.gz", np.zeros((6, 200, 200), np.uint8))
    monkeypatch.setenv("ZOO_MEMORY", "100K")
    refused(tmp_path, "train-images-idx3-ubyte.gz", "ZOO_MEMORY")


@pytest.mark.parametrize(
    ("names", "missing", "words"),
    [
        (["train"], "train-labels-idx1-ubyte", ["train-images", "no labels beside it"]),
        (["train"], "train-images-idx3-ubyte", ["train-labels", "no images beside it"]),
        (["t10k"], "", ["test but no train"]),
        (["train", "cats"], "", ["cats-images-idx3-ubyte", "in no split"]),
        (["letters-train", "digits-train"], "", ["split train", "digits-train-images"]),
    ],
)
def test_faults_of_pairs_are_named(names, missing, words, tmp_path):
    for name in names:
        write_pair(tmp_path, f"{name}-{{}}-{{}}-ubyte")
    if missing:
        (tmp_path / missing).unlink()
    refused(tmp_path, *words)


def test_labels_of_the_test_split_are_checked(tmp_path):
    write_pair(tmp_path), write_pair(tmp_path, "t10k-{}-{}-ubyte", labels=LABELS + 1)
    refused(tmp_path, "t10k-labels-idx1-ubyte", "label 3", "3 classes, 0 to 2")


@pytest.mark.skipif(not MNIST.is_dir(), reason="ZOO_DATA has no mnist")
def test_mnist_as_it_is_distributed():
    source = read(MNIST, KIND)
    assert sizes(source) == {"train": 60_000, "test": 10_000}
    assert source.classes == tuple("0123456789")
    first = next(iter(source.splits["train"])).read()
    assert first["image"].shape == (28, 28, 1) and first["label"] == 5


# CIFAR


def records(labels, rows=ROWS):
    """Return records of the binary version; labels (n, 1) or (n, 2)."""
    return np.concatenate([np.array(labels, np.uint8), rows], axis=1).tobytes()


def pickled(content):
    """Return a pickle of the Python version, as Python 2 and NumPy 1 wrote them.

    Its strings are those of Python 2, that is bytes; the arrays refer to numpy.core.
    """
    parts = []

    def put(value):
        if isinstance(value, dict):
            parts.append(b"}(")
            for key, item in value.items():
                put(key), put(item)
            parts.append(b"u")
        elif isinstance(value, list):
            parts.append(b"](")
            for item in value:
                put(item)
            parts.append(b"e")
        elif isinstance(value, np.ndarray):
            parts.append(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(K\0tU\1b\x87R")
            parts.append(b"(K\1(")
            for size in value.shape:
                put(size)
            parts.append(b"tcnumpy\ndtype\n(U\2u1K\0K\1tR(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff")
            parts.append(b"\xffK\0tb\x89")
            put(value.tobytes())
            parts.append(b"tb")
        elif isinstance(value, int):
            parts.append(b"J" + struct.pack("<i", value))
        else:
            raw = value.encode() if isinstance(value, str) else value
            parts.append(b"T" + struct.pack("<i", len(raw)) + raw)

    put(content)
    return b"\x80\x02" + b"".join(parts) + b"."


def content(labels=(0, 1, 2, 1), data=ROWS, key="labels"):
    return {"data": data, key: list(labels), "batch_label": "1 of 5"}


BINARY_10 = {
    "data_batch_1.bin": records([[0], [1], [2], [1]]),
    "data_batch_2.bin": records([[2], [1], [0], [1]]),
    "test_batch.bin": records([[1], [1], [2], [0]]),
    "batches.meta.txt": b"plane\ncar\nbird\n\n",
}
BINARY_100 = {
    "train.bin": records([[9, 0], [9, 1], [9, 2], [9, 1]]),
    "test.bin": records([[9, 1], [9, 1], [9, 2], [9, 0]]),
    "fine_label_names.txt": b"plane\ncar\nbird\n",
    "coarse_label_names.txt": b"machine\n",
}
PICKLED_10 = {
    "data_batch_1": pickled(content()),
    "data_batch_2": pickled(content((2, 1, 0, 1))),
    "test_batch": pickled(content((1, 1, 2, 0))),
    "batches.meta": pickled({"label_names": ["plane", "car", "bird"], "num_vis": 3072}),
}
PICKLED_100 = {
    "train": pickled(content(key="fine_labels")),
    "test": pickled(content((1, 1, 2, 0), key="fine_labels")),
    "meta": pickled({"fine_label_names": ["plane", "car", "bird"]}),
}
VERSIONS = [BINARY_10, BINARY_100, PICKLED_10, PICKLED_100]


def write_all(folder, files, **changes):
    for name, raw in {**files, **changes}.items():
        (folder / name).write_bytes(raw)


@pytest.mark.parametrize("files", VERSIONS, ids=["binary10", "binary100", "pickle10", "pickle100"])
def test_versions_of_cifar(files, tmp_path):
    write_all(tmp_path, files)
    source = read(tmp_path, KIND)
    assert source.classes == ("plane", "car", "bird") and "CIFAR" in source.info["layout"]
    batches = 2 if "data_batch" in next(iter(files)) else 1
    assert sizes(source) == {"train": 4 * batches, "test": 4}
    note = "2 of the 5 training batches" if batches == 2 else "coarse labels are ignored"
    assert note in source.info["notes"][0]
    items = examples(source)
    assert [e["label"] for _, e in items] == [0, 1, 2, 1, 2, 1, 0, 1][: 4 * batches]
    name, example = items[2]
    assert name == f"{next(iter(files))}#2" and example["image"].dtype == np.uint8
    np.testing.assert_array_equal(example["image"][7, 3], ROWS[2].reshape(3, 32, 32)[:, 7, 3])


def test_cifar_without_names_and_test(tmp_path):
    write_all(tmp_path, {"data_batch_1.bin": BINARY_10["data_batch_1.bin"]})
    source = read(tmp_path, KIND)
    assert source.classes == tuple("0123456789") and set(source.splits) == {"train"}


@pytest.mark.parametrize("protocol", [3, 4])
def test_pickles_of_today_are_read(protocol, tmp_path):
    raw = pickle.dumps({b"data": ROWS, b"labels": [0, 1, 2, 1]}, protocol)
    write_all(tmp_path, PICKLED_10, data_batch_2=raw)
    assert len(read(tmp_path, KIND).splits["train"]) == 8


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        """Return the call."""
        return self.call


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_malicious_pickle_does_not_run(name, protocol, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    command = Command(os.mkdir, os.fspath(tmp_path / "harm"))
    write_all(folder, {**PICKLED_10, name: pickle.dumps({"data": command}, protocol)})
    refused(folder, name, "mkdir", "execute code")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "target", [eval, np.load, np.fromfile, pickle.loads, np.array, np.zeros, getattr]
)
def test_other_functions_are_refused_too(target, tmp_path):
    write_all(tmp_path, PICKLED_10, test_batch=pickle.dumps(Command(target, "1"), 2))
    refused(tmp_path, "test_batch", target.__name__, "not loaded")


LONG = struct.pack("<I", 2**31 - 1)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x80\x02}r" + LONG + b".", ["memo index"]),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"a.", ["not a pickle"]),
        (b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", ["not a pickle", "callable"]),
        (b"\x80\x02cnumpy\ndtype\nU\x01OK\0K\1\x87R.", ["'O'", "not u1"]),
        (b"\x80\x02cnumpy\ndtype\nN}U\x01aK\1s\x86b.", ["not a pickle"]),
        (b"\x80\x02].", ["not a dictionary"]),
        (b"", ["is empty"]),
        (b"garbage", ["not a pickle"]),
        (pickled({"labels": [1]}), ["no 'data'", "only labels"]),
        (pickled({"data": ROWS}), ["no 'labels'"]),
        (pickled(content(data=ROWS[:, :3000])), ["(4, 3000)", "(n, 3072)"]),
        (pickled(content(data=[1, 2])), ["not an array"]),
        (pickled(content((0, 1, 2))), ["3 labels, but 4 images"]),
        (pickled(content((0, 1, 2, "a"))), ["not a list of integers"]),
        (pickled(content((0, 1, 2, 3))), ["image 3 has label 3", "3 classes, 0 to 2"]),
        (pickled(content((0, 1, 2, -1))), ["image 3 has label -1"]),
    ],
)
def test_faults_of_pickles_are_named(raw, words, tmp_path):
    write_all(tmp_path, PICKLED_10, data_batch_2=raw)
    refused(tmp_path, "data_batch_2", *words)


def test_pickles_cut_or_with_flipped_bytes_are_refused_or_read(tmp_path):
    raw = PICKLED_10["data_batch_1"]
    write_all(tmp_path, PICKLED_10)
    for i in range(150):
        damaged = bytearray(raw)
        place = int(RNG.integers(0, 200 if i % 2 else len(raw)))
        damaged[place] ^= 1 << int(RNG.integers(0, 8))
        for content in (raw[:place], bytes(damaged)):
            (tmp_path / "data_batch_2").write_bytes(content)
            try:
                assert len(read(tmp_path, KIND).splits["train"]) == 8
            except BadInput as error:
                assert "data_batch_2" in str(error)


def test_large_pickles_are_refused(tmp_path, monkeypatch):
    write_all(tmp_path, PICKLED_10)
    monkeypatch.setattr(array_pickle, "MAX_BYTES", 10_000)
    refused(tmp_path, "data_batch_1", "the limit is 10,000")


@pytest.mark.parametrize(
    ("files", "changes", "words"),
    [
        (BINARY_10, {"data_batch_2.bin": b"a" * 3072}, ["data_batch_2.bin", "multiple of 3,073"]),
        (BINARY_100, {"train.bin": b"a" * 3073}, ["train.bin", "multiple of 3,074"]),
        (BINARY_10, {"test_batch.bin": b""}, ["test_batch.bin", "empty"]),
        (BINARY_10, {"batches.meta.txt": b"a\nb\n"}, ["data_batch_1.bin", "label 2", "0 to 1"]),
        (BINARY_10, {"data_batch_4.bin": b"a"}, ["data_batch_3.bin", "batch is missing"]),
        (PICKLED_10, {"batches.meta": pickled({"names": []})}, ["no list 'label_names'"]),
        (PICKLED_10, {"batches.meta": pickled({"label_names": ["a", "a"]})}, ["occurs twice"]),
    ],
)
def test_faults_of_cifar_are_named(files, changes, words, tmp_path):
    write_all(tmp_path, {**files, **changes})
    refused(tmp_path, *words)


def test_a_file_named_train_is_not_cifar(tmp_path):
    write_all(tmp_path, {"train": b"1", "train.bin": b"1"})
    assert not cifar.match(tmp_path)


# Tables


def save(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(path)
    return path


def write_table(path, text, images=("a.png", "b.png", "c.jpg")):
    for i, name in enumerate(images):
        save(path / name, 10 * i)
    (path / "labels.csv").write_text(text, encoding="utf-8")
    return path / "labels.csv"


PLAIN = "file,label\na.png,cat\nb.png,dog\nc.jpg,cat\n"


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufefffilename;class\na.png;cat\nb.png;dog\nc.jpg;cat\n",
        "Image Path\tCategory\n./a.png\tcat\nb.png\tdog\n\nc.jpg\tcat\n",
        "image_id,width,Target\na,5,cat\nb,5,dog\nc,5,cat\n",
        '"id","breed"\r\n"a","cat"\r\n"b","dog"\r\n"c","cat"\r\n',
        "id,filename,label\n1,a.png,cat\n2,b.png,dog\n3,c.jpg,cat\n",
    ],
)
def test_tables_of_images(text, whole, tmp_path):
    table = write_table(tmp_path / "pets", text)
    source = read(table.parent if whole else table, KIND)
    assert source.classes == ("cat", "dog") and set(source.splits) == {"train"}
    assert source.name == ("pets" if whole else "labels")
    items = examples(source)
    assert [(name, e["label"]) for name, e in items] == [("a.png", 0), ("b.png", 1), ("c.jpg", 0)]
    assert items[1][1]["image"].shape == (4, 5, 3) and items[1][1]["image"][0, 0, 0] == 10
    assert "names the images" in source.info["notes"][0]
    before = source.fingerprint
    save(table.parent / "a.png", 99)
    assert read(table, KIND).fingerprint != before


@pytest.mark.parametrize("folder", ["", "images/"])
def test_images_in_one_folder_below(folder, tmp_path):
    names = [f"images/{name}" for name in ("a.png", "b.png", "c.png", "unlisted.png")]
    write_table(tmp_path, f"file,label\n{folder}a.png,2\n{folder}b,10\n{folder}c.png,2\n", names)
    source = read(tmp_path, KIND)
    assert source.classes == ("2", "10")
    assert [name for name, _ in examples(source)] == names[:3]
    assert "without a row in labels.csv are ignored: 1" in source.info["notes"][1]


def test_splits_of_tables(tmp_path):
    text = "file,label,subset\na.png,cat,train\nb.png,dog,Training\nc.jpg,cat,test\nd.png,dog,val\n"
    write_table(tmp_path, text, ("a.png", "b.png", "c.jpg", "d.png"))
    assert sizes(read(tmp_path, KIND)) == {"train": 2, "validation": 1, "test": 1}


def test_folders_of_splits_of_tables(tmp_path):
    names = ("train/a.png", "train/b.png", "test/a.png")
    table = write_table(tmp_path, "file,label\ntrain/a.png,x\ntrain/b.png,y\ntest/a.png,x\n", names)
    assert sizes(read(tmp_path, KIND)) == {"train": 2, "test": 1}
    table.write_text("file,label\na.png,x\ntrain/b.png,y\n", encoding="utf-8")
    refused(tmp_path, "labels.csv", "line 2", "a.png could be test/a.png, train/a.png")


def test_a_row_without_an_image_is_an_example_that_cannot_be_read(tmp_path):
    text = PLAIN.replace("label\n", "label\nno.png,bird\n") + "../a.png,dog\n/a.png,dog\n"
    source = read(write_table(tmp_path, text), KIND)
    assert source.classes == ("cat", "dog") and sizes(source) == {"train": 6}
    *readable, first, second, third = source.splits["train"]
    assert [each.read()["label"] for each in readable] == [0, 1, 0]
    for example, line in ((first, 2), (second, 6), (third, 7)):
        with pytest.raises(BadInput, match=f"labels.csv: line {line}: there is no image"):
            example.read()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\na.png,cat\n", ["the file names", "'a', 'b'", "'filename'", "'label'"]),
        ("file,b\na.png,cat\n", ["the labels", "'file', 'b'", "'label'"]),
        ("file,label,class\na.png,cat,1\n", ["several", "the labels: 'label', 'class'", "Rename"]),
        ("file,path,class\na.png,cat,1\n", ["several", "the file names: 'file', 'path'"]),
        (
            "file,label\nno.png,cat\n../a.png,dog\n",
            ["none of", "no.png (line 2), ../a.png (line 3)"],
        ),
        (PLAIN + "a,dog\n", ["lines 2 and 5", "same image"]),
        (PLAIN.replace("g,dog", "g,"), ["line 3 has no label", "--target labels"]),
        (PLAIN + ",cat\n", ["line 5 has no file name"]),
        (PLAIN + "d.png,cat,dog\n", ["line 5 has 3 columns", "the header has 2"]),
        (PLAIN + '"d.png,cat\n', ["quotation marks"]),
        ("file,label\n", ["no rows"]),
        ("", ["labels.csv", "empty"]),
        ("file,label\na.png,cat\nb.png,cat\n", ["at least two classes", "'cat'"]),
        ("file,label,split\na.png,x,train\nb.png,y,early\n", ["line 3", "'early'", "val or test"]),
        ("file,label,split\na.png,x,train\nb.png,y,\n", ["line 3 is in no split"]),
        ("file,label,split\na.png,x,train\nb.png,y,test\n", ["line 3", "'y'", "not in train"]),
        ("file,label,split\na.png,x,val\nb.png,y,test\n", ["without train"]),
    ],
)
def test_faults_of_tables_are_named(text, words, tmp_path):
    table = write_table(tmp_path, text)
    refused(table, "labels.csv", *words)
    refused(tmp_path, "labels.csv", *words)


def test_names_that_fit_several_images_are_refused(tmp_path):
    write_table(tmp_path, "file,label\na,cat\nb,dog\n", ("a.png", "a.jpg", "b.png"))
    refused(tmp_path, "line 2", "a could be a.jpg, a.png", "extension")


def test_folders_with_several_tables(tmp_path):
    table = write_table(tmp_path, PLAIN)
    (tmp_path / "sizes.csv").write_text("width,height\n1,2\n", encoding="utf-8")
    assert len(read(tmp_path, KIND).splits["train"]) == 3
    (tmp_path / "more.csv").write_text(PLAIN, encoding="utf-8")
    refused(tmp_path, "several tables of images", "labels.csv, more.csv", "path of one")
    for path in (table, tmp_path / "more.csv"):
        path.write_text("a,b\n1,2\n", encoding="utf-8")
    refused(tmp_path, "no table", "labels.csv, more.csv, sizes.csv", "'filename'")


def test_class_folders_with_a_table_are_class_folders(tmp_path):
    write_table(tmp_path, "file,label\ncat/1.png,x\ndog/1.png,y\n", ("cat/1.png", "dog/1.png"))
    assert read(tmp_path, KIND).classes == ("cat", "dog")
    assert read(tmp_path / "labels.csv", KIND).classes == ("x", "y")


# Class folders in folders


@pytest.mark.parametrize("inner", ["archive", "a/b", "a/b/c"])
@pytest.mark.parametrize("splits", [("",), ("train/", "test/"), ("train/",)])
def test_folders_of_a_single_folder_are_looked_through(splits, inner, tmp_path):
    root = tmp_path / "data"
    for name in ("cat", "dog"):
        for split in splits:
            save(root / inner / f"{split}{name}" / "1.png")
    save(root / "__MACOSX" / "archive" / "1.png"), save(root / ".cache" / "1.png")
    (root / "README.md").write_text("pets", encoding="utf-8")
    source = read(root, KIND)
    assert (source.name, source.classes) == ("data", ("cat", "dog"))
    assert set(source.splits) == {split.strip("/") or "train" for split in splits}
    assert source.info["notes"] == [f"the class folders are those in {inner}/"]
    assert examples(source)[0][0] == f"{inner}/{splits[0]}cat/1.png"
    assert read(root / inner, KIND).fingerprint == source.fingerprint
    assert "notes" not in read(root / inner, KIND).info


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a/b/c/d/cat/1.png", "a/b/c/d/dog/1.png"], ["two classes", "'d'"]),
        (["cat/1.png", "cat/deep/2.png", "cat/deeper/2.png"], ["two classes", "'cat'"]),
        (["cat/train/1.png", "cat/test/1.png"], ["two classes", "'cat'"]),
        (["archive/cat/1.png"], ["archive", "two classes", "'cat'"]),
        (["archive/cat/1.png", "archive/dog/1.png", "1.png"], ["1.png", "beside the class"]),
    ],
)
def test_faults_of_folders_of_a_single_folder_are_named(names, words, tmp_path):
    for name in names:
        save(tmp_path / name)
    refused(tmp_path, *words)
