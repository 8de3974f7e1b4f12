"""Cars, vans, lorries and buses: bodies drawn from their side view, on wheels, with glass.

Each function takes a NumPy generator and returns a `Mesh` that stands on z = 0, heading along +x,
centred on the origin. Sizes span European models: cars 3.6-4.9 m long and 1.40-1.55 m high, sport
utility vehicles to 1.85 m, vans 4.4-6.0 m and 1.9-2.7 m high, lorries and buses 7-12 m long, 2.55 m
wide at most (Council Directive 96/53/EC). KITTI's means over its labelled boxes are 3.9 x 1.6 x
1.5 m (car), 5.1 x 1.9 x 2.2 m (van) and 10.1 x 2.6 x 3.3 m (truck).
"""

import numpy as np

from datasets.lidar.shapes import box, boxes, combine, extrude, tube

GLASS, RUBBER, STEEL = 0.03, 0.15, 0.4  # fractions of a 905 nm pulse that are reflected


def _wheels(places, half_width, radius, thickness):
    """Return a pair of wheels at each of the positions along x."""
    return [
        tube(
            [(x, side * half_width, radius), (x, side * (half_width - thickness), radius)],
            radius,
            RUBBER,
            sides=12,
        )
        for x in places
        for side in (-1, 1)
    ]


def car(rng):
    """Make a hatchback, saloon, estate or sport utility vehicle."""
    kind = rng.choice(["hatchback", "saloon", "estate", "suv"])
    long, tall = {
        "hatchback": ((3.6, 4.3), (1.42, 1.55)),
        "saloon": ((4.3, 4.9), (1.38, 1.50)),
        "estate": ((4.3, 4.9), (1.42, 1.55)),
        "suv": ((4.1, 4.8), (1.60, 1.85)),
    }[kind]
    length, height = rng.uniform(*long), rng.uniform(*tall)
    half = rng.uniform(1.65, 1.95) / 2
    paint, floor = rng.uniform(0.15, 0.8), height * rng.uniform(0.13, 0.18)
    belt, front = height * rng.uniform(0.58, 0.64), height * rng.uniform(0.42, 0.48)
    tail, nose = -length / 2, length / 2
    screen = nose - rng.uniform(0.20, 0.25) * length  # where the windscreen meets the bonnet
    boot = {"saloon": 0.18, "hatchback": 0.02, "estate": 0.01, "suv": 0.02}[kind] * length
    rake = {"saloon": 0.55, "hatchback": 0.35, "estate": 0.15, "suv": 0.20}[kind]
    body = extrude(
        [
            (tail + 0.08, floor),
            (tail, floor + 0.2),
            (tail + 0.04, belt),
            (screen, belt),
            (nose - 0.15, front + 0.1),
            (nose, front - 0.1),
            (nose - 0.05, floor),
        ],
        np.array([0.94, 0.97, 0.95, 0.97, 0.88, 0.86, 0.90]) * half,
        paint,
        paint,
    )
    cabin = extrude(
        [
            (tail + boot, belt),
            (tail + boot + rake, height),
            (screen - rng.uniform(0.55, 0.75), height),
            (screen, belt),
        ],
        np.array([0.92, 0.72, 0.72, 0.92]) * half,
        [GLASS, paint, GLASS, paint],
        GLASS,
    )
    roof = rng.uniform(-0.15, 0.05) * length
    pillar = box((roof, -0.86 * half, belt), (roof + 0.12, 0.86 * half, height - 0.1), paint)
    axles = (tail + 0.19 * length, nose - 0.18 * length)
    radius = rng.uniform(0.30, 0.36) * (1.08 if kind == "suv" else 1)
    mirrors = [
        box((screen - 0.5, y - 0.09, belt - 0.02), (screen - 0.4, y + 0.09, belt + 0.12), paint)
        for y in (half + 0.05, -half - 0.05)
    ]
    return combine([body, cabin, pillar, *mirrors, *_wheels(axles, half * 0.97, radius, 0.2)])


def van(rng):
    """Make a delivery van, minibus or camper: one tall box with a short sloping nose."""
    length, height = rng.uniform(4.6, 6.0), rng.uniform(1.95, 2.7)
    half = rng.uniform(1.85, 2.05) / 2
    paint, tail, nose = rng.uniform(0.3, 0.85), -length / 2, length / 2
    belt, top = rng.uniform(1.1, 1.25), nose - rng.uniform(1.3, 1.8)
    base = nose - rng.uniform(0.6, 0.9)
    body = extrude(
        [
            (tail, 0.35),
            (tail + 0.06, height),
            (top, height),
            (base, belt + 0.1),
            (nose - 0.05, belt - 0.2),
            (nose, 0.35),
        ],
        np.array([1, 0.92, 0.90, 0.95, 0.92, 0.95]) * half,
        [paint, paint, GLASS, paint, paint, paint],
        paint,
    )
    windows = [(top - 0.9, top + 0.1)]  # the front doors
    if rng.random() < 0.5:  # a minibus has windows along its whole length
        windows.append((tail + 0.4, top - 1.1))
    glass = [
        box((x0, -half * 1.005, belt + 0.05), (x1, half * 1.005, belt + 0.6), GLASS)
        for x0, x1 in windows
    ]
    mirror = box((top, -half - 0.25, belt), (top + 0.1, half + 0.25, belt + 0.3), paint)
    axles = (tail + 0.22 * length, nose - 0.17 * length)
    return combine([body, *glass, mirror, *_wheels(axles, half * 0.97, 0.34, 0.22)])


def truck(rng):
    """Make a box lorry, a flat-bed lorry with its load, or a bus."""
    return (_box_lorry, _flat_lorry, _bus)[rng.integers(3)](rng)


def _chassis(rng, length, half):
    """Return frame, cab and wheels of a lorry, and the end of its cab."""
    nose, paint = length / 2, rng.uniform(0.3, 0.8)
    cab, tall = rng.uniform(1.7, 2.3), rng.uniform(2.5, 3.4)
    shell = extrude(
        [
            (nose - cab, 0.5),
            (nose - cab, tall),
            (nose - 0.35, tall),
            (nose - 0.05, 1.6),
            (nose, 0.4),
        ],
        np.array([1, 0.95, 0.93, 0.97, 0.97]) * half,
        [paint, paint, GLASS, paint, paint],
        paint,
    )
    glass = box((nose - 1.1, -half * 1.005, 1.5), (nose - 0.3, half * 1.005, 2.1), GLASS)
    frame = box((-nose, -0.45, 0.6), (nose - cab + 0.1, 0.45, 0.95), STEEL)
    rear = -nose + rng.uniform(1.2, 2.0)
    axles = (rear, rear + 1.3, nose - 1.3) if length > 8.5 else (rear, nose - 1.3)
    return [shell, glass, frame, *_wheels(axles, half * 0.98, 0.5, 0.35)], nose - cab


def _box_lorry(rng):
    """Make a lorry with a closed cargo box."""
    length, half = rng.uniform(6.5, 11), rng.uniform(2.3, 2.55) / 2
    parts, cab_end = _chassis(rng, length, half)
    floor, gap = rng.uniform(0.95, 1.2), rng.uniform(0.1, 0.4)
    cargo = box(
        (-length / 2, -half, floor),
        (cab_end - gap, half, floor + rng.uniform(2.0, 2.7)),
        rng.uniform(0.4, 0.9),
    )
    guard = boxes(
        [(-length / 4, side * half - 0.03, 0.5) for side in (-1, 1)],
        [(length / 4, side * half + 0.03, 0.75) for side in (-1, 1)],
        STEEL,
    )
    return combine([*parts, cargo, guard])


def _flat_lorry(rng):
    """Make a lorry with an open bed, sideboards and crates on it."""
    length, half = rng.uniform(6.5, 10), rng.uniform(2.3, 2.55) / 2
    parts, cab_end = _chassis(rng, length, half)
    tail, floor, board = -length / 2, rng.uniform(0.95, 1.2), rng.uniform(0.3, 0.8)
    bed = box((tail, -half, floor), (cab_end - 0.15, half, floor + 0.15), STEEL)
    sides = boxes(
        [(tail, side * half - 0.03, floor) for side in (-1, 1)],
        [(cab_end - 0.15, side * half + 0.03, floor + board) for side in (-1, 1)],
        STEEL,
    )
    crates = []
    start = tail + 0.3
    while start < cab_end - 1.2:
        end = min(start + rng.uniform(0.8, 2.0), cab_end - 0.2)
        wide, tall = half * rng.uniform(0.6, 0.95), rng.uniform(0.4, 2.0)
        crates.append(box((start, -wide, floor), (end, wide, floor + tall), rng.uniform(0.2, 0.7)))
        start = end + rng.uniform(0.05, 0.6)
    return combine([*parts, bed, sides, *crates])


def _bus(rng):
    """Make a bus: a long box with a band of windows and a flat front."""
    length, half = rng.uniform(9, 12), 1.27
    height, floor, paint = rng.uniform(2.9, 3.2), rng.uniform(0.3, 0.4), rng.uniform(0.3, 0.8)
    tail, nose, sill = -length / 2, length / 2, rng.uniform(1.1, 1.4)
    shell = extrude(
        [(tail, floor), (tail + 0.1, height), (nose - 0.2, height), (nose, 1.2), (nose, floor)],
        np.array([1, 0.96, 0.96, 1, 1]) * half,
        [paint, paint, GLASS, paint, paint],
        paint,
    )
    starts = np.arange(tail + 0.6, nose - 1.6, 1.5)
    panes = boxes(
        [(x, -half * 1.005, sill) for x in starts],
        [(x + 1.3, half * 1.005, height - 0.6) for x in starts],
        GLASS,
    )
    axles = (tail + rng.uniform(2.3, 3.2), nose - rng.uniform(2.3, 2.8))
    return combine([shell, panes, *_wheels(axles, half * 1.01, 0.48, 0.35)])
