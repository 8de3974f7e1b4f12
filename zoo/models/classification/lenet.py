"""LeNet-5: two convolutions and two sub-samplings turn strokes into features of digits.

LeCun, Bottou, Bengio & Haffner, Proceedings of the IEEE 1998, https://doi.org/10.1109/5.726791.
Fig. 2, Sec. II-B; `form="printed"` is the paper's network: maps of C3 that see some maps of S2
(Table I), sub-sampling with a trainable coefficient and bias, scaled tanh (Appendix A), and
distances to a fixed code of each class as outputs.
Departures: the default is the form of today, with full convolutions, maximum pooling, ReLU and
logits; as printed, the codes of the classes are drawn at random, where the paper draws characters.
"""

import keras
import numpy as np
from keras import layers, ops

from zoo.registry import register

SEEN = (  # Table I: the maps of S2 that each map of C3 sees
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


@register(
    "image_classification",
    paper=dict(input_shape=(32, 32, 1), num_classes=10),
    parameters=61_706,
    test=dict(),
)
def LeNet(input_shape, num_classes, *, form="modern", name="lenet"):
    """Build the classifier of Fig. 2.

    Args:
        input_shape: (H, W, C), both sizes fixed, 28 or more; smaller than 32 they are padded to 32.
        num_classes: K, the number of classes.
        form: "modern" for today's layers, or "printed" for the paper's.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if there is no such form.
    """
    if form not in ("modern", "printed"):
        raise ValueError(f'form is "modern" or "printed", not {form!r}')
    printed = form == "printed"
    activation = squash if printed else ops.relu
    image = keras.Input(input_shape, name="image")
    x = layers.Flatten(name="flatten")(features(image, form=form)[4])
    x = activation(layers.Dense(120, name="c5")(x))  # a convolution of the whole map
    x = activation(layers.Dense(84, name="f6")(x))
    last = CodeDistance(num_classes, dtype="float32", name="logits")
    logits = last if printed else layers.Dense(num_classes, dtype="float32", name="logits")
    return keras.Model(image, logits(x), name=name)


def features(x, *, form="modern"):
    """Apply the layers up to S4 to images (B, H, W, C), with the options of `LeNet`.

    Returns:
        The map of S4 in a dictionary by its stride, 4. Without padding it is smaller than H / 4.
    """
    printed = form == "printed"
    activation = squash if printed else ops.relu
    rest = [max(0, 32 - (size or 32)) for size in x.shape[1:3]]
    if any(rest):
        sides = tuple((size // 2, size - size // 2) for size in rest)
        x = layers.ZeroPadding2D(sides, name="pad")(x)
    x = activation(layers.Conv2D(6, 5, name="c1")(x))
    x = subsample(x, "s2") if printed else layers.MaxPooling2D(2, name="s2")(x)
    third = PartialConv2D(SEEN, 5, name="c3") if printed else layers.Conv2D(16, 5, name="c3")
    x = activation(third(x))
    return {4: subsample(x, "s4") if printed else layers.MaxPooling2D(2, name="s4")(x)}


def squash(x):
    """Return A tanh(S x), whose slope and curvature suit targets of ±1 (Appendix A)."""
    return 1.7159 * ops.tanh(2 / 3 * x)


def subsample(x, name):
    """Return the mean of 2 x 2 values times a coefficient, plus a bias, of each map, squashed."""
    x = layers.AveragePooling2D(2, name=f"{name}_mean")(x)
    return squash(layers.DepthwiseConv2D(1, depthwise_initializer="ones", name=name)(x))


@keras.saving.register_keras_serializable("zoo")
class PartialConv2D(layers.Layer):
    """A convolution each of whose maps sees some of the input's, without padding.

    Args:
        seen: for each output map the indices of the input maps that it sees.
        size: of the kernel.
    """

    def __init__(self, seen, size, **options):
        super().__init__(**options)
        self.seen, self.size = [list(maps) for maps in seen], size

    def build(self, input_shape):
        """Make a kernel for each pair of an output map and an input map that it sees."""
        pairs = [(channel, place) for place, maps in enumerate(self.seen) for channel in maps]
        places = np.zeros((len(pairs), input_shape[-1], len(self.seen)), np.float32)
        places[np.arange(len(pairs)), [c for c, _ in pairs], [p for _, p in pairs]] = 1
        self.places = places  # (pairs, C, maps)
        self.kernel = self.add_weight(
            (self.size, self.size, len(pairs)), "he_normal", name="kernel"
        )
        self.bias = self.add_weight((len(self.seen),), "zeros", name="bias")

    def call(self, x):
        """Return maps (B, H - size + 1, W - size + 1, len(seen))."""
        kernel = ops.tensordot(ops.cast(self.kernel, x.dtype), ops.cast(self.places, x.dtype), 1)
        return ops.conv(x, kernel, padding="valid") + ops.cast(self.bias, x.dtype)

    def compute_output_shape(self, input_shape):
        """Return the shape of the maps."""
        sizes = [None if n is None else n - self.size + 1 for n in input_shape[1:3]]
        return (input_shape[0], *sizes, len(self.seen))

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "seen": self.seen, "size": self.size}


@keras.saving.register_keras_serializable("zoo")
class CodeDistance(layers.Layer):
    """Logits that are the negative squared distances to a fixed code of each class (Eq. 7).

    Args:
        classes: K, how many.
    """

    def __init__(self, classes, **options):
        super().__init__(**options)
        self.classes = classes

    def build(self, input_shape):
        """Draw codes of ±1, the same for the same number of classes."""
        codes = np.random.default_rng(0).choice([-1.0, 1.0], (self.classes, input_shape[-1]))
        self.codes = self.add_weight(codes.shape, "zeros", trainable=False, name="codes")
        self.codes.assign(codes)

    def call(self, x):
        """Return logits (B, K) of features (B, C)."""
        x = ops.cast(x, "float32")
        return -ops.sum(ops.square(x[:, None] - self.codes), axis=-1)

    def compute_output_shape(self, input_shape):
        """Return (B, K)."""
        return (input_shape[0], self.classes)

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "classes": self.classes}
