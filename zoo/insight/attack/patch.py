"""An adversarial patch: a disc that changes the prediction of every picture that it is laid on.

Brown, Mané, Roy, Abadi & Gilmer 2017, https://arxiv.org/abs/1712.09665, Sec. 2: the patch is
trained on many images, each with it at another place, angle and size, to be predicted as one class
(or not as the true class). It is not small in its values, but in its size.
"""

import keras
import numpy as np
from keras import ops

from zoo.inference import predictors
from zoo.nn import gradients

STEPS = 150
BATCH = 16  # images a step
RATE = 0.05  # of Adam, decaying linearly to 0
ANGLE = 22.5  # degrees, to either side; of the paper's demonstration
SCALE = 0.9, 1.1  # range of the factor of its size


def disc(side, size):
    """Return the shape of a patch, (side, side, 1) float32 from 0 to 1 with a soft edge.

    Args:
        side: of the image, pixels.
        size: diameter of the patch, a share of the side.
    """
    places = np.indices((side, side)) - (side - 1) / 2
    return np.clip(size * side / 2 - np.hypot(*places) + 0.5, 0, 1).astype(np.float32)[..., None]


def placements(count, side, size, rng):
    """Draw places, angles and sizes at which the whole patch is in the image.

    Returns:
        (count, 8) float32, the matrices that `keras.ops.image.affine_transform` takes: from a pixel
        (x, y) of the image to one of the patch's canvas, which is of the same size.
    """
    scale, angle = rng.uniform(*SCALE, count), np.radians(rng.uniform(-ANGLE, ANGLE, count))
    room = np.maximum(side * (1 - size * scale) / 2, 0)
    x, y = rng.uniform(-1, 1, (2, count)) * room + (side - 1) / 2  # of the patch's centre
    cos, sin, middle = np.cos(angle) / scale, np.sin(angle) / scale, (side - 1) / 2
    rows = [cos, -sin, middle - cos * x + sin * y, sin, cos, middle - sin * x - cos * y]
    return np.stack([*rows, 0 * cos, 0 * cos], axis=1).astype(np.float32)


def pasted(patch, shape, images, places):
    """Lay a patch on images.

    Args:
        patch: canvas (S, S, C) from 0 to 1, with the patch in its middle.
        shape: of the patch, (S, S, 1), see `disc`.
        images: (B, S, S, C).
        places: (B, 8), see `placements`.

    Returns:
        A tensor (B, S, S, C).
    """
    both = ops.concatenate([ops.cast(patch, "float32"), ops.cast(shape, "float32")], axis=-1)
    both = ops.broadcast_to(both, (images.shape[0], *both.shape))
    moved = ops.image.affine_transform(both, places, interpolation="bilinear")
    colour, opacity = moved[..., :-1], moved[..., -1:]
    return images * (1 - opacity) + colour * opacity


def train(model, x, y, size, target=None, steps=STEPS, seed=0):
    """Train a patch.

    Args:
        model: a `keras.Model` from images (B, S, S, C) in [0, 1] to logits (B, K).
        x: images (n, S, S, C).
        y: their labels (n,).
        size: diameter of the patch, a share of the side.
        target: index of the class that is to be predicted; None: any but the true one.
        steps: of the training.
        seed: of the places and the order of the images.

    Returns:
        (patch, shape): a canvas (S, S, C) from 0 to 1, and its `disc`, NumPy arrays.
    """
    side, rng = x.shape[1], np.random.default_rng(seed)
    shape = disc(side, size)

    def loss(patch, images, places, labels):
        logits = model(
            predictors.for_each_input(model, pasted(patch, shape, images, places)), training=False
        )
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return ops.mean(losses) * (-1 if target is None else 1)

    slope = gradients.compiled(gradients.of(loss))
    patch = keras.Variable(rng.uniform(0.4, 0.6, x.shape[1:]).astype(np.float32))
    rate = keras.optimizers.schedules.PolynomialDecay(RATE, steps, 0.0)
    optimizer = keras.optimizers.Adam(rate)
    for _ in range(steps):
        rows = rng.integers(len(x), size=BATCH)
        labels = y[rows] if target is None else np.full(BATCH, target, np.int32)
        places = placements(BATCH, side, size, rng)
        _, gradient = slope(patch.value, np.float32(x[rows]), places, np.int32(labels))
        optimizer.apply([gradient], [patch])
        patch.assign(ops.clip(patch, 0.0, 1.0))
    return ops.convert_to_numpy(patch), shape


def laid(patch, shape, x, size, seed=0):
    """Lay a trained patch on images (B, S, S, C) at random; return a NumPy array."""
    places = placements(len(x), x.shape[1], size, np.random.default_rng(seed))
    return ops.convert_to_numpy(pasted(patch, shape, ops.convert_to_tensor(np.float32(x)), places))
