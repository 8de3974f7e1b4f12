"""What the file of an ensemble is made of: its members, what brings their logits together, a guard.

`ensembles` joins these; they are of the zoo, so that an ensemble loads like any other model.
"""

import hashlib

import keras
import numpy as np
from keras import ops

register = keras.saving.register_keras_serializable("zoo")


@register
class Joined(keras.Model):
    """A functional model whose layers are the members of an ensemble, their guard, and a head."""

    def load_weights(self, filepath, **options):
        """Load weights of the same members in the same order; others are refused, see `Members`."""
        before = self.get_weights()
        try:
            super().load_weights(filepath, **options)
        except Exception:
            self.set_weights(before)
            raise

    def verify(self):
        """Raise a `ValueError` if a member is not the one that the guard knows."""
        for layer in self.layers:
            if isinstance(layer, Members):
                layer.verify(self)


@register
class Frozen(keras.Model):
    """A functional model that does what it does in prediction, even where a whole is trained.

    That a model is called with `training=False` inside another is forgotten when the outer one is
    called with `training=True`; dropout of frozen members would be at work.
    """

    def call(self, inputs, training=None, mask=None):
        """Return the outputs without dropout, normalised by statistics as they were learnt."""
        return super().call(inputs, training=False, mask=mask)

    @classmethod
    def of(cls, model, name):
        """Return a functional model of one input and one output frozen, under another name."""
        frozen = cls(model.inputs[0], model.outputs[0], name=name)
        frozen.trainable = False
        return frozen


@register
class TwoClasses(keras.layers.Layer):
    """Turns one logit of class 1 into the logits of classes 0 and 1, or two into one.

    Args:
        units: 1 or 2, how many to return.
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def call(self, inputs):
        """Return logits (B, ..., units) of logits (B, ..., 1 or 2)."""
        if self.units == 1 and inputs.shape[-1] == 2:
            return inputs[..., 1:] - inputs[..., :1]
        return inputs if self.units == 1 else self.of(inputs)

    @staticmethod
    def of(logits):
        """Return logits of two classes for one logit, and those of several as they are."""
        if logits.shape[-1] > 1:
            return logits
        return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the shape with so many units."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "units": self.units}


@register
class Mixture(keras.layers.Layer):
    """The weighted mean of what several models say: called on a list of their logits (B, ..., K).

    One logit (K = 1) tells class 1 from class 0, by a sigmoid. Of one model it is the identity.

    Args:
        weights: one number a model, not below 0; equal ones if None.
        of: "probabilities", the mean of which is returned as its logarithm; "logits"; or "votes",
            the share of models that think a class the most probable, where ties are broken by the
            mean of their probabilities.
    """

    TIE = 1e-3  # share of the mean of probabilities in that of votes; it keeps logarithms finite

    def __init__(self, weights=None, of="probabilities", **kwargs):
        super().__init__(**kwargs)
        if of not in ("probabilities", "logits", "votes"):
            raise ValueError(f"the mean is of probabilities, logits or votes, not of {of!r}")
        self.weights_of_models, self.of = weights, of

    def call(self, inputs):
        """Return logits of the shape of one model's."""
        shares = np.ones(len(inputs)) if self.weights_of_models is None else self.weights_of_models
        shares = np.asarray(shares, np.float64) / np.sum(shares)
        pairs = zip(shares.tolist(), inputs, strict=True)
        used = [(w, ops.cast(z, "float32")) for w, z in pairs if w]
        if self.of == "logits" or len(used) == 1 and self.of == "probabilities":
            return sum(w * z for w, z in used)
        one = inputs[0].shape[-1] == 1
        mean = self._sum([ops.log(w) + self._log_probabilities(z) for w, z in used])
        if self.of == "votes":
            votes = sum(w * self._votes(z) for w, z in used)
            mean = ops.log((1 - self.TIE) * votes + self.TIE * ops.exp(mean))
        return mean[..., 1:] - mean[..., :1] if one else mean

    def _log_probabilities(self, logits):
        return ops.log_softmax(TwoClasses.of(logits), axis=-1)

    def _votes(self, logits):
        pair = TwoClasses.of(logits)
        return ops.one_hot(ops.argmax(pair, axis=-1), pair.shape[-1])

    def _sum(self, logarithms):
        """Return the logarithm of the sum of what tensors of one shape are the logarithms of."""
        return ops.logsumexp(ops.stack(logarithms, axis=0), axis=0)

    def compute_output_shape(self, input_shapes):
        """Return the shape of one model's logits."""
        return input_shapes[0]

    def get_config(self):
        """Return the arguments."""
        weights = self.weights_of_models
        weights = None if weights is None else [float(weight) for weight in weights]
        return {**super().get_config(), "weights": weights, "of": self.of}


@register
class StepMixture(keras.layers.Layer):
    """The mean of what forecasters say, its weights learnt for each step ahead.

    Called on a list of values (B, H, K). Weights are positive and sum to one, as Breiman 1996,
    https://doi.org/10.1007/BF00117832, advises: a series whose level rises rises in the mean too.
    """

    def build(self, input_shapes):
        """Make the weights (H, models), all equal."""
        shape = input_shapes[0][1], len(input_shapes)
        self.logits = self.add_weight(shape, "zeros", name="logits")

    def call(self, inputs):
        """Return values of the shape of one model's."""
        shares = ops.softmax(self.logits, axis=-1)
        return ops.einsum("bhkm,hm->bhk", ops.stack(inputs, axis=-1), shares)

    def compute_output_shape(self, input_shapes):
        """Return the shape of one model's values."""
        return input_shapes[0]


@register
class Members(keras.layers.Layer):
    """Passes inputs on to the members of an ensemble, and knows which they are and in what order.

    It travels in the model's file and in every file of its weights. Weights that were saved of
    other members, or of the same in another order, are refused.

    Args:
        digests: {name of a layer of the ensemble: digest of its weights, see `digest`}, in order.
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
        """Raise a `ValueError` if the members inside a model are not those that are known."""
        for name, known in self.digests.items():
            if (found := digest(model.get_layer(name))) != known:
                raise ValueError(
                    f"the weights of its member {name} have the digest {found[:12]}..., and its "
                    f"manifest says {known[:12]}...: they were changed"
                )

    def save_own_variables(self, store):
        """Store who the members are."""
        store["members"] = self._known()

    def load_own_variables(self, store):
        """Check that what follows are the weights of these members, in this order."""
        if "members" not in store or not np.array_equal(store["members"], self._known()):
            raise ValueError(
                "these are the weights of an ensemble of other members, or of the same ones in "
                "another order. Join the same members in the same order, or load the .keras file"
            )

    def _known(self):
        return np.frombuffer("".join(self.digests.values()).encode(), np.uint8)

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "digests": self.digests}


def digest(model):
    """Return the SHA-256 of a model's weights in order, but for the state of random generators."""
    found = hashlib.sha256()
    for variable in model.weights:
        if "seed_generator" not in variable.path:
            array = np.ascontiguousarray(ops.convert_to_numpy(variable))
            found.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()
