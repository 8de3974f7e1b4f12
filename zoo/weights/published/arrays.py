"""Files of named arrays: .safetensors and .npz, read without running code from them.

A `.safetensors` file is the length of its header (8 bytes), the header (JSON: type, shape and
place of each array) and the bytes of the arrays. Reading it needs no package besides NumPy.
"""

import json
import math
import pathlib
import zipfile

import ml_dtypes
import numpy as np

from zoo.weights import inspection
from zoo.weights.records import trouble

SUFFIXES = (".safetensors", ".npz")
TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
LONGEST = 100_000_000  # bytes of a header, the limit of the format
PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl")


def matches(path):
    """Return whether a file name is that of a file of named arrays."""
    return pathlib.Path(path).suffix.lower() in SUFFIXES


def read(path):
    """Return the arrays of a file by their names; floating-point ones as float32.

    Raises:
        ValueError: if the file is missing, damaged, of another kind, or expands too much.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        why = "a pickle can run any code when it is opened, and is not read"
        raise trouble(path, why, "Save its arrays as .safetensors, or with numpy.savez")
    if suffix not in SUFFIXES:
        raise trouble(path, "it is no file of named arrays", f"Use {' or '.join(SUFFIXES)}")
    if suffix == ".npz":
        inspection.archive(path).close()
    try:
        content = path.read_bytes() if suffix == ".safetensors" else None
        arrays = safetensors(content) if content is not None else npz(path)
    except OSError as error:
        raise trouble(
            path, f"it cannot be read ({error.strerror or error})", "Copy it again"
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError, zipfile.BadZipFile) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise trouble(path, f"it is damaged ({why})", "Copy it again") from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16:
            arrays[name] = array.astype(np.float32)
    return arrays


def safetensors(content):
    """Return the arrays in the bytes of a `.safetensors` file, or raise a `ValueError`."""
    length = int.from_bytes(content[:8], "little")
    start = 8 + length
    if len(content) < 8 or length > LONGEST or start > len(content):
        raise ValueError("its header is not complete")
    header = json.loads(content[8:start])
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        kind, shape, (first, last) = TYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        size = math.prod(shape) * np.dtype(kind).itemsize
        if not 0 <= first <= last <= len(content) - start or last - first != size:
            raise ValueError(f"{name} is not completely in it")
        values = np.frombuffer(content, kind, math.prod(shape), start + first)
        arrays[name] = values.reshape(shape)
    return arrays


def npz(path):
    """Return the arrays of an `.npz` file; pickled objects raise a `ValueError`."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
