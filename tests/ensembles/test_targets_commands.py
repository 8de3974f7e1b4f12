"""Labels and values of images from files to ensembles: trained, predicted, exported, combined."""

import csv
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

import zoo
from datasets import recorded
from ensembles import __main__ as command
from ensembles import options
from ensembles.combining import methods
from train import main as train
from zoo import tasks
from zoo.__main__ import main as zoo_command
from zoo.inference import verification

PLAIN = " ".join(
    f"--set {option}"
    for option in "flip=none rotation=0 zoom=0 shift=0 brightness=0 contrast=0".split()
)
SMALL = f"--model logistic_regression --batch-size 4 --learning-rate 0.02 {PLAIN}"
SIZE = (6, 6)
NAMES = ("red", "green", "blue")
COUNT = 40


def pictures(folder, name):
    """Write images with a coloured patch for each label, and a table of labels or of values."""
    (folder / name).mkdir()
    rng, rows = np.random.default_rng(0), []
    for i in range(COUNT):
        flags, gray = rng.random(3) < 0.5, (37 * i % COUNT) * 5
        pixels = rng.integers(0, 30, (*SIZE, 3))
        if name == "values":
            pixels += np.array([gray, 200 - gray, 0])
        for k in np.flatnonzero(flags) if name == "labels" else ():
            pixels[:, 2 * k : 2 * k + 2, k] = 230
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i:02}.png")
        own = (
            [";".join(np.array(NAMES)[flags])] if name == "labels" else [1000 + 3 * gray, -gray / 8]
        )
        rows.append([f"{i:02}.png", *own])
    header = ["file", "labels"] if name == "labels" else ["file", "weight", "height"]
    with open(folder / name / "table.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return [row[1:] for row in rows]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Return a folder with two runs on labels and two on values, and the tables."""
    folder = tmp_path_factory.mktemp("targets")
    tables = {name: pictures(folder, name) for name in ("labels", "values")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder / "cache"))
        for name in tables:
            for seed in (0, 1):
                where = ["--data", str(folder / name), "--out", str(folder / "runs")]
                words = [*SMALL.split(), "--epochs", "4", *where, "--seed", str(seed)]
                assert train(words) == 0
    return folder, tables


@pytest.fixture
def at(workshop, monkeypatch):
    """Work with the cache of the workshop; return the function from a kind to its run folders."""
    monkeypatch.setenv("ZOO_CACHE", str(workshop[0] / "cache"))
    run = workshop[0] / "runs"
    return lambda name: [f"{run}/logistic_regression-{name}-{i}" for i in (1, 2)]


def run_json(folder):
    return json.loads(pathlib.Path(folder, "run.json").read_text(encoding="utf-8"))


def test_runs_learn_their_targets(workshop, at):
    labels, values = (run_json(at(name)[0]) for name in ("labels", "values"))
    assert labels["info"]["target"] == "labels" and labels["info"]["classes"] == sorted(NAMES)
    assert labels["scores"]["test"]["map"] > 0.9 and labels["scores"]["test"]["f1"] > 0.8
    assert set(labels["scores"]["test"]["classes"]) == set(NAMES)
    assert values["info"]["columns"] == ["weight", "height"] and values["info"]["classes"] == []
    assert values["scores"]["test"]["r2"] > 0.7
    assert values["scores"]["test"]["targets"]["weight"]["mae"] < 100
    plots = pathlib.Path(at("values")[0], "plots")
    assert {"predicted_and_true.png", "residuals.png"} <= {path.name for path in plots.iterdir()}
    assert pathlib.Path(at("labels")[0], "plots", "precision_recall.png").exists()
    assert "AP" in pathlib.Path(at("labels")[0], "report.txt").read_text()
    history = pathlib.Path(at("labels")[0], "history.csv").read_text().splitlines()[0]
    assert "val_map" in history and "label_accuracy" in history


def test_files_are_predicted_as_labels_and_in_units(workshop, at, tmp_path):
    folder, tables = workshop
    for name in tables:
        out = tmp_path / name
        words = ["predict", at(name)[0], str(folder / name), "--out", str(out), "--pictures", "1"]
        assert zoo_command(words) == 0
        rows = json.loads((out / "predictions.json").read_text())
        assert len(rows) == COUNT
        if name == "labels":
            sets = [set(row["labels"].split(";")) for row in rows]
            truth = [set(own.split(";")) for (own,) in tables[name]]
            assert np.mean([a == b for a, b in zip(sets, truth, strict=True)]) > 0.8
        else:
            predicted = np.array([[row["weight"], row["height"]] for row in rows])
            errors = np.abs(predicted - tables[name]).mean(axis=0)
            assert errors[0] < 100 and errors[1] < 5
    image = np.asarray(Image.open(folder / "labels" / "00.png"))
    (row,) = zoo.predict(at("labels")[0], image)
    assert isinstance(row["labels"], list) and set(row["probabilities"]) == set(NAMES)
    (row,) = zoo.predict(at("values")[0], image)
    assert row["values"].tolist() == [row["weight"], row["height"]]
    with pytest.raises(ValueError, match="steps are for forecasts"):
        zoo.predict(at("values")[0], image, steps=3)


def test_an_export_says_what_its_outputs_are(workshop, at, tmp_path):
    onnxruntime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    for name, output in (("labels", "probabilities"), ("values", "value")):
        path = tmp_path / f"{name}.onnx"
        words = ["export", at(name)[0], "--format", "onnx", "--out", str(path)]
        assert zoo_command([*words, "--with-preprocessing"]) == 0
        facts = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
        assert facts["target"] == name and output in facts["output"]
        image = np.asarray(Image.open(workshop[0] / name / "00.png"))
        (result,) = onnxruntime.InferenceSession(str(path)).run([output], {"image": image[None]})
        (row,) = zoo.predict(at(name)[0], image)
        own = row["values"] if name == "values" else [*row["probabilities"].values()]
        np.testing.assert_allclose(result[0], own, rtol=1e-3)


def fitted(words, runs, tmp_path):
    """Return the scores on the test split of a method that is fitted, without its report."""
    args = options.parse([*words.split(), *runs, "--out", str(tmp_path)])
    ensemble = command.gather(args)
    if args.command == "soup":
        outputs = ensemble.predict(methods.soup(ensemble, args)[0], "test")
    else:
        outputs = ensemble.apply(methods.METHODS[args.command](ensemble, args)[0], "test")
    return ensemble.row(words, "ensemble", outputs)[0]


def test_labels_are_combined_as_sigmoids(workshop, at, tmp_path):
    x = np.random.default_rng(0).uniform(size=(5, *SIZE, 3)).astype(np.float32)
    p = [1 / (1 + np.exp(-np.asarray(zoo.load(run)(x), np.float64))) for run in at("labels")]
    assert command.main(["average", *at("labels"), "--out", str(tmp_path)]) == 0
    mean = 1 / (1 + np.exp(-np.asarray(zoo.load(tmp_path / "average-labels-1")(x), np.float64)))
    np.testing.assert_allclose(mean, np.mean(p, axis=0), rtol=1e-4)
    plots = tmp_path / "average-labels-1" / "plots"
    assert {"reliability.png", "uncertainty.png"} <= {path.name for path in plots.iterdir()}
    made = run_json(tmp_path / "average-labels-1")
    for row in made["rows"]:
        low, high = row["interval"]
        assert low <= row["scores"]["map"] <= high
        assert row["name"] == "vote" or row["nll"] < 0.7  # a vote is overconfident
    words = ("vote", "weights --metric score", "select", "select --metric score", "weights")
    for some in (*words, "stack --meta dense --epochs 1", "soup --recipe greedy"):
        assert fitted(some, at("labels"), tmp_path)["scores"]["map"] > 0.85
    one = fitted("calibrate --scaling temperature", at("labels")[:1], tmp_path)
    assert one["scores"] == made["rows"][0]["scores"]


def test_other_data_are_told_from_the_test_split(workshop, at, tmp_path, capsys):
    folder, _ = workshop
    out = ["--out", str(tmp_path)]
    for name, scores in (
        ("labels", {"highest probability", "energy", "mutual information"}),
        ("values", {"variance of members"}),
    ):
        other = {"labels": "values", "values": "labels"}[name]
        assert command.main(["average", *at(name), "--ood", str(folder / other), *out]) == 0
        run = run_json(tmp_path / f"average-{name}-1")
        assert set(run["ood"]) == scores
        assert all(0 <= of[key] <= 1 for of in run["ood"].values() for key in ("auroc", "fpr95"))
        page = (tmp_path / f"average-{name}-1" / "report.html").read_text(encoding="utf-8")
        for title in ("Least certain examples", "Other data", "Risk coverage"):
            assert title in page
    assert {"brier", "adaptive_ece", "aurc", "accuracy_at_80"} <= set(
        run_json(tmp_path / "average-labels-1")["rows"][0]
    )
    assert command.main(["calibrate", at("values")[0], "--coverage", "0.5", "--ood", "mnist"]) == 2
    assert "nothing to disagree with" in capsys.readouterr().err


def test_labels_are_certain_or_possible_and_values_have_intervals(workshop, at, tmp_path):
    folder, tables = workshop
    for name, words in (
        ("labels", "--coverage 0.6 --scaling vector"),
        ("values", "--coverage 0.6"),
        ("values", "--coverage 0.5 --method quantile"),
    ):
        out = ["--out", str(tmp_path)]
        assert command.main(["calibrate", at(name)[0], *words.split(), *out]) == 0
        run = max(tmp_path.glob(f"calibrate-{name}-*"))
        assert "promised coverage" in (run / "report.txt").read_text()
        rows = zoo.predict(run, str(folder / name))
        if name == "labels":
            for row in rows:
                assert set(row["certain"]) <= set(row["labels"]) <= set(row["possible"])
            continue
        truth = np.array(tables[name], float)
        low, high = (np.stack([row[key] for row in rows]) for key in ("lower", "upper"))
        assert ((low <= truth) & (truth <= high)).mean() > 0.4
        assert rows[0]["weight lower"] == low[0, 0] and rows[0]["height upper"] == high[0, 1]


def test_values_are_combined_as_means(workshop, at, tmp_path, capsys):
    x = np.random.default_rng(0).uniform(size=(5, *SIZE, 3)).astype(np.float32)
    outputs = [np.asarray(zoo.load(run)(x)) for run in at("values")]
    assert command.main(["average", *at("values"), "--out", str(tmp_path)]) == 0
    average = np.asarray(zoo.load(tmp_path / "average-values-1")(x))
    np.testing.assert_allclose(average, np.mean(outputs, axis=0), rtol=1e-4, atol=1e-5)
    for words in ("weights", "select", "stack --meta dense --epochs 1", "soup --recipe greedy"):
        assert fitted(words, at("values"), tmp_path)["scores"]["r2"] > 0.7
    (row,) = zoo.predict(tmp_path / "average-values-1", (x[0] * 255).astype(np.uint8))
    assert set(row) == {"weight", "height", "values"}
    for words, why in (
        (["vote", *at("values")], "vote is for classes"),
        (["calibrate", at("values")[0]], "calibrate is for classes"),
        (["average", at("values")[0], at("labels")[0]], "what they predict is values and labels"),
    ):
        assert command.main(words) == 2 and why in capsys.readouterr().err


def test_a_student_of_labels_learns_and_one_of_values_is_refused(workshop, at, tmp_path, capsys):
    folder = workshop[0]
    for name, status in (("labels", 0), ("values", 2)):
        words = (
            f"{SMALL} --epochs 2 --data {folder / name} --out {tmp_path} --teacher {at(name)[0]}"
        )
        assert train(words.split()) == status
    assert "predicts values" in capsys.readouterr().err
    record = run_json(tmp_path / "logistic_regression-labels-1")
    assert record["scores"]["test"]["map"] > 0.8 and record["settings"]["temperature"] == 3


def test_records_prepare_the_same_data_again(workshop, at, tmp_path):
    folder = workshop[0]
    for name in ("labels", "values"):
        record = run_json(at(name)[0])
        data = recorded.prepare(record, tasks.of(record), tasks.fingerprint())
        assert data.info == record["info"]
        checks = verification.verify(at(name)[0], recorded.prepare, scores=True)
        assert {check.name: check.passed for check in checks}["score"] is True
    words = f"{SMALL} --epochs 1 --data {folder / 'labels'} --out {tmp_path} --set classes=red,1"
    assert train(words.split()) == 0
    record = run_json(tmp_path / "logistic_regression-labels-1")
    assert record["info"]["classes"] == ["green", "red"]  # in the order of the data
    assert record["data"]["fingerprint"] == run_json(at("labels")[0])["data"]["fingerprint"]
    data = recorded.prepare(record, tasks.of(record), tasks.fingerprint())
    assert data.info["classes"] == ["green", "red"] and data.splits["test"].take()[1].shape[1] == 2
    (row,) = zoo.predict(tmp_path / "logistic_regression-labels-1", folder / "labels" / "00.png")
    assert set(row["probabilities"]) == {"green", "red"}


def test_a_hint_reads_labels_as_classes(workshop, tmp_path, at, capsys):
    path = workshop[0] / "labels" / "table.csv"
    words = f"{SMALL} --epochs 1 --data {path} --out {tmp_path} --target values"
    assert train(words.split()) == 2
    assert "not a finite number" in capsys.readouterr().err
    words = f"{SMALL} --epochs 1 --data {workshop[0] / 'values'} --out {tmp_path} --loss one_vs_all"
    assert train(words.split()) == 2
    assert "one_vs_all is not for values" in capsys.readouterr().err
    words = f"{SMALL} --data {path} --set classes=red,grene"
    assert train(words.split()) == 2
    assert "no class grene. Did you mean green?" in capsys.readouterr().err
