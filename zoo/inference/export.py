"""Export of a model to another program's format, compared with Keras before it is written."""

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

from zoo.inference import detector
from zoo.inference.formats import FORMATS, check
from zoo.nn import recurrence
from zoo.nn.foreign import Foreign
from zoo.system import terminal
from zoo.weights import saving

TOLERANCE = 1e-4  # of the largest output, or of 1 if all are smaller
STOCK = {  # of a serialized model, replacements that all programs can compute
    '"mixed_bfloat16"': '"float32"',
    '"mixed_float16"': '"float32"',
    '"module": "zoo.nn.recurrence"': '"module": "keras.layers"',
    '"registered_name": "zoo>LSTM"': '"registered_name": null',
    '"registered_name": "zoo>GRU"': '"registered_name": null',
}
NOTHING = {  # layers of Keras that change their input in training only
    *(f"Random{name}" for name in "Flip Rotation Zoom Translation Shear Perspective".split()),
    *(f"Random{name}" for name in "Brightness Contrast ColorJitter ColorDegeneration Hue".split()),
    *(f"Random{name}" for name in "Saturation Sharpness Grayscale Posterization Invert".split()),
    *(f"Random{name}" for name in "GaussianBlur Erasing ElasticTransform".split()),
    *"AugMix RandAugment MixUp CutMix GaussianNoise GaussianDropout AlphaDropout".split(),
    *"Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D".split(),
}
FACTS = "zoo"  # name of the metadata in LiteRT files and SavedModels
SIZES = ((2, 64), (3, 96))  # (batch, every other free dimension) of the inputs that are tried


def export(model, path, format, facts=None):
    """Write a model in another format and compare its outputs with those of Keras.

    The comparison is on random inputs (normal, or 0 and 1 where the model takes integers) of two
    batch sizes, and of two lengths where the model leaves them free. Detectors that end in boxes
    are exported in two halves as well, see `parts`, since random images have hardly any.

    Args:
        model: a `keras.Model`; one of mixed precision is exported in float32, and one of recurrent
            layers without the kernels of cuDNN, which other programs lack.
        path: what to write: a `.onnx` or `.tflite` file, or a folder for "saved_model".
        format: "onnx", "saved_model" or "litert".
        facts: metadata that a program needs to use the file, a dictionary of plain values, see
            `zoo.inference.preprocessing.facts`. It is stored in the file: see `described`.

    Returns:
        The largest absolute difference between the outputs; corners of boxes count in shares of
        the input.

    Raises:
        ValueError: if the path exists or has another ending, a package is missing, Keras cannot
            export the model, or the outputs differ; then nothing is left at the path.
        OSError: if it cannot be written; likewise.
    """
    path = pathlib.Path(path)
    check(path, format)
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"{path}: export works on TensorFlow. Set KERAS_BACKEND=tensorflow")
    if any(isinstance(layer, Foreign) for layer in model._flatten_layers()):
        why = "a member of it is a model of another library, which Keras cannot export"
        raise ValueError(f"{path}: {why}. Export the other members one by one")
    model = portable(model, path)
    differences = []
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        for i, (part, tries, factors) in enumerate(parts(model, differences, format)):
            half = pathlib.Path(folder, f"{i}{FORMATS[format]}")
            expected = [flat(part.predict_on_batch(x)) for x in tries]  # called, as export requires
            try:
                outputs = converted(part, half, format, tries, facts)
            except OSError:
                raise
            except Exception as error:  # converters raise exceptions of any type
                first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
                why = f"{model.name} cannot be exported to {format} ({first})"
                remedy = ". Export it without boxes" if detector.last(model) else ""
                raise ValueError(f"{path}: {why}{remedy}") from error
            difference, scale = compare(scaled(expected, factors), scaled(outputs, factors))
            if not difference <= TOLERANCE * max(1.0, scale):
                raise ValueError(
                    f"{path}: the outputs of {format} differ from those of Keras by "
                    f"{difference:.2g}, so no file was written"
                )
            differences.append(difference)
        shutil.move(half, path)
    return max(differences)


def parts(model, differences, format):
    """Yield the models that are exported and compared, the model itself last.

    A detector that ends in boxes is compared in parts: first the network that returns raw outputs,
    then the layer that turns raw outputs with some boxes into rows, then all of it. Of the whole
    model, only those boxes are compared that the differences of the parts cannot change.

    Args:
        model: the model to export.
        differences: those of the parts so far, a list that grows during the iteration.
        format: of the exported file.

    Yields:
        A `keras.Model`, inputs to try, and factors on its outputs for each of them.
    """
    single = takes_one(model, format)
    images = [inputs(model, 1 if single else batch, free) for batch, free in SIZES]
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


def converted(model, path, format, tries, facts):
    """Write a model in another format; return the list of its outputs there for each input."""
    # Otherwise tf2onnx keeps about fifty copies of the graph and its weights in memory.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    kind = {"saved_model": "tf_saved_model"}.get(format, format)
    with terminal.hushed(1, 2), warnings.catch_warnings(action="ignore"):
        model.export(path, format=kind, verbose=False, input_signature=signature(model, format))
        DESCRIBERS[format](path, model, facts or {})
        gc.collect()  # converters leave copies of the weights in reference cycles
        run = RUNNERS[format](path, model)
        return [run(x) for x in tries]


def scaled(outputs, factors):
    """Return the outputs for each input times its factor."""
    return [
        [output * factor for output in arrays]
        for arrays, factor in zip(outputs, factors, strict=True)
    ]


def portable(model, path="the model"):
    """Return the model if all programs can compute it, else a copy with the same outputs.

    The copy computes in float32, has Keras' own recurrent layers without cuDNN, and none of the
    layers that are the identity at inference.

    Raises:
        ValueError: if a layer keeps its state from batch to batch.
    """
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False) is True:
            raise ValueError(
                f"{path}: the layer {layer.name} keeps its state from batch to batch, which no "
                "exported file does. Build the model again with stateful=False, and give it these "
                "weights: new.set_weights(model.get_weights())"
            )
    config = saving.weights_only(keras.saving.serialize_keras_object(model))
    text = plain = json.dumps(config)
    for custom, builtin in STOCK.items():
        plain = plain.replace(custom, builtin)
    config = json.loads(plain)
    floats = all(tensor.dtype.startswith("float") for tensor in model.inputs)
    changed = idle_left_out(config, "Identity" if floats else "Rescaling")
    recurrent = [layer for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")]
    if plain == text and not recurrent and not changed:
        return model
    stock = keras.saving.deserialize_keras_object(config)
    stock.set_weights(model.get_weights())
    pairs = zip(*map(recurrence.recurrent_layers, (model, stock)), strict=True)
    for layer, copied in pairs:
        copied.supports_masking = layer.supports_masking
    for layer in stock._flatten_layers():
        if hasattr(layer, "use_cudnn"):  # it is not part of a layer's configuration
            layer.use_cudnn = False
    return stock


def idle_left_out(config, kind):
    """Replace layers that return their input at inference by ones that always do.

    A layer that is called with training=True, as Monte Carlo dropout is, stays.

    Args:
        config: a serialized model, which is changed.
        kind: "Identity"; or "Rescaling", which converts integers to floats too, as these layers do.

    Returns:
        Whether any layer was replaced.
    """
    changed = False
    for layer in nodes(config):
        builtin = layer.get("module") == "keras.layers" and layer.get("class_name") in NOTHING
        calls = layer.get("inbound_nodes", [])
        if not builtin or any(call["kwargs"].get("training") for call in calls):
            continue
        shared = {name: layer["config"].get(name) for name in ("name", "dtype")}
        layer["class_name"] = kind
        layer["config"] = shared if kind == "Identity" else {**shared, "scale": 1.0, "offset": 0.0}
        for call in calls:
            call["kwargs"].pop("training", None)
        changed = True
    return changed


def nodes(config):
    """Yield every serialized object nested in one, as a dictionary."""
    if isinstance(config, dict):
        if "class_name" in config and isinstance(config.get("config"), dict):
            yield config
        for inner in config.values():
            yield from nodes(inner)
    elif isinstance(config, list):
        for inner in config:
            yield from nodes(inner)


def takes_one(model, format):
    """Return whether an export takes one example at a time: recurrent models, in LiteRT.

    LiteRT's own operations store the outputs of a loop if their size is known, batch included;
    otherwise it needs TensorFlow's Select operations, which most programs with LiteRT lack.
    """
    recurrent = any(isinstance(layer, keras.layers.RNN) for layer in model._flatten_layers())
    return recurrent and format == "litert"


def signature(model, format):
    """Return the input signature for Keras' exporter; None for its default."""
    if not takes_one(model, format):
        return None
    return [
        keras.tree.map_structure(
            lambda x: keras.InputSpec(shape=(1, *x.shape[1:]), dtype=x.dtype, name=x.name),
            entry(model),
        )
    ]


def inputs(model, batch, free):
    """Return random inputs in the structure of the model's, the same for the same sizes."""
    rng = np.random.default_rng(batch)

    def draw(tensor):
        shape = [batch, *(free if size is None else size for size in tensor.shape[1:])]
        if tensor.dtype == "uint8" and len(shape) == 4:  # images
            return rng.integers(256, size=shape).astype(tensor.dtype)
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


def compare(expected, outputs):
    """Return the largest absolute difference, NaN if there is a NaN, and the largest output."""
    difference = scale = 0.0
    for target, output in zip(sum(expected, []), sum(outputs, []), strict=True):
        if target.shape != output.shape:
            raise ValueError(f"an output has shape {output.shape} instead of {target.shape}")
        error = np.abs(target.astype(np.float64) - output.astype(np.float64))
        difference = np.maximum(difference, np.max(error, initial=0.0))
        scale = max(scale, float(np.max(np.abs(target), initial=0.0)))
    return float(difference), scale


def describe_onnx(path, model, facts):
    """Name the outputs and the free sizes of an ONNX file, and store facts as its metadata."""
    onnx = importlib.import_module("onnx")
    graph_file = onnx.load(str(path))
    graph = graph_file.graph
    names = output_names(model, facts, len(graph.output))
    outputs = {value.name: name for value, name in zip(graph.output, names, strict=True)}
    taken = {name for node in graph.node for name in [*node.input, *node.output]} - outputs.keys()
    taken |= {value.name for value in [*graph.input, *graph.initializer]}
    outputs = {old: new for old, new in outputs.items() if new not in taken}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [outputs.get(name, name) for name in names]
    for value in graph.output:
        value.name = outputs.get(value.name, value.name)
    for value in [*graph.input, *graph.output]:
        sizes = value.type.tensor_type.shape.dim
        axes = AXES.get(value.name) or AXES.get(graph.input[0].name, ())
        axes = axes if len(axes) == len(sizes) - 1 else ()
        for i, size in enumerate(sizes):
            if not size.HasField("dim_value"):
                axis = axes[i - 1] if axes and i else str(i)
                size.dim_param = "batch" if i == 0 else f"{value.name}_{axis}"
    onnx.helper.set_model_props(graph_file, {key: as_text(value) for key, value in facts.items()})
    onnx.save(graph_file, str(path))


def describe_litert(path, model, facts):
    """Store facts in a LiteRT file, as the metadata "zoo", a buffer of JSON."""
    if not facts:
        return
    tools = importlib.import_module("tensorflow.lite.tools.flatbuffer_utils")
    schema = importlib.import_module("tensorflow.lite.python.schema_py_generated")
    content = tools.read_model(str(path))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = json.dumps(facts, ensure_ascii=False).encode()
    entry.name, entry.buffer = FACTS, len(content.buffers)
    content.buffers.append(buffer)
    content.metadata = [*(content.metadata or []), entry]
    tools.write_model(content, str(path))


def describe_saved_model(path, model, facts):
    """Store facts with a SavedModel, in the folder that TensorFlow reserves for users."""
    if facts:
        folder = pathlib.Path(path, "assets.extra")
        folder.mkdir(exist_ok=True)
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        (folder / f"{FACTS}.json").write_text(f"{text}\n", encoding="utf-8")


DESCRIBERS = {
    "onnx": describe_onnx,
    "saved_model": describe_saved_model,
    "litert": describe_litert,
}
AXES = {  # of inputs and outputs, by name, after the batch's
    "image": ("height", "width", "channels"),
    "points": ("points", "coordinates"),
    "series": ("steps", "values"),
}


def as_text(value):
    """Return a value as metadata: a text as it is, others as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def output_names(model, facts, count):
    """Return the names of the `count` outputs of an ONNX file, in the order of `flat`."""
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        return sorted(model.output)
    if detector.last(model):
        return ["boxes"]
    word = facts.get("output", "").replace(":", " ").partition(" ")[0]
    name = word if word in ("forecast", "logits", "value") else "output"
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def described(path, format):
    """Return the facts stored in an exported file, a dictionary, {} if none.

    Args:
        path: of an ONNX or LiteRT file, or the folder of a SavedModel.
        format: "onnx", "saved_model" or "litert".
    """
    if format == "onnx":
        content = importlib.import_module("onnx").load(str(path), load_external_data=False)
        return {entry.key: entry.value for entry in content.metadata_props}
    if format == "saved_model":
        file = pathlib.Path(path, "assets.extra", f"{FACTS}.json")
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    tools = importlib.import_module("tensorflow.lite.tools.flatbuffer_utils")
    content = tools.read_model(str(path))
    for entry in content.metadata or []:
        if entry.name == FACTS.encode():
            return json.loads(bytes(content.buffers[entry.buffer].data))
    return {}


def select_ops(path):
    """Return the operations of a LiteRT file that LiteRT itself lacks, sorted.

    They are TensorFlow's, and running them needs its Select operations.
    """
    tools = importlib.import_module("tensorflow.lite.tools.flatbuffer_utils")
    codes = [code.customCode or b"" for code in tools.read_model(str(path)).operatorCodes]
    return sorted({code.decode()[4:] for code in codes if code.startswith(b"Flex")})


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
    """Return inputs as a dictionary by the names that Keras gives them in exported files."""
    tensors, arrays = keras.tree.flatten(entry(model)), keras.tree.flatten(x)
    return {tensor.name: array for tensor, array in zip(tensors, arrays, strict=True)}
