"""The .ts files of the UCR and UEA archives: a line a series, and the class that it is of.

Löning et al., 2019, https://arxiv.org/abs/1909.07872; the format is that of the archive at
https://www.timeseriesclassification.com: a header of @ lines, then dimensions parted by colons,
values by commas, "?" for one that is missing, and the class at the end.
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from datasets.readers.files import read_bytes
from datasets.readers.series.sequences import singles
from datasets.source import BadInput

FLAGS = ("@timestamps", "@missing", "@univariate", "@equallength")  # true or false
NUMBERS = ("@dimensions", "@dimension", "@serieslength")
CLASSES = ("@classlabel", "@targetlabel")  # the latter is a number to predict
TAGS = ("@problemname", *FLAGS, *NUMBERS, *CLASSES)
BINARY = re.compile("[\x00-\x08\x0e-\x1f]")


@dataclasses.dataclass(frozen=True)
class Problem:
    """A file, its series not parsed yet.

    Attributes:
        path: the file.
        classes: names as declared; None if its series have no class.
        dimensions: F, as declared or as of the first series.
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
            BadInput: a word is no number, or its size is not what is declared.
        """
        number, line = self.lines[i]
        cells = line.split(":")
        cells = cells if self.classes is None else cells[:-1]
        if len(cells) != self.dimensions:
            why = f"line {number} has {len(cells)} dimensions, not {self.dimensions}"
            remedy = "Repair the line: colons part dimensions and class"
            raise BadInput(self.path, why, remedy)
        found = [numbers(self.path, number, cell) for cell in cells]
        for dimension, values in enumerate(found, 1):
            if len(values) != (self.length or len(found[0])):
                why = f"line {number} has {len(values)} values in dimension {dimension}, not "
                raise BadInput(
                    self.path,
                    f"{why}{self.length or len(found[0])}",
                    "Repair the line, or declare @equalLength false"
                    if self.length
                    else 'Write "?" where a value is missing',
                )
        return singles(f"{self.path}: line {number}", np.stack(found, axis=1))

    def label(self, i: int) -> str:
        """Return the name of the class of a series.

        Raises:
            BadInput: it is not declared.
        """
        number, line = self.lines[i]
        name = line.rpartition(":")[2].strip()
        if name not in self.classes:
            declared = ", ".join(self.classes)[:200]
            why = f"line {number} is of class {name[:40]!r}, and @classLabel declares {declared}"
            raise BadInput(self.path, why, "Correct the line, or declare the class")
        return name


def numbers(path, number, cell):
    """Return the values of one dimension as float64."""
    try:
        if "_" in cell:  # Python's own numbers may have it
            raise ValueError
        found = np.array(cell.replace("?", "nan").split(","), np.float64)
        if not np.isinf(found).any():
            return found
    except ValueError:
        pass
    word = next((word.strip() for word in cell.split(",") if not finite(word)), cell)
    why = f"line {number}: {word[:40]!r} is no number" if word else f"line {number}: a value lacks"
    raise BadInput(path, why, 'Correct the line; "?" is a value that is missing')


def finite(word):
    """Tell whether a word is a number or "?"."""
    try:
        return "_" not in word and not np.isinf(float(word.replace("?", "nan")))
    except ValueError:
        return False


def parse(path: pathlib.Path) -> Problem:
    """Read the header of a file and part its lines.

    Raises:
        BadInput: the header is incomplete or wrong, declares times, or no series follows.
    """
    raw = read_bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # comments, whose letters do not matter
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
        name, said = tag.lower(), f"line {number}: {line[:60]!r}"
        if name not in TAGS:
            known = "@problemName, @timeStamps, @missing, @univariate, @dimensions, @equalLength, "
            remedy = f"Known are {known}@seriesLength, @classLabel and, before the series, @data"
            raise BadInput(path, f"{said} is no line of a header", remedy)
        if name in FLAGS + CLASSES and (not words or words[0].lower() not in ("true", "false")):
            raise BadInput(path, f"{said} says neither true nor false", "Correct it")
        if name in NUMBERS and not (len(words) == 1 and re.fullmatch(r"[1-9]\d{0,8}", words[0])):
            raise BadInput(path, f"{said} is no number from 1", "Correct it")
        if name in FLAGS:
            tags[name] = words[0].lower() == "true"
        else:
            tags[name] = int(words[0]) if name in NUMBERS else words
    if tags.get("@timestamps"):
        remedy = 'Write values alone at equal steps, "?" where one is missing: @timeStamps false'
        raise BadInput(path, "its values have times, which are not read", remedy)
    return tags


def read_classes(path, tags):
    """Return the names of the declared classes, None if there are no classes."""
    if tags.get("@targetlabel", ["false"])[0].lower() == "true":
        why = "it has numbers to predict (@targetLabel), not classes"
        raise BadInput(path, why, "Give data with @classLabel true and names")
    if "@classlabel" not in tags:
        raise BadInput(path, "it has no line @classLabel", "Write: @classLabel true and names")
    flag, *names = tags["@classlabel"]
    if flag.lower() == "false":
        return None
    if len(names) < 2 or len(set(names)) < len(names):
        why = f"@classLabel declares {', '.join(names)[:200] or 'none'}, not two classes or more"
        raise BadInput(path, why, "Write: @classLabel true and different names")
    return tuple(names)
