"""Output activations of saved models, read from the graph, and models that return logits.

kind = kind_of(model, path)        # "linear", "sigmoid" or "softmax"
model = in_logits(model, path)     # the same weights, without the activation

The graph is traversed backwards from the output, through layers that only pass, move or average
values, and into nested models, to the layer that computes the values.
"""

import dataclasses

import keras
from keras import layers, ops

from zoo.nn.ensemble import Mixture, StepMixture, TwoClasses
from zoo.weights import saving

# Names of Keras layers and of keras.ops operations, some of which are the same.
KEEPING = (  # identity functions in inference
    "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout "
    "GaussianNoise ActivityRegularization Identity Cast StopGradient"
).split()
MOVING = (  # they move or drop values
    "Reshape Flatten RepeatVector Squeeze ExpandDims Permute Cropping1D Cropping2D Cropping3D"
).split()
MIXING = (  # weighted means: weights above 0 that sum to 1
    "Average Resizing UpSampling1D UpSampling2D UpSampling3D AveragePooling1D AveragePooling2D "
    "AveragePooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D"
).split()
CONVEX = ("nearest", "bilinear", "area")  # interpolations that are such weighted means
ACTIVATIONS = {  # layers and operations that are only activations
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "LogSoftmax": "linear",  # logarithms of probabilities are logits
    **dict.fromkeys(["ReLU", "Relu", "LeakyReLU", "LeakyRelu", "Relu6"], "relu"),
    **dict.fromkeys(["ELU", "Elu"], "elu"),
    "Tanh": "tanh",
    "HardSigmoid": "hard_sigmoid",
}
PROBABILITIES = ("sigmoid", "softmax")
SMALLEST = 1e-30  # lower bound of probabilities before the logarithm
NEAREST = 1e-7  # margin by which a single sigmoid is clipped to (0, 1)
OF_LOGITS = (Mixture, StepMixture, TwoClasses)  # they take logits and return logits


@dataclasses.dataclass(frozen=True)
class Values:
    """The kind of values that a tensor holds.

    Attributes:
        kind: "linear", "sigmoid", "softmax", the name of another activation, or "refused".
        layer: the operation that computed the values.
        why: the reason, if kind is "refused".
        direct: whether the layer's activation can be removed: the layer is called once and followed
            by KEEPING and MOVING layers only.
        last: whether no layer follows.
    """

    kind: str
    layer: object = None
    why: str = ""
    direct: bool = False
    last: bool = False


def kind_of(model, path):
    """Return the output activation of a model: "linear", "sigmoid" or "softmax".

    Args:
        model: a functional `keras.Model` with one output.
        path: of its file, for error messages.

    Raises:
        ValueError: if it is another activation, which cannot be inverted to logits.
    """
    return checked(model, path).kind


def in_logits(model, path, multilabel=False):
    """Return a model with the same inputs and weights that returns logits.

    A sigmoid or softmax is removed if its values are the output. If they are averaged or resized
    afterwards, or there are several sigmoids, the logits are the logarithms of the probabilities,
    which a softmax normalizes as scikit-learn's `OneVsRestClassifier` does.

    Args:
        model: a functional `keras.Model` with one output.
        path: of its file, for error messages.
        multilabel: whether the outputs are of labels, with a sigmoid each; these are then inverted
            one by one.

    Raises:
        ValueError: as of `kind_of`, or it ends in a softmax although labels do not exclude another.
    """
    values, output = checked(model, path), model.outputs[0]
    if values.kind == "linear":
        return model
    if multilabel and values.kind == "softmax":
        why = (
            "it ends in a softmax, for one true class, and these are labels, of which several hold"
        )
        raise saving.trouble(path, why, "End it in a linear layer or sigmoids")
    multiple = output.shape[-1] != 1 and not multilabel
    if values.direct and not (multiple and values.kind == "sigmoid"):
        layer = getattr(values.layer, "layer", values.layer)  # the inner layer of a TimeDistributed
        if hasattr(layer, "activation"):
            layer.activation = keras.activations.linear
            return model
        if values.last:
            return keras.Model(model.input, source(output)[0], name=model.name)
    p = output if output.dtype == "float32" else ops.cast(output, "float32")
    if multiple:
        y = ops.log(ops.maximum(p, SMALLEST))
    else:
        p = ops.clip(p, NEAREST, 1 - NEAREST)
        y = ops.log(p) - ops.log(1 - p)
    return keras.Model(model.input, y, name=model.name)


def checked(model, path):
    """Return the `Values` of a model's output; raise a `ValueError` if they are refused."""
    values = trace(model.outputs[0], (), {})
    if values.kind in ("linear", *PROBABILITIES):
        return values
    why = values.why or (
        f"it ends in {values.kind} (layer {values.layer.name}), which cannot be turned into logits"
    )
    remedy = "End it in a linear layer, one sigmoid, or a softmax over the last axis"
    raise saving.trouble(path, why, remedy)


def trace(tensor, calls, known):
    """Return the `Values` of a tensor.

    Args:
        tensor: a `KerasTensor`.
        calls: call nodes of the nested models that contain the tensor, outermost first.
        known: dictionary of results, for memoization.
    """
    key = id(tensor), tuple(map(id, calls))
    if key not in known:
        known[key] = _trace(tensor, calls, known)
    return known[key]


def _trace(tensor, calls, known):
    op, node_index, tensor_index = tensor._keras_history
    node = op._inbound_nodes[node_index]
    if isinstance(op, keras.Model) and getattr(op, "outputs", None):
        values = trace(op.outputs[tensor_index], (*calls, node), known)
        once = len(op._inbound_nodes) == 1
        return dataclasses.replace(values, direct=values.direct and once, last=False)
    if isinstance(op, layers.InputLayer):
        if not calls:
            return Values("linear", op)
        inputs = [entry._keras_history.operation for entry in calls[-1].operation.inputs]
        return trace(calls[-1].input_tensors[inputs.index(op)], calls[:-1], known)
    name, once = type(op).__name__, len(op._inbound_nodes) == 1
    inner = op.layer if isinstance(op, layers.TimeDistributed) else op
    activation = getattr(inner, "activation", None)
    activation = getattr(activation, "__name__", str(activation)) if activation else None
    kind = ACTIVATIONS.get(name) or {"log_softmax": "linear"}.get(activation, activation)
    if kind == "softmax" and tensor.shape[-1] == 1:
        return refused("it ends in a softmax over one output, which is always 1")
    if kind == "softmax" and getattr(op, "axis", -1) not in (-1, len(tensor.shape) - 1):
        return refused(f"its softmax is over axis {op.axis}, not over the last axis")
    if kind and (kind != "linear" or name in ACTIVATIONS):
        return Values(kind, op, direct=once, last=True)
    if getattr(op, "weights", None) or isinstance(op, OF_LOGITS):
        return Values("linear", op)
    inputs = [trace(entry, calls, known) for entry in node.input_tensors]
    if not all(values.kind in ("refused", *PROBABILITIES) for values in inputs) or not inputs:
        return after_other(op, name, inputs)
    return after_probabilities(op, name, tensor, node, inputs)


def after_other(op, name, inputs):
    """Return the `Values` of an operation without weights whose inputs are not all probabilities.

    `inputs` are the `Values` of its input tensors.
    """
    if name in (*KEEPING, *MOVING, "Activation") and inputs:
        return dataclasses.replace(inputs[0], last=False)
    kinds = {values.kind for values in inputs}
    if name in ("Average", "Add", "Maximum", "Minimum", "Concatenate") and len(kinds) > 1:
        if kinds & {*PROBABILITIES, "refused"}:
            return refused(f"{described(op)} combines {' and '.join(sorted(kinds))} outputs")
    return Values("linear", op)


def after_probabilities(op, name, tensor, node, inputs):
    """Return the `Values` of an operation without weights whose inputs are probabilities."""
    first = inputs[0]
    if invalid := next((values for values in inputs if values.kind == "refused"), None):
        return invalid
    shapes = [tuple(entry.shape) for entry in node.input_tensors]
    if name in MOVING and not classes_last(op, name, shapes[0], tuple(tensor.shape)):
        why = f"after its {first.kind} moves the classes from the last axis"
        return refused(f"{described(op)} {why}")
    if name in (*KEEPING, *MOVING, "Activation") or unchanged(op, name):
        return dataclasses.replace(first, last=False)
    if name == "Log" and first.kind == "softmax":
        return Values("linear", op)
    if name in MIXING and convex(op) and len({values.kind for values in inputs}) == 1:
        return Values(first.kind, first.layer)
    why = f"after its {first.kind} returns neither probabilities nor logits"
    return refused(f"{described(op)} {why}")


def refused(why):
    """Return the `Values` of an unsupported output, with the reason."""
    return Values("refused", why=why)


def described(op):
    """Return the type and the name of a layer or operation, for messages."""
    return f"its {type(op).__name__} (layer {op.name})"


def unchanged(op, name):
    """Return whether a layer is a `Rescaling` by 1."""
    return name == "Rescaling" and op.scale == 1 and op.offset == 0


def convex(op):
    """Return whether a resizing layer computes weighted means, without padding."""
    padded = getattr(op, "pad_to_aspect_ratio", False)
    return not padded and getattr(op, "interpolation", "nearest") in CONVEX


def classes_last(op, name, before, after):
    """Return whether an operation keeps the last axis, given the shapes before and after it."""
    if name == "Permute":
        return op.dims[-1] == len(op.dims)
    return before[-1] == after[-1]


def source(tensor):
    """Return the input tensors of the operation that returns a tensor."""
    op, node_index, _ = tensor._keras_history
    return op._inbound_nodes[node_index].input_tensors
