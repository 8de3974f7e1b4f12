"""Metrics that Keras lacks, most of them computed from a confusion matrix over the batches."""

import keras
from keras import ops

from zoo.nn.losses import middle

register = keras.saving.register_keras_serializable("zoo")


class ConfusionMetric(keras.metrics.MeanIoU):
    """Base class: accumulates a (K, K) confusion matrix of integer labels; label -1 is void.

    Logits (..., 1) are those of class 1. Logits of images may cover their center only, see
    `zoo.nn.losses.middle`.

    Args:
        num_classes: K, the number of classes.
        name: name of the metric.
    """

    def __init__(self, num_classes, name=None, **kwargs):
        super().__init__(num_classes, name, ignore_class=-1, sparse_y_pred=False)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Accumulate labels (B, ...), or shares of classes, and logits (B, ..., K)."""
        y_true = classes(y_true, y_pred)
        if len(y_pred.shape) == 4:
            y_true = middle(ops.convert_to_tensor(y_true), y_pred)
        if y_pred.shape[-1] == 1:
            y_pred = ops.concatenate([ops.zeros_like(y_pred), y_pred], axis=-1)
        return super().update_state(y_true, y_pred, sample_weight)

    def get_config(self):
        """Return the arguments."""
        return {"num_classes": self.num_classes, "name": self.name}


def classes(labels, logits):
    """Return labels (B, ...) as they are; of shares (B, ..., K) the class of the largest one."""
    labels = ops.convert_to_tensor(labels)
    return ops.argmax(labels, axis=-1) if len(labels.shape) == len(logits.shape) else labels


@register
class ClassAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Keras' accuracy of labels (B,), or of the largest of mixed shares (B, K)."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Accumulate a batch."""
        return super().update_state(classes(y_true, y_pred), y_pred, sample_weight)


@register
class Accuracy(ConfusionMetric):
    """Fraction of the examples (or points, pixels) classified correctly, without void."""

    def result(self):
        """Return the accuracy, a scalar."""
        matrix = ops.convert_to_tensor(self.total_cm)
        return ops.divide_no_nan(ops.trace(matrix), ops.sum(matrix))


@register
class MeanClassAccuracy(ConfusionMetric):
    """Mean recall over the classes that occur in the labels."""

    def result(self):
        """Return the mean, a scalar."""
        matrix = ops.convert_to_tensor(self.total_cm)
        support = ops.sum(matrix, axis=1)
        recall = ops.divide_no_nan(ops.diagonal(matrix), support)
        return ops.divide_no_nan(ops.sum(recall), ops.sum(ops.cast(support > 0, recall.dtype)))


@register
class MeanIoU(ConfusionMetric):
    """Mean intersection over union (Jaccard) over the classes that occur, without void."""


@register
class DiceScore(ConfusionMetric):
    """2 TP / (2 TP + FP + FN), the F1 score: of class 1 if there are two, else the mean."""

    def result(self):
        """Return the mean over the classes that occur or are predicted, a scalar."""
        matrix = ops.convert_to_tensor(self.total_cm)
        totals = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1)
        scores = ops.divide_no_nan(2 * ops.diagonal(matrix), totals)
        if self.num_classes == 2:
            return scores[1]
        return ops.divide_no_nan(ops.sum(scores), ops.sum(ops.cast(totals > 0, scores.dtype)))


@register
class LabelAccuracy(keras.metrics.Mean):
    """Fraction of correct decisions on labels (B, K), of logits (B, K) with a sigmoid each."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Accumulate a batch."""
        true = ops.cast(y_true, "float32") > 0.5  # labels that are mixed may be any share
        correct = ops.equal(true, ops.convert_to_tensor(y_pred) > 0)
        return super().update_state(ops.cast(correct, self.dtype))
