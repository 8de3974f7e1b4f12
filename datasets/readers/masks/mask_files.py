"""One mask from one file, or from several of one object each: its values as they are stored.

Images of any format, `.npy` and `.mat`. JPEG changes values, so that masks in JPEG can only have
two classes, black and white. If an image has a single colour and transparent parts, its alpha
channel is the mask.
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
)  # fields of .mat files of SBD, BSDS and CrackForest
NUMBERS = "Save class numbers as PNG"


def read(path: pathlib.Path, colours: bool = False) -> np.ndarray:
    """Read the values of a mask as they are stored.

    Args:
        path: a file in any of `EXTENSIONS`.
        colours: return files stored as RGB as RGB even if all pixels are gray.

    Returns:
        (H, W) integers; or (H, W, 3), uint8 or uint16, for a mask in RGB.

    Raises:
        BadInput: the file is corrupt, its values are not integers, or it is a JPEG that is not
            black and white.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() == ".npy":
        return as_integers(path, read_npy(path))
    if path.suffix.lower() == ".mat":
        return as_integers(path, read_mat(path))
    return images.read_mask(path, colours)


def union(paths: Sequence[pathlib.Path], colours: bool = False) -> np.ndarray:
    """Read one mask; or the union of several of one image, (H, W), 255 inside and 0 outside.

    Raises:
        BadInput: one cannot be read, is in colours, or has another size than the first.
    """
    if len(paths) == 1:
        return read(paths[0], colours)
    combined = None
    for path in paths:
        raw = read(path)
        if raw.ndim != 2:
            raise BadInput(path, "it is one of several masks of an image, but in colours", NUMBERS)
        if combined is not None and raw.shape != combined.shape:
            why = f"it has {raw.shape[1]} x {raw.shape[0]} pixels, but {paths[0].name} has not"
            raise BadInput(path, why, "Use the size of the image for all of its masks")
        combined = (raw > 0) if combined is None else combined | (raw > 0)
    return combined * np.uint8(WHITE)


def read_npy(path):
    """Return the array of an .npy file; raises `BadInput` if it is invalid or too large."""
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
    except Exception as error:  # corrupt headers raise several kinds of errors
        raise BadInput(
            path, f"it is a corrupt .npy file ({error})", "Save it again with numpy.save"
        ) from error


def read_mat(path):
    """Return the mask of a .mat file: the field Segmentation of a structure, or the only matrix.

    Raises:
        BadInput: there is no matrix, or there are several.
    """
    variables = {name: inside(value) for name, value in matlab.read(path).items()}
    matrices = [
        value
        for value in variables.values()
        if isinstance(value, np.ndarray) and value.ndim == 2 and min(value.shape) > 1
    ]
    if len(matrices) != 1:
        names = ", ".join(variables) or "nothing"
        why = f"it contains {names}, of which {len(matrices)} are matrices"
        raise BadInput(path, why, "Save one matrix of class numbers")
    return matrices[0]


def inside(value):
    """Return the only value inside cells and structures, by the field of masks, or None."""
    while isinstance(value, list) and len(value) == 1 or isinstance(value, dict):
        if isinstance(value, list):
            (value,) = value
            continue
        field = next((field for field in FIELDS if field in value), None)
        if field is None:
            return None
        value = value[field]
    return value


def as_integers(path, array):
    """Return an array of integers, whatever its type, as (H, W); raises `BadInput` otherwise."""
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        why = f"its array has shape {array.shape} and type {array.dtype}, not (height, width)"
        raise BadInput(path, why, "Save one class number per pixel")
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind != "f":
        return array
    with np.errstate(invalid="ignore"):
        integers = array.astype(np.int64)
    if not (integers == array).all():
        raise BadInput(path, "its values are not integers", "Save class numbers")
    return integers
