"""Pickles of lists, dictionaries and NumPy arrays of bytes, read without running code from them.

A pickle names functions to call. Only those of arrays are known here, and they are replaced by
classes of this file, so that nothing that the pickle chooses is imported or called.
"""

import io
import math
import pathlib
import pickle
import pickletools

import numpy as np

from datasets.readers.files import afford, check_regular, read_bytes
from datasets.source import BadInput

MAX_BYTES = 2**29  # the largest file of CIFAR has 155 MB
MAX_MEMO = 2**20  # an index beyond makes pickle allocate a table up to it
MEMOS = ("PUT", "BINPUT", "LONG_BINPUT")
COPY = "Download it again from its authors, or use the binary version"


class PickledType:
    """A data type in a pickle: only unsigned bytes are read."""

    def __init__(self, name, *flags):
        if name not in ("u1", b"u1", "|u1", b"|u1"):
            raise ValueError(f"an array is of type {name!r}, not u1 (uint8)")

    def __setstate__(self, state):
        """Ignore the byte order, which bytes do not have."""


class PickledArray:
    """An array in a pickle.

    Attributes:
        values: the array, uint8, once its state is set.
    """

    def __init__(self, *arguments):
        self.values = None

    def __setstate__(self, state):
        """Set the array from (version, shape, type, whether in Fortran's order, bytes)."""
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, PickledType) or not isinstance(data, bytes):
            raise ValueError("an array is not one of bytes")
        if min(shape, default=0) < 0 or math.prod(shape) != len(data):
            raise ValueError(f"an array of shape {shape} has {len(data)} bytes")
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy", "ndarray"): "ndarray",  # an argument of _reconstruct, never called
    ("numpy", "dtype"): PickledType,
}


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that refuses everything that is not in GLOBALS.

    Args:
        path: of the file, for messages.
        raw: its bytes.
    """

    def __init__(self, path, raw):
        super().__init__(io.BytesIO(raw), encoding="bytes")
        self.path = path

    def find_class(self, module, name):
        """Return what stands for a global; raises `BadInput` if it is not known."""
        if (module, name) not in GLOBALS:
            raise BadInput(
                self.path,
                f"it refers to {module}.{name}, which could execute code, so it is not loaded",
                COPY,
            )
        return GLOBALS[module, name]


def read(path: pathlib.Path) -> dict:
    """Read a pickled dictionary; its keys become strings, its arrays NumPy arrays of uint8.

    Raises:
        BadInput: the file is too large, corrupt, not a dictionary, or refers to anything but
            arrays.
    """
    check_regular(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BadInput(path, f"it has {size:,} bytes, but the limit is {MAX_BYTES:,}", COPY)
    afford(path, 3 * size)  # the file, the same decoded while it is checked, and the array
    raw = read_bytes(path)
    try:
        check_memo(raw)
        content = ArrayUnpickler(path, raw).load()
    except BadInput:
        raise
    except Exception as error:  # pickle raises many kinds of errors on corrupt files
        raise BadInput(path, f"it is not a pickle of arrays ({error})", COPY) from error
    if not isinstance(content, dict):
        raise BadInput(path, "its pickle is not a dictionary", COPY)
    return {
        key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key): (
            value.values if isinstance(value, PickledArray) else value
        )
        for key, value in content.items()
    }


def check_memo(raw):
    """Raise `ValueError` if a pickle is corrupt, or has an index that takes too much memory."""
    for opcode, argument, _ in pickletools.genops(raw):
        if opcode.name in MEMOS and not 0 <= argument <= MAX_MEMO:
            raise ValueError(f"it has the memo index {argument}")
