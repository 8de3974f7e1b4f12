"""Endings: what a saved model returns, read from its graph, and the model of its logits.

kind = kind_of(model, path)        # "linear", "sigmoid" or "softmax"
model = in_logits(model, path)     # the same weights, without it

The graph is walked back from the output, through layers that keep values or their places, and into
models inside the model, to the layer that makes the values.
"""

import dataclasses

import keras
from keras import layers, ops

from zoo.nn.ensemble import Mixture, StepMixture, TwoClasses
from zoo.weights import saving

# Names of layers and of operations of keras.ops, which share some.
KEEPING = (  # what they return in prediction are the values that they take
    "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout "
    "GaussianNoise ActivityRegularization Identity Cast StopGradient"
).split()
MOVING = (  # the values stand in other places, or some are left out
    "Reshape Flatten RepeatVector Squeeze ExpandDims Permute Cropping1D Cropping2D Cropping3D"
).split()
MIXING = (  # means of values, with weights above 0 that sum to 1
    "Average Resizing UpSampling1D UpSampling2D UpSampling3D AveragePooling1D AveragePooling2D "
    "AveragePooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D"
).split()
CONVEX = ("nearest", "bilinear", "area")  # interpolations that take such means
ACTIVATIONS = {  # layers and operations that are activations and nothing else
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "LogSoftmax": "linear",  # logarithms of probabilities are logits
    **dict.fromkeys(["ReLU", "Relu", "LeakyReLU", "LeakyRelu", "Relu6"], "relu"),
    **dict.fromkeys(["ELU", "Elu"], "elu"),
    "Tanh": "tanh",
    "HardSigmoid": "hard_sigmoid",
}
PROBABILITIES = ("sigmoid", "softmax")
SMALLEST = 1e-30  # probability whose logarithm is taken for that of 0
NEAREST = 1e-7  # of one sigmoid, to 0 and to 1
OF_LOGITS = (Mixture, StepMixture, TwoClasses)  # they take logits and return logits


@dataclasses.dataclass(frozen=True)
class Values:
    """What a tensor holds.

    Attributes:
        kind: "linear", "sigmoid", "softmax", the name of another activation, or "refused".
        layer: the operation that made the values so.
        why: the reason, if they are refused.
        direct: whether the layer's activation can be left out, as nothing but KEEPING and MOVING
            follows and the layer is called once.
        last: whether nothing follows.
    """

    kind: str
    layer: object = None
    why: str = ""
    direct: bool = False
    last: bool = False


def kind_of(model, path):
    """Return what a model makes of logits: "linear", "sigmoid" or "softmax".

    Args:
        model: a functional `keras.Model` of one output.
        path: of its file, for the message.

    Raises:
        ValueError: if it is anything else, which cannot be turned into logits.
    """
    return checked(model, path).kind


def in_logits(model, path):
    """Return a model from the same inputs to logits, with the same weights.

    A sigmoid or softmax is left out where its values are the output's. Where they are averaged or
    resized before, and of several sigmoids, the logarithm of the probabilities is taken: scikit-
    learn's one against the rest, too, is normalized so.

    Args:
        model: a functional `keras.Model` of one output.
        path: of its file, for the message.

    Raises:
        ValueError: as of `kind_of`.
    """
    values, output = checked(model, path), model.outputs[0]
    if values.kind == "linear":
        return model
    several = output.shape[-1] != 1
    if values.direct and not (several and values.kind == "sigmoid"):
        layer = getattr(values.layer, "layer", values.layer)  # of a TimeDistributed the inner one
        if hasattr(layer, "activation"):
            layer.activation = keras.activations.linear
            return model
        if values.last:
            return keras.Model(model.input, source(output)[0], name=model.name)
    p = output if output.dtype == "float32" else ops.cast(output, "float32")
    if several:
        y = ops.log(ops.maximum(p, SMALLEST))
    else:
        p = ops.clip(p, NEAREST, 1 - NEAREST)
        y = ops.log(p) - ops.log(1 - p)
    return keras.Model(model.input, y, name=model.name)


def checked(model, path):
    """Return the `Values` of a model's output, or raise."""
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
        calls: the nodes at which the models were called that it is inside of, outermost first.
        known: results so far, a dictionary.
    """
    key = id(tensor), tuple(map(id, calls))
    if key not in known:
        known[key] = _trace(tensor, calls, known)
    return known[key]


def _trace(tensor, calls, known):
    op, number, place = tensor._keras_history
    node = op._inbound_nodes[number]
    if isinstance(op, keras.Model) and getattr(op, "outputs", None):
        found = trace(op.outputs[place], (*calls, node), known)
        once = len(op._inbound_nodes) == 1
        return dataclasses.replace(found, direct=found.direct and once, last=False)
    if isinstance(op, layers.InputLayer):
        if not calls:
            return Values("linear", op)
        places = [one._keras_history.operation for one in calls[-1].operation.inputs]
        return trace(calls[-1].input_tensors[places.index(op)], calls[:-1], known)
    name, once = type(op).__name__, len(op._inbound_nodes) == 1
    inner = op.layer if isinstance(op, layers.TimeDistributed) else op
    activation = getattr(inner, "activation", None)
    activation = getattr(activation, "__name__", str(activation)) if activation else None
    kind = ACTIVATIONS.get(name) or {"log_softmax": "linear"}.get(activation, activation)
    if kind == "softmax" and tensor.shape[-1] == 1:
        return refused("it ends in a softmax over one output, which is always 1")
    if kind == "softmax" and getattr(op, "axis", -1) not in (-1, len(tensor.shape) - 1):
        return refused(f"its softmax is over axis {op.axis}, not over the last one")
    if kind and (kind != "linear" or name in ACTIVATIONS):
        return Values(kind, op, direct=once, last=True)
    if getattr(op, "weights", None) or isinstance(op, OF_LOGITS):
        return Values("linear", op)
    before = [trace(one, calls, known) for one in node.input_tensors]
    if not all(one.kind in ("refused", *PROBABILITIES) for one in before) or not before:
        return followed(op, name, before)
    return after_probabilities(op, name, tensor, node, before)


def followed(op, name, before):
    """Return what an operation without weights returns if not all that it takes is probabilities.

    Its `before` are the values that it takes.
    """
    if name in (*KEEPING, *MOVING, "Activation") and before:
        return dataclasses.replace(before[0], last=False)
    kinds = {one.kind for one in before}
    if name in ("Average", "Add", "Maximum", "Minimum", "Concatenate") and len(kinds) > 1:
        if kinds & {*PROBABILITIES, "refused"}:
            return refused(f"{named(op)} brings {' and '.join(sorted(kinds))} outputs together")
    return Values("linear", op)


def after_probabilities(op, name, tensor, node, before):
    """Return what an operation without weights makes of probabilities."""
    first = before[0]
    if stopped := next((one for one in before if one.kind == "refused"), None):
        return stopped
    shapes = [tuple(one.shape) for one in node.input_tensors]
    if name in MOVING and not classes_last(op, name, shapes[0], tuple(tensor.shape)):
        return refused(f"{named(op)} behind its {first.kind} moves the classes from the last axis")
    if name in (*KEEPING, *MOVING, "Activation") or unchanged(op, name):
        return dataclasses.replace(first, last=False)
    if name == "Log" and first.kind == "softmax":
        return Values("linear", op)
    if name in MIXING and convex(op) and len({one.kind for one in before}) == 1:
        return Values(first.kind, first.layer)
    return refused(f"{named(op)} behind its {first.kind} returns no probabilities and no logits")


def refused(why):
    """Return the `Values` of what is no member, with the reason."""
    return Values("refused", why=why)


def named(op):
    """Return the kind and the name of a layer or operation, for messages."""
    return f"its {type(op).__name__} (layer {op.name})"


def unchanged(op, name):
    """Tell whether a layer that scales does so by 1."""
    return name == "Rescaling" and op.scale == 1 and op.offset == 0


def convex(op):
    """Tell whether a layer that resizes takes means of values, and of no padding."""
    padded = getattr(op, "pad_to_aspect_ratio", False)
    return not padded and getattr(op, "interpolation", "nearest") in CONVEX


def classes_last(op, name, before, after):
    """Tell whether the last axis of shapes `before` and `after` an operation is the same one."""
    if name == "Permute":
        return op.dims[-1] == len(op.dims)
    return before[-1] == after[-1]


def source(tensor):
    """Return the tensors that the operation takes which returns a tensor."""
    op, number, _ = tensor._keras_history
    return op._inbound_nodes[number].input_tensors
