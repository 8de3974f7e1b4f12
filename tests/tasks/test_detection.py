"""Detectors from the command line: trained on a user's boxes, and predicting boxes."""

import csv
import json
import pathlib

import numpy as np
import pytest
from conftest import CLASSES, toy

import train
import zoo
from tests.ensembles.test_fusion import folder
from zoo.__main__ import main as zoo_command
from zoo.tasks.boxes import coding, detections, nms
from zoo.weights import darknet_weights, saving

SMALL = ["--set", "image_size=64", "--set", "max_boxes=8", "--set", "width=0.25"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write images with boxes, and cache the prepared data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield folder(tmp_path_factory.mktemp("data") / "things", 30)


@pytest.fixture(autouse=True)
def own_cache(data):
    """Override the cache a test."""


def run(data, out, *words, model="yolov3_tiny"):
    """Train; return the exit status."""
    words = ["--model", model, "--data", str(data), "--out", str(out), *words]
    return train.main([*words, "--batch-size", "8", *SMALL])


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Train with anchors of the data; return the run folder."""
    out = tmp_path_factory.mktemp("runs")
    words = ["--epochs", "24", "--learning-rate", "0.01", "--set", "anchors=auto"]
    words += ["--set", "mosaic=0.0", "--set", "scale=0.1"]
    assert run(data, out, *words) == 0
    return out / "yolov3_tiny-things-1"


def test_a_run_tells_average_precision_and_keeps_its_grid(finished):
    record = json.loads((finished / "run.json").read_text())
    with open(finished / "history.csv") as file:
        rows = [*csv.DictReader(file)]
    scores = [float(row["val_map50"]) for row in rows]
    assert len(scores) == 24 and max(scores[12:]) > max(0.4, scores[0])
    assert scores[record["best_epoch"] - 1] == max(scores)
    assert record["scores"]["validation"]["map50"] == pytest.approx(max(scores), abs=1e-6)
    assert set(record["scores"]["test"]["classes"]) == set(CLASSES)
    grid = record["info"]["grid"]
    assert grid["strides"] == [32, 16] and grid["size"] == [64, 64]
    anchors = np.array([*grid["anchors"][1], *grid["anchors"][0]])
    np.testing.assert_allclose(anchors, record["info"]["anchors"]["6"])
    assert (np.abs(anchors - 16) < 4).all(), "things are 10 to 13 of 48 pixels"
    for name in ("preview", "examples", "precision_recall", "learning_curves"):
        assert (finished / "plots" / f"{name}.png").stat().st_size > 1000
    assert "AP@0.5" in (finished / "report.txt").read_text()


def test_predictions_are_in_pixels_of_the_picture(finished, data, tmp_path):
    pictures = [str(data / "images" / f"{i}.png") for i in range(6)]
    out = tmp_path / "out"
    assert zoo_command(["predict", str(finished), *pictures, "--out", str(out)]) == 0
    overlaps, rows = [], json.loads((out / "predictions.json").read_text())
    for i, row in enumerate(rows):
        boxes = json.loads((out / f"{i}_boxes.json").read_text())
        assert row["objects"] == len(boxes) == sum(row[name] for name in CLASSES)
        assert (row["height"], row["width"]) == (40, 48)
        truth = np.loadtxt(data / "labels" / f"{i}.txt", ndmin=2)[:, 1:] * [48, 40, 48, 40]
        for box in boxes:
            assert box["image_id"] == str(i) and CLASSES[box["category_id"]] == box["category"]
            x, y, w, h = box["bbox"]
            assert 0 <= x and x + w <= 48.01 and 0 <= y and y + h <= 40.01
            low = np.maximum([x, y], truth[:, :2] - truth[:, 2:] / 2)
            high = np.minimum([x + w, y + h], truth[:, :2] + truth[:, 2:] / 2)
            shared = np.maximum(high - low, 0).prod(axis=1)
            overlaps.append(np.max(shared / (w * h + truth[:, 2:].prod(axis=1) - shared)))
        assert (out / f"{i}_boxes.png").is_file()
    assert len(overlaps) >= 3 and np.median(overlaps) > 0.5


def test_darknets_file_starts_a_training(data, tmp_path, capsys):
    model = zoo.create("yolov3_tiny", input_shape=(64, 64, 3), num_classes=80, width=0.25)
    for weight in model.weights:
        weight.assign(weight + 0.01)
    file = tmp_path / "coco.weights"
    darknet_weights.save(model, file)
    assert run(data, tmp_path, "--epochs", "1", "--init", str(file)) == 0
    printed = capsys.readouterr().out
    transferred = len(model.weights) - 4
    assert f"From {file}: {transferred} weights transferred, 4 newly initialized" in printed
    wide = zoo.create("yolov3_tiny", input_shape=(64, 64, 3), num_classes=80, width=0.5)
    darknet_weights.save(wide, file)
    assert run(data, tmp_path, "--epochs", "1", "--init", str(file)) == 2
    assert "coco.weights" in capsys.readouterr().err


def test_options_that_a_model_does_not_take_are_refused(data, tmp_path, capsys):
    words = ["--epochs", "1", "--set", "anchors=auto", "--set", "grid=4"]
    assert run(data, tmp_path, *words, model="yolo") == 2
    assert "grid=4 --set width=0.25: it takes no anchors" in capsys.readouterr().err
    assert run(data, tmp_path, "--epochs", "1", "--set", "anchors=[[1,2],[3,4],[5,6]]") == 2
    assert "anchors are pairs (width, height)" in capsys.readouterr().err


def test_a_run_goes_on_where_it_was_stopped(data, tmp_path, monkeypatch, capsys):
    from zoo.training.recorder import Recorder

    write, count = Recorder._write_history, []

    def stop(self):
        write(self)
        count.append(self.epochs)
        if len(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "_write_history", stop)
    assert run(data, tmp_path, "--epochs", "3") == 130
    monkeypatch.setattr(Recorder, "_write_history", write)
    stopped = tmp_path / "yolov3_tiny-things-1"
    assert train.main(["--resume", str(stopped)]) == 0
    assert run(data, tmp_path, "--epochs", "3") == 0
    histories = []
    for name in (stopped, tmp_path / "yolov3_tiny-things-2"):
        with open(pathlib.Path(name, "history.csv")) as file:
            histories.append([float(row["val_loss"]) for row in csv.DictReader(file)])
    np.testing.assert_allclose(*histories, rtol=1e-4)
    assert saving.record(stopped / "model.keras")["info"]["grid"]["strides"] == [32, 16]


def test_boxes_of_many_images_are_those_of_each_and_compiled_once():
    batch = toy("image_detection")
    info, noise = batch.info, np.random.default_rng(0)
    raw = np.tile(batch.truth(certainty=4.0), (3, 1, 1))[: detections.BATCH + 3]
    raw += noise.normal(size=raw.shape).astype(np.float32)
    images = detections.detected(raw, info, 0.1)
    rows = nms.suppress(*coding.scored(raw, info["grid"]), score=0.1, **info["suppression"])
    for boxes, expected in zip(images, nms.detections(rows), strict=True):
        np.testing.assert_allclose(boxes, expected, atol=1e-4)
    assert len({len(boxes) for boxes in images}) > 1
    misses = detections.compiled.cache_info().misses
    [last] = detections.detected(raw[-1:], info, 0.1)
    assert detections.compiled.cache_info().misses == misses
    np.testing.assert_allclose(last, images[-1], atol=1e-4)
    fewer = detections.detected(raw[..., :-2], info, 0.1)  # of two classes
    assert {*np.concatenate(fewer)[:, 5]} == {0, 1}
    assert detections.detected(raw[:0], info, 0.1) == []
