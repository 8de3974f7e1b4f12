"""PointNet: one MLP shared by every point, made permutation-invariant by max pooling.

Qi, Su, Mo & Guibas, CVPR 2017, https://arxiv.org/abs/1612.00593. Fig. 2; sizes from App. C.
Departures: none in the layers; dropout follows both hidden layers of the head, as in the authors'
code; in the paper's text it follows only the last one.
"""

import keras
from keras import layers

from zoo.nn.blocks import dense_norm
from zoo.nn.layers import FlatIdentity, Orthogonality
from zoo.registry import register


@register(
    "pointcloud_classification",
    paper=dict(input_shape=(1024, 3), num_classes=40),
    parameters=3_480_049,
    test=dict(width=0.125),
)
def PointNet(input_shape, num_classes, *, width=1.0, dropout=0.3, epsilon=1e-3, name="pointnet"):
    """Build the classifier of Fig. 2.

    Args:
        input_shape: (N, C), N points of C coordinates in any unit; N may be None.
        num_classes: K, the number of classes.
        width: factor on every channel count; 0.5 gives the network of Keras' PointNet example.
        dropout: dropout rate after both hidden layers of the head.
        epsilon: of batch normalisation, added to the variance.
        name: name of the model.

    Returns:
        A `keras.Model` from points (B, N, C) to float32 logits (B, K).
    """
    points, style = keras.Input(input_shape, name="points"), dict(width=width, epsilon=epsilon)
    x = align(points, "align_points", **style)
    x = mlp(x, [64, 64], "local", **style)  # (B, N, 64)
    x = align(x, "align_features", orthogonality=1e-3, **style)
    x = mlp(x, [64, 128, 1024], "global", **style)
    x = layers.GlobalMaxPooling1D(name="pool")(x)  # (B, 1024)
    for i, units in enumerate([512, 256], start=1):
        x = dense_norm(x, int(units * width), f"head_{i}", epsilon)
        x = layers.Dropout(dropout, name=f"head_{i}_dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(points, logits, name=name)


def mlp(x, units, name, *, width=1.0, epsilon=1e-3):
    """Apply the same multilayer perceptron to every point: (B, N, C) to (B, N, units[-1])."""
    for i, channels in enumerate(units, start=1):
        x = dense_norm(x, int(channels * width), f"{name}_{i}", epsilon)
    return x


def align(x, name, *, width=1.0, epsilon=1e-3, orthogonality=0.0):
    """Multiply every point by the matrix that a T-Net predicts from all points (Sec. 4.2).

    Args:
        x: (B, N, C) points or features.
        name: prefix of the layer names.
        width: factor on the T-Net's channel counts.
        epsilon: of batch normalisation.
        orthogonality: weight of the regularization of Eq. 2, which keeps the matrix close to
            orthogonal; the paper has 0.001 for the features and none for the points.

    Returns:
        (B, N, C).
    """
    matrix = t_net(x, name, width=width, epsilon=epsilon, orthogonality=orthogonality)
    return layers.Dot(axes=(2, 1), name=name)([x, matrix])


def t_net(x, name, *, width=1.0, epsilon=1e-3, orthogonality=0.0):
    """Predict a (B, C, C) matrix from points (B, N, C): a small PointNet, identity at first."""
    size, style = x.shape[-1], dict(width=width, epsilon=epsilon)
    x = mlp(x, [64, 128, 1024], f"{name}_local", **style)
    x = layers.GlobalMaxPooling1D(name=f"{name}_pool")(x)  # (B, 1024)
    x = mlp(x, [512, 256], f"{name}_global", **style)
    x = layers.Dense(
        size * size,
        kernel_initializer="zeros",
        bias_initializer=FlatIdentity(),
        name=f"{name}_entries",
    )(x)
    term = Orthogonality(orthogonality) if orthogonality else None
    return layers.Reshape((size, size), activity_regularizer=term, name=f"{name}_matrix")(x)
