"""NumPy files, .npy and .npz: the size in a header is checked before memory is allocated."""

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
DEFLATE_RATIO = 1032  # the maximum compression ratio of deflate


def read_npy(path: pathlib.Path) -> np.ndarray:
    """Read the array of a .npy file; never unpickles.

    Raises:
        BadInput: the file is corrupt, or contains Python objects.
    """
    raw = read_bytes(path)
    return array_from(path, path, io.BytesIO(raw), len(raw))


def read_npz(path: pathlib.Path) -> Mapping[str, np.ndarray]:
    """Read all arrays of an .npz file; never unpickles.

    Raises:
        BadInput: the file is corrupt, larger than the budget of `afford`, or has other members than
            .npy files of numbers.
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
    except Exception as error:  # zipfile and zlib raise many kinds of errors on corrupt archives
        raise BadInput(path, f"it is a corrupt .npz file ({error})", REMEDY) from error
    if not arrays:
        raise BadInput(path, "it contains no arrays", REMEDY)
    return arrays


def array_from(path, what, file, size):
    """Read one .npy stream of `size` bytes, after checking its header against that size."""
    try:
        with warnings.catch_warnings(action="ignore"):
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(file)
    except (
        Exception
    ) as error:  # the header is a Python literal: if corrupt, it raises many kinds of errors
        raise BadInput(what, "its NumPy header is corrupt", REMEDY) from error
    if dtype.hasobject:
        raise BadInput(
            what,
            f"it contains Python objects (shape {shape}), which could execute code when loaded",
            "Save clouds of different lengths in one file each, in class folders; "
            "otherwise save numeric arrays of one shape",
        )
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != size - file.tell():
        raise BadInput(
            what,
            f"its header declares shape {shape}, {declared} bytes, but {size - file.tell()} follow",
            REMEDY,
        )
    data = file.read(declared)
    if len(data) != declared:
        raise BadInput(what, f"it ends after {len(data)} of {declared} bytes", REMEDY)
    if dtype.itemsize == 0:
        raise BadInput(what, f"its values are of type {dtype}, not numeric", REMEDY)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
