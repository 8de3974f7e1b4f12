"""DeepDream: an image is changed so that what a layer finds in it is found more.

Mordvintsev, Olah & Tyka, "Inceptionism", Google Research 2015,
https://research.google/blog/inceptionism-going-deeper-into-neural-networks: gradient ascent on the
mean square of a layer's output, over several sizes of the image (octaves), in tiles of the size
that the model takes, shifted at random so that no seams arise.
"""

import numpy as np
from keras import ops

from zoo.nn import gradients
from zoo.tasks import images

OCTAVES = 4
SCALE = 1.4  # factor between the sizes of octaves
STEPS = 20  # an octave
RATE = 0.02  # mean change of a value in a step
FREE = 256  # pixels, side of a tile of models that take any size
LARGEST = 512  # pixels, side of a dream


def dream(reader, image, tile, octaves=OCTAVES, steps=None, seed=0):
    """Return the dream of an image.

    Args:
        reader: a `keras.Model` from images (B, *tile, C) to a layer's output.
        image: (H, W, C) float32 from 0 to 1.
        tile: (height, width) of the reader's input.
        octaves: number of sizes.
        steps: of gradient ascent at each size; STEPS if None.
        seed: of the shifts.

    Returns:
        (H', W', C) float32 from 0 to 1: the size of the image, LARGEST at most, and at least that
        of a tile.
    """
    rng = np.random.default_rng(seed)

    def score(x):
        return ops.mean(ops.square(ops.cast(reader(x, training=False), "float32")))

    slope = gradients.compiled(gradients.of(score))
    sizes = plan(image.shape[:2], tile, octaves)
    x = images.resize(image, *sizes[0])
    original = x
    for i, size in enumerate(sizes):
        if i:
            detail = x - original
            original = images.resize(image, *size)
            x = original + images.resize(detail, *size)
        for _ in range(STEPS if steps is None else steps):
            gradient = tiled(slope, x, tile, rng)
            x = x + RATE * gradient / max(float(np.abs(gradient).mean()), 1e-12)
            x = np.clip(x, 0, 1).astype(np.float32)
    return x


def plan(shape, tile, octaves):
    """Return the sizes (height, width) of the octaves, ascending, none below the tile's."""
    factor = min(1.0, LARGEST / max(shape))
    factor = max(factor, *(side / length for side, length in zip(tile, shape, strict=True)))
    last = [round(factor * length) for length in shape]
    sizes = []
    for i in range(octaves - 1, -1, -1):
        size = tuple(
            max(side, round(length / SCALE**i)) for side, length in zip(tile, last, strict=True)
        )
        if size not in sizes:
            sizes.append(size)
    return sizes


def tiled(slope, x, tile, rng):
    """Return the gradient of an image (H, W, C), computed in tiles after a random shift."""
    moves = [int(rng.integers(length)) for length in x.shape[:2]]
    moved = np.roll(x, moves, axis=(0, 1))
    total, count = np.zeros_like(moved), np.zeros((*moved.shape[:2], 1), np.float32)
    for top in starts(moved.shape[0], tile[0]):
        for left in starts(moved.shape[1], tile[1]):
            place = np.s_[top : top + tile[0], left : left + tile[1]]
            total[place] += ops.convert_to_numpy(slope(moved[place][None])[1])[0]
            count[place] += 1
    return np.roll(total / count, [-move for move in moves], axis=(0, 1))


def starts(length, tile):
    """Return the starts of tiles that cover a length, evenly spread."""
    count = -(-length // tile)
    return np.linspace(0, length - tile, count).round().astype(int).tolist()
