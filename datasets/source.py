"""A source of examples: what every reader and every dataset builder returns.

`Source` is the only interface between `datasets` and the training command: named classes, and for
each split the examples, which are read lazily.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

SPLITS = ("train", "validation", "test")

TARGETS = ("classes", "labels", "values")  # kinds of targets of images

# What the user may specify about own files that no reader can infer: by the name of the hint, the
# `metavar` and the help of the option of the same name. A reader takes those that its layout names.
HINTS = {
    "masks": ("DIR", "the folder of the masks, if several are possible"),
    "mask_suffix": ("TEXT", "the suffix of a mask's name after the image's name: _1stHO"),
    "columns": ("X,Y,Z", "the columns x, y and z of clouds in text files, by name or number"),
    "up": ("AXIS", "the up axis of clouds: y or z (z)"),
    "units": (
        "UNIT",
        "the unit of clouds: m, mm, cm, km, in, ft or us-ft (that of the file, or m)",
    ),
    "target": ("KIND", "how targets of images are read: classes, labels (several) or values"),
}


def flag(hint):
    """Return the option of the command line that gives a hint: "--mask-suffix"."""
    return "--" + hint.replace("_", "-")


class BadInput(ValueError):
    """An input of the user cannot be used: what it is, why, and what to do.

    Args:
        what: the file (or option, or data set) with the fault.
        why: the reason, a sentence without its full stop.
        remedy: what the user can do about it, a sentence without its full stop.
        partial: the example without its faulty part, such as one box of several, which is used
            where bad files may be skipped; None if nothing is left of it.
    """

    def __init__(self, what, why, remedy="", partial=None):
        self.partial = partial
        self.what, self.why, self.remedy = str(what), why, remedy
        sentences = [f"{what}: {why}", *([remedy] if remedy else [])]
        ended = (text if text.endswith(("?", "...")) else f"{text}." for text in sentences)
        super().__init__(printable(" ".join(ended)))


def printable(text: str) -> str:
    """Return a text in which characters that are not printable are escaped.

    File names may contain bytes that are not UTF-8, and control characters of terminals.
    """
    return "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape", "backslashreplace").decode()
        for letter in text
    )


def legible(name):
    """Return a name as valid UTF-8: bytes that are not UTF-8 are written as hex."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclasses.dataclass(frozen=True)
class Example:
    """One example that has not been read yet.

    Attributes:
        name: the file that it comes from (and the part of it, "000001.txt#3"), for messages and
            tables.
        read: function that returns its dictionary of NumPy arrays, or raises `BadInput`. Under
            "notes" it may have a list of sentences on what was decided or left out in this example
            ("rotated by its EXIF orientation"): they are counted and printed before training.
        label: the index of its class, where that is known before it is read; else None.
    """

    name: str
    read: Callable[[], dict]
    label: int | None = None


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one split, in a fixed order: `len(examples)`, `for example in examples`."""

    count: int
    iterate: Callable[[], Iterator[Example]]

    @classmethod
    def of(
        cls,
        items: Sequence,
        read: Callable,
        name: Callable = str,
        label: Callable = lambda item: None,
    ) -> "Examples":
        """Return examples of a sequence: `read(item)` is the dictionary, `name(item)` the name.

        `label(item)` is the index of the class, if that is known without reading.
        """
        return cls(
            len(items),
            lambda: (
                Example(name(item), lambda item=item: read(item), label(item)) for item in items
            ),
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
        splits: any of "train", "validation", "test"; the splits that are missing are made later,
            with a fixed seed.
        info: further facts for the record ("licence", "homepage", "unit" ...); "notes" is a list of
            sentences on what the reader decided or left out, printed before training.
        options: values that suit the data better than a task's defaults, like {"points": 256}.
        constants: what a record stores of targets that are not classes, in its `info`: "target",
            which is "labels" or "values", and of values their names and scales.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    splits: Mapping[str, Examples]
    info: Mapping = dataclasses.field(default_factory=dict)
    options: Mapping = dataclasses.field(default_factory=dict)
    constants: Mapping = dataclasses.field(default_factory=dict)


def fingerprint(paths: Sequence[pathlib.Path], root: pathlib.Path) -> str:
    """Hash names and contents of files: 16 hexadecimal digits, the same on every machine.

    Of a file that cannot be read only the name is hashed: reading its example raises the error.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(paths):
        digest.update(os.fsencode(path.relative_to(root).as_posix()) + b"\0")
        try:
            if path.is_file():  # reading a pipe would never end
                with open(path, "rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError:
            digest.update(b"unreadable")  # its example raises the error
    return digest.hexdigest()
