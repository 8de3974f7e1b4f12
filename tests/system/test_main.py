import csv
import json
import os
import pathlib
import sys

import keras
import numpy as np
import onnxruntime
import pytest
from conftest import quickest
from PIL import Image

import zoo
from zoo import index
from zoo.__main__ import main
from zoo.inference import export
from zoo.tasks import clouds
from zoo.weights import saving

ROOT = pathlib.Path(__file__).parents[2]
COMMON = {"info": {"classes": ["car", "tree"], "radius": 1.0}, "task_options": {"points": 64}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return run folders of small untrained models, by task."""
    folders = {}
    for name in ("pointnet", "pointnet_segmentation"):
        folder = folders[index.models()[name].tasks[0]] = tmp_path_factory.mktemp(name)
        record = {"model": name, "task": index.models()[name].tasks[0], **COMMON}
        keras.utils.set_random_seed(0)
        saving.save(zoo.create(name, (64, 3), 2, width=0.125), folder / "model.keras", record)
    return folders


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return a folder to work in, with some clouds: two of the same name, one broken."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, size in [("a/1.xyz", 50), ("b/1.xyz", 100), ("2.xyz", 200)]:
        pathlib.Path(name).parent.mkdir(exist_ok=True)
        np.savetxt(name, rng.normal(size=(size, 3)))
    pathlib.Path("broken.xyz").write_text("1 2 nonsense\n")
    return tmp_path


def command(*arguments, limit=0.5):
    """Run a command in a separate process; return it and its CPU time in seconds."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    words = [sys.executable, "-m", "zoo", *map(str, arguments)]
    return quickest(words, limit, cwd=ROOT, env=environment)


@pytest.mark.parametrize(
    "words, status, line",
    [
        ("--help", 0, "predict files with a trained model"),
        ("list", 0, "3,480,049  Qi, Su, Mo & Guibas, CVPR 2017"),
        ("list --task pointcloud_klassification", 2, "did you mean pointcloud_classification"),
        ("lst", 2, "invalid choice: 'lst'"),
        ("list --jsn", 2, "unrecognized"),
        ("show pointnit", 2, "did you mean pointnet"),
        ("predict runs/nothing file.ply", 2, "runs/nothing: there is no such"),
        ("predict zoo file.ply", 2, "zoo: the folder has no model.keras"),
        ("predict zoo file.ply --batch-size 0", 2, "0 is below 1"),
        ("export setup.cfg --format onnx --out setup.onx", 2, "ends in .onnx"),
        ("export setup.cfg --format saved_model --out tests", 2, "tests: it exists already"),
    ],
)
def test_what_needs_no_model_answers_at_once(words, status, line):
    process, seconds = command(*words.split())
    assert process.returncode == status
    text = process.stderr if status else process.stdout
    assert line in text
    assert seconds < 0.5
    if status:
        assert text.count("\n") == 1 and not process.stdout
    assert max(map(len, process.stdout.splitlines()), default=0) <= 100


def test_list_for_programs(capsys):
    assert main(["list", "--task", "pointcloud_classification", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["pointnet"]["parameters"] == 3_480_049
    assert rows["pointnet"]["paper"].endswith("https://arxiv.org/abs/1612.00593")
    assert "pointnet_segmentation" not in rows


def test_show_a_model(capsys):
    assert main(["show", "pointnet"]) == 0
    text = capsys.readouterr().out
    for words in ("max pooling", "arxiv.org", "width=1.0", "points=1024", "GlobalMaxPooling1D"):
        assert words in text
    assert "(?, 1024, 3)" in text and "3,480,049" in text
    assert max(map(len, text.splitlines())) <= 100


def test_show_a_run(capsys, runs):
    folder = runs["pointcloud_classification"]
    run = {"seconds": 90, "machine": "a machine", "scores": {"test": {"accuracy": 0.9}}}
    (folder / "run.json").write_text(json.dumps(run))
    assert main(["show", str(folder)]) == 0
    text = capsys.readouterr().out
    for words in ("car, tree", "accuracy 0.9000", "1.5 minutes on a machine", "(?, 64, 3)"):
        assert words in text


def test_predict_objects(capsys, runs, here):
    words = [
        "predict",
        str(runs["pointcloud_classification"]),
        "a",
        "b",
        "2.xyz",
        "--pictures",
        "2",
    ]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "3 of 3 files predicted; see predictions-1/" in text
    folder = here / "predictions-1"
    names = {"1.png", "1-2.png", "predictions.csv", "predictions.json"}
    assert {file.name for file in folder.iterdir()} == names
    rows = json.loads((folder / "predictions.json").read_text())
    assert [row["file"] for row in rows] == ["a/1.xyz", "b/1.xyz", "2.xyz"]
    assert [row["written"] for row in rows] == [["1.png"], ["1-2.png"], []]
    for row in rows:
        assert row["class"] == max(row["probabilities"], key=row["probabilities"].get)
        assert row["probability"] == pytest.approx(row["probabilities"][row["class"]])
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert f"{row['class']}" in text and f"{row['probability']:.3f}" in text
    with open(folder / "predictions.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert float(lines[0]["probabilities.tree"]) == pytest.approx(
        rows[0]["probabilities"]["tree"], rel=1e-5
    )


def test_what_is_predicted_does_not_depend_on_the_batch(runs, here):
    model = str(runs["pointcloud_classification"])
    for size in ("1", "2", "16"):
        main(["predict", model, "a", "b", "2.xyz", "--pictures", "0", "--batch-size", size])
    probabilities = [
        [row["probability"] for row in json.loads((folder / "predictions.json").read_text())]
        for folder in (here / f"predictions-{n}" for n in (1, 2, 3))
    ]
    np.testing.assert_allclose(probabilities[1:], [probabilities[0]] * 2, rtol=1e-4)


def test_predict_the_mean_over_flips_and_turns(capsys, here):
    image = min((ROOT / "datasets" / "dsb2018" / "images").glob("*.png"))
    for folder, more in [("plain", []), ("mean", ["--tta"])]:
        assert main(["predict", "unet_dsb2018_dice", str(image), "--out", folder, *more]) == 0
    masks = [np.asarray(Image.open(path)) for path in sorted(here.glob("*/*_mask.png"))]
    assert "1 of 1 files predicted; see mean/" in capsys.readouterr().out
    assert 0 < np.mean(masks[0] != masks[1]) < 0.01
    assert all(0.02 < np.mean(mask > 0) < 0.9 for mask in masks)


def test_a_mean_over_one_view_is_refused(capsys, here):
    model = keras.Sequential([keras.Input((64, 3)), keras.layers.GlobalMaxPooling1D()])
    options = {**COMMON["task_options"], "rotate": False}
    record = {"task": "pointcloud_classification", **COMMON, "task_options": options}
    saving.save(model, here / "m.keras", record)
    assert main(["predict", "m.keras", "2.xyz", "--tta", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert "trained without flips and turns" in error and error.count("\n") == 1
    assert not (here / "out").exists()


def test_a_bad_file_is_named_and_the_others_go_on(capsys, runs, here):
    words = [str(runs["pointcloud_classification"]), "missing.ply", "broken.xyz", "2.xyz"]
    assert main(["predict", *words, "--out", "out"]) == 2
    printed = capsys.readouterr()
    assert "missing.ply: there is no such" in printed.err and "broken.xyz: " in printed.err
    assert "1 of 3 files predicted" in printed.out
    assert main(["predict", *words, "--out", "out"]) == 2
    assert "out: it exists already" in capsys.readouterr().err
    assert main(["predict", *words[:3], "--out", "none"]) == 2
    assert not pathlib.Path("none").exists()


def test_predict_a_scan_labels_every_point(capsys, runs, here):
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 30, size=(300, 3)).astype("float32")
    clouds.write_ply(here / "scan.ply", points, np.zeros(300), np.zeros((300, 3)))
    assert main(["predict", str(runs["pointcloud_segmentation"]), "scan.ply", "--out", "out"]) == 0
    (row,) = json.loads((here / "out" / "predictions.json").read_text())
    assert row["points"] == 300 and row["car"] + row["tree"] == pytest.approx(1)
    assert row["written"] == ["scan.ply", "scan.png"]
    from datasets.readers.clouds import read_cloud

    labelled = read_cloud(here / "out" / "scan.ply")
    np.testing.assert_allclose(labelled["points"], points)
    assert np.mean(labelled["labels"] == 1) == pytest.approx(row["tree"])


def test_a_model_without_a_record_is_told(capsys, here):
    keras.Sequential([keras.Input((64, 3)), keras.layers.Flatten()]).save("plain.keras")
    assert main(["predict", "plain.keras", "2.xyz"]) == 2
    assert "plain.keras: it has no record of its task" in capsys.readouterr().err


def test_export_says_that_it_checked(capsys, runs, here):
    model = str(runs["pointcloud_classification"])
    words = ["export", model, "--format", "onnx", "--out", "m.onnx"]
    assert main(words) == 0
    assert "m.onnx: written in onnx and checked" in capsys.readouterr().out
    assert main(words) == 2
    assert "m.onnx: it exists already" in capsys.readouterr().err
    assert len([*here.glob("*m.onnx*")]) == 1


def two_inputs():
    points = keras.Input((None, 3), name="points")
    kind = keras.Input((), dtype="int32", name="kind")
    local = keras.layers.Dense(5)(points)
    whole = keras.layers.GlobalMaxPooling1D()(local) + keras.layers.Embedding(4, 5)(kind)
    outputs = {"whole": keras.layers.Dense(3)(whole), "local": keras.layers.Dense(2)(local)}
    return keras.Model({"points": points, "kind": kind}, outputs)


@pytest.mark.parametrize("format", ["onnx", "saved_model", "litert"])
def test_export_of_several_inputs_and_outputs_and_of_free_lengths(here, format):
    path = here / {"onnx": "m.onnx", "saved_model": "m", "litert": "m.tflite"}[format]
    assert export.export(two_inputs(), path, format) <= 1e-5
    if format == "onnx":
        session = onnxruntime.InferenceSession(path)
        feed = {"points": np.ones((5, 7, 3), "float32"), "kind": np.arange(5, dtype="int32") % 4}
        assert [output.shape for output in session.run(None, feed)] == [(5, 7, 2), (5, 3)]


def test_a_model_of_mixed_precision_is_exported_in_float32(here):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = zoo.create("pointnet", (64, 3), 2, width=0.125)
    finally:
        keras.config.set_dtype_policy("float32")
    assert export.export(model, here / "m.onnx", "onnx") <= 1e-4


def test_an_export_that_differs_is_not_kept(here, monkeypatch):
    def wrong(path, model):
        return lambda x: [2 * y for y in export.flat(model(x))]

    monkeypatch.setitem(export.RUNNERS, "onnx", wrong)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="m.onnx: the outputs of onnx differ"):
        export.export(model, here / "m.onnx", "onnx")
    assert not (here / "m.onnx").exists()
    nan = [[np.array([np.nan])]]
    assert np.isnan(export.compare(nan, nan)[0])


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    capsys, runs, here, monkeypatch
):
    from zoo.inference import formats

    monkeypatch.setitem(formats.PACKAGES, "onnx", ("onnx", "no_such_package"))
    words = [
        "export",
        str(runs["pointcloud_classification"]),
        "--format",
        "onnx",
        "--out",
        "m.onnx",
    ]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "onnx needs no_such_package" in error and 'pip install ".[export]"' in error


def test_card_needs_a_finished_run(capsys, here):
    assert main(["card", ".", "--name", "pointnet_toy"]) == 2
    assert "no run.json" in capsys.readouterr().err


def test_errors_are_one_line_also_when_everything_is_loaded(runs, here):
    process, _ = command(
        "predict", runs["pointcloud_classification"], here / "broken.xyz", limit=np.inf
    )
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1 and "broken.xyz" in process.stderr
