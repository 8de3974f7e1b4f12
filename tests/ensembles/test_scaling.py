"""Calibration of logits: each method undoes what it can express, and the best one is chosen."""

import keras
import numpy as np
import pytest

from ensembles.evaluation import calibration, probabilities, scaling
from zoo.nn.isotonic import Isotonic
from zoo.tasks.targets import report
from zoo.weights import saving


def drawn(n, classes, seed=0):
    """Return logits (n, C), and labels drawn from their probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 1.5
    p = report.softmax(logits)
    return logits, (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)


def loss_of(method, logits, y, others, truth):
    fitted = scaling.fit(method, logits, y)
    return scaling.log_loss(scaling.convert(scaling.layer(fitted, logits.shape[-1]), others), truth)


FACTOR, BIAS = np.array([0.5, 2.0, 3.0]), np.array([1.0, -1.0, 0.5])
MATRIX = np.array([[1.0, 0.8, 0.0], [0.0, 1.0, 0.5], [0.5, -0.3, 1.0]])  # equal sums of columns
CHANGES = {
    "temperature": lambda z: 3 * z,
    "vector": lambda z: (z - BIAS) / FACTOR,
    "dirichlet": lambda z: (scaling.log_softmax(z) - BIAS) @ np.linalg.inv(MATRIX),
}


@pytest.mark.parametrize("method", CHANGES)
def test_a_method_undoes_what_it_can_express(method):
    logits, y = drawn(12_000, 3)
    changed = CHANGES[method](logits)
    best = scaling.log_loss(logits[6000:], y[6000:])
    before = scaling.log_loss(changed[6000:], y[6000:])
    after = loss_of(method, changed[:6000], y[:6000], changed[6000:], y[6000:])
    assert before > best + 0.05 and after < best + 0.004


def test_isotonic_undoes_any_increasing_change_of_a_probability():
    logits, y = drawn(20_000, 2)
    z = logits[:, 1:] - logits[:, :1]
    changed = np.sign(z) * np.abs(z) ** 3
    best = scaling.log_loss(z[10_000:], y[10_000:])
    pair = changed[10_000:], y[10_000:]
    losses = {m: loss_of(m, changed[:10_000], y[:10_000], *pair) for m in scaling.METHODS}
    assert losses["isotonic"] < best + 0.01
    assert losses["isotonic"] == min(losses.values()) < losses["vector"] - 0.02


def test_beta_calibration_is_the_dirichlet_of_one_logit():
    z = np.random.default_rng(0).normal(size=(20_000, 1)) * 2
    p = 1 / (1 + np.exp(-z))
    truth = 2.0 * np.log(p) - 0.5 * np.log(1 - p) + 0.3  # Kull et al. 2017, a, b and c
    y = (np.random.default_rng(1).random(len(z)) < 1 / (1 + np.exp(-truth[:, 0]))).astype(int)
    best = scaling.log_loss(truth[10_000:], y[10_000:])
    halves = z[:10_000], y[:10_000], z[10_000:], y[10_000:]
    assert loss_of("dirichlet", *halves) < best + 0.003 < loss_of("vector", *halves)


@pytest.mark.parametrize("method", CHANGES)
def test_the_best_method_is_chosen(method):
    logits, y = drawn(3000, 3, seed=1)
    losses = scaling.choose(CHANGES[method](logits), y)
    assert set(losses) == set(scaling.METHODS)
    assert min(losses, key=losses.get) == method


def test_calibrated_logits_are_left_alone_and_few_are_not_compared():
    logits, y = drawn(2000, 3, seed=2)
    losses = scaling.choose(logits, y)
    assert losses["none"] < min(losses.values()) + 0.002
    assert scaling.choose(logits[:9], y[:9]) == {}
    assert scaling.choose(logits, y, np.arange(2000) % 9) == {}


def test_folds_do_not_divide_groups():
    logits, y = drawn(400, 3, seed=3)
    spoilt = np.repeat(logits[:40], 10, axis=0), np.repeat(y[:40], 10)
    groups = np.repeat(np.arange(40), 10)
    divided, together = scaling.choose(*spoilt), scaling.choose(*spoilt, groups)
    assert divided["dirichlet"] < together["dirichlet"] - 0.05


def test_labels_have_a_factor_and_a_bias_each():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(8000, 3)) * 2
    y = rng.random(z.shape) < 1 / (1 + np.exp(-z))
    changed = z / FACTOR - BIAS
    losses = scaling.choose(changed, y)
    assert set(losses) == set(scaling.OF_LABELS)
    fitted = scaling.fit("vector", changed, y)
    np.testing.assert_allclose(fitted["factor"], FACTOR, rtol=0.1)
    np.testing.assert_allclose(fitted["bias"], FACTOR * BIAS, atol=0.2)
    assert losses["vector"] < min(losses["temperature"], losses["none"]) - 0.05


def test_gradients_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    for logits, y in (
        (rng.normal(size=(5, 3)), rng.integers(0, 3, 5)),
        (rng.normal(size=(5, 1)), rng.integers(0, 2, 5)),
        (rng.normal(size=(5, 3)), rng.random((5, 3)) < 0.5),
    ):
        value, slope = scaling.with_gradient(logits, y)
        assert value == pytest.approx(scaling.log_loss(logits, y), rel=1e-5)
        for place in np.ndindex(*logits.shape):
            step = np.zeros_like(logits)
            step[place] = 1e-6
            ends = (scaling.with_gradient(logits + s, y)[0] for s in (step, -step))
            assert slope[place] == pytest.approx(-np.subtract(*[*ends][::-1]) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("method", scaling.METHODS)
def test_a_head_of_maps_is_saved_and_does_what_it_did(method, units, tmp_path):
    logits, y = drawn(500, max(units, 2))
    logits = logits[:, 1:] - logits[:, :1] if units == 1 else logits
    fitted = scaling.fit(method, logits, y)
    expected = scaling.convert(scaling.layer(fitted, units), logits)
    entry = keras.Input((None, None, units))
    model = keras.Model(entry, scaling.layer(fitted, units)(entry))
    saving.save(model, tmp_path / "model.keras", {})
    again = saving.load(tmp_path / "model.keras")
    result = again.predict(logits.reshape(5, 10, 10, units).astype(np.float32), verbose=0)
    np.testing.assert_allclose(result.reshape(-1, units), expected, rtol=1e-4, atol=1e-5)


def test_isotonic_by_hand():
    layer = Isotonic([[0.0, 0.5, 1.0]], [[0.1, 0.2, 0.9]])
    z = np.log(np.array([[1e-6], [0.25 / 0.75], [1.0], [0.75 / 0.25], [1e6]]))
    p = 1 / (1 + np.exp(-np.asarray(keras.ops.convert_to_numpy(layer(z)))))
    np.testing.assert_allclose(p[:, 0], [0.1, 0.15, 0.2, 0.55, 0.9], atol=1e-5)
    double = Isotonic([[0.0, 1.0]] * 2, [[0.2, 0.4], [0.5, 0.9]])
    p = report.softmax(keras.ops.convert_to_numpy(double(np.zeros((1, 2), np.float32))))
    np.testing.assert_allclose(p, [[0.3, 0.7]], atol=1e-6)


def test_the_threshold_has_the_highest_score():
    rng = np.random.default_rng(0)
    p = rng.random(5000)
    y = (rng.random(5000) < p**3).astype(int)
    y[:50] = -1

    def dice(matrix):
        return 2 * matrix[1, 1] / max(2 * matrix[1, 1] + matrix[0, 1] + matrix[1, 0], 1)

    z = np.log(p / (1 - p))[:, None]
    result = calibration.threshold(z, y, dice)

    def score(t):
        predicted = report.predicted(z, {"threshold": t})
        return dice(report.confusion(y, predicted, 2))

    assert score(result) == pytest.approx(max(score(k / 100) for k in range(1, 100)), abs=1e-9)
    assert result > 0.5 and score(result) > score(0.5)
    pair = np.concatenate([0 * z, z], axis=1)
    assert calibration.threshold(pair, y, dice) == result
    assert calibration.threshold(z, y, lambda matrix: 1.0) == 0.5


def test_a_threshold_changes_labels_and_no_probability():
    info = {"classes": ["a", "b"], "threshold": 0.7}
    z = np.log([[0.4, 0.6], [0.2, 0.8]])
    assert [row["class"] for row in report.decode(z, info)] == ["a", "b"]
    assert report.decode(z, info)[0]["probability"] == pytest.approx(0.4)
    single = z[:, 1:] - z[:, :1]
    np.testing.assert_array_equal(report.predicted(single, info), [0, 1])
    np.testing.assert_array_equal(report.predicted(single, {}), [1, 1])
    np.testing.assert_array_equal(report.summarize(np.array([0, 1]), z, info), [[1, 0], [0, 1]])


def test_labels_are_drawn_of_large_maps_and_void_ones_left_out():
    logits = np.arange(2 * 8 * 8, dtype=float).reshape(2, 8, 8, 1)
    y = np.zeros((2, 8, 8), int)
    y[0, 0] = -1
    values, labels, groups = probabilities.labelled(logits, y, np.array([5, 9]))
    assert len(values) == len(labels) == 120 and (groups == 5).sum() == 56
    assert not set(range(8)) & set(values[:, 0].astype(int))
    few, _, groups = probabilities.labelled(logits, y, None, 40)
    assert len(few) == 40 and set(groups) == {0, 1}
