"""Detectors that end in boxes: files predict what Keras does, and wrong ones are removed."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from conftest import JAX
from PIL import Image

import zoo
from zoo.__main__ import main
from zoo.inference import detector, export
from zoo.tasks.boxes import coding
from zoo.tasks.boxes.nms import detections, suppress
from zoo.tasks.image_detection import task as image_detection
from zoo.weights import saving

ROOT = pathlib.Path(__file__).parents[2]
PICTURE = ROOT / "datasets" / "bccd" / "images" / "BloodImage_00000.jpg"
SIZE, CLASSES = 128, ["platelet", "red", "white"]
KINDS = {
    "yolov3_tiny": {"width": 0.25},
    "yolo": {"width": 0.125, "grid": 4, "dropout": 0.0, "batch_norm": True},
}
SETTINGS = [{"iou": 0.45, "sigma": 0.0}, {"iou": 0.45, "sigma": 0.5}]


def stirred(name="yolov3_tiny", size=SIZE):
    """Build a small one whose raw outputs are spread enough for boxes to appear."""
    keras.utils.set_random_seed(0)
    model = zoo.create(name, (size, size, 3), len(CLASSES), **KINDS[name])
    for layer in model.layers:
        if layer.name.endswith("raw"):
            layer.kernel.assign(3 * layer.kernel)
    return model


def known(model, settings=SETTINGS[0]):
    """Return the info of a trained one."""
    info = {"classes": CLASSES, "range": [0.0, 255.0], "channels": 3, "grid": coding.grid(model)}
    return {**info, "suppression": settings}


def picture(info):
    """Return the real picture as the model takes it, twice, the second upside down."""
    example = {"image": np.asarray(Image.open(PICTURE))}
    options = {**image_detection.TASK.options, "image_size": SIZE}
    x = image_detection.prepare(example, info, options)[0].astype(np.float32)
    return np.stack([x, x[::-1]])


def run(path, x):
    """Return the rows that an exported file predicts, in the format's own runtime."""
    if path.suffix == ".onnx":
        [rows] = onnxruntime.InferenceSession(path).run(None, {"image": x})
    elif path.suffix == ".tflite":
        [rows] = tf.lite.Interpreter(str(path)).get_signature_runner()(image=x).values()
    else:
        loaded = tf.saved_model.load(str(path))  # its functions hold on to no variable of it
        rows = loaded.serve(x).numpy()
    return rows


def equal(rows, expected):
    """Assert that rows (B, 100, 6) are those of a list (m, 6), within tolerance."""
    for actual, wanted in zip(detections(rows), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=1e-3)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    keras.backend.clear_session()


@pytest.mark.parametrize(
    ("name", "settings", "file"),
    [
        ("yolov3_tiny", SETTINGS[0], "m"),
        ("yolov3_tiny", SETTINGS[0], "m.tflite"),
        ("yolov3_tiny", SETTINGS[1], "m.onnx"),
        ("yolo", SETTINGS[0], "m.onnx"),
        ("yolo", SETTINGS[1], "m.tflite"),
    ],  # each two of model, suppression and format but (yolo, m)
)
def test_what_a_file_finds_in_a_picture_is_what_keras_finds(name, settings, file, here):
    model = stirred(name)
    info, path = known(model, settings), here / file
    format = {".onnx": "onnx", ".tflite": "litert", "": "saved_model"}[path.suffix]
    ending = detector.with_boxes(model, info)
    assert export.export(ending, path, format) <= 1e-3
    x = picture(info)
    raw = model.predict_on_batch(x)
    expected = image_detection.detected(raw, info, image_detection.SHOWN)
    assert detector.steady(ending, raw, 1e-5, 1e-3).all(), (
        "no ties that programs may break otherwise"
    )
    above = (np.asarray(coding.scored(raw, info["grid"])[1]) > image_detection.SHOWN).sum((1, 2))
    for rows, pairs in zip(expected, above, strict=True):
        assert 5 <= len(rows) < 100
        assert len(rows) < pairs or settings["sigma"], "some are suppressed"
    rows = run(path, x)
    assert rows.shape == (2, 100, 6) and rows.dtype == np.float32
    equal(rows, expected)
    equal(run(path, x[1:]), expected[1:])
    assert_operations_of_its_format_alone(path)


def assert_operations_of_its_format_alone(path):
    """Assert that runtimes without extensions run an exported file."""
    if path.suffix == ".tflite":
        assert b"Flex" not in path.read_bytes()  # operations of TensorFlow
    if path.suffix == ".onnx":
        graph = onnx.load(path).graph
        assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
        assert {"Loop", "TopK"} <= {node.op_type for node in graph.node}
        [image], [boxes] = graph.input, graph.output
        sides = [[d.dim_value for d in t.type.tensor_type.shape.dim] for t in (image, boxes)]
        assert (image.name, *sides) == ("image", [0, SIZE, SIZE, 3], [0, 100, 6])


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", KINDS)
def test_examples_show_boxes_of_which_some_go_and_none_is_uncertain(name, settings):
    ending = detector.with_boxes(stirred(name), known(stirred(name), settings))
    raw = detector.example(ending, 3)
    assert raw.shape == (3, *detector.last(ending).input.shape[1:])
    corners, scores = map(np.asarray, coding.scored(raw, detector.last(ending).grid))
    places = (scores > 0).any(axis=-1).sum(axis=1)
    assert 20 <= places.min() and places.max() <= detector.DRAWN
    rows = suppress(corners, scores, **detector.last(ending).settings)
    labels = np.concatenate(detections(rows))[:, 5]
    assert set(labels) == {0, 1, 2}
    assert detector.steady(ending, raw, 1e-5, 1e-3).all()
    if not settings["sigma"]:
        above = (scores > image_detection.SHOWN).sum((1, 2))
        assert (above > [len(image) for image in detections(rows)]).all(), "some are suppressed"


def test_rows_that_rounding_may_change_are_known():
    model = stirred()
    ending = detector.with_boxes(model, known(model), score=0.1)
    raw = np.full((3, *model.output_shape[1:]), -1000, np.float32)
    raw[..., coding.BOX] = 0
    first, far = 0, 47  # cells of opposite corners of the coarse map
    for image in raw:
        image[first, [4, 5]] = 3
        image[far, [4, 5]] = 1
    raw[1, far, [4, 5]] = raw[1, first, [4, 5]]  # equal scores: their order may change
    raw[2, far, [4, 5]] = np.log(np.sqrt(0.1) / (1 - np.sqrt(0.1)))  # in or out?
    plain, tied, least = detector.steady(ending, raw, 1e-5, 1e-4)
    assert plain.all()
    assert tied.tolist() == [False] * 2 + [True] * 98
    assert least.tolist() == [True, False] + [True] * 98


def test_numbers_of_rows_are_compared_in_units_of_the_largest():
    ending = detector.with_boxes(zoo.create("yolov3_tiny", (64, 96, 3), 5, width=0.125), {})
    assert detector.unit(ending).tolist() == [96, 64, 96, 64, 1, 5]


@pytest.fixture(scope="module")
def ending():
    """Return a small one that ends in boxes; exporting leaves it as it is."""
    model = stirred(size=64)
    return detector.with_boxes(model, known(model))


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, lambda raw: 1.001 * raw),
        (1, lambda rows: rows * np.float32([1, 1, 1, 1, 1.001, 1])),
        (1, lambda rows: np.roll(rows, 1, axis=1)),
        (1, lambda rows: np.where(rows[..., 5:] == 2, [0, 0, 0, 0, 0, -1], rows)),
        (2, lambda rows: np.where(rows[..., 5:] >= 0, rows + [0, 0, 0, 1, 0, 0], rows)),
        (2, lambda rows: rows * np.nan),
    ],
)
def test_a_mistake_anywhere_is_found_and_no_file_is_left(place, change, ending, here, monkeypatch):
    seen = []

    def converted(model, path, format, tries, facts):
        seen.append(model.output_shape)
        path.write_text("a file")
        right = [export.flat(model.predict_on_batch(x)) for x in tries]
        return [[change(outputs)] for [outputs] in right] if len(seen) == place + 1 else right

    monkeypatch.setattr(export, "converted", converted)
    with pytest.raises(ValueError, match="m.onnx: the outputs of onnx differ"):
        export.export(ending, here / "m.onnx", "onnx")
    raw_shape = detector.last(ending).input.shape
    assert seen == [raw_shape, (None, 100, 6), (None, 100, 6)][: place + 1]
    assert not [*here.iterdir()]
    place = 99  # now there is no mistake, and the file stays
    assert export.export(ending, here / "m.onnx", "onnx") == 0
    assert [file.name for file in here.iterdir()] == ["m.onnx"]


def test_a_format_that_cannot_hold_boxes_says_what_to_export_instead(here, monkeypatch):
    def fails(model, path, format, tries, facts):
        raise RuntimeError("no such operation: Loop\nand more")

    monkeypatch.setattr(export, "converted", fails)
    ending = detector.with_boxes(stirred(size=64), {})
    with pytest.raises(ValueError) as error:
        export.export(ending, here / "m.tflite", "litert")
    words = "m.tflite: yolov3_tiny cannot be exported to litert (no such operation: Loop)"
    assert f"{words}. Export it without boxes" in str(error.value)
    assert "\n" not in str(error.value) and not [*here.iterdir()]


def test_a_model_of_mixed_precision(here):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = stirred(size=64)
    finally:
        keras.config.set_dtype_policy("float32")
    assert export.export(detector.with_boxes(model, known(model)), here / "m", "saved_model") < 1e-4


def test_settings_are_those_of_the_training_or_else_of_the_task():
    model = stirred(size=64)
    options = image_detection.TASK.options
    usual = {"iou": options["nms_iou"], "sigma": options["soft_nms"], "score": 0.25}
    assert detector.last(detector.with_boxes(model, {})).settings == usual
    ending = detector.with_boxes(model, {"suppression": {"iou": 0.3}}, score=0)
    assert detector.last(ending).settings == {**usual, "iou": 0.3, "score": 0}
    assert detector.last(model) is None and detector.halves(model) is None


OTHER = """
import sys, numpy as np, zoo
from zoo.inference import detector
from zoo.tasks.boxes import coding
from zoo.tasks.boxes.nms import suppress
model = zoo.create("yolov3_tiny", (64, 64, 3), 3, width=0.125)
ending = detector.with_boxes(model, {}, score=0)
assert ending.output.shape == (None, 100, 6)
x = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype("float32")
rows = suppress(*coding.scored(model.predict_on_batch(x), coding.grid(model)), iou=0.45, score=0)
np.testing.assert_allclose(ending.predict_on_batch(x), np.asarray(rows), atol=1e-4)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, **JAX, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", OTHER], check=True, env=environment, cwd=ROOT)


@pytest.fixture
def trained(here):
    """Return a run folder of a detector, its info and raw outputs."""
    model, folder = stirred(), here / "run"
    folder.mkdir()
    info = known(model, {"iou": 0.2, "sigma": 0.0})
    record = {"task": "image_detection", "task_options": {"image_size": SIZE}, "info": info}
    saving.save(model, folder / "model.keras", record)
    return folder, info, model.predict_on_batch(picture(info))


@pytest.mark.parametrize(("words", "score"), [([], image_detection.SHOWN), (["0.6"], 0.6)])
def test_the_command_exports_boxes(words, score, here, trained, capsys):
    folder, info, raw = trained
    command = ["export", str(folder), "--format", "onnx", "--out", "d.onnx", "--boxes", *words]
    assert main(command) == 0
    assert "d.onnx: written in onnx and checked: outputs" in capsys.readouterr().out
    expected = image_detection.detected(raw, info, score)
    usual = {**info, "suppression": SETTINGS[0]}
    counts = [[*map(len, image_detection.detected(raw, i, score))] for i in (info, usual)]
    assert counts[0] != counts[1], "the settings of the run are not those of the task"
    equal(run(here / "d.onnx", picture(info)), expected)


def test_the_command_refuses_what_finds_no_boxes(here, capsys):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()], name="flat")
    saving.save(model, here / "m.keras", {})
    words = ["export", "m.keras", "--format", "onnx", "--out", "d.onnx", "--boxes"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "flat is not a detector" in error and "leave them out" in error
    assert error.count("\n") == 1 and not (here / "d.onnx").exists()
    for score in ("1.5", "nan", "-1", "some"):
        with pytest.raises(SystemExit):
            main([*words, score])
        assert f"{score}" in capsys.readouterr().err


def test_the_command_says_it(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "let a detector end in boxes of scores above this (0.25)" in text
    assert "100 rows an image of x1, y1, x2, y2 in pixels of its input, score, class" in text
    assert image_detection.SHOWN == 0.25


def test_every_detector_can_end_in_boxes():
    for name in zoo.names("image_detection"):
        model = zoo.create(name, (64, 64, 3), 2, **zoo.registry.get(name).test)
        assert detector.with_boxes(model, {}).output_shape == (None, 100, 6)
