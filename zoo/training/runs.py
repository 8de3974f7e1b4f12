"""Run folders: the files of a training, and the checkpoint to resume it after a crash."""

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
    distributions = importlib.metadata.distributions()
    installed = {item.metadata["Name"]: item.version for item in distributions}
    versions = {name: installed[name] for name in packages if name in installed}
    machine = f"{_processor()}, {os.cpu_count()} cores"
    return {
        "versions": {"python": platform.python_version(), **versions},
        "backend": keras.backend.backend(),
        "machine": machine,
    }


class Recorder(keras.callbacks.Callback):
    """Updates a run folder while `fit` runs: best model, history, and checkpoint.

    The checkpoint after an epoch is one file that is replaced atomically, so the process may be
    killed at any time. Random numbers depend only on (seed, epoch), so the state of random
    generators need not be saved.

    Args:
        folder: the run folder.
        record: written into the model file with the weights.
        best: the logged value that selects the best epoch, and "max" or "min". Epochs where it
            is missing or not finite are compared by validation loss, since images without objects
            have no average precision.
        seed: an integer.
        batches: the training batches, which are given the epoch.
        cycle: number of epochs between snapshots of the model; 0 for no snapshots.
    """

    def __init__(self, folder, record, best, seed, batches, cycle=0):
        super().__init__()
        self.folder, self.record, self.seed, self.batches = folder, record, seed, batches
        self.cycle = cycle
        self.monitor, mode = best
        self.sign = 1 if mode == "max" else -1
        self.history = {}

    def restore(self, model):
        """Restore a compiled model from the checkpoint; return the number of finished epochs.

        Its optimizer is built in any case: TensorFlow traces a step twice that creates variables.

        Raises:
            ValueError: if the checkpoint is damaged.
        """
        model.optimizer.build(student(model).trainable_variables)
        if not self.state.exists():
            return 0
        try:
            with np.load(self.state) as state:
                history = json.loads(str(state["history"]))
                for i, variable in enumerate(self._variables(model)):
                    variable.assign(state[f"v{i}"])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            why = f"it is damaged ({type(error).__name__}), so the run cannot be resumed"
            remedy = "Train again; model.keras in the same folder is the best epoch so far"
            raise records.trouble(self.state, why, remedy) from error
        self.history = history
        self._write_history()
        return self.epochs

    @property
    def state(self):
        """Path of the checkpoint."""
        return self.folder / "state.npz"

    @property
    def epochs(self):
        """Number of finished epochs."""
        return len(self.history.get("loss", ()))

    @property
    def best_epoch(self):
        """Number of the best epoch, from 1, the last one if tied; 0 if none is finished."""
        scores = [self._score(epoch) for epoch in range(self.epochs)]
        return max(range(self.epochs), key=lambda epoch: (scores[epoch], epoch), default=-1) + 1

    def _score(self, epoch):
        """Return the score that epochs are compared by, higher is better."""
        value, loss = (
            self.history[name][epoch] if name in self.history else math.nan
            for name in (self.monitor, "val_loss")
        )
        if math.isfinite(value):
            return 1, self.sign * value
        return 0, -loss if math.isfinite(loss) else -math.inf

    @property
    def snapshots(self):
        """File names of the snapshots, one per finished cycle."""
        count = self.epochs // self.cycle if self.cycle else 0
        return [f"snapshot-{i}.keras" for i in range(1, count + 1)]

    def on_epoch_begin(self, epoch, logs=None):
        """Seed the random generators of the epoch."""
        self.batches.start(epoch)
        layers.reseed(student(self.model), (self.seed, epoch))

    def on_epoch_end(self, epoch, logs=None):
        """Save the epoch, if its loss is finite."""
        if not math.isfinite(logs["loss"]):
            return
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        count = self.epochs
        for name in {**self.history, **logs}:  # missing values are NaN
            values = self.history.setdefault(name, [math.nan] * count)
            values.append(float(logs.get(name, math.nan)))
        if self.best_epoch == self.epochs:
            saving.save(student(self.model), self.folder / "model.keras", self.record)
        if self.cycle and self.epochs % self.cycle == 0:  # before the checkpoint
            saving.save(student(self.model), self.folder / self.snapshots[-1], self.record)
        self._write_state()
        self._write_history()

    def _variables(self, model):
        return [*student(model).variables, *model.optimizer.variables]

    def _write_history(self):
        with (
            disk.whole(self.folder / "history.csv") as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["epoch", *self.history])
            writer.writerows(zip(range(1, self.epochs + 1), *self.history.values(), strict=True))
            file.flush()

    def _write_state(self):
        arrays = {f"v{i}": np.asarray(v) for i, v in enumerate(self._variables(self.model))}
        with disk.whole(self.state) as temporary:
            np.savez(temporary, history=json.dumps(self.history), **arrays)


def student(model):
    """Return the model that is trained: the student of a distiller, or the model itself."""
    return getattr(model, "student", model)


class Scored(keras.callbacks.Callback):
    """Adds the task's scores on the validation split to the logs of each epoch.

    For scores that cannot be accumulated batch by batch, such as average precision.

    Args:
        task: the task.
        info: constants of the data for the task's functions.
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
    """Return `Scored` in a list if the task selects its best epoch by a score without a metric."""
    metrics = ["loss", *(metric.name for metric in task.training.metrics(record["info"]))]
    if task.training.best[0].removeprefix("val_") in metrics:
        return []
    return [Scored(task, record["info"], splits["validation"], size)]


class Remaining(keras.callbacks.Callback):
    """Prints an estimate of the training time after some steps.

    Nothing is printed below one minute. The first step, which compiles, is not counted.
    """

    MEASURED = 3.0  # seconds of steps

    def on_train_begin(self, logs=None):
        """Start counting."""
        self.seen, self.printed = 0, False

    def on_epoch_begin(self, epoch, logs=None):
        """Store the number of remaining epochs, including this one."""
        self.epochs = self.params["epochs"] - epoch

    def on_train_batch_end(self, batch, logs=None):
        """Measure the time, and print the estimate after enough steps."""
        now, self.seen = time.time(), self.seen + 1
        if self.seen == 1:
            self.first = now
        elif now - self.first >= self.MEASURED and not self.printed:
            self.printed = True
            seconds = (now - self.first) / (self.seen - 1)
            left = seconds * (self.epochs * self.params["steps"] - batch - 1)
            if left >= 60:
                text = schedule.duration(left)
                print(f"\nAbout {text} of training left: {seconds:.2g} s a step", flush=True)


class Interruptible(keras.callbacks.Callback):
    """Stops `fit` by a KeyboardInterrupt between two steps.

    Args:
        interrupt: the `zoo.system.terminal.Interrupt` that handles Ctrl-C.
    """

    def __init__(self, interrupt):
        super().__init__()
        self.interrupt = interrupt

    def on_train_batch_end(self, batch, logs=None):
        """Check after a training step."""
        self.interrupt.check()

    def on_test_batch_end(self, batch, logs=None):
        """Check after a validation step."""
        self.interrupt.check()


class CosineCycles(keras.optimizers.schedules.LearningRateSchedule):
    """Cosine annealing from a learning rate to 0, with a restart after every cycle.

    Huang et al. 2017, https://arxiv.org/abs/1704.00109, Eq. 2. Keras' CosineDecayRestarts, once
    compiled, misses the first step of some cycles, because it rounds a quotient.

    Args:
        rate: learning rate at the first step of every cycle.
        steps: number of steps per cycle.
    """

    def __init__(self, rate, steps):
        super().__init__()
        self.rate, self.steps = rate, steps

    def __call__(self, step):
        """Return the learning rate of a step, an integer from 0."""
        position = ops.cast(ops.mod(step, self.steps), "float32")
        return self.rate / 2 * (1 + ops.cos(math.pi / self.steps * position))

    def get_config(self):
        """Return the arguments."""
        return {"rate": self.rate, "steps": self.steps}


def tensorboard(folder):
    """Return the TensorBoard callback in a list, if TensorFlow is installed."""
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
