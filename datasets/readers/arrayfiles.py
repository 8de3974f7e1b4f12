"""NumPy's own files, .npy and .npz: what a header declares is checked before it is allocated."""

import io
import math
import pathlib
import warnings
import zipfile
from collections.abc import Mapping

import numpy as np

from datasets.readers.files import afford, check_regular, read_bytes
from datasets.source import BadInput

REMEDY = "Save it again with numpy.savez"
DEFLATE_RATIO = 1032  # the most that deflate can shrink


def read_npy(path: pathlib.Path) -> np.ndarray:
    """Read the array of a .npy file; never unpickles.

    Raises:
        BadInput: the file is damaged, or holds Python objects.
    """
    raw = read_bytes(path)
    return array_from(path, path, io.BytesIO(raw), len(raw))


def read_npz(path: pathlib.Path) -> Mapping[str, np.ndarray]:
    """Read all arrays of an .npz file; never unpickles.

    Raises:
        BadInput: the file is damaged, larger than the budget of `afford`, holds anything but .npy
            members, or Python objects.
    """
    check_regular(path)
    size = path.stat().st_size
    if not size:
        raise BadInput(path, "the file is empty", "Remove it or copy it again")
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                if member.file_size > DEFLATE_RATIO * min(member.compress_size, size) + 1024:
                    raise BadInput(path, f"the size of {member.filename!r} is impossible", REMEDY)
            afford(path, sum(member.file_size for member in members))
            for member in members:
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    what = f"{path} (array {name!r})"
                    arrays[name] = array_from(path, what, file, member.file_size)
    except BadInput:
        raise
    except PermissionError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror})") from error
    except Exception as error:  # zipfile and zlib raise a dozen kinds on damaged archives
        raise BadInput(path, f"it is no sound .npz file ({error})", REMEDY) from error
    if not arrays:
        raise BadInput(path, "it holds no arrays", REMEDY)
    return arrays


def array_from(path, what, file, size):
    """Read one .npy stream of `size` bytes, once its header agrees with that size."""
    try:
        with warnings.catch_warnings(action="ignore"):
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, by_column, kind = read(file)
    except Exception as error:  # the header is a Python literal: damaged, it fails in many ways
        raise BadInput(what, "its NumPy header is damaged", REMEDY) from error
    if kind.hasobject:
        raise BadInput(
            what,
            f"it holds Python objects (shape {shape}), which could run code when read",
            "Clouds of different lengths go into one file each, in class folders; "
            "otherwise save arrays of numbers of one shape",
        )
    declared = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or declared != size - file.tell():
        raise BadInput(
            what,
            f"its header declares shape {shape}, {declared} bytes, and {size - file.tell()} follow",
            REMEDY,
        )
    data = file.read(declared)
    if len(data) != declared:
        raise BadInput(what, f"it ends after {len(data)} of {declared} bytes", REMEDY)
    if kind.itemsize == 0:
        raise BadInput(what, f"its values are of type {kind}, not numbers", REMEDY)
    return np.frombuffer(data, kind).reshape(shape, order="F" if by_column else "C")
