"""Polygon files (.ply): a header that describes records, then the records as text or bytes.

Turk, The PLY polygon file format, 1994. Read with NumPy because Open3D's parser returns clouds of
full length with uninitialised memory if an ASCII file is truncated.
"""

import dataclasses
import pathlib
import re

import numpy as np

from datasets.readers.clouds import meshes
from datasets.readers.clouds.tables import label_name, numbers
from datasets.readers.clouds.units import RawCloud
from datasets.readers.files import read_bytes
from datasets.source import BadInput

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
HEADER_LIMIT = 1 << 16
REMEDY = "Copy it again, or write it again with the program that created it"


@dataclasses.dataclass
class Element:
    """One kind of record; `fields` are (name, type of the number).

    A list is (name, type of its items, type of its length).
    """

    name: str
    count: int
    fields: list[tuple]

    @property
    def lists(self):
        """Whether records can differ in length."""
        return any(len(field) == 3 for field in self.fields)

    @property
    def least(self):
        """Minimum size of a record in bytes: lists may be empty."""
        return sum(np.dtype(field[-1]).itemsize for field in self.fields)


def read_ply(path: pathlib.Path) -> RawCloud:
    """Read the vertices of a .ply file, or points on the faces of a mesh with few, unlabelled ones.

    Returns:
        Coordinates (n, 3) in the file's own type, and labels (n,) or None.

    Raises:
        BadInput: the header is wrong, or the size of the file is not the declared one.
    """
    raw = read_bytes(path)
    layout, elements, start = header(path, raw)
    order = [element.name for element in elements]
    if order.count("vertex") != 1:
        raise BadInput(path, "its header declares no vertices", REMEDY)
    for element in elements:
        names = [field[0] for field in element.fields]
        if len(set(names)) < len(names):
            raise BadInput(path, f"its {element.name!r} have a duplicate property: {names}", REMEDY)
    vertex = elements[order.index("vertex")]
    names = [field[0] for field in vertex.fields if len(field) == 2]
    if not {"x", "y", "z"} <= set(names):
        raise BadInput(path, f"its vertices have no single x, y and z but {names}", REMEDY)
    label = label_name(names)
    wanted = {"vertex": {"x", "y", "z", label}}
    if label is None and vertex.count < meshes.POINTS:
        wanted["face"] = {"vertex_indices", "vertex_index"}
    if layout == "ascii":
        columns_of = text_records(path, raw[start:], elements, wanted)
    else:
        columns_of = binary_records(path, raw, start, elements, wanted, ORDERS[layout])
    column = columns_of["vertex"]
    xyz = np.stack([column[axis] for axis in "xyz"], axis=1)
    polygons = next(iter(columns_of.get("face", {}).values()), ())
    triangles = meshes.fans([polygon for polygon in polygons if len(polygon) > 2])
    if len(triangles):
        return meshes.on_faces(path, xyz, triangles)
    return RawCloud(xyz, None if label is None else column[label])


def header(path, raw):
    """Parse the header into the layout, the elements and the position where the records start."""
    end = re.search(rb"\n[ \t]*end_header[ \t\r]*\n", raw[:HEADER_LIMIT])
    if not re.match(rb"ply[ \t\r]*\n", raw) or not end:
        raise BadInput(path, "it has no complete .ply header", REMEDY)
    layout, elements = None, []
    for line in raw[3 : end.start()].decode("latin-1").split("\n"):  # comments can have any bytes
        match line.split():
            case [] | ["comment" | "obj_info", *_]:
                continue
            case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian"), "1.0"]:
                layout = line.split()[1]
            case ["element", name, count] if re.fullmatch(r"[0-9]{1,18}", count):
                elements.append(Element(name, int(count), []))
            case ["property", "list", length, kind, name] if (
                elements and TYPES.get(length, "f")[0] != "f" and kind in TYPES
            ):
                elements[-1].fields.append((name, TYPES[kind], TYPES[length]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].fields.append((name, TYPES[kind]))
            case _:
                shown = ascii(line.strip()[:80])
                raise BadInput(path, f"its header has a line {shown}", REMEDY)
    if layout is None:
        raise BadInput(path, "its header has no format", REMEDY)
    return layout, elements, end.end()


def binary_records(path, raw, at, elements, wanted, order):
    """Read the wanted columns of elements, {element: {name: column}}.

    The declared size is compared with the file before memory is allocated. Further bytes are
    allowed only if lists follow the wanted elements, because their length is unknown.
    """
    columns_of = {}
    for number, element in enumerate(elements):
        later = elements[number:]
        need = at + sum(e.count * e.least for e in later)
        if need > len(raw) or (need < len(raw) and not any(e.lists and e.count for e in later)):
            raise BadInput(
                path,
                f"its header declares {element.count} records {element.name!r}, {need} bytes in "
                f"total, but the file has {len(raw)}",
                REMEDY,
            )
        if element.lists:
            if not any(e.name in wanted for e in later):
                break
            columns_of[element.name], at = with_lists(path, raw, at, element, order)
        else:
            if element.name in wanted and element.fields:
                kind = np.dtype([(name, order + code) for name, code in element.fields])
                columns_of[element.name] = np.frombuffer(raw, kind, element.count, at)
            at += element.count * element.least
    return {
        name: pick(columns, wanted[name]) for name, columns in columns_of.items() if name in wanted
    }


def pick(columns, names):
    """Return the columns of some names, if they exist."""
    known = columns.dtype.names if isinstance(columns, np.ndarray) else columns
    return {name: columns[name] for name in known if name in names}


def with_lists(path, raw, at, element, order):
    """Read records with lists as properties, {name: column}, and return their end.

    Most files have lists of one length, like triangles: these are read together.
    """
    lengths = {}
    if element.count:
        _, _, lengths = record(path, raw, at, element, order)
    fields = []
    for field in element.fields:
        if len(field) == 3:
            fields.append((f"length of {field[0]}", order + field[2]))
            fields.append((field[0], order + field[1], (lengths.get(field[0], 0),)))
        else:
            fields.append((field[0], order + field[1]))
    kind = np.dtype(fields)
    if at + element.count * kind.itemsize <= len(raw):
        rows = np.frombuffer(raw, kind, element.count, at)
        if all((rows[f"length of {name}"] == length).all() for name, length in lengths.items()):
            return rows, at + element.count * kind.itemsize
    columns = {field[0]: [] for field in element.fields}
    for _ in range(element.count):
        values, at, _ = record(path, raw, at, element, order)
        for name, value in values.items():
            columns[name].append(value)
    return {
        field[0]: columns[field[0]] if len(field) == 3 else np.array(columns[field[0]])
        for field in element.fields
    }, at


def record(path, raw, at, element, order):
    """Read one record: its values by name, its end, and the lengths of its lists."""
    values, lengths = {}, {}
    try:
        for name, code, *length in element.fields:
            count = 1
            if length:
                count = int(np.frombuffer(raw, order + length[0], 1, at)[0])
                at += np.dtype(length[0]).itemsize
                lengths[name] = count
            kind = np.dtype(order + code)
            if not 0 <= count * kind.itemsize <= len(raw) - at:
                raise ValueError
            items = np.frombuffer(raw, kind, count, at) if count else np.empty(0, kind)
            values[name] = items if length else items[0]
            at += count * kind.itemsize
    except ValueError as error:
        why = f"its records {element.name!r} end before the declared {element.count}"
        raise BadInput(path, why, REMEDY) from error
    return values, at, lengths


def text_records(path, body, elements, wanted):
    """Parse the lines of the wanted elements, after checking their number."""
    try:
        lines = [line for line in body.decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(path, "its records are not text", REMEDY) from error
    total = sum(element.count for element in elements)
    if len(lines) != total:
        raise BadInput(path, f"its header declares {total} lines, but {len(lines)} follow", REMEDY)
    columns_of, at = {}, 0
    for element in elements:
        rows, at = lines[at : at + element.count], at + element.count
        if element.name in wanted:
            parse = split_lists if element.lists else split_numbers
            columns_of[element.name] = pick(parse(path, rows, element), wanted[element.name])
    return columns_of


def split_numbers(path, lines, element):
    """Parse lines with the same number of columns, {name: column}."""
    records = numbers(path, lines)
    if len(records) and records.shape[1] != len(element.fields):
        raise BadInput(
            path,
            f"a line has {records.shape[1]} numbers, but the header declares "
            f"{len(element.fields)} properties",
            REMEDY,
        )
    return {
        name: records[:, i] if len(records) else records[:, 0]
        for i, (name, _) in enumerate(element.fields)
    }


def split_lists(path, lines, element):
    """Parse lines with lists, each after its length, {name: column}."""
    columns = {field[0]: [] for field in element.fields}
    for line in lines:
        words = iter(line.split())
        try:
            for name, kind, *length in element.fields:
                if length:
                    parse = float if kind[0] == "f" else int
                    columns[name].append([parse(next(words)) for _ in range(int(next(words)))])
                else:
                    columns[name].append(float(next(words)))
            if next(words, None) is not None:
                raise ValueError("more follows")
        except (ValueError, OverflowError, StopIteration) as error:
            why = f"the line {line[:40]!r} does not match the header"
            raise BadInput(path, why, REMEDY) from error
    return {
        field[0]: columns[field[0]] if len(field) == 3 else np.array(columns[field[0]])
        for field in element.fields
    }
