"""Edited or truncated records raise one sentence with file and entry."""

import contextlib
import json
import re
import types
import zipfile

import numpy as np
import pytest

from zoo import describe, index, tasks
from zoo.__main__ import main
from zoo.inference import predictors
from zoo.training.recorder import Recorder
from zoo.weights import presets, records, saving

CLOUDS = {
    "model": "pointnet",
    "task": "pointcloud_classification",
    "task_options": {"points": 64, "rotate": True, "jitter": 0.01, "ground": "lowest"},
    "info": {"classes": ["car", "tree"], "radius": 1.5},
}
SERIES = {
    "task": "sequence_classification",
    "task_options": {"length": 0},
    "info": {
        "classes": ["a", "b"],
        "length": 24,
        "ragged": False,
        "mean": [0.0, 1.0],
        "deviation": [1.0, 2.0],
    },
}
DETECTOR = {
    "task": "image_detection",
    "task_options": {"image_size": 64, "anchors": None},
    "info": {
        "classes": ["a"],
        "channels": 3,
        "range": [0.0, 255.0],
        "grid": {"form": "yolov3", "anchors": [[[8.0, 9.5]]], "strides": [16], "size": [64, 64]},
        "suppression": {"iou": 0.45, "sigma": 0.0},
    },
}


def changed(record, name, value):
    """Return a record with another value at a place like "info.radius"; None removes it."""
    record = json.loads(json.dumps(record))
    *outer, last = name.split(".")
    inner = record
    for key in outer:
        inner = inner[key]
    inner.pop(last) if value is None else inner.update({last: value})
    return record


@pytest.mark.parametrize("record", [CLOUDS, SERIES, DETECTOR, {}, {"later": object()}])
def test_a_sound_record_passes(record):
    assert records.objection(record) is None


def test_the_records_of_all_presets_pass():
    for card in index.presets().values():
        assert records.objection(card) is None
        shape = card["arguments"]["input_shape"] if "published" not in card else None
        assert records.misfit(card, shape) is None


@pytest.mark.parametrize(
    "record, name, value, words",
    [
        (CLOUDS, "task", 7, "task is 7, not a text"),
        (CLOUDS, "task", "pointcloud_counting", "task 'pointcloud_counting', which this version"),
        (CLOUDS, "task_options", ["points"], "task_options is .*, not a dictionary"),
        (CLOUDS, "task_options.points", "64", "points is '64', not of the type of 1024"),
        (CLOUDS, "task_options.points", True, "points is True, not of the type"),
        (CLOUDS, "task_options.points", 10**9, "points is 1000000000"),
        (CLOUDS, "task_options.points", -1, "points is -1"),
        (CLOUDS, "task_options.jitter", "much", "jitter is 'much', not of the type of 0.01"),
        (CLOUDS, "task_options.rotate", 1, "rotate is 1, not of the type of True"),
        (CLOUDS, "info", "car", "info is 'car', not a dictionary"),
        (CLOUDS, "info.classes", "car", "classes is 'car', not a list of names"),
        (CLOUDS, "info.classes", ["car", 2], "classes is .*, not a list of names"),
        (CLOUDS, "info.classes", None, "it lacks classes"),
        (CLOUDS, "info.radius", 0, "radius is 0, not a positive number"),
        (CLOUDS, "info.radius", float("nan"), "radius is nan, not a positive number"),
        (CLOUDS, "info.radius", "1.5", "radius is '1.5', not a positive number"),
        (CLOUDS, "info.radius", None, "it lacks radius"),
        ({"settings": {}}, "settings", [1], "settings is .*, not a dictionary"),
        ({"scores": {}}, "scores", {"test": 1}, "scores is .*, not a dictionary of scores"),
        ({"members": [], "scores": {}}, "members", [{"file": "a"}], "not a list of members"),
        ({"seconds": 1.5}, "seconds", "long", "seconds is 'long', not a number"),
        (SERIES, "info.length", 0, "length is 0, not a positive integer"),
        (SERIES, "info.mean", [0.0, "x"], "mean is .*, not a list of numbers"),
        (SERIES, "info.deviation", [1.0, 0.0], "deviation is .*, not a list of positive numbers"),
        (SERIES, "info.mean", [0.0], "it has 1 mean and 2 values of deviation"),
        (DETECTOR, "info.range", [255.0, 0.0], "range is .*, not two numbers"),
        (DETECTOR, "info.grid.anchors", [[[8.0]]], "grid is .*, not the grid of a detector"),
        (DETECTOR, "info.grid.strides", [0], "grid is .*, not the grid of a detector"),
        (DETECTOR, "info.grid.size", [10**9, 64], "grid is .*, not the grid of a detector"),
        (DETECTOR, "info.suppression", {"iou": "half"}, "suppression is .*, not settings"),
        (DETECTOR, "task_options.image_size", 10**6, "image_size is 1000000"),
    ],
)
def test_a_damaged_entry_is_named(record, name, value, words):
    reason = records.objection(changed(record, name, value))

    assert re.search(words, reason) and "\n" not in reason and len(reason) < 200


JUNK = [None, 7, -1, 0, True, "x", "", [], [1], ["x"], {}, {"x": 1}, float("nan"), 10**12]


def places(record, depth=2):
    """Yield the places of all entries of a record."""
    for name, value in record.items():
        yield name
        if depth and isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in places(value, depth - 1) if "." not in name)


@pytest.mark.parametrize(
    "preset", ["pointnet_lidar_objects", "gru_gunpoint", "unet_dsb2018", "bilstm_seasonal_series"]
)
def test_a_tampered_record_is_refused_or_shown_and_prepares_examples(preset, monkeypatch):
    monkeypatch.setattr(describe, "layer_table", lambda model: "")
    card, model = index.presets()[preset], types.SimpleNamespace(name=preset)
    task, rng = tasks.get(card["task"]), np.random.default_rng(0)
    example = {
        "points": rng.normal(size=(40, 3)).astype("float32"),
        "series": rng.normal(size=(150, 1)),
        "image": rng.integers(0, 255, (40, 40, 1)).astype("uint8"),
        "values": rng.normal(size=(200, 1)),
        "columns": ["value"],
    }
    refused = 0
    for place in places(card):
        for value in JUNK:
            tampered = changed(card, place, value)
            if records.objection(tampered):
                refused += 1
                continue
            describe.trained_page(preset, tampered, model)
            if {"task", "task_options", "info"} <= tampered.keys() and tampered["task"]:
                options = {**task.options, **tampered["task_options"]}
                with contextlib.suppress(ValueError):  # one sentence, of the task itself
                    piece = task.data.cover(example, options)[0]
                    task.data.prepare(piece, tampered["info"], options)
    assert refused > 100


def test_an_option_that_does_not_fit_the_models_input_is_refused_before_memory_is_taken():
    assert records.misfit(CLOUDS, (64, 3)) is None
    assert "points is 64, and the model takes 32" in records.misfit(CLOUDS, (32, 3))
    assert records.misfit(CLOUDS, (None, 3)) is None
    tiles = {"task_options": {"tile_height": 48, "tile_width": 256}}
    assert records.misfit(tiles, (None, None, 1)) is None
    assert "tile_width is 256, and the model takes 64" in records.misfit(tiles, (64, 64, 1))

    class Model:
        name, input_shape = "pointnet", (None, 32, 3)

    with pytest.raises(ValueError, match="pointnet: .*points is 64, and the model takes 32"):
        predictors.Predictor(Model(), CLOUDS)


def write(folder, record):
    """Write a file of a model that is never opened, with a record."""
    with zipfile.ZipFile(folder / "model.keras", "w") as file:
        file.writestr("metadata.json", json.dumps({"zoo": record}))
    return folder / "model.keras"


def test_a_damaged_record_inside_a_file_is_named_with_the_file(tmp_path):
    assert saving.record(write(tmp_path, CLOUDS)) == CLOUDS
    path = write(tmp_path, changed(CLOUDS, "info.radius", float("nan")))
    with pytest.raises(ValueError, match="model.keras: its record is damaged: radius is nan"):
        saving.record(path)
    with pytest.raises(ValueError, match="model.keras: its record is damaged: not a dictionary"):
        saving.record(write(tmp_path, [1]))


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ("", "is no JSON"),
        ("[" * 10**5, "is no JSON"),
        ('{"settings": 3}', "settings is 3, not a dictionary"),
        ("{}", "lacks settings"),
        (b"\xff\xfe", "is no JSON"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_run_json_is_named(tmp_path, content, words):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=f"run.json: .*{words}") as error:
        records.read_run(tmp_path, needed=("settings",))
    assert "\n" not in str(error.value)


def test_a_damaged_run_does_not_stop_the_search_for_others(tmp_path, capsys):
    from ensembles import trainings

    for name, content in {"a": "{", "b": '{"status": 3}', "c": "{}", "d": "[]"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    (tmp_path / "good").mkdir()
    run = {"status": "finished", "settings": {"command": "train"}}
    (tmp_path / "good" / "run.json").write_text(json.dumps(run))
    assert trainings.latest("train", tmp_path, None) == tmp_path / "good"
    assert capsys.readouterr().err.count("skipped: ") == 4


def test_a_damaged_card_stops_no_command_but_the_one_that_asks_for_it(
    tmp_path, monkeypatch, capsys
):
    for name, content in {
        "cut": "{",
        "list": "[]",
        "typed": '{"model": [], "sha256": "0"}',
        "task": json.dumps({**CLOUDS, "sha256": "0", "task": ["x"]}),
    }.items():
        (tmp_path / "presets" / name).mkdir(parents=True)
        (tmp_path / "presets" / name / "card.json").write_text(content)
    monkeypatch.setattr(index, "HERE", tmp_path)
    index.presets.cache_clear()
    try:
        assert [*index.presets()] == ["task"]
        for name in ("cut", "list", "typed", "task"):
            with pytest.raises(ValueError, match=f"{name}.card.json: .*Check it out again"):
                presets.locate(name)
    finally:
        index.presets.cache_clear()


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_damaged_state_is_named(tmp_path, damage):
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    recorder = Recorder(tmp_path, {}, ("loss", "min"), 0, None)
    recorder.set_model(model)
    recorder.history = {"loss": [1.0]}
    model.optimizer.build(model.trainable_variables)
    recorder._write_state()
    recorder.restore(model)
    assert recorder.epochs == 1
    content = recorder.state.read_bytes()
    if damage == "foreign":
        np.savez(recorder.state, history="{")
    else:
        recorder.state.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(ValueError, match="state.npz: it is damaged .*model.keras"):
        recorder.restore(model)


def test_show_of_a_damaged_run_is_one_line(tmp_path, capsys):
    (tmp_path / "model.keras").write_bytes(
        (index.HERE / "presets" / "gru_gunpoint" / "model.keras").read_bytes()
    )
    (tmp_path / "run.json").write_text('{"scores": [')
    assert main(["show", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "run.json: its description is no JSON" in error and error.count("\n") == 1
