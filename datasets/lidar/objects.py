"""One thing put before the sensor, partly behind others, and cut out of its scan."""

from typing import NamedTuple

import numpy as np

from datasets.lidar import people, sensor, shapes, surroundings, vehicles
from datasets.lidar.ground import random_ground

MAKERS = {
    "building": surroundings.building,
    "bush": surroundings.bush,
    "car": vehicles.car,
    "cyclist": people.cyclist,
    "fence": surroundings.fence,
    "pedestrian": people.pedestrian,
    "pole": surroundings.pole,
    "tree": surroundings.tree,
    "truck": vehicles.truck,
    "van": vehicles.van,
}
CLASSES = tuple(MAKERS)
HIDERS = ("bush", "car", "cyclist", "fence", "pedestrian", "pole", "tree", "van")
NEAREST, FARTHEST = 5, 50  # metres from the sensor to the middle of an object
REACH = {"pole": 25, "pedestrian": 38, "cyclist": 45}  # farther off too few beams meet them
FEWEST_POINTS = 50
LEAST_SEEN = 0.4  # of the rays that would meet an object, the share that others must leave free
_GROUND_GRID = np.arange(-63, 64, 4.5)


class Seen(NamedTuple):
    """An object as the sensor saw it.

    Attributes:
        points: (N, 3) float32, metres. z = 0 is the ground below the object's middle; x and y have
            the sensor's axes, with 0 in the middle of the points' extent.
        sensor: (3,) float32, where the sensor stood in that frame.
        share: the part of its rays that nothing in front of it took away, 0 to 1.
    """

    points: np.ndarray
    sensor: np.ndarray
    share: float


def seen_object(rng, kind) -> Seen:
    """Make one object of a class and scan it, again until enough of it can be seen.

    Args:
        rng: a NumPy generator, which decides everything.
        kind: one of `CLASSES`.
    """
    while True:
        seen = _look(rng, kind)
        if len(seen.points) >= FEWEST_POINTS and seen.share >= LEAST_SEEN:
            return seen


def _look(rng, kind):
    """Scan one random object once, however little of it can be seen."""
    ground, thing = random_ground(rng), MAKERS[kind](rng)
    radius = _radius(thing)
    away = max(rng.uniform(NEAREST, REACH.get(kind, FARTHEST)), radius + 4)
    bearing = rng.uniform(-np.pi, np.pi)
    spot = _put(ground, bearing, away)
    thing = shapes.place(thing, spot, rng.uniform(-np.pi, np.pi))
    surface = ground.mesh(_GROUND_GRID, _GROUND_GRID)
    hiders = _hiders(rng, ground, bearing, away, radius)
    origin = np.array((0, 0, ground.height(0, 0) + sensor.HEIGHT))
    rays = _rays_towards(rng, bearing, away, radius)

    count = len(thing.triangles)
    scan = sensor.scan(rng, shapes.join([thing, *hiders, surface]), origin, rays)
    share = 1.0
    if hiders:
        alone = sensor.cast(shapes.join([thing, surface]), origin, rays)[1]
        free = np.count_nonzero((alone >= 0) & (alone < count))
        share = float(np.count_nonzero(scan.hits < count) / max(free, 1))
    points = scan.points[scan.triangles < count]
    if len(points):
        middle = (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
        spot = np.array((*middle, spot[2]), "float32")
    return Seen((points - spot).astype("float32"), (origin - spot).astype("float32"), share)


def _radius(thing):
    """Return how far a thing reaches from its middle, seen from above."""
    return float(np.linalg.norm(thing.vertices[:, :2], axis=1).max())


def _put(ground, bearing, away):
    """Return the point on the ground at a bearing and a distance from the sensor's foot."""
    x, y = away * np.cos(bearing), away * np.sin(bearing)
    return np.array((x, y, ground.height(x, y)))


def _hiders(rng, ground, bearing, away, radius):
    """Put none to three things between the sensor and a target, about the line to it."""
    hiders = []
    for kind in rng.choice(HIDERS, rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))):
        hider = MAKERS[kind](rng)
        nearest, farthest = _radius(hider) + 2.5, away - radius - _radius(hider)
        if farthest <= nearest:
            continue  # no room between the sensor and the target
        at = rng.uniform(nearest, farthest)
        width = np.arctan2(radius, away) + np.arctan2(_radius(hider), at)
        place = _put(ground, bearing + rng.uniform(-width, width), at)
        hiders.append(shapes.place(hider, place, rng.uniform(-np.pi, np.pi)))
    return hiders


def _rays_towards(rng, bearing, away, radius):
    """Return the rays of a whole turn that can meet a thing, at the sensor's full resolution."""
    half = np.arcsin(radius / away) + sensor.AZIMUTH_STEP
    azimuths = bearing + np.arange(-half, half, sensor.AZIMUTH_STEP)
    azimuths += rng.uniform(0, sensor.AZIMUTH_STEP)
    lowest = np.arctan2(-sensor.HEIGHT - 1, away - radius)
    return sensor.directions(azimuths, sensor.ELEVATIONS[sensor.ELEVATIONS > lowest])
