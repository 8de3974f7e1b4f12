"""CNN: two convolutions and a linear layer, the first networks of a course.

LeCun et al., Proceedings of the IEEE 1998, https://doi.org/10.1109/5.726791, Sec. II-A: local
receptive fields, shared weights and sub-sampling. Sizes are those of teaching material: "cifar" for
small photographs of few classes, "mnist" for digits.
Departures: ReLU, and dropout of whole maps (Tompson et al. 2015) as an option.
"""

import keras
from keras import layers

from zoo.registry import register


@register(
    "image_classification",
    paper=dict(input_shape=(32, 32, 3), num_classes=3),
    parameters=21_699,
    test=dict(),
)
def CNN(input_shape, num_classes, *, form="cifar", pool="average", dropout=False, name="cnn"):
    """Build a network of two convolutions.

    Args:
        input_shape: (H, W, C), both sizes fixed.
        num_classes: K, the number of classes.
        form: "cifar" for photographs, with strides and one pooling; "mnist" for digits, with two
            poolings and a hidden layer.
        pool: "average" or "maximum", the pooling of the form for photographs.
        dropout: drop maps in front of the second convolution (0.2) and of the last layer (0.3); the
            first convolution of the form "cifar" is 3x3 without padding then.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if there is no such form or pooling.
    """
    if pool not in ("average", "maximum"):
        raise ValueError(f'pool is "average" or "maximum", not {pool!r}')
    image = keras.Input(input_shape, name="image")
    maps = features(image, form=form, dropout=dropout)
    x = maps[max(maps)]
    if form == "cifar":
        pooling = layers.AveragePooling2D if pool == "average" else layers.MaxPooling2D
        x = pooling(4, name="pool")(x)
    x = layers.Dropout(0.3 if dropout else 0.0, name="dropout2")(x)
    x = layers.Flatten(name="flatten")(x)
    if form == "mnist":
        x = layers.Dense(200, activation="relu", name="hidden")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(x, *, form="cifar", dropout=False):
    """Apply the convolutions to images (B, H, W, C), with the options of `CNN`.

    Returns:
        The last map in a dictionary by its stride: 4, or 6 of the form "mnist", whose convolutions
        are not padded.

    Raises:
        ValueError: if there is no such form.
    """
    if form not in ("cifar", "mnist"):
        raise ValueError(f'form is "cifar" or "mnist", not {form!r}')
    return {4: cifar(x, dropout)} if form == "cifar" else {6: mnist(x, dropout)}


def cifar(x, dropout):
    """Apply two convolutions, the first one with strides."""
    if not dropout:
        x = layers.ZeroPadding2D(2, name="pad")(x)
    x = layers.Conv2D(32, 3 if dropout else 5, strides=4, activation="relu", name="conv1")(x)
    x = layers.SpatialDropout2D(0.2 if dropout else 0.0, name="dropout1")(x)
    return layers.Conv2D(64, 3, padding="same", activation="relu", name="conv2")(x)


def mnist(x, dropout):
    """Apply two convolutions, each with a pooling."""
    x = layers.Conv2D(32, 5, name="conv1")(x)
    x = layers.ReLU(name="relu1")(layers.MaxPooling2D(3, name="pool1")(x))
    x = layers.SpatialDropout2D(0.2 if dropout else 0.0, name="dropout1")(x)
    x = layers.Conv2D(64, 5, name="conv2")(x)
    return layers.ReLU(name="relu2")(layers.MaxPooling2D(2, name="pool2")(x))
