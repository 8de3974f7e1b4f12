"""Numbers written as text: .xyz, .txt and .csv files, and the bodies of ASCII .ply and .pcd."""

import pathlib
import re
import warnings
from collections.abc import Sequence

import numpy as np

from datasets.readers.files import read_bytes
from datasets.source import BadInput

LABEL_NAMES = ("label", "labels", "class", "classification", "semantic")


def read_table(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read points a line: x y z and more columns, parted by blanks, commas or semicolons.

    A first line of column names is optional; with it the columns x, y and z may stand anywhere, and
    one named label, class or classification gives the labels.

    Returns:
        Coordinates (n, 3) float64, and labels (n,) or None.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, "it is not a text file", "Save the points as x y z lines") from error
    lines = [line for line in text.replace(";", ",").splitlines() if line.strip()]
    names = column_names(lines[0]) if lines else None
    comment = re.compile(r"\s*(#|//)")
    lines = [line for line in lines[names is not None :] if not comment.match(line)]
    table = numbers(path, lines, "," if lines and "," in lines[0] else None)
    if table.shape[1] < 3:
        raise BadInput(
            path,
            f"a line holds {table.shape[1]} numbers, not x y z",
            "Save at least three columns a point",
        )
    names = names if names and len(names) == table.shape[1] else []
    columns = [names.index(axis) if {"x", "y", "z"} <= set(names) else i
               for i, axis in enumerate("xyz")]  # fmt: skip
    label = label_name(names)
    return table[:, columns], None if label is None else table[:, names.index(label)]


def column_names(line: str) -> list[str] | None:
    """Return the lower-case names of a header line, None if the line holds numbers."""
    words = [word for word in re.split(r"[\s,#/]+", line.strip().lower()) if word]
    try:
        float(words[0] if words else "0")
    except ValueError:
        return words
    return None


def label_name(names: Sequence[str]) -> str | None:
    """Find the column that holds a label a point ("scalar_Label" is how CloudCompare writes it)."""
    for name in names:
        if name.lower().removeprefix("scalar_") in LABEL_NAMES:
            return name
    return None


def numbers(path: pathlib.Path, lines: Sequence[str], separator: str | None = None) -> np.ndarray:
    """Parse lines of equally many numbers into an array (lines, columns) of float64.

    Raises:
        BadInput: a word is not a number, or lines differ in length.
    """
    if not lines:
        return np.empty((0, 3))
    try:
        with warnings.catch_warnings(action="error"):
            return np.loadtxt(lines, np.float64, delimiter=separator, ndmin=2)
    except (ValueError, UserWarning) as error:
        why = str(error).split(";")[0].rstrip(".")
        raise BadInput(
            path, f"it is no table of numbers: {why}", "Repair the line or copy the file again"
        ) from error
