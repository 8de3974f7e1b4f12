"""Callbacks of `fit` besides the recorder: scores, Ctrl-C, time that is left, early stopping."""

import importlib.util
import time

import keras

from zoo.inference import predictors
from zoo.training import length
from zoo.training.recorder import student


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


def scored(task, record, validation):
    """Return `Scored` in a list if the task selects its best epoch by a score without a metric.

    Args:
        task: the task record.
        record: of the run.
        validation: the validation batches, `datasets.pipeline.Batches`.
    """
    metrics = ["loss", *(metric.name for metric in task.training.metrics(record["info"]))]
    if task.training.best[0].removeprefix("val_") in metrics:
        return []
    return [Scored(task, record["info"], validation.arrays, validation.size)]


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
                text = length.duration(left)
                print(f"\nAbout {text} of training left: {seconds:.2g} s a step", flush=True)


class EarlyStopping(keras.callbacks.Callback):
    """Stops after some epochs without a better score; as Keras', but the same after a resumption.

    Args:
        recorder: the `zoo.training.recorder.Recorder` of the scores, which is called before.
        patience: number of epochs.
        start: number of the epoch, from 0, from which scores count.
    """

    def __init__(self, recorder, patience, start=0):
        super().__init__()
        self.recorder, self.patience, self.start = recorder, patience, start

    @property
    def due(self):
        """Whether the last epochs had no better score."""
        scores = self.recorder.scores[self.start :]
        return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= self.patience

    def on_epoch_end(self, epoch, logs=None):
        """Stop if it is due."""
        self.model.stop_training |= self.due


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


class Board(keras.callbacks.TensorBoard):
    """TensorBoard with the settings of the training as a table, under Text.

    Args:
        folder: where to write.
        settings: of the command, with the recipe.
    """

    def __init__(self, folder, settings):
        super().__init__(folder, write_graph=False)
        pairs = {**settings, **settings["recipe"]}
        rows = [f"| {name} | {value} |" for name, value in pairs.items() if name != "recipe"]
        self.table = "\n".join(["| setting | value |", "|---|---|", *rows])

    def on_train_begin(self, logs=None):
        """Write the table."""
        super().on_train_begin(logs)
        with self.summary.create_file_writer(str(self.log_dir) + "/train").as_default():
            self.summary.text("settings", self.table, step=0)


def tensorboard(folder, settings):
    """Return the TensorBoard callback in a list, if TensorFlow is installed."""
    if importlib.util.find_spec("tensorflow") is None:
        return []
    return [Board(folder / "tensorboard", settings)]
