"""Layers, regularizers and initializers that Keras lacks, registered so that saved models load."""

import math

import keras
import numpy as np
from keras import ops

register = keras.saving.register_keras_serializable("zoo")

# Pads series at the end: far from usual values, and exact in float16, bfloat16 and int16, too,
# where other values would be rounded and no longer be recognised as padding.
PADDING = -32768.0


def reseed(layer, entropy):
    """Set the state of every random generator in a layer or model from a tuple of integers."""
    states = [variable for variable in layer.variables if "seed_generator" in variable.path]
    for i, variable in enumerate(states):
        words = np.random.SeedSequence([*entropy, i]).generate_state(2)
        variable.assign(words.astype(variable.dtype))


@register
class FlatIdentity(keras.initializers.Initializer):
    """Fills a vector of length C² with the rows of the C x C identity matrix."""

    def __call__(self, shape, dtype=None):
        """Return the vector.

        Raises:
            ValueError: if the length is not a square number.
        """
        size = round(shape[0] ** 0.5)
        if shape != (size * size,):
            raise ValueError(f"FlatIdentity fills a vector of square length, not {tuple(shape)}")
        return ops.reshape(ops.eye(size, dtype=dtype), (-1,))


@register
class Orthogonality(keras.regularizers.Regularizer):
    """Penalises the deviation of each matrix A from an orthogonal one, by ‖I − AAᵀ‖²_F per sample.

    Qi et al. 2017, https://arxiv.org/abs/1612.00593, Eq. 2. As `activity_regularizer` of a layer:
    Keras divides by the batch size, so the mean over the samples is added to the loss.
    """

    def __init__(self, weight=1e-3):
        """Set the weight of the penalty."""
        self.weight = weight

    def __call__(self, matrices):
        """Return the weighted sum of the penalties of matrices (B, C, C), a scalar."""
        matrices = ops.cast(matrices, "float32")
        product = ops.einsum("bij,bkj->bik", matrices, matrices)
        error = ops.eye(matrices.shape[-1]) - product
        return self.weight * ops.sum(ops.square(error))

    def get_config(self):
        """Return the arguments."""
        return {"weight": self.weight}


@register
class RowNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over all axes but the last, computed on a matrix.

    The computation and weights are those of Keras' layer. XLA on a CPU sums over one axis much
    faster than over two, and the sums are a large part of a training step on points (B, N, C).
    """

    def build(self, input_shape):
        """Create weights for rows (C,)."""
        super().build((None, input_shape[-1]))
        self.input_spec = None

    def call(self, inputs, training=None):
        """Return normalised inputs of the same shape (..., C)."""
        rows = ops.reshape(inputs, (-1, inputs.shape[-1]))
        return ops.reshape(super().call(rows, training=training), ops.shape(inputs))

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape


@register
class Dropout(keras.layers.Dropout):
    """Keras' layer with other random numbers: a hash of a value's index and of the seed.

    They are the same on all backends, with and without XLA. On a CPU, XLA takes far longer to draw
    the random numbers of TensorFlow.
    """

    def call(self, inputs, training=False):
        """Return the inputs; in training, set a fraction to 0 and scale the others up."""
        if not training or not self.rate or self.noise_shape is not None:
            return super().call(inputs, training)
        shape = ops.shape(inputs)
        indices = ops.reshape(ops.arange(math.prod(shape), dtype="int32"), shape)
        first, second = ops.unstack(ops.cast(self.seed_generator.next(), "int32"))
        key = hashed(hashed(first) ^ second)
        dropped = hashed(hashed(indices + key) ^ key) < int((self.rate - 0.5) * 2**32)
        return ops.where(dropped, 0, inputs / (1 - self.rate))


def hashed(x):
    """Return a hash of int32 numbers, a bijection in which each bit of x affects all bits.

    This is "fmix32", the last step of MurmurHash3 by Appleby, in the public domain.
    """
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        high = ops.bitwise_and(ops.right_shift(x, shift), (1 << (32 - shift)) - 1)
        x = ops.bitwise_xor(x, high) * (factor - (factor >> 31 << 32))
    return x


@register
class CropLike(keras.layers.Layer):
    """Crops maps (B, H, W, C) to the height and width of others: called on [maps, others].

    The sizes may be unknown when the model is built.
    """

    def __init__(self, offset=0, **kwargs):
        """Set the pixels cropped at the top and at the left; None for a central crop."""
        super().__init__(**kwargs)
        self.offset = offset

    def call(self, inputs):
        """Return the first map, cropped to the size of the second."""
        x, like = inputs
        rows, columns = (self._window(ops.shape(x)[i], ops.shape(like)[i]) for i in (1, 2))
        return x[:, rows, columns]

    def _window(self, size, wanted):
        start = (size - wanted) // 2 if self.offset is None else self.offset
        return slice(start, start + wanted)

    def compute_output_shape(self, input_shapes):
        """Return the shape of the first map with the sizes of the second."""
        x, like = input_shapes
        return (x[0], *like[1:3], x[3])

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "offset": self.offset}


@register
class ResizeLike(keras.layers.Layer):
    """Interpolates maps (B, H, W, C) bilinearly to the size of others: called on [maps, others].

    The sizes may be unknown when the model is built, which `ops.image.resize` does not allow.
    """

    def call(self, inputs):
        """Return the first map in the height and width of the second."""
        x, like = inputs
        rows, columns = (
            ops.cast(self._weights(ops.shape(x)[i], ops.shape(like)[i]), x.dtype) for i in (1, 2)
        )
        x = ops.einsum("ih,bhwc->biwc", rows, x)
        return ops.einsum("jw,biwc->bijc", columns, x)

    def _weights(self, size, wanted):
        """Return the weights (wanted, size) of a row's pixels; beyond the edges, those repeat."""
        pixels, places = (
            ops.cast(ops.arange(count, dtype="int32"), "float32") for count in (size, wanted)
        )
        size, wanted = (ops.cast(count, "float32") for count in (size, wanted))
        places = ops.clip((places + 0.5) * size / wanted - 0.5, 0.0, size - 1)
        return ops.maximum(1 - ops.abs(places[:, None] - pixels), 0.0)

    def compute_output_shape(self, input_shapes):
        """Return the shape of the first map with the sizes of the second."""
        x, like = input_shapes
        return (x[0], *like[1:3], x[3])


@register
class StepReshape(keras.layers.Reshape):
    """Reshapes the values of each step: (B, T, n) to (B, T, ..., K), and (B, n) to (B, ..., K).

    The mask is passed on in the shape of the loss, (B, T, ...), so that Keras excludes padding;
    Keras' own layer drops the mask.
    """

    def compute_mask(self, inputs, previous_mask):
        """Repeat a mask (B, T) to (B, T, ...)."""
        if previous_mask is not None:
            for size in self.target_shape[1:-1]:
                previous_mask = ops.repeat(previous_mask[..., None], size, axis=-1)
        return previous_mask


@register
class MeanOfSteps(keras.layers.GlobalAveragePooling1D):
    """The mean over the steps of series (B, T, F) that are not padding, (B, F).

    For a series of only padding it is 0, where Keras' own layer divides by zero.
    """

    def call(self, inputs, mask=None):
        """Return the mean."""
        if mask is None:
            return super().call(inputs)
        weights = ops.cast(mask, inputs.dtype)[..., None]
        return ops.sum(inputs * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1)


@register
class PaddingMask(keras.layers.Layer):
    """The mask of series (B, T, F), bool: (B, T), False for steps of only `PADDING`.

    For `Patches` of several steps the mask is (B, ⌈T / size⌉), True for a patch with at least one
    step that is not padding.

    Args:
        size: number of steps per patch.
    """

    def __init__(self, size=1, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs):
        """Return the mask."""
        mask = ops.any(inputs != PADDING, axis=-1)
        if self.size == 1:
            return mask
        missing = -inputs.shape[1] % self.size
        mask = ops.pad(mask, [[0, 0], [0, missing]])
        return ops.any(ops.reshape(mask, (-1, mask.shape[1] // self.size, self.size)), axis=-1)

    def compute_output_spec(self, inputs):
        """Return shape and dtype of the mask."""
        batch, steps, _ = inputs.shape
        return keras.KerasTensor((batch, steps and -(-steps // self.size)), "bool")

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "size": self.size}


@register
class AttachMask(keras.layers.Layer):
    """Returns its input with a mask attached, called on (B, T, ...) and `mask` (B, T).

    The loss, and layers that are not given a mask, use the attached one.
    """

    def call(self, inputs, mask=None):
        """Return the inputs."""
        return inputs

    def compute_mask(self, inputs, previous_mask):
        """Return the mask."""
        return previous_mask

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape


@register
class Patches(keras.layers.Layer):
    """Concatenates consecutive steps of series: (B, T, F) to (B, ⌈T / size⌉, size · F).

    The last patch is filled up with 0, and padding is replaced by 0. A patch of only padding is
    masked.

    Args:
        size: number of steps per patch.
        masked: whether series are padded with `PADDING`.
    """

    def __init__(self, size, masked=False, **kwargs):
        super().__init__(**kwargs)
        self.size, self.masked = size, masked

    def call(self, inputs):
        """Return the patches."""
        x = self._patches(inputs)
        return ops.where(x == PADDING, 0.0, x) if self.masked else x

    def compute_mask(self, inputs, previous_mask):
        """Return which patches (B, T') have a value that is not padding."""
        return ops.any(self._patches(inputs) != PADDING, axis=-1) if self.masked else None

    def compute_output_shape(self, input_shape):
        """Return the shape of the patches."""
        batch, steps, features = input_shape
        return batch, -(-steps // self.size), self.size * features

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "size": self.size, "masked": self.masked}

    def _patches(self, inputs):
        _, count, width = self.compute_output_shape(inputs.shape)
        rest = count * self.size - inputs.shape[1]
        fill = PADDING if self.masked else 0.0
        x = ops.pad(inputs, [[0, 0], [0, rest], [0, 0]], constant_values=fill)
        return ops.reshape(x, (-1, count, width))


@register
class BilinearUpSampling(keras.layers.Layer):
    """Doubles the height and width of maps (B, H, W, C) by bilinear interpolation.

    Keras' `UpSampling2D` needs both to be known when TensorFlow traces or exports it.
    """

    def call(self, inputs):
        """Repeat every pixel, then smooth by [1 2 1] / 4 in both directions, edges repeated."""
        x = ops.repeat(ops.repeat(inputs, 2, axis=1), 2, axis=2)
        x = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
        x = ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)
        x = ops.average_pool(x, 2, strides=1)  # [1 1] / 2, twice
        return ops.average_pool(x, 2, strides=1)

    def compute_output_shape(self, input_shape):
        """Return the shape with both sizes doubled."""
        batch, *sizes, channels = input_shape
        return (batch, *(size and 2 * size for size in sizes), channels)


@register
class Bilinear(keras.initializers.Initializer):
    """Initializes a transposed convolution of kernel 2s and stride s to interpolate each channel.

    Long et al. 2015, https://arxiv.org/abs/1411.4038, Sec. 3.3; the formula is that of the
    authors' code.
    """

    def __call__(self, shape, dtype=None):
        """Return a kernel (height, width, output channels, input channels)."""
        height, width, *channels = shape
        kernel = np.multiply.outer(self._triangle(height), self._triangle(width))
        kernel = np.multiply.outer(kernel, np.eye(*channels))
        return ops.convert_to_tensor(kernel, dtype or keras.config.floatx())

    def _triangle(self, size):
        return 1 - np.abs(np.arange(size) - (size - 1) / 2) / ((size + 1) // 2)


@register
class Grid(keras.layers.Layer):
    """Concatenates the maps of a detector to raw outputs (B, A, 5 + C), one row per anchor.

    Rows are ordered by map, then row and column of the cell, then anchor.

    Args:
        anchors: for each map a list of the (width, height) of its anchors in pixels.
        strides: pixels from one cell to the next, for each map.
        form: "yolov3", with class scores per anchor: maps (B, h, w, a (5 + C)); or "yolo", with
            class scores per cell: maps (B, h, w, 5 a + C).

    Raises:
        ValueError: if the form is not supported, or there is not one list of anchors per stride.
    """

    def __init__(self, anchors, strides, form="yolov3", **kwargs):
        super().__init__(**kwargs)
        if form not in ("yolov3", "yolo"):
            raise ValueError(f"the form of a grid is yolov3 or yolo, not {form!r}")
        if len(anchors) != len(strides):
            raise ValueError(f"{len(anchors)} lists of anchors do not fit {len(strides)} maps")
        self.anchors = [[[float(side) for side in pair] for pair in level] for level in anchors]
        self.strides, self.form = [int(stride) for stride in strides], form

    def call(self, inputs):
        """Return raw outputs (B, A, 5 + C), float32, for a list of maps."""
        pairs = zip(inputs, self.anchors, strict=True)
        rows = [self._rows(ops.cast(x, "float32"), len(anchors)) for x, anchors in pairs]
        return ops.concatenate(rows, axis=1)

    def _rows(self, x, count):
        _, height, width, channels = ops.shape(x)
        if self.form == "yolov3":
            return ops.reshape(x, (-1, height * width * count, channels // count))
        boxes = ops.reshape(x[..., : 5 * count], (-1, height, width, count, 5))
        classes = ops.repeat(x[..., None, 5 * count :], count, axis=3)
        rows = ops.concatenate([boxes, classes], axis=-1)
        return ops.reshape(rows, (-1, height * width * count, channels - 5 * (count - 1)))

    def compute_output_shape(self, input_shape):
        """Return (B, A, 5 + C); A is None if the size of a map is unknown."""
        sizes = [
            None if None in (h, w) else h * w * len(anchors)
            for (_, h, w, _), anchors in zip(input_shape, self.anchors, strict=True)
        ]
        channels, count = input_shape[0][-1], len(self.anchors[0])
        last = channels // count if self.form == "yolov3" else channels - 5 * (count - 1)
        return (input_shape[0][0], None if None in sizes else sum(sizes), last)

    def get_config(self):
        """Return the arguments."""
        options = {"anchors": self.anchors, "strides": self.strides, "form": self.form}
        return {**super().get_config(), **options}


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Divides a value by its neighbours in the same place of other maps.

    Krizhevsky et al. 2012, Sec. 3.3: b_i = a_i / (k + α Σ_j a_j²)^β, the sum over n maps around i.

    Args:
        size: n.
        k: the constant.
        alpha: α.
        beta: β.
    """

    def __init__(self, size=5, k=2.0, alpha=1e-4, beta=0.75, **options):
        super().__init__(**options)
        self.size, self.k, self.alpha, self.beta = size, k, alpha, beta

    def call(self, x):
        """Return maps (B, H, W, C) normalized."""
        rest, channels = self.size // 2, x.shape[-1]
        squares = ops.pad(ops.square(x), [[0, 0], [0, 0], [0, 0], [rest, rest]])
        total = sum(squares[..., i : i + channels] for i in range(self.size))
        return x / ops.power(self.k + self.alpha * total, self.beta)

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def get_config(self):
        """Return the arguments."""
        own = {name: getattr(self, name) for name in ("size", "k", "alpha", "beta")}
        return {**super().get_config(), **own}
