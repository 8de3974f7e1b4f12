"""Schedules of the learning rate: each against its formula, and plateaus against Keras'."""

import keras
import numpy as np
import pytest

from zoo.training.optimization import rates

STEPS, EPOCH = 40, 4


def values(kind, **options):
    """Return the rates of all steps of a schedule of the rate 0.1."""
    schedule = rates.SCHEDULES[kind](0.1, STEPS, EPOCH, **options)
    return np.array([float(schedule(step)) for step in range(STEPS)])


T = np.arange(STEPS)
FORMULAS = {
    "constant": (dict(), np.ones(STEPS)),
    "cosine": (dict(end=0.1), 0.1 + 0.9 * (1 + np.cos(np.pi * T / STEPS)) / 2),
    # Goodfellow, Bengio & Courville, Eq. 8.14, with tau half of the steps
    "linear": (dict(end=0.2, until=0.5), np.where(T < 20, 1 - T / 20 + T / 20 * 0.2, 0.2)),
    "step": (dict(at=(0.5, 0.75)), np.select([T < 20, T < 30], [1, 0.1], 0.01)),
    "exponential": (dict(factor=0.9), 0.9 ** (T // EPOCH)),
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_schedules_follow_their_formulas(kind):
    options, factors = FORMULAS[kind]
    np.testing.assert_allclose(values(kind, **options), 0.1 * factors, rtol=1e-5)


def test_the_default_is_keras_cosine():
    known = keras.optimizers.schedules.CosineDecay(0.1, STEPS, alpha=0.01)
    np.testing.assert_allclose(values("cosine"), [float(known(t)) for t in T], rtol=1e-5)


def test_warmup_is_linear_and_the_schedule_has_the_remaining_steps():
    warm = values("cosine", warmup=8)
    np.testing.assert_allclose(warm[:8], 0.1 * (T[:8] + 1) / 8, rtol=1e-6)
    rest = rates.Cosine(0.1, STEPS - 8, EPOCH)
    np.testing.assert_allclose(warm[8:], [float(rest(t)) for t in range(STEPS - 8)], rtol=1e-5)


def test_a_held_rate_stays():
    held = values("cosine", held=30)
    np.testing.assert_array_equal(held[:30], values("cosine")[:30])
    assert (held[30:] == held[30]).all()


def test_a_schedule_is_restored_from_its_configuration():
    schedule = rates.Linear(0.1, STEPS, EPOCH, warmup=3, end=0.3)
    again = rates.Linear.from_config(schedule.get_config())
    assert [float(again(t)) for t in (0, 9, 39)] == [float(schedule(t)) for t in (0, 9, 39)]


@pytest.mark.parametrize("scores", [[1, 2, 2, 2, 2, 3, 3, 3, 3, 3], [3, 1, 1, 1, 1, 1, 1], []])
def test_plateaus_are_those_of_keras(scores):
    known = keras.callbacks.ReduceLROnPlateau(
        "score", factor=0.5, patience=2, mode="max", min_delta=0
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0))
    known.set_model(model)
    known.on_train_begin()
    for epoch, score in enumerate(scores):
        known.on_epoch_end(epoch, {"score": float(score)})
        drops = rates.reductions(scores[: epoch + 1], 2)
        assert 0.5**drops == float(model.optimizer.learning_rate)
