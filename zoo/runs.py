"""Run folders: what a training leaves behind, and the state that lets it go on after a crash."""

import csv
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import pathlib
import platform
import time

import keras
import numpy as np
from keras import ops

from zoo import disk, inference, layers, saving


class Run:
    """A run folder and its run.json, which is written whole at every change.

    One process works on a folder at a time: `BlockingIOError` for a second one.

    Attributes:
        folder: its path.
        record: what run.json says.
    """

    def __init__(self, folder, record, began, seconds=0.0):
        self.folder, self.record = pathlib.Path(folder), {"status": "running", **record}
        self.start = began - seconds
        disk.lock(self.folder)
        for left in (*self.folder.glob(".*.half*"), *self.folder.glob(".*.plain.keras")):
            left.unlink(missing_ok=True)  # of a process that was killed
        self.note()

    @classmethod
    def created(cls, parent, name, record, began):
        """Make the first of parent/name-1, -2, ... that does not exist yet."""
        parent = pathlib.Path(parent)
        parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            try:
                (parent / f"{name}-{number}").mkdir()
            except FileExistsError:
                continue
            return cls(parent / f"{name}-{number}", record, began)

    @classmethod
    def opened(cls, folder, record, began):
        """Go on in a folder, counting its seconds."""
        disk.lock(folder)
        earlier = json.loads((pathlib.Path(folder) / "run.json").read_text())
        return cls(folder, record, began, earlier["seconds"])

    def note(self, **changes):
        """Change the record and write it."""
        self.record.update(changes, seconds=round(time.time() - self.start, 1))
        plain = {key: value for key, value in self.record.items() if key != "examples"}
        write_json(self.folder / "run.json", plain)  # those are in model.keras, and no use to read
        if self.record["status"] != "running":
            disk.unlock(self.folder)


def write_json(path, value):
    """Write JSON so that a reader finds the old file or the new one, never half of it."""
    with disk.whole(path) as half:
        half.write_text(json.dumps(value, indent=1) + "\n")


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
    found = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()}
    versions = {name: found[name] for name in packages if name in found}
    machine = f"{_processor()}, {os.cpu_count()} cores"
    return {
        "versions": {"python": platform.python_version(), **versions},
        "backend": keras.backend.backend(),
        "machine": machine,
    }


class Recorder(keras.callbacks.Callback):
    """Keeps a run folder true while `fit` runs: best model, history, and the state to go on from.

    The state of the whole training after an epoch is one file that is replaced in one step, so a
    process may be killed at any moment. Random draws depend on (seed, epoch) alone, which is why
    no generator's state has to be kept.

    Args:
        folder: the run folder.
        record: what is written into the model file beside the weights.
        best: the logged value that picks the best epoch, and "max" or "min".
        seed: an integer.
        batches: the training batches, told which epoch it is.
        cycle: after how many epochs, again and again, the model is kept as a snapshot; 0: never.
    """

    def __init__(self, folder, record, best, seed, batches, cycle=0):
        super().__init__()
        self.folder, self.record, self.seed, self.batches = folder, record, seed, batches
        self.cycle = cycle
        self.monitor, mode = best
        self.sign = 1 if mode == "max" else -1
        self.history = {}

    def restore(self, model):
        """Set a compiled model to where the run stopped; return how many epochs are done."""
        if not self.state.exists():
            return 0
        model.optimizer.build(student(model).trainable_variables)
        with np.load(self.state) as state:
            self.history = json.loads(str(state["history"]))
            for i, variable in enumerate(self._variables(model)):
                variable.assign(state[f"v{i}"])
        self._write_history()
        return self.epochs

    @property
    def state(self):
        """Path of the state file."""
        return self.folder / "state.npz"

    @property
    def epochs(self):
        """How many epochs are done."""
        return len(self.history.get("loss", ()))

    @property
    def best_epoch(self):
        """Number of the best epoch, from 1, the last one of equals; 0 if none is done."""
        values = [self.sign * value for value in self.history.get(self.monitor, ())]
        return len(values) - int(np.argmax(values[::-1])) if values else 0

    @property
    def snapshots(self):
        """Names of the files of the snapshots, one for each cycle that is done."""
        count = self.epochs // self.cycle if self.cycle else 0
        return [f"snapshot-{i}.keras" for i in range(1, count + 1)]

    def on_epoch_begin(self, epoch, logs=None):
        """Draw what this epoch draws, whatever was drawn before."""
        self.batches.start(epoch)
        layers.reseed(student(self.model), (self.seed, epoch))

    def on_epoch_end(self, epoch, logs=None):
        """Keep the epoch, if its numbers are numbers."""
        if not math.isfinite(logs["loss"]):
            return
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        if self.best_epoch == self.epochs:
            saving.save(student(self.model), self.folder / "model.keras", self.record)
        if self.cycle and self.epochs % self.cycle == 0:  # before the state says that it is done
            saving.save(student(self.model), self.folder / self.snapshots[-1], self.record)
        self._write_state()
        self._write_history()

    def _variables(self, model):
        return [*student(model).variables, *model.optimizer.variables]

    def _write_history(self):
        with (
            disk.whole(self.folder / "history.csv") as half,
            open(half, "w", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["epoch", *self.history])
            writer.writerows(zip(range(1, self.epochs + 1), *self.history.values(), strict=True))
            file.flush()

    def _write_state(self):
        arrays = {f"v{i}": np.asarray(v) for i, v in enumerate(self._variables(self.model))}
        with disk.whole(self.state) as half:
            np.savez(half, history=json.dumps(self.history), **arrays)


def student(model):
    """Return the model that learns: what a distiller teaches, or the model itself."""
    return getattr(model, "student", model)


class Scored(keras.callbacks.Callback):
    """Adds the task's scores of the validation split to what is logged of each epoch.

    For scores that no metric adds up batch by batch, such as average precision.

    Args:
        task: the task record.
        info: what the task's functions need to know.
        arrays: the validation split, `datasets.splits.Arrays`.
        size: examples a step.
    """

    def __init__(self, task, info, arrays, size):
        super().__init__()
        self.task, self.info, self.arrays, self.size = task, info, arrays, size

    def on_epoch_end(self, epoch, logs=None):
        """Predict the split and score it."""
        x, y = self.arrays.take()
        outputs = inference.predict(student(self.model), x, self.size)
        scores = self.task.score(y, outputs, self.info)[0]
        logs.update({f"val_{k}": v for k, v in scores.items() if isinstance(v, float)})


def scored(task, record, splits, size):
    """Return `Scored` in a list, if the task picks its best epoch by what no metric tells."""
    metrics = ["loss", *(metric.name for metric in task.metrics(record["info"]))]
    if task.best[0].removeprefix("val_") in metrics:
        return []
    return [Scored(task, record["info"], splits["validation"], size)]


class CosineCycles(keras.optimizers.schedules.LearningRateSchedule):
    """Falls from a rate to 0 by half a cosine, and starts again, after every so many steps.

    Huang et al. 2017, https://arxiv.org/abs/1704.00109, Eq. 2. Keras' CosineDecayRestarts, once
    compiled, misses the first step of some cycles: it finds it by a quotient that is rounded.

    Args:
        rate: at the first step of every cycle.
        steps: of a cycle.
    """

    def __init__(self, rate, steps):
        super().__init__()
        self.rate, self.steps = rate, steps

    def __call__(self, step):
        """Return the rate of a step, an integer from 0."""
        place = ops.cast(ops.mod(step, self.steps), "float32")
        return self.rate / 2 * (1 + ops.cos(math.pi / self.steps * place))

    def get_config(self):
        """Return the arguments."""
        return {"rate": self.rate, "steps": self.steps}


def tensorboard(folder):
    """Return the TensorBoard callback in a list, if TensorFlow is there to write its files."""
    if importlib.util.find_spec("tensorflow") is None:
        return []
    return [keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False)]


def _processor():
    """Return the processor's name."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
