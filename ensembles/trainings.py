"""Trainings that a command needs: reused if finished, resumed, or started."""

import pathlib
import shlex
import subprocess
import sys

import zoo
from zoo.system import terminal
from zoo.weights import records

print = terminal.say  # names of files and classes command no terminal
PROGRAM = pathlib.Path(zoo.__file__).resolve().parent.parent / "train.py"


def train(words, out, fingerprint=None):
    """Train by train.py, unless that has been done; return the run folder.

    Args:
        words: of the command line, `--out` included.
        out: the folder of run folders that is searched.
        fingerprint: of the data, if a run on others does not count.

    Raises:
        ValueError: if the training fails.
    """
    command = shlex.join(["python", "train.py", *words])
    folder = latest(command, out, fingerprint)
    if folder is None or status(folder) != "finished":
        how = words if folder is None else ["--resume", str(folder)]
        done = subprocess.run([sys.executable, str(PROGRAM), *how])
        folder = latest(command, out, fingerprint)
        if done.returncode == 130:
            raise KeyboardInterrupt
        if done.returncode or folder is None:
            raise ValueError(f"{command}: it failed, see above. Mend that and run this again")
    return folder


def latest(command, out, fingerprint):
    """Return the run folder of a command that came furthest, the newest of equals; or None."""
    found = []
    for path in pathlib.Path(out).glob(f"*/{records.RUN}"):
        try:
            run = records.read_run(path.parent, needed=("status",))
        except ValueError as error:  # of another training, which must not stop this one
            print(f"passed over: {error}", file=sys.stderr)
            continue
        same = fingerprint in (None, run.get("data", {}).get("fingerprint"))
        if run.get("settings", {}).get("command") == command and same:
            found.append((run["status"] == "finished", path.stat().st_mtime, path.parent))
    return max(found)[2] if found else None


def status(folder):
    """Return the status of a run."""
    return records.read_run(folder, needed=("status",))["status"]
