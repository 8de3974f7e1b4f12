"""Triangle meshes as arrays, and the few basic bodies that all street objects are made of."""

import functools
from typing import NamedTuple

import numpy as np


class Mesh(NamedTuple):
    """A triangle mesh with the reflectivity of each face.

    Attributes:
        vertices: (V, 3) float32, metres.
        triangles: (T, 3) uint32, indices into `vertices`.
        reflectivity: (T,) float32, 0 to 1.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    reflectivity: np.ndarray


def mesh(vertices, triangles, reflectivity) -> Mesh:
    """Make a mesh from array-likes; a single reflectivity is used for all faces."""
    triangles = np.asarray(triangles, "uint32").reshape(-1, 3)
    reflectivity = np.broadcast_to(np.asarray(reflectivity, "float32"), len(triangles))
    return Mesh(np.asarray(vertices, "float32").reshape(-1, 3), triangles, reflectivity)


def combine(parts) -> Mesh:
    """Combine meshes into one, in their order."""
    parts = list(parts)
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate(
            [part.triangles + np.uint32(start) for part, start in zip(parts, starts, strict=True)]
        ),
        np.concatenate([part.reflectivity for part in parts]),
    )


def place(body, position=(0, 0, 0), heading=0.0) -> Mesh:
    """Rotate a mesh about the z axis by `heading`, then translate it by `position`."""
    c, s = np.cos(heading), np.sin(heading)
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], "float32")
    return body._replace(vertices=body.vertices @ turn + np.asarray(position, "float32"))


_CORNERS = np.array([(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)], "float32")
_FACES = [0, 1, 5, 0, 5, 4, 1, 3, 7, 1, 7, 5, 3, 2, 6, 3, 6, 7]
_FACES += [2, 0, 4, 2, 4, 6, 4, 5, 7, 4, 7, 6, 0, 3, 1, 0, 2, 3]


def box(low, high, reflectivity) -> Mesh:
    """Make the upright box between two opposite corners."""
    low, high = np.asarray(low, "float32"), np.asarray(high, "float32")
    return mesh(low + _CORNERS * (high - low), _FACES, reflectivity)


def boxes(lows, highs, reflectivity) -> Mesh:
    """Make many boxes at once, from (B, 3) lower and upper corners."""
    lows, highs = np.asarray(lows, "float32"), np.asarray(highs, "float32")
    vertices = lows[:, None] + _CORNERS * (highs - lows)[:, None]  # (B, 8, 3)
    triangles = np.arange(len(lows))[:, None] * 8 + np.asarray(_FACES)  # (B, 36)
    return mesh(vertices, triangles, reflectivity)


def extrude(profile, half_widths, sides, caps) -> Mesh:
    """Make a body from its side view: an outline in x and z, as wide as given at each corner.

    Args:
        profile: (N, 2) corners (x, z), in order round the outline; every corner must be
            visible from the first one.
        half_widths: half the width at each corner, (N,) or one number.
        sides: reflectivity of the face that starts at each corner, (N,) or one number.
        caps: reflectivity of the two side faces.
    """
    profile = np.asarray(profile, "float32")
    count = len(profile)
    half_widths = np.broadcast_to(np.asarray(half_widths, "float32"), count)
    left = np.stack([profile[:, 0], half_widths, profile[:, 1]], axis=1)
    i = np.arange(count)
    j = (i + 1) % count
    quads = np.stack([i, j, j + count, i, j + count, i + count], axis=1)  # (N, 6)
    fan = np.stack([np.zeros(count - 2, int), i[1:-1], i[2:]], axis=1)
    reflectivity = np.concatenate(
        [np.repeat(np.broadcast_to(sides, count), 2), np.full(2 * len(fan), caps)]
    )
    triangles = np.concatenate([quads.reshape(-1, 3), fan, fan + count])
    return mesh(np.concatenate([left, left * (1, -1, 1)]), triangles, reflectivity)


def tube(joints, radii, reflectivity, sides=6) -> Mesh:
    """Make a round body along a line of joints, closed at both ends.

    Args:
        joints: (J, 3) points that the axis goes through.
        radii: the radius at each joint, (J,) or one number.
        reflectivity: 0 to 1.
        sides: corners of the cross-section.
    """
    joints = np.asarray(joints, "float64")
    radii = np.broadcast_to(np.asarray(radii, "float64"), len(joints))
    axis = joints[-1] - joints[0]
    ax, ay, az = axis / (np.linalg.norm(axis) + 1e-9)
    level = np.hypot(ax, ay)
    across = np.array((ay, -ax, 0) / level if level > 0.4 else (0, az, -ay) / np.hypot(ay, az))
    bx, by, bz = across
    upright = np.array((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx))
    turns = np.arange(sides) * (2 * np.pi / sides)
    circle = np.outer(np.cos(turns), across) + np.outer(np.sin(turns), upright)
    walls = joints[:, None] + radii[:, None, None] * circle  # (J, sides, 3)
    vertices = np.concatenate([walls.reshape(-1, 3), joints[[0, -1]]])
    return mesh(vertices, _tube_faces(len(joints), sides), reflectivity)


@functools.cache
def _tube_faces(joints, sides):
    """Return the triangles of a tube: its walls, then its two ends."""
    i = np.arange(sides)
    j = (i + 1) % sides
    ring = np.stack([i, j, j + sides, i, j + sides, i + sides], axis=1).reshape(-1, 3)
    walls = [ring + step * sides for step in range(joints - 1)]
    last = (joints - 1) * sides
    first_end = np.stack([np.full(sides, joints * sides), i, j], axis=1)
    last_end = np.stack([np.full(sides, joints * sides + 1), last + i, last + j], axis=1)
    return np.concatenate([*walls, first_end, last_end])


@functools.cache
def _sphere(rings=6, sides=10):
    """Return the unit sphere, as (vertices, triangles)."""
    heights = np.linspace(0, np.pi, rings)
    joints = np.stack([np.zeros(rings), np.zeros(rings), -np.cos(heights)], axis=1)
    return tube(joints, np.sin(heights), 1, sides)[:2]


def ellipsoid(centre, radii, reflectivity) -> Mesh:
    """Make an upright ellipsoid."""
    vertices, triangles = _sphere()
    return mesh(vertices * np.asarray(radii) + np.asarray(centre), triangles, reflectivity)


def ring(centre, radius, thickness, reflectivity, segments=14) -> Mesh:
    """Make a thin tyre that stands in the plane of x and z, open in the middle."""
    turns = np.arange(segments) * (2 * np.pi / segments)
    out = np.stack([np.cos(turns), np.zeros(segments), np.sin(turns)], axis=1)
    side = np.array((0, thickness, 0))
    corners = [out * (radius + thickness), out * radius + side]
    corners += [out * (radius - thickness), out * radius - side]
    i = np.arange(segments)
    j = (i + 1) % segments
    quads = []
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
        a, b = a * segments, b * segments
        quads.append(np.stack([a + i, a + j, b + j, a + i, b + j, b + i], axis=1))
    return mesh(np.concatenate(corners) + np.asarray(centre), np.concatenate(quads), reflectivity)


def leaves(rng, centres, radii, count, size, reflectivity=0.5) -> Mesh:
    """Fill ellipsoids with separate triangles: foliage, which some beams pass through.

    Args:
        rng: a NumPy generator.
        centres: (E, 3) centres of the ellipsoids.
        radii: (E, 3) their half axes.
        count: total number of leaf clusters.
        size: the extent of one cluster.
        reflectivity: 0 to 1.
    """
    centres, radii = np.asarray(centres), np.asarray(radii)
    volumes = radii.prod(axis=1) ** (2 / 3)
    which = rng.choice(len(centres), count, p=volumes / volumes.sum())
    outward = rng.normal(size=(count, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    depth = rng.random((count, 1)) ** 0.25  # most leaves are near the outside of a crown
    middle = centres[which] + outward * depth * radii[which]
    corners = middle[:, None] + rng.normal(scale=size / 2, size=(count, 3, 3))
    return mesh(corners, np.arange(3 * count), reflectivity)
