"""Members of other libraries: ONNX files, and scikit-learn estimators saved by skops.

They take the inputs of the task as its networks do, preprocessed; a model of rows (n, F) gets them
flattened, one with channels first gets them transposed. They return probabilities or logits of the
classes in the task's order, or standardized values.
"""

import keras
import numpy as np
from keras import layers, ops

from ensembles.members import graph
from zoo.nn import foreign
from zoo.weights import saving

PICKLES = (".joblib", ".pkl", ".pickle", ".sav")
DRAWN = 16  # inputs that decide whether outputs are probabilities
NEAR = 1e-3  # to which they sum to 1
SIDE = 32  # of their axes of any size


def matches(path):
    """Return whether a file is of another library; raise a `ValueError` for pickles."""
    if path.suffix.lower() in PICKLES:
        why = "a pickle runs any code that it holds when it is opened: rejected"
        remedy = "Save the estimator by skops.io.dump(estimator, 'model.skops'), or as ONNX"
        raise saving.trouble(path, why, remedy)
    return path.suffix.lower().removeprefix(".") in foreign.KINDS


def load(path, like=None, values=False):
    """Load a member as a Keras model that runs the file eagerly.

    Args:
        path: of an .onnx or .skops file.
        like: input shape (..., C) of the ensemble's other members, or None.
        values: whether outputs are values, not of classes.

    Returns:
        A `keras.Model` from inputs (B, ...) to logits or values (B, ..., K).

    Raises:
        ValueError: if the file cannot be opened, or takes other inputs; the message names it.
    """
    kind, content = path.suffix.lower().removeprefix("."), path.read_bytes()
    try:
        _, sizes, output = foreign.runner(kind, content)
        shape = sizes if like is None else tuple(like)
        entry = x = keras.Input(shape, name="input")
        x, channels_first = fitted(x, shape, sizes)
    except ValueError as error:
        raise saving.trouble(path, str(error), "Give a model with the task's inputs") from error
    layer = foreign.Foreign(kind, len(content), output, dtype="float32", name="foreign")
    y = layer(x)
    layer.file.assign(np.frombuffer(content, np.uint8))
    if channels_first and len(output) > 1:
        y = layers.Permute((*range(2, len(output) + 1), 1), name="channels_last")(y)
    model = keras.Model(entry, y, name=path.stem.replace("/", "_"))
    return model if values else in_logits(model, path)


def in_logits(model, path):
    """Return a model whose outputs for random inputs, if probabilities, are turned into logits."""
    shape = [size or SIDE for size in model.input_shape[1:]]
    x = np.random.default_rng(0).normal(size=(DRAWN, *shape)).astype(np.float32)
    try:
        outputs = ops.convert_to_numpy(model(x))
    except Exception as error:  # of the other library
        why = f"it fails for inputs {x.shape} ({str(error).splitlines()[0]})"
        raise saving.trouble(path, why, "Give a model with the task's inputs") from error
    if outputs.min() < 0 or outputs.max() > 1 + NEAR:
        return model
    if outputs.shape[-1] > 1 and np.allclose(outputs.sum(axis=-1), 1, atol=NEAR):
        y = ops.log(ops.maximum(model.output, graph.SMALLEST))
    else:
        p = ops.clip(model.output, graph.NEAREST, 1 - graph.NEAREST)
        y = ops.log(p) - ops.log(1 - p)
    return keras.Model(model.input, y, name=model.name)


def fitted(x, shape, sizes):
    """Return inputs of a shape as a file takes them, and whether it has channels first.

    Args:
        x: a tensor (B, ...).
        shape: (..., C), of the inputs.
        sizes: those that the file takes, None for axes of any size.
    """

    def same(given):
        pairs = zip(given, sizes, strict=False)
        return len(given) == len(sizes) and all(b in (None, a) or a is None for a, b in pairs)

    if same(shape):
        return x, False
    if len(shape) > 1 and same((shape[-1], *shape[:-1])):
        return layers.Permute((len(shape), *range(1, len(shape))), name="channels_first")(x), True
    if len(sizes) == 1 and None not in shape and sizes[0] in (None, int(np.prod(shape))):
        return layers.Flatten(name="flat")(x), False
    raise ValueError(f"it takes inputs of shape {sizes}, and the ensemble's are {shape}")
