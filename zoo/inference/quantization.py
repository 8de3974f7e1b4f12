"""Smaller models: exported files with integer or half-precision weights, measured beside float32.

int8 is static quantization, weights and activations to 8 bits by their range on validation
examples (Jacob et al. 2018, https://arxiv.org/abs/1712.05877), done by ONNX Runtime or LiteRT.
float16 and bfloat16 halve the file: weights are stored in 16 bits and computed with in 32.
"""

import importlib
import pathlib
import statistics
import tempfile
import time

import numpy as np

from zoo.inference import export, formats, predictors
from zoo.system import terminal

CALIBRATED = 128  # examples of which the ranges are taken
ROUNDS = 15  # measurements of each file, in turns
BATCH = 8


def write(model, path, format, kind, examples, facts=None):
    """Write a model with quantized weights, beside a float32 file for comparison.

    Args:
        model: a `keras.Model` of one input.
        path: of the file to write.
        format: "onnx" or "litert".
        kind: "int8", "float16" or "bfloat16".
        examples: inputs (n, ...) to calibrate int8.
        facts: see `zoo.inference.export.export`.

    Returns:
        Functions from a batch to its outputs of the float32 and of the new file, by name, and the
        sizes of the files in bytes, by name.

    Raises:
        ValueError: see `zoo.inference.export.export`; or the converter fails, or would crash.
        OSError: a file cannot be written.
    """
    path = pathlib.Path(path)
    formats.check(path, format, kind)
    if kind == "int8" and export.takes_one(model, format):
        why = f"{format} cannot calibrate the loop of recurrent layers, as {model.name} has"
        raise ValueError(f"{path}: {why}. Give --quantize float16 or --format onnx")
    runs, sizes = {}, {}
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        plain = pathlib.Path(folder, f"float32{formats.FORMATS[format]}")
        small = pathlib.Path(folder, f"{kind}{formats.FORMATS[format]}")
        export.export(model, plain, format, facts)
        model = export.portable(model, path)
        try:
            with terminal.hushed(1, 2):
                CONVERTERS[format](model, plain, small, kind, examples[:CALIBRATED])
        except Exception as error:  # converters raise exceptions of any type
            first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise ValueError(f"{path}: {model.name} cannot be {kind} ({first})") from error
        for name, file in (("float32", plain), (kind, small)):
            runs[name] = export.RUNNERS[format](file, model)
            sizes[name] = file.stat().st_size
        small.replace(path)
    return runs, sizes


def to_onnx(model, plain, small, kind, examples):
    """Convert an ONNX file."""
    onnx = importlib.import_module("onnx")
    shapes = importlib.import_module("onnxruntime.quantization.shape_inference")
    prepared = plain.with_name("prepared.onnx")  # batch normalisation is part of convolutions there
    shapes.quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    if kind == "int8":
        tools = importlib.import_module("onnxruntime.quantization")
        batches = [examples[i : i + BATCH] for i in range(0, len(examples), BATCH)]

        class Reader(tools.CalibrationDataReader):
            feeds = iter([export.by_name(model, batch) for batch in batches])

            def get_next(self):
                return next(self.feeds, None)

        tools.quantize_static(str(prepared), str(small), Reader(), per_channel=True)
        content = onnx.load(str(small))
    else:
        content = rounded(onnx, onnx.load(str(prepared)), kind)
    properties = {entry.key: entry.value for entry in onnx.load(str(plain)).metadata_props}
    onnx.helper.set_model_props(content, properties)
    onnx.save(content, str(small))


def rounded(onnx, content, kind):
    """Store the float32 weights of an ONNX model in 16 bits, converted when they are used."""
    casts, types = [], onnx.TensorProto
    for weight in content.graph.initializer:
        if weight.data_type != types.FLOAT or len(weight.dims) < 2:
            continue
        name, values = weight.name, onnx.numpy_helper.to_array(weight)
        if kind == "float16":
            words, code = values.astype(np.float16), types.FLOAT16
        else:
            bits = values.view(np.uint32)
            bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to the nearest, ties to even
            words, code = bits.astype(np.uint16), types.BFLOAT16
        stored = f"{name}_{kind}"
        weight.CopyFrom(
            onnx.helper.make_tensor(stored, code, values.shape, words.tobytes(), raw=True)
        )
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=types.FLOAT))
    for i, node in enumerate(casts):
        content.graph.node.insert(i, node)
    return content


def to_litert(model, plain, small, kind, examples):
    """Convert a model to LiteRT."""
    tensorflow = importlib.import_module("tensorflow")
    options = {"optimizations": [tensorflow.lite.Optimize.DEFAULT]}
    if kind == "float16":
        options["target_spec"] = {"supported_types": [tensorflow.float16]}
    else:
        options["representative_dataset"] = lambda: (
            [example[None].astype("float32")] for example in examples
        )
    signature = export.signature(model, "litert")
    model.export(small, format="litert", verbose=False, input_signature=signature, **options)
    export.describe_litert(small, model, export.described(plain, "litert"))


CONVERTERS = {"onnx": to_onnx, "litert": to_litert}


class FileModel:
    """An exported file as a model, to score it.

    Args:
        run: function from a batch to the list of its outputs.
        model: the `keras.Model` that was exported.
        single: whether the file takes one example at a time.
    """

    def __init__(self, run, model, single=False):
        self.run, self.inputs, self.single = run, model.inputs, single

    def predict_on_batch(self, x):
        """Return the outputs of a batch."""
        if not self.single:
            return self.run(x)[0]
        return np.concatenate([self.run(x[i : i + 1])[0] for i in range(len(x))])


def measure(model, runs, sizes, task, info, arrays, single=False):
    """Measure files: the score of the test split, and the time of a batch, in turns.

    Args:
        model: the `keras.Model` that was exported.
        runs: functions from a batch to outputs, by name.
        sizes: of the files, by name.
        task: the task record.
        info: of the model's record.
        arrays: the test split, `datasets.splits.Arrays`.
        single: whether the files take one example at a time.

    Returns:
        A list of rows: name, bytes, milliseconds of a batch, and the scores.
    """
    files = {name: FileModel(run, model, single) for name, run in runs.items()}
    x, _ = arrays.take(slice(0, BATCH))
    seconds = {name: [] for name in files}
    for turn in range(ROUNDS + 1):
        for name, file in files.items():
            start = time.perf_counter()
            file.predict_on_batch(x)
            if turn:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - start)
    rows = []
    for name, file in files.items():
        summary = task.results.summary(predictors.parts(file, arrays, BATCH), info)
        scores, _ = task.results.score(summary, info)
        scores = {key: value for key, value in scores.items() if isinstance(value, float)}
        milliseconds = 1000 * statistics.median(seconds[name])
        rows.append({"name": name, "bytes": sizes[name], "milliseconds": milliseconds} | scores)
    return rows


def table(rows):
    """Return the rows of `measure` as text, with the factor on the speed of the first."""
    keys = [key for key in rows[0] if key not in ("name", "bytes", "milliseconds")]
    width = max(len(row["name"]) for row in rows) + 2
    lines = ["".join([" " * width, f"{'KB':>10}", f"{'ms':>10}", f"{'speed':>8}", *map(
        lambda key: f"  {key:>{max(8, len(key))}}", keys
    )])]  # fmt: skip
    for row in rows:
        speed = rows[0]["milliseconds"] / row["milliseconds"]
        cells = [f"  {row[key]:{max(8, len(key))}.4f}" for key in keys]
        size = f"{row['bytes'] / 1024:10,.0f}"
        lines.append(
            f"{row['name']:{width}}{size}{row['milliseconds']:10.2f}{speed:7.2f}x{''.join(cells)}"
        )
    return "\n".join(lines)
