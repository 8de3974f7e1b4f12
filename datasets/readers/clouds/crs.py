"""The unit of a survey's coordinates, from the reference system in its header.

OGC, GeoTIFF 1.1, 2019: keys 1024 (model type), 3076 and 4099 (linear and vertical unit); OGC, WKT 1
and 2. Codes of reference systems (EPSG) are not resolved: most headers also name the unit.
"""

import re
import struct

from datasets.readers.clouds.units import METRES

LINEAR = {9001: METRES["m"], 9002: METRES["ft"], 9003: METRES["us-ft"]}  # EPSG's units
FEET = re.compile(
    r"\((ft|ftus|us[- ]ft|feet|foot)\)|[ _](feet|foot_us|ftus|us_feet)\b", re.IGNORECASE
)
TOKEN = re.compile(r'"((?:[^"]|"")*)"|([A-Za-z_0-9.+-]+)|([\[\](),])')


def metres(records: dict[int, bytes]) -> tuple[float, float, float] | None:
    """Return the units of x, y and z in metres; None if the header does not define them.

    Args:
        records: contents of the header's records of LASF_Projection, by number: 2112 is WKT,
            34735 and 34737 are GeoTIFF's keys and texts.

    Returns:
        The unit of z is that of x and y unless the header has another. It is (0, 0, 0) for
        degrees.
    """
    text = records.get(2112, b"").decode("utf-8", "replace").strip("\0 \n")
    keys = geo_keys(records.get(34735, b""))
    plane = height = None
    if text:
        plane, height = of_wkt(text)
    if plane is None and keys.get(1024) == 2:
        plane = 0.0
    if plane is None:
        plane = LINEAR.get(keys.get(3076))
    if plane is None:
        match = FEET.search(records.get(34737, b"").decode("latin-1"))
        if match:
            plane = METRES["us-ft" if "us" in match[0].lower() else "ft"]
    height = height or LINEAR.get(keys.get(4099))
    return None if plane is None else (plane, plane, plane and (height or plane))


def geo_keys(content):
    """Return {key: value} of the 16-bit integers in a GeoTIFF directory."""
    numbers = struct.unpack(f"<{len(content) // 2}H", content[: len(content) // 2 * 2])
    rows = zip(*(numbers[i::4] for i in range(4)), strict=False)
    return {key: value for key, place, _, value in rows if not place}


def of_wkt(text):
    """Return the units of x and y, 0 for degrees, and of z in metres; None if not defined."""
    root = parse(text)
    plane = height = None
    for node in [root, *children(root)]:
        name = node[0].upper()
        if name in ("PROJCS", "PROJCRS", "PROJECTEDCRS"):
            plane = unit_of(node) or plane
        elif name in ("GEOGCS", "GEOGCRS", "GEODCRS", "GEOGRAPHICCRS") and plane is None:
            plane = 0.0
        elif name in ("VERT_CS", "VERTCRS", "VERTICALCRS"):
            height = unit_of(node)
    return plane, height


def children(node):
    """Return the child nodes of a node."""
    return [item for item in node[1:] if isinstance(item, list) and item]


def unit_of(node):
    """Return the unit of a system or of its axes in metres, None without one."""
    for inner in [*children(node), *(i for axis in children(node) for i in children(axis))]:
        if inner[0].upper() in ("UNIT", "LENGTHUNIT") and len(inner) > 2:
            try:
                return float(inner[2])
            except (TypeError, ValueError):
                return None
    return None


def parse(text):
    """Parse WKT into nested lists: a keyword, then strings, numbers and lists."""
    root, stack = [""], []
    stack.append(root)
    for quoted, word, mark in TOKEN.findall(text[: 1 << 16]):
        top = stack[-1]
        if mark and mark in "[(":
            keyword = top.pop() if len(top) > 1 and isinstance(top[-1], str) else ""
            node = [keyword]
            top.append(node)
            stack.append(node)
        elif mark and mark in "])":
            if len(stack) > 1:
                stack.pop()
        elif not mark:
            top.append(quoted or word)
    nodes = children(root)
    if len(nodes) == 1 and nodes[0][0].upper() in ("COMPD_CS", "COMPOUNDCRS", "BOUNDCRS"):
        return nodes[0]
    return root
