"""The structure of a network: its layers with their settings, and the first difference of two."""

import json
import re

import keras

IGNORED = ("name", "module", "registered_name", "build_config", "seed")  # of settings


def described(model, ignored=IGNORED):
    """Return the class, the name, the settings and the shapes of the weights of every layer.

    Operations between layers have no settings and no weights; they are left out, since there are
    several equivalent ways to write them.

    Args:
        model: a `keras.Model`.
        ignored: names of settings that are left out.
    """
    layers = []
    for layer in model._flatten_layers(include_self=False):
        settings = {} if isinstance(layer, keras.Model) else layer.get_config()
        settings = json.loads(json.dumps(settings, default=str))
        shapes = [list(weight.shape) for weight in layer.weights]
        name = re.sub(r"_[0-9]+$", "", layer.name)  # Keras numbers them through a process
        settings = stripped(settings, ignored)
        layers.append((type(layer), {"name": name, **settings, "weights": shapes}))
    return layers


def stripped(settings, ignored=IGNORED):
    """Return settings without some, by default those that do not affect what a layer computes."""
    if isinstance(settings, dict):
        pairs = settings.items()
        return {key: stripped(value, ignored) for key, value in pairs if key not in ignored}
    return [stripped(v, ignored) for v in settings] if isinstance(settings, list) else settings


def difference(first, second):
    """Return the first difference of two lists of `described` layers, and both values; or None."""
    for i, pair in enumerate(zip(first, second, strict=False)):
        (kind, settings), (other_kind, other_settings) = pair
        what = f"{settings['name']} (layer {i + 1})"
        if not (issubclass(kind, other_kind) or issubclass(other_kind, kind)):
            return f"the class of {what}", kind.__name__, other_kind.__name__
        for difference in differences(settings, other_settings, ""):
            return f"{difference[0][1:]} of {what}", *difference[1:]
    if len(first) != len(second):
        return "the number of layers", len(first), len(second)
    return None


def differences(first, second, path):
    """Yield path and both values of each difference of two nested lists or dictionaries."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [*first, *(key for key in second if key not in first)]:
            yield from differences(first.get(key), second.get(key), f"{path}.{key}")
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for i, pair in enumerate(zip(first, second, strict=True)):
            yield from differences(*pair, f"{path}[{i}]")
    elif first != second:
        yield path, first, second
