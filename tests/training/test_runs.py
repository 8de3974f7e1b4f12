"""Run folders: the best epoch, messages during training, and interruption."""

import math
import os
import signal

import keras
import numpy as np
import pytest

import train
from zoo.system import terminal
from zoo.training import callbacks, runs
from zoo.training.recorder import Recorder


def recorder(tmp_path, best=("val_map50", "max"), **history):
    """Return a recorder with a history."""
    callback = Recorder(tmp_path, {}, best, 0, None)
    callback.history = {"loss": [1.0] * len(next(iter(history.values()))), **history}
    return callback


NAN = math.nan


@pytest.mark.parametrize(
    ("history", "epoch"),
    [
        ({"val_map50": [0.1, 0.3, 0.3, 0.2]}, 3),
        ({"val_loss": [3.0, 1.0, 2.0]}, 2),  # no score at all
        ({"val_map50": [NAN, NAN, NAN], "val_loss": [3.0, 2.0, 2.0]}, 3),
        ({"val_map50": [NAN, 0.0, NAN], "val_loss": [1.0, 2.0, 0.5]}, 2),
        ({"val_map50": [NAN, NAN], "val_loss": [NAN, NAN]}, 2),
        ({"accuracy": [0.5, 0.6]}, 2),
        ({"loss": []}, 0),
    ],
)
def test_the_best_epoch_is_picked_by_the_loss_where_there_is_no_score(tmp_path, history, epoch):
    assert recorder(tmp_path, **history).best_epoch == epoch
    if "val_map50" in history:
        history = {"val_mae": [-value for value in history["val_map50"]], **history}
        assert recorder(tmp_path, ("val_mae", "min"), **history).best_epoch == epoch


def network():
    """Return a compiled model of one weight, and its batches."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model, np.zeros((12, 1), np.float32)


def test_a_model_is_kept_although_no_score_picks_its_epoch(tmp_path):
    model, x = network()

    class Batches:
        def start(self, epoch):
            pass

    callback = Recorder(tmp_path, {}, ("val_map50", "max"), 0, Batches())
    model.fit(x, x, 4, epochs=2, callbacks=[callback], verbose=0)
    assert callback.best_epoch == 2 and (tmp_path / "model.keras").exists()
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert len(rows) == 3


class Swallowing(keras.callbacks.Callback):
    """Sends the signal of Ctrl-C in a step, and loses the exception like TensorFlow's C++."""

    def on_train_batch_begin(self, batch, logs=None):
        """Send it once."""
        self.steps = batch + 1
        if batch == 1:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                pass


@pytest.fixture
def interrupt():
    """Reset the handling of Ctrl-C in this process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with terminal.Interrupt() as made:
        yield made
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_step_stops_after_it(interrupt, capfd):
    (model, x), swallowing = network(), Swallowing()
    with pytest.raises(KeyboardInterrupt), interrupt.steps():
        called = [swallowing, callbacks.Interruptible(interrupt)]
        model.fit(x, x, 2, epochs=3, callbacks=called, verbose=0)
    assert swallowing.steps == 2 and not interrupt.deferred
    assert "again" in capfd.readouterr().err


def test_ctrl_c_between_steps_is_not_lost(interrupt):
    with pytest.raises(KeyboardInterrupt), interrupt.steps():
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupt.check()


def test_ctrl_c_outside_of_steps_is_an_exception_at_once(interrupt):
    interrupt.check()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupt.steps():  # if the first was swallowed
        raise AssertionError


def test_second_ctrl_c_stops_at_once(interrupt, monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    interrupt.deferred = True
    signal.raise_signal(signal.SIGINT)
    assert not left
    signal.raise_signal(signal.SIGINT)
    assert left == [130]


def test_ctrl_c_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with terminal.Interrupt() as made:
        signal.raise_signal(signal.SIGINT)
    assert not made.pressed and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, before)


def test_time_left_is_told_once_some_steps_are_done(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(callbacks.time, "time", lambda: clock[0])
    for seconds, expected in ((2.0, "About 23 minutes of training left: 2 s a step"), (0.05, "")):
        remaining = callbacks.Remaining()
        remaining.set_params({"epochs": 7, "steps": 100})
        remaining.on_train_begin()
        remaining.on_epoch_begin(0)
        for batch in range(100):
            clock[0] += seconds if batch else 60  # the first step compiles
            remaining.on_train_batch_end(batch)
        assert capsys.readouterr().out.strip() == expected


def test_interrupted_before_the_first_epoch_no_best_model_is_named(tmp_path, capsys):
    assert train.unfinished("interrupted", tmp_path, 0) == 130
    assert "Best" not in capsys.readouterr().out
    assert train.unfinished("interrupted", tmp_path, 1) == 130
    assert "Best model so far" in capsys.readouterr().out


def test_a_named_folder_is_never_written_over(tmp_path):
    folder_run = runs.Run.named(tmp_path / "a" / "mine", {}, 0.0)
    assert (
        folder_run.folder == tmp_path / "a" / "mine" and (folder_run.folder / "run.json").exists()
    )
    with pytest.raises(FileExistsError):
        runs.Run.named(tmp_path / "a" / "mine", {}, 0.0)


def test_a_model_that_is_solved_in_one_step_takes_no_recipe(tmp_path, capsys):
    words = ["--model", "autoregression", "--optimizer", "sgd", "--out", str(tmp_path / "runs")]
    assert train.main(words) == 2
    error = capsys.readouterr().err
    assert "autoregression: it is solved in one step" in error and not (tmp_path / "runs").exists()
