"""A street simulator: generated meshes of street objects, scanned by a spinning 64-beam LiDAR.

`shapes` has triangle meshes and the few basic bodies; `vehicles`, `people` and `surroundings` make
objects of random size and shape from them; `ground` is the surface that they stand on; `sensor`
casts the rays of the scanner. `objects.seen_object` places one object in front of the sensor and
cuts it out of its scan, `street.street_scan` scans a whole street.

Lengths are metres, z is up, angles are radians unless a name says degrees. All randomness comes
from the `numpy.random.Generator` that is passed in, so the same seed gives the same bytes.
"""

import numpy as np

SPLITS = ("train", "test")


def example_rng(seed, split, index):
    """Return the generator of one example, so that each example can be generated independently.

    Args:
        seed: the data set's seed.
        split: "train" or "test".
        index: the index of the example in its split.
    """
    return np.random.default_rng([seed, SPLITS.index(split), index])
