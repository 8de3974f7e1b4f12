"""Airborne surveys (.las, compressed .laz): world coordinates and a classification code a point.

ASPRS, LAS Specification 1.4 - R15, 2019: tables 3 (header) and 17 (classes). laspy and lazrs do
the reading; the header is compared with the file's length first, because laspy reads on for minutes
where a damaged header declares billions of records, and lazrs panics.
"""

import pathlib
import re
import struct

import numpy as np

from datasets.readers.clouds import crs
from datasets.readers.clouds.laz import check_chunks
from datasets.readers.clouds.units import RawCloud
from datasets.readers.files import afford
from datasets.source import BadInput

CLASS_NAMES = {
    1: "other", 2: "ground", 3: "low vegetation", 4: "medium vegetation", 5: "high vegetation",
    6: "building", 7: "low noise", 8: "model key point", 9: "water", 10: "rail", 11: "road",
    12: "overlap", 13: "wire guard", 14: "wire", 15: "tower", 16: "wire connector",
    17: "bridge deck", 18: "high noise", 19: "overhead structure", 20: "ignored ground",
    21: "snow", 22: "temporal exclusion", 26: "civil structure",
}  # fmt: skip # 1 is what a survey looked at and gave no class; 26 is the Dutch AHN's own
CHUNK = 1_000_000
TAKES = 100  # bytes of memory that a point takes while it is read, about
REMEDY = "Copy it again, or write it anew with the program it comes from"


def read_las(path: pathlib.Path) -> RawCloud:
    """Read a .las or .laz file.

    Returns:
        World coordinates (n, 3) float64, ASPRS classification codes (n,) uint8, and the unit that
        the header's reference system has: 0 where these are degrees.

    Raises:
        BadInput: it is no LAS file, or truncated, or damaged.
    """
    import laspy

    size = path.stat().st_size
    points = check_header(path, size)
    afford(path, TAKES * points)
    wanted = laspy.DecompressionSelection.CLASSIFICATION | laspy.DecompressionSelection.Z
    wanted |= laspy.DecompressionSelection.base()
    xyz, codes = [np.empty((0, 3))], [np.empty(0, np.uint8)]
    try:
        with laspy.open(path, decompression_selection=wanted) as reader:
            if reader.header.are_points_compressed:
                check_chunks(path, reader.header, size)
            for chunk in reader.chunk_iterator(CHUNK):
                xyz.append(np.stack([chunk.x, chunk.y, chunk.z], axis=1))
                codes.append(np.array(chunk.classification, np.uint8))
                points -= len(chunk)
            metres = unit_of(reader)
    except (BadInput, MemoryError, KeyboardInterrupt, SystemExit):  # not laspy's
        raise
    except BaseException as error:  # a Rust panic in lazrs is no Exception
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(path, f"laspy cannot read it ({why})", REMEDY) from None
    if points:
        raise BadInput(path, f"{points} of the points that its header declares are missing", REMEDY)
    return RawCloud(np.concatenate(xyz), np.concatenate(codes), metres=metres)


def unit_of(reader):
    """Return the metres in the unit of each axis, 0 for degrees, None if the header names none."""
    vlrs = [*reader.header.vlrs, *(getattr(reader.header, "evlrs", None) or ())]
    return crs.metres({vlr.record_id: vlr.record_data_bytes() for vlr in vlrs
                       if vlr.user_id.strip("\0 ") == "LASF_Projection"})  # fmt: skip


def relabel(path: pathlib.Path, target: pathlib.Path, codes: np.ndarray) -> None:
    """Copy a .las or .laz file with other classification codes; all else stays as it is.

    Args:
        path: the file.
        target: the new one; it is compressed if its name ends in .laz.
        codes: (n,) uint8, one a point, in the file's order.
    """
    import laspy

    with laspy.open(path) as reader, laspy.open(target, mode="w", header=reader.header) as writer:
        at = 0
        for chunk in reader.chunk_iterator(CHUNK):
            chunk.classification = codes[at : at + len(chunk)]
            at += len(chunk)
            writer.write_points(chunk)


def labelled(path: pathlib.Path, labels: np.ndarray, classes) -> dict:
    """Return what writes a copy of a survey with predicted classes, by the ending of its name.

    Args:
        path: of the file.
        labels: (n,) indices of classes, in the order of its points.
        classes: their names.

    Returns:
        {".laz": function of the path to write}; {} where a class has no code, see `codes_of`.
    """
    codes = codes_of(path, classes)
    if codes is None:
        return {}
    return {
        path.suffix.lower(): lambda target: relabel(path, target, np.array(codes, np.uint8)[labels])
    }


def codes_of(path: pathlib.Path, classes) -> list[int] | None:
    """Return the classification code of each class by its name, as `CLASS_NAMES` or "class 64".

    Returns:
        None if a name stands for no code, or for one that the file's points have no room for.
    """
    known = {name: code for code, name in CLASS_NAMES.items()}
    codes = [known.get(name) for name in classes]
    for i, name in enumerate(classes):
        if codes[i] is None and (match := re.fullmatch(r"class (\d{1,3})", name)):
            codes[i] = int(match[1])
    with open(path, "rb") as file:
        kind = file.read(105)[104] & 0x3F
    most = 31 if kind < 6 else 255  # older points have five bits for it
    return None if any(code is None or code > most for code in codes) else codes


def check_header(path, size):
    """Compare the public header with the file's size in bytes; return the number of points."""
    with open(path, "rb") as file:
        head = file.read(375).ljust(375, b"\0")
    minor = head[25]
    length, start, records, kind, record = struct.unpack_from("<HIIBH", head, 94)
    (points,) = struct.unpack_from("<I", head, 107)
    extra = 0
    if minor >= 4:
        _, extra, points = struct.unpack_from("<QIQ", head, 235)
    if size == 0:
        raise BadInput(path, "the file is empty", "Remove it or copy it again")
    if head[:4] != b"LASF" or head[24] != 1 or minor > 4:
        raise BadInput(path, "it is no LAS file of version 1.0 to 1.4", REMEDY)
    if length < 227 or start < length + 54 * records or start > size or extra * 60 > size:
        raise BadInput(path, f"its header does not fit a file of {size} bytes", REMEDY)
    if kind < 128:  # bit 7 says compressed
        declared = points * record
        left = size - start - declared
        if left < 0 or (left >= record and minor < 3):  # later versions may append other records
            raise BadInput(
                path,
                f"its header declares {points} points, {declared} bytes, and {size - start} follow",
                REMEDY,
            )
    return points
