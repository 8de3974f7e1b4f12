"""Bootstrap intervals match the tasks' scores and have the expected width."""

import numpy as np
import pytest

from ensembles.evaluation import intervals
from zoo import tasks


def labelled(count, classes, rng, right=0.8):
    """Return labels (n,) and logits (n, K), of which a share is correct."""
    y = rng.integers(classes, size=count)
    guess = np.where(rng.random(count) < right, y, rng.integers(classes, size=count))
    return y, np.eye(classes)[guess] * 5.0


def maps(count, units, rng):
    """Return masks (n, 8, 8) with void pixels, and logits (n, 8, 8, K)."""
    classes = max(units, 2)
    y = rng.integers(-1, classes, size=(count, 8, 8))
    return y, rng.normal(size=(count, 8, 8, units)) + 2.0 * (
        y[..., None] == np.arange(1, 2) if units == 1 else y[..., None] == np.arange(units)
    )


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("image_classification", 5),
        ("pointcloud_segmentation", 4),
        ("image_segmentation", 1),
        ("image_segmentation", 4),
    ],
)
def test_a_draw_of_every_example_once_is_the_score_of_the_task(name, units):
    task, rng = tasks.get(name), np.random.default_rng(0)
    info = {"classes": [f"c{i}" for i in range(max(units, 2))]}
    y, logits = labelled(60, units, rng) if name.endswith("classification") else maps(6, units, rng)
    if name == "pointcloud_segmentation":
        y, logits = y.reshape(6, 64), logits.reshape(6, 64, units)
    statistics = intervals.statistics(task, info, y, logits)
    once = np.ones((1, len(y)), np.float32)
    first, scores = intervals.first_score(task), task.results.evaluate(y, logits, info)[0]
    assert intervals.resampled(statistics, first, once)[0] == pytest.approx(scores[first], rel=1e-6)
    for name in intervals.SCORES.keys() & scores.keys() - {first}:
        value = intervals.resampled(statistics, name, once)[0]
        assert value == pytest.approx(scores[name], rel=1e-6), name


def test_an_interval_is_as_wide_as_a_binomial_share_varies():
    rng = np.random.default_rng(1)
    y, logits = labelled(400, 2, rng, right=0.7)
    statistics = intervals.counts(y, logits, {"classes": ["a", "b"]})
    weights = intervals.draws(400)
    share = intervals.resampled(statistics, "accuracy", np.ones((1, 400), np.float32))[0]
    low, high = intervals.interval(intervals.resampled(statistics, "accuracy", weights))
    expected = 2 * 1.96 * np.sqrt(share * (1 - share) / 400)
    assert low < share < high and high - low == pytest.approx(expected, rel=0.15)
    grouped = intervals.draws(400, groups=np.arange(400) // 40)
    assert all(len(set(row.reshape(10, 40)[:, 0])) >= 1 for row in grouped)
    assert (grouped.reshape(-1, 10, 40) == grouped.reshape(-1, 10, 40)[..., :1]).all()


def test_the_gain_is_paired_with_the_best_member():
    rng = np.random.default_rng(2)
    y, good = labelled(300, 3, rng, right=0.8)
    better = good.copy()
    better[:30] = np.eye(3)[y[:30]]  # always correct here; the rest is the same
    rows = [
        {"name": name, "kind": kind, "scores": {"accuracy": float((z.argmax(-1) == y).mean())}}
        for name, kind, z in (("a", "member", good), ("stack", "ensemble", better))
    ]
    statistics = [intervals.counts(y, z, {"classes": ["a", "b", "c"]}) for z in (good, better)]
    intervals.add(rows, statistics, "accuracy", intervals.draws(300))
    assert "gain" not in rows[0] and rows[1]["gain"]["over"] == "a"
    assert rows[1]["gain"]["value"] > 0 and rows[1]["gain"]["interval"][0] >= 0
    wide = np.subtract(*rows[1]["interval"][::-1])
    assert np.subtract(*rows[1]["gain"]["interval"][::-1]) < wide, "what both share cancels"


def test_errors_of_windows_are_drawn_in_blocks():
    errors = np.repeat(np.arange(10.0), 50)  # neighbours are equal
    apart = intervals.resampled(errors, "mse", intervals.draws(500))
    blocks = intervals.resampled(errors, "mse", intervals.draws(500, block=50))
    assert np.std(blocks) > 4 * np.std(apart)
