"""Logistic regression: one linear layer, whose outputs are the logits of the classes.

Cox, Journal of the Royal Statistical Society B 1958,
https://doi.org/10.1111/j.2517-6161.1958.tb00292.x. K classes have a softmax, as in Bishop 2006,
Sec. 4.3.4. With `--loss one_vs_all` each output is
a classifier of its class against all others, with a sigmoid of its own.
Departures: none.
"""

import keras
from keras import layers

from zoo.registry import register


@register(
    "image_classification",
    paper=dict(input_shape=(28, 28, 1), num_classes=10),
    parameters=7_850,
    test=dict(),
)
def LogisticRegression(input_shape, num_classes, *, name="logistic_regression"):
    """Build the linear classifier of all values of an image.

    Args:
        input_shape: (H, W, C), both sizes fixed.
        num_classes: K, the number of classes.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Flatten(name="flatten")(image)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)
