"""Convert configurations of Keras 2, and of `.h5` files, to the format of Keras 3.

Keras 2 wrote arguments that Keras 3 no longer takes, most of them with the value that corresponds
to the behaviour of Keras 3; it counted the calls of nested models from one; and it wrote tensors in
keyword arguments of a call, mixed precision policies and TensorFlow arithmetic in formats that
Keras 3 does not read. `translated` converts all of these, and rejects configurations that Keras 3
would silently compute differently.
"""

import functools
import inspect
import pathlib
import re
import tempfile
import zipfile

import h5py
import keras

from zoo.weights.inspection import WEIGHTS

__all__ = ["load_weights", "translated"]

# Removed argument: the value that corresponds to the behaviour of Keras 3.
DROPPED = {
    "groups": 1,
    "time_major": False,
    "trainable": True,
    "noise_shape": None,
    "rng_type": "stateful",
    "softmax_robust_masking": False,
}
# Arguments that Keras 3 infers.
INFERRED = ("query_shape", "key_shape", "value_shape")
# Arguments without effect, of convolutions that have two kernels with arguments for each.
MEANINGLESS = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
# Computed from 0.2 x + 0.5 in Keras 2 and from x / 6 + 0.5 in Keras 3.
CHANGED = "hard_sigmoid"
MODELS = {
    "Functional": keras.Model.__module__.removesuffix("model") + "functional",
    "Model": keras.Model.__module__.removesuffix("model") + "functional",
    "Sequential": "keras",
}
POLICIES = ("Policy", "PolicyV1")  # of mixed precision
# TensorFlow arithmetic on tensors outside of layers: its Keras 3 operation.
ARITHMETIC = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.multiply": "Multiply",
    "math.subtract": "Subtract",
    "math.truediv": "TrueDivide",
}
CONSTANT = "_CONSTANT_VALUE"  # instead of the name of a layer
EARLIER = "_layer_checkpoint_dependencies"  # group of layers in Keras 2.13 and 2.14
STATEFUL = ("RNN", "SimpleRNN", "GRU", "LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


@functools.cache
def known():
    """Return the layers of Keras, {name: class}."""
    classes = [value for value in vars(keras.layers).values() if inspect.isclass(value)]
    return {value.__name__: value for value in classes if issubclass(value, keras.Layer)}


def translated(value, old=True):
    """Return a configuration in the format of Keras 3.

    Args:
        value: configuration of a model, or any part of it, as parsed from JSON.
        old: whether Keras 2 wrote it; if not, it is from an `.h5` file of Keras 3, which does not
            name modules.

    Raises:
        ValueError: if Keras 3 does not support it, or computes it differently.
    """
    if isinstance(value, list):
        return [translated(item, old) for item in value]
    if not isinstance(value, dict):
        return value
    kind, inner = value.get("class_name"), value.get("config")
    if not isinstance(kind, str) or not isinstance(inner, dict | list):
        return {key: translated(item, old) for key, item in value.items()}
    if kind in POLICIES and isinstance(inner, dict) and "name" in inner:
        return inner["name"]
    if not str(value.get("module") or "keras").startswith(("keras", "tf_keras")):
        return value  # third-party code, which `zoo.weights.safety` rejects
    if kind in MODELS:
        return {**value, "module": MODELS[kind], **named(kind), "config": graph(inner, kind, old)}
    if kind == "TFOpLambda" and inner.get("function") in ARITHMETIC:
        module, inner = "keras.src.ops.numpy", {"name": inner.get("name")}
        calls = value.get("inbound_nodes", [])
        kind = named(ARITHMETIC[value["config"]["function"]])
        return {**kind, "module": module, "config": inner, **inner, "inbound_nodes": calls}
    if kind not in known():
        return {**value, "config": translated(inner, old)}
    inner = translated(inner, old)
    if old:
        inner = arguments_of(known()[kind], inner)
        value = {key: item for key, item in value.items() if key != "build_config"}
    return {"module": "keras.layers", "registered_name": None, **value, "config": inner}


def named(kind):
    """Return the entries that name a class of Keras."""
    name = "Functional" if kind == "Model" else kind
    return {"class_name": name, "registered_name": None}


def graph(config, kind, old):
    """Return the configuration of a model with its layers and connections converted."""
    if isinstance(config, list):  # a sequential model of early Keras 2
        config = {"layers": config}
    nodes = config.get("layers")
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        return config
    config = {**config, "layers": translated(nodes, old)}
    if kind == "Sequential":
        first = nodes[0] if nodes else {}
        shape = (first.get("config") or {}).get("batch_input_shape")
        if shape and first.get("class_name") != "InputLayer":
            entry = {"class_name": "InputLayer", "config": {"batch_input_shape": shape}}
            config["layers"].insert(0, translated(entry, old))
    elif old:
        models = {node.get("name"): node.get("class_name") for node in nodes}
        for node in config["layers"]:
            calls = node.get("inbound_nodes") or []
            if calls and calls[0] and isinstance(calls[0][0], str):  # a call outside a list
                calls = [calls]
            node["inbound_nodes"] = [call(entries, node, models) for entries in calls]
        for key in ("input_layers", "output_layers"):
            single = isinstance(config.get(key), list) and len(config[key]) == 1
            config[key] = ends(config[key][0] if single else config.get(key), models)
    return config


def ends(value, models):
    """Return the nested references to a model's inputs or outputs with the indices of Keras 3.

    They are those of Keras 2 for functional models, and one lower for sequential models.
    """
    if is_reference(value, models):
        name, number, place = value
        return [name, number - (models[name] == "Sequential"), place]
    if isinstance(value, list):
        return [ends(item, models) for item in value]
    return value


def call(entries, node, models):
    """Return the arguments of a layer call in the format of Keras 3.

    Args:
        entries: a list of [layer name, node index, tensor index, keyword arguments]; or a
            dictionary, if Keras 3 wrote it.
        node: configuration of the layer.
        models: {layer name: class name} of the model.
    """
    if not isinstance(entries, list):
        return entries
    inputs, keywords = [], {}
    for name, number, place, *rest in entries:
        inputs.append(place if name == CONSTANT else tensor(name, number, place, models))
        keywords = rest[0] if rest else keywords
    keywords = {key: linked(item, models) for key, item in keywords.items() if item is not None}
    arguments = inputs if len(inputs) == 1 else [inputs]
    if node["class_name"] in STATEFUL and len(inputs) > 1:
        arguments, keywords["initial_state"] = inputs[:1], inputs[1:]
    if node["class_name"] in ARITHMETIC.values() and node["module"] not in ("keras.layers",):
        arguments = [*inputs, keywords["y"]]
        keywords = {}
    return {"args": arguments, "kwargs": keywords}


def linked(value, models):
    """Return a nested keyword argument of a call, with tensors in the format of Keras 3."""
    if is_reference(value, models):
        return tensor(*value, models)
    if isinstance(value, list):
        return [linked(item, models) for item in value]
    if isinstance(value, dict):
        return {key: linked(item, models) for key, item in value.items()}
    return value


def is_reference(value, models):
    """Return whether a value is a reference to an output of a layer."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and value[0] in models
        and all(isinstance(number, int) for number in value[1:])
    )


def tensor(name, number, place, models):
    """Return an output of a layer in the format of Keras 3, which infers its shape and dtype.

    Keras 2 counted the call at the construction of a nested model as its first call.
    """
    index = number - (models.get(name) in MODELS)
    config = {"shape": [], "dtype": "float32", "keras_history": [name, index, place]}
    return {"class_name": "__keras_tensor__", "config": config}


def arguments_of(layer, config):
    """Return a configuration of Keras 2 without the arguments that a layer no longer has.

    Args:
        layer: class of the layer.
        config: its configuration, with inner layers already converted.

    Raises:
        ValueError: if Keras 3 does not support one of them.
    """
    accepted, result = arguments(layer), {}
    for key, value in config.items():
        if key.endswith("activation") and value == CHANGED:
            raise ValueError(f"{layer.__name__} has {key}={value!r}, which differs in Keras 3")
        if key == "batch_input_shape":
            if layer is keras.layers.InputLayer:
                result["batch_shape"] = value
            continue
        if key not in accepted and key in DROPPED and value != DROPPED[key]:
            raise ValueError(f"{layer.__name__} has {key}={value!r}, not supported by Keras 3")
        if key not in accepted and key in (*DROPPED, *MEANINGLESS, *INFERRED):
            continue
        if key == "axis" and isinstance(value, list) and len(value) == 1:
            value = value[0]
        result[key] = value
    return result


def arguments(layer):
    """Return the names of the arguments of a layer, including those of its base classes."""
    accepted = set()
    for base in layer.__mro__:
        if base is keras.Layer:
            return accepted | {"activity_regularizer", "dtype", "name", "trainable"}
        parameters = inspect.signature(base.__init__).parameters
        accepted |= parameters.keys()
        if not any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
            return accepted
    return accepted


def load_weights(model, path):
    """Load the weights of a `.keras` or HDF5 file into a model of its converted configuration.

    Keras infers the contents from the file name, and reads `best.weights.h5` as weights only,
    although callbacks save whole models under such names; so a link with another name is loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".keras":
            file = pathlib.Path(folder, WEIGHTS[0])
            with zipfile.ZipFile(path) as archive:
                archive.extract(WEIGHTS[0], folder)
            with h5py.File(file, "a") as group:
                renumber(group)
        else:
            file = pathlib.Path(folder, "model.h5")
            file.symlink_to(path.resolve())
        model.load_weights(file)


def renumber(group):
    """Rename the layers in an HDF5 group as in Keras 2.15 and later.

    Keras 2.13 and 2.14 visited layers with weights twice, so their numbers increase by two within
    a class: conv2d, conv2d_2, conv2d_4 are the first three convolutions.
    """
    for item in list(group.values()):
        if isinstance(item, h5py.Group):
            renumber(item)
    if EARLIER not in group:
        return
    kinds = {}
    for name in group[EARLIER]:
        kind, number = re.fullmatch(r"(.+?)(?:_(\d+))?", name).groups()
        kinds.setdefault(kind, []).append((int(number or 0), name))
    for kind, names in kinds.items():
        for i, (_, name) in enumerate(sorted(names)):
            group.move(f"{EARLIER}/{name}", f"layers/{kind}_{i}" if i else f"layers/{kind}")
