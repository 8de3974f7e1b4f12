"""Multi-column DNN: a column is a deep plain CNN; an average of columns reads traffic signs best.

Cireşan, Meier, Masci & Schmidhuber, Neural Networks 2012,
https://doi.org/10.1016/j.neunet.2012.02.023. Table 1, one column: 100, 150 and 250 maps, each with
maximum pooling, and 300 hidden units. The committee is an average, of `ensembles`, of columns that
were trained on differently normalised images.
Departures: the paper does not name its first weights' distribution: Glorot & Bengio 2010.
"""

import keras
from keras import layers

from zoo.registry import register


@register(
    "image_classification",
    paper=dict(input_shape=(48, 48, 3), num_classes=43),
    parameters=1_543_443,
    test=dict(width=0.125),
)
def MulticolumnDNN(input_shape, num_classes, *, width=1.0, name="multicolumn_dnn"):
    """Build one column of Table 1.

    Args:
        input_shape: (H, W, C), both sizes fixed, 29 or more.
        num_classes: K, the number of classes.
        width: factor on every channel count.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Flatten(name="flatten")(features(image, width=width)[8])
    x = layers.Dense(int(300 * width), activation="tanh", name="hidden")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(x, *, width=1.0):
    """Apply the convolutions to images (B, H, W, C), with the options of `MulticolumnDNN`.

    Returns:
        The last map in a dictionary by its stride, 8. Without padding it is smaller than H / 8.
    """
    for i, (channels, size) in enumerate(((100, 7), (150, 4), (250, 4)), 1):
        x = layers.Conv2D(int(channels * width), size, activation="tanh", name=f"conv{i}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
    return {8: x}
