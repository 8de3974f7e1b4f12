"""Probabilities, log-loss, calibration, temperature scaling and predictive uncertainty."""

import math

import numpy as np
import pytest

from ensembles.evaluation import calibration, probabilities, uncertainty

NUCLEI = {"classes": ["background", "nucleus"]}


def drawn(n, classes, seed=0):
    """Return logits (n, C), and labels drawn from their probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return logits, (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1)


def test_probabilities_by_hand():
    result = probabilities.of_logits(np.log([[1.0, 2.0, 5.0], [3.0, 3.0, 4.0]]))
    np.testing.assert_allclose(result, [[0.125, 0.25, 0.625], [0.3, 0.3, 0.4]], rtol=1e-6)
    result = probabilities.of_logits(np.full((2, 4, 4, 1), math.log(3)))
    assert result.shape == (2, 4, 4, 2)
    np.testing.assert_allclose(result[0, 0, 0], [0.25, 0.75], rtol=1e-6)


def test_one_logit_is_the_difference_of_two():
    z = np.random.default_rng(0).normal(size=(50, 1)) * 5
    pair = np.concatenate([np.zeros_like(z), z], axis=-1)
    result = probabilities.of_logits(z)
    np.testing.assert_allclose(result, probabilities.of_logits(pair), rtol=1e-5)


@pytest.mark.parametrize("units", [1, 3])
def test_huge_logits_of_any_type_overflow_nowhere(units):
    for kind, huge in ((np.float16, 6e4), (np.float32, 1e30), (np.float64, 1e30)):
        z = np.full((2, units), huge, kind)
        z[1] = -z[1]
        result = probabilities.of_logits(z)
        assert np.isfinite(result).all()
        np.testing.assert_allclose(result.sum(axis=-1), 1, rtol=1e-6)


def test_likelihood_by_hand():
    p = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [1.0, 0.0]])
    y = np.array([0, 1, -1, 1])
    wanted = -(math.log(0.5) + math.log(0.1) + math.log(1e-7)) / 3  # the third is void
    assert probabilities.negative_log_likelihood(p, y) == pytest.approx(wanted)


def test_calibration_by_hand():
    # Bins (0.5, 0.75]: 0.6 wrong, 0.7 correct; (0.75, 1]: 0.8 correct, 1.0 correct.
    p = np.array([[0.6, 0.4], [0.3, 0.7], [0.8, 0.2], [0.0, 1.0], [0.1, 0.9]])
    y = np.array([1, 1, 0, 1, -1])
    result = probabilities.calibration(p, y, bins=4)
    np.testing.assert_allclose(result["confidence"], [np.nan, np.nan, 0.65, 0.9])
    np.testing.assert_allclose(result["accuracy"], [np.nan, np.nan, 0.5, 1.0])
    np.testing.assert_allclose(result["share"], [0, 0, 0.5, 0.5])
    assert result["error"] == pytest.approx(0.5 * 0.15 + 0.5 * 0.1)


def test_a_bin_holds_its_upper_edge():
    result = probabilities.calibration(
        np.array([[0.5, 0.5], [0.75, 0.25]]), np.array([0, 0]), bins=4
    )
    np.testing.assert_array_equal(result["share"], [0, 0.5, 0.5, 0])


def test_what_is_sure_as_often_as_it_is_right_has_no_error():
    logits, y = drawn(40_000, 3)
    assert probabilities.calibration(probabilities.of_logits(logits), y)["error"] < 0.01
    assert probabilities.calibration(probabilities.of_logits(4 * logits), y)["error"] > 0.2


def test_agreement_by_hand():
    first, second = np.array([[1.0], [-1], [2], [-2]]), np.array([[1.0], [1], [2], [2]])
    result = probabilities.agreement([first, second, -first])
    np.testing.assert_allclose(result, [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]])
    y = np.array([0, -1, 1, -1])  # where they agree
    np.testing.assert_allclose(probabilities.agreement([first, second], y), np.ones((2, 2)))


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    outputs = [rng.normal(size=(7, 5, 4, 1)).astype(np.float32) for _ in range(3)]
    y = rng.integers(-1, 2, (7, 5, 4))

    def metrics():
        p = probabilities.of_logits(outputs[0])
        result = [
            probabilities.negative_log_likelihood(p, y),
            *probabilities.calibration(p, y).values(),
        ]
        return [
            *result,
            probabilities.agreement(outputs, y),
            *uncertainty.uncertainty(outputs).values(),
        ]

    expected = metrics()
    monkeypatch.setattr(probabilities, "BLOCK", 45)  # two of seven examples per block, or one
    for value, wanted in zip(metrics(), expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5, 10.0])
def test_the_temperature_is_the_factor_that_logits_were_multiplied_by(factor, classes):
    logits, y = drawn(40_000, classes)
    if classes == 2:
        logits = logits[:, 1:] - logits[:, :1]
    result = calibration.temperature((factor * logits).astype(np.float32), y)
    assert result == pytest.approx(factor, rel=0.04)


def test_the_temperature_is_where_the_likelihood_is_highest():
    logits, y = drawn(3000, 3)
    result = calibration.temperature(2.5 * logits, y)

    def loss(t):
        return probabilities.negative_log_likelihood(probabilities.of_logits(2.5 * logits / t), y)

    assert loss(result) <= min(loss(t) for t in np.geomspace(0.1, 15, 200)) + 1e-6
    assert loss(result) < loss(1) - 0.1


def test_the_temperature_ends_at_its_bounds():
    logits, y = drawn(500, 3)
    right, wrong = 30 * np.eye(3)[y], 30 * np.eye(3)[(y + 1) % 3]
    assert calibration.temperature(0.01 * right, y) == pytest.approx(math.exp(-3), rel=0.01)
    assert calibration.temperature(wrong, y) == pytest.approx(math.exp(3), rel=0.01)


def test_the_temperature_heeds_no_void_labels_and_draws_of_many(monkeypatch):
    logits, y = drawn(20_000, 3)
    maps, labels = 2.5 * logits.reshape(50, 20, 20, 3), y.reshape(50, 20, 20)
    void = np.random.default_rng(1).random(labels.shape) < 0.3
    spoilt, labels = np.where(void[..., None], 1e3, maps), np.where(void, -1, labels)
    expected = calibration.temperature(maps, labels)
    assert calibration.temperature(spoilt, labels) == expected
    monkeypatch.setattr(calibration, "MAX_LABELS", 4000)
    sampled = calibration.temperature(spoilt, labels)
    assert sampled == calibration.temperature(spoilt, labels) != expected
    assert sampled == pytest.approx(2.5, rel=0.1)
    with pytest.raises(ValueError, match="all are void"):
        calibration.temperature(maps, np.full_like(labels, -1))


def test_the_reliability_diagram_shows_both():
    logits, y = drawn(2000, 3)
    pair = [probabilities.calibration(probabilities.of_logits(k * logits), y) for k in (5, 1)]
    figure = calibration.reliability_diagram(dict(zip(("a", "b"), pair, strict=True)))
    assert len(figure.axes) == 2
    assert len(calibration.reliability_diagram({"alone": pair[0]}).axes) == 1
    for axes, bins in zip(figure.axes, pair, strict=True):
        assert f"{bins['error']:.4f}" in axes.get_title()
        heights = [bar.get_height() for bar in axes.patches]
        np.testing.assert_allclose(heights, bins["accuracy"][bins["share"] > 0])
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), axes.lines[0].get_ydata())


@pytest.mark.parametrize("units", [1, 2, 3, 10])
def test_what_knows_nothing_has_the_entropy_log_c(units):
    result = uncertainty.uncertainty([np.zeros((4, 3, units))] * 2)
    assert result["entropy"].shape == result["mutual_information"].shape == (4, 3)
    np.testing.assert_allclose(result["entropy"], math.log(max(units, 2)), rtol=1e-6)
    np.testing.assert_allclose(result["mutual_information"], 0, atol=1e-6)


def test_mutual_information_by_hand():
    # p = (1/4, 3/4) and (3/4, 1/4): the mean is uniform, the members are not.
    z = np.full((1, 1), math.log(3))
    result = uncertainty.uncertainty([z, -z])
    member_entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert result["entropy"][0] == pytest.approx(math.log(2))
    assert result["mutual_information"][0] == pytest.approx(math.log(2) - member_entropy, rel=1e-5)
    sure = uncertainty.uncertainty([100 * z, -100 * z])
    assert sure["mutual_information"][0] == pytest.approx(math.log(2), rel=1e-5)


def test_equal_members_disagree_in_nothing_and_others_do():
    rng = np.random.default_rng(0)
    outputs = [rng.normal(size=(200, 4)) * 3 for _ in range(3)]
    same = uncertainty.uncertainty([outputs[0]] * 3)
    np.testing.assert_allclose(same["mutual_information"], 0, atol=1e-6)
    result = uncertainty.uncertainty(outputs)
    assert (result["mutual_information"] > 0).all()
    assert (result["mutual_information"] <= result["entropy"] + 1e-6).all()


def scene(count, size=24):
    """Return images, labels and logits of two members, more confident for later images."""
    rng = np.random.default_rng(0)
    y = np.zeros((count, size, size), int)
    y[:, 6:15, 6:15] = 1
    x = (0.2 + 0.5 * y[..., None] + 0.05 * rng.normal(size=(*y.shape, 1))).clip(0, 1)
    scale = np.arange(1, count + 1)[:, None, None, None]
    sign = 2 * y[..., None] - 1
    return x, y, [scale * sign * factor for factor in (0.5, 1.0)]


@pytest.mark.parametrize("margin", [0, 4])
def test_the_page_shows_the_least_sure_images_first(margin):
    x, y, outputs = scene(6)
    inside = slice(margin, 24 - margin)
    y, outputs = y[:, inside, inside], [logits[:, inside, inside] for logits in outputs]
    logits = 3.0 * outputs[1]  # more confident than the members' mean: its entropy is plotted
    figure = uncertainty.picture(x, y, logits, outputs, NUCLEI)
    result = uncertainty.uncertainty(outputs)
    result["entropy"] = uncertainty.entropy(probabilities.of_logits(logits))
    assert uncertainty.least_certain(logits, y, 6).tolist() == list(range(6))
    shown = [axes.images[0] for axes in figure.axes[:16]]
    for row in range(4):
        truth, _, entropy, information = shown[4 * row : 4 * row + 4]
        assert truth.get_array().shape == (*y.shape[1:], 3)
        np.testing.assert_array_equal(entropy.get_array(), result["entropy"][row])
        np.testing.assert_array_equal(information.get_array(), result["mutual_information"][row])
        assert entropy.get_clim() == information.get_clim() == shown[2].get_clim()
    assert len(figure.axes) == 17  # including the colour bar
    figure.canvas.draw()


def test_the_page_names_the_classes_if_they_are_many():
    x, y, outputs = scene(1)
    three = [np.concatenate([-z, z, 0 * z], axis=-1) for z in outputs]
    figure = uncertainty.picture(x, y, three[0], three, {"classes": ["background", "cat", "dog"]})
    assert [text.get_text() for text in figure.legends[0].texts] == ["cat", "dog"]
    assert not uncertainty.picture(x, y, outputs[0], outputs, NUCLEI).legends


def test_tasks_without_maps_get_histograms_of_right_and_wrong():
    z = np.array([[4.0, 0], [4, 0], [0, 4], [0.5, 0], [0, 9]])
    y = np.array([0, 0, 1, 1, -1])  # three correct, one wrong, one void
    figure = uncertainty.picture(None, y, z, [z, z], {"classes": ["a", "b"]})
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_legend().texts]
    assert labels == ["correct (3)", "wrong (1)"]
    half = len(axes.patches) // 2
    correct, wrong = (
        [bar.get_height() for bar in part] for part in (axes.patches[:half], axes.patches[half:])
    )
    assert sum(correct) == pytest.approx(1) and sum(wrong) == pytest.approx(1)
    assert np.argmax(wrong) > np.argmax(correct)
    figure.canvas.draw()
