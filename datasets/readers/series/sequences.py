"""Sequences: series with one class each, in class folders of tables or in one .npz.

An example is {"series": (T, F) float32, NaN where missing; "label": int}; T may differ.
"""

import pathlib
from collections.abc import Callable

import numpy as np

from datasets.readers import series
from datasets.readers.images import class_folders
from datasets.readers.series.series_tables import NUMBERS
from datasets.source import BadInput, Source

EXTENSIONS = (".csv", ".tsv", ".txt", ".parquet", ".npy", ".csv.gz", ".tsv.gz", ".txt.gz")


def match(path: pathlib.Path) -> bool:
    """Return whether a path is a folder of class folders with tables."""
    return class_folders.match(path, EXTENSIONS) and not series.match(path)


def read(path: pathlib.Path) -> Source:
    """Read class folders with a table per series and the same numeric columns in each.

    Raises:
        BadInput: as `datasets.readers.images.class_folders.read`.
    """
    first = []

    def read_file(file):
        names, values, notes = read_columns(file)
        if not first:
            first.append((file.relative_to(path).as_posix(), names))
        series.check_same(file, names, *first[0])
        places = {name: i for i, name in enumerate(names)}
        example = {"series": values[:, [places[name] for name in first[0][1]]]}
        return {**example, "notes": notes} if notes else example

    return class_folders.read(path, EXTENSIONS, read_file)


def read_example(path: pathlib.Path) -> dict:
    """Read the numeric columns of a table as the `series` of an example."""
    return {"series": read_columns(pathlib.Path(path))[1]}


def read_columns(path):
    """Return the names of the numeric columns of a table, their values (T, F), and notes."""
    if not path.name.lower().endswith(EXTENSIONS):
        raise BadInput(path, "it is not a format of one series", f"Use {', '.join(EXTENSIONS)}")
    (table,) = series.read_tables(path).values()
    names = table.named(NUMBERS)
    values = to_float32(path, np.stack([table.columns[name][1] for name in names], axis=1))
    kinds = {name: kind for name, (kind, _) in table.columns.items()}
    return names, values, [*table.notes, *series.remarks(kinds, {})]


def to_float32(what, values: np.ndarray) -> np.ndarray:
    """Return numbers as float32.

    Raises:
        BadInput: one is infinite, or too large.
    """
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if np.isinf(converted).any():
        place = ", ".join(map(str, np.argwhere(np.isinf(converted))[0]))
        why = f"its value at [{place}] is {values[np.isinf(converted)][0]:g}, too large for float32"
        raise BadInput(what, why, "Leave it empty if it is missing, or use another unit")
    return converted


def check_arrays(path: pathlib.Path, name: str, x: np.ndarray) -> np.ndarray:
    """Return x as (examples, T, F) of finite numbers, or NaN where missing.

    Raises:
        BadInput: it has another shape or type, or infinite numbers.
    """
    array = f"array {name!r} of shape {x.shape} and type {x.dtype}"
    if x.dtype.kind not in "fiu":
        raise BadInput(path, f"{array} is not numeric", f"{name}.astype('float32')")
    if x.ndim == 2:
        x = x[..., None]
    if x.ndim != 3 or 0 in x.shape:
        raise BadInput(
            path,
            f"{array} is not (examples, steps, features) or (examples, steps)",
            "Pad shorter series with steps of NaN at the end",
        )
    return to_float32(f"{path} (array {name!r})", x)


def trimmed(title: str, x: np.ndarray) -> np.ndarray:
    """Return a series (T, F) without the steps at its end that are NaN in all features.

    Raises:
        BadInput: no step is left.
    """
    known = np.flatnonzero(~np.isnan(x).all(axis=1))
    if not len(known):
        raise BadInput(title, "all its values are NaN", "Remove this example")
    return x[: known[-1] + 1]


def same_features(name_classes: Callable) -> Callable:
    """Wrap `name_classes` with a check that x has the same number of features in every split."""

    def checked(path, names, splits):
        shapes = {split: x.shape[2] for split, (x, _) in splits.items()}
        for split, features in shapes.items():
            if features != shapes["train"]:
                why = f"its {split} series have {features} features, but those of train have "
                raise BadInput(path, f"{why}{shapes['train']}", "Use the same features")
        return name_classes(path, names, splits)

    return checked
