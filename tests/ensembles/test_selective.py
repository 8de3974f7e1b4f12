"""Selective prediction, out-of-distribution scores, Brier score and adaptive calibration error."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_curve

from ensembles.evaluation import outliers, probabilities, selective
from zoo.tasks.targets import report


def test_the_curve_by_hand():
    coverage, risk = selective.curve([0.9, 0.2, 0.8, 0.5], [0, 1, 1, 0])
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(risk, [0, 0.5, 1 / 3, 0.5])
    assert selective.area(risk) == pytest.approx((0 + 0.5 + 1 / 3 + 0.5) / 4)
    assert selective.at(coverage, risk, 0.5) == 0.5
    assert selective.at(coverage, risk, 0.6) == pytest.approx(1 / 3)


def test_equal_confidences_have_no_order():
    errors = np.array([0, 1, 1, 0, 0])
    _, risk = selective.curve(np.ones(5), errors)
    np.testing.assert_allclose(risk, 0.4)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(5)
        confidence = np.array([0.9, 0.9, 0.5, 0.5, 0.1])
        _, again = selective.curve(confidence[order], errors[order])
        np.testing.assert_allclose(again, selective.curve(confidence, errors)[1])


def test_the_best_order_has_the_smallest_area():
    rng = np.random.default_rng(0)
    errors = rng.random(1000) < 0.2
    areas = [
        selective.area(selective.curve(confidence, errors)[1])
        for confidence in (1 - errors + rng.random(1000) / 10, rng.random(1000), errors + 0.0)
    ]
    assert areas[0] < 0.025 and areas[1] == pytest.approx(0.2, abs=0.03) and areas[2] > 0.4


def test_a_decision_is_as_certain_as_its_probability():
    z = np.log([[[0.9, 0.1], [0.4, 0.6]], [[0.3, 0.7], [0.5, 0.5]]])
    coverage, risk = selective.of_classes(z, np.array([[0, 1], [0, -1]]))
    np.testing.assert_allclose(risk, [0, 0.5, 1 / 3])  # 0.9 right, 0.7 wrong, 0.6 right
    figure = selective.figure({"a": (coverage, risk), "b": (coverage, risk)})
    labels = [text.get_text() for text in figure.axes[0].get_legend().texts]
    assert labels == [f"{name}: AURC {selective.area(risk):.4f}" for name in "ab"]


def test_values_are_as_certain_as_their_members_agree():
    outputs = [np.array([[[0.0]], [[1.0]]]), np.array([[[0.2]], [[3.0]]])]
    mean = np.mean(outputs, axis=0)
    _, risk = selective.of_values(outputs, mean, mean + np.array([[[1.0]], [[2.0]]]))
    np.testing.assert_allclose(risk, [1.0, 2.5])


def test_the_brier_score_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    p, y = report.softmax(rng.normal(size=(200, 4))), rng.integers(0, 4, 200)
    expected = np.mean(((p - np.eye(4)[y]) ** 2).sum(axis=1))
    assert probabilities.brier(p, y) == pytest.approx(expected)
    pair = p[:, :2] / p[:, :2].sum(axis=1, keepdims=True)
    expected = 2 * brier_score_loss(y % 2, pair[:, 1])
    assert probabilities.brier(pair, y % 2) == pytest.approx(expected)


def test_the_adaptive_error_by_hand():
    p = np.array([[0.6, 0.4], [0.3, 0.7], [0.8, 0.2], [0.0, 1.0]])
    y = np.array([1, 1, 0, 1])  # 0.6 wrong, 0.7 right; 0.8 right, 1.0 right
    assert probabilities.adaptive_error(p, y, 2) == pytest.approx((abs(1.3 - 1) + 0.2) / 4)
    z = np.random.default_rng(0).normal(size=(40_000, 3))
    p = report.softmax(z)
    y = (np.random.default_rng(1).random(40_000)[:, None] > p.cumsum(axis=1)).sum(axis=1)
    assert probabilities.adaptive_error(p, y) < 0.012
    assert probabilities.adaptive_error(report.softmax(4 * z), y) > 0.2


def test_energies_by_hand():
    z = np.log([[[1.0, 2.0, 5.0]], [[3.0, 3.0, 4.0]]])
    np.testing.assert_allclose(outliers.energy(z), [-np.log(8), -np.log(10)])
    single = np.array([[[0.0], [np.log(3)]]])
    np.testing.assert_allclose(outliers.energy(single), [-(np.log(2) + np.log(4)) / 2])
    assert np.isfinite(outliers.energy(np.full((1, 2), 1e4))).all()


def test_scores_are_higher_for_less_certain_examples():
    rng = np.random.default_rng(0)
    members = [rng.normal(size=(50, 3)) + 6 * np.eye(3)[rng.integers(0, 3, 50)] for _ in range(2)]
    members = [np.concatenate([z, rng.normal(size=(50, 3))]) for z in members]
    members[1][:50] = members[0][:50]
    known = outliers.scores(np.mean(members, axis=0), members)
    assert set(known) == {"highest probability", "energy", "mutual information"}
    for array in known.values():
        assert array[:50].mean() < array[50:].mean()
    assert set(outliers.scores(members[0], members[:1])) == {"highest probability", "energy"}
    normal = np.log(report.softmax(members[0]))  # logarithms of probabilities have no energy
    assert set(outliers.scores(normal, [normal])) == {"highest probability"}
    assert set(outliers.scores(members[0], members, values=True)) == {"variance of members"}
    assert outliers.scores(members[0], members[:1], values=True) == {}


def test_detection_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=400), rng.normal(1, 1, 300)
    known = outliers.detection(inside, outside)
    # The test split is the positive class: accepted where its score is low.
    truth = np.concatenate([np.ones(400), np.zeros(300)])
    fpr, tpr, _ = roc_curve(truth, -np.concatenate([inside, outside]), drop_intermediate=False)
    assert known["fpr95"] == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=0.011)
    assert known["auroc"] == pytest.approx(np.trapezoid(tpr, fpr))
    assert outliers.detection(inside, inside + 100) == {"auroc": 1.0, "fpr95": 0.0}
    figure = outliers.figure({"a": inside}, {"a": outside})
    assert f"AUROC {known['auroc']:.3f}" in figure.axes[0].get_title()
