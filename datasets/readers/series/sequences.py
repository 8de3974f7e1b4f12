"""Sequences: series of which each is of one class, in class folders of tables or in one .npz.

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
    """Tell whether a path is a folder of class folders with tables in them."""
    return class_folders.match(path, EXTENSIONS) and not series.match(path)


def read(path: pathlib.Path) -> Source:
    """Read class folders with a table a series and the same columns of numbers in each.

    Raises:
        BadInput: as `datasets.readers.images.class_folders.read`.
    """
    first = []

    def read_file(file):
        names, found, notes = read_columns(file)
        if not first:
            first.append((file.relative_to(path).as_posix(), names))
        series.check_same(file, names, *first[0])
        places = {name: i for i, name in enumerate(names)}
        found = {"series": found[:, [places[name] for name in first[0][1]]]}
        return {**found, "notes": notes} if notes else found

    return class_folders.read(path, EXTENSIONS, read_file)


def read_example(path: pathlib.Path) -> dict:
    """Read the columns of numbers of a table as the `series` of an example."""
    return {"series": read_columns(pathlib.Path(path))[1]}


def read_columns(path):
    """Return the names of the columns of numbers of a table, these, (T, F) float32, and notes."""
    if not path.name.lower().endswith(EXTENSIONS):
        raise BadInput(path, "it is no format of one series", f"Use {', '.join(EXTENSIONS)}")
    (table,) = series.read_tables(path).values()
    names = table.named(NUMBERS)
    values = singles(path, np.stack([table.columns[name][1] for name in names], axis=1))
    kinds = {name: kind for name, (kind, _) in table.columns.items()}
    return names, values, [*table.notes, *series.remarks(kinds, {})]


def singles(what, values: np.ndarray) -> np.ndarray:
    """Return numbers as float32.

    Raises:
        BadInput: one is infinite, or too large for that.
    """
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if np.isinf(found).any():
        place = ", ".join(map(str, np.argwhere(np.isinf(found))[0]))
        why = f"its value at [{place}] is {values[np.isinf(found)][0]:g}, too large for float32"
        raise BadInput(what, why, "Leave it empty if it is missing, or use another unit")
    return found


def check_arrays(path: pathlib.Path, name: str, x: np.ndarray) -> np.ndarray:
    """Return x as (examples, T, F) if it holds numbers that are finite, or NaN where missing.

    Raises:
        BadInput: it does not.
    """
    said = f"array {name!r} of shape {x.shape} and type {x.dtype}"
    if x.dtype.kind not in "fiu":
        raise BadInput(path, f"{said} does not hold numbers", f"{name}.astype('float32')")
    if x.ndim == 2:
        x = x[..., None]
    if x.ndim != 3 or 0 in x.shape:
        raise BadInput(
            path,
            f"{said} is not (examples, steps, features) or (examples, steps)",
            "Pad shorter series with steps of NaN at the end",
        )
    return singles(f"{path} (array {name!r})", x)


def trimmed(title: str, x: np.ndarray) -> np.ndarray:
    """Return a series (T, F) without the steps at its end that are NaN in all features.

    Raises:
        BadInput: no step is left.
    """
    known = np.flatnonzero(~np.isnan(x).all(axis=1))
    if not len(known):
        raise BadInput(title, "all its values are NaN", "Remove this example")
    return x[: known[-1] + 1]


def alike(name_classes: Callable) -> Callable:
    """Return a function that does the same once x has as many features in every split."""

    def named(path, names, splits):
        shapes = {split: x.shape[2] for split, (x, _) in splits.items()}
        for split, features in shapes.items():
            if features != shapes["train"]:
                why = f"its {split} series have {features} features, those of train "
                raise BadInput(path, f"{why}{shapes['train']}", "Keep the same features")
        return name_classes(path, names, splits)

    return named
