"""One object in front of the sensor, partly occluded by others, and cut out of its scan."""

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
NEAREST, FARTHEST = 5, 50  # metres from the sensor to the centre of an object
REACH = {"pole": 25, "pedestrian": 38, "cyclist": 45}  # at larger distances too few beams hit them
FEWEST_POINTS = 50
LEAST_SEEN = 0.4  # fraction of the rays to an object that must not be occluded
_GROUND_GRID = np.arange(-63, 64, 4.5)


class Seen(NamedTuple):
    """An object as the sensor measured it.

    Attributes:
        points: (N, 3) float32, metres. z = 0 is the ground below the object's centre; x and y have
            the sensor's axes, with 0 at the centre of the points' extent.
        sensor: (3,) float32, the position of the sensor in that frame.
        share: the fraction of its rays that are not occluded, 0 to 1.
    """

    points: np.ndarray
    sensor: np.ndarray
    share: float


def seen_object(rng, kind) -> Seen:
    """Generate and scan one object of a class, repeatedly until enough of it is visible.

    Args:
        rng: a NumPy generator, the only source of randomness.
        kind: one of `CLASSES`.
    """
    while True:
        seen = _look(rng, kind)
        if len(seen.points) >= FEWEST_POINTS and seen.share >= LEAST_SEEN:
            return seen


def _look(rng, kind):
    """Scan one random object once, however little of it is visible."""
    ground, target = random_ground(rng), MAKERS[kind](rng)
    radius = _radius(target)
    distance = max(rng.uniform(NEAREST, REACH.get(kind, FARTHEST)), radius + 4)
    bearing = rng.uniform(-np.pi, np.pi)
    spot = _put(ground, bearing, distance)
    target = shapes.place(target, spot, rng.uniform(-np.pi, np.pi))
    surface = ground.mesh(_GROUND_GRID, _GROUND_GRID)
    hiders = _hiders(rng, ground, bearing, distance, radius)
    origin = np.array((0, 0, ground.height(0, 0) + sensor.HEIGHT))
    rays = _rays_towards(rng, bearing, distance, radius)

    count = len(target.triangles)
    scan = sensor.scan(rng, shapes.combine([target, *hiders, surface]), origin, rays)
    share = 1.0
    if hiders:
        unoccluded = sensor.cast(shapes.combine([target, surface]), origin, rays)[1]
        visible = np.count_nonzero((unoccluded >= 0) & (unoccluded < count))
        share = float(np.count_nonzero(scan.hits < count) / max(visible, 1))
    points = scan.points[scan.triangles < count]
    if len(points):
        centre = (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
        spot = np.array((*centre, spot[2]), "float32")
    return Seen((points - spot).astype("float32"), (origin - spot).astype("float32"), share)


def _radius(body):
    """Return the largest horizontal distance of an object from its centre."""
    return float(np.linalg.norm(body.vertices[:, :2], axis=1).max())


def _put(ground, bearing, distance):
    """Return the point on the ground at a bearing and a distance from the sensor."""
    x, y = distance * np.cos(bearing), distance * np.sin(bearing)
    return np.array((x, y, ground.height(x, y)))


def _hiders(rng, ground, bearing, distance, radius):
    """Place up to three objects between the sensor and a target, near the line to it."""
    hiders = []
    for kind in rng.choice(HIDERS, rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))):
        hider = MAKERS[kind](rng)
        nearest, farthest = _radius(hider) + 2.5, distance - radius - _radius(hider)
        if farthest <= nearest:
            continue  # no room between the sensor and the target
        at = rng.uniform(nearest, farthest)
        width = np.arctan2(radius, distance) + np.arctan2(_radius(hider), at)
        place = _put(ground, bearing + rng.uniform(-width, width), at)
        hiders.append(shapes.place(hider, place, rng.uniform(-np.pi, np.pi)))
    return hiders


def _rays_towards(rng, bearing, distance, radius):
    """Return the rays of a full turn that can hit an object, at the sensor's full resolution."""
    half = np.arcsin(radius / distance) + sensor.AZIMUTH_STEP
    azimuths = bearing + np.arange(-half, half, sensor.AZIMUTH_STEP)
    azimuths += rng.uniform(0, sensor.AZIMUTH_STEP)
    lowest = np.arctan2(-sensor.HEIGHT - 1, distance - radius)
    return sensor.directions(azimuths, sensor.ELEVATIONS[sensor.ELEVATIONS > lowest])
