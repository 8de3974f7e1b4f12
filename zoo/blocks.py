"""Functions from tensor to tensor that three or more model files use."""

from keras import layers

from zoo.layers import RowNormalization

# Keras' default of 0.99 leaves the statistics of a short training half way to their start.
MOMENTUM = 0.9
# Of Darknet's normalisation on a GPU, where its published weights were trained; Keras' is 1e-3.
EPSILON = 1e-5


def dense_norm(x, units, name):
    """Apply Dense, batch normalisation and ReLU to the last axis: (..., C) to (..., units)."""
    x = layers.Dense(units, name=f"{name}_dense")(x)
    x = RowNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)


def leaky_conv(x, channels, size, name, *, strides=1, batch_norm=True):
    """Apply a convolution, batch normalisation if wished, and leaky ReLU, as Darknet does.

    Strided ones pad all four sides, where Keras' "same" leaves out two of an even size.
    """
    if strides > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        channels,
        size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        use_bias=not batch_norm,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    if batch_norm:
        norm = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_norm")
        x = norm(x)
    return layers.LeakyReLU(0.1, name=name)(x)
