"""The recorder of a training: best model, history, and the checkpoint to resume after a crash."""

import contextlib
import csv
import json
import math
import zipfile
import zlib

import keras
import numpy as np

from zoo.nn import layers
from zoo.system import disk
from zoo.weights import records, saving


def student(model):
    """Return the model that is trained: the student of a distiller, or the model itself."""
    return getattr(model, "student", model)


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
        averaging: of weights, see `zoo.training.optimization`, whose averages are saved; or None.
        exported: function from the fitted model to the one that is saved.
        first: number of the epoch, from 0, before which a model is saved only until there is a
            later one: its weights are not pruned or averaged yet.
    """

    def __init__(
        self,
        folder,
        record,
        best,
        seed,
        batches,
        cycle=0,
        averaging=None,
        exported=student,
        first=0,
    ):
        super().__init__()
        self.folder, self.record, self.seed, self.batches = folder, record, seed, batches
        self.cycle, self.averaging, self.exported = cycle, averaging, exported
        self.first = first
        self.monitor, mode = best
        self.sign = 1 if mode == "max" else -1
        self.history = {}

    def finished(self):
        """Read the history of the checkpoint, if there is one; return the number of epochs."""
        if self.state.exists():
            with self._checkpoint() as state:
                self.history = json.loads(str(state["history"]))
            self._write_history()
        return self.epochs

    def restore(self, model, start=0):
        """Restore a compiled model from the checkpoint, if there is one.

        Args:
            model: the `keras.Model` that is fitted, whose optimizer is built.
            start: number of the epoch, from 0, for which it was compiled anew, with an optimizer
                that has no past.

        Raises:
            ValueError: if the checkpoint is damaged.
        """
        if not self.state.exists():
            return
        with self._checkpoint() as state:
            network = student(model).variables
            goes_on = self.epochs > start
            for i, variable in enumerate(self._variables(model) if goes_on else network):
                variable.assign(state[f"v{i}"])
            if self.averaging and goes_on:
                self.averaging.load({name[1:]: state[name] for name in state if name[0] == "a"})

    @contextlib.contextmanager
    def _checkpoint(self):
        """Open the checkpoint, a mapping from names to arrays."""
        try:
            with np.load(self.state) as state:
                yield state
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            why = f"it is damaged ({type(error).__name__}), so the run cannot be resumed"
            remedy = "Train again; model.keras in the same folder is the best epoch so far"
            raise records.trouble(self.state, why, remedy) from error

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
        scores = self.scores
        return max(range(self.epochs), key=lambda epoch: (scores[epoch], epoch), default=-1) + 1

    @property
    def scores(self):
        """What the finished epochs are compared by, higher is better."""
        return [(epoch >= self.first, *self._score(epoch)) for epoch in range(self.epochs)]

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
            self._save("model.keras")
        if self.cycle and self.epochs % self.cycle == 0:  # before the checkpoint
            self._save(self.snapshots[-1])
        if self.averaging:
            self.averaging.restore()
        self._write_state()
        self._write_history()

    def _save(self, name):
        """Write the model, with averaged weights if there are any, into the run folder."""
        saving.save(self.exported(self.model), self.folder / name, self.record)

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
        if self.averaging:
            arrays |= {f"a{name}": value for name, value in self.averaging.state().items()}
        with disk.whole(self.state) as temporary:
            np.savez(temporary, history=json.dumps(self.history), **arrays)
