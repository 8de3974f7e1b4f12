"""Run folders: run.json, and that only one process uses a folder."""

import contextlib
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import time

import keras

from zoo.system import disk, precision
from zoo.weights import provenance, records


class Run:
    """A run folder and its run.json, which is rewritten atomically at every change.

    Only one process can use a folder: a second one raises `BlockingIOError`.

    Attributes:
        folder: path of the folder.
        record: contents of run.json.
    """

    def __init__(self, folder, record, began, seconds=0.0):
        self.folder, self.record = pathlib.Path(folder), {"status": "running", **record}
        self.start = began - seconds
        disk.lock(self.folder)
        for path in (*self.folder.glob(".*.half*"), *self.folder.glob(".*.plain.keras")):
            path.unlink(missing_ok=True)  # temporary files of a killed process
        self.note()

    @classmethod
    def created(cls, parent, name, record, began):
        """Create the first of parent/name-1, -2, ... that does not exist."""
        parent = pathlib.Path(parent)
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            try:
                (parent / f"{name}-{number}").mkdir()
            except FileExistsError:
                continue
            return cls(parent / f"{name}-{number}", record, began)

    @classmethod
    def named(cls, folder, record, began):
        """Create a folder of a given name; `FileExistsError` if it exists."""
        folder = pathlib.Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        return cls(folder, record, began)

    @classmethod
    def opened(cls, folder, record, began):
        """Resume in a folder, adding its previous seconds."""
        disk.lock(folder)
        earlier = records.read_run(folder, needed=("seconds",))
        return cls(folder, record, began, earlier["seconds"])

    def note(self, **changes):
        """Change the record and write it."""
        self.record.update(changes, seconds=round(time.time() - self.start, 1))
        record = {key: value for key, value in self.record.items() if key != "examples"}
        write_json(self.folder / "run.json", record)  # the examples are in model.keras
        if self.record["status"] != "running":
            disk.unlock(self.folder)


def record(settings, task, data, messages=()):
    """Return the record of a run, to which the training adds what it finds.

    Args:
        settings: of the command.
        task: the task record.
        data: a `datasets.prepared.Prepared`.
        messages: sentences on the data.
    """
    return {
        "model": settings["model"],
        "task": task.name,
        "task_options": data.options,
        "info": data.info,
        "data": data.about,
        **({"notes": messages} if messages else {}),
        "examples": provenance.encode(data.examples),
        "seed": settings["seed"],
        "settings": settings,
        **environment(),
    }


def write_json(path, value):
    """Write JSON atomically."""
    with disk.whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def environment():
    """Return the versions and the machine that a result depends on."""
    packages = (
        "keras",
        "tensorflow",
        "jax",
        "torch",
        "numpy",
        "onnxruntime",
        "open3d-cpu",
        "open3d",
    )
    versions = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    machine = [_gpu(), _processor(), f"{os.cpu_count()} cores"]
    return {
        "versions": {"python": platform.python_version(), **versions},
        "backend": keras.backend.backend(),
        "machine": ", ".join(filter(None, machine)),
    }


def _gpu():
    """Return the name of the GPU that Keras uses, "" if it uses none."""
    try:
        used = keras.distribution.list_devices("gpu")
    except (AttributeError, RuntimeError):  # of Keras on PyTorch; of JAX without a GPU
        return ""
    return precision.gpu_property("name") if used else ""


def _processor():
    """Return the processor's name."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
