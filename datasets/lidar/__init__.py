"""A street simulator: generated meshes of street things, seen by a spinning 64-beam LiDAR.

`shapes` holds triangle meshes and the few bodies that everything is made of; `vehicles`, `people`
and `surroundings` make things of random size and form from them; `ground` is what they stand on;
`sensor` casts the rays of the scanner. `objects.seen_object` puts one thing before the sensor and
cuts it out of its scan, `street.street_scan` scans a whole street.

Lengths are metres, z is up, angles are radians unless a name says degrees. All randomness comes
from the `numpy.random.Generator` that a caller hands in, so the same seed gives the same bytes.
"""

import numpy as np

SPLITS = ("train", "test")


def example_rng(seed, split, index):
    """Return the generator of one example, so that any example can be made on its own.

    Args:
        seed: the data set's seed.
        split: "train" or "test".
        index: the example's place in its split.
    """
    return np.random.default_rng([seed, SPLITS.index(split), index])
