"""Classification of series: padding is ignored, and augmentation leaves it unchanged."""

import json

import numpy as np
import pytest
from conftest import CLASSES, toy

import zoo
from train import main as train
from zoo import registry, tasks
from zoo.__main__ import main as zoo_command
from zoo.nn.layers import PADDING, Patches
from zoo.training import building

TASK = tasks.get("sequence_classification")


def ragged(count=12, seed=0):
    """Return examples of 6 to 12 steps."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(6, 13, count)
    return [{"series": rng.normal(3.0, 2.0, (n, 2)), "label": i % 4} for i, n in enumerate(lengths)]


def prepared(examples, **changes):
    options = {**TASK.options, **changes}
    info = {"classes": CLASSES, **TASK.data.measure(examples, options)}
    return info, [TASK.data.prepare(example, info, options) for example in examples]


def test_series_of_unequal_length_are_padded_and_masked():
    examples = ragged()
    info, pairs = prepared(examples)
    assert info["ragged"] and info["length"] == max(len(row["series"]) for row in examples)
    assert TASK.training.arguments(info, TASK.options)["masked"] is True
    for example, (x, y) in zip(examples, pairs, strict=True):
        steps = len(example["series"])
        assert x.shape == (info["length"], 2) and y == example["label"]
        assert (x[steps:] == PADDING).all() and (x[:steps] != PADDING).all()
    values = np.concatenate([x[x[:, 0] != PADDING] for x, _ in pairs])
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("how", ["series", "none"])
def test_normalisation(how):
    examples = ragged()
    _, pairs = prepared(examples, normalize=how)
    for example, (x, _) in zip(examples, pairs, strict=True):
        values = example["series"]
        if how == "series":
            values = (values - values.mean(axis=0)) / values.std(axis=0)
        np.testing.assert_allclose(x[: len(values)], values, rtol=1e-5)


def test_a_length_cuts_and_what_does_not_fit_is_refused():
    info, pairs = prepared(ragged(), length=7)
    assert {x.shape for x, _ in pairs} == {(7, 2)}
    equal = [{"series": np.zeros((8, 2)), "label": 0}] * 3
    info, _ = prepared(equal)
    assert not info["ragged"] and "masked" not in TASK.training.arguments(info, TASK.options)
    with pytest.raises(ValueError, match="it has 5 steps, and the model takes 8"):
        TASK.data.prepare({"series": np.zeros((5, 2))}, info, TASK.options)
    with pytest.raises(ValueError, match="it has 3 values a step, not 2"):
        TASK.data.prepare({"series": np.zeros((8, 3))}, info, TASK.options)
    with pytest.raises(ValueError, match="normalize is 'day'"):
        prepared(equal, normalize="day")


@pytest.mark.parametrize("option", ["jitter", "scale", "roll", "warp"])
def test_each_change_of_training_leaves_padding_alone(option):
    _, pairs = prepared(ragged())
    x, y = (np.stack(part) for part in zip(*pairs, strict=True))
    none = {"jitter": 0.0, "scale": 0.0, "roll": 0.0, "warp": 0.0}
    assert TASK.training.augment({}, none) is None
    before = x.copy()
    changed, labels = TASK.training.augment({}, {**none, option: 0.5})(x, y, (1,))
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(changed == PADDING, x == PADDING)
    np.testing.assert_array_equal(labels, y)
    differ = (changed != x).any(axis=(1, 2))
    assert differ.mean() > 0.7
    if option == "roll":
        for values, expected in zip(changed, x, strict=True):
            np.testing.assert_array_equal(np.sort(values, axis=0), np.sort(expected, axis=0))
    if option == "warp":
        real = [int((values[:, 0] != PADDING).sum()) for values in x]
        for values, expected, last in zip(changed, x, real, strict=True):
            np.testing.assert_allclose(values[[0, last - 1]], expected[[0, last - 1]], atol=1e-6)


def write_ts(path, examples):
    """Write series of two values a step as an archive of time series does."""
    lines = [
        "@problemName Toy", "@timeStamps false", "@missing false", "@univariate false",
        "@dimensions 2", "@equalLength false", "@classLabel true a b", "@data",
    ]  # fmt: skip
    for values, label in examples:
        lines.append(
            ":".join(",".join(f"{v:.4f}" for v in column) for column in values.T) + f":{label}"
        )
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Return a folder with labelled series of unequal length, and a model trained on them."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)

    def example(label):
        steps = np.arange(rng.integers(10, 20))[:, None]
        speed = 0.4 if label == "a" else 1.6
        wave = np.sin(speed * steps + rng.uniform(0, 6) + [0, 1])
        return wave + rng.normal(0, 0.1, wave.shape), label

    for part, count in (("TRAIN", 80), ("TEST", 20)):
        write_ts(folder / f"Toy_{part}.ts", [example("ab"[i % 2]) for i in range(count)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder / "cache"))
        words = (
            "--model gru --set units=12 --set bidirectional=false --epochs 5 --learning-rate 0.02"
        )
        for seed in range(2):
            where = ["--data", str(folder), "--out", str(folder / "runs"), "--seed", str(seed)]
            assert train([*words.split(), *where]) == 0
    return folder


def test_labelled_series_are_classified_by_one_command(workshop):
    run = json.loads(next(workshop.glob("runs/gru-*-1/run.json")).read_text())
    assert run["task"] == "sequence_classification", "the data tell which of the model's tasks"
    assert run["arguments"]["masked"] is True and run["arguments"]["steps"] == "mean"
    assert run["scores"]["test"]["accuracy"] >= 0.9
    assert run["data"]["sizes"]["test"] == 20


def test_series_are_predicted_one_by_one(workshop, tmp_path):
    run = next(workshop.glob("runs/gru-*-1"))
    out = tmp_path / "out"
    assert zoo_command(["predict", str(run), str(workshop / "Toy_TEST.ts"), "--out", str(out)]) == 0
    rows = json.loads((out / "predictions.json").read_text())
    assert len(rows) == 20
    right = [row["class"] == "ab"[i % 2] for i, row in enumerate(rows)]
    assert np.mean(right) >= 0.9


def test_classifiers_of_series_are_combined_like_images(workshop, tmp_path, monkeypatch):
    from ensembles.__main__ import main as ensembles

    monkeypatch.setenv("ZOO_CACHE", str(workshop / "cache"))
    members = sorted(map(str, workshop.glob("runs/gru-*")))
    assert ensembles(["stack", *members, "--out", str(tmp_path)]) == 0
    run = json.loads(next(tmp_path.glob("*/run.json")).read_text())
    assert run["scores"]["test"]["accuracy"] >= 0.85


def test_the_data_tell_the_task_and_a_wrong_one_is_refused(capsys):
    from train import parse

    assert parse(["--model", "lstm"])["task"] == "forecasting"
    assert parse(["--model", "lstm", "--data", "gunpoint"])["task"] == "sequence_classification"
    words = ["--model", "lstm", "--task", "sequence_classification"]
    assert parse(words)["data"] == "gunpoint"
    with pytest.raises(SystemExit):
        parse(["--model", "lstm", "--task", "image_detection"])
    assert "unknown task of lstm 'image_detection'" in capsys.readouterr().err
    assert toy("sequence_classification").x.shape == (8, 24, 2)


@pytest.mark.parametrize(("length", "patch"), [(24, None), (63, None), (150, 4), (1460, 45)])
def test_long_series_are_read_several_steps_at_once(length, patch):
    info = {"length": length, "mean": [0.0], "classes": CLASSES, "ragged": False}
    assert TASK.training.suggestions(info, TASK.options).get("patch") == patch
    assert TASK.data.measures_all, "the longest series decides"


def test_suggestions_are_for_options_that_a_builder_has_and_nobody_set(capsys):
    info = {"length": 150, "mean": [0.0], "classes": CLASSES, "ragged": False}
    record = {"info": info, "task_options": TASK.options, "options": {"units": 8}}

    def suggested(name, earlier=None):
        return building.suggested(registry.get(name).builder, TASK, record, earlier)

    assert suggested("gru") == {"bidirectional": True, "steps": "mean", "patch": 4}
    assert "--set steps=mean --set patch=4, unless set otherwise" in capsys.readouterr().out
    assert suggested("bilstm") == {"steps": "mean", "patch": 4}
    # What a model has that is trained further stays, and what it lacks too.
    assert suggested("gru", {"patch": 5, "input_shape": [150, 1]}) == {"patch": 5}
    assert suggested("gru", {}) == {}
    record["options"] = dict.fromkeys(("units", "bidirectional", "steps", "patch"))
    assert suggested("gru") == {}


def test_patches_hold_all_steps_in_order_and_hide_padding_alone():
    x = np.arange(1, 15, dtype=np.float32).reshape(1, 7, 2)
    patches = Patches(3)(x)
    assert patches.shape == Patches(3).compute_output_shape(x.shape) == (1, 3, 6)
    np.testing.assert_array_equal(np.ravel(patches), [*range(1, 15), 0, 0, 0, 0])
    padded = np.pad(x[:, :4], [(0, 0), (0, 3), (0, 0)], constant_values=PADDING)
    layer = Patches(3, masked=True)
    np.testing.assert_array_equal(np.ravel(layer(padded)), [*range(1, 9), *[0] * 10])
    np.testing.assert_array_equal(layer.compute_mask(padded, None), [[True, True, False]])
    again = Patches.from_config(layer.get_config())
    assert (again.size, again.masked) == (3, True)


@pytest.mark.parametrize("name", ["gru", "bilstm"])
def test_padding_counts_for_nothing_in_patches_either(name):
    settings = dict(masked=True, patch=3, units=4)
    long, short = (zoo.create(name, (n, 2), (3,), **settings) for n in (12, 9))
    short.set_weights(long.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 8, 2)).astype(np.float32)
    outputs = [
        model.predict_on_batch(np.pad(x, [(0, 0), (0, n - 8), (0, 0)], constant_values=PADDING))
        for model, n in ((long, 12), (short, 9))
    ]
    np.testing.assert_allclose(*outputs, atol=1e-6)


def test_patches_of_series_of_any_length_are_refused():
    with pytest.raises(ValueError, match="patch is 3, and series have None steps"):
        zoo.create("gru", (None, 2), (3,), patch=3)
    with pytest.raises(ValueError, match="patch is 0"):
        zoo.create("gru", (8, 2), (3,), patch=0)
