"""Training runs that a command needs: reused if finished, resumed, or started."""

import pathlib
import shlex
import subprocess
import sys

import zoo
from zoo.system import terminal
from zoo.weights import records

print = terminal.say  # escapes control characters in file and class names
PROGRAM = pathlib.Path(zoo.__file__).resolve().parent.parent / "train.py"


def train(words, out, fingerprint=None):
    """Train with train.py, unless a finished run exists; return the run folder.

    Args:
        words: command line arguments of train.py, `--out` included.
        out: folder that is searched for existing run folders.
        fingerprint: of the data; runs on other data are ignored. None accepts any data.

    Raises:
        ValueError: if the training fails.
    """
    command = shlex.join(["python", "train.py", *words])
    folder = latest(command, out, fingerprint)
    if folder is None or status(folder) != "finished":
        arguments = words if folder is None else ["--resume", str(folder)]
        process = subprocess.run([sys.executable, str(PROGRAM), *arguments])
        folder = latest(command, out, fingerprint)
        if process.returncode == 130:
            raise KeyboardInterrupt
        if process.returncode or folder is None:
            raise ValueError(
                f"{command}: training failed, see above. Fix the error and run this again"
            )
    return folder


def latest(command, out, fingerprint):
    """Return a command's run folder, finished ones first, then the newest; or None."""
    candidates = []
    for path in pathlib.Path(out).glob(f"*/{records.RUN}"):
        try:
            run = records.read_run(path.parent, needed=("status",))
        except ValueError as error:  # another run's record is corrupt
            print(f"skipped: {error}", file=sys.stderr)
            continue
        same_data = fingerprint in (None, run.get("data", {}).get("fingerprint"))
        if run.get("settings", {}).get("command") == command and same_data:
            candidates.append((run["status"] == "finished", path.stat().st_mtime, path.parent))
    return max(candidates)[2] if candidates else None


def status(folder):
    """Return the status of a run."""
    return records.read_run(folder, needed=("status",))["status"]
