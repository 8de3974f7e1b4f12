"""Metrics that Keras lacks, all from a confusion matrix, so every batch adds up exactly."""

import keras
from keras import ops

from zoo.nn.losses import middle

register = keras.saving.register_keras_serializable("zoo")


class ConfusionMetric(keras.metrics.MeanIoU):
    """Base: accumulates a (K, K) confusion matrix of integer labels and logits; label -1 is void.

    Logits (..., 1) tell class 1 from class 0. Those of maps may be for their middle alone.

    Args:
        num_classes: K.
        name: name of the metric.
    """

    def __init__(self, num_classes, name=None, **kwargs):
        super().__init__(num_classes, name, ignore_class=-1, sparse_y_pred=False)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add labels (B, ...) and logits (B, ..., K)."""
        if len(y_pred.shape) == 4:
            y_true = middle(ops.convert_to_tensor(y_true), y_pred)
        if y_pred.shape[-1] == 1:
            y_pred = ops.concatenate([ops.zeros_like(y_pred), y_pred], axis=-1)
        return super().update_state(y_true, y_pred, sample_weight)

    def get_config(self):
        """Return the arguments."""
        return {"num_classes": self.num_classes, "name": self.name}


@register
class Accuracy(ConfusionMetric):
    """Share of the examples (or points, pixels) that are labelled right, void ones left out."""

    def result(self):
        """Return the share, a scalar."""
        matrix = ops.convert_to_tensor(self.total_cm)
        return ops.divide_no_nan(ops.trace(matrix), ops.sum(matrix))


@register
class MeanClassAccuracy(ConfusionMetric):
    """Mean over the classes that occur of the share of each that is labelled right (recall)."""

    def result(self):
        """Return the mean, a scalar."""
        matrix = ops.convert_to_tensor(self.total_cm)
        support = ops.sum(matrix, axis=1)
        recall = ops.divide_no_nan(ops.diagonal(matrix), support)
        return ops.divide_no_nan(ops.sum(recall), ops.sum(ops.cast(support > 0, recall.dtype)))


@register
class MeanIoU(ConfusionMetric):
    """Mean over the classes that occur of intersection over union (Jaccard), void left out."""


@register
class DiceScore(ConfusionMetric):
    """2 TP / (2 TP + FP + FN), which is F1: of class 1 if there are two, else the classes' mean."""

    def result(self):
        """Return the mean over the classes that occur or are found, a scalar."""
        matrix = ops.convert_to_tensor(self.total_cm)
        marked = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1)
        each = ops.divide_no_nan(2 * ops.diagonal(matrix), marked)
        if self.num_classes == 2:
            return each[1]
        return ops.divide_no_nan(ops.sum(each), ops.sum(ops.cast(marked > 0, each.dtype)))
