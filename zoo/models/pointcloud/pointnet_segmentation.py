"""PointNet for segmentation: each point is classified by local and global features, concatenated.

Qi, Su, Mo & Guibas, CVPR 2017, https://arxiv.org/abs/1612.00593. Fig. 2 (lower half) for scenes;
Fig. 9 of the supplement for the parts of an object of known category.
Departures: none in the layers.
"""

import keras
from keras import layers, ops

from zoo.models.pointcloud.pointnet import align, mlp
from zoo.registry import register


@register(
    "pointcloud_segmentation",
    paper=dict(input_shape=(4096, 3), num_classes=13),
    parameters=3_554_134,
    test=dict(width=0.125),
)
def PointNetSegmentation(
    input_shape,
    num_classes,
    num_objects=0,
    *,
    width=1.0,
    epsilon=1e-3,
    name="pointnet_segmentation",
):
    """Build the network that labels every point of a scene, or every part of an object.

    Args:
        input_shape: (N, C), N points of C coordinates in any unit; N may be None.
        num_classes: K, the number of point classes.
        num_objects: 0 for scenes. Above 0, part segmentation: a second input "object" (B,) is
            the category of the object, an integer below `num_objects`.
        width: factor on every channel count.
        epsilon: of batch normalisation, added to the variance.
        name: name of the model.

    Returns:
        A `keras.Model` from points (B, N, C), or a dictionary of "points" and "object", to float32
        logits (B, N, K).
    """
    points, style = keras.Input(input_shape, name="points"), dict(width=width, epsilon=epsilon)
    if num_objects:
        category = keras.Input((), dtype="int32", name="object")
        inputs = {"points": points, "object": category}
        x = parts(points, category, num_objects, style)
    else:
        inputs = points
        x = scene(points, style)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=name)


def scene(points, style):
    """Return the features of each point of a scene, Fig. 2: (B, N, C) to (B, N, 128)."""
    x = align(points, "align_points", **style)
    x = mlp(x, [64, 64], "local", **style)
    local = align(x, "align_features", orthogonality=1e-3, **style)  # (B, N, 64)
    x = mlp(local, [64, 128, 1024], "global", **style)
    x = concatenate([local], layers.GlobalMaxPooling1D(name="pool")(x))  # (B, N, 1088)
    return mlp(x, [512, 256, 128, 128], "point", **style)


def parts(points, category, num_objects, style):
    """Return the features of each point of an object, Fig. 9: (B, N, C) to (B, N, 128)."""
    x = align(points, "align_points", **style)
    local = []
    for i, units in enumerate([64, 128, 128], start=1):
        x = mlp(x, [units], f"local_{i}", **style)
        local.append(x)
    x = align(x, "align_features", orthogonality=1e-3, **style)
    local.append(x)
    x = mlp(x, [512], "local_4", **style)
    local.append(x)
    x = mlp(x, [2048], "global", **style)
    pooled = layers.GlobalMaxPooling1D(name="pool")(x)  # (B, 2048)
    one_hot = ops.one_hot(category, num_objects, dtype=pooled.dtype)
    pooled = layers.Concatenate(name="whole")([pooled, one_hot])
    x = concatenate(local, pooled)  # (B, N, 3024) with the 16 categories of ShapeNet parts
    return mlp(x, [256, 256, 128], "point", **style)


def concatenate(local, pooled):
    """Append the features of the cloud (B, D) to those of each point: (B, N, sum of C + D)."""
    # N may be unknown. A product, because Keras mistakes a sum for a bias if N = D and B = 1.
    pooled = ops.expand_dims(pooled, 1) * ops.ones_like(local[0][..., :1])
    return layers.Concatenate(name="join")([*local, pooled])
