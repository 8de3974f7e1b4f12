"""Functions from tensor to tensor that three or more model files use."""

from keras import layers

from zoo.layers import RowNormalization

# Keras' default of 0.99 leaves the statistics of a short training half way to their start.
MOMENTUM = 0.9


def dense_norm(x, units, name):
    """Apply Dense, batch normalisation and ReLU to the last axis: (..., C) to (..., units)."""
    x = layers.Dense(units, name=f"{name}_dense")(x)
    x = RowNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)
