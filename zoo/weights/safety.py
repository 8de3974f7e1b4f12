"""Allow only known classes and functions in the configuration of a saved model.

Keras has its own check (`safe_mode`), which does not apply to legacy `.h5` files and whose messages
are short. This check runs before: everything that is not listed here is rejected before Keras loads
the file.
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
TOP = ("DTypePolicy", "Model", "Sequential")  # classes of the module "keras" itself
VALUES = (  # deserialized to values without looking up a class
    "__keras_tensor__ __tensor__ __numpy__ __bytes__ __ellipsis__ __slice__ __tuple__ TensorShape"
).split()
OURS = ("zoo", "ensembles")
CARRIERS = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")


def objection(config):
    """Return why a model's configuration must not be loaded.

    Args:
        config: nested dictionaries and lists, as parsed from JSON.

    Returns:
        A phrase that names the rejected object, or None if there is none.
    """
    for node in nodes(config):
        if "class_name" in node and (reason := object_to(node)):
            return reason
    return None


def object_to(node):
    """Return why a named object must not be loaded, or None."""
    kind, module = node["class_name"], node.get("module")
    inner = node.get("config")
    name = inner if kind == "function" else kind
    if not isinstance(name, str) or not isinstance(module, str | None):
        return "holds an object whose class name is not a string"
    if name in VALUES and kind != "function":
        return None
    if name in ("__lambda__", *CARRIERS):
        title = f" {inner['name']!r}" if isinstance(inner, dict) and "name" in inner else ""
        return f"holds a {name.strip('_')} layer{title}, which would run code from the file"
    registered = name if kind == "function" else node.get("registered_name") or name
    if not isinstance(registered, str):
        return "holds an object whose registered name is not a string"
    if ">" in registered:
        return None if is_ours(registered) else f"needs {registered}, which is not part of the zoo"
    item = public_function(module, name) if kind == "function" else known_class(module, name)
    if item is None:
        return f"needs {f'{module}.' if module else ''}{name}, which is no building block of Keras"
    if isinstance(item, type) and issubclass(item, carriers()):
        return f"holds a {item.__name__} layer, which would run code from the file"
    return None


def is_ours(registered):
    """Return whether "package>name" is one of our registered classes."""
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
    """Return a class of Keras by its public or defining module, None if there is none.

    Old files do not name modules; then all public modules are searched.
    """
    if module is None:
        items = (vars(part).get(name) for part in parts(CLASSES))
        return next((item for item in items if isinstance(item, type)), operation(None, name))
    if module == "keras":
        return getattr(keras, name) if name in TOP else None
    if module.removeprefix("keras.") in CLASSES and module.startswith("keras."):
        item = vars(parts([module.removeprefix("keras.")])[0]).get(name)
        return item if isinstance(item, type) else None
    return operation(module, name) if module.startswith("keras.src.") else None


def operation(module, name):
    """Return a layer, model or operation of an imported module below `keras.src`.

    Without a module, search that of `Functional` and those of the operations on tensors.
    """
    functional = keras.Model.__module__.removesuffix("model") + "functional"
    ops = [name for name in sys.modules if name.startswith("keras.src.ops.")]
    modules = [module] if module else [functional, *ops]
    for item in (vars(sys.modules[m]).get(name) for m in modules if m in sys.modules):
        if isinstance(item, type) and issubclass(item, keras.Operation):
            return item
    return None


def public_function(module, name):
    """Return a public function of Keras for use in a configuration, None if there is none."""
    public = module and module.removeprefix("keras.")
    if public in FUNCTIONS and module.startswith("keras."):
        modules = parts([public])
    else:
        modules = parts(FUNCTIONS) if module in (None, "builtins") else []
    items = (vars(part).get(name) for part in modules)
    helpers = ("get", "serialize", "deserialize")
    return next((item for item in items if callable(item) and name not in helpers), None)


def parts(names):
    """Return public modules of Keras."""
    return [importlib.import_module(f"keras.{name}") for name in names]


def carriers():
    """Return the classes of Keras that contain arbitrary code."""
    classes = [getattr(keras.layers, name, None) for name in CARRIERS]
    return tuple(item for item in classes if item is not None)
