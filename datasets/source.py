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


class BadInput(ValueError):
    """Something the person gave cannot be used: names it, says why, and what to do.

    Args:
        what: the file (or option, or dataset) at fault.
        why: the reason, one sentence without its full stop.
        remedy: what the person can do about it, likewise.
    """

    def __init__(self, what, why, remedy=""):
        self.what, self.why, self.remedy = str(what), why, remedy
        super().__init__(f"{what}: {why}." + (f" {remedy}." if remedy else ""))


def legible(name):
    """Return a name that every text can hold: its bytes that are not UTF-8 are written as hex."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclasses.dataclass(frozen=True)
class Example:
    """One example that has not been read yet.

    Attributes:
        name: the file it comes from (and the part of it, "000001.txt#3"), for messages and tables.
        read: returns its dictionary of NumPy arrays; raises `BadInput` if that is not possible.
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
        info: further facts for the record ("licence", "homepage", "unit" ...).
        options: what suits these data better than a task's own defaults, like {"points": 256}.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    splits: Mapping[str, Examples]
    info: Mapping = dataclasses.field(default_factory=dict)
    options: Mapping = dataclasses.field(default_factory=dict)


def fingerprint(paths: Sequence[pathlib.Path], root: pathlib.Path) -> str:
    """Hash names and contents of files: 16 hexadecimal digits, the same on every machine."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(paths):
        digest.update(os.fsencode(path.relative_to(root).as_posix()) + b"\0")
        try:
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError:
            digest.update(b"unreadable")  # whoever reads it says so
    return digest.hexdigest()
