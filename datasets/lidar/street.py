"""The scan of a street: road, pavements, houses and gardens, traffic, people, poles and trees."""

from typing import NamedTuple

import numpy as np

from datasets.lidar import people, sensor, shapes, surroundings, vehicles
from datasets.lidar.ground import random_ground

CLASSES = (
    "ground",
    "building",
    "car",
    "cyclist",
    "fence",
    "large_vehicle",
    "pedestrian",
    "pole",
    "vegetation",
)
COLUMNS = 512  # a quarter of the sensor's resolution: a scan has about 30,000 points
END = 65.0  # metres of street before and behind the sensor


class Thing(NamedTuple):
    """A mesh with its class and position: x along the street, y to its left, heading."""

    kind: str
    body: shapes.Mesh
    x: float
    y: float
    heading: float


class Labelled(NamedTuple):
    """A labelled scan.

    Attributes:
        points: (N, 3) float32, metres, in the sensor's frame: x ahead, y left, z up, the ground
            about 1.73 below it.
        labels: (N,) int32, indices into `CLASSES`.
    """

    points: np.ndarray
    labels: np.ndarray


def street_scan(rng, columns=COLUMNS) -> Labelled:
    """Lay out a random street and scan it once from the right-hand lane.

    Args:
        rng: a NumPy generator, the only source of randomness.
        columns: number of azimuths in the full turn.
    """
    road = rng.uniform(3.2, 5.5)  # half its width
    ground = random_ground(rng, road)
    things = [*_traffic(rng, road), *_pavements(rng, road), *_plots(rng, road)]
    parts = [_surface(ground)]
    labels = [np.zeros(len(parts[0].triangles), "int32")]
    for thing in things:
        spot = (thing.x, thing.y, float(ground.height(thing.x, thing.y)))
        parts.append(shapes.place(thing.body, spot, thing.heading))
        labels.append(np.full(len(thing.body.triangles), CLASSES.index(thing.kind), "int32"))
    labels = np.concatenate(labels)

    lane = -road / 2
    origin = np.array((0, lane, ground.height(0, lane) + sensor.HEIGHT))
    azimuths = (np.arange(columns) + rng.random()) * (2 * np.pi / columns)
    scan = sensor.scan(rng, shapes.combine(parts), origin, sensor.directions(azimuths))
    heading = rng.normal(scale=np.deg2rad(4))  # the car is not exactly parallel to the kerb
    c, s = np.cos(heading), np.sin(heading)
    points = (scan.points - origin) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return Labelled(points.astype("float32"), labels[scan.triangles])


def _surface(ground):
    """Make the ground's mesh, with rows close to both kerbs so that they are steep."""
    kerb = ground.road + np.array((0, 0.02))
    half = np.r_[np.linspace(0, ground.road - 1, 3), kerb, np.arange(ground.road + 3, 75, 4)]
    return ground.mesh(np.arange(-90, 91, 3), np.r_[-half[:0:-1], half])


def _along(rng, gap, start=-END):
    """Yield positions along the street; distances between them are uniform in `gap`, metres."""
    x = start + rng.uniform(0, gap[1])
    while x < END:
        yield x
        x += rng.uniform(*gap)


def _vehicle(rng, large):
    """Make a car, or with probability `large` a van, lorry or bus: (class, mesh)."""
    if rng.random() >= large:
        return "car", vehicles.car(rng)
    return "large_vehicle", (vehicles.van if rng.random() < 0.6 else vehicles.truck)(rng)


def _traffic(rng, road):
    """Place cars, lorries and bicycles on both lanes, and parked cars at the kerbs."""
    things = []
    for side in (-1, 1):  # right-hand traffic: -1 is the sensor's lane, heading along +x
        heading = 0.0 if side < 0 else np.pi
        for x in _along(rng, (14, 45)):
            if side < 0 and abs(x) < 12:
                continue  # the position of the sensor's car
            kind, body = _vehicle(rng, large=0.25)
            turn = heading + rng.normal(scale=0.03)
            things.append(Thing(kind, body, x, side * road * rng.uniform(0.38, 0.5), turn))
        for x in _along(rng, (15, 60)):
            turn = heading + rng.normal(scale=0.08)
            y = side * (road - rng.uniform(0.2, 0.5))
            things.append(Thing("cyclist", people.cyclist(rng), x, y, turn))
        parked = rng.uniform(0.2, 0.8) if road > 4.2 else 0
        for x in _along(rng, (6.2, 7.5)):
            if rng.random() < parked and abs(x) > 3.5:
                kind, body = _vehicle(rng, large=0.12)
                if np.ptp(body.vertices[:, 0]) < 6.1:  # a lorry or bus does not fit here
                    y = side * (road + rng.uniform(0.9, 1.2))  # half on the pavement
                    things.append(Thing(kind, body, x, y, heading + rng.normal(scale=0.03)))
    return things


def _pavements(rng, road):
    """Place poles and street trees beside the road, and people behind and between them."""
    things = []
    for side in (-1, 1):
        verge, walk = side * (road + 2.5), side * (road + 4.3)
        heading = -side * np.pi / 2
        trees = rng.uniform(0.2, 0.6)
        for x in _along(rng, (5, 12)):
            kind, make = "pole", surroundings.pole
            if rng.random() < trees:
                kind, make = "vegetation", surroundings.tree
            y = verge + rng.normal(scale=0.15)
            things.append(Thing(kind, make(rng), x, y, heading))
        for x in _along(rng, (3, 14)):
            for _ in range(rng.choice(3, p=(0.65, 0.25, 0.1)) + 1):  # alone or in groups
                at = x + rng.uniform(-0.7, 0.7), walk + rng.uniform(-0.9, 0.9)
                turn = rng.choice((0, np.pi)) + rng.normal(scale=0.3)
                things.append(Thing("pedestrian", people.pedestrian(rng), *at, turn))
    for _ in range(rng.integers(0, 4)):  # people who cross the road
        at = rng.choice((-1, 1)) * rng.uniform(6, 35), rng.uniform(-0.9, 0.9) * road
        turn = np.pi / 2 + rng.choice((0, np.pi))
        things.append(Thing("pedestrian", people.pedestrian(rng), *at, turn))
    return things


def _plots(rng, road):
    """Place houses on both sides, some close to the pavement and some behind a front garden."""
    things = []
    for side in (-1, 1):
        x = -END + rng.uniform(-6, 6)
        while x < END:
            wide, deep = rng.uniform(8, 18), rng.uniform(7, 11)
            garden = rng.choice((0.3, rng.uniform(2.5, 9)), p=(0.2, 0.8))
            edge = road + 5.8
            middle, heading = x + wide / 2, 0.0 if side > 0 else np.pi
            if rng.random() < 0.88:
                house = surroundings.building(rng, wide, deep)
                y = side * (edge + garden + deep / 2)
                things.append(Thing("building", house, middle, y, heading))
            if garden > 2:
                things += _garden(rng, x, wide, side, edge, garden)
            x += wide + rng.choice((0.0, rng.uniform(2.5, 8)))
    return things


def _garden(rng, x, wide, side, edge, deep):
    """Make a front garden with plants, bounded by a fence, a hedge or nothing."""
    things = []
    bound = rng.choice(("fence", "hedge", "open"), p=(0.55, 0.25, 0.2))
    if bound == "fence":
        for at in (x + wide * 0.22, x + wide * 0.78):  # the gate is between the two
            body = surroundings.fence(rng, wide * 0.4)
            things.append(Thing("fence", body, at, side * edge, 0.0 if side < 0 else np.pi))
    elif bound == "hedge":
        for at in np.arange(x + 1, x + wide - 1, 2.6):
            things.append(Thing("vegetation", surroundings.bush(rng), at, side * edge, 0.0))
    for _ in range(rng.integers(0, 4)):
        make = surroundings.tree if rng.random() < 0.4 else surroundings.bush
        at = x + rng.uniform(0.1, 0.9) * wide, side * (edge + rng.uniform(0.3, 0.8) * deep)
        things.append(Thing("vegetation", make(rng), *at, rng.uniform(0, np.pi)))
    return things
