"""Conformal sets and intervals: their arithmetic by hand, and their coverage on new examples."""

import numpy as np
import pytest

from ensembles.combining import presence
from ensembles.evaluation import conformal as fitting
from zoo.tasks.boxes.losses import COLUMNS, IGNORED, LABEL
from zoo.tasks.forecasting import forecasts
from zoo.tasks.targets import conformal, labels, report, values

DRAWS = 200


def test_the_quantile_by_hand():
    scores = np.arange(1, 10) / 10  # k = ceil(10 * 0.8) = 8
    assert conformal.quantile(scores, 0.8) == 0.8
    assert conformal.quantile(scores, 0.9) == 0.9
    assert conformal.quantile(scores, 0.91) == np.inf
    assert conformal.quantile([0.5, 0.5, 0.1], 0.5) == 0.5
    assert conformal.quantile([], 0.5) == np.inf
    assert [conformal.least(share) for share in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
    for share in (0.5, 0.8, 0.9, 0.95):
        enough = conformal.least(share)
        assert np.isfinite(conformal.quantile(np.zeros(enough), share))
        assert np.isinf(conformal.quantile(np.zeros(enough - 1), share))


def test_the_quantile_of_groups_bounds_their_mean_risk():
    # Three examples: risks at 0.5 are 1/2, 0, 0; (1/2 + 1) / 4 = 0.375.
    scores, groups = np.array([0.2, 0.9, 0.5, 0.4]), np.array([7, 7, 3, 5])
    assert conformal.quantile(scores, 0.625, groups) == 0.5
    assert conformal.quantile(scores, 0.63, groups) == 0.9
    # At 0.4 also the second one's: (1/2 + 1 + 1) / 4 = 0.625.
    assert conformal.quantile(scores, 0.375, groups) == 0.4


def test_scores_by_hand():
    p = np.array([[0.2, 0.5, 0.3]])
    np.testing.assert_allclose(conformal.scores(p, "lac"), [[0.8, 0.5, 0.7]])
    np.testing.assert_allclose(conformal.scores(p, "aps"), [[1.0, 0.5, 0.8]])
    raps = conformal.scores(p, "raps", penalty=0.1, free=1)
    np.testing.assert_allclose(raps, [[1.2, 0.5, 0.9]])


def test_sets_by_hand():
    p = np.array([[0.2, 0.5, 0.3], [0.05, 0.9, 0.05]])
    chosen = conformal.sets(p, {"method": "lac", "quantile": 0.7})
    np.testing.assert_array_equal(chosen, [[False, True, True], [False, True, False]])
    chosen = conformal.sets(p, {"method": "aps", "quantile": 0.85})
    np.testing.assert_array_equal(chosen, [[False, True, True], [False, True, False]])
    never_empty = conformal.sets(p, {"method": "lac", "quantile": 0.0})
    np.testing.assert_array_equal(never_empty.sum(axis=-1), [1, 1])


def population(seed, count, classes=5):
    """Return logits that are too confident, and labels of other probabilities."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, classes))
    p = report.softmax(z)
    y = (rng.random(count)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, classes - 1)
    return 3 * z + rng.normal(size=z.shape), y


def bound(shares, promised, count):
    """Check the mean coverage of draws: at least as promised, and not much more, 4 errors."""
    error = np.std(shares) / np.sqrt(len(shares))
    assert promised - 4 * error <= np.mean(shares) <= promised + 1 / (count + 1) + 4 * error
    assert error < 0.01


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
@pytest.mark.parametrize("promised", [0.8, 0.9])
def test_sets_of_classes_have_the_promised_coverage(method, promised):
    shares, count = [], 100
    for seed in range(DRAWS):
        z, y = population(seed, 3 * count)
        tuning = z[:count], y[:count], None
        middle = slice(count, 2 * count)
        settings = fitting.for_classes(z[middle], y[middle], promised, method, None, tuning)
        known = fitting.of_classes(z[2 * count :], y[2 * count :], settings, "abcde")
        shares.append(known["coverage"])
        assert sum(known["sizes"].values()) == pytest.approx(1)
    bound(shares, promised, count)


def test_raps_has_smaller_sets_than_aps_and_lac_the_smallest():
    z, y = population(0, 9000, 20)
    parts = [(z[k : k + 3000], y[k : k + 3000]) for k in (0, 3000, 6000)]
    sizes = {}
    for method in conformal.SETS:
        settings = fitting.for_classes(*parts[1], 0.9, method, None, (*parts[0], None))
        sizes[method] = fitting.of_classes(*parts[2], settings, range(20))["size"]
    assert sizes["lac"] < sizes["raps"] + 0.05 and sizes["raps"] < sizes["aps"]


def maps(seed, count, side=6):
    """Return logits and labels of images whose pixels are all difficult or all easy."""
    rng = np.random.default_rng(seed)
    difficulty = rng.exponential(size=(count, 1, 1))
    y = rng.integers(0, 2, (count, side, side))
    z = (2 * y - 1) + 2 * difficulty * rng.normal(size=y.shape)
    y[rng.random(y.shape) < 0.1] = -1
    return z[..., None], y


def test_sets_of_pixels_have_the_promised_coverage_of_images():
    shares, count = [], 60
    for seed in range(DRAWS):
        z, y = maps(seed, count + 40)
        images = np.arange(count + 40)
        settings = fitting.for_classes(z[:count], y[:count], 0.8, "lac", images[:count])
        rest = fitting.of_classes(z[count:], y[count:], settings, "ab", images[count:])
        shares.append(rest["coverage"])
    bound(shares, 0.8, count)


def series(seed, count):
    """Return values (n, 2, 3) and predictions of them, with errors that grow with the latter."""
    rng = np.random.default_rng(seed)
    outputs = rng.uniform(0, 2, (count, 2, 3))
    return outputs, outputs + (0.2 + outputs) * rng.standard_t(3, outputs.shape)


@pytest.mark.parametrize("method", conformal.INTERVALS)
def test_intervals_have_the_promised_coverage(method):
    shares, count = [], 50
    for seed in range(DRAWS):
        outputs, y = (array[:, :1, :1] for array in series(seed, 2 * count + 100))
        tuning = outputs[:count], y[:count]
        middle, rest = slice(count, 2 * count), slice(2 * count, None)
        settings = fitting.for_values(outputs[middle], y[middle], 0.9, method, None, tuning)
        shares.append(fitting.of_values(outputs[rest], y[rest], settings)["coverage"].mean())
    bound(shares, 0.9, count)


def test_conditional_quantiles_follow_the_size_of_the_errors():
    (outputs, y), (others, _) = series(0, 4000), series(1, 500)
    settings = fitting.for_values(outputs[2000:], y[2000:], 0.8, "quantile", None, (outputs, y))
    low, high = conformal.offsets(others, settings)
    width = high - low
    assert np.corrcoef(others.ravel(), width.ravel())[0, 1] > 0.9
    assert width[others < 0.2].mean() < 0.4 * width[others > 1.8].mean()
    plain = fitting.for_values(outputs[2000:], y[2000:], 0.8, "split")
    assert np.ptp(conformal.offsets(others, plain)[1] - conformal.offsets(others, plain)[0]) < 2


def test_too_few_examples_are_told():
    z, y = population(0, 8)
    with pytest.raises(ValueError, match="8 examples are too few for a coverage of 0.9.*needs 9"):
        fitting.for_classes(z, y, 0.9, "lac")
    with pytest.raises(ValueError, match="8 examples are too few"):
        fitting.for_values(z, z, 0.9, "split")


def test_classes_are_decoded_with_their_sets():
    info = {"classes": ["a", "b", "c"], "conformal": {"method": "lac", "quantile": 0.7}}
    (decoded,) = report.decode(np.log([[0.2, 0.5, 0.3]]), info)
    assert decoded["class"] == "b" and decoded["set"] == ["b", "c"]
    row = report.row(decoded, info)
    assert row["set"] == "b;c" and row["arrays"] == {"set": ["b", "c"]}
    assert report.caption(decoded) == "b  50%\nor c"
    (plain,) = report.decode(np.log([[0.2, 0.5, 0.3]]), {"classes": ["a", "b", "c"]})
    assert "set" not in plain and report.row(plain, {}) == plain


def test_labels_are_decoded_as_certain_and_possible():
    info = {"classes": ["a", "b", "c"], "conformal": {"method": "lac", "quantile": 0.75}}
    z = np.log([[0.9 / 0.1, 0.6 / 0.4, 0.1 / 0.9]])
    (decoded,) = labels.decode(z, info)
    assert decoded["labels"] == ["a", "b"]
    assert decoded["certain"] == ["a"] and decoded["possible"] == ["a", "b"]
    row = labels.row(decoded, info)
    assert row["possible"] == "a;b" and row["arrays"]["certain"] == ["a"]


def test_values_are_decoded_with_their_intervals():
    info = {"columns": ["m"], "mean": [10.0], "deviation": [2.0]}
    info["conformal"] = {"lower": [-0.5], "upper": [1.5]}
    (decoded,) = values.decode(np.array([[1.0]]), info)
    assert decoded == {"values": {"m": 12.0}, "lower": {"m": 11.0}, "upper": {"m": 15.0}}
    row = values.row(decoded, info)
    assert (row["m"], row["m lower"], row["m upper"]) == (12.0, 11.0, 15.0)
    assert values.TARGET.caption(decoded, info) == "12  (11 to 15)"


def test_forecasts_take_the_intervals_instead_of_those_of_the_training():
    info = {"columns": ["v"], "targets": 1, "mean": [0.0], "deviation": [2.0]}
    info["found"] = {"level": 0.9, "lower": [[-9.0]] * 2, "upper": [[9.0]] * 2}
    info["conformal"] = {"lower": [[-1.0], [-2.0]], "upper": [[1.0], [2.0]]}
    outputs = np.array([[[1.0], [1.0]], [[3.0], [3.0]]])
    forecast, low, high = forecasts.between(outputs, info)
    np.testing.assert_allclose((high - forecast)[:, :, 0], [[2, 4], [2, 4]])
    slopes = {"lower": [[[-1.0]] * 2, [[0.5]] * 2], "upper": [[[1.0]] * 2, [[2.0]] * 2]}
    info["conformal"] |= {"slopes": slopes, "lower": [[0.0]] * 2, "upper": [[0.0]] * 2}
    forecast, low, high = forecasts.between(outputs, info)
    np.testing.assert_allclose(low[:, 0, 0], [2 * (0.5 - 1), 2 * (1.5 - 1)])
    np.testing.assert_allclose(high[:, 0, 0], [2 * (2 + 1), 2 * (6 + 1)])
    longer = np.concatenate([outputs, outputs], axis=1)
    forecast, low, high = forecasts.between(longer, info)
    assert high.shape == (2, 4, 1) and (np.diff((high - forecast)[:, 1:, 0]) >= 0).all()
    forecast, low, high = forecasts.between(outputs[:, :1], info)
    np.testing.assert_allclose(high[:, 0, 0], [6, 14])


def objects(*corners):
    """Return true boxes (3, 7) of class 0, the last one ignored, and padding."""
    rows = np.zeros((3, COLUMNS), np.float32)
    rows[:, LABEL] = -1
    for row, own in zip(rows, corners, strict=False):
        row[:4], row[LABEL] = own, 0
    rows[len(corners) - 1, IGNORED] = 1
    return rows


def test_objects_are_missed_from_the_score_of_their_box_on():
    y = objects((0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 60))
    boxes = np.array(
        [[0, 0, 10, 9, 0.7, 0], [1, 0, 10, 10, 0.9, 0], [20, 20, 30, 30, 0.8, 1]], np.float32
    )
    missing, images = presence.misses([boxes, boxes[:0]], np.stack([y, y]))
    np.testing.assert_allclose(missing, [0.1, 1.0, 1.0, 1.0], atol=1e-6)
    np.testing.assert_array_equal(images, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="finds 25.0% of the objects at any score"):
        presence.check(conformal.quantile(missing, 0.6, images), missing, images, 0.6)
    with pytest.raises(ValueError, match="2 images with objects are too few"):
        presence.check(conformal.quantile(missing, 0.9, images), missing, images, 0.9)


def test_boxes_hold_the_promised_share_of_objects():
    shares, count = [], 50
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        images = np.repeat(np.arange(count + 50), rng.integers(1, 8, count + 50))
        missing = rng.beta(1, 4 * rng.random(count + 50)[images] + 0.5)
        first = images < count
        highest = conformal.quantile(missing[first], 0.8, images[first])
        hit = missing[~first] <= highest
        shares.append(fitting.mean_by_group(hit, images[~first]))
    bound(shares, 0.8, count)
