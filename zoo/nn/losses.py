"""Losses that Keras lacks: of maps of labels, on logits, each image for itself, void left out.

Every one takes integer labels (B, H, W), where -1 is void, and logits (B, h, w, K), and gives one
value an image, of which Keras takes the mean. Logits for fewer pixels than there are labels belong
to their middle: that is what a network of unpadded convolutions returns. One logit a pixel (K = 1)
tells class 1 from class 0, by a sigmoid; more are told apart by a softmax.
"""

import keras
from keras import ops

register = keras.saving.register_keras_serializable("zoo")


def middle(labels, logits):
    """Return the middle of labels (B, H, W) that has the size of logits (B, h, w, K).

    Raises:
        ValueError: if the logits are more.
    """
    (height, width), (h, w) = ops.shape(labels)[1:3], ops.shape(logits)[1:3]
    sizes = (height, width, h, w)
    if all(isinstance(size, int) for size in sizes) and (h > height or w > width):
        raise ValueError(f"the model returns {h} x {w} pixels, and the labels are {height}x{width}")
    top, left = (height - h) // 2, (width - w) // 2
    return labels[:, top : top + h, left : left + w]


def mean(values, valid):
    """Return the mean of values (B, h, w) where valid (B, h, w, 1) is 1, of each image: (B,)."""
    valid = valid[..., 0]
    return ops.divide_no_nan(ops.sum(values * valid, axis=(1, 2)), ops.sum(valid, axis=(1, 2)))


class MapLoss(keras.losses.Loss):
    """Base: brings labels and logits into one form, and leaves it to `compare` to compare them."""

    def call(self, labels, logits):
        """Return the loss of each image, (B,) float32."""
        logits = ops.cast(logits, "float32")
        labels = ops.cast(middle(ops.convert_to_tensor(labels), logits), "int32")
        valid = ops.cast(labels >= 0, "float32")[..., None]
        if logits.shape[-1] == 1:
            truth = ops.cast(labels, "float32")[..., None]
        else:
            truth = ops.one_hot(ops.maximum(labels, 0), logits.shape[-1])
        return self.compare(truth * valid, logits, valid)

    def compare(self, truth, logits, valid):
        """Compare truth, 0 or 1, with logits, both (B, h, w, K), where valid (B, h, w, 1) is 1.

        Returns:
            (B,).
        """
        raise NotImplementedError


@register
class CrossEntropy(MapLoss):
    """Mean of -log of the true class' probability over the valid pixels."""

    def __init__(self, name="cross_entropy", **kwargs):
        super().__init__(name, **kwargs)

    def compare(self, truth, logits, valid):
        """Return the mean of each image."""
        if logits.shape[-1] == 1:
            return mean(keras.losses.binary_crossentropy(truth, logits, from_logits=True), valid)
        return mean(keras.losses.categorical_crossentropy(truth, logits, from_logits=True), valid)


@register
class BinaryCrossEntropy(MapLoss):
    """Mean of binary cross-entropy over the valid pixels and the classes, each by a sigmoid."""

    def __init__(self, name="bce", **kwargs):
        super().__init__(name, **kwargs)

    def compare(self, truth, logits, valid):
        """Return the mean of each image."""
        return mean(keras.losses.binary_crossentropy(truth, logits, from_logits=True), valid)


@register
class Tversky(MapLoss):
    """(1 - TP / (TP + alpha FP + beta FN))^gamma, of probabilities.

    Salehi et al. 2017, https://arxiv.org/abs/1706.05721, Eq. 4. With gamma below 1 it is the focal
    one of Abraham & Khan 2018, https://arxiv.org/abs/1810.07842, Eq. 4, who write it 1 / gamma.
    It is the mean over the classes that an image holds. With one logit a pixel, of class 1 alone;
    an image without it then counts by its false positives, because one pixel that is right is
    added to every image and class.

    Args:
        alpha: weight of the false positives.
        beta: weight of the false negatives.
        gamma: exponent.
        name: name of the loss.
    """

    def __init__(self, alpha=0.3, beta=0.7, gamma=1.0, name="tversky", **kwargs):
        super().__init__(name, **kwargs)
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def compare(self, truth, logits, valid):
        """Return the loss of each image."""
        several = logits.shape[-1] > 1
        found = ops.softmax(logits) if several else ops.sigmoid(logits)
        # What Keras calls false positives is (1 - found) * truth: its alpha is the papers' beta.
        weights = dict(alpha=self.beta, beta=self.alpha)
        each = keras.losses.tversky(and_one(truth), and_one(found * valid), axis=1, **weights)
        # Rounding may leave less than 0, and at 0 a root has no slope.
        each = ops.power(ops.maximum(each, keras.config.epsilon()), self.gamma)  # (B, K)
        if not several:
            return each[:, 0]
        held = ops.cast(ops.any(truth > 0, axis=(1, 2)), "float32")
        return ops.divide_no_nan(ops.sum(each * held, axis=1), ops.sum(held, axis=1))

    def get_config(self):
        """Return the arguments."""
        own = dict(alpha=self.alpha, beta=self.beta, gamma=self.gamma)
        return {**super().get_config(), **own}


@register
class Dice(Tversky):
    """1 - 2 TP / (2 TP + FP + FN), of probabilities: Tversky's with both weights 1/2.

    Milletari, Navab & Ahmadi 2016, https://arxiv.org/abs/1606.04797, Sec. 3, without squares.
    """

    def __init__(self, name="dice", **kwargs):
        super().__init__(**{**kwargs, "alpha": 0.5, "beta": 0.5, "gamma": 1.0}, name=name)


@register
class DiceBCE(MapLoss):
    """The sum of `Dice` and `BinaryCrossEntropy`: the one counts regions, the other pixels."""

    def __init__(self, name="dice_bce", **kwargs):
        super().__init__(name, **kwargs)
        self.parts = Dice(), BinaryCrossEntropy()

    def compare(self, truth, logits, valid):
        """Return the sum for each image."""
        return sum(part.compare(truth, logits, valid) for part in self.parts)


def and_one(values):
    """Return maps (B, h, w, K) as rows (B, h * w + 1, K), the last one full of ones."""
    batch, h, w, count = ops.shape(values)
    rows = ops.reshape(values, (batch, h * w, count))
    return ops.concatenate([rows, ops.ones_like(rows[:, :1])], axis=1)
