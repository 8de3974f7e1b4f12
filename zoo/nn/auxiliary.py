"""Auxiliary heads: classifiers on inner layers, whose losses help to train the layers below them.

Szegedy et al. 2015, https://arxiv.org/abs/1409.4842, Sec. 5; Lee et al. 2015,
https://arxiv.org/abs/1409.5185, call it deep supervision.
"""

import keras

from zoo.nn.layers import register


@register
class DeepSupervision(keras.Model):
    """A functional model to the main logits, in whose training auxiliary heads take part.

    The compiled loss is applied to every head; metrics are computed on the main logits. A call
    returns the main logits, and with `training=True` a list of them and those of the other heads.
    Inside another model it is a layer that returns the main logits, whose heads are not trained.

    Args:
        network: a functional `keras.Model` that returns a list of logits, the main ones first.
        weights: of the losses of the other heads.
        name: name of the model.
    """

    def __init__(self, network, weights, name=None):
        super().__init__(network.input, network.output[0], name=name)
        self.network, self.weights_of_heads = network, [float(weight) for weight in weights]

    @property
    def layers(self):
        """All layers, those of the auxiliary heads included."""
        network = getattr(self, "network", None)  # none yet while Keras builds the graph
        return network.layers if network else super().layers

    def parts(self):
        """Return a functional model to the logits of each head, by the name of its last layer."""
        names, outputs = self.network.output_names, self.network.output
        return {
            name: keras.Model(self.network.input, output, name=name)
            for name, output in zip(names, outputs, strict=True)
        }

    def call(self, inputs, training=None, mask=None):
        """Return the main logits; in training a list of the logits of all heads."""
        if training:
            return self.network(inputs, training=True, mask=mask)
        return super().call(inputs, training=training, mask=mask)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss of the main logits, plus the weighted losses of the other heads."""
        logits, heads = split(self, y_pred)
        loss = super().compute_loss(x, y, logits, sample_weight, training)
        penalty = sum(self.losses)  # of regularizers, included in each of these losses
        for weight, outputs in heads:
            value = super().compute_loss(x, y, outputs, sample_weight, training)
            loss = loss + weight * (value - penalty)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Return the metrics of the main logits."""
        return super().compute_metrics(x, y, split(self, y_pred)[0], sample_weight)

    def get_config(self):
        """Return the arguments."""
        network = keras.saving.serialize_keras_object(self.network)
        return {"name": self.name, "network": network, "weights": list(self.weights_of_heads)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return the model of a configuration."""
        network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return cls(network, config["weights"], config["name"])


def supervised(inputs, logits, heads, weight, name):
    """Return a model to the main logits, a `DeepSupervision` if there are auxiliary heads.

    Args:
        inputs: of the model, symbolic tensors.
        logits: the main ones.
        heads: the logits of the auxiliary heads, a list.
        weight: of the loss of each of them.
        name: name of the model.
    """
    if not heads:
        return keras.Model(inputs, logits, name=name)
    network = keras.Model(inputs, [logits, *heads], name=f"{name}_heads")
    return DeepSupervision(network, [weight] * len(heads), name)


def split(model, outputs):
    """Split what a model returned: the main logits, and (weight, logits) of each auxiliary head."""
    if not isinstance(model, DeepSupervision) or not isinstance(outputs, list | tuple):
        return outputs, []
    return outputs[0], list(zip(model.weights_of_heads, outputs[1:], strict=True))
