"""Numbers written as text: .xyz, .txt and .csv files, and the bodies of ASCII .ply and .pcd."""

import pathlib
import re
import warnings
from collections.abc import Sequence

import numpy as np

from datasets.readers.clouds.units import METRES, RawCloud, unit
from datasets.readers.files import afford, read_bytes
from datasets.source import BadInput, flag

LABEL_NAMES = ("label", "labels", "class", "classification", "semantic")
AXES = {  # possible names of the columns of coordinates, the most specific first
    "x": ("x", "x_coord", "coord_x", "pos_x", "points:0", "points_0", "easting", "east", "e"),
    "y": ("y", "y_coord", "coord_y", "pos_y", "points:1", "points_1", "northing", "north", "n"),
    "z": ("z", "z_coord", "coord_z", "pos_z", "points:2", "points_2", "height", "elevation",
          "altitude", "h"),
}  # fmt: skip
COMMENT = re.compile(r"\s*(#|//)")
WITH_COMMA = re.compile(r"[-+]?\d*(,\d+)?(e[-+]?\d+)?", re.IGNORECASE)
GROUPED = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?")  # 1,234,567.8
GROUPS = re.compile(r"(?<=\d)[\u00a0\u2007\u2009\u202f'\u2019](?=\d{3}(?!\d))")  # 1 234 567
DECIMAL = re.compile(r"[-+]?(\d+|\d{1,3}(\.\d{3})+)?,\d*(e[-+]?\d+)?", re.IGNORECASE)
LEADING = 2  # maximum number of header lines
TAKES = 8  # approximate bytes of memory per byte of text


def read_table(path: pathlib.Path, columns: str | None = None) -> RawCloud:
    """Read one point per line: x y z and more columns, separated by spaces, commas or semicolons.

    A header line of column names is optional; with it the columns x, y and z may be anywhere, one
    named label, class or classification has the labels, and a unit after a name, "X (mm)", is the
    unit of the file. Decimal commas are parsed if columns have another separator.

    Args:
        path: of the file, which may be compressed (.gz).
        columns: names or numbers (from 1) of the columns of x, y and z, and of the label if there
            is a fourth: "2,3,4"; None detects them.

    Returns:
        Coordinates (n, 3) float64, and labels (n,) or None.

    Raises:
        BadInput: it is not numeric, or the columns x, y and z cannot be determined.
    """
    lines = [line for line in text_of(path).splitlines() if line.strip()]
    heads, body = split_header(lines)
    separator = separator_of(body)
    body, notes = decimal_points(path, body, separator)
    if len(body) > 1 and body[0].strip() == str(len(body) - 1):
        body = body[1:]  # the number of points
    table = numbers(path, body, separator)
    count = table.shape[1]
    if count < 3:
        why = f"a line has {count} numbers, not x y z"
        raise BadInput(path, why, "Save at least three columns per point")
    titles = titles_of(path, heads, separator, count, columns)
    names = [name for name, _ in titles]
    places = chosen(path, columns, names, count) if columns else places_of(path, names, table)
    if not titles and any(not COMMENT.match(head) for head in heads):
        notes.append("its first line has no column names: x y z are the first three")
    label = label_name(names)
    at = places[3] if len(places) == 4 else names.index(label) if label else None
    units = [titles[place][1] for place in places[:3]] if titles else []
    factors = None if not any(units) else tuple(METRES[name or "m"] for name in units)
    labels = None if at is None else table[:, at]
    return RawCloud(table[:, places[:3]], labels, tuple(notes), factors)


def text_of(path):
    """Read a text in UTF-8, UTF-16 with a byte order mark, or else Windows-1252."""
    raw = read_bytes(path)
    afford(path, TAKES * len(raw))
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            text = raw.decode("cp1252")
        if re.search(r"[\x00-\x08\x0e-\x1f]", text):
            raise ValueError("control characters")
    except ValueError as error:
        raise BadInput(path, "it is not a text file", "Save the points as x y z lines") from error
    return GROUPS.sub("", text.replace('"', ""))


def split_header(lines):
    """Return the header lines and comments before the first numbers, and the lines of numbers."""
    heads, words = [], 0
    for at, line in enumerate(lines):
        comment = COMMENT.match(line)
        first = re.split(r"[\s,;]+", line.strip())[0]
        if not comment and (words == LEADING or is_number(first)):
            return heads, [line for line in lines[at:] if not COMMENT.match(line)]
        heads.append(line)
        words += not comment
    return heads, []


def is_number(word):
    """Return whether a word is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def separator_of(lines):
    """Return the separator of the columns: ";" or ","; None for spaces and tabs."""
    some = lines[:20]
    if some and all(";" in line for line in some):
        return ";"
    if not some or not all("," in line for line in some):
        return None
    words = [line.split() for line in some]
    if all(len(line) > 2 and all(map(WITH_COMMA.fullmatch, line)) for line in words):
        return None  # 5,18 6,80 2,96
    return ","


def decimal_points(path, lines, separator):
    """Return lines of numbers with decimal points, and sentences on the meaning of commas.

    Raises:
        BadInput: the meaning of a comma is ambiguous.
    """
    remedy = "Write numbers as 1234.5, without thousands separators"
    if separator == ",":
        cells = re.findall(r"[^,\s]+", "\n".join(lines[:100]))
        if any(re.fullmatch(r"0\d+", cell) for cell in cells) and not any("." in c for c in cells):
            why = "decimal commas and commas between columns cannot be distinguished"
            raise BadInput(path, why, "Separate the columns with semicolons")
        return lines, []
    text = "\n".join(lines)
    words = re.findall(r"[^\s;]*,[^\s;]*", text)
    if not words:
        return lines, []
    if all(map(GROUPED.fullmatch, words)) and any(w.count(",") > 1 or "." in w for w in words):
        return text.replace(",", "").split("\n"), ["commas are thousands separators"]
    wrong = next((word for word in words if not DECIMAL.fullmatch(word)), None)
    dotted = next(iter(re.findall(r"(?<![^\s;])[-+]?\d+\.[^\s;,]*(?![^\s;])", text)), None)
    dots = any("." in word for word in words)  # 1.234,5
    if dots and dotted and re.fullmatch(r"[-+]?\d{1,3}(\.\d{3})+", dotted):
        dotted = None
    if wrong or dotted:
        why = f"it has {words[0]!r} and {wrong or dotted!r}: the meaning of a comma is ambiguous"
        raise BadInput(path, why, remedy)
    return text.replace(".", "").replace(",", ".").split("\n"), ["commas are decimal commas"]


def titles_of(path, heads, separator, count, columns):
    """Return (lower-case name, unit or None) of each column; empty without a header line.

    Raises:
        BadInput: x y z are named in a header line with another number of columns.
    """
    for head in heads:
        line = head.strip().strip("#/ \t").lower()
        ways = [line.split(separator), re.split(r"[,;\t]", line), re.split(r"[\s,;#/]+", line)]
        parsed = [[title_of(cell) for cell in cells] for cells in ways]
        for titles in parsed:
            if len(titles) == count:
                return titles
        names = {name for name, _ in parsed[-1]}
        if {"x", "y", "z"} <= names and not columns:
            raise BadInput(
                path,
                f"its header names {min(map(len, parsed), key=lambda n: abs(n - count))} columns "
                f"but its lines have {count} numbers",
                "Name each column; separate numbers with decimal commas by semicolons",
            )
    return []


def title_of(cell):
    """Return the name of a column, with "_" for spaces, and the key of its unit or None."""
    cell = cell.strip().strip("'")
    parts = re.fullmatch(r"(.+?)[\s_]*[\[(]\s*(.*?)\s*[\])]", cell)
    parts = parts or re.fullmatch(r"(.+)[\s_](m|cm|mm|km|ft)", cell)
    name, length = (parts[1], unit(parts[2])) if parts else (cell, None)
    return re.sub(r"\s+", "_", name.strip()), length


def places_of(path, names, table):
    """Return the indices of the columns x, y and z.

    Raises:
        BadInput: no names match, or without names the first column numbers the lines.
    """
    remedy = f"Specify the columns x, y and z: {flag('columns')} NAME,NAME,NAME (or numbers)"
    if names:
        places = [next((n for n in known if names.count(n) == 1), None) for known in AXES.values()]
        if None in places:
            why = f"its columns are {', '.join(names)}: no single x, y and z"
            raise BadInput(path, why, remedy)
        return [names.index(name) for name in places]
    first = table[:, 0]
    if table.shape[1] > 3 and len(table) > 9 and (first == first[0] + np.arange(len(table))).all():
        raise BadInput(
            path, "its first column numbers the lines, and columns have no names", remedy
        )
    return [0, 1, 2]


def chosen(path, columns, names, count):
    """Return the indices of columns that the user chose by name or number."""
    places = []
    for word in columns.lower().split(","):
        name = title_of(word)[0]
        if name in names:
            places.append(names.index(name))
        elif name.isdecimal() and 1 <= int(name) <= count:
            places.append(int(name) - 1)
        else:
            known = ", ".join(names) or "no names"
            why = f"it has no column {word!r}, but {known}, and numbers 1 to {count}"
            raise BadInput(path, why, f"Correct {flag('columns')}")
    return places


def label_name(names: Sequence[str]) -> str | None:
    """Return the name of the column of labels ("scalar_Label" in CloudCompare)."""
    for name in names:
        if name.lower().removeprefix("scalar_") in LABEL_NAMES:
            return name
    return None


def numbers(path: pathlib.Path, lines: Sequence[str], separator: str | None = None) -> np.ndarray:
    """Parse lines with the same number of columns into an array (lines, columns) of float64.

    Raises:
        BadInput: a word is not a number, or lines differ in length.
    """
    if not lines:
        return np.empty((0, 3))
    try:
        with warnings.catch_warnings(action="error"):
            return np.loadtxt(lines, np.float64, delimiter=separator, ndmin=2)
    except (ValueError, UserWarning) as error:
        why = str(error).split(";")[0].rstrip(".")
        raise BadInput(
            path, f"it is not numeric: {why}", "Fix the line or copy the file again"
        ) from error
