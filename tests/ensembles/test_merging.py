"""Merging of weights: each method against the equations of its paper, written out for numbers."""

import keras
import numpy as np
import pytest
from ensemble_members import classifier, record

import ensembles
from ensembles.combining import merging, soup, soup_model
from ensembles.members import opening
from zoo.weights import saving


def drawn(count, seed=0):
    """Return a base of two arrays and a counter, and members close to it."""
    rng = np.random.default_rng(seed)
    base = [rng.normal(size=(6, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)]
    members = [
        [a + rng.normal(0, 0.1, a.shape).astype(np.float32) for a in base] for _ in range(count)
    ]
    return [*base, np.array(0)], [[*arrays, np.array(i)] for i, arrays in enumerate(members)]


def test_slerp_keeps_the_norm_and_divides_the_angle():
    a, b = np.float32([2, 0]), np.float32([0, 2])
    third = merging.slerp(a, b, 1 / 3)
    np.testing.assert_allclose(third, [2 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6)], rtol=1e-6)
    (half,), averaged = merging.merge("slerp", [[a], [b]])
    np.testing.assert_allclose(half, [np.sqrt(2), np.sqrt(2)], rtol=1e-6)  # the mean has norm 1.41
    assert half.dtype == np.float32 and averaged == 0


def test_slerp_of_parallel_and_zero_arrays_is_linear():
    a = np.float32([1, 2])
    np.testing.assert_allclose(merging.slerp(a, 3 * a, 0.25), 1.5 * a, rtol=1e-6)
    np.testing.assert_allclose(merging.slerp(a, 0 * a, 0.25), 0.75 * a, rtol=1e-6)
    np.testing.assert_allclose(merging.slerp(a, -a, 0.5), 0 * a, atol=1e-6)


@pytest.mark.parametrize(("fraction", "place"), [(0.0, 0), (1.0, 1)])
def test_slerp_ends_at_its_members(fraction, place):
    _, members = drawn(2)
    merged, _ = merging.merge("slerp", members, fraction=fraction)
    for array, expected in zip(merged[:2], members[place][:2], strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-7)
    assert merged[2] == 0  # counters are the first member's


def test_ties_by_hand():
    # Trim to 4 of 6, elect the sign of the sum, average those that agree with it.
    base = [np.float32([1, 1, 1, 1]), np.float32([1, 1])]
    changes = [[[4, -3, 0.5, 2], [1, 0.1]], [[2, 5, 0.5, -1], [0.2, 3]]]
    members = [
        [own + np.float32(change) for own, change in zip(base, member, strict=True)]
        for member in changes
    ]
    merged, averaged = merging.merge("ties", members, base, density=4 / 6, scale=0.5)
    # Trimmed: [4 -3 0 2 | 1 0] and [2 5 0 -1 | 0 3]; signs + + 0 + | + +.
    expected = [[3, 5, 0, 2], [1, 3]]
    for array, own, change in zip(merged, base, expected, strict=True):
        np.testing.assert_allclose(array, own + 0.5 * np.float32(change), rtol=1e-6)
    assert averaged == 0


def test_ties_is_the_equation_of_the_paper():
    base, members = drawn(5)
    merged, _ = merging.merge("ties", members, base, density=0.3, scale=1.2)
    flat = [
        np.concatenate([(a - b).ravel() for a, b in zip(m[:2], base[:2], strict=True)])
        for m in members
    ]
    kept = []
    for tau in flat:
        order = np.argsort(-np.abs(tau))[: round(0.3 * len(tau))]
        kept.append(np.zeros_like(tau))
        kept[-1][order] = tau[order]
    expected = np.zeros_like(flat[0])
    for p in range(len(expected)):
        sign = np.sign(sum(tau[p] for tau in kept))
        agree = [tau[p] for tau in kept if tau[p] and np.sign(tau[p]) == sign]
        expected[p] = 1.2 * np.mean(agree) if agree else 0.0
    result = np.concatenate([(a - b).ravel() for a, b in zip(merged[:2], base[:2], strict=True)])
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_members_that_agree_in_all_signs_have_their_mean_in_ties():
    base, _ = drawn(1)
    members = [[base[0] + i, base[1] - i, base[2]] for i in (1, 2, 6)]
    merged, _ = merging.merge("ties", members, base, density=1.0)
    for array, mean in zip(merged, soup.uniform(members), strict=True):
        np.testing.assert_allclose(array, mean, rtol=1e-5, atol=1e-6)


def test_dare_drops_and_rescales_so_that_the_mean_is_kept():
    base, change = [np.zeros(100_000, np.float32)], np.float32(0.5)
    merged, _ = merging.merge("dare", [[base[0] + change]], base, density=0.25)
    values, counts = np.unique(merged[0], return_counts=True)
    np.testing.assert_allclose(values, [0, 0.5 / 0.25])
    assert counts[1] / 100_000 == pytest.approx(0.25, abs=0.01)
    assert merged[0].mean() == pytest.approx(0.5, abs=0.02)  # E[m δ / (1 - p)] = δ


def test_dare_draws_for_each_member_anew_and_the_same_for_a_seed():
    base, members = drawn(3)
    settings = dict(base=base, density=0.5)
    first, _ = merging.merge("dare", members, **settings)
    again, _ = merging.merge("dare", members, **settings)
    other, _ = merging.merge("dare", members, **settings, seed=1)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()
    twice, _ = merging.merge("dare", [members[0]] * 2, **settings)
    shares = (twice[0] - base[0]) / (members[0][0] - base[0])  # 0, 1 or 2 of two kept, over 2 x 0.5
    assert {*np.round(shares.ravel()).astype(int)} == {0, 1, 2}
    everything, _ = merging.merge("dare", members, base, density=1.0)
    np.testing.assert_allclose(everything[0], soup.uniform(members)[0], atol=1e-6)


@pytest.mark.parametrize("angle", [0, 30, 60, 90])
def test_model_stock_of_two_by_the_angle(angle):
    # t = 2 cos / (1 + cos); w = t (w1 + w2) / 2 + (1 - t) w0
    radians, origin = np.deg2rad(angle), np.float32([3, -1])
    a = origin + np.float32([1, 0])
    b = origin + np.float32([np.cos(radians), np.sin(radians)])
    (merged,), _ = merging.merge("model_stock", [[a], [b]], [origin])
    t = 2 * np.cos(radians) / (1 + np.cos(radians))
    np.testing.assert_allclose(merged, t * (a + b) / 2 + (1 - t) * origin, atol=1e-6)


def test_model_stock_of_more_uses_the_mean_cosine_of_each_array():
    base, members = drawn(4)
    shared = np.float32(np.random.default_rng(1).normal(0, 0.1, (6, 5)))
    members = [[arrays[0] + shared, *arrays[1:]] for arrays in members]
    merged, _ = merging.merge("model_stock", members, base)
    for i in range(2):
        changes = [(arrays[i] - base[i]).ravel().astype(np.float64) for arrays in members]
        cosines = [
            a @ b / np.sqrt((a @ a) * (b @ b))
            for j, a in enumerate(changes)
            for b in changes[j + 1 :]
        ]
        cosine = max(np.mean(cosines), 0)
        t = 4 * cosine / (1 + 3 * cosine)
        mean = np.mean([arrays[i] for arrays in members], axis=0)
        np.testing.assert_allclose(merged[i], t * mean + (1 - t) * base[i], atol=1e-5)
    assert 0 < cosine or t == 0


def test_opposed_changes_leave_the_base_in_model_stock():
    base = [np.float32([1, 2])]
    (merged,), _ = merging.merge("model_stock", [[base[0] + 1], [base[0] - 1]], base)
    np.testing.assert_allclose(merged, base[0])


@pytest.mark.parametrize("recipe", merging.ON_BASE)
def test_members_that_did_not_change_are_the_base(recipe):
    base, _ = drawn(1)
    merged, _ = merging.merge(recipe, [base] * 3, base)
    for array, own in zip(merged, base, strict=True):
        np.testing.assert_array_equal(array, own)


@pytest.mark.parametrize("recipe", merging.RECIPES)
def test_untrained_arrays_and_new_heads_are_averaged(recipe):
    base, members = drawn(2)
    base[1] = np.zeros(3, np.float32)  # of a head for other classes
    statistics = [np.float32([1, 4]), np.float32([3, 8])]  # moving variances stay positive
    members = [[*arrays, own] for arrays, own in zip(members, statistics, strict=True)]
    trained = [True, True, True, False]
    merged, averaged = merging.merge(recipe, members, [*base, statistics[0]], trained=trained)
    np.testing.assert_allclose(merged[3], [2, 6])
    if recipe in merging.ON_BASE:
        assert averaged == 1
        np.testing.assert_allclose(merged[1], np.mean([m[1] for m in members], axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("slerp", {}, "slerp is between two members, not 3"),
        ("ties", {"base": None}, "ties needs the base"),
        ("ties", {"density": 0.0}, "density is 0.0: give a number above 0, at most 1"),
        ("dare", {"density": 1.5}, "density is 1.5"),
        ("model_stock", {"base": [np.zeros(1)]}, "the base has 1 arrays of weights, and the mem"),
        ("model_stock", {"base": [np.zeros(1)] * 3}, "no array of the base has the shape"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(recipe, settings, message):
    base, members = drawn(3)
    with pytest.raises(ValueError, match=message):
        merging.merge(recipe, members, **{"base": base, **settings})
    with pytest.raises(ValueError, match="fraction of slerp is 2"):
        merging.merge("slerp", members[:2], fraction=2)
    with pytest.raises(ValueError, match="a and b cannot be averaged"):
        merging.merge(recipe, [members[0], members[1][:2]], base, names=["a", "b"])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Save a base and two members that were tuned from it; return the paths."""
    folder, rng = tmp_path_factory.mktemp("soup"), np.random.default_rng(0)
    base, info = folder / "base.keras", {"classes": list("abcd"), "channels": 3, "range": [0, 1]}
    facts = dict(info=info, model="net")
    saving.save(classifier(seed=0), base, record("image_classification", **facts))
    paths = []
    for name in ("one", "two"):
        model = classifier(seed=0)
        changed = [array + rng.normal(0, 0.1, array.shape) for array in model.get_weights()]
        model.set_weights(changed)
        settings = {"command": "python train.py --model net", "init": str(base)}
        paths.append(str(folder / f"{name}.keras"))
        more = dict(facts, settings=settings)
        saving.save(model, paths[-1], record("image_classification", **more))
    return str(base), paths


@pytest.mark.parametrize("recipe", soup_model.RECIPES)
def test_soups_of_files_are_their_merged_weights(files, recipe):
    base, members = files
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 32, 32, 3)).astype(np.float32), rng.integers(4, size=8)
    model = ensembles.soup(members, recipe, x, y)
    assert isinstance(model, keras.Model) and len(model.get_weights()) == 4
    weights = [saving.load(path).get_weights() for path in members]
    if recipe == "uniform":
        expected = soup.uniform(weights)
    elif recipe == "greedy":
        sets = [*weights, soup.uniform(weights)]
        assert any(
            all((a == b).all() for a, b in zip(model.get_weights(), arrays, strict=True))
            for arrays in sets
        )
        return
    else:
        own = saving.load(base).get_weights() if recipe in merging.ON_BASE else None
        expected, _ = merging.merge(recipe, weights, own)
    for array, other in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(array, other)


def test_the_base_is_that_of_all_records_or_given(files, tmp_path):
    base, members = files
    stranger = str(tmp_path / "stranger.keras")
    saving.save(saving.load(base), stranger, {**saving.record(base), "settings": {}})
    with pytest.raises(ValueError, match=r"stranger: unknown\). Give it: --base"):
        ensembles.soup([*members, stranger], "ties")
    assert ensembles.soup([*members, stranger], "ties", base=base) is not None
    with pytest.raises(ValueError, match="slerp has no base: leave it out"):
        ensembles.soup(members, "slerp", base=base)
    with pytest.raises(ValueError, match="greedy selects members by their scores: give x and y"):
        ensembles.soup(members, "greedy")
    with pytest.raises(ValueError, match="there is no recipe 'stew': give greedy, uniform"):
        ensembles.soup(members, "stew")
    _, warnings = soup_model.chosen_base(opening.open(members), "ties", stranger)
    assert warnings == [f"one, two: not tuned from {stranger}, by its record"]
