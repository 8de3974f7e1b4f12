"""AlexNet: five convolutions and three dense layers with ReLU and dropout, trained on two GPUs.

Krizhevsky, Sutskever & Hinton, NeurIPS 2012,
https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks.
Fig. 2, Sec. 3; two groups of channels, on a GPU each, and local response normalisation. The form
`tower` is Krizhevsky 2014, https://arxiv.org/abs/1404.5997, of one group and without normalisation.
Departures: weights start as He et al. 2015 draw them; local response normalisation precedes pooling
as in the paper, not as in later programs. The first convolution pads 2 pixels, which takes images
of 224² to the 55² maps of the paper.
"""

import keras
from keras import layers, ops

from zoo.nn.layers import LocalResponseNormalization
from zoo.registry import register

PAPER = ((96, 11), (256, 5), (384, 3), (384, 3), (256, 3))  # channels and kernel of convolutions
TOWER = ((64, 11), (192, 5), (384, 3), (256, 3), (256, 3))


@register(
    "image_classification",
    paper=dict(input_shape=(224, 224, 3), num_classes=1000),
    parameters=60_965_224,
    test=dict(width=0.0625, dropout=0.0),
)
def AlexNet(
    input_shape, num_classes, *, form="paper", groups=2, width=1.0, dropout=0.5, name="alexnet"
):
    """Build the classifier of Fig. 2.

    Args:
        input_shape: (H, W, C), both sizes fixed: the first dense layer has weights for each place.
        num_classes: K, the number of classes.
        form: "paper", or "tower" for the network of 2014.
        groups: of the second, fourth and fifth convolution of the form "paper", 1 or 2.
        width: factor on every channel count.
        dropout: rate in front of both hidden dense layers.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if there is no such form.
    """
    if form not in ("paper", "tower"):
        raise ValueError(f'form is "paper" or "tower", not {form!r}')
    image = keras.Input(input_shape, name="image")
    x = features(image, form=form, groups=groups, width=width)[16]
    x = layers.MaxPooling2D(3, 2, padding=padding(x), name="pool5")(x)
    x = layers.Flatten(name="flatten")(x)
    for hidden in ("fc6", "fc7"):
        x = layers.Dropout(dropout, name=f"{hidden}_dropout")(x)
        units, start = int(4096 * width), "he_normal"
        x = layers.Dense(units, activation="relu", kernel_initializer=start, name=hidden)(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(x, *, form="paper", groups=2, width=1.0):
    """Apply all convolutions to images (B, H, W, C), with the options of `AlexNet`.

    Returns:
        The last map in a dictionary by its stride, 16. Without padding it is smaller than H / 16.
    """
    rows = PAPER if form == "paper" else TOWER
    for i, (channels, size) in enumerate(rows, 1):
        if i in (2, 3):
            x = layers.MaxPooling2D(3, 2, padding=padding(x), name=f"pool{i - 1}")(x)
        if i == 1:
            x = layers.ZeroPadding2D(2, name="pad")(x)
        parts = groups if form == "paper" and i in (2, 4, 5) else 1
        channels = int(channels * width) // groups * groups  # of any width, the groups are equal
        x = conv(x, channels, size, parts, f"conv{i}", 4 if i == 1 else 1)
        if form == "paper" and i in (1, 2):
            x = LocalResponseNormalization(name=f"norm{i}")(x)
    return {16: x}


def conv(x, channels, size, groups, name, strides):
    """Apply a convolution and ReLU to each group of channels, as its GPU did."""
    style = dict(strides=strides, padding="same" if strides == 1 else "valid", activation="relu")
    style["kernel_initializer"] = "he_normal"
    if groups == 1:
        return layers.Conv2D(channels, size, name=name, **style)(x)
    # Keras' own `groups` does not train on a CPU without XLA.
    outputs = [
        layers.Conv2D(channels // groups, size, name=f"{name}_group{i}", **style)(part)
        for i, part in enumerate(ops.split(x, groups, axis=-1), 1)
    ]
    return layers.Concatenate(name=name)(outputs)


def padding(x):
    """Return "valid", as in the paper, or "same" where a map is smaller than a pooling window."""
    return "valid" if min(size or 3 for size in x.shape[1:3]) >= 3 else "same"
