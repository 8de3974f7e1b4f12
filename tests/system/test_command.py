"""The command line of train.py: valid options, and errors before Keras is imported."""

import json

import numpy as np
import pytest

import train
from datasets.prepared import Prepared
from datasets.source import BadInput
from datasets.splits import Arrays
from zoo import assignments, describe, index, tasks
from zoo.system import terminal
from zoo.tasks.boxes.losses import CROWD, IGNORED, LABEL
from zoo.training import recipe


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """Fail if Keras is imported: all of this happens before."""

    def imported():
        raise AssertionError("Keras was imported")

    monkeypatch.setattr(terminal, "import_keras", imported)


def refused(capsys, *words):
    """Return the error message of a command line."""
    with pytest.raises(SystemExit) as stopped:
        train.parse([*map(str, words)])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


@pytest.mark.parametrize(
    ("model", "word", "value"),
    [
        ("lstm", "center=none", "none"),
        ("lstm", "center=last", "last"),
        ("lstm", "target=Load, kW", "Load, kW"),
        ("lstm", "target=5", "5"),
        ("lstm", "target='5'", "5"),
        ("lstm", "split=(8, 2, 2)", (8, 2, 2)),
        ("unet", "encoder=none", None),
        ("unet", "encoder=vgg", "vgg"),
        ("unet", "overlap=0", 0),
        ("unet", "dropout=0", 0.0),
        ("unet", "batch_norm=true", True),
        ("vgg", "depth=11", 11),
        ("vgg", "flip=none", "none"),
        ("yolov3_tiny", "anchors=auto", "auto"),
    ],
)
def test_values_of_options(model, word, value):
    settings = train.parse(["--model", model, "--set", word])
    (parsed,) = {**settings["options"], **settings["task_options"]}.values()
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("model", "word", "parts"),
    [
        ("lstm", "center=first", ["'first'", "last, mean, none"]),
        ("unet", "up=bilinar", ["'bilinar'", "transpose, bilinear"]),
        ("vgg", "depth=12", ["'12'", "11, 13, 16, 19"]),
        ("fcn", "stride=4", ["'4'", "32, 16, 8"]),
        ("unet", "width=-1", ["'-1'", "from 0"]),
        ("unet", "width=0", ["'0'", "above 0"]),
        ("unet", "width=1e999", ["1e999", "number"]),
        ("unet", "encoder_depth=-3", ["'-3'"]),
        ("pointnet", "points=0", ["'0'", "1 or more"]),
        ("unet", "batch_norm=1", ["bool"]),
        ("vgg", "randaugment=3", ["'3'", "from 0 to 1"]),
        ("vgg", "hue=1.5", ["'1.5'", "from 0 to 1"]),
        ("unet", "zoom=1.01", ["'1.01'", "from 0 to 1"]),
        ("yolov3", "mosaic=2", ["'2'", "from 0 to 1"]),
        ("vgg", "shear=60", ["'60'", "from 0 to 45"]),
    ],
)
def test_impossible_values_are_refused_before_keras_loads(capsys, model, word, parts):
    line = refused(capsys, "--model", model, "--set", word)
    assert all(part in line for part in (word.partition("=")[0], *parts)), line


def test_the_default_of_every_option_is_possible_and_explained():
    for thing in [*index.models().values(), *index.tasks().values()]:
        options, explanations = (
            (thing["options"], thing["explanations"])
            if isinstance(thing, dict)
            else (thing.options, thing.explanations)
        )
        for name, default in options.items():
            assert len(explanations[name]) > 5, name
            assert not assignments.misfit(default, default, explanations[name]), name


def test_explanations_of_options_are_listed():
    text = train.listing()
    assert "depth=16          number of layers with weights: 11, 13, 16 or 19" in text
    row = index.models()["yolov3"]
    lines = describe.options(row.options, row.explanations, "  ")
    assert all(len(line) <= 100 for line in lines)
    assert any(line.lstrip().startswith("backbone=darknet") for line in lines)


def test_batch_size_and_epochs_are_left_to_the_data_unless_given(capsys):
    settings = train.parse(["--model", "pointnet"])
    assert settings["batch_size"] is None and settings["epochs"] is None
    assert settings["learning_rate"] == 0.001 and settings["jit"] is True
    settings = train.parse(["--model", "pointnet", "--snapshots", "3"])  # decided with the epochs
    assert settings["epochs"] is None
    assert "9 or" in refused(capsys, "--model", "pointnet", "--epochs", 10, "--snapshots", 3)


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "a/"])
def test_names_that_are_no_folder_s_are_refused(capsys, name):
    assert repr(name) in refused(capsys, "--model", "unet", "--name", name)


def test_a_name_that_is_taken_is_refused(capsys, tmp_path):
    words = ["--model", "unet", "--out", tmp_path, "--name", "mine"]
    assert train.parse([*map(str, words)])["name"] == "mine"
    (tmp_path / "mine").mkdir()
    line = refused(capsys, *words)
    assert str(tmp_path / "mine") in line and "exists already" in line


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "cannot be read"),
        ("", "cannot be read"),
        ("[]", "no settings"),
        ('{"status": "running"}', "no settings"),
        ('{"settings": {"model": "unet"}}', "no settings"),
        ('{"status": "finished", "members": [], "settings": {}}', "ensemble"),
    ],
)
def test_damaged_and_other_runs_are_not_resumed(capsys, tmp_path, text, part):
    (tmp_path / "run.json").write_text(text)
    line = refused(capsys, "--resume", tmp_path)
    assert str(tmp_path) in line and part in line


def test_a_run_from_before_newer_options_is_resumed(tmp_path):
    settings = train.parse(["--model", "unet", "--epochs", "2", "--batch-size", "4"])
    del settings["name"], settings["snapshots"], settings["recipe"]
    (tmp_path / "run.json").write_text(json.dumps({"status": "running", "settings": settings}))
    parsed = train.parse(["--resume", str(tmp_path)])
    settings = {**json.loads(json.dumps(settings)), "recipe": recipe.DEFAULTS}
    assert parsed == {**settings, "resume": str(tmp_path)}


def test_data_without_a_known_layout_are_refused_before_keras_loads(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("nothing")
    words = ["--model", "unet", "--data", str(tmp_path), "--out", str(tmp_path / "runs")]
    assert train.main(words) == 2
    assert str(tmp_path) in capsys.readouterr().err and not (tmp_path / "runs").exists()


def boxes(*kinds):
    """Return boxes (n, 1, 7) of a kind each: none, usual or crowd."""
    y = np.zeros((len(kinds), 1, 7), np.float32)
    y[..., LABEL] = [[-1 if kind == "none" else 0] for kind in kinds]
    y[..., IGNORED] = [[CROWD * (kind == "crowd")] for kind in kinds]
    return y


def test_splits_without_an_object_are_told_before_training():
    def data(**splits):
        arrays = {name: Arrays(None, y, np.arange(len(y))) for name, y in splits.items()}
        return Prepared(arrays, {}, {}, {"name": "toy"}, {})

    usual, task = boxes("usual", "none"), tasks.get("image_detection")
    empty = boxes("none", "crowd")
    assert train.unscored(data(train=usual, validation=usual, test=usual), task) == []
    first, second = train.unscored(data(train=usual, validation=empty, test=empty), task)
    assert "validation" in first and "lowest loss" in first and "test" in second
    with pytest.raises(BadInput, match="toy: none of its 2 training images"):
        train.unscored(data(train=empty, validation=usual, test=usual), task)
    some = Arrays(None, np.concatenate([empty, usual]), np.arange(2))
    with pytest.raises(BadInput):  # of the split's own rows
        train.unscored(Prepared({"train": some}, {}, {}, {"name": "toy"}, {}), task)
    assert train.unscored(data(train=empty), tasks.get("image_classification")) == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--optimizer", "sdg"], ["--optimizer", "sgd"]),
        (["--set-optimizer", "momentum=0.5"], ["--set-optimizer", "option of adam", "beta_1"]),
        (["--set-optimizer", "beta_1=x"], ["--set-optimizer", "of type float"]),
        (["--schedule", "step", "--set-schedule", "end=0.1"], ["option of step", "factor"]),
        (["--label-smoothing", "1.5"], ["--label-smoothing", "between 0 and 1"]),
        (["--snapshots", "2", "--warmup", "2"], ["--snapshots", "without --warmup"]),
        (["--snapshots", "2", "--ema"], ["--snapshots", "leave --ema and --swa out"]),
        (["--ema", "--swa"], ["--swa", "give one of them"]),
        (["--schedule", "plateau", "--warmup", "2"], ["--warmup", "leave it out"]),
        (["--optimizer", "schedule_free_adamw", "--ema"], ["--optimizer", "leave --ema"]),
        (["--freeze"], ["--freeze", "there is no --init"]),
        (["--lora", "4"], ["--lora", "there is no --init"]),
        (["--unfreeze-after", "2"], ["--unfreeze-after", "give --freeze"]),
        (["--prune", "0.5", "--ema"], ["--prune", "averages of weights"]),
        (
            ["--prune", "0.5", "--lora", "2", "--init", "pointnet_lidar_objects"],
            ["--prune", "leave --lora out"],
        ),
        (["--accumulate", "1"], ["--accumulate", "not above 1"]),
        (["--clip-norm", "1", "--clip-value", "0.5"], ["--clip-value", "give one of them"]),
        (["--set-optimizer", "beta_2=2"], ["beta_2 is 2.0", "below 1"]),
        (["--set-optimizer", "epsilon=0"], ["epsilon is 0.0", "above 0"]),
        (["--optimizer", "schedule_free_adamw", "--set-optimizer", "beta_1=0"], ["beta_1 is 0"]),
        (["--schedule", "step", "--set-schedule", "at=(30,60)"], ["at is (30, 60)", "shares"]),
        (["--schedule", "linear", "--set-schedule", "until=0"], ["until is 0.0", "above 0"]),
        (["--warmup", "20", "--epochs", "2"], ["--warmup", "not below the 2 epochs"]),
        (["--model", "yolo", "--class-weights", "balanced"], ["--class-weights", "no such option"]),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(capsys, words, parts):
    words = words if "--model" in words else ["--model", "pointnet", *words]
    line = refused(capsys, *words)
    assert all(part in line for part in parts), line


def test_a_warm_up_is_shorter_than_each_stage_of_a_training():
    frozen = {**recipe.DEFAULTS, "freeze": True, "unfreeze_after": 4}
    assert not [*recipe.too_long({**frozen, "warmup": 3.5}, 8)]
    for warmup, epochs in ((4, 8), (2, 6)):
        ((option, why),) = recipe.too_long({**frozen, "warmup": warmup}, epochs)
        assert option == "warmup" and f"the {warmup} epochs" in why
    assert [option for option, _ in recipe.too_long(frozen, 4)] == ["unfreeze_after"]


def test_a_recipe_is_parsed_whole_and_its_rate_depends_on_the_optimizer():
    words = "--optimizer momentum --set-optimizer momentum=0.8 --schedule step --warmup 2 --l2 5e-5"
    words += " --set-schedule at=(0.4,0.8) --ema --early-stopping 7 --label-smoothing 0.1"
    settings = train.parse(["--model", "pointnet", *words.split()])
    given = dict(
        optimizer="momentum",
        optimizer_options={"momentum": 0.8},
        schedule="step",
        schedule_options={"at": (0.4, 0.8)},
        warmup=2.0,
        l2=5e-5,
        ema=0.999,
        early_stopping=7,
    )
    assert settings["recipe"] == {**recipe.DEFAULTS, **given}
    assert settings["learning_rate"] == pytest.approx(0.01)
    assert settings["task_options"] == {"label_smoothing": 0.1}
    text = recipe.described(settings["recipe"], settings["learning_rate"], settings["task_options"])
    assert text.startswith("Recipe: optimizer momentum, momentum=0.8, schedule step")
    assert text.endswith(", label smoothing 0.1; learning rate 0.01")
    balanced = {"label_smoothing": 0.0, "class_weights": "balanced"}
    text = recipe.described(recipe.DEFAULTS, 0.001, balanced)
    assert text == "Recipe: class weights balanced; learning rate 0.001"
    default = train.parse(["--model", "pointnet"])
    assert default["recipe"] == recipe.DEFAULTS
    assert recipe.described(default["recipe"], 0.001, {"class_weights": "none"}) == ""
