"""The training command, run as users run it, and killed for real."""

import contextlib
import csv
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import CLASSES, JAX, pattern, quickest

import train
from zoo.__main__ import main as zoo_command

ROOT = pathlib.Path(__file__).parents[2]
QUICK = ["--no-jit", "--batch-size", "8"]
SMALL = ["--set", "widths=(8,)", "--set", "batch_norm=true", "--set", "dropout=0.1", *QUICK]


def command(*words):
    """Return the command line of train.py."""
    return [sys.executable, str(ROOT / "train.py"), *map(str, words)]


def run(*words):
    """Run train.py to its end in this process: status, output, errors."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        try:
            status = train.main([*map(str, words)])
        except SystemExit as end:
            status = end.code
    return status, printed.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write a small .npz of images; its folder holds the runs and the cache too."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    arrays = {"classes": np.array(CLASSES)}
    for split, count in [("train", 64), ("val", 16), ("test", 24)]:
        labels = np.arange(count) % len(CLASSES)
        arrays[f"x_{split}"] = np.stack([pattern(np.full((8, 8), label), rng) for label in labels])
        arrays[f"y_{split}"] = labels
    np.savez(folder / "patterns.npz", **arrays)
    return folder / "patterns.npz"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Let the processes cache prepared data in one folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_cache(cache):
    """Override the cache a test."""


@pytest.fixture(scope="module")
def finished(data):
    """Train eight epochs without a break; return the run folder and what was printed."""
    out = data.parent / "whole"
    status, printed, errors = run(
        "--model", "mlp", "--data", data, "--epochs", 8, "--seed", 3, *SMALL, "--out", out
    )
    assert status == 0, errors
    return out / "mlp-patterns-1", printed


def weights(folder, name="model.keras"):
    """Return the weights of a run's model."""
    from zoo.weights import saving

    return saving.load(folder / name).get_weights()


def read(folder):
    """Return run.json."""
    return json.loads((folder / "run.json").read_text())


def test_a_run_leaves_what_it_promises(finished):
    folder, printed = finished
    record = read(folder)
    assert record["status"] == "finished"
    assert record["data"]["sizes"] == {"train": 64, "validation": 16, "test": 24}
    assert record["info"]["classes"] == CLASSES
    assert 0 <= record["scores"]["test"]["accuracy"] <= 1
    assert set(record["scores"]["test"]["classes"]) == set(CLASSES)
    rows = list(csv.DictReader(open(folder / "history.csv")))
    assert [row["epoch"] for row in rows] == [str(i) for i in range(1, 9)]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.02 * 0.001
    values = [float(row["val_accuracy"]) for row in rows]
    assert record["best_epoch"] == max(i for i in range(1, 9) if values[i - 1] == max(values))
    names = {path.name for path in (folder / "plots").iterdir()}
    curves = {"learning_curves.png", "confusion_matrix.png"}
    assert names == curves | {"examples.png", "preview.png"}
    events = [path.read_bytes() for path in (folder / "tensorboard").rglob("events*")]
    assert any(b"| optimizer | adam |" in event for event in events)
    assert not list(folder.glob("*.npz")) and not list(folder.glob(".*"))
    for column in ("precision", "recall", "f1-score", "support"):
        assert column in printed and column in (folder / "report.txt").read_text()
    assert "8 steps an epoch, batches of 8; 8 epochs; 64 updates" in printed
    assert printed.count(" - val_accuracy: ") == 8 and "\b" not in printed, "a line an epoch"
    last = printed.strip().splitlines()[-3:]
    assert str(folder) in last[0] and "accuracy" in last[1]
    assert f"python -m zoo predict {folder}" in last[2]


def test_model_file_is_self_contained(finished):
    from zoo.weights import saving

    folder, _ = finished
    record, written = saving.record(folder / "model.keras"), read(folder)
    for key in ("model", "arguments", "options", "task", "task_options", "info"):
        assert record[key] == written[key]
    assert written["sha256"] == saving.sha256(folder / "model.keras")


def wait_for_epochs(process, folder, count):
    """Wait until a run has recorded `count` epochs."""
    limit = time.time() + 1500  # on a busy machine a process may take minutes to begin
    while time.time() < limit and process.poll() is None:
        path = folder / "history.csv"
        if path.exists() and len(path.read_text().splitlines()) > count:
            return
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"no {count} epochs: {process.communicate()[1][-2000:]}")


NEWER = ("validate", "bootstrap", "snapshots", "teacher", "temperature", "adversarial", "epsilon")


@pytest.fixture(scope="module")
def killed(data):
    """Kill a training of eight epochs after the fourth; return run folders as a kill leaves them.

    What a kill after the first epoch would have left is a copy of the folder, made while the
    process was stopped.
    """
    out = data.parent / "killed"
    words = ["--model", "mlp", "--data", data, "--epochs", 8, "--seed", 3, *SMALL]
    process = subprocess.Popen(
        command(*words, "--out", out), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    late, early = out / "mlp-patterns-1", out / "early"
    wait_for_epochs(process, late, 1)
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    shutil.copytree(late, early)
    process.send_signal(signal.SIGCONT)
    wait_for_epochs(process, late, 4)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return {1: early, 4: late}


@pytest.mark.parametrize("epochs", [1, 4])
def test_killed_and_resumed_equals_uninterrupted(finished, killed, epochs):
    folder, (whole, _) = killed[epochs], finished
    record = read(folder)
    assert record["status"] == "running"
    for key in NEWER if epochs == 1 else ():  # a run from before these options goes on, too
        del record["settings"][key]
    (folder / "run.json").write_text(json.dumps(record))
    status, printed, errors = run("--resume", folder)
    assert status == 0, errors
    assert re.search(r"Resuming after epoch [1-8] of 8", printed)
    assert read(folder)["scores"] == read(whole)["scores"]
    for actual, expected in zip(weights(folder), weights(whole), strict=True):
        np.testing.assert_array_equal(actual, expected)
    curves = [list(csv.DictReader(open(run / "history.csv"))) for run in (folder, whole)]
    assert curves[0] == curves[1]


ENSEMBLE = ["--validate", "2/5", "--bootstrap", "--snapshots", "2"]


@pytest.fixture(scope="module")
def taught(finished, data):
    """Train a student with all that makes members differ; return the run folder and the print."""
    out, words = data.parent / "taught", ["--model", "mlp", "--data", data, "--epochs", 4]
    words += ["--seed", 4, *SMALL, *ENSEMBLE, "--teacher", finished[0], "--out", out]
    status, printed, errors = run(*words)
    assert status == 0, errors
    return out / "mlp-patterns-1", printed


def test_validate_cuts_all_but_the_test_anew(taught, finished):
    record = read(taught[0])
    assert record["data"]["sizes"] == {"train": 64, "validation": 16, "test": 24}
    assert record["settings"]["validate"] == [2, 5]
    supports = [row["support"] for row in record["scores"]["validation"]["classes"].values()]
    assert supports == [4, 4, 4, 4]
    assert record["data"]["fingerprint"] == read(finished[0])["data"]["fingerprint"]


def test_bootstrap_says_how_many_examples_are_distinct(taught, finished):
    folder, printed = taught
    bootstrap = read(folder)["bootstrap"]
    assert bootstrap["drawn"] == 64 and 30 < bootstrap["distinct"] < 52
    assert f"{bootstrap['distinct']} distinct examples of 64" in printed
    assert read(folder)["settings"]["bootstrap"] and "bootstrap" not in read(finished[0])


def test_snapshots_are_kept_at_the_ends_of_cycles(taught):
    from zoo.weights import saving

    folder, printed = taught
    rows = list(csv.DictReader(open(folder / "history.csv")))
    falls = [0.5 * (1 + np.cos(np.pi * epoch / 2)) for epoch in (1, 0)]
    rates = [float(row["learning_rate"]) for row in rows]  # with which the next epoch begins
    np.testing.assert_allclose(rates, 0.001 * np.array(falls * 2), rtol=1e-4)
    assert read(folder)["snapshots"] == ["snapshot-1.keras", "snapshot-2.keras"]
    assert sorted(path.name for path in folder.glob("snap*")) == read(folder)["snapshots"]
    paths = [folder / name for name in (*read(folder)["snapshots"], "model.keras")]
    first, second, best = (saving.load(path).get_weights() for path in paths)
    assert not all(map(np.array_equal, first, second))
    assert all(map(np.array_equal, second, best)) == (read(folder)["best_epoch"] == 4)
    assert saving.record(paths[0]) == saving.record(paths[2])
    assert f"python -m ensembles average {folder}/snapshot-*.keras" in printed


def test_a_teacher_stands_in_the_record_and_the_student_is_what_is_kept(taught, finished):
    from zoo.weights import saving

    folder, printed = taught
    teacher, record = read(folder)["teacher"], saving.record(folder / "model.keras")
    assert teacher["source"] == str(finished[0]) and teacher["name"] == finished[0].name
    assert teacher["sha256"] == read(finished[0])["sha256"] and record["teacher"] == teacher
    assert read(folder)["settings"]["temperature"] == 3.0
    assert finished[0].name in printed
    assert [w.shape for w in weights(folder)] == [w.shape for w in weights(finished[0])]
    header = (folder / "history.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "accuracy", "val_accuracy", "val_distillation_loss"} <= set(header)


def test_a_killed_student_goes_on_as_if_nothing_had_happened(taught, finished, data):
    out, words = data.parent / "killed-taught", ["--model", "mlp", "--data", data]
    words += ["--epochs", 4, "--seed", 4, *SMALL, *ENSEMBLE, "--teacher", finished[0], "--out", out]
    process = subprocess.Popen(
        command(*words), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    folder = out / "mlp-patterns-1"
    wait_for_epochs(process, folder, 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read(folder)["status"] == "running"
    first = (folder / "snapshot-1.keras").read_bytes()
    status, printed, errors = run("--resume", folder)
    assert status == 0, errors
    assert re.search(r"Resuming after epoch [2-4] of 4", printed)
    assert (folder / "snapshot-1.keras").read_bytes() == first
    for key in ("scores", "teacher", "bootstrap", "snapshots", "best_epoch"):
        assert read(folder)[key] == read(taught[0])[key]
    for name in ("model.keras", "snapshot-1.keras", "snapshot-2.keras"):
        for actual, expected in zip(weights(folder, name), weights(taught[0], name), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_a_teacher_of_other_classes_is_refused(data, tmp_path):
    words = ["--model", "mlp", "--data", data, *SMALL, "--out", tmp_path / "runs"]
    status, _, errors = run(*words, "--teacher", "resnet20_cifar10")
    assert status == 2 and errors.startswith("train.py: resnet20_cifar10: ")
    assert "airplane" in errors and ", ".join(CLASSES) in errors
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("steps", [1, 7, 41])  # of 41 a rounded quotient misses the first
def test_cycles_of_the_rate_are_exact(steps, compiled):
    import tensorflow as tf

    from zoo.training.optimization import rates

    rate = tf.function(rates.Cycles(0.01, steps), jit_compile=compiled)
    rates = [float(rate(tf.constant(t, tf.int64))) for t in range(3 * steps)]
    wanted = [0.005 * (np.cos(np.pi * (t % steps) / steps) + 1) for t in range(3 * steps)]
    np.testing.assert_allclose(rates, wanted, atol=1e-8)


def test_ctrl_c_leaves_a_usable_model(data):
    out = data.parent / "interrupted"
    words = ["--model", "mlp", "--data", data, "--epochs", 500, *SMALL, "--out", out]
    process = subprocess.Popen(
        command(*words),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs ignore Ctrl-C, and so would what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder = out / "mlp-patterns-1"
    wait_for_epochs(process, folder, 2)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert read(folder)["status"] == "interrupted"
    assert f"--resume {folder}" in printed
    assert weights(folder)


def test_divergence_stops_and_keeps_the_best_model(data):
    out = data.parent / "diverged"
    words = ["--model", "mlp", "--data", data, "--epochs", 5, *SMALL, "--out", out]
    status, _, errors = run(*words, "--learning-rate", "1e30")
    assert status == 1
    assert "the loss is not finite" in errors
    record = read(out / "mlp-patterns-1")
    assert record["status"] == "diverged" and record["epochs"] < 5


def test_transfer_keeps_what_fits_and_rebuilds_the_head(finished, data):
    folder, _ = finished
    with np.load(data) as arrays:
        arrays = dict(arrays)
    for split in ("train", "val", "test"):
        few = arrays[f"y_{split}"] < 3
        arrays[f"x_{split}"], arrays[f"y_{split}"] = (
            arrays[f"{axis}_{split}"][few] for axis in "xy"
        )
    arrays["classes"] = arrays["classes"][:3]
    np.savez(data.parent / "three.npz", **arrays)
    words = ["--model", "mlp", "--data", data.parent / "three.npz", *QUICK]
    out = data.parent / "transfer"
    status, printed, errors = run(*words, "--epochs", 1, "--init", folder, "--out", out)
    assert status == 0, errors
    transferred, fresh = re.search(
        r"(\d+) weights transferred, (\d+) newly initialized", printed
    ).groups()
    assert (int(transferred), int(fresh)) == (len(weights(folder)) - 2, 2)
    assert "logits/kernel" in printed and "logits/bias" in printed
    assert read(out / "mlp-three-1")["options"]["widths"] == [8]


def test_bad_data_is_named_before_training(data, tmp_path):
    with np.load(data) as arrays:
        arrays = dict(arrays)
    arrays["x_train"] = arrays["x_train"].astype(np.float32)
    arrays["x_train"][5, 3] = np.nan
    np.savez(tmp_path / "holes.npz", **arrays)
    words = ["--model", "mlp", "--data", tmp_path / "holes.npz", "--out", tmp_path / "runs"]
    status, _, errors = run(*words, *SMALL)
    assert status == 2
    assert "holes.npz" in errors and "Traceback" not in errors
    assert not (tmp_path / "runs").exists()


def test_data_of_another_task_is_refused(data, tmp_path):
    words = ["--model", "pointnet_segmentation", "--data", data, "--out", tmp_path / "runs"]
    status, _, errors = run(*words)
    assert status == 2 and "Traceback" not in errors and errors.startswith("train.py: ")


def colours(folder):
    """Write images of three colours into a folder each; return the folder of these."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, colour in [("blue", (30, 30, 200)), ("green", (30, 200, 30)), ("red", (200, 30, 30))]:
        (folder / name).mkdir(parents=True)
        for i in range(10):
            image = (np.array(colour) + rng.integers(-30, 30, (40, 32, 3))).astype(np.uint8)
            Image.fromarray(image).save(folder / name / f"{i}.png")
    return folder


WITHOUT_TENSORFLOW = """
import importlib.machinery, sys

class Others(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, *places):
        return None if name.partition(".")[0] == "tensorflow" else super().find_spec(name, *places)

known = importlib.machinery.PathFinder
sys.meta_path[:] = [Others if finder is known else finder for finder in sys.meta_path]
import train
status = train.main()
assert "tensorflow" not in sys.modules
sys.exit(status)
"""


def test_without_tensorflow_it_trains_on_jax(tmp_path):
    words = ["--model", "mlp", "--data", colours(tmp_path / "colours"), "--epochs", 1]
    words += ["--set", "image_size=8", "--set", "widths=(4,)", "--out", tmp_path]
    words += ["--adversarial", "fgsm", "--epsilon", 0.05]  # gradients of an input, on JAX too
    settings = {**os.environ, **JAX}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, words)],
        cwd=ROOT, env=settings, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = read(tmp_path / "mlp-colours-1")
    assert record["backend"] == "jax" and record["status"] == "finished"
    attacked = {row["strength"]: row["accuracy"] for row in record["attacked"]["rows"]}
    assert attacked[0] == record["scores"]["test"]["accuracy"] >= attacked[0.05]
    assert (tmp_path / "mlp-colours-1" / "plots" / "examples.png").exists()


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Write images of bright discs and their masks into images/ and masks/."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("cells"), np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for i in range(20):
        centre = rng.uniform(8, 32, (2, 1, 1))
        inside = np.hypot(*(np.indices((40, 40)) - centre)) < 7
        image = 40 + 140 * inside + rng.integers(-20, 20, inside.shape)
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(255 * inside.astype(np.uint8)).save(folder / "masks" / f"{i}.png")
    return folder


NARROW = ["--set", "width=0.125", "--set", "depth=2", "--set", "tile_height=48"]
NARROW += ["--set", "tile_width=32", "--set", "overlap=8", "--batch-size", "4"]


def test_images_and_masks_make_a_model_that_segments_any_size(cells, tmp_path):
    from PIL import Image

    words = ["--model", "unet", "--data", cells, *NARROW, "--epochs", 12, "--fold", "2/5"]
    words += ["--set", "batch_norm=true", "--set", "dropout=0.0", "--learning-rate", 0.01]
    status, printed, errors = run(*words, "--out", tmp_path)
    assert status == 0, errors
    [folder] = tmp_path.glob("unet-cells*")
    record = read(folder)
    assert record["info"]["classes"] == ["background", "foreground"]
    assert record["arguments"] == {"input_shape": [None, None, 1], "num_classes": 1}
    assert record["data"]["sizes"] == {"train": 26, "validation": 6, "test": 8}  # two tiles each
    assert record["scores"]["test"]["dice"] > 0.8
    assert "IoU" in printed and "foreground" in printed
    large = np.full((130, 150), 40, np.uint8)
    large[20:34, 20:34] = large[90:104, 120:134] = 180
    Image.fromarray(large).save(tmp_path / "large.png")
    words = ["predict", folder, tmp_path / "large.png", "--out", tmp_path / "found"]
    assert zoo_command([*map(str, words)]) == 0
    [row] = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert row["written"] == ["large_mask.png", "large_overlay.png"]
    assert row["foreground parts"] == 2
    mask = np.array(Image.open(tmp_path / "found" / "large_mask.png"))
    assert mask.shape == large.shape and np.mean(mask == (large == 180)) > 0.98
    assert row["foreground area"] == pytest.approx(mask.mean())


def test_class_folders_of_images_make_a_classifier(tmp_path):
    colours(tmp_path / "colours")
    words = ["--model", "vgg", "--data", tmp_path / "colours", "--epochs", 8, "--batch-size", 8]
    words += ["--set", "depth=11", "--set", "width=0.0625", "--set", "image_size=32"]
    status, _, errors = run(*words, "--set", "dropout=0.0", "--out", tmp_path)
    assert status == 0, errors
    record = read(tmp_path / "vgg-colours-1")
    assert record["arguments"] == {"input_shape": [32, 32, 3], "num_classes": 3}
    assert record["scores"]["test"]["accuracy"] > 0.8
    words = ["predict", tmp_path / "vgg-colours-1", tmp_path / "colours" / "red" / "0.png"]
    assert zoo_command([*map(str, words), "--out", str(tmp_path / "found")]) == 0
    [row] = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert row["class"] == "red" and row["written"] == ["0.png"]
    words = ["--model", "vgg", "--data", tmp_path / "colours", "--init", tmp_path / "vgg-colours-1"]
    status, _, errors = run(*words, "--freeze", "--unfreeze-after", 9999, "--out", tmp_path)
    assert status == 2 and "--unfreeze-after: it is not below the" in errors


def test_unpadded_convolutions_train_with_a_margin(cells, tmp_path):
    words = ["--model", "unet", "--data", cells, *NARROW, "--epochs", 1, "--out", tmp_path]
    words += ["--set", "padding=valid", "--loss", "tversky"]
    status, _, errors = run(*words)
    assert status == 2 and "--set margin=20" in errors
    words += ["--set", "margin=20", "--set", "tile_height=60"]
    status, _, errors = run(*words)
    assert status == 2 and "tiles of 32 pixels cannot overlap by 48" in errors
    status, _, errors = run(*words, "--set", "tile_width=62")
    assert status == 2 and "not 62: choose 60 or 64" in errors
    status, _, errors = run(*words, "--set", "tile_width=60")
    assert status == 0, errors
    assert 0 <= read(next(tmp_path.glob("unet-*")))["scores"]["test"]["dice"] <= 1


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--model", "pointnett"], ["'pointnett'", "pointnet"]),
        (["--model", "pointnet", "--data", "lidar_object"], ["'lidar_object'", "lidar_objects"]),
        (["--model", "pointnet", "--epoch", "3"], ["--epoch", "--epochs"]),
        (["--model", "pointnet", "--epochs", "0"], ["--epochs", "0"]),
        (["--model", "pointnet", "--epochs", "many"], ["--epochs", "many"]),
        (["--model", "pointnet", "--set", "widht=1"], ["'widht'", "width"]),
        (["--model", "pointnet", "--set", "width=wide"], ["width", "'wide'", "float"]),
        (["--model", "pointnet", "--set", "width"], ["'width'", "KEY=VALUE"]),
        (["--model", "unet", "--loss", "dise"], ["--loss", "'dise'", "dice"]),
        (["--model", "pointnet", "--loss", "dice"], ["--loss", "'dice'", "cross_entropy"]),
        (["--model", "pointnet", "--fold", "6/5"], ["--fold", "'6/5'", "1/5"]),
        (["--model", "pointnet", "--init", "nothing.keras"], ["--init", "nothing.keras"]),
        (["--model", "pointnet", "--validate", "0/5"], ["--validate", "'0/5'", "1/5"]),
        (["--model", "unet", "--fold", "1/5", "--validate", "1/5"], ["--validate", "--fold"]),
        (["--model", "pointnet", "--snapshots", "1"], ["--snapshots", "1 is not above 1"]),
        (["--model", "unet", "--epochs", "20", "--snapshots", "3"], ["20", "--epochs 18 or", "21"]),
        (["--model", "unet", "--epochs", "2", "--snapshots", "3"], ["2 epochs", ": --epochs 3\n"]),
        (["--model", "pointnet", "--teacher", "nothing.keras"], ["--teacher", "nothing.keras"]),
        (["--model", "pointnet", "--temperature", "2"], ["--temperature", "--teacher"]),
        (["--model", "pointnet", "--data", "no/such/folder"], ["no/such/folder", "sunspots; the"]),
        (["--model", "mlp", "--target", "foo"], ["--target", "'foo'", "labels"]),
        (["--model", "cnn", "--set", "pool=cifar"], ["one of average, maximum\n"]),
        (["--resume", "no/such/run"], ["no/such/run", "run.json"]),
        ([], ["--model", "pointnet"]),
    ],
)
def test_mistakes_answer_in_one_line_at_once(words, parts):
    done, seconds = quickest(command(*words), cwd=ROOT)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr
    assert seconds < 0.5


@pytest.mark.parametrize(("words", "part"), [(["--help"], "--model"), (["--list"], "pointnet")])
def test_help_and_list_answer_at_once(words, part):
    done, seconds = quickest(command(*words), cwd=ROOT)
    assert done.returncode == 0 and part in done.stdout
    assert seconds < 0.5


def test_parts_of_objects_whose_kind_is_known(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in [("train", 16), ("val", 8), ("test", 8)]:
        kinds = np.arange(count) % 2
        points = rng.normal(size=(count, 64, 3)).astype(np.float32)
        arrays[f"x_{split}"] = points
        arrays[f"y_{split}"] = (points[..., 2] > 0) + 2 * kinds[:, None]
        arrays[f"object_{split}"] = kinds
    np.savez(tmp_path / "parts.npz", **arrays)
    words = ["--model", "pointnet_segmentation", "--data", tmp_path / "parts.npz", "--epochs", 1]
    words += ["--set", "points=64", "--set", "width=0.125", *QUICK]
    status, _, errors = run(*words, "--out", tmp_path)
    assert status == 0, errors
    record = read(tmp_path / "pointnet_segmentation-parts-1")
    assert record["arguments"]["num_objects"] == 2
    from zoo.weights import saving

    model = saving.load(tmp_path / "pointnet_segmentation-parts-1" / "model.keras")
    assert set(model.input) == {"points", "object"}


def test_a_measured_size_that_the_model_does_not_take_is_increased(tmp_path, capsys):
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "validation", "test"):
        arrays[f"x_{split}"] = rng.integers(256, size=(8, 14, 14), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(8) % 2
    np.savez(tmp_path / "small.npz", **arrays)
    words = ["--model", "vit", "--data", str(tmp_path / "small.npz"), "--epochs", "1"]
    words += ["--set", "size=Ti", "--set", "depth=1", "--set", "patch=8", "--out", str(tmp_path)]
    assert train.main(words) == 0
    assert "vit takes no image_size of 14: it is 16\n" in capsys.readouterr().out
    (run,) = tmp_path.glob("*/run.json")
    record = json.loads(run.read_text())
    assert record["task_options"]["image_size"] == 16
    assert record["arguments"]["input_shape"] == [16, 16, 1]
