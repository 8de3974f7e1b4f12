"""Saved models: one file that holds everything, written whole or not at all, read without trust.

A `.keras` file is Keras' own zip archive. What a person must know to use the model (task, classes,
options of the data) is kept in its `metadata.json`, where Keras notes its version and reads
nothing; a member more would make Keras unpack the whole archive to disk.
"""

import importlib
import json
import pathlib
import shutil
import zipfile

import keras

from zoo import disk, index, joined, legacy, safety
from zoo.presets import sha256

__all__ = ["load", "record", "save", "sha256"]

# What files may hold of ours, besides the models' own classes.
REGISTER = ("differencing", "joined", "layers", "losses", "metrics", "recurrence", "suppression")
RECORD = "zoo"  # key in metadata.json
CONFIG, METADATA = "config.json", "metadata.json"
WEIGHTS = ("model.weights.h5", "model.weights.npz")
HDF5 = (".h5", ".hdf5")
SLACK = 1 << 20  # bytes; zeros compress well, so small members may


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
    finally:
        plain.unlink(missing_ok=True)
        model.compiled = compiled
        if optimizer is not None:
            vars(model)["optimizer"] = optimizer


def record(path):
    """Return the record that `save` put into a file; {} if it has none."""
    path = pathlib.Path(path)
    if path.suffix.lower() in HDF5:
        return {}
    with archive(path) as members:
        if METADATA not in members.namelist():
            return {}
        found = parse(path, members.read(METADATA)).get(RECORD, {})
    return found if isinstance(found, dict) else {}


def load(path):
    """Load a model from a `.keras`, `.h5` or `.hdf5` file, running no code from it.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: if the file is missing, damaged, or holds anything but building blocks of Keras
            and of the zoo; the message names the file, the reason and the remedy.
    """
    path = pathlib.Path(path)
    for module in (*index.folders(), *REGISTER):
        importlib.import_module(f"zoo.{module}")
    config = configuration(path)
    if reason := safety.objection(config):
        raise trouble(
            path, f"{reason}: refused", "Rebuild the model from its source and load its weights"
        )
    objects = legacy.readers() if path.suffix.lower() in HDF5 and of_keras_2(path) else None
    try:
        model = keras.saving.load_model(path, objects, compile=False, safe_mode=True)
    except Exception as error:  # whatever a damaged file makes of Keras
        reason = str(error).strip().rpartition("Exception encountered: ")[2]
        first = (reason or type(error).__name__).splitlines()[0]
        remedy = "Save it as .keras" if path.suffix.lower() in HDF5 else "Save it again"
        why = f"Keras {keras.__version__} cannot load it ({first[:300]})"
        raise trouble(path, why, remedy) from error
    if isinstance(model, joined.Joined):
        try:
            model.verify()
        except ValueError as error:
            raise trouble(path, str(error), "Combine its members again") from error
    return model


def configuration(path):
    """Return the configuration of a saved model, as parsed from JSON, after checking the file."""
    if not path.is_file():
        raise trouble(path, "there is no such file", "Check the spelling")
    if path.suffix.lower() in HDF5:
        return hdf5_configuration(path)
    if path.suffix != ".keras":
        raise trouble(path, "it is no saved model", "Give a .keras, .h5 or .hdf5 file")
    with archive(path) as members:
        names = members.namelist()
        if CONFIG not in names or not set(WEIGHTS) & set(names):
            missing = CONFIG if CONFIG not in names else WEIGHTS[0]
            raise trouble(path, f"it lacks {missing}", "Save the model again, with model.save")
        try:
            broken = members.testzip()
        except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            raise trouble(path, f"it is damaged ({error})", "Copy it again") from error
        if broken:
            raise trouble(path, f"its {broken} is damaged", "Copy it again")
        config = parse(path, members.read(CONFIG))
    config.pop("compile_config", None)  # never looked at: load does not compile
    return config


def archive(path):
    """Open a `.keras` file as a zip archive whose members are harmless to unpack."""
    try:
        members = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or "it is no zip archive, or cut short"
        raise trouble(path, f"it cannot be opened ({why})", "Copy it again") from error
    infos = members.infolist()
    if len({info.filename for info in infos}) < len(infos):
        raise trouble(path, "two of its members have the same name", "Save the model again")
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise trouble(
                path, f"its member {info.filename!r} points out of the archive", "Delete it"
            )
        if info.file_size > 100 * info.compress_size + SLACK:
            size = f"{info.file_size / 2**20:.0f} MiB"
            raise trouble(path, f"its member {info.filename!r} swells to {size}", "Delete it")
    return members


def hdf5_configuration(path):
    """Return the configuration of a legacy HDF5 file."""
    import h5py

    try:
        with h5py.File(path) as file:
            text = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise trouble(path, "it is no HDF5 file, or damaged", "Copy it again") from error
    if text is None:
        raise trouble(
            path, "it holds weights and no model", "Save the whole model, with model.save"
        )
    return parse(path, text)


def of_keras_2(path):
    """Return whether an HDF5 file was written before Keras 3, which also writes such files."""
    import h5py

    with h5py.File(path) as file:
        return str(file.attrs.get("keras_version", "2")) < "3"


def parse(path, text):
    """Return the JSON object that a member holds."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise trouble(path, f"its description is no JSON ({error})", "Save it again") from error
    if not isinstance(value, dict):
        raise trouble(path, "its description is no JSON object", "Save it again")
    return value


def trouble(what, why, remedy):
    """Return the error that names a file, says why it cannot be used, and what to do."""
    return ValueError(f"{what}: {why}. {remedy}.")
