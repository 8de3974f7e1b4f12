"""Arrays x_train, y_train, x_test, y_test in one .npz: data of any task, saved with NumPy.

A folder with train.npz and, if present, val.npz and test.npz has the arrays x and y of each.
"""

import dataclasses
import pathlib
import zipfile
from collections.abc import Callable
from functools import partial

import numpy as np

from datasets.readers import array_targets
from datasets.readers.arrayfiles import read_npz
from datasets.readers.clouds import metres, oriented
from datasets.readers.clouds.units import check_hints
from datasets.readers.files import safe_name
from datasets.readers.masks import mask_classes
from datasets.readers.series import sequences
from datasets.source import BadInput, Examples, Source, fingerprint

SUFFIXES = {"train": "train", "validation": "val", "test": "test"}
MAX_CLASSES = 65_536


def match(path: pathlib.Path, **hints) -> bool:
    """Return whether a path is an .npz file, but not a labelled cloud or series to forecast.

    A folder is one if it has train.npz.
    """
    path = path / "train.npz" if path.is_dir() else path
    if not path.is_file() or path.suffix.lower() != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return not {"points.npy", "labels.npy", "values.npy"} & set(archive.namelist())
    except Exception:  # reading it raises the error
        return True


def read(path: pathlib.Path, kind: str, target: str | None = None, **hints) -> Source:
    """Read x_train, y_train and, if present, x_val, y_val, x_test, y_test.

    For point clouds x is (examples, N, 3), metres; for images (examples, H, W, C), or (examples, H,
    W), uint8, uint16 or floats; for series (examples, T, F) or (examples, T), with NaN at the end
    of shorter ones. y holds class indices: (examples,) for classification; one for each point,
    (examples, N), or pixel, (examples, H, W), for segmentation, where -1 is ignored. An array
    `classes` of strings names them, or, of images, a classes.txt beside the file. Labels of
    classification may also be names, or one-hot rows; integers may be floats. Without names,
    `datasets.readers.masks.mask_classes` describes the meaning of mask values. For part
    segmentation, object_train, object_val and object_test are the category of each cloud, integers
    from 0. Targets of images may also be labels or values, see `array_targets`; an array `columns`
    names the values.

    Args:
        path: of the file.
        kind: a key of `FORMS`.
        target: of images, what the targets are: classes, labels or values.
        **hints: for clouds, the `up` axis and the `units`, see `clouds.read_cloud`.

    Raises:
        BadInput: an array is missing, or has a wrong shape, type or value; the message has its name
            and shape.
    """
    check_hints(**hints)
    (files, arrays), form = arrays_of(path), FORMS[kind]
    of_classes = form.dense or form.by_class
    targets = targets_of(path, arrays, target) if form.x == "image" and not of_classes else None
    if form.x == "image" and not form.dense and not targets:
        files += named(path, arrays)
    notes = [] if form.dense or targets else as_indices(path, arrays, form.by_class)
    splits, objects = {}, {}
    for split, suffix in SUFFIXES.items():
        x, y = arrays.get(f"x_{suffix}"), arrays.get(f"y_{suffix}")
        if x is None and y is None and split != "train":
            continue
        if x is None or y is None:
            missing = f"{'x' if x is None else 'y'}_{suffix}"
            raise BadInput(
                path,
                f"it has no array {missing!r}, only {', '.join(sorted(arrays))}",
                "Save x_train, y_train, x_test and y_test together",
            )
        x = form.check(path, f"x_{suffix}", x)
        if targets:
            check_count(path, f"y_{suffix}", y, x)
            splits[split] = x, targets.arrays[split]
            continue
        splits[split] = x, check_labels(path, f"y_{suffix}", y, x, form.dense)
        if form.dense and (kinds := arrays.get(f"object_{suffix}")) is not None:
            objects[split] = check_labels(path, f"object_{suffix}", kinds, x, False)
    if objects and objects.keys() != splits.keys():
        raise BadInput(
            path,
            f"it has the categories of the objects of {', '.join(objects)}, but not of every split",
            "Save an array object_... beside each x_... and y_...",
        )
    if targets:
        classes = targets.names if targets.constants["target"] == "labels" else ()
        notes += targets.notes
    else:
        classes, known = form.name(path, arrays.get("classes"), splits)

    def label(title, y):
        return y if targets else known(title, y)

    def read_one(item):
        split, i = item
        x, y = splits[split]
        value = oriented(x[i], **hints) if hints else x[i]
        example = {form.x: form.example(title(item), value), form.y: label(title(item), y[i])}
        return {**example, "object": int(objects[split][i])} if objects else example

    def title(item):
        return f"{path.name}#x_{SUFFIXES[item[0]]}[{item[1]}]"

    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(files, files[0].parent),
        classes=classes,
        splits={
            split: Examples.of([(split, i) for i in range(len(x))], read_one, title)
            for split, (x, _) in splits.items()
        },
        info={"notes": notes} if notes else {},
        options={"num_objects": 1 + max(int(k.max()) for k in objects.values())} if objects else {},
        constants=targets.constants if targets else {},
    )


def arrays_of(path):
    """Return the files of a path, and their arrays by name: x of train.npz is x_train."""
    if not path.is_dir():
        return [path], dict(read_npz(path))
    files = {suffix: path / f"{suffix}.npz" for suffix in SUFFIXES.values()}
    files = {suffix: file for suffix, file in files.items() if file.is_file()}
    arrays = {}
    for suffix, file in files.items():
        for name, array in read_npz(file).items():
            arrays[f"{name}_{suffix}" if name in ("x", "y", "object") else name] = array
    return [*files.values()], arrays


def named(path, arrays):
    """Add the names in classes.txt as the array `classes` unless there is one; return the file."""
    listed = (path if path.is_dir() else path.parent) / "classes.txt"
    indices = "y_train" in arrays and arrays["y_train"].dtype.kind in "iu"
    if "classes" in arrays or not indices or not listed.is_file():
        return []
    arrays["classes"] = np.array(mask_classes.read_list(listed).names)
    return [listed]


def targets_of(path, arrays, target):
    """Return the `array_targets.Targets` of an .npz, None if its targets are classes or missing."""
    splits = {f"y_{suffix}": split for split, suffix in SUFFIXES.items() if f"y_{suffix}" in arrays}
    if "y_train" not in splits.keys():
        return None
    names = arrays.get("columns", arrays.get("classes"))
    if names is not None:
        check_names(path, names)
    ys = {name: arrays[name] for name in splits}
    return array_targets.read(path, ys, names, splits, target)


def check_count(path, name, y, x):
    """Raise unless there is a target for each example."""
    if len(y) != len(x):
        why = f"array {name!r} of shape {y.shape} does not match {name.replace('y', 'x', 1)!r}"
        raise BadInput(path, f"{why} of shape {x.shape}", "Save one target for each image")


def check_clouds(path, name, x):
    """Return x if it has shape (examples, N, 3) and is numeric and finite; raise otherwise."""
    array = f"array {name!r} of shape {x.shape} and type {x.dtype}"
    if x.dtype.kind not in "fiu":
        raise BadInput(path, f"{array} is not numeric", f"{name}.astype('float32')")
    if x.ndim != 3 or x.shape[2] != 3 or 0 in x.shape:
        raise BadInput(
            path, f"{array} is not (examples, points, 3)", "Save x y z of each point, in metres"
        )
    check_finite(path, name, x)
    return x


def check_images(path, name, x):
    """Return x as (examples, H, W, C) of uint8, uint16 or float32; raise otherwise."""
    array = f"array {name!r} of shape {x.shape} and type {x.dtype}"
    if x.dtype not in (np.uint8, np.uint16) and x.dtype.kind != "f":
        raise BadInput(path, f"{array} is not uint8, uint16 or floats", f"{name}.astype('uint8')")
    if x.ndim == 3:
        x = x[..., None]
    first = x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[3] not in (1, 3)
    if x.ndim != 4 or 0 in x.shape or first:
        raise BadInput(
            path,
            f"{array} is not (examples, height, width, channels)",
            f"numpy.moveaxis({name}, 1, 3)" if first else "Save one image per example",
        )
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        check_finite(path, name, x)
    return x


def check_finite(path, name, x):
    """Raise if any example contains NaN or infinity."""
    finite = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
    if not finite.all():
        raise BadInput(
            path,
            f"array {name!r} of shape {x.shape} and type {x.dtype} contains NaN or infinity in "
            f"{(~finite).sum()} examples, the first is {name}[{finite.argmin()}]",
            "Remove those examples",
        )


def as_indices(path, arrays, by_class=False):
    """Replace one-hot rows and class names by indices; return sentences on what was decided.

    The class names are those of the array `classes`, else the sorted names in y_train; or in all
    splits, if `by_class`.
    """
    notes, labels = [], [f"y_{suffix}" for suffix in SUFFIXES.values()]
    present = [name for name in labels if name in arrays]
    for name in present:
        y = arrays[name]
        if y.ndim == 2 and y.shape[1] > 1 and len(y) and y.dtype.kind in "biuf":
            if ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
                arrays[name] = y.argmax(axis=1)
                notes.append(f"the rows of {name} are one-hot: they are converted to classes")
    if "y_train" not in arrays or any(arrays[name].dtype.kind not in "US" for name in present):
        return notes
    for name in present:
        arrays[name] = np.char.strip(arrays[name].reshape(-1).astype(str))
    if "classes" not in arrays:
        sources = present if by_class else ["y_train"]
        arrays["classes"] = np.unique(np.concatenate([arrays[name] for name in sources]))
        where = ", ".join(sources)
        notes.append(f"the names in {where} are the classes, in alphabetical order")
    known = {str(name): i for i, name in enumerate(arrays["classes"].reshape(-1).tolist())}
    for name in present:
        unknown = sorted(set(arrays[name].tolist()) - known.keys())
        if unknown:
            why = f"array {name!r} has the class {unknown[0]!r}, but the classes are "
            why += ", ".join(list(known)[:20])
            raise BadInput(path, why, "Use all classes in train, or save them in an array classes")
        arrays[name] = np.array([known[label] for label in arrays[name].tolist()], np.int64)
    return notes


def check_labels(path, name, y, x, dense):
    """Return y as integers if its shape matches x; raise otherwise."""
    array = f"array {name!r} of shape {y.shape} and type {y.dtype}"
    if y.dtype.kind == "b" or (y.dtype.kind == "f" and np.isfinite(y).all()):
        integers = y.astype(np.int64) if np.abs(y, dtype=float).max(initial=0) < 2**53 else None
        y = y if integers is None or (integers != y).any() else integers
    if y.dtype.kind in "US":
        raise BadInput(path, f"{array} is not an array of integers", "Number the classes from 0")
    largest = f"{name}.argmax(axis=1) is the class with the largest value of each row"
    rows = not dense and y.ndim == 2 and len(y) == len(x) and y.shape[1] > 1
    if y.dtype.kind not in "iu":
        remedy = largest if rows else f"Round them: {name}.round()"
        raise BadInput(path, f"{array} is not an array of integers", remedy)
    expected = x.shape[:-1] if dense else x.shape[:1]
    if y.shape == (*expected, 1):
        y = y[..., 0]
    if y.shape != expected:
        raise BadInput(
            path,
            f"{array} does not match {name.replace('y', 'x', 1)!r} of shape {x.shape}: "
            f"it should be {expected}",
            largest if rows else "Save one label for each",
        )
    lowest = -1 if dense else 0
    if y.min() < lowest or y.max() >= MAX_CLASSES:
        raise BadInput(
            path,
            f"{array} has labels from {y.min()} to {y.max()}",
            f"Number the classes from 0{'; -1 is ignored' if dense else ''}",
        )
    return y


def name_classes(path, names, splits, by_class=False):
    """Return the names of the classes, by default "0", "1", ..., after checking all labels.

    Args:
        path: of the file.
        names: those of the array `classes`, or None.
        splits: (x, y) by split.
        by_class: a split may have classes that others have not.

    Returns:
        (classes, label): `label(title, y[i])` is the label of an example, or labels (N,) int64.
    """
    top = {split: int(y.max()) for split, (_, y) in splits.items()}
    if names is None:
        names = [str(i) for i in range((max(top.values()) if by_class else top["train"]) + 1)]
    else:
        check_names(path, names)
    for split, label in top.items():
        if label >= len(names):
            raise BadInput(
                path,
                f"array 'y_{SUFFIXES[split]}' has label {label}, but there are {len(names)} "
                f"classes, 0 to {len(names) - 1}",
                "Use all classes in train, or save their names in an array classes",
            )
    if len(names) < 2:
        raise BadInput(path, f"array 'y_train' has {len(names)} class", "Use at least two")
    return tuple(map(str, names)), lambda _, y: y.astype(np.int64) if y.ndim else int(y)


def name_masks(path, names, splits):
    """Return the names of the classes of masks.

    Returns:
        (classes, label): `label(title, y[i])` is the mask of an example, (H, W) int32.
    """
    values = {}
    for split, (_, y) in splits.items():
        for mask in y:  # one at a time, because sorting takes memory
            for value in np.unique(mask).tolist():
                values.setdefault(value, f"{path} (array 'y_{SUFFIXES[split]}')")
    listed = None
    if names is not None:
        check_names(path, names)
        listed = mask_classes.ClassList(f"{path} (array 'classes')", tuple(names.tolist()))
    meaning = mask_classes.meaning(values, listed)
    return meaning.classes, lambda title, y: mask_classes.mapped(title, y, meaning)


def check_names(path, names):
    """Raise unless an array is a list of distinct names."""
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) < len(names):
        raise BadInput(
            path,
            f"array 'classes' of shape {names.shape} and type {names.dtype} is not a list of "
            "distinct names",
            "numpy.array(['car', 'tree'])",
        )


@dataclasses.dataclass(frozen=True)
class Form:
    """The arrays of one kind of data.

    Attributes:
        x: the name of x in an example.
        y: the name of y in an example.
        check: function (path, name, x) to x, which raises if x is not valid.
        example: function (title, x[i]) to the array of one example.
        name: function (path, array of names or None, splits) to the classes and the function
            `label`.
        dense: whether each point or pixel has a label.
        by_class: whether a split may have classes that others have not.
    """

    x: str
    y: str
    check: Callable
    example: Callable
    name: Callable
    dense: bool = False
    by_class: bool = False


def read_cloud(title, x):
    """Return the points of one example."""
    return metres(title, x)[0]


def read_image(_, x):
    """Return the image of one example."""
    return x


FORMS = {
    "pointcloud_classification": Form("points", "label", check_clouds, read_cloud, name_classes),
    "pointcloud_segmentation": Form(
        "points", "labels", check_clouds, read_cloud, name_classes, dense=True
    ),
    "image_classification": Form("image", "label", check_images, read_image, name_classes),
    "image_embedding": Form(
        "image",
        "label",
        check_images,
        read_image,
        partial(name_classes, by_class=True),
        by_class=True,
    ),
    "image_segmentation": Form(
        "image", "segmentation_mask", check_images, read_image, name_masks, dense=True
    ),
    "sequence_classification": Form(
        "series",
        "label",
        sequences.check_arrays,
        sequences.trimmed,
        sequences.same_features(name_classes),
    ),
}
