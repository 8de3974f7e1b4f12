"""One image or one mask from one file, whatever its format, checked before anyone computes with it.

Pillow decodes; what it would silently lose (the lower bytes of 16-bit colours, the raw values of
2- and 4-bit grays, the checksums of a PNG) is kept here; a TIFF of more bands than gray or RGB is
decoded by `datasets.readers.images.tiff`.
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
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")  # Pillow's other decoders are never asked
MAX_PIXELS = 2**30
Image.MAX_IMAGE_PIXELS = None  # Pillow's limit would refuse a survey's tiles; ours is in opened()

REMEDY = "Copy it again, or save it as PNG, or as TIFF of 8 or 16 bits"
GRAY_STEPS = {"2": 85, "4": 17}  # Pillow spreads the grays of 2 and 4 bits over 0 to 255
MISSING = 0.05  # share of a truncated JPEG's rows that may be missing
OPAQUE = 255
THRESHOLD = 128  # between black and white in masks that JPEG blurred
BLURRED = 64  # how far from black and white JPEG moves values at edges
EDGES = 0.05  # share of a mask's pixels that may be farther
SIZES = {"I": 4, "F": 4, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # bytes a value
FILLED = 128  # the gray that fills them
SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image as it was read.

    Attributes:
        pixels: (H, W, C), upright.
        orientation: EXIF's number of how the stored pixels lie: 1 is upright.
        notes: sentences on what was left out.
    """

    pixels: np.ndarray
    orientation: int = 1
    notes: tuple[str, ...] = ()


def read_picture(path: pathlib.Path) -> Picture:
    """Read an image in any of `EXTENSIONS`, turned upright as its EXIF data say.

    Its pixels are (H, W, C), C = 1 for gray, 3 for colours and as many as a TIFF has bands, without
    alpha: uint8 0-255; uint16 where the file has 16 bits; float32 where it has floats or integers
    of other sizes, as they stand. A JPEG that ends early is read if no more than 5 % of its rows
    are missing.

    Raises:
        BadInput: the file is missing, empty, truncated, damaged, holds several pictures or values
            that are not finite, needs too much memory, or is no image.
    """
    path = pathlib.Path(path)
    with sound(path):
        found = decoded(path, truncated=True)
        array = pixels(found)
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype not in (np.uint8, np.uint16):
        array = array.astype(np.float32)
        bad = ~np.isfinite(array)
        if bad.any():
            raise BadInput(path, f"{bad.sum()} of its values are NaN or infinite", "Replace them")
    array = array if array.ndim == 3 else array[..., None]
    return Picture(array, found.orientation, found.notes)


def read_image(path: pathlib.Path) -> np.ndarray:
    """Return the pixels (H, W, C) of an image, see `read_picture`."""
    return read_picture(path).pixels


def read_example(path: pathlib.Path) -> dict:
    """Read an image as the `image` of an example, with "notes" on it if there are any."""
    picture = read_picture(path)
    return {"image": picture.pixels, **({"notes": picture.notes} if picture.notes else {})}


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return an array (H, W, ...), stored by one of EXIF's orientations, upright."""
    flips = {2: (1,), 3: (0, 1), 4: (0,), 7: (0, 1)}
    array = np.flip(array, flips[orientation]) if orientation in flips else array
    if orientation in (5, 7):
        return array.swapaxes(0, 1)
    return np.rot90(array, {6: -1, 8: 1}.get(orientation, 0))


def read_mask(path: pathlib.Path, colours: bool = False) -> np.ndarray:
    """Read the values of a mask as they are stored: of a palette the indices, of 1 bit 0 and 1.

    Args:
        path: a file in any of `EXTENSIONS`.
        colours: give what is stored in colours, palettes included, as colours even where it is
            gray.

    Returns:
        (H, W) integers; or (H, W, 3), uint8 or uint16, where the mask is in colours. Where all
        pixels have one colour and only their alpha differs, this is the mask. A JPEG becomes 0 and
        255, for it changes all values.

    Raises:
        BadInput: as for `read_image`, and if values are not whole numbers, or a JPEG holds other
            than black and white.
    """
    path = pathlib.Path(path)
    with sound(path):
        found = decoded(path)
        if found.lossy:
            return black_and_white(path, found.picture)
        if (alpha := alpha_mask(found.picture)) is not None:
            return alpha
        if found.picture and found.picture.mode in ("P", "PA") and not colours:
            indices = np.asarray(found.picture)
            return indices if indices.ndim == 2 else indices[..., 0]
        array = pixels(found)
    if gray := re.match("L;([24])", found.packing):
        array = array // GRAY_STEPS[gray[1]]
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype == np.float32:
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int32)
        if not (whole == array).all():
            raise BadInput(path, "its values are not whole numbers", "Save class numbers as PNG")
        return whole
    if array.ndim == 3 and array.shape[-1] != 3:
        raise BadInput(
            path, f"the mask has {array.shape[-1]} bands", "Save one class number a pixel"
        )
    if array.ndim == 3 and not colours and (array == array[..., :1]).all():
        return array[..., 0]
    return array


def black_and_white(path, picture):
    """Return a JPEG (H, W) uint8 as 0 and 255; raises `BadInput` if it holds other values."""
    values = np.asarray(picture.convert("RGB")).astype(np.int16)
    middle = (values >= BLURRED) & (values <= 255 - BLURRED)
    colours = np.ptp(values, axis=-1) > BLURRED
    share = (middle.any(axis=-1) | colours).mean()
    if share > EDGES or 0 < values.max() < 255 - BLURRED:
        raise BadInput(
            path,
            "the mask is a JPEG that is not black and white: JPEG changes values, so that numbers "
            "and colours of classes are lost",
            "Save masks as PNG, from what they were made of",
        )
    return np.where(values.mean(axis=-1) >= THRESHOLD, 255, 0).astype(np.uint8)


def alpha_mask(picture):
    """Return the alpha (H, W) of a picture that is of one colour and transparent in parts."""
    if picture is None or picture.mode not in ("LA", "RGBA"):
        return None
    *colours, (low, high) = picture.getextrema()
    if low == high or any(bottom != top for bottom, top in colours):
        return None
    return np.asarray(picture.getchannel("A"))


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """Read (H, W) of an image, as `read_image` gives it, from its header.

    Raises:
        BadInput: the header is missing or damaged.
    """
    check_regular(path)
    with sound(path), open(path, "rb") as file:
        header = tiff.header(file)
        if header and header.more:
            return header.size
        picture = opened(path, file)
        width, height = picture.size
        if picture.format == "TIFF":  # of which Pillow gives the upright size
            return height, width
        known = picture.format != "PNG" or "exif" in picture.info  # else a PNG would be decoded
        orientation = picture.getexif().get(ExifTags.Base.Orientation) if known else 1
        return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Attributes:
        picture: the Pillow image, upright; None where Pillow does not read it.
        packing: how the file packs its pixels, in Pillow's words: "RGB;16B".
        low: the lower bytes (H, W, 3) uint8 of 16-bit colours, else None.
        array: the pixels (H, W, C), upright, if Pillow does not read them, else None.
        orientation: of the stored pixels, as EXIF numbers it.
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
        """Whether the file's format changes values: JPEG."""
        return self.picture is not None and self.picture.format in ("JPEG", "MPO")


def decoded(path, truncated=False):
    """Decode a file; raises `BadInput`, and whatever Pillow raises on damaged files.

    Of 16-bit colours Pillow keeps the upper bytes, so these are decoded once more, as if the two
    bytes of each value stood the other way round. A JPEG may be slightly `truncated`.
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
            f"its 16-bit pixels are packed in a way that is not read ({packing})",
            "Save it as gray or RGB without alpha, interleaved",
        )
    notes = loaded(path, picture, truncated)
    orientation = header.orientation if header else exif_orientation(picture)
    ImageOps.exif_transpose(picture, in_place=True)
    return Decoded(picture, packing, low, orientation=orientation, notes=notes)


def loaded(path, picture, truncated):
    """Decode a picture in place; return notes on what it lacks, and on its alpha.

    Raises:
        BadInput: more of a JPEG is missing than may be, if it may be `truncated` at all.
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
        notes += ("its alpha channel, transparent in parts, is left out",)
    return notes


def exif_orientation(picture):
    """Return EXIF's number of how the pixels of a decoded picture lie, 1 if there is none."""
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def opened(path, file):
    """Open a picture that is not decoded yet, if it is alone and not too large."""
    picture = Image.open(file, formats=FORMATS)
    width, height = picture.size
    if not 0 < width * height <= MAX_PIXELS:
        raise BadInput(
            path,
            f"its header declares {width} x {height} pixels, and at most {MAX_PIXELS:,} are read",
            "Cut it into tiles, or copy it again if it is damaged",
        )
    bands, size = len(picture.getbands()), SIZES.get(picture.mode, 1)
    afford(path, width * height * bands * (3 * size + 4), "Cut it into tiles")  # with its floats
    pictures = getattr(picture, "n_frames", 1)
    if pictures > 1 and picture.format != "MPO":  # a phone's JPEG: a second one aids its display
        raise BadInput(path, f"it holds {pictures} pictures", "Save each as a file of its own")
    return picture


def packing_of(picture):
    """Return how a picture that is not decoded yet packs its pixels."""
    args = picture.tile[0].args if picture.tile else ""
    return args if isinstance(args, str) else str(args[0])


def repacked(args, packing):
    """Return the arguments of a tile's decoder with another packing."""
    return packing if isinstance(args, str) else (packing, *args[1:])


def check_strips(path, picture):
    """Raise unless the strips or tiles of a TIFF cover it: Pillow leaves what they do not black."""
    width, height = picture.tag_v2[IMAGEWIDTH], picture.tag_v2[IMAGELENGTH]
    right, bottom = (max(tile.extents[i] for tile in picture.tile) for i in (2, 3))
    if right < width or bottom < height:
        raise BadInput(
            path, f"its data cover {right} x {bottom} of {width} x {height} pixels", REMEDY
        )


def planar(picture):
    """Tell whether a TIFF has samples of more than 8 bits, plane by plane: Pillow mistakes them."""
    if picture.format != "TIFF" or picture.tag_v2.get(PLANAR_CONFIGURATION, 1) != 2:
        return False
    return max(picture.tag_v2.get(BITSPERSAMPLE, (1,))) > 8


def pixels(found):
    """Return the pixels of a `Decoded`: (H, W) or (H, W, C), in the type that they have."""
    if found.array is not None:
        return found.array
    picture = found.picture
    if found.low is not None:
        return np.asarray(picture.convert("RGB"), np.uint16) << 8 | found.low
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)  # of this machine's byte order
    if picture.mode in ("1", "I", "F"):
        return np.asarray(picture)
    return np.asarray(picture.convert("L" if picture.mode in ("L", "LA") else "RGB"))


@contextlib.contextmanager
def sound(path):
    """Make `BadInput` of whatever Pillow raises on a file, and keep its warnings quiet."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (BadInput, ImportError):
        raise
    except MemoryError as error:
        raise BadInput(path, "it does not fit in memory", "Cut it into tiles") from error
    except FileNotFoundError as error:
        raise BadInput(path, "there is no such file") from error
    except UnidentifiedImageError as error:
        raise BadInput(
            path, f"it is a corrupt image, or none of {', '.join(FORMATS)}", REMEDY
        ) from error
    except Exception as error:  # damaged files make Pillow raise a dozen kinds
        reason = str(error).rstrip(".") or type(error).__name__
        raise BadInput(path, f"it is a corrupt image ({reason})", REMEDY) from error


def find_images(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Expand files and folders, as given on a command line, to the images they hold, in order.

    Raises:
        BadInput: a path does not exist, is no image, or is a folder without any.
    """
    found = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            images, _ = divide(walk(path), EXTENSIONS)
            if not images:
                raise BadInput(path, "the folder holds no images", f"Use {formats()}")
            found += images
        elif not path.exists():
            raise BadInput(path, "there is no such file or folder")
        elif path.suffix.lower() not in EXTENSIONS:
            raise BadInput(path, "it is no format of images", f"Use {formats()}")
        else:
            found.append(path)
    return found


def formats() -> str:
    """Return the formats as words for a message."""
    return ", ".join(EXTENSIONS)
