"""Metrics that Keras lacks, all from a confusion matrix, so every batch adds up exactly."""

import keras
from keras import ops

register = keras.saving.register_keras_serializable("zoo")


class ConfusionMetric(keras.metrics.MeanIoU):
    """Base: accumulates a (K, K) confusion matrix of integer labels and logits; label -1 is void.

    Args:
        num_classes: K.
        name: name of the metric.
    """

    def __init__(self, num_classes, name=None, **kwargs):
        super().__init__(num_classes, name, ignore_class=-1, sparse_y_pred=False)

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
