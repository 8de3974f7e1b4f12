"""Models of other libraries inside of a Keras model: ONNX files and scikit-learn estimators.

The file is a weight of the layer, an array of bytes, so that it is saved, checked and loaded like
any other. It is run by onnxruntime or scikit-learn, outside of Keras: on any backend, but only
eagerly, and without gradients. Neither kind of file can run code of its own when it is opened:
ONNX is a graph of known operations, and skops refuses types that it does not trust.
"""

import importlib
import zlib

import keras
import numpy as np
from keras import ops

KINDS = ("onnx", "skops")
TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


@keras.saving.register_keras_serializable("zoo")
class Foreign(keras.layers.Layer):
    """Calls a model of another library, from (B, ...) to float32 (B, ..., K).

    Args:
        kind: "onnx" or "skops".
        size: bytes of the file, which is the weight `file`.
        output: shape of the output, without the batch axis.
    """

    def __init__(self, kind, size, output, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.size, self.output_sizes = kind, size, tuple(output)
        self.checksum = self.runner = None

    def build(self, input_shape):
        """Create the weight."""
        settings = dict(dtype="uint8", trainable=False, name="file")
        self.file = self.add_weight((self.size,), "zeros", **settings)

    def call(self, inputs):
        """Return the outputs of the file's model."""
        try:
            x = ops.convert_to_numpy(inputs)
        except Exception as error:  # each backend raises another one for a symbolic tensor
            raise ValueError(
                f"{self.name} is a model of another library, which Keras cannot compile, export or "
                "differentiate. Leave that member out, or use predict"
            ) from error
        content = ops.convert_to_numpy(self.file).tobytes()
        if (checksum := zlib.crc32(content)) != self.checksum:
            self.runner, self.checksum = runner(self.kind, content)[0], checksum
        return ops.convert_to_tensor(np.asarray(self.runner(x), np.float32))

    def compute_output_spec(self, inputs):
        """Return the output's shape and type without running the file."""
        return keras.KerasTensor((inputs.shape[0], *self.output_sizes), "float32")

    def get_config(self):
        """Return the arguments."""
        own = {"kind": self.kind, "size": self.size, "output": self.output_sizes}
        return {**super().get_config(), **own}


def runner(kind, content):
    """Open a model of another library.

    Args:
        kind: one of KINDS.
        content: the bytes of the file.

    Returns:
        (function from inputs (n, ...) to outputs (n, ...), input shape, output shape), shapes
        without the batch axis, None for axes of any size.

    Raises:
        ValueError: if the file cannot be opened, or has not one input and one output of numbers.
    """
    try:
        module = importlib.import_module({"onnx": "onnxruntime", "skops": "skops.io"}[kind])
    except ImportError as error:
        package = {"onnx": "onnxruntime", "skops": "skops"}[kind]
        raise ValueError(f"{package} is not installed: pip install {package}") from error
    return onnx(module, content) if kind == "onnx" else estimator(module, content)


def onnx(onnxruntime, content):
    """Return what `runner` does for an ONNX file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised, too
    try:
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own types
        raise ValueError(f"onnxruntime cannot open it ({str(error).splitlines()[0]})") from error
    entries, outputs = session.get_inputs(), session.get_outputs()
    numbers = [output for output in outputs if output.type in TYPES]
    if len(entries) != 1 or entries[0].type not in TYPES or len(numbers) != 1:
        types = ", ".join(f"{entry.name} {entry.type}" for entry in [*entries, *outputs])
        raise ValueError(
            f"it must have one input and one output of floats, and has {types}. Of scikit-learn's "
            "classifiers: export with zipmap=False"
        )
    (entry,), (output,) = entries, numbers
    batch, *sizes = (size if isinstance(size, int) else None for size in entry.shape)

    def run(x):
        x, parts = np.asarray(x, TYPES[entry.type]), []
        for start in range(0, len(x), batch or len(x)):
            part = x[start : start + (batch or len(x))]
            rest = 0 if batch is None else batch - len(part)
            filled = np.concatenate([part, np.repeat(part[-1:], rest, axis=0)]) if rest else part
            parts.append(session.run([output.name], {entry.name: filled})[0][: len(part)])
        return np.concatenate(parts)

    of_output = [size if isinstance(size, int) else None for size in output.shape[1:]]
    return run, tuple(sizes), tuple(of_output)


def estimator(skops_io, content):
    """Return what `runner` does for a file of skops."""
    try:
        model = skops_io.loads(content)
    except Exception as error:  # a damaged archive, or a type that is not trusted
        why = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"skops does not open it ({why}). Save trees as ONNX") from error
    predict = getattr(model, "predict_proba", None) or getattr(model, "predict", None)
    if predict is None or not hasattr(model, "n_features_in_"):
        raise ValueError(f"it holds {type(model).__name__}, not a fitted classifier or regressor")
    count = model.n_features_in_

    def run(x):
        outputs = np.asarray(predict(np.asarray(x, np.float64).reshape(len(x), count)))
        return outputs[:, None] if outputs.ndim == 1 else outputs

    return run, (count,), run(np.zeros((1, count))).shape[1:]
