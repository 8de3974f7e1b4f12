"""`zoo.predict` takes what a user has, and exports that hold their preprocessing do too."""

import json

import keras
import numpy as np
import onnxruntime
import pytest
from conftest import EXAMPLES, toy
from PIL import Image

import zoo
from zoo.__main__ import main
from zoo.inference import export, files, prediction, preprocessing
from zoo.tasks.targets import report
from zoo.weights import saving

NETWORKS = {  # the smallest that a task knows, and their options
    "image_segmentation": ("unet", {"depth": 2, "width": 0.0625}),
    "image_detection": ("yolov3_tiny", {"width": 0.0625}),
    "pointcloud_segmentation": ("pointnet_segmentation", {"width": 0.0625}),
    "sequence_classification": ("elman", {"units": 3}),
    "forecasting": ("autoregression", {}),
}
BAND = {"found": {"level": 0.9, "lower": [[-1.0, -2.0]] * 4, "upper": [[1.0, 3.0]] * 4}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a function from a task to the path of an untrained model and its toy batch, cached."""
    cache = {}

    def make(task, **changes):
        key = (task, *changes.items())
        if key not in cache:
            keras.utils.set_random_seed(0)
            batch = toy(task, **changes)
            name, options = NETWORKS[task]
            model = zoo.create(name, **batch.arguments, **options)
            for layer in model.layers:
                if layer.name.endswith("raw"):  # so that some boxes have higher scores than others
                    layer.kernel.assign(3 * layer.kernel)
                    layer.bias.assign(0 * layer.bias)
            info = {**batch.info, **batch.task.training.built(model, batch.options)}
            info |= BAND if task == "forecasting" else {}
            options = {**batch.options, **changes}
            record = {"model": name, "task": task, "task_options": options, "info": info}
            path = tmp_path_factory.mktemp(task) / "model.keras"
            saving.save(model, path, record)
            cache[key] = path, batch
        return cache[key]

    return make


def in_units(task, batch):
    """Return an example of a toy batch as an array in its own units, of the model's size."""
    example = batch.examples[0]
    if task == "image_classification":
        return example["image"][:32, :32]
    if task == "image_segmentation":
        return example["image"]
    if task == "image_detection":
        return np.zeros((64, 64, 3), np.uint8) + np.arange(64, dtype=np.uint8)[:, None, None]
    if task.startswith("pointcloud"):
        return example["points"][:64] + np.float32([5, -3, 2])
    return example["series"] if "series" in example else 40 + 9 * example["values"][-24:]


def wanted(task, result):
    """Return the arrays of a result that an export returns, by the same names."""
    if task == "forecasting":
        return {name: result[name] for name in ("forecast", "lower", "upper")}
    if task == "image_detection":
        return {"boxes": np.column_stack([result["boxes"], result["scores"], result["labels"]])}
    probabilities = result["probabilities"]
    return {
        "probabilities": np.array(
            [*probabilities.values()] if isinstance(probabilities, dict) else probabilities
        )
    }


CASES = [
    ("image_segmentation", {"normalize": "image"}),
    ("image_detection", {}),
    ("pointcloud_segmentation", {}),
    ("sequence_classification", {}),
    ("forecasting", {}),
]


@pytest.mark.parametrize(("task", "changes"), CASES)
def test_preprocessing_inside_is_what_predict_does(task, changes, saved):
    path, batch = saved(task, **changes)
    record = saving.record(path)
    model = preprocessing.around(saving.load(path), path, record, **score(task))
    x = in_units(task, batch)
    (result,) = zoo.predict(path, [x], **confidence(task))
    outputs = model.predict_on_batch(x[None].astype(model.inputs[0].dtype))
    if task == "image_detection":
        outputs = {"boxes": outputs[:, outputs[0, :, 5] >= 0]}
        assert len(outputs["boxes"][0]) > 1
    for name, expected in wanted(task, result).items():
        atol = 0.1 if name == "boxes" else 1e-4  # pixels; predict keeps images in half precision
        np.testing.assert_allclose(outputs[name][0], expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("image_classification", {}),
        ("image_segmentation", {}),
        ("image_segmentation", {"normalize": "image"}),
        ("pointcloud_classification", {}),
        ("pointcloud_classification", {"normalize": "unit_ball", "ground": "zero"}),
        ("pointcloud_segmentation", {"sampling": "farthest"}),
        ("sequence_classification", {"normalize": "series"}),
        ("sequence_classification", {"normalize": "none"}),
    ],
)
def test_preparation_is_that_of_training(task, changes):
    batch = toy(task, **changes)
    x = in_units(task, batch)
    field = next(name for name in ("image", "points", "series") if name in batch.examples[0])
    piece = {**batch.task.data.cut({field: x}, batch.options)[0]}
    expected = batch.task.data.prepare(piece, batch.info, batch.options)[0]
    settings = {"normalize": "range", **batch.options, **batch.info}
    layer = preprocessing.PREPARATIONS[task.partition("_")[0]](settings)
    prepared = np.asarray(layer(x[None]))[0]
    if field == "points":  # training takes them in another order
        expected, prepared = (rows[np.lexsort(rows.T.round(3))] for rows in (expected, prepared))
    np.testing.assert_allclose(prepared, expected, rtol=1e-4, atol=1e-5)


def score(task):
    return {"score": 0.05} if task == "image_detection" else {}


def confidence(task):
    return {"confidence": 0.05} if task == "image_detection" else {}


def test_the_network_alone_answers_otherwise(saved):
    path, batch = saved("image_segmentation", normalize="image")
    x = in_units("image_segmentation", batch)
    alone = saving.load(path).predict_on_batch(x[None].astype("float32"))
    (result,) = zoo.predict(path, x)
    assert np.abs(report.softmax(alone[0]) - result["probabilities"]).max() > 0.1


def test_a_shorter_series_ends_in_nan(saved):
    path, _ = saved("sequence_classification")
    record = saving.record(path)
    settings = {**record["task_options"], **record["info"], "ragged": True}
    layer = preprocessing.PreparedSeries(settings)
    x = np.full((1, 24, 2), np.nan, np.float32)
    x[:, :10] = 1
    prepared = np.asarray(layer(x))
    assert (prepared[:, 10:] == preprocessing.PADDING).all() and np.isfinite(prepared).all()


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_percentiles_are_those_of_numpy(count):
    x = np.random.default_rng(count).normal(size=(3, count)).astype("float32")
    ordered = np.sort(x, axis=1)
    for share in (0.001, 0.01, 0.3):
        low, high = np.percentile(x, [100 * share, 100 - 100 * share], axis=1)
        np.testing.assert_allclose(preprocessing.lower(ordered, share), low, atol=1e-5)
        np.testing.assert_allclose(preprocessing.upper(ordered, share), high, atol=1e-5)


def test_inputs_are_files_folders_patterns_arrays_and_batches(saved, tmp_path, monkeypatch):
    path, batch = saved("image_segmentation", normalize="image")
    monkeypatch.chdir(tmp_path)
    images = [example["image"] for example in batch.examples[:2]]
    for i, image in enumerate(images):
        Image.fromarray(image).save(f"{i}.png")
    by_array = zoo.predict(path, np.stack(images))
    assert "file" not in by_array[0] and by_array[0]["mask"].shape == images[0].shape[:2]
    record = saving.record(path)
    for inputs in (["0.png", "1.png"], ".", "*.png", [images[0], tmp_path / "1.png"]):
        names, read = files.gather(inputs, record)
        for name, image in zip(names, images, strict=True):
            np.testing.assert_array_equal(read(name)["image"], image)
    by_file = zoo.predict(path, "*.png")
    assert [row["file"] for row in by_file] == ["0.png", "1.png"]
    for row, expected in zip(by_file, by_array, strict=True):
        np.testing.assert_array_equal(row["mask"], expected["mask"])


@pytest.mark.parametrize(
    ("task", "array", "words"),
    [
        ("image_classification", np.full((32, 32, 3), 0.5), "values are from 0 to 1, and those of"),
        ("image_classification", np.zeros((9, 32, 32)), "have 3 channels at the end"),
        ("image_classification", np.full((32, 32, 3), np.nan), "are NaN or infinite"),
        ("image_classification", np.array(["a"]), "Give numbers"),
        ("pointcloud_classification", np.zeros((5, 2)), "Give x, y and z"),
        ("pointcloud_classification", np.full((5, 3), np.nan), "array 0: 5 of 5 points are NaN"),
        ("forecasting", np.zeros((24, 3)), "it has 3 columns, and the model was trained on 2"),
        ("sequence_classification", np.full((24, 2), np.inf), "infinite"),
        ("sequence_classification", np.zeros((0, 2)), "its shape is (0, 2)"),
    ],
)
def test_arrays_that_cannot_be_right_are_refused(task, array, words):
    batch = toy(task)
    record = {"task": task, "task_options": batch.options, "info": batch.info}
    with pytest.raises(ValueError) as caught:
        files.gather([array], record)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "settings", "words"),
    [
        ("image_segmentation", {"confidence": 0.5}, "confidence and iou are for detectors"),
        ("image_segmentation", {"steps": 5}, "steps are for forecasts"),
        ("image_detection", {"iou": 2}, "iou is 2: give a number from 0 to 1"),
    ],
)
def test_what_the_task_lacks_is_refused(task, settings, words):
    batch = toy(task)
    record = {"task": task, "task_options": batch.options, "info": batch.info}
    with pytest.raises(ValueError, match=words):
        prediction.check("m.keras", record, **settings)


def test_confidence_and_iou_choose_boxes(saved, tmp_path, capsys):
    path, batch = saved("image_detection")
    x = in_units("image_detection", batch)
    Image.fromarray(x).save(tmp_path / "a.png")
    (usual,) = zoo.predict(path, x, **confidence("image_detection"))
    out, words = tmp_path / "out", ["--confidence", "0.3", "--iou", "0.1"]
    assert main(["predict", str(path), str(tmp_path / "a.png"), "--out", str(out), *words]) == 0
    scores = [box["score"] for box in json.loads((out / "a_boxes.json").read_text())]
    assert 0 < len(scores) < np.sum(usual["scores"] >= 0.3) and min(scores) >= 0.3


@pytest.mark.parametrize("format", ["onnx", "saved_model", "litert"])
def test_an_export_says_what_it_takes(format, saved, tmp_path):
    path, batch = saved("forecasting")
    record = saving.record(path)
    facts = preprocessing.facts(record, inside=True)
    model = preprocessing.around(saving.load(path), path, record)
    target = tmp_path / {"onnx": "m.onnx", "saved_model": "m", "litert": "m.tflite"}[format]
    assert export.export(model, target, format, facts) <= 1e-4
    known = export.described(target, format)
    assert known["task"] == "forecasting" and known["preprocessing"] == "inside"
    assert known["input"] == "series: values in their own units"
    if format == "onnx":
        session = onnxruntime.InferenceSession(target)
        (given,) = session.get_inputs()
        assert (given.name, given.shape) == ("series", ["batch", 24, 2])
        assert [output.name for output in session.get_outputs()] == ["forecast", "lower", "upper"]
        assert session.get_outputs()[0].shape == ["batch", 4, 2]
        constants = json.loads(session.get_modelmeta().custom_metadata_map["constants"])
        assert constants["mean"] == record["info"]["mean"]
        x = in_units("forecasting", batch)
        (result,) = zoo.predict(path, x)
        outputs = session.run(None, {"series": x[None].astype("float32")})
        for array, name in zip(outputs, ("forecast", "lower", "upper"), strict=True):
            np.testing.assert_allclose(array[0], result[name], rtol=1e-4)


@pytest.mark.parametrize("task", sorted(EXAMPLES))
def test_facts_are_plain_values(task):
    batch = toy(task)
    record = {"task": task, "task_options": batch.options, "info": batch.info}
    for inside in (False, True):
        facts = preprocessing.facts(record, inside)
        assert json.loads(json.dumps(facts)) == facts
        assert facts["classes"] == batch.info["classes"]
    assert preprocessing.facts({}) == {}
    with pytest.raises(ValueError, match="does not record what its inputs were"):
        preprocessing.around(None, "m.keras", {})


def test_layers_that_do_nothing_at_inference_are_left_out():
    inner = keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1)])
    x = image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(2, 3)(inner(x))
    x = keras.layers.GaussianNoise(0.1)(x, training=False)
    active = keras.layers.Dropout(0.5, name="active")
    x = keras.layers.Dense(2)(active(keras.layers.Flatten()(x), training=True))
    model = keras.Model(image, x)
    copy = export.portable(model, "m.onnx")
    kinds = [type(layer).__name__ for layer in copy._flatten_layers()]
    assert not {"RandomFlip", "RandomRotation", "GaussianNoise"} & {*kinds}
    assert kinds.count("Identity") == 3 and kinds.count("Dropout") == 1
    before, after = (keras.Model(m.input, m.get_layer("active").input) for m in (model, copy))
    images = np.random.default_rng(0).uniform(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(*(m.predict_on_batch(images) for m in (before, after)))


def test_integers_become_floats_where_augmentation_made_them_so():
    image = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(image, keras.layers.Rescaling(1 / 255)(keras.layers.RandomFlip()(image)))
    images = np.random.default_rng(0).integers(256, size=(2, 8, 8, 3)).astype("uint8")
    outputs = [m.predict_on_batch(images) for m in (model, export.portable(model, "m.onnx"))]
    np.testing.assert_array_equal(*outputs)


def test_a_layer_that_keeps_its_state_is_named_with_the_remedy(tmp_path):
    layers = [
        keras.Input(batch_shape=(2, 5, 1)),
        keras.layers.LSTM(2, stateful=True, name="memory"),
    ]
    with pytest.raises(ValueError, match="the layer memory keeps its state.*stateful=False"):
        export.export(keras.Sequential(layers), tmp_path / "m.onnx", "onnx")


def test_recurrent_networks_need_no_operations_of_tensorflow_in_litert(tmp_path):
    model = zoo.create("gru", (6, 2), (3, 1), units=2)
    export.export(model, tmp_path / "m.tflite", "litert")
    assert export.select_ops(tmp_path / "m.tflite") == []


def test_tables_hold_no_nan_and_no_formula(tmp_path):
    rows = [{"file": "=1+1.png", "mse": float("nan"), "n": np.int64(3), "written": ["-a.png"]}]
    prediction.save_tables(rows, tmp_path)
    (row,) = json.loads((tmp_path / "predictions.json").read_text(), parse_constant=pytest.fail)
    assert row == {"file": "=1+1.png", "mse": None, "n": 3, "written": ["-a.png"]}
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert lines[1] == "'=1+1.png,nan,3,'-a.png"


def test_a_file_that_cannot_be_finished_is_removed_and_named(tmp_path):
    def write(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError) as caught:
        prediction.whole(write, tmp_path / "a.csv")
    assert caught.value.filename == str(tmp_path / "a.csv") and not any(tmp_path.iterdir())


def test_long_names_are_cut(tmp_path):
    taken = set()
    paths = [
        prediction.free(tmp_path, tmp_path / f"{'ä' * 125}.png", "_boxes.json", taken) for _ in "ab"
    ]
    for path in paths:
        path.write_text("")
    assert len({*paths}) == 2 and all(path.name.endswith("_boxes.json") for path in paths)


def test_what_the_system_refuses_is_one_line(saved, tmp_path, capsys):
    path, _ = saved("sequence_classification")
    (tmp_path / "a.xyz").write_text("1 2 3\n")
    (tmp_path / "file").write_text("")
    words = ["predict", str(path), str(tmp_path / "a.xyz"), "--out"]
    for out, reason in [
        (tmp_path / ("n" * 300), "File name too long. Choose a shorter name"),
        (tmp_path / "file", "it is a file. Name another folder"),
        (tmp_path / "file" / "below", "Not a directory"),
    ]:
        assert main([*words, str(out)]) == 2
        error = capsys.readouterr().err
        assert reason in error and str(out)[:60] in error and error.count("\n") == 1
    words = ["export", str(path), "--format", "onnx", "--out", str(tmp_path / f"{'n' * 300}.onnx")]
    assert main(words) == 2
    assert "File name too long. Choose a shorter name" in capsys.readouterr().err


def test_missing_files_are_named_before_the_model_is_read(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zoo.system.terminal.import_keras", pytest.fail)
    assert main(["predict", "unet_dsb2018", "gone.png", "*.tif"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "zoo: gone.png: there is no such file or folder. Check the spelling.",
        "zoo: *.tif: no file matches this pattern. Check the spelling.",
    ]
    assert not any(tmp_path.iterdir())
