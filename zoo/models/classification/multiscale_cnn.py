"""Multi-scale CNN: the classifier sees the features of both stages, coarse shapes and fine strokes.

Sermanet & LeCun, IJCNN 2011, https://doi.org/10.1109/IJCNN.2011.6033589. Fig. 2: two stages of
convolution, absolute value behind tanh, sub-sampling and local subtractive and divisive
normalisation; the first stage's output is sub-sampled again and given to the classifier too.
Departures: RGB in place of YUV, so the first stage has full convolutions; a hidden layer of 100
units as in the paper's best network; all sub-sampling is the mean of 2 x 2 values.
"""

import keras
from keras import layers, ops

from zoo.registry import register


@register(
    "image_classification",
    paper=dict(input_shape=(32, 32, 3), num_classes=43),
    parameters=1_103_559,
    test=dict(width=0.25),
)
def MultiscaleCNN(
    input_shape, num_classes, *, width=1.0, hidden=100, multiscale=True, name="multiscale_cnn"
):
    """Build the classifier of Fig. 2.

    Args:
        input_shape: (H, W, C), both sizes fixed, 24 or more.
        num_classes: K, the number of classes.
        width: factor on the 108 maps of both stages.
        hidden: units of the classifier's hidden layer; 0 for none.
        multiscale: give the first stage's features to the classifier, too.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).
    """
    image = keras.Input(input_shape, name="image")
    maps = features(image, width=width)
    first, second = maps[2], maps[4]
    x = layers.Flatten(name="flatten2")(second)
    if multiscale:
        coarse = layers.AveragePooling2D(2, name="branch_pool")(first)
        branch = layers.Flatten(name="flatten1")(coarse)
        x = layers.Concatenate(name="scales")([branch, x])
    if hidden:
        x = layers.Dense(hidden, activation="tanh", name="hidden")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(x, *, width=1.0):
    """Apply both stages to images (B, H, W, C), with the options of `MultiscaleCNN`.

    Returns:
        Their maps in a dictionary by stride, 2 and 4. Without padding they are smaller than H / 2
        and H / 4.
    """
    channels = int(108 * width)
    first = stage(x, channels, "stage1")
    return {2: first, 4: stage(first, channels, "stage2")}


def stage(x, channels, name):
    """Apply convolution, rectified tanh, sub-sampling and local normalisation: a quarter of x."""
    x = layers.Conv2D(channels, 5, activation="tanh", name=f"{name}_conv")(x)
    x = layers.AveragePooling2D(2, name=f"{name}_pool")(ops.abs(x))
    return LocalContrast(name=f"{name}_contrast")(x)


@keras.saving.register_keras_serializable("zoo")
class LocalContrast(layers.Layer):
    """Subtracts the mean of a neighbourhood and divides by its standard deviation, over all maps.

    Jarrett, Kavukcuoglu, Ranzato & LeCun, ICCV 2009, https://doi.org/10.1109/ICCV.2009.5459469,
    Sec. 2; the window is square and flat, where the paper's is Gaussian. Divisors are at least
    their mean over the image.

    Args:
        size: of the window.
    """

    def __init__(self, size=5, **options):
        super().__init__(**options)
        self.size = size

    def call(self, x):
        """Return maps (B, H, W, C) normalised."""
        x = x - self.local(x)
        deviation = ops.sqrt(self.local(ops.square(x)) + 1e-6)
        return x / ops.maximum(deviation, ops.mean(deviation, axis=(1, 2), keepdims=True))

    def local(self, x):
        """Return the mean over maps and over a window, (B, H, W, 1); windows end at the edge."""
        mean = ops.mean(x, axis=-1, keepdims=True)
        return ops.average_pool(mean, self.size, strides=1, padding="same")

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "size": self.size}
