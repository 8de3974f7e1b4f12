"""Matlab's .mat files of versions 5 to 7: matrices, structures and cells.

"MAT-File Format", https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf, chapter 1.
scipy.io.loadmat supports more of it, but crashes the process on corrupt files.
"""

import pathlib
import struct
import zlib

import numpy as np

from datasets.readers.files import budget, read_bytes
from datasets.source import BadInput

HEADER = 128  # bytes
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
CELL, STRUCTURE, NUMBERS = 1, 2, range(6, 16)  # array types
DEPTH = 8  # of nested structures and cells


def read(path: pathlib.Path) -> dict:
    """Read the variables of a .mat file.

    Returns:
        {name: value}: a matrix is a NumPy array; a structure {field: value}, or a list of these;
        a cell array is the list of its values; anything else is None.

    Raises:
        BadInput: the file has another version, or is corrupt.
    """
    raw = read_bytes(path)
    order = {b"IM": "<", b"MI": ">"}.get(raw[126:HEADER])
    if raw[:8] == b"\x89HDF\r\n\x1a\n" or raw.startswith(b"MATLAB 7.3") or not order:
        why = "it is not a .mat file of Matlab's versions 5 to 7"
        raise BadInput(path, why, "save(file, 'mask', '-v7')")
    try:
        variables = {}
        for kind, data in elements(raw[HEADER:], order):
            if kind == COMPRESSED:
                data = decompressed(data)
                kind, data = next(elements(data, order))
            if kind == MATRIX:
                name, value = matrix(data, order)
                variables[name] = value
        return variables
    except (ValueError, struct.error, zlib.error, StopIteration, KeyError, IndexError) as error:
        raise BadInput(path, f"it is a corrupt .mat file ({error})", "Save it again") from error


def decompressed(data):
    """Return decompressed data, up to the memory limit, after comparing its checksum."""
    stream = zlib.decompressobj()
    out = stream.decompress(data, budget())
    if not stream.eof:
        raise ValueError("it is cut off, or too large")
    return out


def elements(data, order):
    """Yield the (type, bytes) of consecutive elements."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start = place + 8
        if kind >> 16:  # up to four bytes are in the tag itself
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            place = start + size + (-size % 8 if kind != COMPRESSED else 0)
        if start + size > len(data):
            raise ValueError("it ends too early")
        yield kind, data[start : start + size]


def matrix(data, order, depth=0):
    """Return the name and the value of a matrix."""
    if not data:
        return "", None
    if depth > DEPTH:
        raise ValueError(f"more than {DEPTH} nested structures")
    parts = elements(data, order)
    flags, sizes, name = (numbers(*next(parts), order) for _ in range(3))
    kind, shape = int(flags[0]) & 0xFF, [int(size) for size in sizes]
    name = bytes(name.astype(np.uint8)).decode("utf-8", "replace")
    if kind in NUMBERS:
        values = numbers(*next(parts), order)
        return name, values.reshape(shape, order="F")
    if kind == CELL:
        return name, [matrix(part, order, depth + 1)[1] for _, part in parts]
    if kind == STRUCTURE:
        (length,) = numbers(*next(parts), order)
        _, text = next(parts)
        fields = [text[i : i + length] for i in range(0, len(text), max(1, int(length)))]
        fields = [field.partition(b"\0")[0].decode("utf-8", "replace") for field in fields]
        values = [matrix(part, order, depth + 1)[1] for _, part in parts]
        width = max(1, len(fields))
        rows = [values[i : i + width] for i in range(0, len(values), width)]
        structures = [dict(zip(fields, row, strict=True)) for row in rows]
        return name, structures[0] if len(structures) == 1 else structures
    return name, None


def numbers(kind, data, order):
    """Return the array (n,) of an element, in the byte order of the machine."""
    dtype = np.dtype(order + TYPES[kind])
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
