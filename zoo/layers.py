"""Layers, regularizers and initializers that Keras lacks, all registered, so that models load."""

import math

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


class PointAugmentation(keras.layers.Layer):
    """Base of the layers that change clouds in training: x, y, z first, other channels ride along.

    Args:
        amount: how much; each layer says in what.
        seed: an integer, for the same draws every time.
    """

    def __init__(self, amount, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.amount = amount
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, points, training=True):
        """Return changed points of the same shape (B, N, C >= 3)."""
        if not training:
            return points
        moved = self.move(points[..., :3])
        return ops.concatenate([moved, points[..., 3:]], axis=-1)

    def draw(self, shape, low, high):
        """Draw from the uniform distribution."""
        return keras.random.uniform(shape, low, high, seed=self.seed_generator)

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "amount": self.amount}


@register
class RandomTurn(PointAugmentation):
    """Turns each cloud about the up axis z by up to `amount` of a full turn, either way."""

    def __init__(self, amount=0.5, **kwargs):
        super().__init__(amount, **kwargs)

    def move(self, points):
        """Turn."""
        limit = 2 * math.pi * self.amount
        angle = self.draw((ops.shape(points)[0],), -limit, limit)
        cos, sin = ops.cos(angle), ops.sin(angle)
        zero, one = ops.zeros_like(angle), ops.ones_like(angle)
        rows = ops.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], axis=-1)
        return ops.matmul(points, ops.reshape(rows, (-1, 3, 3)))


@register
class RandomStretch(PointAugmentation):
    """Scales each cloud by a factor drawn from 1 - `amount` to 1 + `amount`."""

    def move(self, points):
        """Scale."""
        return points * self.draw((ops.shape(points)[0], 1, 1), 1 - self.amount, 1 + self.amount)


@register
class RandomJitter(PointAugmentation):
    """Moves each point by normal noise of standard deviation `amount`, in the cloud's unit."""

    def move(self, points):
        """Shake."""
        return points + self.amount * keras.random.normal(
            ops.shape(points), seed=self.seed_generator
        )


@register
class RandomPointDropout(PointAugmentation):
    """Replaces up to the share `amount` of a cloud's points by its first point, all channels.

    A max over the points cannot tell a point from its copies, so the cloud loses those points
    while its shape (B, N, C) stays.
    """

    def call(self, points, training=True):
        """Return points of the same shape (B, N, C)."""
        if not training:
            return points
        batch, count = ops.shape(points)[:2]
        share = self.draw((batch, 1, 1), 0.0, self.amount)
        lost = self.draw((batch, count, 1), 0.0, 1.0) < share
        return ops.where(lost, points[:, :1], points)
