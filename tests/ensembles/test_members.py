"""Members: which models are opened or refused, and how they are combined in an ensemble."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from ensemble_members import classifier, images, mapper, record

import ensembles
from ensembles.combining import combine
from ensembles.members import cache, checks, opening, provenance
from zoo.inference import export
from zoo.nn import ensemble
from zoo.weights import saving

ROOT = pathlib.Path(__file__).parents[2]
SIGMOID, SOFTMAX = keras.activations.sigmoid, keras.activations.softmax


def saved(folder, model, name, **changes):
    """Save a model with its record, and return its path."""
    path = folder / f"{name}.keras"
    saving.save(model, path, record(**changes))
    return path


@pytest.fixture
def two(tmp_path):
    return [saved(tmp_path, mapper(seed=seed), f"seed_{seed}") for seed in (0, 1)]


def test_the_same_file_twice_and_a_third_are_joined_under_names_of_their_own(two):
    opened = opening.open([two[0], two[0], two[1]])
    assert [member.name for member in opened] == ["seed_0", "seed_0 (2)", "seed_1"]
    assert [member.layer for member in opened] == ["member_1", "member_2", "member_3"]
    model = ensembles.average([two[0], two[0], two[1]])
    assert not model.trainable_weights
    x, _ = images()
    first, second = (saving.load(path).predict(x, verbose=0) for path in two)
    mean = (2 / (1 + np.exp(-first)) + 1 / (1 + np.exp(-second))) / 3
    np.testing.assert_allclose(1 / (1 + np.exp(-model.predict(x, verbose=0))), mean, atol=1e-6)


def test_an_ensemble_saves_loads_exports_and_is_a_member_again(two, tmp_path):
    model, (x, _) = ensembles.average(two), images()
    path = tmp_path / "ensemble.keras"
    saving.save(model, path, record())
    again = saving.load(path)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert export.export(again, tmp_path / "ensemble.onnx", "onnx") < 1e-4
    both = ensembles.average([path, two[0]], weights=[1, 0])
    np.testing.assert_allclose(both.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize("ending", ["activation", "layer", "Activation", "Softmax", "operation"])
@pytest.mark.parametrize("units", [1, 3])
def test_sigmoid_and_softmax_are_told_by_the_layer_and_taken_off(tmp_path, units, ending):
    kind = SIGMOID if units == 1 else SOFTMAX
    plain = mapper(units=units)
    model = mapper(units=units, ending=kind if ending == "activation" else None)
    if ending == "Activation":
        y = keras.layers.Activation(kind)(model.output)
    elif ending == "operation":
        y = kind(model.output) if units == 3 else keras.ops.sigmoid(model.output)
    elif ending == "Softmax" and units == 3:
        y = keras.layers.Softmax()(model.output)
    elif ending == "layer":
        y = mapper("outer", channels=units, units=units, ending=kind)(model.output)
    if ending in ("Activation", "operation", "layer") or ending == "Softmax" and units == 3:
        model = keras.Model(model.input, y)
    elif ending == "Softmax":
        return
    path = tmp_path / "model.keras"
    model.save(path)
    opened = opening.open([path])
    assert opened[0].ending == ("sigmoid" if units == 1 else "softmax")
    x, _ = images()
    expected = model.predict(x, verbose=0)
    logits = opened[0].load(checks.check(opened)).predict(x, verbose=0)
    probabilities = keras.ops.sigmoid(logits) if units == 1 else keras.ops.softmax(logits)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(probabilities), expected, atol=1e-6)
    if ending != "layer":
        np.testing.assert_allclose(logits, plain.predict(x, verbose=0), atol=1e-6)


def test_a_saturated_sigmoid_keeps_its_logits(tmp_path):
    model = mapper(ending=SIGMOID)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * 0, bias + 40])  # the probability is 1
    model.save(tmp_path / "sure.keras")
    opened = opening.open([tmp_path / "sure.keras"])
    logits = opened[0].load(checks.check(opened)).predict(images()[0], verbose=0)
    np.testing.assert_allclose(logits, 40.0)


def test_members_of_other_sizes_get_a_resize_in_front_and_behind(tmp_path):
    paths = [saved(tmp_path, mapper(size=size), f"s{size}") for size in (32, 16)]
    paths.append(saved(tmp_path, mapper(), "any"))
    opened = opening.open(paths)
    common = checks.check(opened)
    assert common.input_shape == (32, 32, 1)
    x, _ = images()
    logits = opened[1].load(common).predict(x, verbose=0)
    small = keras.ops.image.resize(x, (16, 16))
    small = saving.load(paths[1]).predict(keras.ops.convert_to_numpy(small), verbose=0)
    wanted = keras.ops.convert_to_numpy(keras.ops.image.resize(small, (32, 32)))
    np.testing.assert_allclose(logits, wanted, atol=1e-5)
    assert ensembles.average(paths).predict(x, verbose=0).shape == (6, 32, 32, 1)


def test_one_logit_and_two_go_together(tmp_path):
    one = saved(tmp_path, mapper(units=1), "one")
    two = saved(tmp_path, mapper(units=2, seed=1), "two")
    opened = opening.open([one, two])
    common = checks.check(opened)
    assert common.units == 1
    x, _ = images()
    pair = saving.load(two).predict(x, verbose=0)
    logits = opened[1].load(common).predict(x, verbose=0)
    np.testing.assert_allclose(logits[..., 0], pair[..., 1] - pair[..., 0], atol=1e-6)


CLASH = {
    "their task": dict(task="image_classification"),
    "their classes": dict(info={**record()["info"], "classes": ["background", "crack"]}),
    "the order of their classes": dict(
        info={**record()["info"], "classes": ["nucleus", "background"]}
    ),
    "the scale of their inputs, range": dict(info={**record()["info"], "range": [0.0, 1.0]}),
    "the option normalize": dict(
        task_options={**record()["task_options"], "normalize": "image"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CLASH)
def test_records_that_differ_are_refused_naming_both(two, tmp_path, what):
    other = saved(tmp_path, mapper(), "stranger", **CLASH[what])
    with pytest.raises(ValueError, match=f"seed_0 and stranger cannot be combined: {what}"):
        checks.check(opening.open([two[0], other]))


@pytest.mark.parametrize(
    "other, what",
    [
        (lambda: mapper(channels=3), "their numbers of input channels are 1 and 3"),
        (lambda: mapper(units=3), "their numbers of classes are 1 and 3"),
        (lambda: classifier(), "their numbers of input channels are 1 and 3"),
        (lambda: keras.Sequential([keras.Input((8, 3)), keras.layers.Dense(1)]), "of shape"),
    ],
)
def test_networks_that_differ_are_refused_naming_both(two, tmp_path, other, what):
    other().save(tmp_path / "stranger.keras")
    with pytest.raises(ValueError, match=f"seed_0 and stranger cannot be combined: .*{what}"):
        checks.check(opening.open([two[0], tmp_path / "stranger.keras"]))


def test_what_cannot_be_a_member_is_refused_by_name(two, tmp_path):
    relu = mapper(ending="relu")
    relu.save(tmp_path / "relu.keras")
    with pytest.raises(ValueError, match=r"relu\.keras: it ends in relu"):
        opening.open([two[0], tmp_path / "relu.keras"])
    single = mapper(ending=SOFTMAX)
    single.save(tmp_path / "single.keras")
    with pytest.raises(ValueError, match=r"single\.keras: .*softmax over one output"):
        opening.open([tmp_path / "single.keras"])
    several = keras.Model(relu.input, [relu.output, relu.output])
    several.save(tmp_path / "several.keras")
    with pytest.raises(ValueError, match=r"several\.keras: it has 2 outputs"):
        opening.open([tmp_path / "several.keras"])
    (tmp_path / "torn.keras").write_bytes(two[0].read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"torn\.keras: "):
        opening.open([two[0], tmp_path / "torn.keras"])


def test_weights_of_another_order_are_refused_and_change_nothing(two, tmp_path):
    right, swapped = ensembles.average(two), ensembles.average(two[::-1])
    right.save_weights(tmp_path / "w.weights.h5")
    right.load_weights(tmp_path / "w.weights.h5")
    before = swapped.get_weights()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="in another order"):
        swapped.load_weights(tmp_path / "w.weights.h5")
    for old, new in zip(before, swapped.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_member_that_was_changed_inside_the_file_is_noticed(two, tmp_path):
    model = ensembles.average(two)
    model.get_layer("member_2").weights[0].assign_add(model.get_layer("member_2").weights[0])
    saving.save(model, tmp_path / "changed.keras", record())
    with pytest.raises(ValueError, match=r"changed\.keras: the weights of its member member_2"):
        saving.load(tmp_path / "changed.keras")


def test_the_digest_knows_weights_and_no_dropout_state():
    model, copy = mapper(seed=3), mapper(seed=3)
    copy.get_layer("dropout").seed_generator.state.assign([7, 7])
    assert ensemble.digest(model) == ensemble.digest(copy)
    copy.weights[0].assign_add(1e-6 * np.ones(copy.weights[0].shape))
    assert ensemble.digest(model) != ensemble.digest(copy)


def test_separate_inputs_are_a_list(two):
    model, (x, _) = ensembles.average(two, inputs="separate"), images()
    assert len(model.inputs) == 2
    same = ensembles.average(two).predict(x, verbose=0)
    np.testing.assert_allclose(model.predict([x, x], verbose=0), same, atol=1e-6)
    assert np.abs(model.predict([x, 0 * x], verbose=0) - same).max() > 1e-3


def test_votes_are_counted_and_ties_go_to_the_likelier():
    logits = [np.array([[2.0, 0.0]]), np.array([[0.0, 0.5]]), np.array([[0.0, 0.5]])]
    head = combine.mixture([(2,)] * 3, of="votes")
    combined = combine.apply(head, logits)
    assert combined.argmax() == 1
    np.testing.assert_allclose(np.exp(combined).sum(), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.exp(combined[0, 1]), 2 / 3, atol=2e-3)
    tie = combine.apply(combine.mixture([(2,)] * 2, of="votes"), logits[:2])
    assert tie.argmax() == 0


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_impossible_weights_are_refused(two, weights):
    with pytest.raises(ValueError, match="one per member"):
        ensembles.average(two, weights)


def test_outputs_are_computed_once_and_kept(two, tmp_path, monkeypatch):
    opened, (x, y) = opening.open(two), images()
    common, data = checks.check(opened), cache.Examples(x, y)
    first = cache.outputs(opened, common, data, folder=tmp_path, key="toy", batch_size=4)
    for path, logits in zip(two, first, strict=True):
        np.testing.assert_allclose(logits, saving.load(path).predict(x, verbose=0), atol=1e-6)
    monkeypatch.setattr(opening.Member, "load", lambda *_: pytest.fail("computed again"))
    cache.outputs(opened, common, data, folder=tmp_path, key="toy")
    with pytest.raises(pytest.fail.Exception):
        cache.outputs(opened, common, data, folder=tmp_path, key="other data")
    with pytest.raises(pytest.fail.Exception):
        cache.outputs(opened, common, data, folder=tmp_path, key="toy", dtype="float16")
    assert cache.size(tmp_path)[0] == 2
    assert cache.clear(tmp_path)[0] == 2
    assert cache.size(tmp_path) == (0, 0)


def test_an_interrupted_prediction_leaves_nothing_that_would_be_taken_for_whole(two, tmp_path):
    opened, (x, y) = opening.open(two), images()
    common = checks.check(opened)

    class Breaks(cache.Examples):
        def take(self, some=slice(None)):
            if some.start:
                raise KeyboardInterrupt
            return super().take(some)

    with pytest.raises(KeyboardInterrupt):
        cache.outputs(opened, common, Breaks(x, y), folder=tmp_path, key="toy", batch_size=4)
    logits = cache.outputs(opened, common, cache.Examples(x, y), folder=tmp_path, key="toy")
    np.testing.assert_allclose(logits[0], saving.load(two[0]).predict(x, verbose=0), atol=1e-6)


PEAK = """
import resource, sys
import keras, numpy as np
from ensembles.members import cache, checks, opening

paths = sys.argv[2:]
opened = opening.open(paths[:1] * 2)  # memory for imports and tracing is not counted
common, x = checks.check(opened), np.zeros((2, 4, 4, 1), np.float32)
data = cache.Examples(x, x[..., 0])
cache.outputs(opened, common, data, folder=sys.argv[1], key="warm")
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
opened = opening.open(paths)
cache.outputs(opened, common, data, folder=sys.argv[1], key="toy")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
"""


def test_memory_does_not_grow_with_the_number_of_members(tmp_path):
    paths = []
    for seed in range(6):
        keras.utils.set_random_seed(seed)
        x = entry = keras.Input((None, None, 1))
        x = keras.layers.Conv2D(512, 3, padding="same")(x)
        x = keras.layers.Conv2D(1024, 3, padding="same")(x)  # 19 MB of weights
        model = keras.Model(entry, keras.layers.Conv2D(1, 1)(x))
        paths.append(saved(tmp_path, model, f"large_{seed}"))
    words = [sys.executable, "-c", PEAK, str(tmp_path), *map(str, paths)]
    process = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout.split()[-1]) / 1024 < 3 * 19  # MiB; all of them would be 114


def test_chained_examples_are_one_after_the_other():
    parts = [cache.Examples(np.arange(3) + 10 * i, np.arange(3) - i) for i in range(3)]
    chained = cache.Chained(parts)
    x, y = chained.take(np.array([8, 0, 4]))
    assert (x.tolist(), y.tolist()) == ([22, 0, 11], [0, 0, 0])
    assert chained.take(slice(2, 5))[0].tolist() == [2, 10, 11]
    assert len(chained) == 9


def test_leakage_is_seen_in_the_records(two, tmp_path):
    about = record()["data"]
    plain = {"fold": None, "validate": None, "skip_bad": False}
    opened = opening.open(two)
    assert provenance.leakage(opened, about, plain) == ([], [])
    other = saved(tmp_path, mapper(), "folded", settings={"fold": [1, 5]})
    ensemble = saved(tmp_path, mapper(), "fitted", fitted="validation")
    mapper().save(tmp_path / "unknown.keras")
    opened = opening.open([*two, other, ensemble, tmp_path / "unknown.keras"])
    refusals, warnings = provenance.leakage(opened, about, plain)
    assert [text.split(" ")[0] for text in refusals] == ["folded", "fitted"]
    assert [text.split(":")[0] for text in warnings] == ["unknown"]
    elsewhere = {**about, "fingerprint": "f" * 16}
    assert provenance.leakage(opened, elsewhere, plain)[0] == []
