"""Objects along a street: trees, bushes, poles, fences and buildings.

Each function takes a NumPy generator and returns a `Mesh` that stands on z = 0, centred on the
origin; long objects extend along x. Foliage is made of separate triangles: some beams enter it.
"""

import numpy as np

from datasets.lidar.shapes import box, boxes, combine, extrude, leaves, place, tube

BARK, GLASS, METAL = 0.3, 0.03, 0.5


def tree(rng):
    """Make a broad-leaved tree, or with probability 1/4 a conifer with foliage from the ground."""
    if rng.random() < 0.25:
        return _conifer(rng)
    height, clear = rng.uniform(4, 11), rng.uniform(0.9, 2.2)  # clear: trunk below the crown
    radius = height * rng.uniform(0.015, 0.025) + 0.03
    lean = rng.normal(scale=0.04, size=2) * height
    fork = np.array((lean[0] * 0.5, lean[1] * 0.5, clear + 0.2 * (height - clear)))
    trunk = tube([(0, 0, -0.1), (0, 0, 0.2), fork], (radius * 1.5, radius, radius * 0.8), BARK, 8)
    crown, spread = height - clear, rng.uniform(0.28, 0.45) * height
    count = rng.integers(4, 8)
    turns, out = rng.uniform(0, 2 * np.pi, count), spread * np.sqrt(rng.uniform(0, 0.5, count))
    half_axes = spread * rng.uniform(0.40, 0.65, (count, 3)) * (1, 1, 0.8)
    high = clear + half_axes[:, 2] * 0.8 + rng.uniform(0, 0.7, count) * crown * 0.7
    centres = np.stack([out * np.cos(turns), out * np.sin(turns), high], axis=1)
    centres[:, :2] += lean
    branches = [
        tube([fork - (0, 0, 0.3), centre], (radius * 0.5, 0.03), BARK) for centre in centres
    ]
    foliage = leaves(rng, centres, half_axes, int(70 * spread**2 + 200), rng.uniform(0.18, 0.32))
    return combine([trunk, *branches, foliage])


def _conifer(rng):
    """Make a cone of needles about a straight trunk."""
    height, foot = rng.uniform(3, 10), rng.uniform(0.1, 0.6)
    spread = height * rng.uniform(0.18, 0.28) + 0.3
    levels = np.linspace(0, 1, 9)[:-1]
    centres = np.stack([0 * levels, 0 * levels, foot + 0.35 + levels * (height - foot)], axis=1)
    half_axes = np.stack([spread * (1 - levels)] * 2 + [np.full(8, height / 14 + 0.15)], axis=1)
    trunk = tube([(0, 0, -0.1), (0, 0, height * 0.9)], (0.06 + height * 0.015, 0.03), BARK)
    return combine([trunk, leaves(rng, centres, half_axes, int(500 + 60 * height), 0.22, 0.4)])


def bush(rng):
    """Make a round shrub, a group of shrubs, or a trimmed hedge: green, and never tall."""
    if rng.random() < 0.35:
        length, depth = rng.uniform(1.8, 5.0), rng.uniform(0.5, 1.0)
        height, count = rng.uniform(0.8, 1.7), int(length * 4)
        centres = np.stack(
            [
                np.linspace(-length / 2, length / 2, count),
                rng.normal(scale=0.05, size=count),
                np.full(count, height * 0.5),
            ],
            axis=1,
        )
        half_axes = np.array((0.4, depth / 2, height * 0.5)) * rng.uniform(0.9, 1.1, (count, 3))
        return leaves(rng, centres, half_axes, int(350 * length * height), 0.12)
    count = rng.integers(1, 5)
    half_axes = rng.uniform(0.4, 0.95, (count, 3)) * (1, 1, 0.85)
    centres = rng.normal(scale=0.55 if count > 1 else 0.0, size=(count, 3))
    centres[:, 2] = half_axes[:, 2] * 0.9
    return leaves(rng, centres, half_axes, int(450 * np.sum(half_axes.prod(axis=1) ** 0.667)), 0.14)


def pole(rng):
    """Make a street lamp, a traffic sign, a traffic light or a wooden utility pole."""
    kind = rng.choice(["lamp", "sign", "light", "wood"])
    if kind == "wood":
        height, radius = rng.uniform(6, 9), rng.uniform(0.11, 0.17)
        arm = box((-0.9, -0.06, height - 0.6), (0.9, 0.06, height - 0.4), BARK)
        return combine([tube([(0, 0, 0), (0, 0, height)], (radius, radius * 0.7), BARK, 8), arm])
    if kind == "sign":
        height, radius, wide = (
            rng.uniform(2.2, 2.9),
            rng.uniform(0.03, 0.05),
            rng.uniform(0.3, 0.45),
        )
        tall = wide * rng.uniform(1.0, 1.8)
        plate = box((0.05, -wide, height - 2 * tall), (0.08, wide, height), 0.9)
        return combine([tube([(0, 0, 0), (0, 0, height)], radius, METAL), plate])
    radius, height = rng.uniform(0.06, 0.10), rng.uniform(3.0, 3.6)
    if kind == "light":
        low = rng.uniform(1.9, 2.3)
        head = box((0.08, -0.16, low), (0.34, 0.16, low + 0.9), 0.2)
        parts = [tube([(0, 0, 0), (0, 0, height)], radius, METAL, 8), head]
        if rng.random() < 0.5:
            parts.append(box((0.06, -0.1, 0.9), (0.2, 0.1, 1.2), 0.4))  # the button for pedestrians
        return combine(parts)
    height, foot = rng.uniform(4.5, 8), rng.uniform(0.5, 1.1)
    reach = rng.uniform(0, 1.8)
    shaft = tube(
        [(0, 0, 0), (0, 0, foot), (0, 0, foot + 0.05), (0, 0, height)],
        (radius * 1.6, radius * 1.6, radius, radius * 0.6),
        METAL,
        8,
    )
    arm = tube([(0, 0, height), (reach, 0, height + 0.1)], 0.04, METAL)
    lamp = box((reach - 0.1, -0.15, height), (reach + 0.5, 0.15, height + 0.15), METAL)
    return combine([shaft, arm, lamp])


def fence(rng, length=None):
    """Make a garden wall, a board fence, a picket fence or a railing.

    Args:
        rng: a NumPy generator.
        length: extent along x, metres; when None it is drawn from 3.5-10, and one fence in four
            turns a corner.
    """
    kind = rng.choice(["wall", "boards", "pickets", "railing"])
    straight = length is not None or rng.random() < 0.75
    length, height = length or rng.uniform(3.5, 10), rng.uniform(0.9, 1.9)
    run = {"wall": _wall, "boards": _slats, "pickets": _slats, "railing": _railing}[kind]
    slats = {"boards": (0.14, 0.02), "pickets": (0.09, 0.07)}.get(kind)
    options = (slats,) if slats else ()
    if kind == "pickets":
        height = min(height, 1.4)
    first = run(rng, length, height, *options)
    if straight:
        return first
    second = place(run(rng, length * 0.6, height, *options), heading=np.pi / 2)
    corner = place(second, (length / 2, length * 0.3, 0))
    return combine([first, corner])


def _wall(rng, length, height):
    """Make a masonry wall with a coping and a pier at either end."""
    half, material, end = rng.uniform(0.1, 0.2), rng.uniform(0.2, 0.7), length / 2
    body = box((-end, -half, -0.2), (end, half, height), material)
    coping = box((-end, -half - 0.04, height), (end, half + 0.04, height + 0.06), material)
    piers = boxes(
        [(x - half - 0.08, -half - 0.08, -0.2) for x in (-end, end)],
        [(x + half + 0.08, half + 0.08, height + 0.15) for x in (-end, end)],
        material,
    )
    return combine([body, coping, piers])


def _posts(starts, height, half=0.05):
    """Set posts along x."""
    lows = [(x - half, -half, -0.2) for x in starts]
    return boxes(lows, [(x + half, half, height) for x in starts], 0.4)


def _slats(rng, length, height, widths):
    """Set upright slats with gaps between them, on two rails and posts."""
    slat, gap = widths
    starts = np.arange(-length / 2, length / 2, slat + gap)
    tops = height + rng.normal(scale=0.01, size=len(starts))
    lows = [(x, -0.012, 0.06) for x in starts]
    highs = [(x + slat, 0.012, top) for x, top in zip(starts, tops, strict=True)]
    rails = boxes(
        [(-length / 2, 0.012, z) for z in (0.25, height - 0.3)],
        [(length / 2, 0.05, z + 0.09) for z in (0.25, height - 0.3)],
        0.4,
    )
    posts = _posts(np.arange(-length / 2, length / 2 + 0.1, 2.0), height + 0.05)
    return combine([boxes(lows, highs, rng.uniform(0.3, 0.7)), rails, posts])


def _railing(rng, length, height):
    """Set posts with several level bars."""
    heights = np.linspace(0.15, height, rng.integers(4, 8))
    bars = boxes(
        [(-length / 2, -0.025, z - 0.03) for z in heights],
        [(length / 2, 0.025, z + 0.03) for z in heights],
        METAL,
    )
    return combine([bars, _posts(np.arange(-length / 2, length / 2 + 0.1, 1.5), height + 0.05)])


def building(rng, length=None, depth=None):
    """Make a house or shed: facades with set-back windows and doors, eaves and a gable roof.

    Args:
        rng: a NumPy generator.
        length: extent along x, metres; drawn from 7-16 when None.
        depth: extent along y; drawn from 6-11 when None.
    """
    length = rng.uniform(7, 16) if length is None else length
    depth = rng.uniform(6, 11) if depth is None else depth
    height, material = rng.uniform(3.0, 9), rng.uniform(0.25, 0.7)
    sides = [
        (length, (0, -depth / 2, 0), 0.0),
        (depth, (length / 2, 0, 0), np.pi / 2),
        (length, (0, depth / 2, 0), np.pi),
        (depth, (-length / 2, 0, 0), -np.pi / 2),
    ]
    parts = [place(_facade(rng, wide, height, material), at, turn) for wide, at, turn in sides]
    eaves = depth / 2 + 0.4
    gable = [(-eaves, height), (0, height + depth * rng.uniform(0.2, 0.5)), (eaves, height)]
    parts.append(place(extrude(gable, length / 2 + 0.3, 0.3, material), heading=np.pi / 2))
    if rng.random() < 0.4:  # a porch, bay or lean-to on the long side
        x, wide, out = rng.uniform(-0.3, 0.3) * length, rng.uniform(1, 2), rng.uniform(0.6, 1.8)
        side = rng.choice([-1, 1])
        near, far = sorted((side * (depth / 2 - 0.1), side * (depth / 2 + out)))
        parts.append(box((x - wide, near, -0.2), (x + wide, far, rng.uniform(2.4, 3)), material))
    return combine(parts)


def _facade(rng, wide, height, material):
    """Make one outer wall in the plane y = 0 that faces -y, centred on x = 0, from z = -0.2.

    Panes and doors are 8-25 cm behind the wall; panes reflect almost nothing.
    """
    bay, setback = rng.uniform(2.0, 3.4), rng.uniform(0.08, 0.25)
    window, sill, lintel = rng.uniform(0.45, 0.65), rng.uniform(0.7, 1.0), rng.uniform(2.1, 2.5)
    bays = max(int(wide / bay), 1)
    edges = np.linspace(-wide / 2, wide / 2, bays + 1)
    margin = (edges[1] - edges[0]) * (1 - window) / 2
    door = rng.integers(-1, bays)  # -1: no door on this side
    lows = [(-wide / 2, 0, lintel)]
    highs = [(wide / 2, 0.3, height)]
    panes = [[], []]
    for index, (left, right) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        foot = -0.2 if index == door else sill
        lows += [(left, 0, -0.2), (right - margin, 0, -0.2), (left + margin, 0, -0.2)]
        highs += [(left + margin, 0.3, lintel), (right, 0.3, lintel)]
        highs += [(right - margin, 0.3, foot)]
        panes[0].append((left + margin, setback, foot))
        panes[1].append((right - margin, setback + 0.03, lintel))
    walls = boxes(lows, highs, material)
    glass = boxes(*panes, np.repeat([0.3 if i == door else GLASS for i in range(bays)], 12))
    return combine([walls, glass])
