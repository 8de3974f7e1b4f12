"""Saliency: how much the score of a class changes with each value of the input, by its gradient.

Simonyan, Vedaldi & Zisserman 2014, https://arxiv.org/abs/1312.6034, Sec. 3.1: the magnitude of the
gradient, of a pixel's channels the largest.
"""

import numpy as np
from keras import ops

from zoo.inference import predictors
from zoo.nn import gradients
from zoo.nn.layers import PADDING


def explain(model, x, score):
    """Compute the saliency of an input's places.

    Args:
        model: a `keras.Model`.
        x: an image (H, W, C), a series (T, F), or a cloud (N, 3).
        score: what is explained, a `zoo.insight.methods.scores.Score`.

    Returns:
        An array of the shape of x without its last axis, float32; 0 in the padding of series.
    """

    def value(x):
        outputs = model(predictors.for_each_input(model, x), training=False)
        return ops.sum(score.logit(outputs))

    slope = ops.convert_to_numpy(gradients.of(value)(x[None])[1])[0]
    saliency = np.abs(slope).max(axis=-1)
    return np.where(np.all(x == PADDING, axis=-1), 0, saliency) if x.ndim == 2 else saliency
