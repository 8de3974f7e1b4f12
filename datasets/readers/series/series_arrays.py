"""Series as NumPy arrays: .npy and .npz of values, with the names of columns and times."""

import pathlib
import zipfile

import numpy as np

from datasets.readers.arrayfiles import read_npy, read_npz
from datasets.readers.series.dates import YEARS
from datasets.readers.series.series_tables import DATES, NOTHING, NUMBERS, Table
from datasets.source import BadInput

LABELLED = {"x_train.npy", "points.npy", "labels.npy"}  # arrays of other data
SHAPES = {1: "(T,)", 2: "(T, C)", 3: "(n, T, C)"}


def unlabelled(path: pathlib.Path) -> bool:
    """Return whether an .npz may contain series without classes."""
    try:
        with zipfile.ZipFile(path) as archive:
            return not LABELLED & set(archive.namelist())
    except Exception:  # reading it raises the error
        return True


def read_array(path: pathlib.Path) -> dict[str, Table]:
    """Read a .npy of values (T,) or (T, C), as `read_arrays` does."""
    return tables(path, {"values": read_npy(path)}, most=2)


def read_arrays(path: pathlib.Path) -> dict[str, Table]:
    """Read an .npz: `values` (T,), (T, C), or (n, T, C) of n series, or the only array.

    `columns` (C,) are the names of the columns, and `times`, (T,) or (n, T), are datetime64, or
    int64 nanoseconds since 1970.

    Returns:
        {suffix of the name of the file: table}: "#values[0]" and so on for n series.

    Raises:
        BadInput: an array is missing, or has a wrong shape, type or value; the message has its name
            and shape.
    """
    arrays = dict(read_npz(path))
    if "values" not in arrays and len(arrays) == 1:
        arrays = {"values": next(iter(arrays.values()))}
    if "values" not in arrays:
        raise BadInput(
            path,
            f"it has no array 'values', only {', '.join(sorted(arrays))}",
            "numpy.savez(file, values=..., columns=..., times=...)",
        )
    return tables(path, arrays, most=3)


def tables(path, arrays, most):
    """Return the series of arrays, whose values have at most `most` axes."""
    values = arrays["values"]
    array = f"array 'values' of shape {values.shape} and type {values.dtype}"
    if values.dtype.kind not in "fiu":
        raise BadInput(path, f"{array} is not numeric", "values.astype('float64')")
    if not 1 <= values.ndim <= most or 0 in values.shape:
        shapes = " or ".join(SHAPES[axes] for axes in range(1, most + 1))
        raise BadInput(
            path, f"{array} is not {shapes}", "Save a row per step and a column per variable"
        )
    values, several = values.astype(np.float64), values.ndim == 3
    if np.isinf(values).any():
        where = ", ".join(map(str, np.argwhere(np.isinf(values))[0]))
        raise BadInput(path, f"{array} is infinite at [{where}]", "Use NaN for missing values")
    if (large := np.abs(values) > np.finfo(np.float32).max).any():
        where = ", ".join(map(str, np.argwhere(large)[0]))
        why = f"{array} is {values[large][0]:g} at [{where}], too large for float32"
        raise BadInput(path, why, "Use NaN for missing values, or another unit")
    values = values[:, None] if values.ndim == 1 else values
    values = values if several else values[None]  # (n, T, C)
    names = named(path, arrays.get("columns"), values.shape[2])
    times = timed(path, arrays.get("times"), values.shape[:2])
    series = {}
    for i, steps in enumerate(values):
        columns = {
            name: (NOTHING, None) if np.isnan(column).all() else (NUMBERS, column)
            for name, column in zip(names, steps.T, strict=True)
        }
        columns |= {} if times is None else {"times": (DATES, times[i])}
        what = f"#values[{i}]" if several else ""
        series[what] = Table(path, columns, len(steps), "values[{}]".format)
    return series


def named(path, names, count):
    """Return the names of columns, numbers by default."""
    if names is None:
        return [str(i) for i in range(count)]
    if names.dtype.kind != "U" or names.shape != (count,) or len({*names, "times"}) <= count:
        raise BadInput(
            path,
            f"array 'columns' of shape {names.shape} and type {names.dtype} is not a list of "
            f"{count} distinct names other than times",
            "numpy.array(['load', 'temperature'])",
        )
    return names.tolist()


def timed(path, times, shape):
    """Return times as (n, T) int64 nanoseconds, or None."""
    if times is None:
        return None
    array = f"array 'times' of shape {times.shape} and type {times.dtype}"
    if times.dtype.kind != "M" and (times.dtype.kind, times.dtype.itemsize) != ("i", 8):
        raise BadInput(path, f"{array} is not of dates", "times.astype('datetime64[ns]')")
    if times.shape not in (shape, shape[1:]):
        raise BadInput(path, f"{array} does not match {shape[1]} steps", "Save one for each step")
    if times.dtype.kind == "M":
        years = times.astype("datetime64[Y]").astype(np.int64) + 1970
        if ((years < YEARS[0]) | (years > YEARS[1])).any():  # NaT is far before
            why = f"{array} has dates that are missing or outside {YEARS[0]} to {YEARS[1]}"
            raise BadInput(path, why, "Correct them")
        times = times.astype("datetime64[ns]")
    return np.broadcast_to(times.astype(np.int64), shape)
