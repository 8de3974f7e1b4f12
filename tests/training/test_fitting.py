"""The epochs of a training by its recipe: resumed as if never stopped, averaged, stopped early."""

import json
import re

import keras
import numpy as np
import pytest

import zoo
from datasets.pipeline import Batches
from datasets.splits import Arrays
from zoo import tasks
from zoo.system import terminal
from zoo.training import fitting, recipe, runs
from zoo.training.finetuning import freezing
from zoo.training.optimization import averaging
from zoo.training.recorder import student
from zoo.weights import saving

INFO = {"classes": ["a", "b", "c"]}
EPOCHS, STEPS = 4, 3


class Stopping(terminal.Interrupt):
    """Ctrl-C after a number of training and validation steps."""

    def __init__(self, steps=None):
        super().__init__()
        self.left = steps

    def check(self):
        """Count a step; stop after the last."""
        if self.left is not None:
            self.left -= 1
            self.pressed = self.left < 0
        super().check()


def examples(count, seed):
    """Return `Arrays` of points around three centres."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    x = (np.eye(4)[y] + 0.5 * rng.normal(size=(count, 4))).astype("float32")
    return Arrays(x, y.astype("int32"), np.arange(count))


def network():
    """Return a network with batch normalisation and dropout."""
    keras.utils.set_random_seed(1)
    entry = keras.Input((4,))
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(entry)
    x = keras.layers.Dense(8, "relu", name="hidden")(x)
    x = keras.layers.Dropout(0.1)(x)
    return keras.Model(entry, keras.layers.Dense(3, name="logits")(x), name="mlp")


def fitted(folder, changes, interrupt=None, rate=0.05, frozen=()):
    """Train with a recipe, or resume if the folder exists; return the recorder and the status."""
    model = network()
    if frozen:
        freezing.freeze(model, frozen)
    settings = {
        "recipe": {**recipe.DEFAULTS, **changes},
        "seed": 0,
        "learning_rate": rate,
        "epochs": EPOCHS,
        "jit": False,
    }
    record = {"model": "mlp", "info": INFO, "task_options": {}}
    resumed = folder.exists()
    run = (runs.Run.opened if resumed else runs.Run.named)(folder, record, 0.0)
    training = Batches(examples(48, 0), 16, training=True, seed=0)
    assert len(training) == STEPS
    task = tasks.get("sequence_classification")
    result = fitting.fit(
        model,
        training,
        Batches(examples(16, 1), 16),
        run,
        task,
        settings,
        interrupt or Stopping(),
        student,
    )
    run.note(status="interrupted")
    return *result, model


RECIPES = {
    "momentum": dict(optimizer="momentum", schedule="step", l2=1e-3, max_norm=2.0),
    "ema": dict(optimizer="adamw", warmup=1.5, weight_decay=0.01, clip_norm=1.0, ema=0.9),
    "swa": dict(optimizer="sgd", gradient_noise=0.01, swa=0.25),
    "schedule_free": dict(optimizer="schedule_free_adamw", schedule="constant", accumulate=2),
    "plateau": dict(optimizer="muon", schedule="plateau", schedule_options=dict(patience=1)),
    "pruned": dict(optimizer="rmsprop", schedule="exponential", prune=0.6, max_norm=1.5),
    "unfrozen": dict(optimizer="lion", schedule="linear", unfreeze_after=2),
}
FROZEN = ["norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, name):
    frozen = FROZEN if name == "unfrozen" else ()
    whole, status, _ = fitted(tmp_path / "whole", RECIPES[name], frozen=frozen)
    assert status == "finished"
    stop = Stopping(2 * (STEPS + 1) + 2)  # in the first step of the third epoch
    first, status, _ = fitted(tmp_path / "parts", RECIPES[name], stop, frozen=frozen)
    assert (status, first.epochs) == ("interrupted", 2)
    second, status, _ = fitted(tmp_path / "parts", RECIPES[name], frozen=frozen)
    assert status == "finished" and second.history.keys() == whole.history.keys()
    for key, values in whole.history.items():
        np.testing.assert_array_equal(second.history[key], values, err_msg=key)
    pairs = (saving.load(part / "model.keras") for part in (tmp_path / "parts", tmp_path / "whole"))
    for one, other in zip(*(model.get_weights() for model in pairs), strict=True):
        np.testing.assert_array_equal(one, other)


class Weights(keras.callbacks.Callback):
    """Stores the trained weights after each step, and those that are validated in each epoch."""

    def __init__(self):
        super().__init__()
        self.steps, self.validated = [], []

    def on_train_batch_end(self, batch, logs=None):
        """Store the weights."""
        self.steps.append([np.array(v) for v in self.model.trainable_variables])

    def on_test_batch_end(self, batch, logs=None):
        """Store what is validated."""
        self.validated.append([np.array(v) for v in self.model.trainable_variables])


@pytest.fixture
def watched(monkeypatch):
    """Return a `Weights` that takes part in the next training."""
    weights = Weights()
    monkeypatch.setattr(fitting.callbacks, "tensorboard", lambda folder, settings: [weights])
    return weights


def close(some, others):
    """Assert that two lists of arrays are nearly equal."""
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_moving_average_is_validated_and_saved_while_the_weights_train_on(tmp_path, watched):
    recorder, _, _ = fitted(tmp_path / "run", dict(ema=0.5))
    average = watched.steps[0]
    for epoch in range(EPOCHS):
        steps = watched.steps[epoch * STEPS : (epoch + 1) * STEPS]
        for weights in steps[1:] if epoch == 0 else steps:
            average = [0.5 * a + 0.5 * w for a, w in zip(average, weights, strict=True)]
        close(watched.validated[epoch], average)
        if epoch + 1 == recorder.best_epoch:
            best = average
    saved = saving.load(tmp_path / "run" / "model.keras")
    close([np.array(v) for v in saved.trainable_variables], best)


def test_stochastic_averages_are_the_mean_over_epochs_with_statistics_of_their_own(
    tmp_path, watched
):
    recorder, _, _ = fitted(tmp_path / "run", dict(optimizer="sgd", swa=0.5), rate=0.5)
    assert recorder.best_epoch >= 3, "averaged"
    ends = watched.steps[STEPS - 1 :: STEPS]
    close(watched.validated[1], ends[1])
    close(watched.validated[2], ends[2])
    close(watched.validated[3], [(a + b) / 2 for a, b in zip(*ends[2:], strict=True)])


def test_statistics_are_those_of_all_batches():
    model, arrays = network(), examples(48, 0)
    averaging.recompute(model, [model.get_layer("norm")], Batches(arrays, 16))
    norm = model.get_layer("norm")
    np.testing.assert_allclose(norm.moving_mean, arrays.x.mean(0), rtol=1e-5)
    within = arrays.x.reshape(3, 16, 4).var(axis=1).mean(axis=0)
    np.testing.assert_allclose(norm.moving_variance, within, rtol=1e-4)
    assert norm.momentum == 0.5


def test_schedule_free_training_validates_the_average(tmp_path, watched):
    changes = dict(optimizer="schedule_free_adamw", schedule="constant")
    _, _, model = fitted(tmp_path / "run", changes)
    z = [np.array(v) for v in model.optimizer._momentums]
    y = watched.steps[-1]
    x = [(a - 0.1 * b) / 0.9 for a, b in zip(y, z, strict=True)]
    close(watched.validated[-1], x)


def test_training_stops_early_and_a_resumption_does_not_go_on(tmp_path, capsys):
    changes = dict(optimizer="sgd", early_stopping=1)
    recorder, status, _ = fitted(tmp_path / "run", changes, rate=1e-9)
    assert (status, recorder.epochs, recorder.best_epoch) == ("finished", 2, 1)
    assert "Stopped early: 1 epoch without a better score" in capsys.readouterr().out
    recorder, status, _ = fitted(tmp_path / "run", changes, rate=1e-9)
    assert (status, recorder.epochs) == ("finished", 2)


def test_frozen_layers_keep_weights_and_statistics_and_later_only_statistics(tmp_path, watched):
    before = network()
    recorder, _, model = fitted(tmp_path / "run", dict(unfreeze_after=2), frozen=["hidden/kernel",
        "hidden/bias", *FROZEN])  # fmt: skip
    sizes = [len(weights) for weights in watched.steps[::STEPS]]
    assert sizes == [2, 2, 4, 4]
    for name in ("moving_mean", "moving_variance", "gamma"):
        known, now = (getattr(m.get_layer("norm"), name) for m in (before, model))
        np.testing.assert_array_equal(known, now)
    assert not np.array_equal(before.get_layer("hidden").kernel, model.get_layer("hidden").kernel)
    rates = recorder.history["learning_rate"]
    assert rates[0] > 9 * rates[2]


def test_pruned_weights_are_the_smallest_and_stay_zero(tmp_path, watched, capsys):
    recorder, _, model = fitted(tmp_path / "run", dict(prune=0.75), rate=1e-9)
    assert recorder.best_epoch >= 3, "with all zeros"
    shares = [[np.mean(w == 0) for w in weights if w.ndim == 2] for weights in watched.validated]
    growth = [0.75 * (1 - (1 - min(1, (epoch + 1) / 3)) ** 3) for epoch in range(EPOCHS)]
    np.testing.assert_allclose(shares, np.repeat(growth, 2).reshape(4, 2), atol=0.025)
    before = np.array(network().get_layer("hidden").kernel)
    kernel = np.array(model.get_layer("hidden").kernel)
    assert np.abs(before[kernel == 0]).max() < np.abs(before[kernel != 0]).min()
    assert re.search(r"Pruned: 7[45]\.\d% of the weights are 0; .* bytes", capsys.readouterr().out)
    pruned = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["pruned"]
    assert pruned["zeros"] == pytest.approx(0.75, abs=0.01)
    assert (
        0
        < pruned["compressed"]
        < pruned["bytes"]
        == (tmp_path / "run" / "model.keras").stat().st_size
    )


def test_freezing_all_is_refused():
    model = network()
    with pytest.raises(ValueError, match="leave none to train"):
        freezing.freeze(model, [v.path for v in model.weights])


def test_a_frozen_trunk_leaves_the_course_s_195_of_272019_parameters():
    with keras.StatelessScope(initialize_variables=False):
        model = zoo.create("resnet", (32, 32, 3), 3, depth=20, shortcut="projection")
        paths = [v.path for v in model.weights]
        freezing.freeze(model, [path for path in paths if not path.startswith("logits")])
        assert freezing.counts(model) == (195, 272_019, model.count_params())
        assert freezing.sentence(model) == (
            "273,587 parameters, 195 of 272,019 trainable ones trained"
        )
