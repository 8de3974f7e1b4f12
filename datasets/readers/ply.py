"""Polygon files (.ply): a header that describes records, then the records as text or bytes.

Turk, The PLY polygon file format, 1994. Read with NumPy because Open3D's parser returns clouds of
full length with uninitialised memory when an ASCII file is cut short.
"""

import dataclasses
import pathlib

import numpy as np

from datasets.readers.files import read_bytes
from datasets.readers.tables import label_name, numbers
from datasets.source import BadInput

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
HEADER_LIMIT = 1 << 16
REMEDY = "Copy it again, or write it anew with the program it comes from"


@dataclasses.dataclass
class Element:
    """One kind of record: `lists` says whether its records have no fixed length."""

    name: str
    count: int
    fields: list[tuple[str, str]]
    lists: bool = False


def read_ply(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the vertices of a .ply file.

    Returns:
        Coordinates (n, 3) in the file's own type, and labels (n,) or None.

    Raises:
        BadInput: the header is wrong, or the file's length is not the one that it declares.
    """
    raw = read_bytes(path)
    layout, elements, start = header(path, raw)
    order = [element.name for element in elements]
    if order.count("vertex") != 1:
        raise BadInput(path, "its header declares no vertices", REMEDY)
    at = order.index("vertex")
    vertex, before = elements[at], elements[:at]
    names = [name for name, _ in vertex.fields]
    if vertex.lists or not {"x", "y", "z"} <= set(names) or len(set(names)) < len(names):
        raise BadInput(path, f"its vertices have no single x, y and z but {names}", REMEDY)
    if layout == "ascii":
        records = ascii_records(path, raw[start:], elements, sum(e.count for e in before), vertex)
        column = {name: records[:, i] for i, name in enumerate(names)}
    else:
        column = binary_records(path, raw, start, elements, before, vertex, ORDERS[layout])
    label = label_name(names)
    xyz = np.stack([column[axis] for axis in "xyz"], axis=1)
    return xyz, None if label is None else column[label]


def header(path, raw):
    """Parse the header into the layout, the elements and the position where the records start."""
    end = raw.find(b"end_header", 0, HEADER_LIMIT)
    stop = raw.find(b"\n", end)
    if not raw.startswith(b"ply") or end < 0 or stop < 0 or raw[end + 10 : stop].strip():
        raise BadInput(path, "it has no complete .ply header", REMEDY)
    layout, elements = None, []
    try:
        for line in raw[3:end].decode("ascii").splitlines():
            match line.split():
                case [] | ["comment" | "obj_info", *_]:
                    continue
                case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian"), "1.0"]:
                    layout = line.split()[1]
                case ["element", name, count] if count.isdecimal():
                    elements.append(Element(name, int(count), []))
                case ["property", "list", _, _, _] if elements:
                    elements[-1].lists = True
                case ["property", kind, name] if elements and kind in TYPES:
                    elements[-1].fields.append((name, TYPES[kind]))
                case _:
                    raise BadInput(path, f"its header has a line {line.strip()!r}", REMEDY)
    except UnicodeDecodeError as error:
        raise BadInput(path, "its header is not text", REMEDY) from error
    if layout is None:
        raise BadInput(path, "its header names no format", REMEDY)
    return layout, elements, stop + 1


def binary_records(path, raw, start, elements, before, vertex, order):
    """View the vertices' bytes as a record array, once the declared length is the file's."""
    if any(element.lists and element.count for element in before):
        raise BadInput(path, "lists stand before its vertices", "Save the vertices first")

    def size(element):
        return element.count * sum(np.dtype(kind).itemsize for _, kind in element.fields)

    open_ended = any(element.lists and element.count for element in elements)
    start += sum(size(element) for element in before)
    need = start + size(vertex)
    if not open_ended:
        total = need + sum(size(element) for element in elements[len(before) + 1 :])
        wrong = total != len(raw)
    else:
        total, wrong = need, need > len(raw)
    if wrong:
        raise BadInput(
            path,
            f"its header declares {vertex.count} vertices, {total} bytes in all, "
            f"and the file has {len(raw)}",
            REMEDY,
        )
    kind = np.dtype([(name, order + code) for name, code in vertex.fields])
    return np.frombuffer(raw, kind, vertex.count, start)


def ascii_records(path, body, elements, skip, vertex):
    """Parse the vertices' lines, once there are as many lines as the header declares."""
    try:
        lines = [line for line in body.decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(path, "its records are not text", REMEDY) from error
    total = sum(element.count for element in elements)
    if len(lines) != total:
        raise BadInput(path, f"its header declares {total} lines and {len(lines)} follow", REMEDY)
    records = numbers(path, lines[skip : skip + vertex.count])
    if len(records) and records.shape[1] != len(vertex.fields):
        raise BadInput(
            path,
            f"a line holds {records.shape[1]} numbers and the header declares "
            f"{len(vertex.fields)} properties",
            REMEDY,
        )
    return records
