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
import zipfile
import zlib

import keras
import numpy as np
from keras import ops

from zoo.inference import predictors
from zoo.nn import layers
from zoo.system import disk
from zoo.training import schedule
from zoo.weights import records, saving


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
    def named(cls, folder, record, began):
        """Make a folder of a chosen name; `FileExistsError` if there is one."""
        folder = pathlib.Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        return cls(folder, record, began)

    @classmethod
    def opened(cls, folder, record, began):
        """Go on in a folder, counting its seconds."""
        disk.lock(folder)
        earlier = records.read_run(folder, needed=("seconds",))
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
        half.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


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
        best: the logged value that picks the best epoch, and "max" or "min". Epochs without it,
            or where it is no number, are picked by the loss of the validation split, as there is
            no average precision of images without objects.
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
        """Set a compiled model to where the run stopped; return how many epochs are done.

        Raises:
            ValueError: if the file of the state is damaged.
        """
        if not self.state.exists():
            return 0
        model.optimizer.build(student(model).trainable_variables)
        try:
            with np.load(self.state) as state:
                history = json.loads(str(state["history"]))
                for i, variable in enumerate(self._variables(model)):
                    variable.assign(state[f"v{i}"])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            why = f"it is damaged ({type(error).__name__}), so the run cannot go on"
            remedy = "Train again; model.keras beside it is the best epoch so far"
            raise records.trouble(self.state, why, remedy) from error
        self.history = history
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
        grades = [self._grade(epoch) for epoch in range(self.epochs)]
        return max(range(self.epochs), key=lambda epoch: (grades[epoch], epoch), default=-1) + 1

    def _grade(self, epoch):
        """Return what epochs are compared by, numbers of which more is better."""
        value, loss = (
            self.history[name][epoch] if name in self.history else math.nan
            for name in (self.monitor, "val_loss")
        )
        if math.isfinite(value):
            return 1, self.sign * value
        return 0, -loss if math.isfinite(loss) else -math.inf

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
        done = self.epochs
        for name in {**self.history, **logs}:  # a column has a row for each epoch, whatever lacks
            values = self.history.setdefault(name, [math.nan] * done)
            values.append(float(logs.get(name, math.nan)))
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
            open(half, "w", newline="", encoding="utf-8") as file,
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
        size: batch size.
    """

    def __init__(self, task, info, arrays, size):
        super().__init__()
        self.task, self.info, self.arrays, self.size = task, info, arrays, size

    def on_epoch_end(self, epoch, logs=None):
        """Predict the split and score it."""
        parts = predictors.parts(student(self.model), self.arrays, self.size)
        scores, _ = self.task.results.score(self.task.results.summary(parts, self.info), self.info)
        logs.update({f"val_{k}": v for k, v in scores.items() if isinstance(v, float)})


def scored(task, record, splits, size):
    """Return `Scored` in a list, if the task picks its best epoch by what no metric tells."""
    metrics = ["loss", *(metric.name for metric in task.training.metrics(record["info"]))]
    if task.training.best[0].removeprefix("val_") in metrics:
        return []
    return [Scored(task, record["info"], splits["validation"], size)]


class Remaining(keras.callbacks.Callback):
    """Prints, once some steps show how fast they are, about how long the training will take.

    Nothing if it is less than a minute. The first step is not counted: it compiles.
    """

    WATCHED = 3.0  # seconds of steps

    def on_train_begin(self, logs=None):
        """Begin to count."""
        self.seen, self.printed = 0, False

    def on_epoch_begin(self, epoch, logs=None):
        """Note how many epochs are left with this one."""
        self.epochs = self.params["epochs"] - epoch

    def on_train_batch_end(self, batch, logs=None):
        """Note the time, and print when enough of it has passed."""
        now, self.seen = time.time(), self.seen + 1
        if self.seen == 1:
            self.first = now
        elif now - self.first >= self.WATCHED and not self.printed:
            self.printed = True
            seconds = (now - self.first) / (self.seen - 1)
            left = seconds * (self.epochs * self.params["steps"] - batch - 1)
            if left >= 60:
                text = schedule.duration(left)
                print(f"\nAbout {text} of training left: {seconds:.2g} s a step", flush=True)


class Interruptible(keras.callbacks.Callback):
    """Ends `fit` by a KeyboardInterrupt between two steps, where nothing swallows it.

    Args:
        interrupt: the `zoo.system.terminal.Interrupt` that knows of Ctrl-C.
    """

    def __init__(self, interrupt):
        super().__init__()
        self.interrupt = interrupt

    def on_train_batch_end(self, batch, logs=None):
        """Look after a step of the training."""
        self.interrupt.check()

    def on_test_batch_end(self, batch, logs=None):
        """Look after a step of the validation."""
        self.interrupt.check()


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
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
