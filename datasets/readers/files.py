"""Folders as their owners keep them: which files count, and which split they are in."""

import os
import pathlib
import re
from collections import Counter
from collections.abc import Sequence

from datasets.source import BadInput

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def safe_name(path: pathlib.Path) -> str:
    """Name a source after its file or folder: letters, digits, "_" and "-" only."""
    path = pathlib.Path(path).resolve()
    name = path.name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_-")[:60] or "data"


def walk(root: pathlib.Path) -> list[pathlib.Path]:
    """List all files below a folder in order; hidden ones are skipped, links followed once."""
    found, seen = [], set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back to a folder above would never end
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [pathlib.Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def subfolders(root: pathlib.Path) -> list[pathlib.Path]:
    """List the folders directly below one, in order, hidden ones skipped."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def split_of(name: str) -> str | None:
    """Return the split that a folder's name stands for, None if it is none."""
    return SPLIT_FOLDERS.get(name.lower())


def one_or_no_split(placed: Sequence[tuple]) -> None:
    """Raise if some of (file, split or None, ...) are in a split and others are not."""
    if len({split is None for _, split, *_ in placed}) > 1:
        stray = next(file for file, split, *_ in placed if split is None)
        raise BadInput(
            stray, "it is in no split while other files are", "Move it into train, val or test"
        )


def divide(
    paths: Sequence[pathlib.Path], extensions: Sequence[str]
) -> tuple[list[pathlib.Path], dict[str, int]]:
    """Part files into those with one of the extensions and a count of the others by extension."""
    wanted, ignored = [], Counter()
    for path in paths:
        if path.suffix.lower() in extensions:
            wanted.append(path)
        else:
            ignored[path.suffix.lower() or path.name] += 1
    return wanted, dict(sorted(ignored.items()))


def read_bytes(path: pathlib.Path) -> bytes:
    """Read a whole file.

    Raises:
        BadInput: it is missing, empty, a folder, or may not be read.
    """
    try:
        raw = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror})") from error
    if not raw:
        raise BadInput(path, "the file is empty", "Remove it or copy it again")
    return raw
