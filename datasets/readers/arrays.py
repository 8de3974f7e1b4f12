"""One .npz with arrays x_train, y_train, x_test, y_test: any task's data, with NumPy only."""

import pathlib
import zipfile

import numpy as np

from datasets.readers.arrayfiles import read_npz
from datasets.readers.clouds import metres
from datasets.readers.files import safe_name
from datasets.source import BadInput, Examples, Source, fingerprint

SUFFIXES = {"train": "train", "validation": "val", "test": "test"}
MAX_CLASSES = 65_536


def match(path: pathlib.Path) -> bool:
    """Tell whether a path is an .npz file that is not simply one labelled cloud."""
    if not path.is_file() or path.suffix.lower() != ".npz":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return not {"points.npy", "labels.npy"} & set(archive.namelist())
    except Exception:  # reading it says what is wrong
        return True


def read(path: pathlib.Path, kind: str) -> Source:
    """Read x_train, y_train and, where they are there, x_val, y_val, x_test, y_test.

    For point clouds x is (examples, N, 3), metres; y holds class indices, (examples,) for
    classification, (examples, N) for segmentation, where -1 is ignored. An array `classes` of
    strings names them. For the parts of objects, object_train, object_val and object_test say
    what each cloud is, integers from 0.

    Raises:
        BadInput: an array is missing, or has a wrong shape, type or value; names array and shape.
    """
    arrays = read_npz(path)
    dense = kind == "pointcloud_segmentation"
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
        check_clouds(path, f"x_{suffix}", x)
        splits[split] = x, check_labels(path, f"y_{suffix}", y, x, dense)
        if dense and (kinds := arrays.get(f"object_{suffix}")) is not None:
            objects[split] = check_labels(path, f"object_{suffix}", kinds, x, False)
    if objects and objects.keys() != splits.keys():
        raise BadInput(
            path,
            f"it says what the objects of {', '.join(objects)} are, and not of every split",
            "Save an array object_... beside each x_... and y_...",
        )
    classes = name_classes(path, arrays.get("classes"), splits)
    label = "labels" if dense else "label"

    def read_one(item):
        split, i = item
        x, y = splits[split]
        points, _ = metres(title(item), x[i])
        example = {"points": points, label: y[i] if dense else int(y[i])}
        return {**example, "object": int(objects[split][i])} if objects else example

    def title(item):
        return f"{path.name}#x_{SUFFIXES[item[0]]}[{item[1]}]"

    return Source(
        name=safe_name(path),
        fingerprint=fingerprint([path], path.parent),
        classes=classes,
        splits={
            split: Examples.of([(split, i) for i in range(len(x))], read_one, title)
            for split, (x, _) in splits.items()
        },
        options={"num_objects": 1 + max(int(k.max()) for k in objects.values())} if objects else {},
    )


def check_clouds(path, name, x):
    """Raise unless x is (examples, N, 3) finite numbers."""
    said = f"array {name!r} of shape {x.shape} and type {x.dtype}"
    if x.dtype.kind not in "fiu":
        raise BadInput(path, f"{said} does not hold numbers", f"{name}.astype('float32')")
    if x.ndim != 3 or x.shape[2] != 3 or 0 in x.shape:
        raise BadInput(
            path, f"{said} is not (examples, points, 3)", "Keep x y z of each point, in metres"
        )
    finite = np.isfinite(x).all(axis=(1, 2))
    if not finite.all():
        raise BadInput(
            path,
            f"{said} holds NaN or infinity in {(~finite).sum()} examples, "
            f"the first is {name}[{finite.argmin()}]",
            "Remove those examples",
        )


def check_labels(path, name, y, x, dense):
    """Return y as int64 once it fits x; raise otherwise."""
    said = f"array {name!r} of shape {y.shape} and type {y.dtype}"
    if y.dtype.kind not in "iu":
        raise BadInput(path, f"{said} does not hold whole numbers", f"{name}.astype('int64')")
    if not dense and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    expected = x.shape[:2] if dense else x.shape[:1]
    if y.shape != expected:
        one_hot = not dense and y.ndim == 2 and len(y) == len(x)
        raise BadInput(
            path,
            f"{said} does not fit {name.replace('y', 'x', 1)!r} of shape {x.shape}: "
            f"it should be {expected}",
            f"{name}.argmax(axis=1)" if one_hot else "One label for each",
        )
    lowest = -1 if dense else 0
    if y.min() < lowest or y.max() >= MAX_CLASSES:
        raise BadInput(
            path,
            f"{said} has labels from {y.min()} to {y.max()}",
            f"Number the classes from 0{'; -1 is ignored' if dense else ''}",
        )
    return y.astype(np.int64)


def name_classes(path, names, splits):
    """Return the classes' names, "0", "1", ... where none are given, once all labels have one."""
    top = {split: int(y.max()) for split, (_, y) in splits.items()}
    if names is None:
        names = [str(i) for i in range(top["train"] + 1)]
    elif names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) < len(names):
        raise BadInput(
            path,
            f"array 'classes' of shape {names.shape} and type {names.dtype} is no list of "
            "different names",
            "numpy.array(['car', 'tree'])",
        )
    for split, label in top.items():
        if label >= len(names):
            raise BadInput(
                path,
                f"array 'y_{SUFFIXES[split]}' has label {label} and there are {len(names)} "
                f"classes, 0 to {len(names) - 1}",
                "Give all classes in train, or their names in an array classes",
            )
    if len(names) < 2:
        raise BadInput(path, f"array 'y_train' has {len(names)} class", "Two are needed")
    return tuple(str(name) for name in names)
