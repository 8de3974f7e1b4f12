"""The .ts files of the UCR and UEA archives: a line per series, with its class.

Löning et al., 2019, https://arxiv.org/abs/1909.07872; the format is that of the archive at
https://www.timeseriesclassification.com: a header of @ lines, then dimensions separated by
colons, values by commas, "?" for a missing value, and the class at the end.
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from datasets.readers.files import read_bytes
from datasets.readers.series.sequences import to_float32
from datasets.source import BadInput

FLAGS = ("@timestamps", "@missing", "@univariate", "@equallength")  # true or false
NUMBERS = ("@dimensions", "@dimension", "@serieslength")
CLASSES = ("@classlabel", "@targetlabel")  # the latter declares a regression target
TAGS = ("@problemname", *FLAGS, *NUMBERS, *CLASSES)
BINARY = re.compile("[\x00-\x08\x0e-\x1f]")


@dataclasses.dataclass(frozen=True)
class Problem:
    """A file whose series are not parsed yet.

    Attributes:
        path: the file.
        classes: names as declared; None if its series have no class.
        dimensions: F, as declared, or of the first series.
        length: T of every series; None if it may differ.
        lines: (number of the line, its text) of each series.
    """

    path: pathlib.Path
    classes: tuple[str, ...] | None
    dimensions: int
    length: int | None
    lines: Sequence[tuple[int, str]]

    def series(self, i: int) -> np.ndarray:
        """Parse a series, (T, F) float32.

        Raises:
            BadInput: a word is not a number, or the size is not the declared one.
        """
        number, line = self.lines[i]
        cells = line.split(":")
        cells = cells if self.classes is None else cells[:-1]
        if len(cells) != self.dimensions:
            why = f"line {number} has {len(cells)} dimensions, not {self.dimensions}"
            remedy = "Fix the line: colons separate dimensions and class"
            raise BadInput(self.path, why, remedy)
        columns = [numbers(self.path, number, cell) for cell in cells]
        for dimension, values in enumerate(columns, 1):
            if len(values) != (self.length or len(columns[0])):
                why = f"line {number} has {len(values)} values in dimension {dimension}, not "
                raise BadInput(
                    self.path,
                    f"{why}{self.length or len(columns[0])}",
                    "Fix the line, or declare @equalLength false"
                    if self.length
                    else 'Write "?" where a value is missing',
                )
        return to_float32(f"{self.path}: line {number}", np.stack(columns, axis=1))

    def label(self, i: int) -> str:
        """Return the name of the class of a series.

        Raises:
            BadInput: it is not declared.
        """
        number, line = self.lines[i]
        name = line.rpartition(":")[2].strip()
        if name not in self.classes:
            declared = ", ".join(self.classes)[:200]
            why = f"line {number} is of class {name[:40]!r}, but @classLabel declares {declared}"
            raise BadInput(self.path, why, "Correct the line, or declare the class")
        return name


def numbers(path, number, cell):
    """Return the values of one dimension as float64."""
    try:
        if "_" in cell:  # Python's own numbers may have it
            raise ValueError
        values = np.array(cell.replace("?", "nan").split(","), np.float64)
        if not np.isinf(values).any():
            return values
    except ValueError:
        pass
    word = next((word.strip() for word in cell.split(",") if not finite(word)), cell)
    why = (
        f"line {number}: {word[:40]!r} is not a number"
        if word
        else f"line {number}: a value is missing"
    )
    raise BadInput(path, why, 'Correct the line; "?" is a missing value')


def finite(word):
    """Return whether a word is a number or "?"."""
    try:
        return "_" not in word and not np.isinf(float(word.replace("?", "nan")))
    except ValueError:
        return False


def parse(path: pathlib.Path) -> Problem:
    """Read the header of a file and split it into lines.

    Raises:
        BadInput: the header is incomplete or wrong, declares times, or no series follows.
    """
    raw = read_bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # in comments, whose encoding does not matter
        text = raw.decode("latin-1")
    if BINARY.search(text):
        raise BadInput(path, "it is not a text file", "Copy it again")
    lines = [
        (number, line.strip())
        for number, line in enumerate(re.split("\r\n|\r|\n", text), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    start = next((i for i, (_, line) in enumerate(lines) if line.lower() == "@data"), None)
    if start is None:
        raise BadInput(path, "it has no line @data", "Copy it again, or write it before the series")
    tags = read_tags(path, lines[:start])
    lines = lines[start + 1 :]
    if not lines:
        raise BadInput(path, "no series follows @data", "Copy it again")
    classes = read_classes(path, tags)
    cells = lines[0][1].split(":")
    cells = cells if classes is None else cells[:-1]
    dimensions = tags.get("@dimensions", tags.get("@dimension"))
    if tags.get("@univariate"):
        dimensions = dimensions or 1
    length = None
    if tags.get("@equallength"):
        length = tags.get("@serieslength") or (cells[0].count(",") + 1 if cells else None)
    return Problem(path, classes, dimensions or max(1, len(cells)), length, lines)


def read_tags(path, lines):
    """Return the header, {tag in lower case: bool, int or words}."""
    tags = {}
    for number, line in lines:
        tag, *words = line.split()
        name, where = tag.lower(), f"line {number}: {line[:60]!r}"
        if name not in TAGS:
            known = "@problemName, @timeStamps, @missing, @univariate, @dimensions, @equalLength, "
            remedy = f"Known are {known}@seriesLength, @classLabel and, before the series, @data"
            raise BadInput(path, f"{where} is not a header line", remedy)
        if name in FLAGS + CLASSES and (not words or words[0].lower() not in ("true", "false")):
            raise BadInput(path, f"{where} is neither true nor false", "Correct it")
        if name in NUMBERS and not (len(words) == 1 and re.fullmatch(r"[1-9]\d{0,8}", words[0])):
            raise BadInput(path, f"{where} is not a positive integer", "Correct it")
        if name in FLAGS:
            tags[name] = words[0].lower() == "true"
        else:
            tags[name] = int(words[0]) if name in NUMBERS else words
    if tags.get("@timestamps"):
        remedy = 'Write only values, at equal steps, "?" where one is missing: @timeStamps false'
        raise BadInput(path, "its values have times, which are not supported", remedy)
    return tags


def read_classes(path, tags):
    """Return the names of the declared classes, None if there are no classes."""
    if tags.get("@targetlabel", ["false"])[0].lower() == "true":
        why = "it has regression targets (@targetLabel), not classes"
        raise BadInput(path, why, "Give data with @classLabel true and names")
    if "@classlabel" not in tags:
        raise BadInput(path, "it has no line @classLabel", "Write: @classLabel true and names")
    flag, *names = tags["@classlabel"]
    if flag.lower() == "false":
        return None
    if len(names) < 2 or len(set(names)) < len(names):
        why = f"@classLabel declares {', '.join(names)[:200] or 'none'}, not at least two classes"
        raise BadInput(path, why, "Write: @classLabel true and distinct names")
    return tuple(names)
