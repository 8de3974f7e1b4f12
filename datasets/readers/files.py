"""Folders of the user: which files are read, and which split they are in."""

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
CLUTTER = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")  # files of macOS, Windows and a NAS
LINKS = 3  # nested links to folders that are followed
SHOWN = 3  # files that are named in a message
MEMORY = 2**32  # bytes
UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def safe_name(path: pathlib.Path) -> str:
    """Return the name of a source from its file or folder: letters, digits, "_" and "-" only."""
    path = pathlib.Path(path).resolve()
    name = path.name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_-")[:60] or "data"


def walk(root: pathlib.Path) -> list[pathlib.Path]:
    """Return all files below a folder in order, including those of linked folders.

    Hidden files and those of the operating system are skipped, as are pipes, sockets and devices,
    which would never end. A broken link is returned, so that reading it raises an error.

    Raises:
        BadInput: a folder cannot be read.
    """
    files, pending = [], [(os.fspath(root), (), 0)]
    while pending:
        folder, parents, links = pending.pop()
        target = os.path.realpath(folder)
        if target in parents:  # a link back to a folder above would never end
            continue
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise BadInput(folder, f"the folder cannot be read ({error.strerror})") from error
        for entry in entries:
            if clutter(entry.name):
                continue
            depth = links + entry.is_symlink()
            if entry.is_dir():
                if depth <= LINKS:
                    pending.append((entry.path, (*parents, target), depth))
            elif entry.is_file() or not os.path.exists(entry.path):
                files.append(pathlib.Path(entry.path))
    return sorted(files)


def clutter(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or made by a system or an archive."""
    return name.startswith(".") or name.lower() in CLUTTER


def subfolders(root: pathlib.Path) -> list[pathlib.Path]:
    """Return the subfolders of a folder, in order, without hidden ones."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not clutter(p.name))


def split_of(name: str) -> str | None:
    """Return the split that a folder's name stands for, or None."""
    return SPLIT_FOLDERS.get(name.lower())


def one_or_no_split(placed: Sequence[tuple]) -> None:
    """Raise if some of (file, split or None, ...) are in a split but others are not."""
    if len({split is None for _, split, *_ in placed}) > 1:
        stray = next(file for file, split, *_ in placed if split is None)
        raise BadInput(
            stray, "it is in no split while other files are", "Move it into train, val or test"
        )


def divide(
    paths: Sequence[pathlib.Path], extensions: Sequence[str]
) -> tuple[list[pathlib.Path], dict[str, int]]:
    """Return the files with one of the extensions, and counts of the others by extension."""
    matching, ignored = [], Counter()
    for path in paths:
        if path.name.lower().endswith(tuple(extensions)):
            matching.append(path)
        else:
            ignored[path.suffix.lower() or path.name] += 1
    return matching, dict(sorted(ignored.items()))


def budget() -> int:
    """Return the memory limit for reading one file, in bytes: $ZOO_MEMORY ("8G"), else 4 GiB.

    Raises:
        BadInput: the variable has another value.
    """
    text = os.environ.get("ZOO_MEMORY") or str(MEMORY)
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not parts:
        raise BadInput("ZOO_MEMORY", f"{text!r} is not an amount of memory", "Write for example 8G")
    return int(float(parts[1]) * 2 ** UNITS[parts[2].upper()])


def afford(path: pathlib.Path, needed: int, remedy: str = "Split it into parts") -> None:
    """Raise `BadInput` if reading a file needs more memory, in bytes, than `budget`."""
    if needed > budget():
        raise BadInput(
            path,
            f"reading it takes about {needed / 2**30:,.1f} GiB of memory, but the limit is "
            f"{budget() / 2**30:,.1f} GiB",
            f"{remedy}, or raise the limit: ZOO_MEMORY={needed / 2**30 + 1:.0f}G",
        )


def check_regular(path: pathlib.Path) -> None:
    """Raise `BadInput` unless a path is a regular file: no broken link, pipe or device."""
    if os.path.isfile(path):
        return
    if os.path.islink(path) and not os.path.exists(path):
        target = os.readlink(path)
        raise BadInput(path, f"it is a link to {target}, which does not exist", "Remove the link")
    if not os.path.exists(path):
        raise BadInput(path, "it cannot be read (there is no such file)")
    raise BadInput(path, "it cannot be read as a file: it is a folder, pipe or device")


def shown(files: Sequence[pathlib.Path], root: pathlib.Path) -> str:
    """Return the first files as text, by their paths relative to a folder."""
    names = ", ".join(os.path.relpath(file, root).replace(os.sep, "/") for file in files[:SHOWN])
    return names + (" ..." if len(files) > SHOWN else "")


def read_bytes(path: pathlib.Path) -> bytes:
    """Read a file, and decompress it if it is compressed by gzip (.gz).

    Raises:
        BadInput: it is missing, empty, larger than `budget`, a folder, a pipe, corrupt, or cannot
            be read.
    """
    check_regular(path)
    try:
        afford(path, os.path.getsize(path))
        raw = pathlib.Path(path).read_bytes()
        if raw and pathlib.Path(path).suffix.lower() == ".gz":
            raw = decompressed(path, raw)
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror})") from error
    if not raw:
        raise BadInput(path, "the file is empty", "Remove it or copy it again")
    return raw


def decompressed(path, raw):
    """Decompress a .gz file, up to the limit of `budget`."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            content = file.read(budget() + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(path, f"it is a corrupt .gz file ({error})", "Copy it again") from error
    afford(path, len(content))
    return content
