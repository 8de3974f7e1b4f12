"""Cached folders: written once, atomically, and verified by checksums when they are read.

A folder is written under a hidden name and renamed when every byte is on the disk. Sizes and
checksums are stored beside the files, and a folder that does not match them is written again.
Incomplete folders of killed processes are removed by the next process that writes one.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import sys
import tempfile
import time
import zlib

SUMS = "sums.json"
IN_MEMORY = 2**29  # bytes of the largest file that is checked completely
BLOCK, BLOCKS = 2**16, 64  # bytes of the checked parts of larger files, and how many
OLD = 2 * 24 * 3600  # seconds after which an incomplete folder of another machine is removed
TRIES = 3
NAME = 100  # bytes of a name that are used, so that the names derived from it are short enough


def short(name):
    """Return a name, or its beginning, that is at most `NAME` bytes long and has no separator."""
    name = name.replace("/", "_").replace("\0", "_")
    return os.fsencode(name)[:NAME].decode("utf-8", "replace").replace("\ufffd", "_")


def cached(folder, write, read):
    """Read a cached folder, after writing it if it is missing or corrupt.

    Several processes may call this at once, and the folder may be removed at any time.

    Args:
        folder: its path.
        write: function of a path that writes all files below it.
        read: function of the path; its result is returned.
    """
    for left in reversed(range(TRIES)):
        if folder.exists() and not intact(folder):
            print(f"{folder} is corrupt: it is written again", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            make(folder, write)
        try:
            return read(folder)
        except FileNotFoundError:  # removed between the two
            if not left:
                raise


def make(folder, write):
    """Write a folder atomically: it is not visible before it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    prefix = f".{folder.name}-{socket.gethostname()}-{os.getpid()}-"
    work = pathlib.Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix))
    try:
        write(work)
        seal(work)
        try:
            work.rename(folder)
        except OSError:
            if not folder.exists():  # another process was faster, and wrote the same
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def seal(folder):
    """Write sizes and checksums of all files, and wait until everything is on the disk."""
    sums = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sums[path.relative_to(folder).as_posix()] = [path.stat().st_size, checksum(path)]
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    with open(folder / SUMS, "w", encoding="utf-8") as file:
        json.dump(sums, file)
        file.flush()
        os.fsync(file.fileno())


def intact(folder):
    """Return whether all files of a folder exist and have their sizes and checksums."""
    try:
        sums = json.loads((folder / SUMS).read_text("utf-8"))
        return all(
            (folder / name).stat().st_size == size and checksum(folder / name) == number
            for name, (size, number) in sums.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def checksum(path):
    """Return the CRC-32 of a file, or of evenly spaced parts of a large one."""
    size, number = path.stat().st_size, 0
    with open(path, "rb") as file:
        if size <= IN_MEMORY:
            while data := file.read(BLOCK):
                number = zlib.crc32(data, number)
            return number
        for i in range(BLOCKS):
            file.seek((size - BLOCK) * i // (BLOCKS - 1))
            number = zlib.crc32(file.read(BLOCK), number)
    return number


def sweep(parent):
    """Remove the incomplete folders of processes that have ended."""
    pattern = re.compile(rf"\..+-{re.escape(socket.gethostname())}-(\d+)-[^-]+")
    for path in parent.glob(".*"):
        here = pattern.fullmatch(path.name)
        try:
            gone = not alive(int(here[1])) if here else time.time() - path.stat().st_mtime > OLD
        except OSError:
            continue
        if gone and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def alive(process):
    """Return whether a process of this machine is running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
