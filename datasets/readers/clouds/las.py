"""Airborne surveys (.las, compressed .laz): world coordinates and a classification code per point.

ASPRS, LAS Specification 1.4 - R15, 2019: tables 3 (header) and 17 (classes). laspy and lazrs read
the points; the header is compared with the file size first, because laspy reads for minutes if a
corrupt header declares billions of records, and lazrs panics.
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
}  # fmt: skip # 1 is unclassified; 26 is specific to the Dutch AHN
CHUNK = 1_000_000
TAKES = 100  # approximate bytes of memory per point while reading
REMEDY = "Copy it again, or write it again with the program that created it"


def read_las(path: pathlib.Path) -> RawCloud:
    """Read a .las or .laz file.

    Returns:
        World coordinates (n, 3) float64, ASPRS classification codes (n,) uint8, and the unit of
        the reference system in the header: 0 for degrees.

    Raises:
        BadInput: it is not a LAS file, or truncated, or corrupt.
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
    except (BadInput, MemoryError, KeyboardInterrupt, SystemExit):  # not errors of laspy
        raise
    except BaseException as error:  # a Rust panic in lazrs is not an Exception
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(path, f"laspy cannot read it ({why})", REMEDY) from None
    if points:
        raise BadInput(path, f"{points} of the points declared in its header are missing", REMEDY)
    return RawCloud(np.concatenate(xyz), np.concatenate(codes), metres=metres)


def unit_of(reader):
    """Return the unit of each axis in metres, 0 for degrees, None if the header has none."""
    vlrs = [*reader.header.vlrs, *(getattr(reader.header, "evlrs", None) or ())]
    return crs.metres({vlr.record_id: vlr.record_data_bytes() for vlr in vlrs
                       if vlr.user_id.strip("\0 ") == "LASF_Projection"})  # fmt: skip


def relabel(path: pathlib.Path, target: pathlib.Path, codes: np.ndarray) -> None:
    """Copy a .las or .laz file with other classification codes; all else is unchanged.

    Args:
        path: the file.
        target: the new file; it is compressed if its name ends in .laz.
        codes: (n,) uint8, one per point, in the order of the file.
    """
    import laspy

    with laspy.open(path) as reader, laspy.open(target, mode="w", header=reader.header) as writer:
        at = 0
        for chunk in reader.chunk_iterator(CHUNK):
            chunk.classification = codes[at : at + len(chunk)]
            at += len(chunk)
            writer.write_points(chunk)


def labelled(path: pathlib.Path, labels: np.ndarray, classes) -> dict:
    """Return functions that write a copy of a survey with predicted classes, by extension.

    Args:
        path: of the file.
        labels: (n,) indices of classes, in the order of its points.
        classes: their names.

    Returns:
        {".laz": function of the path to write}; {} if a class has no code, see `codes_of`.
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
        None if a name has no code, or a code too large for the file's point format.
    """
    code_of_name = {name: code for code, name in CLASS_NAMES.items()}
    codes = [code_of_name.get(name) for name in classes]
    for i, name in enumerate(classes):
        if codes[i] is None and (match := re.fullmatch(r"class (\d{1,3})", name)):
            codes[i] = int(match[1])
    with open(path, "rb") as file:
        point_format = file.read(105)[104] & 0x3F
    largest = 31 if point_format < 6 else 255  # older point formats have five bits for it
    return None if any(code is None or code > largest for code in codes) else codes


def check_header(path, size):
    """Check the public header against the file size in bytes; return the number of points."""
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
        raise BadInput(path, "it is not a LAS file of version 1.0 to 1.4", REMEDY)
    if length < 227 or start < length + 54 * records or start > size or extra * 60 > size:
        raise BadInput(path, f"its header does not match a file of {size} bytes", REMEDY)
    if kind < 128:  # bit 7 means compressed
        declared = points * record
        left = size - start - declared
        if left < 0 or (left >= record and minor < 3):  # later versions may append other records
            raise BadInput(
                path,
                f"its header declares {points} points, {declared} bytes, but {size - start} follow",
                REMEDY,
            )
    return points
