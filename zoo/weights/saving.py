"""Saved models: one file with everything, written atomically, checked before it is loaded.

A `.keras` file is Keras' zip archive. The record that is needed to use the model (task, classes,
options of the data) is in its `metadata.json`, which Keras writes but does not read; with an
additional member, Keras would extract the whole archive to disk.
"""

import copy
import importlib
import json
import math
import pathlib
import shutil
import zipfile

import keras

from zoo import registry
from zoo.nn import ensemble, recurrence
from zoo.system import disk, terminal
from zoo.weights import initial, inspection, legacy, safety
from zoo.weights.inspection import METADATA, RECORD, record, sha256
from zoo.weights.records import trouble

__all__ = ["load", "record", "save", "sha256", "trouble"]

# Modules with registered classes of ours, besides the model files.
REGISTER = (
    "zoo.inference.preprocessing",
    "zoo.nn.auxiliary",
    "zoo.nn.ensemble",
    "zoo.nn.foreign",
    "zoo.nn.isotonic",
    "zoo.nn.layers",
    "zoo.nn.losses",
    "zoo.nn.metrics",
    "zoo.nn.recurrence",
    "zoo.tasks.boxes.nms",
    "zoo.tasks.forecasting.differencing",
)


def save(model, path, record):
    """Write a model, without its optimizer state, and its record into one `.keras` file.

    The same weights give the same bytes. After a crash the previous file is unchanged.

    Args:
        model: a `keras.Model`, compiled or not; it is not changed.
        path: path of the file, with the extension `.keras`.
        record: JSON-serializable dictionary: "model", "arguments" and "options" (of the builder),
            "task", "task_options", "info" ...
    """
    path = pathlib.Path(path)
    metadata = {"keras_version": keras.__version__, RECORD: record}
    plain = path.with_name(f".{path.stem}.plain.keras")
    compiled, optimizer = model.compiled, vars(model).pop("optimizer", None)
    model.compiled = False
    try:
        with disk.whole(path) as temporary:
            model.save(plain)
            with zipfile.ZipFile(plain) as source, zipfile.ZipFile(temporary, "w") as target:
                target.writestr(zipfile.ZipInfo(METADATA), json.dumps(metadata, indent=1))
                for name in sorted(set(source.namelist()) - {METADATA}):
                    with source.open(name) as old, target.open(zipfile.ZipInfo(name), "w") as new:
                        shutil.copyfileobj(old, new)
            count = sum(math.prod(weight.shape) for weight in model.weights)
            inspection.remember(temporary, count)
    finally:
        plain.unlink(missing_ok=True)
        model.compiled = compiled
        if optimizer is not None:
            vars(model)["optimizer"] = optimizer


def load(path):
    """Load a model from a `.keras`, `.h5` or `.hdf5` file without running code from it.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: if the file is missing, damaged, or uses classes other than those of Keras and
            the zoo; the message has the file, the reason and the remedy.
    """
    path = pathlib.Path(path)
    registry.import_models()
    for module in REGISTER:
        importlib.import_module(module)
    contents = inspection.inspect(path)
    config, hdf5 = contents.config, path.suffix.lower() in inspection.HDF5
    old = bool(contents.version) and contents.version < "3"
    try:
        if old or hdf5:
            config = legacy.translated(config, old)
    except Exception as error:  # unsupported by Keras 3, or damaged
        raise trouble(path, sentence(error), "Save it with Keras 3, as .keras") from error
    if reason := safety.objection(config):
        raise trouble(
            path, f"{reason}: rejected", "Rebuild the model from its source and load its weights"
        )
    try:
        count = contents.numbers if contents.known else parameters(config)
        if count > 2 * contents.numbers + inspection.SLACK:
            raise Oversized(f"it has {count:,} weights but stores only {contents.numbers:,}")
        with initial.zeros():
            if old or hdf5:
                model = build(config)
                legacy.load_weights(model, path)
            else:
                model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Oversized as error:
        raise trouble(path, f"{error}: rejected", "Save the model again") from error
    except Exception as error:  # a damaged file can raise anything
        remedy = "Save it as .keras" if hdf5 else "Save it again"
        why = f"Keras {keras.__version__} cannot load it ({sentence(error)})"
        raise trouble(path, why, remedy) from error
    if not recurrence.keeps_masks(contents.version):
        for layer in recurrence.recurrent_layers(model):
            layer.supports_masking = True
    if isinstance(model, ensemble.Joined):
        try:
            model.verify()
        except ValueError as error:
            raise trouble(path, str(error), "Combine its members again") from error
    return model


class Oversized(Exception):
    """Raised for a model that is far larger than its stored weights."""


def sentence(error):
    """Return the line of Keras' message with the reason, without colours."""
    lines = terminal.plain(str(error).rpartition("Exception encountered: ")[2]).splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    reasons = [line for line in lines if not line.startswith("Exception encountered when calling")]
    return (reasons or lines or [type(error).__name__])[0][:300]


def build(config):
    """Build the model of a configuration; Keras modifies its copy."""
    return keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)


def weights_only(value):
    """Return a configuration without what creates other variables: optimizers, kept states."""
    if isinstance(value, dict):
        pairs = {**value, "stateful": False} if "stateful" in value else value
        return {k: weights_only(inner) for k, inner in pairs.items() if k != "compile_config"}
    return [weights_only(inner) for inner in value] if isinstance(value, list) else value


def parameters(config):
    """Return the number of weights of a configuration's model without allocating them.

    Optimizers of inner models are removed, and recurrent layers keep no state: these would create
    variables.
    """

    def count():
        model = build(weights_only(config))
        return sum(math.prod(weight.shape) for weight in model.weights)

    return initial.without_weights(count)
