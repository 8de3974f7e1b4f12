"""Layers and models of a saved ensemble: its members, the layers that combine them, and a check.

`ensembles` combines these; they belong to the zoo, so that an ensemble loads like any other model.
"""

import hashlib
import weakref

import keras
import numpy as np
from keras import ops

from zoo.nn.foreign import Foreign

register = keras.saving.register_keras_serializable("zoo")


_heads = weakref.WeakKeyDictionary()  # of models: attributes would be saved with them


class Combined(keras.Model):
    """A functional model that runs eagerly if a model of another library is part of it."""

    @property
    def run_eagerly(self):
        """Whether the model is not compiled."""
        return self._run_eagerly or any(isinstance(x, Foreign) for x in self._flatten_layers())

    @run_eagerly.setter
    def run_eagerly(self, value):
        self._run_eagerly = value


@register
class Joined(Combined):
    """A functional model whose layers are the members of an ensemble, `Members`, and a head."""

    def predict_on_batch(self, x):
        """Return the outputs for a batch, of networks compiled even beside other libraries' files.

        Run eagerly as a whole, a recurrent network would take a hundred times as long.
        """
        guard = next((layer for layer in self.layers if isinstance(layer, Members)), None)
        if guard is None or not self.run_eagerly:
            return super().predict_on_batch(x)
        members = [self.get_layer(name) for name in guard.digests]
        xs = x if isinstance(x, list) else [x] * len(members)
        outputs = [member.predict_on_batch(own) for member, own in zip(members, xs, strict=True)]
        if self not in _heads:
            nodes = {n.operation: n for level in self._nodes_by_depth.values() for n in level}
            ends = [nodes[member].outputs[0] for member in members]
            _heads[self] = keras.Model([*ends, *self.inputs], self.outputs[0])
        return _heads[self].predict_on_batch([*outputs, *(x if isinstance(x, list) else [x])])

    def load_weights(self, filepath, **options):
        """Load weights of the same members in the same order; reject others, see `Members`."""
        before = self.get_weights()
        try:
            super().load_weights(filepath, **options)
        except Exception:
            self.set_weights(before)
            raise

    def verify(self):
        """Raise a `ValueError` if the digest of a member is not the recorded one."""
        for layer in self.layers:
            if isinstance(layer, Members):
                layer.verify(self)


@register
class Frozen(Combined):
    """A functional model that always runs in inference mode, even while an outer model is trained.

    A call with `training=False` inside another model is overridden when the outer model is called
    with `training=True`; dropout of frozen members would be active.
    """

    def call(self, inputs, training=None, mask=None):
        """Return the outputs without dropout, normalised by the moving statistics."""
        return super().call(inputs, training=False, mask=mask)

    @classmethod
    def of(cls, model, name):
        """Return a functional model of one input and one output frozen, under another name."""
        frozen = cls(model.inputs[0], model.outputs[0], name=name)
        frozen.trainable = False
        return frozen


@register
class TwoClasses(keras.layers.Layer):
    """Converts one logit of class 1 to the logits of classes 0 and 1, or two to one.

    Args:
        units: 1 or 2, the number of logits to return.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def call(self, inputs):
        """Convert logits (B, ..., 1 or 2) to (B, ..., units)."""
        if self.units == 1 and inputs.shape[-1] == 2:
            return inputs[..., 1:] - inputs[..., :1]
        return inputs if self.units == 1 else self.of(inputs)

    @staticmethod
    def of(logits):
        """Return the logits of two classes for one logit; return several unchanged."""
        if logits.shape[-1] > 1:
            return logits
        return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the shape with `units` on the last axis."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "units": self.units}


@register
class Mixture(keras.layers.Layer):
    """The weighted mean of several models' predictions: called on a list of logits (B, ..., K).

    With one logit (K = 1), its sigmoid is the probability of class 1; with several labels, that of
    each logit is the probability of its label. For one model it is the identity.

    Args:
        weights: one number per model, not below 0; None for equal weights.
        of: "probabilities", whose mean is returned as its logarithm; "logits"; or "votes", the
            fraction of models that predict a class, with ties broken by the mean probability.
        multilabel: whether the logits are of labels with a sigmoid each, not of one class.
    """

    TIE = 1e-3  # weight of the mean probability among the votes; keeps logarithms finite

    def __init__(self, weights=None, of="probabilities", multilabel=False, **kwargs):
        super().__init__(**kwargs)
        if of not in ("probabilities", "logits", "votes"):
            raise ValueError(f"of must be probabilities, logits or votes, not {of!r}")
        self.weights_of_models, self.of, self.multilabel = weights, of, multilabel

    def call(self, inputs):
        """Return logits of the shape of one model's logits."""
        if self.multilabel:
            return self.mean([logits[..., None] for logits in inputs])[..., 0]
        return self.mean(inputs)

    def mean(self, inputs):
        """Return the logits of the mean of classes."""
        weights = self.weights_of_models
        weights = np.ones(len(inputs)) if weights is None else weights
        weights = np.asarray(weights, np.float64) / np.sum(weights)
        pairs = zip(weights.tolist(), inputs, strict=True)
        used = [(w, ops.cast(z, "float32")) for w, z in pairs if w]
        if self.of == "logits" or len(used) == 1 and self.of == "probabilities":
            return sum(w * z for w, z in used)
        binary = inputs[0].shape[-1] == 1
        mean = self._sum([ops.log(w) + self._log_probabilities(z) for w, z in used])
        if self.of == "votes":
            votes = sum(w * self._votes(z) for w, z in used)
            mean = ops.log((1 - self.TIE) * votes + self.TIE * ops.exp(mean))
        return mean[..., 1:] - mean[..., :1] if binary else mean

    def _log_probabilities(self, logits):
        return ops.log_softmax(TwoClasses.of(logits), axis=-1)

    def _votes(self, logits):
        pair = TwoClasses.of(logits)
        return ops.one_hot(ops.argmax(pair, axis=-1), pair.shape[-1])

    def _sum(self, logarithms):
        """Return the logarithm of the sum of the exponentials of tensors of one shape."""
        return ops.logsumexp(ops.stack(logarithms, axis=0), axis=0)

    def compute_output_shape(self, input_shapes):
        """Return the shape of one model's logits."""
        return input_shapes[0]

    def get_config(self):
        """Return the arguments."""
        weights = self.weights_of_models
        weights = None if weights is None else [float(weight) for weight in weights]
        labels = {"multilabel": True} if self.multilabel else {}
        return {**super().get_config(), "weights": weights, "of": self.of, **labels}


@register
class StepMixture(keras.layers.Layer):
    """The weighted mean of several forecasts, with weights learnt for each step ahead.

    Called on a list of values (B, H, K). Weights are positive and sum to one, as Breiman 1996,
    https://doi.org/10.1007/BF00117832, advises; so the mean preserves a trend.
    """

    def build(self, input_shapes):
        """Create the weights (H, models), initially equal."""
        shape = input_shapes[0][1], len(input_shapes)
        self.logits = self.add_weight(shape, "zeros", name="logits")

    def call(self, inputs):
        """Return values of the shape of one model's values."""
        weights = ops.softmax(self.logits, axis=-1)
        return ops.einsum("bhkm,hm->bhk", ops.stack(inputs, axis=-1), weights)

    def compute_output_shape(self, input_shapes):
        """Return the shape of one model's values."""
        return input_shapes[0]


@register
class Members(keras.layers.Layer):
    """Passes inputs on to the members of an ensemble, and records which they are and their order.

    It is saved in the model's file and in every file of its weights. Weights of other members, or
    of the same members in another order, are rejected.

    Args:
        digests: {layer name of a member: digest of its weights, see `digest`}, in order.
    """

    def __init__(self, digests, **kwargs):
        super().__init__(**kwargs)
        self.digests = dict(digests)

    def call(self, inputs):
        """Return the inputs."""
        return inputs

    def compute_output_shape(self, input_shape):
        """Return the shape of the inputs."""
        return input_shape

    def verify(self, model):
        """Raise a `ValueError` if the members of a model do not have the recorded digests."""
        for name, expected in self.digests.items():
            if (actual := digest(model.get_layer(name))) != expected:
                raise ValueError(
                    f"the weights of its member {name} have the digest {actual[:12]}..., its "
                    f"manifest has {expected[:12]}...: they were changed"
                )

    def save_own_variables(self, store):
        """Store the digests of the members."""
        store["members"] = self._known()

    def load_own_variables(self, store):
        """Check that the stored weights are those of these members, in this order."""
        if "members" not in store or not np.array_equal(store["members"], self._known()):
            raise ValueError(
                "these are the weights of an ensemble of other members, or of the same ones in "
                "another order. Combine the same members in the same order, or load the .keras file"
            )

    def _known(self):
        return np.frombuffer("".join(self.digests.values()).encode(), np.uint8)

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "digests": self.digests}


def digest(model):
    """Return the SHA-256 of a model's weights in order, without the state of random generators."""
    sha256 = hashlib.sha256()
    for variable in model.weights:
        if "seed_generator" not in variable.path:
            array = np.ascontiguousarray(ops.convert_to_numpy(variable))
            sha256.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return sha256.hexdigest()
