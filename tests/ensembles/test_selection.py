"""Ensemble selection matches Caruana et al., and fitted weights maximise the likelihood."""

import math

import numpy as np
import pytest

from ensembles.combining import combine, selection
from ensembles.evaluation import probabilities


def members(seed, count=5, shape=(60,), units=3):
    """Return logits of members of different accuracy, and labels, a tenth of them void."""
    rng = np.random.default_rng(seed)
    classes = max(units, 2)
    y = rng.integers(0, classes, shape)
    skill = rng.uniform(0, 2, count)
    logits = [s * np.eye(classes)[y] + rng.normal(size=(*shape, classes)) for s in skill]
    if units == 1:
        logits = [z[..., 1:] - z[..., :1] for z in logits]
    logits = [z.astype(np.float32) for z in logits]
    if seed % 2:
        logits[-1] = logits[0]  # a tie in every round
    y[rng.random(shape) < 0.1] = -1
    return logits, y


def accuracy(y, p):
    return float(np.mean((p.argmax(axis=-1) == y)[y >= 0]))


def likelihood(y, p):
    return -probabilities.negative_log_likelihood(p, y)


def logits_of(truth):
    """Return the single logits whose probabilities of class 1 are given."""
    truth = np.asarray(truth, np.float64)
    return np.log(truth / (1 - truth))[:, None]


def caruana(outputs, y, rounds, score):
    """Select as in the paper, with a new mean for each candidate."""
    p = [probabilities.of_logits(logits).astype(np.float64) for logits in outputs]
    bag, trajectory = [], []
    for size in range(1, rounds + 1):
        scores = {}
        for i in range(len(p)):
            mean = sum(p[j] for j in [*bag, i]) / size
            scores[i] = score(y, mean)
            if bag:
                scores[i] = round(scores[i], 6)
        best = max(scores.values())
        equal = [i for i in scores if scores[i] == best]
        bag.append(next((i for i in equal if i in bag), equal[0]))
        trajectory.append(round(best, 6))
    end = trajectory.index(max(trajectory)) + 1
    return [bag[:end].count(i) / end for i in range(len(p))], bag, trajectory


@pytest.mark.parametrize("units, shape", [(3, (60,)), (1, (60,)), (1, (4, 6, 5)), (4, (3, 8))])
@pytest.mark.parametrize("seed", range(6))
def test_selection_is_that_of_the_paper(seed, units, shape):
    outputs, y = members(seed, shape=shape, units=units)
    for metric, score in (("log_loss", likelihood), (likelihood, likelihood), (accuracy, accuracy)):
        weights, history = selection.select(outputs, y, rounds=12, metric=metric)
        wanted, bag, trajectory = caruana(outputs, y, 12, score)
        assert [step["added"] for step in history] == bag
        np.testing.assert_allclose([step["score"] for step in history], trajectory, atol=2e-6)
        np.testing.assert_allclose(weights, wanted)
        assert weights.dtype == np.float64 and weights.sum() == pytest.approx(1)


def test_two_members_that_err_apart_are_chosen_half_and_half():
    # Of (0.9, 0.4), (0.4, 0.9) and (0.55, 0.55) the first two have the mean (0.65, 0.65).
    truth = [(0.9, 0.4), (0.4, 0.9), (0.55, 0.55)]
    weights, history = selection.select([logits_of(p) for p in truth], np.ones(2, int), rounds=6)
    np.testing.assert_allclose(weights, [0.5, 0.5, 0])
    assert [step["added"] for step in history[:2]] == [0, 1]
    assert history[0]["score"] == pytest.approx(math.log(0.36) / 2, abs=1e-6)
    assert history[1]["score"] == pytest.approx(math.log(0.65), abs=1e-6)
    assert len(history) == 6  # later rounds are in the history only


def test_of_equals_a_member_that_is_chosen_goes_first():
    # The second member is right; with either of the first two added, so is the mean.
    outputs = [logits_of([0.45, 0.9]), logits_of([0.9, 0.9]), logits_of([0.2, 0.2])]
    _, history = selection.select(outputs, np.ones(2, int), rounds=3, metric=accuracy)
    assert [step["added"] for step in history] == [1, 1, 1]


def test_an_improvement_below_six_decimals_is_none():
    # Both halved would be better by the square of 1e-4 / 0.6, halved: 1.4e-8 nats.
    outputs = [logits_of([0.6 + 1e-4, 0.6 - 1e-4]), logits_of([0.6 - 1e-4, 0.6 + 1e-4])]
    weights, _ = selection.select(outputs, np.ones(2, int))
    np.testing.assert_array_equal(weights, [1, 0])


def test_the_first_round_of_the_best_score_ends_it():
    weights, history = selection.select([logits_of([0.7])], np.ones(1, int), rounds=5)
    np.testing.assert_array_equal(weights, [1])
    assert len({step["score"] for step in history}) == 1


def test_void_labels_count_nowhere():
    outputs, y = members(2, shape=(5, 7), units=1)
    changed = [np.where(y[..., None] < 0, 50 * (-1) ** i, a) for i, a in enumerate(outputs)]
    for find in (lambda o: selection.select(o, y)[0], lambda o: selection.search(o, y)):
        np.testing.assert_array_equal(find(outputs), find(changed))


def test_blocks_and_files_change_nothing(tmp_path, monkeypatch):
    outputs, y = members(4, shape=(9, 6, 5), units=1)
    mapped = []
    for i, logits in enumerate(outputs):
        np.save(tmp_path / f"{i}.npy", logits)
        mapped.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    expected = selection.select(outputs, y), selection.search(outputs, y)
    monkeypatch.setattr(probabilities, "BLOCK", 64)  # two of nine examples per block
    weights, history = selection.select(mapped, y)
    np.testing.assert_array_equal(weights, expected[0][0])
    assert history == expected[0][1]
    np.testing.assert_allclose(selection.search(mapped, y), expected[1], atol=1e-5)


def gain(truth, weights):
    """Return the gradient of the mean log-likelihood in the weights, (M,)."""
    return np.mean(truth / (weights @ truth), axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_searched_weights_are_the_best_of_a_fine_grid(seed):
    outputs, y = members(2 * seed, count=3, shape=(400,))
    truth = selection.true_class_probabilities(outputs, y).astype(np.float64)
    weights = selection.search(outputs, y)
    steps = 200
    grid = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    grid = np.array(grid) / steps
    values = np.log(grid @ truth).mean(axis=1)
    assert np.log(weights @ truth).mean() >= values.max() - 1e-9
    np.testing.assert_allclose(weights, grid[values.argmax()], atol=1.5 / steps)


@pytest.mark.parametrize("alike", [0.0, 0.95, 1.0], ids=["apart", "much alike", "equal"])
@pytest.mark.parametrize("count", [1, 2, 6, 15])
def test_searched_weights_meet_the_conditions_of_the_optimum(count, alike):
    # Karush-Kuhn-Tucker conditions: the gradient is 1 for members with a weight above 0, and at
    # most 1 for others; its excess over 1 bounds the gap to the maximum.
    outputs, y = members(count, count=count, shape=(500,))
    mean = np.mean(outputs, axis=0)
    outputs = [alike * mean + (1 - alike) * logits for logits in outputs]
    weights = selection.search(outputs, y)
    gradient = gain(selection.true_class_probabilities(outputs, y).astype(np.float64), weights)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    assert gradient.max() < 1 + 1e-5
    np.testing.assert_allclose(gradient[weights > 1e-3], 1, atol=1e-3)


def test_a_member_that_knows_nothing_gets_no_weight():
    outputs, y = members(0, count=2, shape=(2000,), units=1)
    good = [np.where(y[:, None] == 1, 1.2, -1.2) + outputs[0]]
    weights = selection.search([*good, np.zeros_like(outputs[1]) - 3], y)
    assert weights[1] < 0.02
    assert selection.select([*good, -good[0]], y)[0].tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_a_metric_that_is_climbed_is_no_worse_than_where_it_begins(seed):
    outputs, y = members(2 * seed, count=4, shape=(80,))
    weights = selection.search(outputs, y, metric=accuracy)
    p = np.stack([probabilities.of_logits(logits) for logits in outputs]).astype(np.float64)
    equal, likely = np.full(4, 0.25), selection.search(outputs, y)
    score, *begun = [
        accuracy(y, np.tensordot(w, p, 1).astype(np.float32)) for w in (weights, equal, likely)
    ]
    assert score >= max(begun)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights, selection.search(outputs, y, metric=accuracy))


def test_a_climb_leaves_where_it_begins():
    """Only the second member is always correct; log-loss and equal weights use both members."""
    outputs = [logits_of([0.999, 0.999, 0.02]), logits_of([0.6, 0.6, 0.6])]
    y = np.ones(3, int)
    assert accuracy(y, np.mean([probabilities.of_logits(z) for z in outputs], axis=0)) < 1
    weights = selection.search(outputs, y, metric=accuracy)
    assert accuracy(y, np.tensordot(weights, [probabilities.of_logits(z) for z in outputs], 1)) == 1


def test_a_climb_begins_at_equal_weights_and_at_the_most_likely_ones():
    outputs, y = members(0, count=3)
    p = np.stack([probabilities.of_logits(logits) for logits in outputs])
    likely = selection.search(outputs, y)
    assert np.abs(likely - 1 / 3).max() > 0.1
    for best in (np.full(3, 1 / 3), likely):
        optimum = np.tensordot(best, p, 1)  # the metric is 1 at this point and 0 elsewhere

        def metric(y, mean, optimum=optimum):
            return float(np.allclose(mean, optimum, atol=1e-6))

        np.testing.assert_allclose(selection.search(outputs, y, metric=metric), best)


def test_errors_say_what_is_wrong():
    outputs, y = members(0)
    with pytest.raises(ValueError, match="0 rounds"):
        selection.select(outputs, y, rounds=0)
    for find in (selection.select, selection.search):
        with pytest.raises(ValueError, match="all are void"):
            find(outputs, np.full_like(y, -1))


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("of", ["probabilities", "votes"])
def test_members_that_err_apart_are_right_as_often_as_the_binomial_says(count, of):
    # Members of equal confidence: their mean agrees with the majority vote.
    rng, right, n = np.random.default_rng(count), 0.7, 20_000
    y = rng.integers(0, 2, n)
    sign = np.where(rng.random((count, n)) < right, 1, -1) * (2 * y - 1)
    outputs = [(0.8 * signs[:, None]).astype(np.float32) for signs in sign]
    logits = combine.apply(combine.mixture([(1,)] * count, of=of), outputs, batch_size=4096)
    accuracy = np.mean((logits[:, 0] > 0) == y)
    majority = range(count // 2 + 1, count + 1)
    wanted = sum(math.comb(count, k) * right**k * (1 - right) ** (count - k) for k in majority)
    assert abs(accuracy - wanted) < 3 * math.sqrt(wanted * (1 - wanted) / n)
    assert wanted > right + 0.05
