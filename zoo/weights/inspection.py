"""Look into a file of a saved model before anything opens it: without Keras, and without trust.

What a small file can cost is bounded here: archives that swell, HDF5 that never ends, layers whose
weights would be far larger than those that are stored. `zoo.weights.safety` then judges which
classes a file names, and `zoo.weights.saving` loads it.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

from zoo.weights import records
from zoo.weights.records import parse, trouble

RECORD = "zoo"  # key in metadata.json
CONFIG, METADATA = "config.json", "metadata.json"
WEIGHTS = ("model.weights.h5", "model.weights.npz")
HDF5 = (".h5", ".hdf5")
READER = pathlib.Path(__file__).with_name("hdf5.py")
SLACK = 1 << 20  # bytes, or numbers: little things compress well and cost little
SWELL = 100  # times its compressed size that an archive may have
MEMBERS = 1000  # of an archive; a model of Keras has three, and one for each vocabulary
PATIENCE = 120  # seconds for the process that reads HDF5, which limits its own work to less
WITH_ASSETS = ("IntegerLookup", "StringLookup", "TextVectorization")
SIZES = ("units", "filters", "input_dim", "output_dim", "num_heads", "key_dim", "value_dim")


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file of a model holds, besides the weights themselves.

    Attributes:
        config: the configuration of the model, without how it was compiled.
        version: of the Keras that wrote it; "" if it does not say.
        numbers: how many numbers are stored.
        known: whether this process has written the file.
    """

    config: dict
    version: str
    numbers: int
    known: bool


_written = {}  # SHA-256 of files that this process has written: how many numbers they store
_read = {}  # likewise of files that it has read, with the reader's results


def inspect(path):
    """Return the `Contents` of a `.keras`, `.h5` or `.hdf5` file.

    Raises:
        ValueError: if the file is missing, damaged, or costs far more than its size; the message
            names the file, the reason and the remedy.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise trouble(path, "there is no such file", "Check the spelling")
    hdf5 = path.suffix.lower() in HDF5
    if not hdf5 and path.suffix != ".keras":
        raise trouble(path, "it is no saved model", "Give a .keras, .h5 or .hdf5 file")
    config, version = (None, None) if hdf5 else described(path)
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
            why = "it holds weights and no model"
            raise trouble(path, why, "Save the whole model, with model.save")
        config = parse(path, text)
    config.pop("compile_config", None)  # never looked at: a model is loaded without it
    if size := largest(config, numbers):
        why = f"it asks for a layer of {size:,} units and stores {numbers:,} numbers: refused"
        raise trouble(path, why, "Save the model again")
    return Contents(config, version, numbers, known)


def remember(path, numbers):
    """Note that this process has written a file with so many numbers: it need not be feared."""
    _written[sha256(path)] = numbers


def record(path):
    """Return the record that `zoo.weights.saving.save` put into a file, checked; {} if it has none.

    Raises:
        ValueError: if the file is damaged, or an entry of the record is of a wrong type.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() in HDF5:
        return {}
    with archive(path) as members:
        metadata = parse(path, members.read(METADATA)) if METADATA in members.namelist() else {}
    found = metadata.get(RECORD, {})
    if not isinstance(found, dict):
        raise trouble(path, "its record is damaged: it is no dictionary", "Save the model again")
    if reason := records.objection(found):
        raise trouble(path, reason, "Copy it again, or train again")
    return found


def described(path):
    """Return the configuration in a `.keras` file and the version of Keras, after checking it."""
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
        why = f"it holds {assets[0]!r}, and no layer of it has a vocabulary: refused"
        raise trouble(path, why, "Save the model again")
    return config, str(metadata.get("keras_version", ""))


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
    if len(infos) > MEMBERS:
        raise trouble(path, f"it has {len(infos):,} members", "Save the model again")
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise trouble(
                path, f"its member {info.filename!r} points out of the archive", "Delete it"
            )
        if swells([info]):
            size = f"{info.file_size / 2**20:.0f} MiB"
            raise trouble(path, f"its member {info.filename!r} swells to {size}", "Delete it")
    if swells(infos):
        size = sum(info.file_size for info in infos) / 2**20
        why = f"its {len(infos)} members swell to {size:.0f} MiB"
        raise trouble(path, why, "Save the model again")
    return members


def swells(infos):
    """Tell whether members of an archive take far more than their compressed bytes."""
    sizes = (sum(getattr(info, name) for info in infos) for name in ("file_size", "compress_size"))
    whole, packed = sizes
    return whole > SWELL * packed + SLACK


def read_weights(path):
    """Return what the weights inside a `.keras` file hold, as `read_hdf5` does."""
    with archive(path) as members:
        if WEIGHTS[0] in members.namelist():
            return read_hdf5(path, WEIGHTS[0])
        content = members.read(WEIGHTS[1])
    try:
        infos = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise trouble(path, f"its {WEIGHTS[1]} is damaged", "Copy it again") from error
    if swells(infos):
        raise trouble(path, f"its {WEIGHTS[1]} swells", "Save the model again")
    return {"numbers": sum(info.file_size for info in infos)}  # of a byte at least


def read_hdf5(path, member=""):
    """Read an HDF5 file, or such a member of an archive, in a process with limits, `hdf5.py`.

    Returns:
        {"config": its text or None, "version": of Keras, "numbers": how many are stored}.
    """
    words = [sys.executable, "-P", str(READER), str(path), member]
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    settings = dict(stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    try:
        done = subprocess.run(words, env={**os.environ, **one_thread}, **settings)
        holds = json.loads(done.stdout) if done.returncode in (0, 1) else {}
    except (subprocess.TimeoutExpired, ValueError):
        holds = {}
    if "numbers" in holds:
        return holds
    why = "reading it takes too long, or fails inside the HDF5 library: it is damaged"
    raise trouble(path, holds.get("error", why), "Copy it again")


def classes(config):
    """Return the names of all classes in a configuration."""
    names = (node.get("class_name") for node in nodes(config))
    return {name for name in names if isinstance(name, str)}


def largest(config, numbers):
    """Return the size of a layer that so many stored numbers cannot fill, or None."""
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
