"""Exporting a model to another program's format, checked against Keras before it is handed over."""

import gc
import importlib
import importlib.util
import json
import os
import pathlib
import shutil
import tempfile
import warnings

import keras
import numpy as np

from zoo import detector, terminal
from zoo.formats import FORMATS, check

TOLERANCE = 1e-4  # of the largest output, or of 1 if all are smaller
STOCK = {  # of a serialized model, what makes it one that all programs compute
    '"mixed_bfloat16"': '"float32"',
    '"mixed_float16"': '"float32"',
    '"module": "zoo.recurrence"': '"module": "keras.layers"',
    '"registered_name": "zoo>LSTM"': '"registered_name": null',
    '"registered_name": "zoo>GRU"': '"registered_name": null',
}
SIZES = ((2, 64), (3, 96))  # (batch, every other free dimension) of the inputs that are tried


def export(model, path, format):
    """Write a model in another format and compare its outputs with those of Keras.

    The comparison is on random inputs (normal, or 0 and 1 where the model takes integers) of two
    batch sizes, and of two lengths where the model leaves them free. Detectors that end in boxes
    are exported in two halves as well, see `parts`, since random images show hardly any.

    Args:
        model: a `keras.Model`; one of mixed precision is exported in float32, and one of recurrent
            layers without the kernels of cuDNN, which no other program has.
        path: what to write: a `.onnx` or `.tflite` file, or a folder for "saved_model".
        format: "onnx", "saved_model" or "litert".

    Returns:
        The largest absolute difference between the outputs; corners of boxes count in shares of
        the input.

    Raises:
        ValueError: if the path exists or has another ending, a package is missing, Keras cannot
            export the model, or the outputs differ; then nothing is left at the path.
    """
    path = pathlib.Path(path)
    check(path, format)
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"{path}: export works on TensorFlow. Set KERAS_BACKEND=tensorflow")
    model = portable(model)
    differences = []
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        for i, (part, tries, factors) in enumerate(parts(model, differences)):
            half = pathlib.Path(folder, f"{i}{FORMATS[format]}")
            expected = [flat(part.predict_on_batch(x)) for x in tries]  # called, as export demands
            try:
                found = converted(part, half, format, tries)
            except Exception as error:  # whatever a converter makes of a model
                first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
                why = f"{model.name} cannot be exported to {format} ({first})"
                remedy = ". Export it without boxes" if detector.last(model) else ""
                raise ValueError(f"{path}: {why}{remedy}") from error
            difference, scale = compare(scaled(expected, factors), scaled(found, factors))
            if not difference <= TOLERANCE * max(1.0, scale):
                raise ValueError(
                    f"{path}: the outputs of {format} differ from those of Keras by "
                    f"{difference:.2g}, so the file was not kept"
                )
            differences.append(difference)
        shutil.move(half, path)
    return max(differences)


def parts(model, differences):
    """Say what is exported and compared, the model itself at last.

    Of a detector that ends in boxes that is first what comes before them, then what makes them, on
    raw outputs that say some; of the whole only such boxes are compared as cannot be others for
    the differences that were found before them.

    Args:
        model: what is to be exported.
        differences: those of the parts that are done already, a list that grows meanwhile.

    Yields:
        A `keras.Model`, inputs to try, and factors on its outputs for each of them.
    """
    images = [inputs(model, *sizes) for sizes in SIZES]
    if detector.last(model) is None:
        yield model, images, [1.0] * len(images)
        return
    before, ending = detector.halves(model)
    yield before, images, [1.0] * len(images)
    unit = detector.unit(model)
    yield ending, [detector.example(model, batch) for batch, _ in SIZES], [1 / unit] * len(SIZES)
    raw = [before.predict_on_batch(x) for x in images]
    spread = 2 * max(differences) + 1e-6
    steady = [detector.steady(model, x, spread, TOLERANCE) for x in raw]
    yield model, images, [rows[..., None] / unit for rows in steady]


def converted(model, path, format, tries):
    """Write a model in another format; return the list of its outputs there for each input."""
    # Otherwise tf2onnx keeps copies of the graph and its weights, some fifty of them.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    kind = {"saved_model": "tf_saved_model"}.get(format, format)
    with terminal.hushed(1, 2), warnings.catch_warnings(action="ignore"):
        model.export(path, format=kind, verbose=False)
        gc.collect()  # what converters leave holds the weights many times, and itself in cycles
        run = RUNNERS[format](path, model)
        return [run(x) for x in tries]


def scaled(outputs, factors):
    """Return the outputs for each input times its factor."""
    return [[one * factor for one in each] for each, factor in zip(outputs, factors, strict=True)]


def portable(model):
    """Return the model if it computes in float32 and without recurrence, else a twin.

    That computes in float32 and has Keras' own recurrent layers, never by cuDNN.
    """
    text = plain = json.dumps(keras.saving.serialize_keras_object(model))
    for ours, theirs in STOCK.items():
        plain = plain.replace(ours, theirs)
    recurrent = [layer for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")]
    if plain == text and not recurrent:
        return model
    twin = keras.saving.deserialize_keras_object(json.loads(plain))
    twin.set_weights(model.get_weights())
    for layer in twin._flatten_layers():
        if hasattr(layer, "use_cudnn"):  # it is no part of a layer's configuration
            layer.use_cudnn = False
    return twin


def inputs(model, batch, free):
    """Return random inputs in the structure of the model's, the same for the same sizes."""
    rng = np.random.default_rng(batch)

    def draw(tensor):
        shape = [batch, *(free if size is None else size for size in tensor.shape[1:])]
        if tensor.dtype.startswith(("int", "uint", "bool")):
            return rng.integers(2, size=shape).astype(tensor.dtype)
        return rng.normal(size=shape).astype(tensor.dtype)

    return keras.tree.map_structure(draw, entry(model))


def entry(model):
    """Return the model's input tensors in their structure."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def flat(outputs):
    """Return outputs in any structure as a list; a dictionary's in the order of its names."""
    if isinstance(outputs, dict):
        return [np.asarray(outputs[name]) for name in sorted(outputs)]
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


def compare(expected, found):
    """Return the largest absolute difference, NaN if there is a NaN, and the largest output."""
    difference = scale = 0.0
    for wanted, got in zip(sum(expected, []), sum(found, []), strict=True):
        if wanted.shape != got.shape:
            raise ValueError(f"an output has shape {got.shape} instead of {wanted.shape}")
        error = np.abs(wanted.astype(np.float64) - got.astype(np.float64))
        difference = np.maximum(difference, np.max(error, initial=0.0))
        scale = max(scale, float(np.max(np.abs(wanted), initial=0.0)))
    return float(difference), scale


def run_onnx(path, model):
    """Return a function from inputs to the list of outputs of an ONNX file."""
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, by_name(model, x))


def run_saved_model(path, model):
    """Return a function from inputs to the list of outputs of a SavedModel."""
    layer = keras.layers.TFSMLayer(path, call_endpoint="serve")
    return lambda x: flat(layer(x))


def run_litert(path, model):
    """Return a function from inputs to the list of outputs of a LiteRT file."""
    if importlib.util.find_spec("ai_edge_litert") is not None:
        package = importlib.import_module("ai_edge_litert.interpreter")
    else:
        package = importlib.import_module("tensorflow").lite
    runner = package.Interpreter(str(path)).get_signature_runner()
    return lambda x: flat(runner(**by_name(model, x)))


RUNNERS = {"onnx": run_onnx, "saved_model": run_saved_model, "litert": run_litert}


def by_name(model, x):
    """Return inputs as a dictionary by the names that Keras gives them in what it exports."""
    tensors, arrays = keras.tree.flatten(entry(model)), keras.tree.flatten(x)
    return {tensor.name: array for tensor, array in zip(tensors, arrays, strict=True)}
