"""Configurations of Keras 2, and of `.h5` files, as Keras 3 writes them into `.keras` files.

Keras 2 wrote arguments that Keras 3 no longer takes, most of them at a value that means what Keras
3 always does; it counted the calls of nested models from one; it wrote tensors among the keyword
arguments of a call, policies of mixed precision and arithmetic of TensorFlow's in ways that Keras 3
does not read. `translated` turns all of that into what Keras 3 would have written, and refuses what
Keras 3 would compute differently without a word.
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

# Argument that is gone: its value that means what Keras 3 does.
DROPPED = {
    "groups": 1,
    "time_major": False,
    "trainable": True,
    "noise_shape": None,
    "rng_type": "stateful",
    "softmax_robust_masking": False,
}
# What Keras 3 finds out by itself.
INFERRED = ("query_shape", "key_shape", "value_shape")
# Of convolutions that have two kernels, with arguments for each.
MEANINGLESS = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
# What Keras 2 clipped 0.2 x + 0.5 to, and Keras 3 clips x / 6 + 0.5 to.
CHANGED = "hard_sigmoid"
MODELS = {
    "Functional": keras.Model.__module__.removesuffix("model") + "functional",
    "Model": keras.Model.__module__.removesuffix("model") + "functional",
    "Sequential": "keras",
}
POLICIES = ("Policy", "PolicyV1")  # of mixed precision
# Arithmetic on tensors outside of layers: what does it in Keras 3.
ARITHMETIC = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.multiply": "Multiply",
    "math.subtract": "Subtract",
    "math.truediv": "TrueDivide",
}
CONSTANT = "_CONSTANT_VALUE"  # where the name of a layer would be
EARLIER = "_layer_checkpoint_dependencies"  # what Keras 2.13 and 2.14 call a model's layers
STATEFUL = ("RNN", "SimpleRNN", "GRU", "LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


@functools.cache
def known():
    """Return Keras' layers, {name: class}."""
    classes = [value for value in vars(keras.layers).values() if inspect.isclass(value)]
    return {value.__name__: value for value in classes if issubclass(value, keras.Layer)}


def translated(value, old=True):
    """Return a configuration as Keras 3 writes it.

    Args:
        value: as parsed from JSON: a model's configuration, or any part of it.
        old: whether Keras 2 wrote it; if not, it is of an `.h5` file of Keras 3, which names no
            modules.

    Raises:
        ValueError: if it asks for what Keras 3 cannot do, or does differently.
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
        return value  # of strangers, which `zoo.weights.safety` refuses
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
    """Return the entries that name a class of Keras' own."""
    name = "Functional" if kind == "Model" else kind
    return {"class_name": name, "registered_name": None}


def graph(config, kind, old):
    """Return the configuration of a model whose layers are translated, and how they are linked."""
    if isinstance(config, list):  # of a sequential model of the first Keras 2
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
            if calls and calls[0] and isinstance(calls[0][0], str):  # one call without its list
                calls = [calls]
            node["inbound_nodes"] = [call(entries, node, models) for entries in calls]
        for key in ("input_layers", "output_layers"):
            single = isinstance(config.get(key), list) and len(config[key]) == 1
            config[key] = ends(config[key][0] if single else config.get(key), models)
    return config


def ends(value, models):
    """Return the references to a model's inputs or outputs, a nest, as Keras 3 counts them.

    It counts the calls of functional models as Keras 2 did here, and those of sequential ones not.
    """
    if is_reference(value, models):
        name, number, place = value
        return [name, number - (models[name] == "Sequential"), place]
    if isinstance(value, list):
        return [ends(item, models) for item in value]
    return value


def call(entries, node, models):
    """Return what a layer is called with, as Keras 3 writes it.

    Args:
        entries: a list of [name of a layer, number of its call, place among its outputs, keyword
            arguments]; or a dictionary, if Keras 3 wrote it.
        node: the layer.
        models: {name of a layer: its class} of the model.
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
    """Return a keyword argument of a call, a nest, in which tensors are written as Keras 3 does."""
    if is_reference(value, models):
        return tensor(*value, models)
    if isinstance(value, list):
        return [linked(item, models) for item in value]
    if isinstance(value, dict):
        return {key: linked(item, models) for key, item in value.items()}
    return value


def is_reference(value, models):
    """Tell whether a value stands for an output of a layer."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and value[0] in models
        and all(isinstance(number, int) for number in value[1:])
    )


def tensor(name, number, place, models):
    """Return an output of a layer as Keras 3 writes it; it finds out shape and type itself.

    Keras 2 counted as the first call of a nested model the one that it had made itself.
    """
    own = number - (models.get(name) in MODELS)
    config = {"shape": [], "dtype": "float32", "keras_history": [name, own, place]}
    return {"class_name": "__keras_tensor__", "config": config}


def arguments_of(layer, config):
    """Return a configuration of Keras 2 without the arguments that a layer no longer takes.

    Args:
        layer: the class.
        config: its configuration; layers inside it are translated already.

    Raises:
        ValueError: if one of them asks for what Keras 3 cannot do.
    """
    taken, kept = arguments(layer), {}
    for key, value in config.items():
        if key.endswith("activation") and value == CHANGED:
            raise ValueError(f"{layer.__name__} has {key}={value!r}, which is another in Keras 3")
        if key == "batch_input_shape":
            if layer is keras.layers.InputLayer:
                kept["batch_shape"] = value
            continue
        if key not in taken and key in DROPPED and value != DROPPED[key]:
            raise ValueError(f"{layer.__name__} has {key}={value!r}, which Keras 3 cannot do")
        if key not in taken and key in (*DROPPED, *MEANINGLESS, *INFERRED):
            continue
        if key == "axis" and isinstance(value, list) and len(value) == 1:
            value = value[0]
        kept[key] = value
    return kept


def arguments(layer):
    """Return the names of the arguments that a layer takes, itself or by its base classes."""
    taken = set()
    for base in layer.__mro__:
        if base is keras.Layer:
            return taken | {"activity_regularizer", "dtype", "name", "trainable"}
        parameters = inspect.signature(base.__init__).parameters
        taken |= parameters.keys()
        if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
            return taken
    return taken


def load_weights(model, path):
    """Load the weights of a `.keras` or HDF5 file into a model of its translated configuration.

    Keras tells by the end of the name what is in a file, and takes `best.weights.h5`, as callbacks
    call whole models too, for weights alone; so it is given another name.
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
    """Give the layers in an HDF5 group the names that Keras since 2.15 gives them.

    Keras 2.13 and 2.14 walked over layers with weights twice, and so counted by twos within a
    class: conv2d, conv2d_2, conv2d_4 are the first three convolutions.
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
