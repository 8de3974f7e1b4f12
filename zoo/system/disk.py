"""Files: written whole or not at all, one process to a run folder, and errors in one sentence."""

import contextlib
import errno
import json
import os
import pathlib
import socket

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None

LOCK = ".lock"
WRITABLE = "Choose a folder that you may write to: --out for runs, ZOO_CACHE for the cache"
REMEDIES = {
    errno.ENOSPC: "Make room on that disk, and give the same command again",
    errno.EDQUOT: "Make room in your quota, and give the same command again",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f)",
    errno.EACCES: WRITABLE,
    errno.EPERM: WRITABLE,
    errno.EROFS: WRITABLE,
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ENOTDIR: "A file is where a folder is needed: choose another path",
    errno.EEXIST: "A file is where a folder is needed: choose another path",
    errno.EISDIR: "A folder is where a file is needed: choose another path",
    errno.ENOENT: "Check the path; something may have been removed meanwhile",
    errno.EWOULDBLOCK: "Wait for it, or stop it",
}

_held = {}  # file descriptors of this process' locks, by path


def sentence(error):
    """Return what an `OSError` means: the path, the reason and the remedy, in one line."""
    where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
    reason = (error.strerror or str(error) or type(error).__name__).splitlines()[0]
    return f"{where}{reason}. {REMEDIES.get(error.errno, 'Check the path and the disk')}"


@contextlib.contextmanager
def whole(path):
    """Give a hidden path to write to; it becomes `path` when all of it is on the disk.

    Nobody sees half a file, and after an error nothing of it is left.

    Raises:
        OSError: if it cannot be written; `filename` is the path.
    """
    path = pathlib.Path(path)
    half = path.with_name(f".{path.stem}.{socket.gethostname()}-{os.getpid()}.half{path.suffix}")
    try:
        yield half
        with open(half, "rb") as file:
            os.fsync(file.fileno())
        os.replace(half, path)
    except OSError as error:
        if error.filename in (None, str(half), half):
            raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
        raise
    finally:
        half.unlink(missing_ok=True)


def lock(folder):
    """Keep other processes from working on a folder until `unlock`, or the end of this process.

    Raises:
        BlockingIOError: if another process does; its number and machine are named.
    """
    path = pathlib.Path(folder).absolute() / LOCK
    while fcntl and str(path) not in _held:
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(file)
            os.close(file)
            why = f"{holder} works on it"
            raise BlockingIOError(errno.EWOULDBLOCK, why, str(folder)) from error
        except OSError:  # a file system without locks
            os.close(file)
            return
        if not path.exists() or not os.path.samestat(os.fstat(file), os.stat(path)):
            os.close(file)  # it was unlocked and removed meanwhile
            continue
        os.truncate(file, 0)
        text = json.dumps({"process": os.getpid(), "host": socket.gethostname()})
        os.pwrite(file, text.encode(), 0)
        _held[str(path)] = file


def unlock(folder):
    """Let others work on a folder again, if it was locked by this process."""
    path = pathlib.Path(folder).absolute() / LOCK
    file = _held.pop(str(path), None)
    if file is not None:
        path.unlink(missing_ok=True)
        os.close(file)


def _holder(file):
    """Return which process holds a lock, as far as its file tells."""
    try:
        facts = json.loads(os.pread(file, 1000, 0))
        return f"process {facts['process']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def unfinished(path):
    """Return a sentence if a model's file is of a run that did not end well, else ""."""
    path = pathlib.Path(path)
    try:
        run = json.loads((path.parent / "run.json").read_text("utf-8"))
        status = run.get("status", "finished")
    except (OSError, ValueError, AttributeError):
        return ""
    if status == "finished":
        return ""
    return f"{path.parent} is not finished ({status}): {path.name} is the best model so far"
