"""A source of examples: what every reader and every dataset builder turns into.

`Source` is the only thing that travels from `datasets` to the training command: named classes, and
for each split the examples, each read when it is asked for.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

SPLITS = ("train", "validation", "test")

# What a person may say of own files that no reader can know: by the name of the hint, the
# `metavar` and the help of the option of the same name. A reader takes those that its layout names.
HINTS = {
    "masks": ("DIR", "the folder of the masks, where several could be"),
    "mask_suffix": ("TEXT", "what follows the image's name in the mask's: _1stHO"),
    "columns": ("X,Y,Z", "which columns of a cloud in text are x, y and z, by name or number"),
    "up": ("AXIS", "the axis of clouds that points up: y or z (z)"),
    "units": (
        "UNIT",
        "the unit of clouds: m, mm, cm, km, in, ft or us-ft (as the file says, or m)",
    ),
}


def flag(hint):
    """Return the option of the command line that gives a hint: "--mask-suffix"."""
    return "--" + hint.replace("_", "-")


class BadInput(ValueError):
    """Something the person gave cannot be used: names it, says why, and what to do.

    Args:
        what: the file (or option, or dataset) at fault.
        why: the reason, one sentence without its full stop.
        remedy: what the person can do about it, likewise.
        kept: the example without what is at fault in it, a box of several, which is used where bad
            files may be skipped; None if nothing is left of it.
    """

    def __init__(self, what, why, remedy="", kept=None):
        self.kept = kept
        self.what, self.why, self.remedy = str(what), why, remedy
        super().__init__(printable(f"{what}: {why}." + (f" {remedy}." if remedy else "")))


def printable(text: str) -> str:
    """Return a text that any terminal, file and font takes: what is not printable is escaped.

    Names of files may hold bytes that are no UTF-8, and characters that command a terminal.
    """
    return "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape", "backslashreplace").decode()
        for letter in text
    )


def legible(name):
    """Return a name that every text can hold: its bytes that are not UTF-8 are written as hex."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclasses.dataclass(frozen=True)
class Example:
    """One example that has not been read yet.

    Attributes:
        name: the file it comes from (and the part of it, "000001.txt#3"), for messages and tables.
        read: returns its dictionary of NumPy arrays; raises `BadInput` if that is not possible.
            Under "notes" it may hold a list of sentences on what was decided or left out in this
            example ("turned as its EXIF data say"): they are counted and printed before training.
    """

    name: str
    read: Callable[[], dict]


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one split, in a fixed order: `len(examples)`, `for example in examples`."""

    count: int
    iterate: Callable[[], Iterator[Example]]

    @classmethod
    def of(cls, items: Sequence, read: Callable, name: Callable = str) -> "Examples":
        """Make examples of a sequence: `read(item)` gives the dictionary, `name(item)` its name."""
        return cls(
            len(items),
            lambda: (Example(name(item), lambda item=item: read(item)) for item in items),
        )

    def __len__(self):
        return self.count

    def __iter__(self):
        return self.iterate()


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set, not read yet.

    Attributes:
        name: short name, used for the run folder ("lidar_objects", "my_scans").
        fingerprint: 16 hexadecimal digits that change whenever the data do.
        classes: class names, in the order of their indices; empty where the task has none.
        splits: any of "train", "validation", "test"; the splits that are missing are cut later, by
            a seed that depends on nothing but the data.
        info: further facts for the record ("licence", "homepage", "unit" ...); "notes" is a list of
            sentences on what the reader decided or left out, printed before training.
        options: what suits these data better than a task's own defaults, like {"points": 256}.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    splits: Mapping[str, Examples]
    info: Mapping = dataclasses.field(default_factory=dict)
    options: Mapping = dataclasses.field(default_factory=dict)


def fingerprint(paths: Sequence[pathlib.Path], root: pathlib.Path) -> str:
    """Hash names and contents of files: 16 hexadecimal digits, the same on every machine.

    A file that cannot be read counts by its name alone: its example says what is wrong with it.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(paths):
        digest.update(os.fsencode(path.relative_to(root).as_posix()) + b"\0")
        try:
            if path.is_file():  # a pipe would never end
                with open(path, "rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError:
            digest.update(b"unreadable")  # whoever reads it says so
    return digest.hexdigest()
