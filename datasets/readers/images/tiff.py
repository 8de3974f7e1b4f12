"""TIFF of any number of bands: multispectral images of satellites and microscopes.

Pillow reads one or three bands, and of more the first three or none; tifffile reads all.
"""

import dataclasses
import io
import logging
import math
import pathlib
import warnings
from typing import BinaryIO

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from datasets.readers.files import afford
from datasets.source import BadInput

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, EXTRA = 256, 257, 258, 262, 274, 277, 338
COLOURS = {0: 1, 1: 1, 2: 3}  # samples of gray and RGB; Pillow reads others
ALPHA = (1, 2)  # values of ExtraSamples for alpha; 0 is unspecified
DROPPED = "its alpha channel is ignored"


@dataclasses.dataclass(frozen=True)
class Header:
    """The first directory of a TIFF.

    Attributes:
        size: (H, W) of the upright image.
        more: whether it has more bands than gray or RGB, without alpha.
        alphas: the indices of the alpha channels.
        orientation: the EXIF orientation.
        memory: size of the pixels in bytes.
    """

    size: tuple[int, int]
    more: bool
    alphas: tuple[int, ...]
    orientation: int
    memory: int

    @property
    def notes(self):
        """Sentences on what is left out."""
        return (DROPPED,) if self.alphas else ()


def header(file: BinaryIO) -> Header | None:
    """Read the header of a TIFF and seek to its start; None if it is not a TIFF, or corrupt."""
    start = file.read(16)
    try:
        if start[:4] not in MAGIC:
            return None
        with warnings.catch_warnings(action="ignore"):
            tags = ImageFileDirectory_v2(start if start[2:3] == b"+" else start[:8])
            file.seek(tags.next)
            tags.load(file)
            width, height = int(tags[WIDTH]), int(tags[HEIGHT])
            samples, bits = int(tags.get(SAMPLES, 1)), max(tags.get(BITS, (1,)))
    except Exception:  # decoding it raises the error
        return None
    finally:
        file.seek(0)
    kind, extra = tags.get(PHOTOMETRIC, 1), tags.get(EXTRA, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    first = samples - len(extra)
    alphas = tuple(first + i for i, meaning in enumerate(extra) if meaning in ALPHA)
    orientation = tags.get(ORIENTATION, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    return Header(
        (width, height) if orientation > 4 else (height, width),
        kind in COLOURS and samples - len(alphas) > COLOURS[kind],
        alphas,
        orientation,
        width * height * samples * -(-bits // 8),
    )


def read(path: pathlib.Path, raw: bytes, described: Header) -> np.ndarray:
    """Decode all bands of a TIFF.

    Args:
        path: the file, for messages.
        raw: its content.
        described: its header.

    Returns:
        (H, W, C) as stored, not rotated, without alpha, in the stored type.

    Raises:
        BadInput: it has several images or complex values, or needs too much memory.
    """
    import tifffile  # imported here, as few images need it

    afford(path, 3 * described.memory, "Split it into tiles")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs faults that it works around
    with tifffile.TiffFile(io.BytesIO(raw)) as file:
        pages = [page for page in file.pages if not page.subfiletype & 1]  # without overviews
        if len(pages) != 1:
            raise BadInput(path, f"it contains {len(pages)} images", "Save each as its own file")
        (page,) = pages
        check_pieces(path, page, len(raw))
        array = page.asarray(maxworkers=1)
        axes = page.axes
    if array.dtype.kind not in "uif" or sorted(axes) != ["S", "X", "Y"]:
        why = f"its values are {array.dtype}, along the axes {axes}"
        raise BadInput(path, why, "Save it as integers or floats, height x width x bands")
    array = array if axes.endswith("S") else np.moveaxis(array, axes.index("S"), -1)
    return np.delete(array, described.alphas, axis=-1)


def check_pieces(path, page, size):
    """Raise unless all pieces of a page are inside the file: tifffile fills in missing ones."""
    count = math.prod(page.chunked)
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    inside = [0 < start and 0 < length and start + length <= size for start, length in places]
    if len(inside) < count or not all(inside):
        why = f"it is a corrupt image: {sum(inside)} of its {count} strips or tiles are present"
        raise BadInput(path, why, "Copy it again")
