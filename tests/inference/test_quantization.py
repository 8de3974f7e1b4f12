"""Exported files with weights of fewer bits: smaller, nearly as good, and measured."""

import json

import keras
import numpy as np
import pytest

from datasets.splits import Arrays
from zoo import tasks
from zoo.inference import export, formats, quantization

INFO = {"classes": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def trained():
    """Return a small convolutional network that was trained, and its data."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 96).astype("int32")
    x = (np.eye(3)[y][:, None, None] + 0.3 * rng.normal(size=(96, 8, 8, 3))).astype("float32")
    keras.utils.set_random_seed(0)
    entry = keras.Input((8, 8, 3), name="image")
    z = keras.layers.Conv2D(32, 3, padding="same", use_bias=False)(entry)
    z = keras.layers.BatchNormalization(momentum=0.5)(z)
    z = keras.layers.Conv2D(64, 3, activation="relu")(z)
    z = keras.layers.GlobalAveragePooling2D()(z)
    model = keras.Model(entry, keras.layers.Dense(3)(z), name="net")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, 16, epochs=4, verbose=0)
    return model, Arrays(x, y, np.arange(96))


@pytest.mark.parametrize(
    ("format", "kind", "smaller"),
    [
        ("onnx", "int8", 0.5),
        ("onnx", "float16", 0.6),
        ("onnx", "bfloat16", 0.6),
        ("litert", "int8", 0.5),
        ("litert", "float16", 0.65),
    ],
)
def test_files_are_smaller_and_nearly_as_good(trained, tmp_path, format, kind, smaller):
    model, arrays = trained
    path = tmp_path / f"small{formats.FORMATS[format]}"
    facts = {"classes": ["a", "b", "c"]}
    runs, sizes = quantization.write(model, path, format, kind, arrays.x, facts)
    assert path.stat().st_size == sizes[kind] < smaller * sizes["float32"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    stored = export.described(path, format)["classes"]
    assert (json.loads(stored) if isinstance(stored, str) else stored) == facts["classes"]
    known = model.predict_on_batch(arrays.x[:8])
    (output,) = export.RUNNERS[format](path, model)(arrays.x[:8])
    scale = np.abs(known).max()
    difference = np.abs(output - known).max()
    assert 0 < difference < (0.15 if kind == "int8" else 0.02) * scale
    task = tasks.get("image_classification")
    plain, small = quantization.measure(model, runs, sizes, task, INFO, arrays)
    assert plain["accuracy"] > 0.9 and small["accuracy"] > plain["accuracy"] - 0.05
    assert plain["milliseconds"] > 0 and small["bytes"] == sizes[kind]
    lines = quantization.table([plain, small]).splitlines()
    assert lines[0].split()[:4] == ["KB", "ms", "speed", "accuracy"] and "1.00x" in lines[1]


def test_rounding_to_bfloat16_is_to_the_nearest():
    import onnx

    values = np.float32([[1.0, 1.00390625, 1.01171875, -3.14159265]])
    graph = onnx.helper.make_graph([], "g", [], [], [onnx.numpy_helper.from_array(values, "w")])
    content = quantization.rounded(onnx, onnx.helper.make_model(graph), "bfloat16")
    bits = np.frombuffer(content.graph.initializer[0].raw_data, np.uint16).astype(np.uint32) << 16
    known = keras.ops.convert_to_numpy(
        keras.ops.cast(keras.ops.cast(values, "bfloat16"), "float32")
    )
    np.testing.assert_array_equal(bits.view(np.float32), known[0])


def test_what_a_format_lacks_is_refused(trained, tmp_path):
    model, arrays = trained
    with pytest.raises(ValueError, match="litert has no bfloat16 here. Give --format onnx"):
        quantization.write(model, tmp_path / "m.tflite", "litert", "bfloat16", arrays.x)
    with pytest.raises(ValueError, match="Give --format onnx or --format litert"):
        quantization.write(model, tmp_path / "m", "saved_model", "int8", arrays.x)
    assert not [*tmp_path.iterdir()]


def test_int8_of_recurrent_layers_is_refused_as_litert_crashes(tmp_path):
    entry = keras.Input((10, 2), name="series")
    model = keras.Model(entry, keras.layers.Dense(2)(keras.layers.GRU(3)(entry)), name="net")
    examples = np.zeros((4, 10, 2), "float32")
    with pytest.raises(ValueError, match="litert cannot calibrate .* Give --quantize float16"):
        quantization.write(model, tmp_path / "m.tflite", "litert", "int8", examples)
    assert not [*tmp_path.iterdir()]
