"""ViT: an image is a sentence of patches, read by the encoder of a transformer.

Dosovitskiy et al., ICLR 2021, https://arxiv.org/abs/2010.11929. Fig. 1, Eqs. 1 to 4, Table 1; size
Ti is of Touvron et al. 2021, https://arxiv.org/abs/2012.12877, as is S.
Departures: one linear layer as the head, as in the paper's fine-tuning; dropout is off by default.
"""

import keras
from keras import layers, ops

from zoo.nn.blocks import standardized
from zoo.registry import register

SIZES = {"Ti": (12, 192), "S": (12, 384), "B": (12, 768), "L": (24, 1024)}  # blocks, channels
HEAD = 64  # channels of an attention head
EPSILON = 1e-6  # of layer normalisation, the authors' value


@register(
    "image_classification",
    paper=dict(input_shape=(224, 224, 3), num_classes=1000),
    parameters=86_567_656,
    test=dict(size="Ti", patch=8, depth=2, width=0.34),
)
def ViT(
    input_shape,
    num_classes,
    *,
    size="B",
    patch=16,
    depth=0,
    width=1.0,
    grid=0,
    dropout=0.0,
    pixel_mean=None,
    pixel_std=None,
    name="vit",
):
    """Build the classifier of Fig. 1.

    Args:
        input_shape: (H, W, C), both sizes fixed, multiples of `patch`.
        num_classes: K, the number of classes.
        size: "Ti", "S", "B" or "L" of Table 1.
        patch: pixels a side of a patch.
        depth: number of blocks; 0 as the size has.
        width: factor on every channel count, rounded to heads of 64 channels where there are more.
        grid: positions a side that are learnt, interpolated for images of other sizes; 0 as many as
            the images have patches.
        dropout: rate behind the positions, and of each block's branches.
        pixel_mean: of each channel, from 0 to 1, subtracted first, as published weights need it.
        pixel_std: standard deviation of each channel, by which it is then divided.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if there is no such size, or images are not made of whole patches.
    """
    image = keras.Input(input_shape, name="image")
    x = standardized(image, pixel_mean, pixel_std)
    x = encoded(x, size, patch, depth, width, grid, dropout)
    x = layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x[:, 0])
    return keras.Model(image, logits, name=name)


def features(x, *, size="B", patch=16, depth=0, width=1.0, grid=0, dropout=0.0):
    """Apply the encoder to images (B, H, W, C), with the options of `ViT`.

    Returns:
        The patches' outputs as a map in a dictionary by its stride: (B, H / patch, W / patch, D).
    """
    sides = x.shape[1:3]
    x = encoded(x, size, patch, depth, width, grid, dropout)
    rows, columns = (side // patch for side in sides)
    x = layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)
    return {patch: layers.Reshape((rows, columns, x.shape[-1]), name="map")(x[:, 1:])}


def encoded(x, size, patch, depth, width, grid, dropout):
    """Apply patches, positions and all blocks: images to tokens (B, 1 + patches, D)."""
    if size not in SIZES:
        raise ValueError(f"size is {', '.join(SIZES)}, not {size!r}")
    if None in x.shape[1:3] or any(side % patch or not side for side in x.shape[1:3]):
        sizes = " x ".join(map(str, x.shape[1:3]))
        why = f"images of {sizes} pixels are not made of patches of {patch} x {patch}"
        raise ValueError(f"{why}: choose a fixed size that is a multiple, or another patch")
    blocks, channels = SIZES[size]
    channels = int(channels * width)
    channels = channels if channels < HEAD else channels // HEAD * HEAD
    x = layers.Conv2D(channels, patch, strides=patch, name="patches")(x)
    x = Tokens(grid, name="tokens")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    for i in range(1, (depth or blocks) + 1):
        x = block(x, channels, dropout, f"block{i}")
    return x


def block(x, channels, dropout, name):
    """Apply attention and a perceptron, each normalised before and added after (Eqs. 2 and 3)."""
    heads = max(1, channels // HEAD)
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm1")(x)
    attention = layers.MultiHeadAttention(heads, channels // heads, name=f"{name}_attention")
    y = layers.Dropout(dropout, name=f"{name}_dropout1")(attention(y, y))
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm2")(x)
    y = layers.Dense(4 * channels, name=f"{name}_expand")(y)
    y = layers.Activation(gelu, name=f"{name}_gelu")(y)
    y = layers.Dense(channels, name=f"{name}_project")(y)
    y = layers.Dropout(dropout, name=f"{name}_dropout2")(y)
    return layers.Add(name=f"{name}_add2")([x, y])


@keras.saving.register_keras_serializable("zoo")
def gelu(x):
    """Return x Φ(x), exactly, where Keras' activation is an approximation."""
    return 0.5 * x * (1 + ops.erf(x / 2**0.5))  # in operations that every export knows


@keras.saving.register_keras_serializable("zoo")
class Tokens(layers.Layer):
    """A map of patches as tokens, a token for the class in front, and learnt positions added.

    Args:
        grid: positions a side; they are interpolated for maps of other sizes. 0: those of the map.
    """

    def __init__(self, grid=0, **options):
        super().__init__(**options)
        self.grid = grid

    def build(self, input_shape):
        """Make the class token (1, 1, D) and the positions (1, 1 + rows * columns, D)."""
        self.sides = (self.grid, self.grid) if self.grid else tuple(input_shape[1:3])
        count, channels = self.sides[0] * self.sides[1], input_shape[-1]
        start = keras.initializers.TruncatedNormal(stddev=0.02)
        self.token = self.add_weight((1, 1, channels), start, name="class")
        self.positions = self.add_weight((1, 1 + count, channels), start, name="positions")

    def call(self, x):
        """Return tokens (B, 1 + H W, D) of a map (B, H, W, D)."""
        rows, columns, channels = x.shape[1:]
        positions = ops.cast(self.positions, x.dtype)
        if (rows, columns) != self.sides:
            table = ops.reshape(positions[:, 1:], (1, *self.sides, channels))
            table = ops.image.resize(table, (rows, columns), interpolation="bicubic")
            table = ops.reshape(table, (1, rows * columns, channels))
            positions = ops.concatenate([positions[:, :1], table], axis=1)
        tokens = ops.reshape(x, (-1, rows * columns, channels))
        first = ops.broadcast_to(ops.cast(self.token, x.dtype), (ops.shape(x)[0], 1, channels))
        return ops.concatenate([first, tokens], axis=1) + positions

    def compute_output_shape(self, input_shape):
        """Return (B, 1 + H W, D)."""
        return (input_shape[0], 1 + input_shape[1] * input_shape[2], input_shape[3])

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "grid": self.grid}
