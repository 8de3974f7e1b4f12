"""Layers, regularizers and initializers that Keras lacks, all registered, so that models load."""

import keras
import numpy as np
from keras import ops

register = keras.saving.register_keras_serializable("zoo")


def reseed(layer, entropy):
    """Set the state of every random generator in a layer or model from a tuple of integers."""
    states = [variable for variable in layer.variables if "seed_generator" in variable.path]
    for i, variable in enumerate(states):
        words = np.random.SeedSequence([*entropy, i]).generate_state(2)
        variable.assign(words.astype(variable.dtype))


@register
class FlatIdentity(keras.initializers.Initializer):
    """Fills a vector of length C² with the rows of the C x C identity matrix."""

    def __call__(self, shape, dtype=None):
        """Return the vector.

        Raises:
            ValueError: if the length is no square.
        """
        size = round(shape[0] ** 0.5)
        if shape != (size * size,):
            raise ValueError(f"FlatIdentity fills a vector of square length, not {tuple(shape)}")
        return ops.reshape(ops.eye(size, dtype=dtype), (-1,))


@register
class Orthogonality(keras.regularizers.Regularizer):
    """Pulls each matrix A of a batch towards a rotation, by ‖I − AAᵀ‖²_F of each sample.

    Qi et al. 2017, https://arxiv.org/abs/1612.00593, Eq. 2. As `activity_regularizer` of a layer:
    Keras divides by the batch size, so the loss gets the mean over the samples.
    """

    def __init__(self, weight=1e-3):
        """Set the factor on the term."""
        self.weight = weight

    def __call__(self, matrices):
        """Return the weighted sum of the terms of matrices (B, C, C), a scalar."""
        matrices = ops.cast(matrices, "float32")
        product = ops.einsum("bij,bkj->bik", matrices, matrices)
        error = ops.eye(matrices.shape[-1]) - product
        return self.weight * ops.sum(ops.square(error))

    def get_config(self):
        """Return the arguments."""
        return {"weight": self.weight}


@register
class RowNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over all axes but the last, computed on a matrix of rows.

    The same mathematics and weights as Keras' layer. XLA on a CPU sums over one axis much
    faster than over two, and the sums are a large part of a training step on points (B, N, C).
    """

    def build(self, input_shape):
        """Make weights for rows (C,)."""
        super().build((None, input_shape[-1]))
        self.input_spec = None

    def call(self, inputs, training=None):
        """Return normalised inputs of the same shape (..., C)."""
        rows = ops.reshape(inputs, (-1, inputs.shape[-1]))
        return ops.reshape(super().call(rows, training=training), ops.shape(inputs))

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape
