"""Saved models: one file that holds everything, written whole or not at all, read without trust.

A `.keras` file is Keras' own zip archive. What a person must know to use the model (task, classes,
options of the data) is kept in its `metadata.json`, where Keras notes its version and reads
nothing; a member more would make Keras unpack the whole archive to disk.
"""

import concurrent.futures
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
from zoo.weights import inspection, legacy, safety
from zoo.weights.inspection import METADATA, RECORD, record, sha256
from zoo.weights.records import trouble

__all__ = ["load", "record", "save", "sha256", "trouble"]

# What files may hold of ours, besides the models' own classes.
REGISTER = (
    "zoo.inference.preprocessing",
    "zoo.nn.ensemble",
    "zoo.nn.layers",
    "zoo.nn.losses",
    "zoo.nn.metrics",
    "zoo.nn.recurrence",
    "zoo.tasks.boxes.nms",
    "zoo.tasks.forecasting.differencing",
)


def save(model, path, record):
    """Write a model, without the state of its optimizer, and its record into one `.keras` file.

    The same weights give the same bytes. A crash leaves the file that was there before.

    Args:
        model: a `keras.Model`, compiled or not; it is left as it is.
        path: where; the ending is `.keras`.
        record: dictionary of what JSON can hold: "model", "arguments" and "options" (of the
            builder), "task", "task_options", "info" ...
    """
    path = pathlib.Path(path)
    metadata = {"keras_version": keras.__version__, RECORD: record}
    plain = path.with_name(f".{path.stem}.plain.keras")
    compiled, optimizer = model.compiled, vars(model).pop("optimizer", None)
    model.compiled = False
    try:
        with disk.whole(path) as whole:
            model.save(plain)
            with zipfile.ZipFile(plain) as source, zipfile.ZipFile(whole, "w") as target:
                target.writestr(zipfile.ZipInfo(METADATA), json.dumps(metadata, indent=1))
                for name in sorted(set(source.namelist()) - {METADATA}):
                    with source.open(name) as old, target.open(zipfile.ZipInfo(name), "w") as new:
                        shutil.copyfileobj(old, new)
            count = sum(math.prod(weight.shape) for weight in model.weights)
            inspection.remember(whole, count)
    finally:
        plain.unlink(missing_ok=True)
        model.compiled = compiled
        if optimizer is not None:
            vars(model)["optimizer"] = optimizer


def load(path):
    """Load a model from a `.keras`, `.h5` or `.hdf5` file, running no code from it.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: if the file is missing, damaged, or holds anything but building blocks of Keras
            and of the zoo; the message names the file, the reason and the remedy.
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
    except Exception as error:  # of what Keras 3 lacks, or whatever a damaged file makes of it
        raise trouble(path, sentence(error), "Save it with Keras 3, as .keras") from error
    if reason := safety.objection(config):
        raise trouble(
            path, f"{reason}: refused", "Rebuild the model from its source and load its weights"
        )
    try:
        count = contents.numbers if contents.known else parameters(config)
        if count > 2 * contents.numbers + inspection.SLACK:
            raise Oversized(f"it asks for {count:,} weights and stores {contents.numbers:,}")
        if old or hdf5:
            model = made(config)
            legacy.load_weights(model, path)
        else:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Oversized as error:
        raise trouble(path, f"{error}: refused", "Save the model again") from error
    except Exception as error:  # whatever a damaged file makes of Keras
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
    """Raised for a model that would be far larger than the weights stored for it."""


def sentence(error):
    """Return the line of Keras' message that says what is wrong, without colours."""
    lines = terminal.plain(str(error).rpartition("Exception encountered: ")[2]).splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    reasons = [line for line in lines if not line.startswith("Exception encountered when calling")]
    return (reasons or lines or [type(error).__name__])[0][:300]


def made(config):
    """Return the model of a configuration, which Keras takes apart while it reads it."""
    return keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)


def uncompiled(value):
    """Return a nest of dictionaries and lists without the entries that compile models."""
    if isinstance(value, dict):
        pairs = value.items()
        return {key: uncompiled(inner) for key, inner in pairs if key != "compile_config"}
    return [uncompiled(inner) for inner in value] if isinstance(value, list) else value


def parameters(config):
    """Return how many numbers the weights of a configuration's model are, making none of them.

    It is built in a thread of its own, where what Keras notes of models that are not initialized
    ends with the thread. Optimizers of models inside are left out: they would make variables.
    """

    def count():
        with keras.StatelessScope(initialize_variables=False):
            model = made(uncompiled(config))
            return sum(math.prod(weight.shape) for weight in model.weights)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(count).result()
