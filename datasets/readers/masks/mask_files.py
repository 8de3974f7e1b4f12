"""One mask from one file, or from several that each mark one object: its values as they are stored.

Images of any format, `.npy` and `.mat`. JPEG changes values, so that masks in JPEG can only be of
two classes, black and white. Of an image that is transparent in parts and of one colour otherwise
the alpha channel is the mask.
"""

import io
import pathlib
from collections.abc import Sequence

import numpy as np

from datasets.readers import images
from datasets.readers.files import afford, read_bytes
from datasets.readers.masks import matlab
from datasets.source import BadInput

EXTENSIONS = (*images.EXTENSIONS, ".npy", ".mat")
WHITE = 255
FIELDS = (
    "Segmentation",
    "segmentation",
)  # of structures in .mat files of SBD, BSDS and CrackForest
NUMBERS = "Save class numbers as PNG"


def read(path: pathlib.Path, colours: bool = False) -> np.ndarray:
    """Read the values of a mask as they are stored.

    Args:
        path: a file in any of `EXTENSIONS`.
        colours: give what is stored in colours as colours even where it is gray.

    Returns:
        (H, W) integers; or (H, W, 3), uint8 or uint16, where the mask is in colours.

    Raises:
        BadInput: the file is damaged, its values are not whole numbers, or it is a JPEG that is not
            black and white.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() == ".npy":
        return whole(path, read_npy(path))
    if path.suffix.lower() == ".mat":
        return whole(path, read_mat(path))
    return images.read_mask(path, colours)


def union(paths: Sequence[pathlib.Path], colours: bool = False) -> np.ndarray:
    """Read one mask; or several of one image, whose union (H, W) is 255 and the rest 0.

    Raises:
        BadInput: one cannot be read, is in colours, or has another size than the first.
    """
    if len(paths) == 1:
        return read(paths[0], colours)
    joined = None
    for path in paths:
        raw = read(path)
        if raw.ndim != 2:
            raise BadInput(path, "it is one of several masks of an image, and in colours", NUMBERS)
        if joined is not None and raw.shape != joined.shape:
            why = f"it has {raw.shape[1]} x {raw.shape[0]} pixels, and {paths[0].name} has others"
            raise BadInput(path, why, "Give all masks of an image its size")
        joined = (raw > 0) if joined is None else joined | (raw > 0)
    return joined * np.uint8(WHITE)


def read_npy(path):
    """Return the array of an .npy file; raises `BadInput` if there is none, or too large a one."""
    raw = read_bytes(path)
    try:
        file = io.BytesIO(raw)
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, kind = header(file)
        afford(path, int(np.prod(shape, dtype=object)) * kind.itemsize)
        return np.load(io.BytesIO(raw), allow_pickle=False)
    except BadInput:
        raise
    except Exception as error:  # damaged headers raise several kinds
        raise BadInput(
            path, f"it is no sound .npy file ({error})", "numpy.save it again"
        ) from error


def read_mat(path):
    """Return the mask of a .mat file: the field Segmentation of a structure, or the only matrix.

    Raises:
        BadInput: there is none, or there are several.
    """
    held = {name: inside(value) for name, value in matlab.read(path).items()}
    matrices = [
        value
        for value in held.values()
        if isinstance(value, np.ndarray) and value.ndim == 2 and min(value.shape) > 1
    ]
    if len(matrices) != 1:
        names = ", ".join(held) or "nothing"
        why = f"it holds {names}, and {len(matrices)} of them are matrices"
        raise BadInput(path, why, "Save one matrix of class numbers")
    return matrices[0]


def inside(value):
    """Return what cells and structures hold, by the field that holds masks, if it is one thing."""
    while isinstance(value, list) and len(value) == 1 or isinstance(value, dict):
        if isinstance(value, list):
            (value,) = value
            continue
        field = next((field for field in FIELDS if field in value), None)
        if field is None:
            return None
        value = value[field]
    return value


def whole(path, array):
    """Return an array (H, W) of integers; raises `BadInput` unless it is one in other clothes."""
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        why = f"its array has shape {array.shape} and type {array.dtype}, not (height, width)"
        raise BadInput(path, why, "Save one class number a pixel")
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind != "f":
        return array
    with np.errstate(invalid="ignore"):
        numbers = array.astype(np.int64)
    if not (numbers == array).all():
        raise BadInput(path, "its values are not whole numbers", "Save class numbers")
    return numbers
