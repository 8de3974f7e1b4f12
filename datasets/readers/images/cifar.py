"""CIFAR-10 and CIFAR-100, Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html.

The binary version (`data_batch_1.bin`, or `train.bin`) has records of label bytes and 3 x 32 x 32
pixels. The Python version (`data_batch_1`, or `train`) has pickled dictionaries of the same.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable

import numpy as np

from datasets.readers.files import read_bytes
from datasets.readers.images import array_pickle, labelled_arrays
from datasets.readers.masks.mask_classes import read_list
from datasets.source import BadInput, Source, printable

SHAPE = (3, 32, 32)  # channels, rows, columns
PIXELS = 3 * 32 * 32
BATCHES = 5
COPY = "Copy or download it again"
COARSE = "the coarse labels are ignored: the classes are the fine ones"


@dataclasses.dataclass(frozen=True)
class Version:
    """The files of one version.

    Attributes:
        train: the names of the training files, a regular expression.
        test: the name of the test file.
        names: the name of the file of class names.
        classes: the number of classes if there are no names.
        read_batch: function from (file, version) to a `Batch`.
        read_names: function from (file, version) to names of classes.
        notes: sentences on what is ignored.
        label_bytes: the number of label bytes of a record, the last of which is the class.
        labels: the key of the labels in a pickle.
    """

    train: str
    test: str
    names: str
    classes: int
    read_batch: Callable
    read_names: Callable
    notes: tuple[str, ...] = ()
    label_bytes: int = 1
    labels: str = "labels"


def match(path: pathlib.Path) -> bool:
    """Return whether a folder contains the files of a version."""
    return path.is_dir() and version_of(path) is not None


def read(path: pathlib.Path) -> Source:
    """Read CIFAR-10 or CIFAR-100: images (32, 32, 3) uint8; the test split is optional.

    Raises:
        BadInput: a file is corrupt, a pickle has anything but arrays, lists and names, a batch is
            missing, or a label has no class.
    """
    version = version_of(path)
    train, test, names = all_batches(path, version), path / version.test, path / version.names
    splits = {"train": [version.read_batch(file, version) for file in train]}
    files = list(train)
    if test.is_file():
        splits["test"] = [version.read_batch(test, version)]
        files.append(test)
    if names.is_file():
        classes = version.read_names(names, version)
        files.append(names)
    else:
        classes = [str(i) for i in range(version.classes)]
    notes = list(version.notes)
    if version.classes == 10 and len(train) < BATCHES:
        notes.append(f"it has {len(train)} of the {BATCHES} training batches of CIFAR-10")
    return labelled_arrays.source(path, splits, classes, files, notes)


def version_of(path):
    """Return the first version whose files are in a folder, or None.

    "train" is too common a name: the test file or the names must be there too.
    """
    for version in VERSIONS:
        others = (path / version.test).is_file() or (path / version.names).is_file()
        if batches_of(path, version) and (others or version.train.startswith("data_batch")):
            return version
    return None


def batches_of(path, version):
    """Return the training files in a folder by their numbers; without a number it is 1."""
    batches = {}
    for file in path.iterdir():
        if (parts := re.fullmatch(version.train, file.name)) and file.is_file():
            batches[int(parts[1]) if parts.groups() else 1] = file
    return batches


def all_batches(path, version):
    """Return the training files in order; raises `BadInput` if one before the last is missing."""
    batches = batches_of(path, version)
    last = max(batches)
    if missing := sorted(set(range(1, last)) - batches.keys()):
        name = batches[last].name.replace(str(last), str(missing[0]))
        raise BadInput(path / name, "this training batch is missing", "Copy all of them")
    return [batches[i] for i in sorted(batches)]


def read_records(file, version):
    """Read a file of the binary version."""
    raw, size = read_bytes(file), version.label_bytes + PIXELS
    if len(raw) % size:
        raise BadInput(
            file,
            f"it has {len(raw):,} bytes, which is not a multiple of {size:,}, the size of an image "
            "with its label",
            COPY,
        )
    records = np.frombuffer(raw, np.uint8).reshape(-1, size)
    labels = records[:, version.label_bytes - 1]
    return labelled_arrays.Batch(file, channels_last(records[:, version.label_bytes :]), labels)


def read_lines(file, version):
    """Read the names of the classes from a text file, a line per class."""
    return read_list(file).names


def read_pickle(file, version):
    """Read a file of the Python version."""
    content = array_pickle.read(file)
    for key in ("data", version.labels):
        if key not in content:
            known = ", ".join(map(printable, content))
            raise BadInput(file, f"it has no {key!r}, only {known}", array_pickle.COPY)
    data, labels = content["data"], content[version.labels]
    if not isinstance(data, np.ndarray) or data.shape[1:] != (PIXELS,) or not len(data):
        shape = f"of shape {data.shape}" if isinstance(data, np.ndarray) else "not an array"
        raise BadInput(file, f"its 'data' are {shape}, not (n, {PIXELS}) bytes", array_pickle.COPY)
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list) or not all(type(i) is int and abs(i) < 2**31 for i in labels):
        why = f"its {version.labels!r} are not a list of integers"
        raise BadInput(file, why, array_pickle.COPY)
    if len(labels) != len(data):
        raise BadInput(
            file, f"it has {len(labels)} labels, but {len(data)} images", array_pickle.COPY
        )
    return labelled_arrays.Batch(file, channels_last(data), np.array(labels, np.int64))


def read_pickled_names(file, version):
    """Read the names of the classes from the file `batches.meta` or `meta`."""
    key = "fine_label_names" if version.labels == "fine_labels" else "label_names"
    names = array_pickle.read(file).get(key)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise BadInput(file, f"it has no list {key!r} of names", array_pickle.COPY)
    names = [n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in names]
    if len(set(names)) < len(names):
        raise BadInput(file, "a name of a class occurs twice", "Name each once")
    return tuple(map(printable, names))


def channels_last(rows):
    """Return rows of pixels (n, 3072), a channel after the other, as (n, 32, 32, 3)."""
    return rows.reshape(-1, *SHAPE).transpose(0, 2, 3, 1)


VERSIONS = (
    Version(
        r"data_batch_(\d{1,3})\.bin",
        "test_batch.bin",
        "batches.meta.txt",
        10,
        read_records,
        read_lines,
    ),
    Version(
        r"data_batch_(\d{1,3})",
        "test_batch",
        "batches.meta",
        10,
        read_pickle,
        read_pickled_names,
    ),
    Version(
        r"train\.bin",
        "test.bin",
        "fine_label_names.txt",
        100,
        read_records,
        read_lines,
        (COARSE,),
        label_bytes=2,
    ),
    Version(
        "train",
        "test",
        "meta",
        100,
        read_pickle,
        read_pickled_names,
        (COARSE,),
        labels="fine_labels",
    ),
)
