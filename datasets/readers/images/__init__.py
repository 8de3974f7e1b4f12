"""One image or one mask from one file of any format, checked while it is read.

Pillow decodes; information that it silently drops (the lower bytes of 16-bit colours, the raw
values of 2- and 4-bit grays, the checksums of a PNG) is preserved here; a TIFF of more bands than
gray or RGB is decoded by `datasets.readers.images.tiff`.
"""

import contextlib
import dataclasses
import io
import pathlib
import re
import sys
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, IMAGELENGTH, IMAGEWIDTH, PLANAR_CONFIGURATION

from datasets.readers.files import afford, check_regular, divide, read_bytes, walk
from datasets.readers.images import tiff
from datasets.source import BadInput

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")  # Pillow's other decoders are not used
MAX_PIXELS = 2**30
Image.MAX_IMAGE_PIXELS = None  # Pillow's limit is too low for survey tiles; see opened()

REMEDY = "Copy it again, or save it as PNG, or as TIFF of 8 or 16 bits"
GRAY_STEPS = {"2": 85, "4": 17}  # Pillow scales grays of 2 and 4 bits to 0 to 255
MISSING = 0.05  # fraction of the rows of a truncated JPEG that may be missing
OPAQUE = 255
THRESHOLD = 128  # between black and white in JPEG masks
BLURRED = 64  # how much JPEG changes black and white at edges
EDGES = 0.05  # fraction of a mask's pixels that may be changed more
SIZES = {"I": 4, "F": 4, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # bytes per value
FILLED = 128  # the gray of missing rows
SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        pixels: (H, W, C), upright.
        orientation: the EXIF orientation of the stored pixels: 1 is upright.
        notes: sentences on what was left out.
    """

    pixels: np.ndarray
    orientation: int = 1
    notes: tuple[str, ...] = ()


def read_picture(path: pathlib.Path) -> Picture:
    """Read an image in any of `EXTENSIONS`, rotated upright by its EXIF orientation.

    Its pixels are (H, W, C), C = 1 for gray, 3 for RGB, or the number of bands of a TIFF, without
    alpha: uint8 0-255; uint16 for files of 16 bits; float32 for floats or other integers,
    not rescaled. A truncated JPEG is read if at most 5 % of its rows are missing.

    Raises:
        BadInput: the file is missing, empty, truncated, corrupt, or not an image, has several
            images or values that are not finite, or needs too much memory.
    """
    path = pathlib.Path(path)
    with pillow_errors(path):
        image = decoded(path, truncated=True)
        array = pixels(image)
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype not in (np.uint8, np.uint16):
        array = array.astype(np.float32)
        bad = ~np.isfinite(array)
        if bad.any():
            raise BadInput(path, f"{bad.sum()} of its values are NaN or infinite", "Replace them")
    array = array if array.ndim == 3 else array[..., None]
    return Picture(array, image.orientation, image.notes)


def read_image(path: pathlib.Path) -> np.ndarray:
    """Return the pixels (H, W, C) of an image, see `read_picture`."""
    return read_picture(path).pixels


def read_example(path: pathlib.Path) -> dict:
    """Read an image as the `image` of an example, with "notes" on it if there are any."""
    picture = read_picture(path)
    return {"image": picture.pixels, **({"notes": picture.notes} if picture.notes else {})}


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return an array (H, W, ...), stored with an EXIF orientation, upright."""
    flips = {2: (1,), 3: (0, 1), 4: (0,), 7: (0, 1)}
    array = np.flip(array, flips[orientation]) if orientation in flips else array
    if orientation in (5, 7):
        return array.swapaxes(0, 1)
    return np.rot90(array, {6: -1, 8: 1}.get(orientation, 0))


def read_mask(path: pathlib.Path, colours: bool = False) -> np.ndarray:
    """Read the stored values of a mask: indices for palettes, 0 and 1 for 1 bit.

    Args:
        path: a file in any of `EXTENSIONS`.
        colours: return files stored as RGB or with a palette as RGB, even where all pixels are
            gray.

    Returns:
        (H, W) integers; or (H, W, 3), uint8 or uint16, for a mask in RGB. If all pixels have the
        same colour and only alpha differs, alpha is the mask. A JPEG is thresholded to 0 and 255,
        because JPEG changes values.

    Raises:
        BadInput: as for `read_image`, and if values are not integers, or a JPEG is not black and
            white.
    """
    path = pathlib.Path(path)
    with pillow_errors(path):
        image = decoded(path)
        if image.lossy:
            return black_and_white(path, image.picture)
        if (alpha := alpha_mask(image.picture)) is not None:
            return alpha
        if image.picture and image.picture.mode in ("P", "PA") and not colours:
            indices = np.asarray(image.picture)
            return indices if indices.ndim == 2 else indices[..., 0]
        array = pixels(image)
    if gray := re.match("L;([24])", image.packing):
        array = array // GRAY_STEPS[gray[1]]
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float32:
        with np.errstate(invalid="ignore"):
            integers = array.astype(np.int32)
        if not (integers == array).all():
            raise BadInput(path, "its values are not integers", "Save class numbers as PNG")
        return integers
    if array.ndim == 3 and array.shape[-1] != 3:
        raise BadInput(
            path, f"the mask has {array.shape[-1]} bands", "Save one class number per pixel"
        )
    if array.ndim == 3 and not colours and (array == array[..., :1]).all():
        return array[..., 0]
    return array


def black_and_white(path, picture):
    """Return a JPEG (H, W) uint8 as 0 and 255; raises `BadInput` if it has other values."""
    values = np.asarray(picture.convert("RGB")).astype(np.int16)
    gray = (values >= BLURRED) & (values <= 255 - BLURRED)
    colours = np.ptp(values, axis=-1) > BLURRED
    fraction = (gray.any(axis=-1) | colours).mean()
    if fraction > EDGES or 0 < values.max() < 255 - BLURRED:
        raise BadInput(
            path,
            "the mask is a JPEG that is not black and white: JPEG changes values, so class numbers "
            "and colours are lost",
            "Save masks as PNG, from their originals",
        )
    return np.where(values.mean(axis=-1) >= THRESHOLD, 255, 0).astype(np.uint8)


def alpha_mask(picture):
    """Return the alpha (H, W) of a picture of a single colour with transparent parts."""
    if picture is None or picture.mode not in ("LA", "RGBA"):
        return None
    *colours, (low, high) = picture.getextrema()
    if low == high or any(bottom != top for bottom, top in colours):
        return None
    return np.asarray(picture.getchannel("A"))


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """Read (H, W) of an image, as of `read_image`, from its header.

    Raises:
        BadInput: the header is missing or corrupt.
    """
    check_regular(path)
    with pillow_errors(path), open(path, "rb") as file:
        header = tiff.header(file)
        if header and header.more:
            return header.size
        picture = opened(path, file)
        width, height = picture.size
        if picture.format == "TIFF":  # Pillow returns the upright size
            return height, width
        known = picture.format != "PNG" or "exif" in picture.info  # otherwise it would be decoded
        orientation = picture.getexif().get(ExifTags.Base.Orientation) if known else 1
        return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Attributes:
        picture: the Pillow image, upright; None if Pillow cannot read it.
        packing: Pillow's raw mode of the file: "RGB;16B".
        low: the lower bytes (H, W, 3) uint8 of 16-bit colours, else None.
        array: the pixels (H, W, C), upright, if Pillow cannot read them, else None.
        orientation: the EXIF orientation of the stored pixels.
        notes: sentences on what was left out.
    """

    picture: Image.Image | None
    packing: str = ""
    low: np.ndarray | None = None
    array: np.ndarray | None = None
    orientation: int = 1
    notes: tuple[str, ...] = ()

    @property
    def lossy(self):
        """Whether the compression of the file is lossy: JPEG."""
        return self.picture is not None and self.picture.format in ("JPEG", "MPO")


def decoded(path, truncated=False):
    """Decode a file; raises `BadInput`, and the errors of Pillow on corrupt files.

    Pillow drops the lower bytes of 16-bit colours, so these are decoded a second time with the
    other byte order. A JPEG may be slightly `truncated`.
    """
    raw = read_bytes(path)
    header = tiff.header(io.BytesIO(raw))
    if header and header.more:
        array = turned(tiff.read(path, raw, header), header.orientation)
        return Decoded(None, array=array, orientation=header.orientation, notes=header.notes)
    opened(path, io.BytesIO(raw)).verify()  # the checksums of a PNG
    picture, low = opened(path, io.BytesIO(raw)), None
    if picture.format == "TIFF":
        check_strips(path, picture)
    packing = packing_of(picture)
    if re.fullmatch("RGB[AX]?;16[BLN]", packing) and not planar(picture):
        swapped = opened(path, io.BytesIO(raw))
        swapped.tile = [
            tile._replace(args=repacked(tile.args, packing[:-1] + SWAPPED[packing[-1]]))
            for tile in swapped.tile
        ]
        ImageOps.exif_transpose(swapped, in_place=True)
        low = np.asarray(swapped.convert("RGB"))
    elif planar(picture) or (";16" in packing and not picture.mode.startswith("I")):
        raise BadInput(
            path,
            f"its packing of 16-bit pixels is not supported ({packing})",
            "Save it as gray or RGB without alpha, interleaved",
        )
    notes = loaded(path, picture, truncated)
    orientation = header.orientation if header else exif_orientation(picture)
    ImageOps.exif_transpose(picture, in_place=True)
    return Decoded(picture, packing, low, orientation=orientation, notes=notes)


def loaded(path, picture, truncated):
    """Decode a picture in place; return notes on missing rows, and on its alpha.

    Raises:
        BadInput: a JPEG is more truncated than is allowed, if `truncated` allows it at all.
    """
    notes = ()
    try:
        picture.load()
    except OSError as error:
        ends = picture.format in ("JPEG", "MPO") and "truncated" in str(error)
        if not truncated or not ends:
            raise
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            picture.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        gray = (np.asarray(picture.convert("RGB")) == FILLED).all(axis=(1, 2))
        missing = gray[::-1].argmin() if not gray.all() else len(gray)
        if missing > MISSING * len(gray):
            why = f"it is a corrupt image (truncated: {missing} of {len(gray)} rows are missing)"
            raise BadInput(path, why, REMEDY) from None
        notes = ("the JPEG is slightly truncated, and its last rows are gray",)
    if "A" in picture.getbands() and picture.getchannel("A").getextrema()[0] < OPAQUE:
        notes += ("its alpha channel, transparent in parts, is ignored",)
    return notes


def exif_orientation(picture):
    """Return the EXIF orientation of a decoded picture, by default 1."""
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def opened(path, file):
    """Open a picture without decoding it, if it is the only one and not too large."""
    picture = Image.open(file, formats=FORMATS)
    width, height = picture.size
    if not 0 < width * height <= MAX_PIXELS:
        raise BadInput(
            path,
            f"its header declares {width} x {height} pixels, but the limit is {MAX_PIXELS:,}",
            "Split it into tiles, or copy it again if it is corrupt",
        )
    bands, size = len(picture.getbands()), SIZES.get(picture.mode, 1)
    afford(path, width * height * bands * (3 * size + 4), "Split it into tiles")  # as floats too
    pictures = getattr(picture, "n_frames", 1)
    if pictures > 1 and picture.format != "MPO":  # MPO: a phone's JPEG with a preview
        raise BadInput(path, f"it contains {pictures} images", "Save each in its own file")
    return picture


def packing_of(picture):
    """Return Pillow's raw mode of a picture that is not decoded yet."""
    args = picture.tile[0].args if picture.tile else ""
    return args if isinstance(args, str) else str(args[0])


def repacked(args, packing):
    """Return the arguments of a tile's decoder with another packing."""
    return packing if isinstance(args, str) else (packing, *args[1:])


def check_strips(path, picture):
    """Raise unless the strips or tiles of a TIFF cover it: Pillow leaves missing ones black."""
    width, height = picture.tag_v2[IMAGEWIDTH], picture.tag_v2[IMAGELENGTH]
    right, bottom = (max(tile.extents[i] for tile in picture.tile) for i in (2, 3))
    if right < width or bottom < height:
        raise BadInput(
            path, f"its data cover {right} x {bottom} of {width} x {height} pixels", REMEDY
        )


def planar(picture):
    """Return whether a TIFF has planar samples of more than 8 bits: Pillow decodes them wrongly."""
    if picture.format != "TIFF" or picture.tag_v2.get(PLANAR_CONFIGURATION, 1) != 2:
        return False
    return max(picture.tag_v2.get(BITSPERSAMPLE, (1,))) > 8


def pixels(image):
    """Return the pixels of a `Decoded`: (H, W) or (H, W, C), in their stored type."""
    if image.array is not None:
        return image.array
    picture = image.picture
    if image.low is not None:
        return np.asarray(picture.convert("RGB"), np.uint16) << 8 | image.low
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)  # in the byte order of this machine
    if picture.mode in ("1", "I", "F"):
        return np.asarray(picture)
    return np.asarray(picture.convert("L" if picture.mode in ("L", "LA") else "RGB"))


@contextlib.contextmanager
def pillow_errors(path):
    """Convert the errors of Pillow to `BadInput`, and ignore its warnings."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (BadInput, ImportError):
        raise
    except MemoryError as error:
        raise BadInput(path, "it does not fit in memory", "Split it into tiles") from error
    except FileNotFoundError as error:
        raise BadInput(path, "there is no such file") from error
    except UnidentifiedImageError as error:
        raise BadInput(
            path, f"it is a corrupt image, or not one of {', '.join(FORMATS)}", REMEDY
        ) from error
    except Exception as error:  # corrupt files make Pillow raise many kinds of errors
        reason = str(error).rstrip(".") or type(error).__name__
        raise BadInput(path, f"it is a corrupt image ({reason})", REMEDY) from error


def find_images(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Return the images of files and folders given on a command line, in order.

    Raises:
        BadInput: a path does not exist, is not an image, or is a folder without images.
    """
    files = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            images, _ = divide(walk(path), EXTENSIONS)
            if not images:
                raise BadInput(path, "the folder contains no images", f"Use {formats()}")
            files += images
        elif not path.exists():
            raise BadInput(path, "there is no such file or folder")
        elif path.suffix.lower() not in EXTENSIONS:
            raise BadInput(path, "it is not an image format", f"Use {formats()}")
        else:
            files.append(path)
    return files


def formats() -> str:
    """Return the formats as text for a message."""
    return ", ".join(EXTENSIONS)
