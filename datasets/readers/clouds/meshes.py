"""Meshes (.off, .obj, .stl, .ply with faces) as clouds: points sampled uniformly on their faces.

As is common for ModelNet (Qi et al. 2017, PointNet, Sec. 5.1): a face is drawn with probability
proportional to its area, and a point in it uniformly. The seed is fixed.
"""

import itertools
import pathlib

import numpy as np

from datasets.readers.clouds.units import RawCloud
from datasets.readers.files import afford, read_bytes
from datasets.source import BadInput

POINTS = 10_000  # as in common samples of ModelNet40; tasks sample from them
NOTE = f"{POINTS:,} points are sampled on the faces of the mesh"
REMEDY = "Copy it again, or write it again with the program that created it"
TAKES = 10  # approximate bytes of memory per byte of text


def on_faces(path: pathlib.Path, vertices: np.ndarray, triangles: np.ndarray) -> RawCloud:
    """Sample points on the triangles of a mesh, uniformly by area.

    Args:
        path: of the file, for messages.
        vertices: (n, 3) numbers.
        triangles: (m, 3) indices of vertices, m >= 1.

    Returns:
        A cloud of `POINTS` points; the vertices if the faces have zero area.

    Raises:
        BadInput: a face has a vertex that does not exist, or a vertex is not finite.
    """
    vertices = np.asarray(vertices, np.float64)
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        why = f"a face has a vertex index outside its {len(vertices)} vertices"
        raise BadInput(path, why, REMEDY)
    corners = vertices[triangles]
    if not np.isfinite(corners).all():
        raise BadInput(path, "a vertex is NaN or infinite", REMEDY)
    with np.errstate(over="ignore", invalid="ignore"):
        sides = corners[:, 1:] - corners[:, :1]
        areas = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
        total = areas.sum()
    if not np.isfinite(total):
        raise BadInput(path, "its faces are too large for float64", REMEDY)
    if not total:
        return RawCloud(vertices, notes=("its faces have zero area: its vertices are used",))
    rng = np.random.default_rng(0)
    face = rng.choice(len(areas), POINTS, p=areas / total)
    uv = rng.random((POINTS, 2))
    uv = np.where(uv.sum(axis=1, keepdims=True) > 1, 1 - uv, uv)  # reflect to the triangle
    return RawCloud(corners[face, 0] + np.einsum("ps,psd->pd", uv, sides[face]), notes=(NOTE,))


def fans(polygons) -> np.ndarray:
    """Split polygons, sequences of 3 or more indices, into triangles (m, 3) as fans."""
    triangles = [(p[0], a, b) for p in polygons for a, b in itertools.pairwise(p[1:])]
    return np.array(triangles, np.int64).reshape(-1, 3)


def read_off(path: pathlib.Path) -> RawCloud:
    """Read an .off file: numbers of vertices and faces, then these; colours are ignored.

    Some files of ModelNet have the numbers on the line of the word OFF, without a space.
    """
    lines = text_lines(path)
    head = lines[0].split()[0].upper() if lines else ""
    kind = next((k for k in ("STOFF", "COFF", "NOFF", "OFF") if head.startswith(k)), None)
    if kind is None:
        raise BadInput(path, "its first word is not OFF", REMEDY)
    rest = lines[0].strip()[len(kind) :].strip()
    lines = [rest, *lines[1:]] if rest else lines[1:]
    counts = words_to_numbers(path, lines[0].split() if lines else [], int)
    if len(counts) < 2 or min(counts) < 0:
        raise BadInput(path, "it does not declare its numbers of vertices and faces", REMEDY)
    count, faces = counts[:2]
    if len(lines) - 1 < count + faces:
        why = f"its header declares {count} vertices and {faces} faces, but {len(lines) - 1} lines"
        raise BadInput(path, f"{why} follow", REMEDY)
    rows = [words_to_numbers(path, line.split()[:3], float) for line in lines[1 : 1 + count]]
    polygons = []
    for line in lines[1 + count : 1 + count + faces]:
        words = line.split()
        corners = words_to_numbers(path, words[:1], int)[0]
        polygon = words_to_numbers(path, words[1 : 1 + max(corners, 0)], int)
        if len(polygon) != corners:
            raise BadInput(path, f"a face of {corners} vertices has the line {line[:40]!r}", REMEDY)
        polygons.append(polygon)
    return mesh(path, rows, polygons)


def read_obj(path: pathlib.Path) -> RawCloud:
    """Read vertices (v) and faces (f) of a Wavefront .obj file; all else is ignored."""
    rows, polygons = [], []
    for line in text_lines(path):
        kind, *words = line.split()
        if kind == "v":
            rows.append(words_to_numbers(path, words[:3], float))
        elif kind == "f":
            corners = words_to_numbers(path, [word.split("/")[0] for word in words], int)
            if 0 in corners:
                raise BadInput(path, "a face has the vertex 0, but indices start at 1", REMEDY)
            polygons.append([c - 1 if c > 0 else len(rows) + c for c in corners])
    return mesh(path, rows, polygons)


def read_stl(path: pathlib.Path) -> RawCloud:
    """Read the triangles of an .stl file, binary or text."""
    raw = read_bytes(path)
    count = int.from_bytes(raw[80:84], "little")
    if len(raw) == 84 + 50 * count and count:
        kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("colour", "<u2")])
        corners = np.frombuffer(raw, kind, count, 84)["corners"].reshape(-1, 3)
    elif raw[:5].lower() == b"solid" and b"vertex" in raw:
        words = [line.split() for line in text_lines(path)]
        rows = [words_to_numbers(path, w[1:4], float) for w in words if w[0].lower() == "vertex"]
        corners = vertices_of(path, rows)
    else:
        why = f"its header declares {count} triangles, but it has {len(raw)} bytes"
        raise BadInput(path, why, REMEDY)
    if len(corners) % 3:
        raise BadInput(path, f"{len(corners)} corners are not a whole number of triangles", REMEDY)
    return on_faces(path, corners, np.arange(len(corners)).reshape(-1, 3))


def mesh(path, rows, polygons):
    """Return the cloud of vertices, lists of three numbers, and faces, lists of indices."""
    vertices = vertices_of(path, rows)
    triangles = fans([polygon for polygon in polygons if len(polygon) > 2])
    return on_faces(path, vertices, triangles) if len(triangles) else RawCloud(vertices)


def vertices_of(path, rows):
    """Return vertices (n, 3), after checking that each has three numbers."""
    if any(len(row) != 3 for row in rows):
        raise BadInput(path, "a vertex has fewer than three numbers", REMEDY)
    return np.array(rows, np.float64).reshape(-1, 3)


def text_lines(path):
    """Return the lines of a text file that are neither blank nor comments."""
    raw = read_bytes(path)
    afford(path, TAKES * len(raw))
    lines = (line.partition("#")[0] for line in raw.decode("latin-1").splitlines())
    return [line for line in lines if line.strip()]


def words_to_numbers(path, words, number_type):
    """Return words as numbers of a type."""
    try:
        return [number_type(word) for word in words]
    except ValueError as error:
        raise BadInput(path, f"it is a corrupt mesh ({error})", REMEDY) from error
