"""idx files: the images and the labels of MNIST, http://yann.lecun.com/exdb/mnist.

`train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, and the same of t10k, test or validation;
compressed (.gz) or not, also named `train-images.idx3-ubyte`. Fashion-MNIST, KMNIST and EMNIST have
these files too.
"""

import math
import pathlib
import re
import struct

import numpy as np

from datasets.readers.files import clutter, read_bytes, split_of
from datasets.readers.images import labelled_arrays
from datasets.readers.masks.mask_classes import read_list
from datasets.source import SPLITS, BadInput, Source

NAME = re.compile(r"(.+?)[-_.](images|labels)[-_.]idx([13])-ubyte(\.gz)?", re.IGNORECASE)
MAGIC = {"images": 0x803, "labels": 0x801}  # 8: unsigned bytes; 3 or 1: the number of axes
AXES = {"images": 3, "labels": 1}
CLASSES = "classes.txt"
COPY = "Copy or download it again"


def match(path: pathlib.Path) -> bool:
    """Return whether a folder contains idx files of images or labels."""
    return path.is_dir() and any(NAME.fullmatch(file.name) for file in files_in(path))


def read(path: pathlib.Path) -> Source:
    """Read pairs of idx files as images (H, W, 1) uint8, one pair per split.

    The classes are the lines of classes.txt, else "0", "1", ... up to the largest label in train.

    Raises:
        BadInput: a file is corrupt, has no partner, or needs too much memory; two pairs are of the
            same split; the numbers of images and labels differ; or a label has no class.
    """
    pairs, notes = find_pairs(path)
    splits = {split: [read_pair(*pairs[split])] for split in SPLITS if split in pairs}
    listed = path / CLASSES
    if listed.is_file():
        classes = read_list(listed).names
    else:
        classes = [str(i) for i in range(int(splits["train"][0].labels.max()) + 1)]
    files = [file for pair in pairs.values() for file in pair]
    files += [listed] if listed.is_file() else []
    return labelled_arrays.source(path, splits, classes, files, notes)


def files_in(path):
    """Return the files in a folder, in order."""
    return sorted(p for p in path.iterdir() if p.is_file() and not clutter(p.name))


def find_pairs(path):
    """Return {split: (images, labels)} of a folder, and notes on what was ignored."""
    files, notes = {}, []  # {(name, "images" or "labels"): file}
    for file in files_in(path):
        if not (parts := NAME.fullmatch(file.name)):
            continue
        kind = parts[2].lower()
        if int(parts[3]) != AXES[kind]:
            raise BadInput(
                file,
                f"its name declares {kind} as idx{parts[3]}, but they are idx{AXES[kind]}",
                f"Name it {parts[1]}-{kind}-idx{AXES[kind]}-ubyte",
            )
        key = parts[1].lower(), kind
        if key in files:
            notes.append(f"{file.name} is ignored, because {files[key].name} is read")
        else:
            files[key] = file
    names = sorted({name for name, _ in files})
    pairs = {}
    for name in names:
        for kind, other in (("images", "labels"), ("labels", "images")):
            if (name, kind) not in files:
                raise BadInput(
                    files[name, other],
                    f"it has no {kind} beside it",
                    f"Add {name}-{kind}-idx{AXES[kind]}-ubyte, or remove the file",
                )
        pair = files[name, "images"], files[name, "labels"]
        split = split_named(name) or ("train" if len(names) == 1 else None)
        if split is None:
            raise BadInput(
                pair[0], "it is in no split while other files are", "Name it train, val or test"
            )
        if split in pairs:
            raise BadInput(
                pair[0],
                f"it is of the split {split}, but so is {pairs[split][0].name}",
                "Move each data set into a folder of its own",
            )
        pairs[split] = pair
    if "train" not in pairs:
        raise BadInput(path, f"it has {', '.join(pairs)} but no train", "Add the files of train")
    return pairs, notes


def split_named(name):
    """Return the split in the last word of a name: "emnist-letters-train"; or None."""
    word = re.split(r"[-_.]", name)[-1]
    return "test" if word == "t10k" else split_of(word)


def read_pair(images, labels):
    """Read a file of images and its file of labels."""
    x, y = read_array(images, "images")[..., None], read_array(labels, "labels")
    if len(x) != len(y):
        raise BadInput(
            labels,
            f"it has {len(y)} labels, but {images.name} has {len(x)} images",
            "Use the two files of the same data set",
        )
    return labelled_arrays.Batch(labels, x, y)


def read_array(path: pathlib.Path, kind: str) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    Args:
        path: of the file, which may be compressed (.gz).
        kind: "images", (n, H, W), or "labels", (n,).

    Raises:
        BadInput: its magic number is another, an axis is empty, or its size is not the declared
            one.
    """
    raw, axes = read_bytes(path), AXES[kind]
    start = 4 + 4 * axes
    if len(raw) < start:
        raise BadInput(path, f"it ends after {len(raw)} bytes, within its header", COPY)
    magic, *shape = struct.unpack(f">{1 + axes}I", raw[:start])
    if magic != MAGIC[kind]:
        raise BadInput(
            path,
            f"it begins with 0x{magic:08x}, but idx files of {kind} begin with 0x{MAGIC[kind]:08x}",
            "Its name may be that of the other file" if magic in MAGIC.values() else COPY,
        )
    sizes, declared = " x ".join(map(str, shape)), math.prod(shape)
    if not declared:
        raise BadInput(path, f"its header declares {sizes} values", "It must not be empty")
    if declared != len(raw) - start:
        raise BadInput(
            path,
            f"its header declares {sizes} = {declared:,} bytes, but {len(raw) - start:,} follow",
            COPY,
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
