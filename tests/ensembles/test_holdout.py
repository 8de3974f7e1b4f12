"""The held-out part for a meta-learner is stratified and does not divide images."""

import types

import numpy as np
import pytest

from datasets.splits import Arrays
from ensembles.combining import holdout
from ensembles.members import cache


def common(series):
    """Return what members of a task with or without series share, as far as it matters here."""
    data = types.SimpleNamespace(series=series)
    return types.SimpleNamespace(task=types.SimpleNamespace(data=data))


Common, Forecasts = common(False), common(True)


def test_rows_in_the_order_of_their_classes():
    y = np.repeat(np.arange(10), 20)
    fit, held = holdout.split(cache.Examples(y, y), y, Common)
    np.testing.assert_array_equal(np.sort(np.concatenate([fit, held])), np.arange(200))
    np.testing.assert_array_equal(np.bincount(y[held]), 3)
    np.testing.assert_array_equal(np.bincount(y[fit]), 17)
    again = holdout.split(cache.Examples(y, y), y, Common)
    np.testing.assert_array_equal(held, again[1])
    assert not np.array_equal(held, holdout.split(cache.Examples(y, y), y, Common, seed=1)[1])
    assert (np.diff(held) > 0).all() and (np.diff(fit) > 0).all()


def test_a_class_of_one_example_is_fitted_to():
    y = np.array([0] * 10 + [1] + [2] * 2)
    fit, held = holdout.random_split(y)
    assert {*y[fit]} == {0, 1, 2} and {*y[held]} == {0, 2}


@pytest.mark.parametrize("y", [[0, 1], [0, 0], [0, 1, 2, 3], [1] * 7])
def test_few_examples_and_constant_labels(y):
    fit, held = holdout.random_split(np.array(y))
    assert len(fit) and len(held) == max(1, round(0.15 * len(y)))
    assert {*fit, *held} == {*range(len(y))}


def test_one_example_is_too_few():
    with pytest.raises(ValueError, match="1 examples are too few"):
        holdout.split(cache.Examples([0], [0]), np.zeros(1), Common)


@pytest.mark.parametrize("maps", [False, True])
def test_pieces_of_one_image_stay_together(maps):
    groups = np.repeat(np.arange(20), 6)
    y = np.zeros((120, 4, 4)) if maps else groups % 2
    fit, held = holdout.split(cache.Examples(y, y, groups), y, Common)
    assert not {*groups[fit]} & {*groups[held]}
    assert len({*groups[held]}) == (3 if maps else 4)
    alone = holdout.random_split(y, np.zeros(120))
    assert len(alone[0]) and len(alone[1])


def test_windows_are_held_out_by_time_with_a_gap_and_from_each_series():
    rows = np.concatenate([np.arange(100), 150 + np.arange(60)])
    y = np.zeros((160, 8, 1))
    data = Arrays(None, None, rows)
    fit, held = holdout.split(data, y, Forecasts)
    np.testing.assert_array_equal(held, [*range(85, 100), *range(151, 160)])
    np.testing.assert_array_equal(fit, [*range(78), *range(100, 144)])
    steps = [{*np.ravel(rows[part][:, None] + np.arange(8))} for part in (fit, held)]
    assert not steps[0] & steps[1], "no forecast step is in both"


@pytest.mark.parametrize("count", [2, 5, 20])
def test_few_windows_leave_something_to_fit(count):
    fit, held = holdout.split(cache.Examples(None, None), np.zeros((count, 24, 1)), Forecasts)
    assert len(fit) >= (count - len(held)) // 2 and len(held)
    assert max(fit) < min(held)


def test_one_window_of_each_series():
    fit, held = holdout.split_by_time(np.arange(6) * 100, 24)
    assert len(held) == 1 and len(fit) == 5


def test_prepared_examples_know_what_they_are_pieces_of():
    def groups(*places):
        places = np.array(places)
        return Arrays(None, None, np.arange(len(places)), places).groups

    files = groups((0, 0, 0), (0, 0, 1), (1, 1, 0), (2, 2, 0))
    assert files.tolist() == [0, 0, 1, 2]
    images = groups((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 2, 0))  # two files are divided
    assert images.tolist() == [0, 0, 1, 2]
    blocks = groups((0, 0, 0), (0, 0, 4), (0, 0, 4))
    assert blocks.tolist() == [0, 1, 1]
    assert Arrays(None, None, np.arange(3)).groups is None


def test_parts_of_several_folds_keep_their_groups_apart():
    parts = [cache.Examples(np.zeros(4), np.zeros(4), np.array([0, 0, 1, 1]))] * 2
    assert cache.Chained(parts).groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert cache.Chained([*parts, cache.Examples([0], [0])]).groups is None
