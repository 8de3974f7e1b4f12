"""Soups: weights are averaged, counters are not, a greedy soup is no worse than its best member."""

import keras
import numpy as np
import pytest

from ensembles.combining import soup


def weights(*values, shape=(2, 3)):
    """Return the weights of members: a kernel, a bias and a counter, all of one value."""
    return [
        [np.full(shape, v, np.float32), np.full(shape[-1], -v, np.float32), np.array(int(v))]
        for v in values
    ]


def test_uniform_is_the_mean_and_takes_integers_from_the_first():
    kernel, bias, counter = soup.uniform(weights(1, 2, 6))
    np.testing.assert_array_equal(kernel, np.full((2, 3), 3, np.float32))
    np.testing.assert_array_equal(bias, np.full(3, -3, np.float32))
    assert kernel.dtype == bias.dtype == np.float32
    assert counter == 1


def test_a_soup_of_equal_weights_is_these_weights():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(5, 4)).astype(np.float32), rng.integers(0, 9, 2, np.uint32)]
    for array, wanted in zip(soup.uniform([arrays] * 3), arrays, strict=True):
        np.testing.assert_array_equal(array, wanted)
        assert array.dtype == wanted.dtype


def test_the_mean_keeps_small_differences_of_many():
    many = [[np.full(3, 1 + i * 2**-20, np.float32)] for i in range(64)]
    np.testing.assert_array_equal(soup.uniform(many)[0], np.float32(1 + 31.5 * 2**-20))


def test_members_are_left_as_they_are():
    members = weights(1, 2)
    soup.greedy(members, [0.1, 0.2], lambda averaged: 1.0)
    for array, wanted in zip(sum(members, []), sum(weights(1, 2), []), strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_what_fits_not_together_is_named():
    members = [*weights(1), *weights(2, shape=(2, 4))]
    with pytest.raises(ValueError) as caught:
        soup.uniform(members, names=["runs/a", "runs/b"])
    for part in ("runs/a and runs/b", "1 is (2, 3) and (2, 4)", "2 is (3,) and (4,)", "average"):
        assert part in str(caught.value)
    assert "3 is" not in str(caught.value)  # the counters are equal
    with pytest.raises(ValueError, match=r"member 1 and member 3 .* 3 arrays.*, the other 2"):
        soup.uniform([*weights(1, 1), weights(1)[0][:2]])
    with pytest.raises(ValueError, match="runs/b"):
        soup.greedy(members, [1, 2], lambda averaged: 0.0, names=["runs/a", "runs/b"])
    long = [[np.zeros(i)] * 9 for i in (1, 2)]
    with pytest.raises(ValueError, match="and 6 more differ"):
        soup.uniform(long)


def test_greedy_adds_from_the_best_and_keeps_what_does_not_harm():
    # The closer the mean is to 4, the better: 5 alone, not 9, then 3, then not 0.
    members = weights(0, 5, 9, 3)
    tried = []

    def evaluate(averaged):
        tried.append(float(averaged[0][0, 0]))
        return -abs(tried[-1] - 4)

    scores = [-4, -1, -1.5, -2]
    result, chosen, history = soup.greedy(members, scores, evaluate)
    assert tried == pytest.approx([7, 4, 8 / 3])
    assert chosen == [1, 3]
    np.testing.assert_array_equal(result[0], np.full((2, 3), 4, np.float32))
    assert result[2] == 5  # the counter of the best member
    assert [step["tried"] for step in history] == [1, 2, 3, 0]
    assert [step["kept"] for step in history] == [True, False, True, False]
    assert [step["score"] for step in history] == pytest.approx([-1, -3, 0, -4 / 3])


def test_of_equal_scores_the_first_goes_first_and_equal_soups_are_kept():
    _, chosen, _ = soup.greedy(weights(1, 2, 3), [0.5, 0.5, 0.5], lambda averaged: 0.5)
    assert chosen == [0, 1, 2]


def test_if_nothing_helps_the_best_is_left():
    members = weights(1, 2, 3)
    result, chosen, _ = soup.greedy(members, [0.1, 0.9, 0.2], lambda averaged: float("nan"))
    assert chosen == [1]
    assert result[0][0, 0] == 2


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_never_worse_than_the_best_member(seed):
    rng = np.random.default_rng(seed)
    target, members = rng.normal(size=4), [[rng.normal(size=4)] for _ in range(6)]

    def evaluate(averaged):
        return -float(np.sum((averaged[0] - target) ** 2))

    scores = [evaluate(arrays) for arrays in members]
    result, chosen, history = soup.greedy(members, scores, evaluate)
    accepted = [step["score"] for step in history if step["kept"]]
    assert evaluate(result) == pytest.approx(accepted[-1])
    assert accepted[-1] >= max(scores) and accepted == sorted(accepted)
    np.testing.assert_allclose(result[0], np.mean([members[i][0] for i in chosen], axis=0))


def test_the_soup_of_linear_models_is_the_mean_of_what_they_say():
    def build(seed):
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Dropout(0.5), keras.layers.Dense(3, bias_initializer="normal")]
        return keras.Sequential([keras.Input((4,)), *layers])

    models = [build(seed) for seed in range(3)]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    wanted = np.mean([model.predict_on_batch(x) for model in models], axis=0)
    models[0].set_weights(soup.uniform([model.get_weights() for model in models]))
    np.testing.assert_allclose(models[0].predict_on_batch(x), wanted, atol=1e-6)
