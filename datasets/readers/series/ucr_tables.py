"""The text files of the UCR archive: a series per row, with its class first.

Dau et al., 2019, https://arxiv.org/abs/1810.07758: NAME_TRAIN.tsv and NAME_TEST.tsv, separated by
tabs; older copies are .txt separated by spaces, or .csv. Shorter series end in NaN.
"""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from datasets.readers.files import read_bytes, split_of
from datasets.source import BadInput

EXTENSIONS = (".tsv", ".txt", ".csv")
SEPARATOR = re.compile(r"[\s,;]+")
SAMPLE = 256  # rows that are inspected to distinguish such a file from a table
REMEDY = "Correct the line: first the class, an integer, then the values"


def labelled(path: pathlib.Path) -> bool:
    """Return whether a file is of the archive: by its name, its numbers, and repeated classes.

    The first column of a table could be a row number, but that would increase.
    """
    base, _, ending = path.stem.rpartition("_")
    known = path.suffix.lower() in EXTENSIONS and base and split_of(ending)
    if not known or not path.is_file():
        return False
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [cells(line) for line in itertools.islice(file, SAMPLE) if line.strip()]
    except (OSError, UnicodeDecodeError):
        return False
    labels = [line[0] for line in lines]
    return (
        len(lines) > 1
        and min(map(len, lines)) > 3
        and all(map(names_class, labels))
        and len({*labels}) < len(labels)
        and all(map(numeric, lines[0] + lines[-1]))
    )


def cells(line):
    """Return the words of a line."""
    return SEPARATOR.split(line.strip(" \t\r\n,;"))


def numeric(word):
    """Return whether a word is a number or NaN."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def names_class(word):
    """Return whether a word is an integer, as classes are: 1, -1 or 1.0000000e+01."""
    return numeric(word) and abs(float(word)) < 1e6 and float(word).is_integer()


@dataclasses.dataclass(frozen=True)
class TableProblem:
    """A file whose series are not parsed yet; like `datasets.readers.series.ts.Problem`.

    Attributes:
        path: the file.
        classes: the labels in its rows, in order.
        dimensions: 1.
        lines: (number of the line, its words) of each series.
    """

    path: pathlib.Path
    classes: tuple[str, ...]
    lines: Sequence[tuple[int, Sequence[str]]]
    dimensions: int = 1

    def series(self, i: int) -> np.ndarray:
        """Parse a series, (T, 1) float32, without the NaN at its end.

        Raises:
            BadInput: a word is not a finite number, or all are NaN.
        """
        number, words = self.lines[i]
        try:
            with np.errstate(over="ignore"):
                values = np.array(words[1:], np.float64).astype(np.float32)
        except ValueError as error:
            word = next(word for word in words[1:] if not numeric(word))
            why = f"line {number}: {word[:40]!r} is not a number"
            raise BadInput(self.path, why, REMEDY) from error
        known = np.flatnonzero(~np.isnan(values))
        if not len(known) or np.isinf(values).any():
            why = f"line {number} has no number, or one that is too large for float32"
            raise BadInput(self.path, why, REMEDY)
        return values[: known[-1] + 1, None]

    def label(self, i: int) -> str:
        """Return the name of the class of a series."""
        return name(self.lines[i][1][0])


def name(word):
    """Return the class of a word: "1.0000000e+00" is "1"."""
    return str(int(float(word)))


def parse(path: pathlib.Path) -> TableProblem:
    """Read a file and split it into lines.

    Raises:
        BadInput: it is not text, or a row does not begin with a class.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, "it is not a text file", "Copy it again") from error
    lines = []
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        if line.strip():
            words = cells(line)
            if len(words) < 2 or not names_class(words[0]):
                why = f"line {number} begins with {words[0][:40]!r}, which is not a class"
                raise BadInput(path, why, REMEDY)
            lines.append((number, words))
    labels = {name(words[0]) for _, words in lines}
    return TableProblem(path, tuple(sorted(labels, key=int)), lines)
