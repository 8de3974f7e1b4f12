"""Keras 2's configurations of layers, for Keras 3.

Keras 2 wrote into its `.h5` files arguments that Keras 3 no longer takes, most of them at a value
that means what Keras 3 always does. `keras.saving.load_model` stumbles over them, for instance over
every transposed convolution and every LSTM; `readers` are custom objects that leave them out. They
refuse what Keras 3 would load and compute differently, without a word.
"""

import functools
import inspect

import keras

__all__ = ["readers"]

# Argument that is gone: its value that means what Keras 3 does.
DROPPED = {
    "groups": 1,
    "time_major": False,
    "trainable": True,
    "noise_shape": None,
    "rng_type": "stateful",
}
# Of convolutions that have two kernels, with arguments for each.
MEANINGLESS = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
# What Keras 2 clipped 0.2 x + 0.5 to, and Keras 3 clips x / 6 + 0.5 to.
CHANGED = "hard_sigmoid"


def readers():
    """Return custom objects for `keras.saving.load_model`: {name of a layer: its reader}."""
    return {name: reader(layer) for name, layer in known().items()}


@functools.cache
def known():
    """Return Keras' layers, {name: class}."""
    classes = [value for value in vars(keras.layers).values() if inspect.isclass(value)]
    return {value.__name__: value for value in classes if issubclass(value, keras.Layer)}


def reader(layer):
    """Return a class that makes a layer from a configuration of Keras 2's."""

    def from_config(config):
        return layer.from_config(translated(layer, config))

    return type(layer.__name__, (), {"from_config": staticmethod(from_config)})


def translated(layer, config):
    """Return a configuration without the arguments that a layer no longer takes.

    Raises:
        ValueError: if one of them asks for what Keras 3 cannot do.
    """
    taken, kept = arguments(layer), {}
    for key, value in config.items():
        if key.endswith("activation") and value == CHANGED:
            raise ValueError(f"{layer.__name__} has {key}={value!r}, which is another in Keras 3")
        if key not in taken and key in DROPPED and value != DROPPED[key]:
            raise ValueError(f"{layer.__name__} has {key}={value!r}, which Keras 3 cannot do")
        if key not in taken and (key in DROPPED or key in MEANINGLESS):
            continue
        kept[key] = value
        if isinstance(value, dict) and value.get("class_name") in known():  # a wrapper's layer
            inner = translated(known()[value["class_name"]], value["config"])
            kept[key] = {**value, "config": inner}
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
