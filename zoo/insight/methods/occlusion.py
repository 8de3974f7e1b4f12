"""Occlusion: how much the probability of a class falls where a gray square hides the image.

Zeiler & Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901, Sec. 4.2. It needs no gradient, so it
takes any model.
"""

import numpy as np

from zoo.inference import predictors

GRAY = 0.5
PARTS = 6  # the square's side is a sixth of the image's, and it moves by a third of its side
BATCH = 32


def explain(model, x, score):
    """Compute the fall of the probability.

    Args:
        model: a `keras.Model`.
        x: the image (H, W, C).
        score: what is explained, a `zoo.insight.methods.scores.Score`.

    Returns:
        (H, W) float32: the mean, over the squares that hide a pixel, of the fall of the class's
        probability; negative where hiding raises it.
    """
    height, width = x.shape[:2]
    side = max(2, round(min(height, width) / PARTS))
    places = [(top, left) for top in starts(height, side) for left in starts(width, side)]
    (before,) = score.probability(predictors.predict(model, x[None], 1))
    total, count = np.zeros((2, height, width), np.float64)
    for start in range(0, len(places), BATCH):
        part = places[start : start + BATCH]
        hidden = np.repeat(x[None], len(part), axis=0)
        for image, (top, left) in zip(hidden, part, strict=True):
            image[top : top + side, left : left + side] = GRAY
        after = score.probability(predictors.predict(model, hidden, min(BATCH, len(places))))
        for probability, (top, left) in zip(after, part, strict=True):
            total[top : top + side, left : left + side] += before - probability
            count[top : top + side, left : left + side] += 1
    return (total / count).astype(np.float32)


def starts(length, side):
    """Return where squares start along a side, so that they cover it."""
    step = max(1, side // 3)
    return [*range(0, length - side, step), length - side]
