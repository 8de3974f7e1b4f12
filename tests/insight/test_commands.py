"""`python -m zoo attack` and `explain`: tables and pages, gains and refusals."""

import contextlib
import csv
import io
import json

import keras
import numpy as np
import pytest
from conftest import toy
from PIL import Image

import train
import zoo
from ensembles.__main__ import main as ensembles
from zoo.__main__ import main
from zoo.weights import saving

EPSILON = 0.1


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Cache prepared data in one folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_cache(cache):
    """Override the cache a test."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write an .npz of noisy images with a robust feature, and a weak one that is never wrong.

    Class 1 is brighter in the first row, by more than an attack may change, and in one of ten
    images darker; all of its other pixels are brighter by less than that.
    """
    folder, rng, arrays = tmp_path_factory.mktemp("data"), np.random.default_rng(0), {}
    for split, count in (("train", 256), ("val", 64), ("test", 100)):
        y = np.arange(count) % 2
        x = 16 + rng.normal(0, 5, (count, 8, 8, 1))
        strong = np.where(rng.random(count) < 0.1, 1 - y, y)
        x[:, :1] += 44 + 40 * (2 * strong[:, None, None, None] - 1)
        x[:, 1:] += 8 * (2 * y[:, None, None, None] - 1)
        arrays |= {f"x_{split}": x.clip(0, 255).astype(np.uint8), f"y_{split}": y}
    np.savez(folder / "halves.npz", classes=np.array(["dark", "bright"]), **arrays)
    return folder / "halves.npz"


@pytest.fixture(scope="module")
def runs(data):
    """Train a plain and a robust linear classifier; return run folders and what was printed."""
    out, folders, printed = data.parent / "runs", {}, {}
    words = ["--model", "logistic_regression", "--data", str(data), "--epochs", "16"]
    words += ["--learning-rate", "0.05", "--batch-size", "32", "--out", str(out)]
    for option in ("flip=none", "rotation=0", "zoom=0", "shift=0", "brightness=0", "contrast=0"):
        words += ["--set", option]
    for name, more in (("plain", []), ("robust", ["--adversarial", "fgsm", "--epsilon", "0.1"])):
        with contextlib.redirect_stdout(io.StringIO()) as text:
            assert train.main([*words, "--name", name, *more]) == 0
        folders[name], printed[name] = out / name, text.getvalue()
    return folders, printed


def attacked(folder):
    """Return the accuracies in attack.json: {(model, kind): by strength}."""
    content, by_kind = json.loads((folder / "attack.json").read_text()), {}
    for row in content["rows"]:
        by_kind.setdefault((row["model"], row["kind"]), []).append(row["accuracy"])
    return by_kind


def test_training_on_attacked_batches_gains_what_the_attack_takes(runs, tmp_path, capsys):
    folders, printed = runs
    sources, out = [str(folders[name]) for name in ("plain", "robust")], tmp_path / "out"
    assert main(["attack", *sources, "--epsilon", "0.1", "0.02", "--out", str(out)]) == 0
    by_kind = attacked(out)
    plain, robust = (by_kind[name, "attacked itself"] for name in ("plain", "robust"))
    assert plain[0] > 0.95 and plain[2] < 0.3, "weak features are turned around"
    assert robust[2] > plain[2] + 0.4 and robust[0] > 0.8
    assert plain == sorted(plain, reverse=True)
    text = capsys.readouterr().out
    assert f"{plain[2]:.3f}" in text and "fgsm, 100 of 100 test examples of halves" in text
    lines = list(csv.DictReader(open(out / "attack.csv")))
    assert [line["strength"] for line in lines] == ["0", "0.02", "0.1"] * 2
    assert {path.name for path in out.iterdir()} == {
        "attack.csv",
        "attack.json",
        "pictures-1.png",
        "pictures-2.png",
    }
    assert Image.open(out / "pictures-1.png").size[0] > 600
    record = json.loads((folders["robust"] / "run.json").read_text())
    rows = {row["strength"]: row["accuracy"] for row in record["attacked"]["rows"]}
    assert rows[0] == robust[0] and rows[EPSILON] == robust[2]
    assert f"{robust[2]:.3f}" in printed["robust"] and "zoo attack" in printed["robust"]
    assert record["settings"]["adversarial"] == "fgsm" and "attacked" not in printed["plain"]


def test_a_target_is_reached_and_nothing_is_written_over(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["attack", str(runs[0]["plain"]), "--target", "bright", "--examples", "40"]
    for number in (1, 2):
        assert main([*words, "--method", "pgd", "--epsilon", "0.1"]) == 0
        rows = json.loads((tmp_path / f"attack-{number}" / "attack.json").read_text())["rows"]
        before, after = rows
        assert before["target"] < 0.05 and after["target"] > 0.8
        assert after["accuracy"] == pytest.approx(0.5, abs=0.15), "those of the class stay right"
    assert "predicted as bright" in capsys.readouterr().out
    assert main([*words, "--out", "attack-1"]) == 2
    assert "not empty" in capsys.readouterr().err


def test_a_patch_is_trained_on_validation(runs, tmp_path):
    out = tmp_path / "out"
    words = ["attack", str(runs[0]["plain"]), "--method", "patch", "--size", "0.2", "0.9"]
    assert main([*words, "--out", str(out)]) == 0
    before, small, large = attacked(out)["plain", "attacked itself"]
    assert large < small < before and large < 0.6, "half of the images are of the other class"
    assert (out / "patches.png").is_file() and (out / "pictures.png").is_file()


def test_an_ensemble_is_compared_with_its_members(runs, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    members = [str(runs[0][name]) for name in ("plain", "robust")]
    assert ensembles(["average", *members]) == 0
    (folder,) = tmp_path.glob("runs/*")
    out = tmp_path / "out"
    assert main(["attack", str(folder), "--epsilon", "0.1", "--out", str(out)]) == 0
    by_kind = attacked(out)
    alone = {}
    for name in ("plain", "robust"):
        words = ["attack", str(runs[0][name]), "--epsilon", "0.1", "--out", str(tmp_path / name)]
        assert main(words) == 0
        alone[name] = attacked(tmp_path / name)[name, "attacked itself"]
        assert by_kind[name, "attacked itself"] == alone[name]
        assert by_kind[name, f"attacked through {folder.name}"][1] >= alone[name][1]
    assert len(by_kind) == 5 and f"attacked through {folder.name}" in capsys.readouterr().out
    x, y = np.load(data)["x_test"], np.load(data)["y_test"]
    logits = saving.load(folder / "model.keras").predict(np.float32(x) / 255, verbose=0)
    expected = np.mean(logits.argmax(axis=1) == y)
    assert by_kind[folder.name, "attacked itself"][0] == pytest.approx(expected)


def test_other_data_of_the_same_classes_can_be_attacked(runs, data, tmp_path, capsys):
    with np.load(data) as arrays:
        arrays = dict(arrays)
    arrays["y_test"] = 1 - arrays["y_test"]
    np.savez(tmp_path / "swapped.npz", **arrays)
    words = ["attack", str(runs[0]["plain"]), "--data", str(tmp_path / "swapped.npz")]
    assert main([*words, "--out", str(tmp_path / "out"), "--epsilon", "0.02"]) == 0
    assert attacked(tmp_path / "out")["plain", "attacked itself"][0] < 0.1
    arrays["classes"] = np.array(["black", "white"])
    np.savez(tmp_path / "swapped.npz", **arrays)
    assert main([*words, "--out", str(tmp_path / "none")]) == 2
    assert "its classes are black, white" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def saved(folder, name, task, **options):
    """Save an untrained model; return its path, a text."""
    keras.utils.set_random_seed(0)
    batch = toy(task)
    model = zoo.create(name, **batch.arguments, **options)
    info = {**batch.info, **batch.task.training.built(model, batch.options)}
    record = {"model": name, "task": task, "task_options": batch.options, "info": info}
    saving.save(model, folder / f"{name}.keras", record)
    return str(folder / f"{name}.keras")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Save a small model of several tasks."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "image_classification": saved(folder, "cnn", "image_classification"),
        "image_segmentation": saved(folder, "unet", "image_segmentation", depth=1, width=0.0625),
        "image_detection": saved(folder, "yolov3_tiny", "image_detection", width=0.0625),
        "sequence_classification": saved(folder, "lstm", "sequence_classification", units=4),
        "pointcloud_classification": saved(
            folder, "pointnet", "pointcloud_classification", width=0.125
        ),
        "forecasting": saved(folder, "gru", "forecasting", units=4),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a file of each kind, by the first word of its tasks."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 36, 3), np.uint8)).save(folder / "picture.png")
    np.savetxt(folder / "cloud.xyz", rng.normal(size=(80, 3)))
    np.savetxt(folder / "motion.csv", rng.normal(size=(24, 2)), delimiter=",")
    names = {"image": "picture.png", "pointcloud": "cloud.xyz", "sequence": "motion.csv"}
    return {kind: str(folder / name) for kind, name in names.items()}


@pytest.mark.parametrize(
    ("task", "method"),
    [
        *(("image_classification", name) for name in ("gradcam", "occlusion", "features", "dream")),
        *((task, "gradcam") for task in ("image_segmentation", "image_detection")),
        *((f"{kind}_classification", "saliency") for kind in ("sequence", "pointcloud")),
    ],
)
def test_each_file_has_its_picture(task, method, models, files, tmp_path, monkeypatch, capsys):
    from zoo.insight.methods import dream

    monkeypatch.setattr(dream, "STEPS", 2)
    source, out = files[task.partition("_")[0]], tmp_path / "out"
    sources = [source] * (2 if method == "dream" else 1)
    words = ["explain", models[task], *sources, "--method", method, "--out", str(out)]
    assert main(words) == 0, capsys.readouterr().err
    stem = source.rpartition("/")[2].partition(".")[0]
    names = [f"{stem}_{method}.png", f"{stem}-2_{method}.png"][: len(sources)]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    pixels = [np.asarray(Image.open(out / name)) for name in names]
    assert pixels[0].shape[1] > 400 and len(np.unique(pixels[0][::3, ::3, 0])) > 20
    np.testing.assert_array_equal(pixels[0], pixels[-1], "deterministic")
    assert f"{len(sources)} picture" in capsys.readouterr().out


def test_a_model_alone_is_shown(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from zoo.insight.methods import maximise

    monkeypatch.setattr(maximise, "ascend", lambda score, shape, count: np.zeros((count, *shape)))
    words = ["explain", models["image_classification"], "--method"]
    assert main([*words, "filters"]) == 0 and (tmp_path / "filters-1" / "filters.png").is_file()
    assert main([*words, "maximise"]) == main([*words, "maximise", "--layer", "conv2"]) == 0
    assert (tmp_path / "maximise-2" / "maximise.png").is_file()


REFUSED = [
    (["attack", "image_segmentation"], "it is for image_segmentation. Use a classifier"),
    (["attack", "pointcloud_classification", "--method", "patch"], "laid on images"),
    (["attack", "image_classification", "--target", "rodd"], "no class 'rodd': ball, disc"),
    (["attack", "image_classification", "--size", "0.1"], "--size: it is of a patch"),
    (["attack", "image_classification", "--steps", "5"], "--steps: they are of pgd"),
    (["attack", "image_classification"], "are not available"),
    (["explain", "image_classification"], "gradcam needs files"),
    (["explain", "image_classification", "FILE", "--method", "filters"], "shows the model alone"),
    (["explain", "image_classification", "FILE", "--target", "rodd"], "did you mean rod"),
    (["explain", "image_classification", "FILE", "--layer", "conv3"], "did you mean conv"),
    (["explain", "image_classification", "FILE", "--layer", "logits"], "is no maps"),
    (["explain", "sequence_classification", "FILE"], "Use --method saliency"),
    (["explain", "gru_gunpoint", "FILE"], "zoo: gru_gunpoint: gradcam is not for"),
    (["explain", "forecasting", "FILE", "--method", "saliency"], "No method is for it"),
]


@pytest.mark.parametrize(("words", "part"), REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(words, part, models, files, tmp_path, capsys):
    known = {**models, "FILE": files["image"]}
    words = [known.get(word, word) for word in words]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and part in error, error
    assert not (tmp_path / "out").exists()


def test_the_training_command_refuses_what_does_not_fit(capsys):
    model = ["--model", "logistic_regression"]
    for words, part in (
        ([*model, "--adversarial", "fgsm"], "--epsilon: it is for --adversarial"),
        ([*model, "--epsilon", "0.1"], "--epsilon: it is for --adversarial"),
        ([*model, "--adversarial", "pgd"], "invalid choice: 'pgd'"),
    ):
        with pytest.raises(SystemExit):
            train.main(words)
        error = capsys.readouterr().err
        assert part in error and error.count("\n") == 1
    words = ["--model", "bilstm", "--data", "seasonal_series", "--adversarial", "fgsm"]
    assert train.main([*words, "--epsilon", "0.1"]) == 2
    assert "--adversarial: attacks change the class" in capsys.readouterr().err
