"""Targets that are several labels or values: scores by hand, figures, and what uses the outputs."""

import keras
import numpy as np
import pytest
from ensemble_members import classifier, record
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, r2_score

from datasets import splits
from ensembles.combining import holdout, stacking
from ensembles.evaluation import intervals
from ensembles.members import checks, graph, opening
from zoo import tasks
from zoo.inference import predictors, preprocessing
from zoo.nn.ensemble import Mixture
from zoo.tasks import targets
from zoo.training import balance, distillation
from zoo.weights import records, saving

IMAGES = tasks.get("image_classification")
LABELS = {
    "classes": ["cat", "dog", "emu"],
    "target": "labels",
    "channels": 3,
    "range": [0.0, 255.0],
}
VALUES = {
    **{**LABELS, "classes": [], "target": "values"},
    **{"columns": ["age", "mass"], "targets": 2, "mean": [30.0, 5.0], "deviation": [10.0, 2.0]},
}
CHANCE = np.random.default_rng(0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_a_task_knows_its_targets_from_the_data():
    assert IMAGES.of({"classes": ["a", "b"]}) is IMAGES
    labels, values = IMAGES.of(LABELS), IMAGES.of(VALUES)
    assert (labels.multilabel, labels.values) == (True, False)
    assert (values.multilabel, values.values) == (False, True)
    assert labels.training.best == ("val_map", "max") and values.training.best == ("val_mse", "min")
    for info, count in ((LABELS, 3), (VALUES, 2)):
        assert IMAGES.training.arguments(info, {**IMAGES.options, "image_size": 8}) == {
            "input_shape": (8, 8, 3),
            "num_classes": count,
        }
    assert tasks.of({"task": "image_classification", "info": LABELS}).multilabel


@pytest.mark.parametrize(
    ("info", "loss", "word"),
    [
        (LABELS, "mse", "labels"),
        (VALUES, "one_vs_all", "values"),
        ({"classes": ["a"]}, "mae", "classes"),
    ],
)
def test_losses_of_other_targets_are_refused(info, loss, word):
    with pytest.raises(ValueError, match=f"{loss} is not for {word}.*--loss"):
        IMAGES.training.arguments({"channels": 3, **info}, {**IMAGES.options, "loss": loss})


def test_mean_average_precision_by_hand():
    # cat: in the order of the logits true, false, true: (1/1 + 2/3) / 2. dog: false, true: 1/2.
    y = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    outputs = np.array([[3.0, 2, -1], [2, 1, -1], [1, -1, -1], [-1, -2, 1]])
    halves = [(y[:2], outputs[:2]), (y[2:], outputs[2:])]
    scores, report = IMAGES.results.score(IMAGES.results.summary(halves, LABELS), LABELS)
    assert scores["map"] == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert scores["f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert scores["f1_micro"] == pytest.approx(2 * 3 / (6 + 3))
    assert scores["exact_match"] == 0.25
    assert scores["classes"]["emu"] == {
        **{"ap": None, "precision": 0.0, "recall": 0.0, "f1-score": 0.0, "support": 0}
    }
    assert scores["classes"]["cat"]["precision"] == pytest.approx(2 / 3)
    assert "mean AP 0.667" in report and "25.0%" in report
    nothing, report = IMAGES.results.evaluate(np.zeros((2, 3), bool), outputs[:2], LABELS)
    assert "map" not in nothing and "no example has a label" in report


def test_errors_of_values_by_hand():
    truth = np.array([[20.0, 5], [30, 5], [40, 5]])
    predicted = np.array([[22.0, 6], [30, 5], [34, 5]])
    y, outputs = ((array - VALUES["mean"]) / VALUES["deviation"] for array in (truth, predicted))
    halves = [(y[:1], outputs[:1]), (y[1:], outputs[1:])]
    scores, report = IMAGES.results.score(IMAGES.results.summary(halves, VALUES), VALUES)
    age, mass = scores["targets"]["age"], scores["targets"]["mass"]
    assert age["mae"] == pytest.approx(8 / 3) and age["rmse"] == pytest.approx(np.sqrt(40 / 3))
    assert age["r2"] == pytest.approx(1 - 40 / 200)
    assert mass["mae"] == pytest.approx(1 / 3) and mass["r2"] is None  # constant
    assert scores["r2"] == age["r2"] and scores["mae"] == pytest.approx((8 / 3 + 1 / 3) / 2)
    assert scores["mse"] == pytest.approx(np.mean((y - outputs) ** 2))
    assert "age" in report and " -" in report
    offset = {**VALUES, "mean": [1e9, 5.0]}
    numbers = CHANCE.normal(size=(50, 2))
    near = numbers + CHANCE.normal(size=(50, 2)) / 3
    scores, _ = IMAGES.results.evaluate(numbers, near, offset)
    assert scores["r2"] == pytest.approx(
        np.mean([r2_score(*pair) for pair in zip(numbers.T, near.T, strict=True)])
    )


def test_labels_and_values_are_prepared_and_decoded():
    image = np.full((8, 8, 3), 9, np.uint8)
    options = {**IMAGES.options, "image_size": 8}
    _, y = IMAGES.data.prepare({"image": image, "label": [1, 0, 1]}, LABELS, options)
    assert y.dtype == bool and y.tolist() == [True, False, True]
    _, y = IMAGES.data.prepare({"image": image, "label": [20, 6]}, VALUES, options)
    assert y.dtype == np.float32 and y.tolist() == [-1, 0.5]
    assert IMAGES.data.prepare({"image": image}, VALUES, options)[1] is None
    (some, none) = IMAGES.usage.decode(np.array([[2.0, -1, 0.5], [-1, -2, -3]]), LABELS)
    assert some["labels"] == ["cat", "emu"] and none["labels"] == []
    assert some["probabilities"]["cat"] == pytest.approx(sigmoid(2))
    (values,) = IMAGES.usage.decode(np.array([[-1, 0.5]]), VALUES)
    assert values == {"values": {"age": 20, "mass": 6}}
    row, _ = IMAGES.usage.present({"image": image}, [], iter([np.array([2.0, -1, 1])]), LABELS)
    assert row["labels"] == "cat;emu" and row["arrays"]["labels"] == ["cat", "emu"]
    named = {**VALUES, "columns": ["file", "mass"]}
    row, _ = IMAGES.usage.present({"image": image}, [], iter([np.array([-1, 0.5])]), named)
    assert row["file value"] == 20 and row["mass"] == 6


@pytest.mark.parametrize("info", [LABELS, VALUES], ids=["labels", "values"])
def test_figures_and_pictures_are_made(info, tmp_path):
    x = CHANCE.uniform(size=(20, 8, 8, 3)).astype(np.float32)
    outputs = CHANCE.normal(size=(20, targets.of(info).units(info)))
    y = outputs + CHANCE.normal(size=outputs.shape)
    y = y > 0 if "classes" in info and info["classes"] else y.astype(np.float32)
    figures = IMAGES.results.plot(x, y, outputs, info)
    figures |= IMAGES.results.curves(IMAGES.results.summary([(y, outputs)], info), info)
    figures["preview"] = IMAGES.training.preview(x, y, info)
    more = {"precision_recall"} if info is LABELS else {"predicted_and_true", "residuals"}
    assert {"examples", "preview"} | more == figures.keys()
    for name, figure in figures.items():
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / f"{name}.png")
    image = np.zeros((8, 8, 3), np.uint8)
    for row in outputs[:2]:
        _, writers = IMAGES.usage.present({"image": image}, [], iter([row]), info)
        writers[".png"](tmp_path / "picture.png")


@pytest.mark.parametrize("info", [LABELS, VALUES], ids=["labels", "values"])
def test_losses_and_metrics_prefer_the_truth(info):
    y = CHANCE.normal(size=(8, targets.of(info).units(info))).astype(np.float32)
    y = y > 0 if info is LABELS else y
    right = np.where(y, 9.0, -9.0) if info is LABELS else y
    for name in ["auto", *targets.of(info).losses]:
        loss = IMAGES.training.loss(info, {"loss": name})
        assert float(loss(y, right)) < 0.01 < 0.1 < float(loss(y, right[:, ::-1].copy())), name
    (metric,) = IMAGES.training.metrics(info)
    metric.update_state(y, right)
    assert float(metric.result()) == (1 if info is LABELS else 0)


def test_the_mean_of_labels_is_of_sigmoids():
    first, second = CHANCE.normal(size=(2, 5, 3)).astype(np.float32)
    mean = np.asarray(Mixture(multilabel=True)([first, second]))
    np.testing.assert_allclose(sigmoid(mean), (sigmoid(first) + sigmoid(second)) / 2, rtol=1e-5)
    weighted = np.asarray(Mixture([3, 1], multilabel=True)([first, second]))
    np.testing.assert_allclose(sigmoid(weighted), 0.75 * sigmoid(first) + sigmoid(second) / 4, 1e-5)
    votes = np.asarray(Mixture(of="votes", multilabel=True)([first, first, second]))
    np.testing.assert_array_equal(votes > 0, first > 0)
    layer = Mixture.from_config(Mixture(of="votes", multilabel=True).get_config())
    assert layer.multilabel and "multilabel" not in Mixture().get_config()


def test_views_are_averaged_as_labels_or_values():
    class Changing:
        inputs = [np.zeros((1, 8, 8, 3))]

        def predict_on_batch(self, x):
            return x[:, 0, 0]

    x = CHANCE.normal(size=(2, 8, 8, 3)).astype(np.float32)
    options = {**IMAGES.options, "flip": "horizontal"}
    here, there = x[:, 0, 0], x[:, 0, -1]
    for info, mean in (
        (LABELS, (sigmoid(here) + sigmoid(there)) / 2),
        (VALUES, (here + there) / 2),
    ):
        out = predictors.with_views(Changing(), IMAGES.of(info), options).predict_on_batch(x)
        np.testing.assert_allclose(sigmoid(out) if info is LABELS else out, mean, rtol=1e-5)


def test_a_teacher_of_labels_has_a_divergence_for_each():
    teacher, student = CHANCE.normal(size=(2, 5, 3)).astype(np.float32)
    loss = distillation.LogitsDistillation(2.0, multilabel=True)
    p, q = sigmoid(teacher / 2), sigmoid(student / 2)
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    value = float(loss.compute_loss(teacher, student))
    assert value == pytest.approx(4 * divergence.mean(), rel=1e-4)
    own = {"task": IMAGES.name, "task_options": {}, "info": LABELS}
    why = distillation.objection(
        {**own, "info": {"classes": LABELS["classes"]}}, own, IMAGES.of(LABELS)
    )
    assert "it predicts classes, and the data have labels" in why
    why = distillation.objection({**own, "info": VALUES}, own, IMAGES.of(VALUES))
    assert "predicts values" in why


@pytest.mark.parametrize("ending", [None, "sigmoid", "softmax"])
def test_members_of_labels_end_in_logits_or_sigmoids(ending, tmp_path):
    about = record("image_classification", info=LABELS)
    paths = []
    for name, end in (("own", None), ("other", ending)):
        paths.append(tmp_path / f"{name}.keras")
        saving.save(classifier(name, units=3, ending=end), paths[-1], about)
    members = opening.open(paths)
    if ending == "softmax":
        with pytest.raises(ValueError, match="other ends in a softmax.*several may be true"):
            checks.check(members)
        with pytest.raises(ValueError, match="softmax"):
            graph.in_logits(saving.load(paths[1]), paths[1], multilabel=True)
        return
    common = checks.check(members)
    x = CHANCE.uniform(size=(4, 32, 32, 3)).astype(np.float32)
    logits = np.asarray(members[1].load(common)(x))
    expected = np.asarray(saving.load(paths[1])(x))
    np.testing.assert_allclose(
        sigmoid(logits), expected if ending else sigmoid(expected), rtol=1e-5
    )


def test_members_of_other_targets_are_refused(tmp_path):
    plain = {**LABELS}
    del plain["target"]
    other = {**VALUES, "mean": [31.0, 5.0]}
    units = {"labels": 3, "classes": 3, "values": 2, "other": 2}
    for name, info in (
        ("labels", LABELS),
        ("classes", plain),
        ("values", VALUES),
        ("other", other),
    ):
        about = record("image_classification", info=info)
        saving.save(classifier(name, units=units[name]), tmp_path / f"{name}.keras", about)
    for first, second, words in (
        ("labels", "classes", "what they predict is labels and classes"),
        ("values", "labels", "what they predict is values and labels"),
        ("values", "other", "what their values are, mean"),
    ):
        members = opening.open([tmp_path / f"{first}.keras", tmp_path / f"{second}.keras"])
        with pytest.raises(ValueError, match=words):
            checks.check(members)
    common = checks.check(opening.open([tmp_path / "labels.keras"]))
    with pytest.raises(ValueError, match="members predict labels, and the data have classes"):
        checks.fixed(common, plain)


def test_a_dense_meta_learner_of_labels_begins_at_the_mean(tmp_path):
    about = record("image_classification", info=LABELS)
    saving.save(classifier(units=3), tmp_path / "own.keras", about)
    common = checks.check(opening.open([tmp_path / "own.keras"]))
    logits = CHANCE.normal(size=(2, 5, 3)).astype(np.float32)
    head = stacking.meta_learner("dense", [(3,), (3,)], common)
    out = head({"logits_1": logits[0], "logits_2": logits[1]})
    np.testing.assert_allclose(sigmoid(np.asarray(out)), sigmoid(logits).mean(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="there are linear, dense"):
        stacking.meta_learner("conv", [(3,), (3,)], common)


def test_intervals_of_the_mean_average_precision_draw_examples():
    y = CHANCE.uniform(size=(30, 3)) < [0.5, 0.2, 0.02]
    y[0, 2] = True  # in about a third of the resamples no example has it
    logits = (y + CHANCE.normal(size=y.shape)).round(1).astype(np.float32)  # some are equal
    statistics = intervals.statistics(IMAGES.of(LABELS), LABELS, y, logits)
    weights = intervals.draws(30)
    means = intervals.resampled(statistics, "map", weights)
    assert means.shape == (intervals.DRAWS,)
    for i in range(0, intervals.DRAWS, 97):
        rows = np.repeat(np.arange(30), weights[i].astype(int))
        known = [k for k in range(3) if y[rows, k].any()]
        areas = [average_precision_score(y[rows, k], logits[rows, k]) for k in known]
        assert means[i] == pytest.approx(np.mean(areas))


def test_exports_end_in_probabilities_of_labels_or_in_units():
    x = CHANCE.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    for info, units in ((LABELS, 3), (VALUES, 2)):
        model = classifier(units=units)
        about = record("image_classification", info=info)
        out = preprocessing.around(model, "own", about)
        result = out.predict_on_batch(x)
        logits = np.asarray(model(x / np.float32(255)))
        if info is LABELS:
            np.testing.assert_allclose(result["probabilities"], sigmoid(logits), rtol=1e-3)
        else:
            expected = logits * info["deviation"] + info["mean"]
            np.testing.assert_allclose(result["value"], expected, rtol=1e-3)
        facts = preprocessing.facts(about, inside=True)
        word = "probabilities of the labels" if info is LABELS else "value: in the units"
        assert facts["target"] == info["target"] and word in facts["output"]


def test_splits_hold_out_every_label_and_draw_values_at_random():
    y = np.zeros((100, 3), bool)
    y[:60, 0], y[50:90, 1], y[::12, 2] = True, True, True
    places = np.stack([np.arange(100), np.arange(100), np.zeros(100)], axis=1).astype(int)
    x = np.zeros((100, 1))
    for fold, validate in ((None, None), ((1, 3), None), (None, (1, 3))):
        parts = splits.split({"train": ({"x": x, "y": y}, places)}, fold, validate)
        assert all(y[arrays.rows].any(axis=0).all() for arrays in parts.values())
        assert sorted(np.concatenate([arrays.rows for arrays in parts.values()])) == [*range(100)]
    assert splits.rarest(y)[[0, 1, 55, 95, 84]].tolist() == [2, 0, 1, -1, 2]
    numbers = CHANCE.normal(size=(100, 1)).astype(np.float32)
    parts = splits.split({"train": ({"x": x, "y": numbers}, places)})
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [70, 15, 15]
    fit, held = holdout.random_split(y)
    assert y[fit].any(axis=0).all() and y[held].any(axis=0).all() and len(held) == 15


def test_unbalanced_labels_are_noted():
    y = np.zeros((20, 2), bool)
    y[:12, 0], y[:2, 1] = True, True
    arrays = splits.Arrays(np.zeros((20, 1)), y, np.arange(20))
    assert balance.labels(arrays) is None
    (note,) = balance.sentences(balance.labels(arrays, True), ["cat", "dog"])
    assert "2 training examples of dog, 12 of cat" in note and "average precision" in note


def test_damaged_records_of_targets_are_refused():
    about = {"task": "image_classification", "task_options": {}, "info": VALUES}
    assert records.objection(about) is None
    assert "target" in records.objection({**about, "info": {**VALUES, "target": "prices"}})
    lacking = {key: value for key, value in VALUES.items() if key != "mean"}
    assert "lacks mean" in records.objection({**about, "info": lacking})


def test_losses_can_be_saved():
    for info in (LABELS, VALUES):
        for make in targets.of(info).losses.values():
            assert keras.losses.deserialize(keras.losses.serialize(make(info, {})))
