"""Point Cloud Data files (.pcd, version 0.7): ascii, binary and binary_compressed.

https://pointclouds.org/documentation/tutorials/pcd_file_format.html. Read with NumPy, like .ply, so
that the declared size is compared with the file before memory is allocated.
"""

import pathlib

import numpy as np

from datasets.readers.clouds.tables import label_name, numbers
from datasets.readers.clouds.units import RawCloud
from datasets.readers.files import afford, read_bytes
from datasets.source import BadInput

HEADER_LIMIT = 1 << 16
KINDS = {"F": (4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8)}  # bytes of each type
MOST = 1 << 40  # of points, and of numbers in a field: more than any file has
REMEDY = "Copy it again, or write it again with the program that created it"


def read_pcd(path: pathlib.Path) -> RawCloud:
    """Read a .pcd file.

    In an organised cloud (HEIGHT > 1) NaN is a ray without an echo: such points are left out.

    Returns:
        Coordinates (n, 3) in the file's own type, and labels (n,) or None.

    Raises:
        BadInput: the header is wrong, or the size of the file is not the declared one.
    """
    raw = read_bytes(path)
    entries, start = header(path, raw)
    fields, points, height = describe(path, entries)
    encoding, body = entries["DATA"][0], raw[start:]
    if encoding == "ascii":
        columns = ascii_columns(path, body, fields, points)
    elif encoding == "binary":
        record = sum(count * int(code[2:]) for _, code, count in fields)
        check_length(path, points, points * record, len(body))
        if record > MOST >> 10:  # for a file without points
            raise BadInput(path, f"its header declares {record} bytes a point", REMEDY)
        kind = np.dtype([(name, code, (count,)) for name, code, count in fields])
        columns = np.frombuffer(body, kind, points)
    else:
        columns = compressed_columns(path, body, fields, points)
    label = label_name([name for name, _, _ in fields])
    xyz = np.concatenate([columns[axis] for axis in "xyz"], axis=1)
    labels = None if label is None else columns[label][:, 0]
    if height > 1:
        valid = ~np.isnan(xyz).all(axis=1)
        xyz, labels = xyz[valid], None if labels is None else labels[valid]
    return RawCloud(xyz, labels)


def header(path, raw):
    """Parse the header's lines, up to DATA, into a dictionary of words and the body's position."""
    entries, start = {}, 0
    while "DATA" not in entries:
        stop = raw.find(b"\n", start, HEADER_LIMIT)
        if stop < 0:
            raise BadInput(path, "it has no complete .pcd header", REMEDY)
        words = raw[start:stop].decode("latin-1").split()
        if words and not words[0].startswith("#"):
            entries[words[0]] = words[1:]
        start = stop + 1
    return entries, start


def describe(path, entries):
    """Check the header and return fields [(name, type code, count)], the points and the height."""
    try:
        names, kinds = entries["FIELDS"], entries["TYPE"]
        sizes = [int(word) for word in entries["SIZE"]]
        counts = [int(word) for word in entries.get("COUNT", ["1"] * len(names))]
        (width,), (height,) = map(int, entries["WIDTH"]), map(int, entries["HEIGHT"])
        (points,) = map(int, entries.get("POINTS", [width * height]))
        (encoding,) = entries["DATA"]
        described = list(zip(names, map(str.upper, kinds), sizes, counts, strict=True))
    except (KeyError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise BadInput(path, f"its .pcd header is wrong ({why})", REMEDY) from error
    largest = max(width, height, points, *counts)
    if largest > MOST:
        what = f"{largest:,}" if largest < MOST**2 else "far too many"
        raise BadInput(path, f"its .pcd header declares {what} points or numbers", REMEDY)
    for name, kind, size, _ in described:
        if size not in KINDS.get(kind, ()):
            why = f"its field {ascii(name[:40])} is of type {ascii(kind[:40])} and {size} bytes"
            raise BadInput(path, why, "Fields are of type F, I or U and of 1, 2, 4 or 8 bytes")
    fields = [
        (f"padding {i}" if name == "_" else name, f"<{kind.lower()}{size}", count)
        for i, (name, kind, size, count) in enumerate(described)
    ]
    unique = {name: count for name, _, count in fields}
    if (
        min(width, height, points, *counts) < 0
        or width * height != points
        or len(unique) < len(fields)
        or encoding not in ("ascii", "binary", "binary_compressed")
    ):
        raise BadInput(path, "its .pcd header contradicts itself", REMEDY)
    label = label_name(list(unique))
    if [unique.get(axis) for axis in "xyz"] != [1, 1, 1] or (label and unique[label] != 1):
        raise BadInput(path, f"its fields have no single x, y and z but {names[:20]}", REMEDY)
    return fields, points, height


def check_length(path, points, declared, actual):
    """Raise unless the file has at least the number of bytes declared in its header."""
    if declared > actual:
        raise BadInput(
            path,
            f"its header declares {points} points, {declared} bytes, but {actual} follow",
            REMEDY,
        )


def ascii_columns(path, body, fields, points):
    """Parse as many lines as the header declares into columns (n, count)."""
    lines = [line for line in body.decode("latin-1").splitlines() if line.strip()]
    if len(lines) != points:
        raise BadInput(path, f"its header declares {points} lines, but {len(lines)} follow", REMEDY)
    ends = np.cumsum([count for _, _, count in fields])
    table = numbers(path, lines) if lines else np.empty((0, ends[-1]))
    if table.shape[1] != ends[-1]:
        raise BadInput(
            path, f"a line has {table.shape[1]} numbers, but the header declares {ends[-1]}", REMEDY
        )
    return {
        name: table[:, end - count : end]
        for (name, _, count), end in zip(fields, ends, strict=True)
    }


def compressed_columns(path, body, fields, points):
    """Decompress a body that is stored field by field into columns (n, count)."""
    if len(body) < 8:
        raise BadInput(path, "it ends before its points", REMEDY)
    packed, unpacked = (int(size) for size in np.frombuffer(body, "<u4", 2))
    sizes = [points * count * np.dtype(code).itemsize for _, code, count in fields]
    check_length(path, points, packed, len(body) - 8)
    if unpacked != sum(sizes):
        raise BadInput(
            path, f"{points} points need {sum(sizes)} bytes, but {unpacked} are stored", REMEDY
        )
    afford(path, 2 * unpacked)
    data = decompress(body[8 : 8 + packed], unpacked)
    if data is None:
        raise BadInput(path, "its compressed points are corrupt", REMEDY)
    columns, at = {}, 0
    for (name, code, count), size in zip(fields, sizes, strict=True):
        columns[name] = np.frombuffer(data, code, points * count, at).reshape(points, count)
        at += size
    return columns


def decompress(packed: bytes, size: int) -> bytes | None:
    """Decompress LZF: runs of literals and references to earlier output.

    Returns:
        The bytes, None unless there are exactly `size` of them.
    """
    out, at = bytearray(), 0
    try:
        while at < len(packed) and len(out) <= size:
            control = packed[at]
            at += 1
            if control < 32:  # a run of literals
                out += packed[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += packed[at]
                at += 1
            back = len(out) - ((control & 31) << 8) - packed[at] - 1
            at += 1
            length += 2
            if back < 0:
                return None
            chunk = out[back : back + length]  # shorter than length if it overlaps its own copy
            out += (chunk * -(-length // len(chunk)))[:length]
    except IndexError:
        return None
    return bytes(out) if len(out) == size and at == len(packed) else None
