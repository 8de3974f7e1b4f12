"""Folders as their owners keep them: which files count, and which split they are in."""

import gzip
import io
import os
import pathlib
import re
import zlib
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
CLUTTER = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")  # of macOS, Windows and a NAS
LINKS = 3  # links to folders, one inside another, that are followed
MEMORY = 2**32  # bytes
UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def safe_name(path: pathlib.Path) -> str:
    """Name a source after its file or folder: letters, digits, "_" and "-" only."""
    path = pathlib.Path(path).resolve()
    name = path.name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_-")[:60] or "data"


def walk(root: pathlib.Path) -> list[pathlib.Path]:
    """List all files below a folder in order, those of links to folders included.

    What is hidden or an operating system's own is skipped, and so are pipes, sockets and devices,
    which would never end. A link to nothing is listed, so that whoever reads it names it.

    Raises:
        BadInput: a folder may not be read.
    """
    found, pending = [], [(os.fspath(root), (), 0)]
    while pending:
        folder, above, links = pending.pop()
        real = os.path.realpath(folder)
        if real in above:  # a link back to a folder above would never end
            continue
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise BadInput(folder, f"the folder cannot be read ({error.strerror})") from error
        for entry in entries:
            if clutter(entry.name):
                continue
            through = links + entry.is_symlink()
            if entry.is_dir():
                if through <= LINKS:
                    pending.append((entry.path, (*above, real), through))
            elif entry.is_file() or not os.path.exists(entry.path):
                found.append(pathlib.Path(entry.path))
    return sorted(found)


def clutter(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden, or put there by a system or archive."""
    return name.startswith(".") or name.lower() in CLUTTER


def subfolders(root: pathlib.Path) -> list[pathlib.Path]:
    """List the folders directly below one, in order, hidden ones skipped."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not clutter(p.name))


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
        if path.name.lower().endswith(tuple(extensions)):
            wanted.append(path)
        else:
            ignored[path.suffix.lower() or path.name] += 1
    return wanted, dict(sorted(ignored.items()))


def budget() -> int:
    """Return how much memory reading one file may take, bytes: $ZOO_MEMORY ("8G"), else 4 GiB.

    Raises:
        BadInput: the variable holds something else.
    """
    text = os.environ.get("ZOO_MEMORY") or str(MEMORY)
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not parts:
        raise BadInput("ZOO_MEMORY", f"{text!r} is no amount of memory", "Write for example 8G")
    return int(float(parts[1]) * 2 ** UNITS[parts[2].upper()])


def afford(path: pathlib.Path, needed: int, remedy: str = "Cut it into parts") -> None:
    """Raise `BadInput` if reading a file needs more memory, bytes, than `budget`."""
    if needed > budget():
        raise BadInput(
            path,
            f"reading it takes about {needed / 2**30:,.1f} GiB of memory, and at most "
            f"{budget() / 2**30:,.1f} GiB may be used",
            f"{remedy}, or allow more: ZOO_MEMORY={needed / 2**30 + 1:.0f}G",
        )


def check_regular(path: pathlib.Path) -> None:
    """Raise `BadInput` unless a path is a file that ends: no link to nothing, pipe or device."""
    if os.path.isfile(path):
        return
    if os.path.islink(path) and not os.path.exists(path):
        target = os.readlink(path)
        raise BadInput(path, f"it is a link to {target}, which does not exist", "Remove the link")
    if not os.path.exists(path):
        raise BadInput(path, "it cannot be read (there is no such file)")
    raise BadInput(path, "it cannot be read as a file: it is a folder, pipe or device")


def read_bytes(path: pathlib.Path) -> bytes:
    """Read a whole file, and unpack it if it is compressed by gzip (.gz).

    Raises:
        BadInput: it is missing, empty, larger than `budget`, a folder, a pipe, damaged, or may not
            be read.
    """
    check_regular(path)
    try:
        afford(path, os.path.getsize(path))
        raw = pathlib.Path(path).read_bytes()
        if raw and pathlib.Path(path).suffix.lower() == ".gz":
            raw = unpacked(path, raw)
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror})") from error
    if not raw:
        raise BadInput(path, "the file is empty", "Remove it or copy it again")
    return raw


def unpacked(path, raw):
    """Undo the compression of a .gz file, as long as the content is within `budget`."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            content = file.read(budget() + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(path, f"it is no sound .gz file ({error})", "Copy it again") from error
    afford(path, len(content))
    return content
