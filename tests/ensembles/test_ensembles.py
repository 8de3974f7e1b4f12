"""The ensembles commands: from members and data to a model, a manifest and a report."""

import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from ensemble_members import images
from PIL import Image

import zoo
from ensembles import trainings
from ensembles.__main__ import main as ensembles
from train import main as train
from zoo.__main__ import main as zoo_command
from zoo.weights import saving

ROOT = pathlib.Path(__file__).parents[2]


def squares(folder, count=20):
    """Write images of bright squares with their masks, in the user's layout."""
    x, y = images(count, seed=3)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        gray = (np.clip(x[i, ..., 0], 0, 1) * 255).astype(np.uint8)
        Image.fromarray(gray).save(folder / "images" / f"{i:02}.png")
        Image.fromarray((y[i] * 255).astype(np.uint8)).save(folder / "masks" / f"{i:02}.png")
    return folder


SMALL = (
    "--set width=0.0625 --set depth=1 --set dropout=0.0 --set tile_height=32 --set tile_width=32"
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Return a folder with data and three members that were trained on it."""
    folder = tmp_path_factory.mktemp("workshop")
    squares(folder / "squares")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder / "cache"))
        for seed in range(3):
            words = f"--model unet --epochs 3 --batch-size 4 --learning-rate 0.01 {SMALL}"
            where = ["--data", str(folder / "squares"), "--out", str(folder / "runs")]
            assert train([*words.split(), *where, "--seed", str(seed)]) == 0
    return folder


@pytest.fixture
def at(workshop, monkeypatch):
    """Work in the workshop with its cache; return its run folders."""
    monkeypatch.setenv("ZOO_CACHE", str(workshop / "cache"))
    return [str(workshop / "runs" / f"unet-squares-{i}") for i in (1, 2, 3)]


@pytest.fixture
def in_this_process(monkeypatch):
    """Let commands train in this process, which has imported everything."""

    def run(words):
        assert words[:2] == [sys.executable, str(ROOT / "train.py")]
        return subprocess.CompletedProcess(words, train(words[2:]))

    monkeypatch.setattr(trainings.subprocess, "run", run)


def made(capsys):
    """Return the run folder that a command printed, behind those of its trainings."""
    text = capsys.readouterr().out
    line = [line for line in text.splitlines() if line.startswith("Run folder: ")][-1]
    return pathlib.Path(line.removeprefix("Run folder: ").split("  ")[0])


@pytest.mark.parametrize("method", ["average", "vote", "weights", "select", "stack"])
def test_a_method_makes_a_run_folder_whose_scores_are_its_model_s(
    at, tmp_path, capsys, method, workshop
):
    assert ensembles([method, *at, "--out", str(tmp_path / "runs")]) == 0
    folder = made(capsys)
    run = json.loads((folder / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["sha256"] == saving.sha256(folder / "model.keras")
    model = zoo.load(folder)
    assert [len(layer.weights) > 0 for layer in model.layers if "member" in layer.name] == [
        False, True, True, True,
    ]  # fmt: skip
    assert (run.get("fitted") == "validation") == (method not in ("average", "vote"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [entry["name"] for entry in manifest["members"]] == [
        pathlib.Path(path).name for path in at
    ]
    for entry, source in zip(manifest["members"], at, strict=True):
        assert entry["sha256"] == saving.sha256(pathlib.Path(source, "model.keras"))
        known = json.loads(pathlib.Path(source, "run.json").read_text())["scores"]["test"]
        for key, value in entry["test"].items():
            np.testing.assert_allclose(value, known[key], atol=1e-6)
    assert saving.record(folder / "model.keras")["members"][0]["digest"]
    page = (folder / "report.html").read_text()
    assert all(pathlib.Path(path).name in page for path in at)
    rescored = evaluated(model, run, workshop)
    for key, value in rescored.items():
        np.testing.assert_allclose(run["scores"]["test"][key], value, atol=1e-4, err_msg=key)


def evaluated(model, run, workshop):
    """Score a model on the test split by the task alone."""
    from datasets import prepared
    from zoo import tasks

    task = tasks.get(run["task"])
    data = prepared.prepare(
        str(workshop / "squares"), task, tasks.fingerprint(), options=run["task_options"]
    )
    x, y = data.splits["test"].take()
    scores, _ = task.results.evaluate(y, model.predict(x, verbose=0), run["info"])
    return {key: value for key, value in scores.items() if isinstance(value, float)}


def test_the_result_predicts_exports_starts_a_training_and_is_a_member(at, tmp_path, capsys):
    out = ["--out", str(tmp_path / "runs")]
    assert ensembles(["average", *at[:2], *out]) == 0
    folder = made(capsys)
    picture = pathlib.Path(at[0]).parent.parent / "squares" / "images" / "00.png"
    assert zoo_command(["predict", str(folder), str(picture), "--out", str(tmp_path / "p")]) == 0
    assert (tmp_path / "p" / "00_mask.png").is_file()
    file = tmp_path / "e.onnx"
    assert zoo_command(["export", str(folder), "--format", "onnx", "--out", str(file)]) == 0
    assert ensembles(["average", str(folder), at[2], *out]) == 0
    again = made(capsys)
    assert zoo.load(again).count_params() > zoo.load(folder).count_params()
    words = f"--model unet --epochs 1 {SMALL}".split()
    data = ["--data", str(picture.parent.parent), "--init", str(folder)]
    assert train([*words, *data, *out]) == 0
    assert " 0 newly initialized" in capsys.readouterr().out


def test_one_input_a_member_is_predicted_too(at, tmp_path, capsys):
    out = ["--out", str(tmp_path / "runs")]
    assert ensembles(["average", *at, "--inputs", "separate", *out]) == 0
    folder = made(capsys)
    assert len(zoo.load(folder).inputs) == 3
    picture = pathlib.Path(at[0]).parent.parent / "squares" / "images" / "00.png"
    assert zoo_command(["predict", str(folder), str(picture), "--out", str(tmp_path / "p")]) == 0


def test_what_a_member_was_trained_on_is_refused_for_fitting(at, tmp_path, capsys):
    folded = tmp_path / "folded"
    shutil.copytree(at[0], folded)
    model = zoo.load(folded)
    record = saving.record(folded / "model.keras")
    record["settings"]["fold"] = [1, 5]
    del record["examples"]  # like an older run, without a record of its examples
    saving.save(model, folded / "model.keras", record)
    out = ["--out", str(tmp_path / "runs")]
    assert ensembles(["weights", at[1], str(folded), *out]) == 2
    message = capsys.readouterr().err
    assert "folded was trained on some of the same examples (fold [1, 5])" in message
    assert "--allow-leakage" in message
    assert not (tmp_path / "runs").exists()
    assert ensembles(["weights", at[1], str(folded), *out, "--allow-leakage"]) == 0
    run = json.loads((made(capsys) / "run.json").read_text())
    assert any(text.startswith("leakage: folded") for text in run["warnings"])
    assert ensembles(["average", at[1], str(folded), *out]) == 0


def test_a_stack_is_not_fitted_a_second_time_to_the_same_examples(at, tmp_path, capsys):
    out = ["--out", str(tmp_path / "runs")]
    assert ensembles(["weights", *at[:2], *out]) == 0
    fitted = str(made(capsys))
    assert ensembles(["stack", fitted, at[2], *out]) == 2
    message = capsys.readouterr().err
    assert "weights-squares-1 was trained on 3 of the 3 examples of the validation split" in message


def test_the_same_command_gives_the_same_model_and_uses_what_is_kept(
    at, tmp_path, capsys, monkeypatch
):
    out = ["--out", str(tmp_path / "runs")]
    words = ["stack", *at, "--epochs", "3", *out]
    assert ensembles(words) == 0
    first = zoo.load(made(capsys)).get_weights()
    assert ensembles(words) == 0
    second = zoo.load(made(capsys)).get_weights()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_soup_of_one_member_twice_is_that_member(at, tmp_path, capsys):
    out = ["--out", str(tmp_path / "runs")]
    assert ensembles(["soup", at[0], at[0], "--recipe", "uniform", *out]) == 0
    folder = made(capsys)
    plain = zoo.load(at[0])
    for a, b in zip(plain.get_weights(), zoo.load(folder).get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    assert saving.record(folder / "model.keras")["model"] == "unet"
    assert ensembles(["soup", *at, *out]) == 0
    merge = ["--recipe", "ties", "--scale", "0.5", "--density", "1"]
    assert ensembles(["soup", at[0], at[0], *merge, *out]) == 2  # no run was tuned from a model
    assert "Give it: --base" in capsys.readouterr().err
    assert ensembles(["soup", at[0], at[0], *merge, "--base", at[1], *out]) == 0
    folder = made(capsys)
    found = json.loads((folder / "run.json").read_text())["found"]
    assert (found["recipe"], found["base"], found["scale"]) == ("ties", at[1], 0.5)
    halfway, kernels = zoo.load(folder).get_weights(), [zoo.load(run).get_weights() for run in at]
    np.testing.assert_allclose(halfway[0], (kernels[0][0] + kernels[1][0]) / 2, atol=1e-6)


def test_calibrating_changes_no_decision(at, tmp_path, capsys, workshop):
    words = ["calibrate", at[0], "--scaling", "temperature"]
    assert ensembles([*words, "--out", str(tmp_path / "runs")]) == 0
    folder = made(capsys)
    x, _ = images()
    plain, scaled = (zoo.load(path).predict(x, verbose=0) for path in (at[0], folder))
    temperature = json.loads((folder / "run.json").read_text())["found"]["temperature"]
    np.testing.assert_allclose(plain / temperature, scaled, rtol=1e-4, atol=1e-5)


def test_a_calibrated_model_predicts_sets_of_pixels(at, tmp_path, capsys, workshop):
    words = ["calibrate", at[0], "--coverage", "0.5", "--threshold", "--method", "aps"]
    assert ensembles([*words, "--out", str(tmp_path / "runs")]) == 0
    folder = made(capsys)
    run, page = json.loads((folder / "run.json").read_text()), (folder / "report.html").read_text()
    assert run["info"]["conformal"]["method"] == "aps" and 0 < run["info"]["threshold"] < 1
    assert run["info"] == saving.record(folder / "model.keras")["info"]
    assert "promised coverage 0.5" in page and "Classes in a set" in page
    image = str(workshop / "squares" / "images" / "00.png")
    out = tmp_path / "predicted"
    assert zoo_command(["predict", str(folder), image, "--out", str(out)]) == 0
    (row,) = json.loads((out / "predictions.json").read_text())
    kind = run["info"]["classes"][1]
    assert (
        row[f"{kind} area lower"] <= row[f"{kind} area upper"] and "00_sizes.png" in row["written"]
    )
    (row,) = zoo.predict(folder, image)
    assert row["sets"].shape == (*row["mask"].shape, 2) and row["sets"].any(axis=-1).all()
    expected = row["probabilities"][..., 1] > run["info"]["threshold"]
    np.testing.assert_array_equal(row["mask"].astype(bool), expected)
    assert ensembles(["evaluate", str(folder), at[1], "--out", str(tmp_path / "runs")]) == 0


@pytest.mark.parametrize(
    "words, why",
    [
        ("--coverage 0.99 --scaling none", "needs 99"),
        ("--coverage 0.9 --method split", "--method split is not for classes"),
        ("--method lac", "needs a coverage"),
    ],
)
def test_what_cannot_be_promised_is_told(at, tmp_path, capsys, words, why):
    out = ["--out", str(tmp_path / "runs")]
    assert ensembles(["calibrate", at[0], *words.split(), *out]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_evaluate_compares_and_makes_no_model(at, tmp_path, capsys):
    assert ensembles(["evaluate", *at, "--tta", "--out", str(tmp_path / "runs")]) == 0
    folder = made(capsys)
    assert not (folder / "model.keras").exists()
    assert (folder / "report.html").is_file()


COMBINING = "evaluate average vote weights select stack soup".split()


@pytest.mark.parametrize("word", COMBINING)
def test_detectors_are_sent_to_fuse(word, tmp_path, capsys):
    refused(word, "image_detection", "python -m ensembles fuse", tmp_path, capsys)


def test_detectors_are_calibrated_to_a_coverage(tmp_path, capsys):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    saving.save(model, tmp_path / "m.keras", {"task": "image_detection"})
    assert ensembles(["calibrate", str(tmp_path / "m.keras")]) == 2
    assert "give --coverage 0.9" in capsys.readouterr().err


def test_fuse_sends_others_away(tmp_path, capsys):
    refused("fuse", "image_segmentation", "fuse is for detectors", tmp_path, capsys)


def refused(word, task, why, tmp_path, capsys):
    """Check that a command refuses a model by its recorded task, before loading it."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    saving.save(model, tmp_path / "m.keras", {"task": task})
    assert ensembles([word, str(tmp_path / "m.keras"), "--out", str(tmp_path / "runs")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("ensembles: m") and why in message
    assert not (tmp_path / "runs").exists()


def test_folds_of_a_detector_train_nothing(tmp_path, capsys):
    assert ensembles(["folds", "--model", "yolov3_tiny", "--out", str(tmp_path / "runs")]) == 2
    assert "yolov3_tiny is a detector" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_folds_hand_the_members_their_own_settings(monkeypatch, tmp_path):
    trained = []

    def train(words, out, *rest):
        trained.append(words)
        raise ValueError("enough")

    monkeypatch.setattr(trainings, "train", train)
    options = ["--member-epochs", "7", "--member-batch-size", "3", "--member-learning-rate", "0.02"]
    words = ["folds", "--model", "unet", "--epochs", "5", "--out", str(tmp_path), *options]
    assert ensembles([*words, "--set", "width=0.5"]) == 2
    line = " ".join(trained[0])
    assert line.endswith(" --epochs 7 --batch-size 3 --learning-rate 0.02 --set width=0.5")
    trained.clear()
    assert ensembles(["folds", "--model", "unet", "--epochs", "5", "--out", str(tmp_path)]) == 2
    assert "--epochs" not in trained[0]


def test_the_cache_is_shown_and_cleared(at, capsys):
    assert ensembles(["cache"]) == 0
    assert ensembles(["cache", "--clear"]) == 0
    capsys.readouterr()
    assert ensembles(["cache"]) == 0
    assert capsys.readouterr().out.startswith("0 arrays of predictions, 0.0 MiB, in ")


def test_a_meta_learner_of_ones_own_comes_from_a_file(at, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import keras\n\n\n"
        "def best(logits, passed, units, kernel_size):\n"
        "    return keras.layers.Maximum()(logits)\n"
    )
    out = ["--out", str(tmp_path / "runs")]
    assert ensembles(["stack", *at, "--meta", f"{tmp_path / 'mine.py'}:best", *out]) == 0
    assert ensembles(["stack", *at, "--meta", f"{tmp_path / 'mine.py'}:worst", *out]) == 2
    assert "has no function worst" in capsys.readouterr().err


def test_folds_are_trained_once_and_stacked_on_what_each_says_of_its_own(
    workshop, monkeypatch, tmp_path, capsys, in_this_process
):
    monkeypatch.setenv("ZOO_CACHE", str(workshop / "cache"))
    options = "--member-epochs 1 --member-batch-size 4 --member-learning-rate 0.01"
    small = f"--epochs 1 --batch-size 4 --learning-rate 0.01 {options} {SMALL}".split()
    words = ["folds", "--model", "unet", "--loss", "dice", "--loss", "bce", "--folds", "2"]
    words += ["--data", str(workshop / "squares"), "--out", str(tmp_path / "runs")]
    assert ensembles([*words, *small]) == 0
    folder = made(capsys)
    run = json.loads((folder / "run.json").read_text())
    assert run["fitted"] == "out-of-fold"
    assert len(run["members"]) == 4
    members = sorted((tmp_path / "runs").glob("unet-*"))
    assert len(members) == 4
    cuts = [json.loads((path / "run.json").read_text())["settings"] for path in members]
    assert sorted((cut["task_options"]["loss"], *cut["validate"]) for cut in cuts) == [
        ("bce", 1, 2), ("bce", 2, 2), ("dice", 1, 2), ("dice", 2, 2),
    ]  # fmt: skip
    first = zoo.load(folder).get_weights()
    torn = json.loads((members[0] / "run.json").read_text())  # as if it had been killed
    (members[0] / "run.json").write_text(json.dumps({**torn, "status": "running"}))
    assert ensembles([*words, *small]) == 0
    assert len(list((tmp_path / "runs").glob("unet-*"))) == 4
    for a, b in zip(first, zoo.load(made(capsys)).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_student_learns_from_an_ensemble(at, workshop, tmp_path, capsys, in_this_process):
    out = ["--out", str(tmp_path / "runs")]
    assert ensembles(["average", *at, *out]) == 0
    teacher = made(capsys)
    small = f"--epochs 1 --batch-size 4 --learning-rate 0.01 {SMALL}".split()
    assert ensembles(["distill", str(teacher), "--model", "unet", *out, *small]) == 0
    text = capsys.readouterr().out
    student = pathlib.Path(text.split("Student: ")[1].strip())
    rows = json.loads((student / "distilled" / "report.json").read_text())["rows"]
    assert [row["kind"] for row in rows] == ["ensemble", "student"]
    assert rows[1]["parameters"] < rows[0]["parameters"]
    known = json.loads((student / "run.json").read_text())
    assert rows[1]["scores"]["dice"] == pytest.approx(known["scores"]["test"]["dice"], abs=1e-5)
    assert (student / "distilled" / "report.html").is_file()


LEGACY = """
import sys, numpy as np, tf_keras as keras
x, y = np.load(sys.argv[1])["x"], np.load(sys.argv[1])["y"]
for seed, loss in enumerate(["binary_crossentropy", "mse", "mae"]):
    keras.utils.set_random_seed(seed)
    entry = z = keras.Input((32, 32, 1))
    z = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(z)
    z = keras.layers.BatchNormalization()(z)
    skip, z = z, keras.layers.MaxPooling2D()(z)
    z = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(z)
    z = keras.layers.Conv2DTranspose(8, 2, strides=2)(z)
    z = keras.layers.concatenate([skip, z])
    model = keras.Model(entry, keras.layers.Conv2D(1, 1, activation="sigmoid")(z))
    model.compile("adam", loss)
    model.fit(x, y[..., None], epochs=5, verbose=0)
    model.save(f"{sys.argv[2]}/legacy_{seed}.h5")
    np.save(f"{sys.argv[2]}/legacy_{seed}.npy", model.predict(x, verbose=0))
"""


def test_files_of_an_older_keras_load_stack_save_and_load_again(tmp_path, capsys):
    pytest.importorskip("tf_keras")
    x, y = images(12, seed=5)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    words = [sys.executable, "-c", LEGACY, str(tmp_path / "data.npz"), str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True)
    files = [str(tmp_path / f"legacy_{seed}.h5") for seed in range(3)]
    data = squares(tmp_path / "squares")
    out = ["--data", str(data), "--out", str(tmp_path / "runs")]
    assert ensembles(["stack", *files, "--epochs", "2", *out]) == 0
    captured = capsys.readouterr()
    assert "legacy_0: it has no record of its training" in captured.err
    folder = pathlib.Path(captured.out.split("Run folder: ")[1].split("  ")[0])
    model = zoo.load(folder)
    inner = keras.Model(
        model.inputs, [layer.output for layer in model.layers if layer.name == "members"]
    )
    np.testing.assert_array_equal(inner.predict(x, verbose=0), x)
    for seed in range(3):
        logits = model.get_layer(f"member_{seed + 1}").predict(x, verbose=0)
        wanted = np.load(tmp_path / f"legacy_{seed}.npy")
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), wanted, atol=1e-5)
    saving.save(model, tmp_path / "again.keras", saving.record(folder / "model.keras"))
    again = zoo.load(tmp_path / "again.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    wide = np.zeros((50, 70), np.uint8)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    words = ["predict", str(folder), str(tmp_path / "wide.png"), "--out", str(tmp_path / "p")]
    assert zoo_command(words) == 0
