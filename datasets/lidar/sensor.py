"""A spinning 64-beam laser scanner, simulated with Open3D's ray casting on triangle meshes.

The numbers are those of the Velodyne HDL-64E (user's manual 63-HDL64ES3, rev. G, 2013): 64 beams
from +2 to -24.33 degrees, the upper half 1/3 degree apart and the lower half 1/2 degree; 0.17
degree between columns at 10 turns a second; range noise below 2 cm (one standard deviation); 120 m
range on cars and foliage (reflectivity 0.8), 50 m on pavement (reflectivity 0.1). It is mounted
1.73 m above the ground, as on the car of KITTI (Geiger et al., IJRR 2013, fig. 3).
"""

from typing import NamedTuple

import numpy as np

HEIGHT = 1.73  # metres above the ground
AZIMUTH_STEP = np.deg2rad(0.1728)
RANGE_NOISE = 0.02  # metres, standard deviation
NEAREST, FARTHEST = 0.9, 120.0  # metres
BASE_DROP_OUT = 0.02  # fraction of pulses lost at any range; our choice
FAINTEST = 0.8 / FARTHEST**2  # the echo at the maximum range; 0.1 / 50**2 is similar

ELEVATIONS = np.deg2rad(np.r_[2 - np.arange(32) / 3, -8.83 - np.arange(32) / 2])


class Scan(NamedTuple):
    """The echoes of one scan, column by column, each column from its top beam down.

    Attributes:
        points: (N, 3) float32, metres, in the frame of the mesh.
        triangles: (N,) int64, the triangle of each echo.
        hits: (H,) int64, the triangle of each ray that hits one, with or without an echo.
    """

    points: np.ndarray
    triangles: np.ndarray
    hits: np.ndarray


def directions(azimuths, elevations=ELEVATIONS):
    """Return unit vectors (A * E, 3) float32 of all beams at all azimuths, azimuth by azimuth."""
    azimuths, elevations = np.asarray(azimuths)[:, None], np.asarray(elevations)[None]
    level = np.cos(elevations)
    rays = [level * np.cos(azimuths), level * np.sin(azimuths), np.sin(elevations + 0 * azimuths)]
    return np.stack(rays, axis=-1).reshape(-1, 3).astype("float32")


def cast(mesh, origin, rays):
    """Return the first intersection of each ray with a mesh, without noise.

    Args:
        mesh: a `shapes.Mesh`.
        origin: (3,) where all rays start.
        rays: (R, 3) float32 unit vectors.

    Returns:
        Distances (R,) float32, inf without an intersection; triangles (R,) int64, -1 without one;
        and the cosine (R,) float32 between ray and face normal, 0 without one.
    """
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(mesh.vertices), o3d.core.Tensor(mesh.triangles))
    starts = np.broadcast_to(np.asarray(origin, "float32"), rays.shape)
    result = scene.cast_rays(o3d.core.Tensor(np.concatenate([starts, rays], axis=1)))
    distance = result["t_hit"].numpy()
    hit = np.isfinite(distance)
    triangle = np.where(hit, result["primitive_ids"].numpy().astype("int64"), -1)
    normals = result["primitive_normals"].numpy()
    cosine = np.where(hit, np.abs(np.einsum("rc,rc->r", normals, rays)), 0)
    return distance, triangle, cosine


def echo_probability(distance, cosine, reflectivity):
    """Return the probability that a pulse returns, by the lidar equation and a soft threshold.

    The strength of the echo is reflectivity / distance², reduced at grazing incidence; rough
    surfaces reduce it far less than Lambert's cosine, hence its fifth root. At the faintest echo
    of the manual half of the pulses are lost.
    """
    strength = reflectivity * cosine**0.2 / np.maximum(distance, NEAREST) ** 2
    return (1 - BASE_DROP_OUT) / (1 + (FAINTEST / np.maximum(strength, 1e-12)) ** 2)


def scan(rng, mesh, origin, rays) -> Scan:
    """Scan a mesh: nearest hits without the lost pulses, with noise along the beam.

    Two random numbers are drawn for every ray, with or without a hit, so that a ray that misses an
    edge on another processor does not shift the numbers of the rays after it.
    """
    distance, triangle, cosine = cast(mesh, origin, rays)
    uniform, noise = rng.random(len(rays)), rng.normal(scale=RANGE_NOISE, size=len(rays))
    hit = triangle >= 0
    chosen = np.flatnonzero(hit & (distance > NEAREST) & (distance < FARTHEST))
    reflectivity = mesh.reflectivity[triangle[chosen]]
    probability = echo_probability(distance[chosen], cosine[chosen], reflectivity)
    chosen = chosen[uniform[chosen] < probability]
    length = (distance[chosen] + noise[chosen]).astype("float32")
    points = np.asarray(origin, "float32") + rays[chosen] * length[:, None]
    return Scan(points, triangle[chosen], triangle[hit])
