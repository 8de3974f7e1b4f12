"""Losses that Keras lacks: for segmentation masks, on logits, per image, void pixels excluded.

Each takes integer labels (B, H, W), where -1 is void, and logits (B, h, w, K), and returns one
value per image, of which Keras takes the mean. If there are fewer logits than labels, they belong
to the central labels: networks of unpadded convolutions return these. The probabilities are a
sigmoid of one logit per pixel (K = 1), of class 1, or a softmax of several.
"""

import keras
from keras import ops

register = keras.saving.register_keras_serializable("zoo")


def middle(labels, logits):
    """Return the central crop of labels (B, H, W) of the size of logits (B, h, w, K).

    Raises:
        ValueError: if the logits are larger than the labels.
    """
    (height, width), (h, w) = ops.shape(labels)[1:3], ops.shape(logits)[1:3]
    sizes = (height, width, h, w)
    if all(isinstance(size, int) for size in sizes) and (h > height or w > width):
        raise ValueError(f"the model returns {h} x {w} pixels, the labels have {height} x {width}")
    top, left = (height - h) // 2, (width - w) // 2
    return labels[:, top : top + h, left : left + w]


def mean(values, valid):
    """Return the mean per image (B,) of values (B, h, w) where valid (B, h, w, 1) is 1."""
    valid = valid[..., 0]
    return ops.divide_no_nan(ops.sum(values * valid, axis=(1, 2)), ops.sum(valid, axis=(1, 2)))


class MapLoss(keras.losses.Loss):
    """Base class: converts labels to the shape of logits; subclasses implement `compare`."""

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
        """Compare ground truth, 0 or 1, with logits, both (B, h, w, K), where valid is 1.

        Args:
            truth: one-hot labels (B, h, w, K), 0 where void.
            logits: (B, h, w, K).
            valid: (B, h, w, 1), 0 where void.

        Returns:
            The loss of each image (B,).
        """
        raise NotImplementedError


@register
class CrossEntropy(MapLoss):
    """Cross-entropy, averaged over the valid pixels.

    Args:
        label_smoothing: share of each target that is spread evenly over the classes.
        class_weights: K factors, of the loss of pixels of each class; None for 1.
        name: name of the loss.
    """

    def __init__(self, label_smoothing=0.0, class_weights=None, name="cross_entropy", **kwargs):
        super().__init__(name, **kwargs)
        self.label_smoothing, self.class_weights = label_smoothing, class_weights

    def compare(self, truth, logits, valid):
        """Return the mean of each image (B,)."""
        options = dict(from_logits=True, label_smoothing=self.label_smoothing)
        if logits.shape[-1] == 1:
            losses = keras.losses.binary_crossentropy(truth, logits, **options)
            truth = ops.concatenate([1 - truth, truth], axis=-1)
        else:
            losses = keras.losses.categorical_crossentropy(truth, logits, **options)
        if self.class_weights:
            losses = losses * ops.sum(truth * ops.array(self.class_weights, "float32"), axis=-1)
        return mean(losses, valid)

    def get_config(self):
        """Return the arguments."""
        options = dict(label_smoothing=self.label_smoothing, class_weights=self.class_weights)
        return {**super().get_config(), **options}


@register
class BinaryCrossEntropy(MapLoss):
    """Binary cross-entropy of a sigmoid per class, averaged over valid pixels and classes."""

    def __init__(self, name="bce", **kwargs):
        super().__init__(name, **kwargs)

    def compare(self, truth, logits, valid):
        """Return the mean of each image (B,)."""
        return mean(keras.losses.binary_crossentropy(truth, logits, from_logits=True), valid)


@register
class Tversky(MapLoss):
    """(1 - TP / (TP + alpha FP + beta FN))^gamma, of probabilities.

    Salehi et al. 2017, https://arxiv.org/abs/1706.05721, Eq. 4. With gamma below 1 it is the focal
    Tversky loss of Abraham & Khan 2018, https://arxiv.org/abs/1810.07842, Eq. 4, who write 1 /
    gamma. It is the mean over the classes in the image, or the loss of class 1 if there is one
    logit per pixel. One true-positive pixel is added to every image and class, so that an image
    without class 1 is scored by its false positives.

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
        multiclass = logits.shape[-1] > 1
        probabilities = (ops.softmax(logits) if multiclass else ops.sigmoid(logits)) * valid
        # Keras has this loss, too, but 3.16 swaps its alpha and beta.
        index = tversky_index(and_one(truth), and_one(probabilities), self.alpha, self.beta)
        # Rounding may give values below 0, and the gradient of a root is infinite at 0.
        losses = ops.power(ops.maximum(1 - index, keras.config.epsilon()), self.gamma)  # (B, K)
        if not multiclass:
            return losses[:, 0]
        present = ops.cast(ops.any(truth > 0, axis=(1, 2)), "float32")
        return ops.divide_no_nan(ops.sum(losses * present, axis=1), ops.sum(present, axis=1))

    def get_config(self):
        """Return the arguments."""
        options = dict(alpha=self.alpha, beta=self.beta, gamma=self.gamma)
        return {**super().get_config(), **options}


@register
class Dice(Tversky):
    """1 - 2 TP / (2 TP + FP + FN), of probabilities: the Tversky loss with both weights 1/2.

    Milletari, Navab & Ahmadi 2016, https://arxiv.org/abs/1606.04797, Sec. 3, without squares.
    """

    def __init__(self, name="dice", **kwargs):
        super().__init__(**{**kwargs, "alpha": 0.5, "beta": 0.5, "gamma": 1.0}, name=name)


@register
class DiceBCE(MapLoss):
    """The sum of `Dice` and `BinaryCrossEntropy`, of a loss per region and a loss per pixel."""

    def __init__(self, name="dice_bce", **kwargs):
        super().__init__(name, **kwargs)
        self.parts = Dice(), BinaryCrossEntropy()

    def compare(self, truth, logits, valid):
        """Return the sum for each image."""
        return sum(part.compare(truth, logits, valid) for part in self.parts)


def tversky_index(truth, predicted, alpha, beta):
    """Return the Tversky index TP / (TP + alpha FP + beta FN) over the rows of (B, N, K): (B, K).

    Args:
        truth: ground truth, 0 or 1.
        predicted: probabilities.
        alpha: weight of the false positives.
        beta: weight of the false negatives.
    """
    tp = ops.sum(truth * predicted, axis=1)
    fp = ops.sum((1 - truth) * predicted, axis=1)
    fn = ops.sum(truth * (1 - predicted), axis=1)
    return ops.divide(tp, tp + beta * fn + alpha * fp + keras.config.epsilon())


def and_one(values):
    """Reshape maps (B, h, w, K) to rows (B, h * w + 1, K), with ones in the last row."""
    batch, h, w, count = ops.shape(values)
    rows = ops.reshape(values, (batch, h * w, count))
    return ops.concatenate([rows, ops.ones_like(rows[:, :1])], axis=1)


@register
class ClassCrossEntropy(keras.losses.Loss):
    """Cross-entropy of classes or of their shares, with label smoothing and weights of classes.

    For labels (B, ...) of integers, where -1 is void, or shares (B, ..., K) of the classes, and
    logits (B, ..., K). The mean is over what is not void.

    Args:
        label_smoothing: share of each target that is spread evenly over the classes; Szegedy et
            al. 2016, https://arxiv.org/abs/1512.00567, Sec. 7.
        class_weights: K factors, of the loss of each class; None for 1.
        name: name of the loss.
    """

    def __init__(self, label_smoothing=0.0, class_weights=None, name="cross_entropy", **kwargs):
        super().__init__(name, **kwargs)
        self.label_smoothing, self.class_weights = label_smoothing, class_weights

    def call(self, labels, logits):
        """Return the loss of each example or point, (B, ...) float32."""
        logits, labels = ops.cast(logits, "float32"), ops.convert_to_tensor(labels)
        truth = shares(labels, logits)
        losses = keras.losses.categorical_crossentropy(
            truth, logits, from_logits=True, label_smoothing=self.label_smoothing
        )
        if self.class_weights:
            losses = losses * ops.sum(truth * ops.array(self.class_weights, "float32"), axis=-1)
        valid = ops.sum(truth, axis=-1)
        return losses * valid / ops.maximum(ops.mean(valid), keras.config.epsilon())

    def get_config(self):
        """Return the arguments."""
        options = dict(label_smoothing=self.label_smoothing, class_weights=self.class_weights)
        return {**super().get_config(), **options}


def shares(labels, logits):
    """Return labels (B, ...) as one-hot rows (B, ..., K) float32; rows as they are.

    Args:
        labels: integers, where -1 is void and becomes zeros, or rows of shares of the classes.
        logits: (B, ..., K).
    """
    if len(labels.shape) == len(logits.shape):
        return ops.cast(labels, "float32")
    return ops.one_hot(ops.cast(labels, "int32"), logits.shape[-1])


@register
class OneVersusAll(keras.losses.Loss):
    """Binary cross-entropy of each class against all others, summed over classes.

    For labels (B,) and logits (B, K), each of which is of a sigmoid of its own; Bishop 2006, Sec.
    4.1.2, where such classifiers are called one-versus-the-rest.
    """

    def call(self, labels, logits):
        """Return the loss of each example, (B,) float32."""
        logits = ops.cast(logits, "float32")
        truth = shares(ops.convert_to_tensor(labels), logits)
        return ops.sum(ops.binary_crossentropy(truth, logits, from_logits=True), axis=-1)
