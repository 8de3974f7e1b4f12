"""Check the untrusted file of a saved model before it is loaded, without Keras.

This limits the cost of a small file: archives that expand to a huge size, endless HDF5 files,
layers with far more weights than are stored. `zoo.weights.safety` then checks the classes in its
configuration, and `zoo.weights.saving` loads it.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

from zoo.weights import records
from zoo.weights.records import parse, trouble

RECORD = "zoo"  # key in metadata.json
CONFIG, METADATA = "config.json", "metadata.json"
WEIGHTS = ("model.weights.h5", "model.weights.npz")
HDF5 = (".h5", ".hdf5")
ARRAYS = (".safetensors", ".npz", ".pth", ".pt")  # of published weights
DARKNET = re.compile(r"\.weights$|\.conv\.\d+$")
CONVERT = "Convert it: python -m zoo convert MODEL {} --out model.keras"
READER = pathlib.Path(__file__).with_name("hdf5.py")
SLACK = 1 << 20  # bytes or values that are always accepted: small data compress well
MAX_RATIO = 100  # largest ratio of the uncompressed to the compressed size
MEMBERS = 1000  # most members of an archive; Keras writes three, and one per vocabulary
PATIENCE = 120  # timeout in seconds for the process that reads HDF5, which has its own limits
WITH_ASSETS = ("IntegerLookup", "StringLookup", "TextVectorization")
SIZES = ("units", "filters", "input_dim", "output_dim", "num_heads", "key_dim", "value_dim")


@dataclasses.dataclass(frozen=True)
class Contents:
    """Contents of a model file, except the weights themselves.

    Attributes:
        config: configuration of the model, without the compile configuration.
        version: version of Keras that wrote it, "" if unknown.
        numbers: how many values are stored.
        known: whether this process has written the file.
    """

    config: dict
    version: str
    numbers: int
    known: bool


_written = {}  # SHA-256 of files that this process has written: number of stored values
_read = {}  # SHA-256 of files that it has read: results of the reader


def inspect(path):
    """Return the `Contents` of a `.keras`, `.h5` or `.hdf5` file.

    Raises:
        ValueError: if the file is missing, damaged, or expands far beyond its size; the message
            has the file, the reason and the remedy.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise trouble(path, "there is no such file", "Check the spelling")
    hdf5 = path.suffix.lower() in HDF5
    check_kind(path)
    config, version = (None, None) if hdf5 else read_config(path)
    digest = sha256(path)
    known = digest in _written and not hdf5
    if known:
        numbers = _written[digest]
    else:
        if digest not in _read:
            _read[digest] = read_hdf5(path) if hdf5 else read_weights(path)
        numbers = _read[digest]["numbers"]
    if hdf5:
        text, version = _read[digest]["config"], _read[digest]["version"]
        if text is None:
            why = "it holds weights without a model"
            hint = f"Of keras.applications: {CONVERT.format(path)}; else save it with model.save"
            raise trouble(path, why, hint)
        config = parse(path, text)
    config.pop("compile_config", None)  # not needed: a model is loaded uncompiled
    if size := largest(config, numbers):
        why = f"it has a layer of {size:,} units but stores only {numbers:,} values: rejected"
        raise trouble(path, why, "Save the model again")
    return Contents(config, version, numbers, known)


def check_kind(path):
    """Raise a `ValueError` if a file, by its name, is not a saved model; say how to use it."""
    name = path.name.lower()
    if name.endswith((".keras", *HDF5)):
        return
    if DARKNET.search(name):
        remedy = f"Start a training from it: python train.py --model yolov3 --init {path}; "
        remedy += "or in Python: zoo.weights.darknet_weights.load(model, path)"
        raise trouble(path, "Darknet's file holds numbers without layers", remedy)
    if name.endswith(ARRAYS):
        raise trouble(path, "it holds arrays without a model", CONVERT.format(path))
    raise trouble(path, "it is not a saved model", "Use a .keras, .h5 or .hdf5 file")


def remember(path, numbers):
    """Register a file that this process has written, with its number of values, as trusted."""
    _written[sha256(path)] = numbers


def record(path):
    """Return the validated record that `zoo.weights.saving.save` wrote, {} if there is none.

    Raises:
        ValueError: if the file is damaged, or an entry of the record has the wrong type.
    """
    path = pathlib.Path(path)
    check_kind(path)
    if path.suffix.lower() in HDF5:
        return {}
    with archive(path) as members:
        metadata = parse(path, members.read(METADATA)) if METADATA in members.namelist() else {}
    content = metadata.get(RECORD, {})
    if not isinstance(content, dict):
        raise trouble(path, "its record is damaged: not a dictionary", "Save the model again")
    if reason := records.objection(content):
        raise trouble(path, reason, "Copy it again, or train again")
    return content


def read_config(path):
    """Check a `.keras` file; return its configuration and the version of Keras."""
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
            raise trouble(path, f"its {broken!r} is damaged", "Copy it again")
        config = parse(path, members.read(CONFIG))
        metadata = parse(path, members.read(METADATA)) if METADATA in names else {}
    assets = [name for name in names if name.startswith("assets/")]
    if assets and not classes(config) & set(WITH_ASSETS):
        why = f"it holds {assets[0]!r}, and no layer of it has a vocabulary: rejected"
        raise trouble(path, why, "Save the model again")
    return config, str(metadata.get("keras_version", ""))


def archive(path):
    """Open a `.keras` file as a zip archive after checking that it is safe to extract."""
    try:
        members = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or "it is not a zip archive, or truncated"
        raise trouble(path, f"it cannot be opened ({why})", "Copy it again") from error
    infos = members.infolist()
    if len({info.filename for info in infos}) < len(infos):
        raise trouble(path, "two of its members have the same name", "Save the model again")
    if len(infos) > MEMBERS:
        raise trouble(path, f"it has {len(infos):,} members", "Save the model again")
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise trouble(
                path, f"its member {info.filename!r} is outside of the archive", "Delete it"
            )
        if expands([info]):
            size = f"{info.file_size / 2**20:.0f} MiB"
            raise trouble(path, f"its member {info.filename!r} expands to {size}", "Delete it")
    if expands(infos):
        size = sum(info.file_size for info in infos) / 2**20
        why = f"its {len(infos)} members expand to {size:.0f} MiB"
        raise trouble(path, why, "Save the model again")
    return members


def expands(infos):
    """Return whether members of an archive are far larger than their compressed size."""
    sizes = (sum(getattr(info, name) for info in infos) for name in ("file_size", "compress_size"))
    uncompressed, compressed = sizes
    return uncompressed > MAX_RATIO * compressed + SLACK


def read_weights(path):
    """Read the weights inside a `.keras` file; return the same as `read_hdf5`."""
    with archive(path) as members:
        if WEIGHTS[0] in members.namelist():
            return read_hdf5(path, WEIGHTS[0])
        content = members.read(WEIGHTS[1])
    try:
        infos = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise trouble(path, f"its {WEIGHTS[1]} is damaged", "Copy it again") from error
    if expands(infos):
        raise trouble(path, f"its {WEIGHTS[1]} expands too much", "Save the model again")
    return {"numbers": sum(info.file_size for info in infos)}  # values have at least one byte


def read_hdf5(path, member=""):
    """Read an HDF5 file, or a member of an archive, in a process with limits, `hdf5.py`.

    Returns:
        {"config": JSON text or None, "version": of Keras, "numbers": number of stored values}.
    """
    command = [sys.executable, "-P", str(READER), str(path), member]
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    settings = dict(stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    try:
        process = subprocess.run(command, env={**os.environ, **one_thread}, **settings)
        result = json.loads(process.stdout) if process.returncode in (0, 1) else {}
    except (subprocess.TimeoutExpired, ValueError):
        result = {}
    if "numbers" in result:
        return result
    why = "reading it takes too long, or fails inside the HDF5 library: it is damaged"
    raise trouble(path, result.get("error", why), "Copy it again")


def classes(config):
    """Return the names of all classes in a configuration."""
    names = (node.get("class_name") for node in nodes(config))
    return {name for name in names if isinstance(name, str)}


def largest(config, numbers):
    """Return the size of the largest layer if the stored values cannot fill it, else None."""
    sizes = [
        value
        for node in nodes(config)
        for key, value in node.items()
        if key in SIZES and isinstance(value, int)
    ]
    size = max(sizes, default=0)
    return size if size > 2 * numbers + SLACK else None


def nodes(config):
    """Yield every dictionary in a configuration."""
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            yield value
            stack += value.values()


def sha256(path):
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
