"""python -m ensembles fuse: fusion and scoring of detectors with different inputs and grids."""

import json
import pathlib
import types

import keras
import numpy as np
import pytest
from conftest import CLASSES, things, toy
from PIL import Image

import zoo
from ensembles import __main__ as command
from ensembles.combining import fusion
from zoo import __main__ as cli
from zoo.tasks import images
from zoo.tasks.boxes import detections as decoded
from zoo.tasks.boxes import fusion as boxes_fusion
from zoo.weights import saving


def folder(path, count=24):
    """Write images with boxes in YOLO's layout."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (path / name).mkdir(parents=True)
    (path / "classes.txt").write_text("\n".join(CLASSES))
    for i in range(count):
        example = things(rng)
        Image.fromarray(example["image"]).save(path / "images" / f"{i}.png")
        lines = []
        for (y1, x1, y2, x2), label in zip(*example["objects"].values(), strict=True):
            sides = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
            lines.append(" ".join([str(label), *(f"{side:.6f}" for side in sides)]))
        (path / "labels" / f"{i}.txt").write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train two detectors with different sizes and grids; return the data and the files."""
    home = tmp_path_factory.mktemp("fusion")
    data, files = folder(home / "things"), []
    for name, size, options in [
        ("yolov3_tiny", 64, dict(width=0.25)),
        ("yolo", 96, dict(width=0.125, grid=6, batch_norm=True, dropout=0.0)),
    ]:
        batch = toy("image_detection", count=16, image_size=size)
        keras.utils.set_random_seed(0)
        model = zoo.registry.get(name).builder(**batch.arguments, **options)
        info = {**batch.info, **batch.task.training.built(model, batch.options)}
        loss = batch.task.training.loss(info, batch.options)
        model.compile(keras.optimizers.Adam(0.003), loss, jit_compile=False)
        model.optimizer.build(model.trainable_variables)
        model.fit(batch.x, batch.y, batch_size=8, epochs=40, verbose=0)
        record = {
            "model": name,
            "arguments": {},
            "options": options,
            "task": "image_detection",
            "task_options": batch.options,
            "info": info,
        }
        files.append(home / f"{name}.keras")
        saving.save(model, files[-1], record)
    return data, [str(file) for file in files]


def fuse(*words):
    """Run the command; return its exit status."""
    return command.main(["fuse", *words])


def result(printed):
    """Return run.json of the folder that the command named."""
    place = pathlib.Path(printed.split("Run folder: ")[1].split("  ")[0])
    return json.loads((place / "run.json").read_text()), place


def test_two_of_other_forms_and_sizes_are_fused_and_reported(trained, tmp_path, capsys):
    data, files = trained
    assert fuse(*files, "--data", str(data), "--out", str(tmp_path)) == 0
    record, place = result(capsys.readouterr().out)
    assert record["info"]["grid"] == {"form": "rows", "size": [96, 96]}
    assert saving.load(place / "model.keras").output_shape == (None, 2, 100, 6)
    rows = {row["name"]: row["scores"]["map50"] for row in record["rows"]}
    assert [*rows] == ["yolov3_tiny", "yolo", "wbf"]
    assert rows["yolov3_tiny"] > 0.2 and rows["yolo"] > 0.02, "training had an effect"
    assert rows["wbf"] > min(rows["yolov3_tiny"], rows["yolo"])
    assert (
        record["status"] == "finished" and record["scores"]["test"] == record["rows"][-1]["scores"]
    )
    for name in ("report.html", "plots/examples.png", "plots/precision_recall.png"):
        assert (place / name).stat().st_size > 1000


def test_the_combined_model_predicts_new_files(trained, tmp_path, capsys):
    """Its boxes are those of its members, fused; it loads and predicts like any model."""
    data, (file, _) = trained
    words = ["--data", str(data), "--out", str(tmp_path), "--weights", "2", "1"]
    assert fuse(file, file, *words) == 0
    images = [str(path) for path in sorted((data / "images").glob("*.png"))[:5]]
    _, place = result(capsys.readouterr().out)
    fused, alone = zoo.predict(place, images), zoo.predict(file, images, confidence=0.005)
    for image, *members in zip(fused, alone, alone, strict=True):
        size = max(image["height"], image["width"])
        rows = [
            np.column_stack([member["boxes"], member["scores"], member["labels"]])
            for member in members
        ]
        settings = dict(method="wbf", iou=0.55, skip=0.0, weights=[2, 1], limit=size)
        expected = boxes_fusion.fuse(rows, **settings)
        expected = expected[expected[:, 4] > 0.25]
        assert len(image["boxes"]) == len(expected)
        np.testing.assert_allclose(image["scores"], expected[:, 4], atol=1e-5)
        np.testing.assert_allclose(image["boxes"], expected[:, :4], atol=1e-3)
    scores = np.concatenate([row["scores"] for row in fused])
    narrow = zoo.predict(place, images, confidence=float(np.median(scores)))
    assert sum(len(row["boxes"]) for row in narrow) == np.sum(scores > np.median(scores))
    assert fuse(str(place), file, "--data", str(data)) == 2
    assert "give its members instead" in capsys.readouterr().err
    words = ["export", str(place), "--format", "onnx", "--out", str(tmp_path / "fused.onnx")]
    assert cli.main(words) == 2
    assert "Export these one by one: yolov3_tiny, yolov3_tiny (2)" in capsys.readouterr().err


def test_members_of_other_ranges_and_channels_see_what_they_are_used_to():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, 8, 8, 3)).astype(np.float32)
    grid = {"size": [8, 8]}
    info = {"grid": grid, "range": [0.0, 255.0], "channels": 3}
    of = {"grid": {"size": [4, 4]}, "range": [50.0, 100.0], "channels": 1}
    entry = keras.Input((8, 8, 3))
    model = keras.Model(entry, fusion.adapted(entry, info, of, 1))
    x = keras.ops.convert_to_numpy(model(pixels / 255))
    resized = keras.ops.image.resize(pixels, (4, 4), antialias=True)
    scaled = np.clip((keras.ops.convert_to_numpy(resized) - 50) / 50, 0, 1)
    np.testing.assert_allclose(x[..., 0], scaled @ images.LUMA, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 5])
def test_members_of_other_bands_are_refused(channels):
    def member(name, size, channels):
        info = {"classes": CLASSES, "grid": {"form": "yolo", "size": size}, "channels": channels}
        return types.SimpleNamespace(name=name, record={"info": info})

    large, gray = member("large", [8, 8], 3), member("gray", [4, 4], 1)
    fusion.check([large, gray], None)
    with pytest.raises(ValueError, match=f"other takes {channels} channels, and large"):
        fusion.check([large, gray, member("other", [4, 4], channels)], None)


def test_weights_are_fitted_to_validation(trained, tmp_path, capsys):
    data, files = trained
    words = ["--data", str(data), "--out", str(tmp_path), "--fit"]
    assert fuse(*files, *words) == 0
    record, _ = result(capsys.readouterr().out)
    settings = record["found"]
    assert record["fitted"] == "validation" and 0 < settings["iou"] < 1
    assert len(settings["weights"]) == 2 and min(settings["weights"]) > 0
    rows = {row["name"]: row["scores"]["map"] for row in record["rows"]}
    assert rows["wbf"] > rows["yolo"]


def test_a_weight_of_zero_leaves_the_other_detector(trained, tmp_path, capsys):
    data, files = trained
    words = ["--data", str(data), "--out", str(tmp_path), "--weights", "0", "1", "--no-clip"]
    assert fuse(*files, *words, "--confidence", "avg") == 0
    record, place = result(capsys.readouterr().out)
    first, second, both = (row["scores"] for row in record["rows"])
    assert both == pytest.approx(second, abs=1e-6) != first
    assert record["found"]["confidence"] == "avg" and record["found"]["clip"] is False
    stored = saving.record(place / "model.keras")["info"]["suppression"]
    assert stored["weights"] == [0, 1] and stored["clip"] is False


def test_members_without_boxes_and_boxes_beyond_the_image():
    info = {"grid": {"form": "rows", "size": [64, 64]}, "classes": CLASSES}
    rows = np.zeros((1, 2, 100, 6), np.float32)
    rows[..., 5] = -1  # unused
    info["suppression"] = dict(method="wbf", iou=0.55, skip=0.0, weights=None, sigma=0.5)
    (none,) = decoded.detected(rows, info, 0.0)
    assert none.shape == (0, 6)
    rows[0, 0, 0] = 50, 40, 80, 60, 0.8, 1
    (box,) = decoded.detected(rows, info, 0.0)  # of a model that was saved without these options
    np.testing.assert_allclose(box, [[50, 40, 64, 60, 0.4, 1]], rtol=1e-6)
    info["suppression"] |= dict(clip=False, confidence="max")
    (box,) = decoded.detected(rows, info, 0.0)
    np.testing.assert_allclose(box, [[50, 40, 80, 60, 0.8, 1]], rtol=1e-6)


def test_weights_favour_the_detector_that_is_right(monkeypatch):
    """One detector is exact, the other is off by a fifth of a side; their scores are equal."""
    rng, size, count = np.random.default_rng(0), 64, 12
    corners = rng.uniform(0.1, 0.5, (count, 2))
    true = np.concatenate([corners, corners + 0.4], axis=1)
    area = np.full(count, (0.4 * size) ** 2)
    rest = np.stack([np.zeros(count), area, np.zeros(count)], axis=1)
    y = np.concatenate([size * true, rest], axis=1)[:, None].astype(np.float32)

    def detections(away):
        rows = [[*(box + 0.4 * away), 0.8, 0] for box in true]
        return [np.array([row], np.float32) for row in rows], y, 1.0

    monkeypatch.setattr(
        fusion, "detected", lambda member, split, batch_size: detections(member.away)
    )
    info = {"classes": ["ball"], "grid": {"size": [size, size]}}
    pair = [types.SimpleNamespace(record={"info": info}, away=away) for away in (0.0, 0.2)]
    data = [types.SimpleNamespace(splits={"validation": None})] * 2
    settings = dict(method="wbf", iou=0.55, skip=0.0, weights=None)
    right, wrong = fusion.fitted(pair, data, settings, 4)["weights"]
    assert right > wrong
    wrong, right = fusion.fitted(pair[::-1], data, settings, 4)["weights"]
    assert right > wrong


@pytest.mark.parametrize("method", ["wbf", "nms", "soft_nms"])
def test_a_detector_fused_with_itself_is_no_better_and_no_worse(trained, tmp_path, capsys, method):
    data, (file, _) = trained
    words = ["--method", method, "--iou", "0.5", "--skip", "0", "--weights", "1", "3"]
    if method == "soft_nms":
        words = words[:-3]
    assert fuse(file, file, "--data", str(data), "--out", str(tmp_path), *words) == 0
    record, _ = result(capsys.readouterr().out)
    first, second, both = (row["scores"]["map50"] for row in record["rows"])
    assert first == second and [row["name"] for row in record["rows"]][1] == "yolov3_tiny (2)"
    assert both == pytest.approx(first, abs=0.02 if method == "soft_nms" else 1e-6)


def test_a_detector_is_calibrated_to_a_share_of_the_objects(trained, tmp_path, capsys):
    data, (file, _) = trained
    words = ["calibrate", file, "--data", str(data), "--out", str(tmp_path)]
    assert command.main([*words, "--coverage", "0.5"]) == 0
    record, place = result(capsys.readouterr().out)
    known, confidence = record["info"]["conformal"], record["info"]["confidence"]
    assert confidence == pytest.approx(1 - known["quantile"], abs=1e-5) and 0 < confidence < 1
    assert record["fitted"] == "validation" and "promised coverage" in (
        place / "report.html"
    ).read_text(encoding="utf-8")
    image = next(path for path in sorted(data.rglob("*.png")))
    (row,) = zoo.predict(place, str(image))
    (lower,) = zoo.predict(file, str(image), confidence=confidence)
    np.testing.assert_allclose(row["scores"], lower["scores"], atol=1e-5)
    assert (row["scores"] > confidence).all()
    assert command.main([*words, "--coverage", "0.99"]) == 2
    assert "images with objects are too few" in capsys.readouterr().err


def test_what_cannot_be_fused_is_said(trained, tmp_path, capsys):
    data, files = trained
    batch = toy("image_segmentation")
    unet = zoo.registry.get("unet").builder(**batch.arguments, width=0.0625)
    record = {"task": "image_segmentation", "task_options": batch.options, "info": batch.info}
    saving.save(unet, tmp_path / "unet.keras", record)
    model, record = saving.load(files[0]), saving.record(files[0])
    record["info"]["classes"] = [*reversed(CLASSES)]
    saving.save(model, tmp_path / "turned.keras", record)
    out = ["--data", str(data), "--out", str(tmp_path / "runs")]
    for words, message in [
        ([files[0], str(tmp_path / "unet.keras")], "unet: its task is image_segmentation"),
        ([files[0], str(tmp_path / "turned.keras")], "their classes are ball, disc, rod, slab and"),
        ([*files, "--weights", "1"], "1 weights for 2 members"),
        ([str(tmp_path / "turned.keras")], "turned knows the classes slab"),
    ]:
        assert fuse(*words, *out) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
