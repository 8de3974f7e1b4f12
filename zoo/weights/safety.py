"""A saved model's configuration names classes and functions: only known ones may be looked up.

Keras has its own guard (`safe_mode`), which legacy `.h5` files bypass and which says little. This
one comes before it: whatever is not listed here is refused before Keras sees the file.
"""

import importlib
import sys

import keras

from zoo.weights.inspection import nodes

CLASSES = (
    "layers models initializers regularizers constraints losses metrics optimizers "
    "optimizers.schedules dtype_policies quantizers random"
).split()
FUNCTIONS = "activations initializers regularizers constraints losses metrics ops".split()
TOP = ("DTypePolicy", "Model", "Sequential")  # whose module is "keras" itself
VALUES = (  # what Keras turns into a value, looking nothing up
    "__keras_tensor__ __tensor__ __numpy__ __bytes__ __ellipsis__ __slice__ __tuple__ TensorShape"
).split()
OURS = ("zoo", "ensembles")
CARRIERS = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")


def objection(config):
    """Say why a model's configuration must not be loaded.

    Args:
        config: as parsed from JSON, any nesting of dictionaries and lists.

    Returns:
        A phrase that names the object at fault, or None if there is nothing to object to.
    """
    for node in nodes(config):
        if "class_name" in node and (reason := object_to(node)):
            return reason
    return None


def object_to(node):
    """Say why one named object must not be loaded, or return None."""
    kind, module = node["class_name"], node.get("module")
    inner = node.get("config")
    name = inner if kind == "function" else kind
    if not isinstance(name, str) or not isinstance(module, str | None):
        return "holds an object whose class is no name"
    if name in VALUES and kind != "function":
        return None
    if name in ("__lambda__", *CARRIERS):
        own = f" {inner['name']!r}" if isinstance(inner, dict) and "name" in inner else ""
        return f"holds a {name.strip('_')} layer{own}, which would run code from the file"
    registered = name if kind == "function" else node.get("registered_name") or name
    if not isinstance(registered, str):
        return "holds an object whose registered name is no name"
    if ">" in registered:
        return None if is_ours(registered) else f"needs {registered}, which is not part of the zoo"
    found = public_function(module, name) if kind == "function" else known_class(module, name)
    if found is None:
        return f"needs {f'{module}.' if module else ''}{name}, which is no building block of Keras"
    if isinstance(found, type) and issubclass(found, carriers()):
        return f"holds a {found.__name__} layer, which would run code from the file"
    return None


def is_ours(registered):
    """Tell whether "package>name" is one of our own registered classes."""
    package = registered.split(">")[0]
    if package not in OURS:
        return False
    if package not in sys.modules:
        try:
            importlib.import_module(package)
        except ImportError:
            return False
    return keras.saving.get_registered_object(registered) is not None


def known_class(module, name):
    """Return a class of Keras by its public module or its own, None if there is none.

    Old files name no module: then any public one will do.
    """
    if module is None:
        found = (vars(part).get(name) for part in parts(CLASSES))
        return next((item for item in found if isinstance(item, type)), operation(None, name))
    if module == "keras":
        return getattr(keras, name) if name in TOP else None
    if module.removeprefix("keras.") in CLASSES and module.startswith("keras."):
        found = vars(parts([module.removeprefix("keras.")])[0]).get(name)
        return found if isinstance(found, type) else None
    return operation(module, name) if module.startswith("keras.src.") else None


def operation(module, name):
    """Return a layer, model or operation that Keras keeps below `keras.src`, from what is imported.

    Without a module: that of `Functional`, or the operations on tensors.
    """
    functional = keras.Model.__module__.removesuffix("model") + "functional"
    ops = [name for name in sys.modules if name.startswith("keras.src.ops.")]
    modules = [module] if module else [functional, *ops]
    for found in (vars(sys.modules[m]).get(name) for m in modules if m in sys.modules):
        if isinstance(found, type) and issubclass(found, keras.Operation):
            return found
    return None


def public_function(module, name):
    """Return a function that Keras offers to be named in a configuration, None if there is none."""
    public = module and module.removeprefix("keras.")
    if public in FUNCTIONS and module.startswith("keras."):
        modules = parts([public])
    else:
        modules = parts(FUNCTIONS) if module in (None, "builtins") else []
    found = (vars(part).get(name) for part in modules)
    helpers = ("get", "serialize", "deserialize")
    return next((item for item in found if callable(item) and name not in helpers), None)


def parts(names):
    """Return public modules of Keras."""
    return [importlib.import_module(f"keras.{name}") for name in names]


def carriers():
    """Return the classes of Keras that hold code of others."""
    found = [getattr(keras.layers, name, None) for name in CARRIERS]
    return tuple(item for item in found if item is not None)
