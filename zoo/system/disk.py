"""Files: atomic writes, one process per run folder, and errors in one sentence."""

import contextlib
import errno
import json
import os
import pathlib
import socket

try:
    import fcntl
except ImportError:  # Windows: no locks
    fcntl = None

LOCK = ".lock"
WRITABLE = "Choose a folder with write permission: --out for runs, ZOO_CACHE for the cache"
REMEDIES = {
    errno.ENOSPC: "Free some space on that disk, and run the same command again",
    errno.EDQUOT: "Free some space in your quota, and run the same command again",
    errno.EFBIG: "Raise the file size limit (ulimit -f)",
    errno.EACCES: WRITABLE,
    errno.EPERM: WRITABLE,
    errno.EROFS: WRITABLE,
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ENOTDIR: "The path is a file, and a folder is needed: choose another path",
    errno.EEXIST: "The path is a file, and a folder is needed: choose another path",
    errno.EISDIR: "The path is a folder, and a file is needed: choose another path",
    errno.ENOENT: "Check the path; it may have been removed meanwhile",
    errno.EWOULDBLOCK: "Wait for it, or stop it",
}

_locks = {}  # file descriptors of the locks of this process, by path


def sentence(error):
    """Return the message for an `OSError`: path, reason and remedy in one line."""
    where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
    reason = (error.strerror or str(error) or type(error).__name__).splitlines()[0]
    return f"{where}{reason}. {REMEDIES.get(error.errno, 'Check the path and the disk')}"


@contextlib.contextmanager
def whole(path):
    """Yield a temporary path to write to, which is renamed to `path` after a successful write.

    No reader sees a partly written file, and after an error the temporary file is removed.

    Raises:
        OSError: if it cannot be written; `filename` is the path.
    """
    path = pathlib.Path(path)
    writer = f"{socket.gethostname()}-{os.getpid()}"
    temporary = path.with_name(f".{path.stem}.{writer}.half{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):
            raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def lock(folder):
    """Lock a folder against other processes until `unlock`, or the end of this process.

    Raises:
        BlockingIOError: if another process holds the lock; the message has its ID and host.
    """
    path = pathlib.Path(folder).absolute() / LOCK
    while fcntl and str(path) not in _locks:
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(file)
            os.close(file)
            why = f"{holder} is using it"
            raise BlockingIOError(errno.EWOULDBLOCK, why, str(folder)) from error
        except OSError:  # a file system without locks
            os.close(file)
            return
        if not path.exists() or not os.path.samestat(os.fstat(file), os.stat(path)):
            os.close(file)  # another process unlocked and removed it meanwhile
            continue
        os.truncate(file, 0)
        text = json.dumps({"process": os.getpid(), "host": socket.gethostname()})
        os.pwrite(file, text.encode(), 0)
        _locks[str(path)] = file


def unlock(folder):
    """Release the lock on a folder, if this process holds it."""
    path = pathlib.Path(folder).absolute() / LOCK
    file = _locks.pop(str(path), None)
    if file is not None:
        path.unlink(missing_ok=True)
        os.close(file)


def _holder(file):
    """Return which process holds a lock, as recorded in its file."""
    try:
        owner = json.loads(os.pread(file, 1000, 0))
        return f"process {owner['process']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def unfinished(path):
    """Return a sentence if a model's file belongs to a run that is not finished, else ""."""
    path = pathlib.Path(path)
    try:
        run = json.loads((path.parent / "run.json").read_text("utf-8"))
        status = run.get("status", "finished")
    except (OSError, ValueError, AttributeError):
        return ""
    if status == "finished":
        return ""
    return f"{path.parent} is not finished ({status}): {path.name} is the best model so far"
