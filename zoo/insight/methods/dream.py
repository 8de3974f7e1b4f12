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
STEPS = 12  # an octave
RATE = 0.01  # mean change of a value in a step
BLUR = 0.7  # pixels, standard deviation of the blur of the gradient, against noise
FREE = 256  # pixels, side of a tile of models that take any size
LARGEST = 512  # pixels, side of a dream, unless tiles are so large that octaves need more


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
        (H', W', C) float32 from 0 to 1; small images are enlarged, see `plan`.
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
    """Return the sizes (height, width) of the octaves, ascending, none below the tile's.

    The last is that of the image, LARGEST at most, or that at which the first is a tile.
    """
    factor = min(1.0, LARGEST / max(shape))
    reach = SCALE ** (octaves - 1)
    factor = max(factor, *(reach * side / length for side, length in zip(tile, shape, strict=True)))
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
    from scipy.ndimage import gaussian_filter

    moves = [int(rng.integers(length)) for length in x.shape[:2]]
    moved = np.roll(x, moves, axis=(0, 1))
    total, count = np.zeros_like(moved), np.zeros((*moved.shape[:2], 1), np.float32)
    for top in starts(moved.shape[0], tile[0]):
        for left in starts(moved.shape[1], tile[1]):
            place = np.s_[top : top + tile[0], left : left + tile[1]]
            total[place] += ops.convert_to_numpy(slope(moved[place][None])[1])[0]
            count[place] += 1
    smooth = gaussian_filter(total / count, (BLUR, BLUR, 0))
    return np.roll(smooth, [-move for move in moves], axis=(0, 1))


def starts(length, tile):
    """Return the starts of tiles that cover a length, evenly spread."""
    count = -(-length // tile)
    return np.linspace(0, length - tile, count).round().astype(int).tolist()
