"""Activation maximisation: the image for which a class's score, or a layer's map, is largest.

Simonyan, Vedaldi & Zisserman 2014, https://arxiv.org/abs/1312.6034, Sec. 2: gradient ascent on the
score less a multiple of the image's squared distance from gray. Small shifts and blurs between the
steps, as in the DeepDream program of 2015, keep it from patterns of single pixels.
"""

import numpy as np
from keras import ops

from zoo.inference import predictors
from zoo.nn import gradients

STEPS = 160
RATE = 0.03  # mean change of a value in a step, of the range from 0 to 1; falls to a tenth
DECAY = 0.01  # share of the distance from gray that is lost at every step
SHIFT = 4  # pixels, to either side
BLUR = 0.7  # pixels, standard deviation of the blur at first; none at the end
EVERY = 4  # steps between blurs


def ascend(score, shape, count, seed=0, steps=STEPS):
    """Raise scores of images by gradient ascent, from gray with a little noise.

    Args:
        score: function from images (n, H, W, C), a tensor, to their sum of scores, a scalar.
        shape: (H, W, C).
        count: n, the number of images.
        seed: of the noise and the shifts.
        steps: how many.

    Returns:
        (n, H, W, C) float32 from 0 to 1.
    """
    from scipy.ndimage import gaussian_filter

    rng, slope = np.random.default_rng(seed), gradients.compiled(gradients.of(score))
    x = (0.5 + rng.normal(0, 0.02, (count, *shape))).astype(np.float32)
    reach = min(SHIFT, min(shape[:2]) // 8)
    for step in range(steps):
        left = 1 - step / steps
        moves = rng.integers(-reach, reach + 1, 2)
        moved = np.roll(x, moves, axis=(1, 2))
        gradient = ops.convert_to_numpy(slope(moved)[1])
        gradient = np.roll(gradient, -moves, axis=(1, 2))
        size = np.abs(gradient).mean(axis=(1, 2, 3), keepdims=True)
        x = x + RATE * (0.1 + 0.9 * left) * gradient / np.maximum(size, 1e-12)
        x = 0.5 + (1 - DECAY) * (x - 0.5)
        if step % EVERY == 0 and (sigma := BLUR * left) > 0.1:
            x = gaussian_filter(x, (0, sigma, sigma, 0))
        x = np.clip(x, 0, 1).astype(np.float32)
    return x


def classes(model, logits, shape, chosen):
    """Return the image of each class.

    Args:
        model: a `keras.Model` from images.
        logits: function from outputs and classes (n,) to the scores (n,) of each image's class.
        shape: (H, W, C) of its input.
        chosen: indices of the classes, (n,).
    """

    def score(x):
        outputs = model(predictors.for_each_input(model, x), training=False)
        return ops.sum(logits(outputs, chosen))

    return ascend(score, shape, len(chosen))


def channels(reader, shape, chosen):
    """Return the image of each of a layer's maps.

    Args:
        reader: a `keras.Model` from images to maps (B, h, w, K), or vectors (B, K).
        shape: (H, W, C) of its input.
        chosen: indices of the maps, (n,).
    """
    size = reader.outputs[0].shape[-1]
    hot = np.eye(size, dtype=np.float32)[np.asarray(chosen)]

    def score(x):
        outputs = reader(predictors.for_each_input(reader, x), training=False)
        axes = tuple(range(1, len(outputs.shape) - 1))
        return ops.sum((ops.mean(outputs, axis=axes) if axes else outputs) * hot)

    return ascend(score, shape, len(chosen))
