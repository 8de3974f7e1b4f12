"""Gently uneven ground: a sum of long waves, with a kerb on either side of a street."""

from typing import NamedTuple

import numpy as np

from datasets.lidar.shapes import mesh

ASPHALT = 0.12  # 0.10 for pavement in the sensor's manual


class Ground(NamedTuple):
    """The height of the ground, and the width of the road on it.

    Attributes:
        waves: (W, 4) wave numbers along x and y (rad/m), phases (rad), amplitudes (m).
        road: half the width of the road, which runs along x; None without a road.
        kerb: height of the pavements beside it, metres.
    """

    waves: np.ndarray
    road: float | None = None
    kerb: float = 0.0

    def height(self, x, y):
        """Return the height at x and y, arrays or numbers of one shape, metres."""
        x, y = np.asarray(x)[..., None], np.asarray(y)[..., None]
        kx, ky, phase, amplitude = self.waves.T
        waves = np.sum(amplitude * np.sin(kx * x + ky * y + phase), axis=-1)
        beside = 0.0 if self.road is None else np.abs(y[..., 0]) > self.road
        return waves + self.kerb * beside

    def mesh(self, xs, ys):
        """Make the surface over a grid of coordinates xs (X,) and ys (Y,)."""
        x, y = np.meshgrid(xs, ys, indexing="ij")
        vertices = np.stack([x, y, self.height(x, y)], axis=-1)  # (X, Y, 3)
        i = np.arange(len(xs) - 1)[:, None] * len(ys) + np.arange(len(ys) - 1)
        j = i + len(ys)
        triangles = np.stack([i, j, j + 1, i, j + 1, i + 1], axis=-1)
        return mesh(vertices, triangles, ASPHALT)


def random_ground(rng, road=None):
    """Draw five waves of 20-80 m length and up to 6 cm height each, and a kerb if there is a road.

    Args:
        rng: a NumPy generator.
        road: half the width of the road, metres, or None.
    """
    turn, length = rng.uniform(0, 2 * np.pi, 5), rng.uniform(20, 80, 5)
    k = 2 * np.pi / length
    amplitude = rng.uniform(0, 0.06, 5)
    phase = rng.uniform(0, 2 * np.pi, 5)
    waves = np.stack([k * np.cos(turn), k * np.sin(turn), phase, amplitude], axis=1)
    return Ground(waves, road, rng.uniform(0.08, 0.15) if road else 0.0)
