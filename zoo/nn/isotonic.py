"""Isotonic calibration: a nondecreasing piecewise linear function of each probability.

Zadrozny & Elkan, KDD 2002, https://doi.org/10.1145/775047.775151: one function per class, and their
values are normalised.
"""

import keras
import numpy as np
from keras import ops

SMALLEST = 1e-7  # least width of a piece


@keras.saving.register_keras_serializable("zoo")
class Isotonic(keras.layers.Layer):
    """Converts logits (B, ..., K) to the logits of calibrated probabilities, of the same shape.

    One logit is that of class 1 of two, and has one function.

    Args:
        x: (K, M) probabilities, the knots of each function, ascending.
        y: (K, M), its values there, above 0, below 1 and not descending.
    """

    def __init__(self, x, y, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y = np.array(x).tolist(), np.array(y).tolist()

    def call(self, inputs):
        """Return logits: of one the logit of its probability, of several their logarithms."""
        single = inputs.shape[-1] == 1
        logits = ops.cast(inputs, "float32")
        p = ops.sigmoid(logits) if single else ops.softmax(logits)
        x, y = np.float32(self.x), np.float32(self.y)
        constants = (x[:, :-1], np.maximum(np.diff(x), SMALLEST), np.diff(y), y[:, 0])
        starts, widths, rises, first = map(ops.convert_to_tensor, constants)
        shares = ops.clip((p[..., None] - starts) / widths, 0.0, 1.0)  # (B, ..., K, M - 1)
        p = first + ops.sum(shares * rises, axis=-1)
        if single:
            return ops.log(p) - ops.log1p(-p)
        return ops.log(p / ops.sum(p, axis=-1, keepdims=True))

    def compute_output_shape(self, input_shape):
        """Return the shape of the logits."""
        return input_shape

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "x": self.x, "y": self.y}
