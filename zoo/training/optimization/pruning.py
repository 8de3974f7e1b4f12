"""Pruning: the smallest weights become zero while training, and stay zero.

Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878, Eq. 1: the share of zeros in each kernel grows
by a cubic curve, here at the beginning of each epoch until three quarters of them are over.
"""

import math
import zlib

import keras
import numpy as np
from keras import ops

GROWING = 0.75  # share of the epochs in which the share of zeros grows


class Pruning(keras.callbacks.Callback):
    """Sets masks on the kernels of a model, which every update is multiplied by.

    Args:
        model: the `keras.Model` that is trained.
        optimizer: its optimizer, which is given the masks as variables: they are part of the
            checkpoint, and JAX's compiled step sees their changes.
        share: of the weights of each kernel that are zero in the end.
        epochs: number of epochs.
    """

    def __init__(self, model, optimizer, share, epochs):
        super().__init__()
        self.share, self.growing = share, growing(epochs)
        self.masks = []
        for variable in model.trainable_variables:
            if len(variable.shape) < 2:
                continue
            mask = keras.Variable(np.ones(variable.shape, "float32"), trainable=False)
            optimizer._track_variable(mask)
            variable.constraint = masked(mask, variable.constraint)
            self.masks.append((variable, mask))

    def on_epoch_begin(self, epoch, logs=None):
        """Make more of the smallest weights zero."""
        left = 1 - min(1.0, (epoch + 1) / self.growing)
        share = self.share * (1 - left**3)
        for variable, mask in self.masks:
            values = np.abs(ops.convert_to_numpy(variable))
            count = round(share * values.size)
            keep = np.ones(values.size, "float32")
            keep[np.argsort(values, axis=None, kind="stable")[:count]] = 0
            mask.assign(keep.reshape(values.shape))
            variable.assign(ops.convert_to_numpy(variable) * keep.reshape(values.shape))


def growing(epochs):
    """Return in how many epochs the share of zeros grows."""
    return max(1, math.ceil(GROWING * epochs))


def masked(mask, constraint):
    """Return a constraint: another one, or none, and then the product with a mask."""

    def apply(weights):
        weights = weights if constraint is None else constraint(weights)
        return weights * ops.cast(mask, weights.dtype)

    return apply


def measured(model, path):
    """Return the share of zeros in a model's kernels, and the bytes of its file, also compressed.

    Returns:
        A dictionary: "zeros", from 0 to 1, "bytes" and "compressed".
    """
    kernels = [ops.convert_to_numpy(v) for v in model.trainable_variables if len(v.shape) > 1]
    share = sum(int((k == 0).sum()) for k in kernels) / sum(kernel.size for kernel in kernels)
    content = path.read_bytes()
    return {"zeros": share, "bytes": len(content), "compressed": len(zlib.compress(content))}


def sentence(pruned):
    """Return as text what `measured` returned."""
    size, small = f"{pruned['bytes']:,} bytes", f"{pruned['compressed']:,} compressed"
    return f"Pruned: {pruned['zeros']:.1%} of the weights are 0; {size}, {small}"
