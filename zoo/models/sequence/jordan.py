"""Jordan network: the hidden units see what the network has answered so far, beside the input.

Jordan, "Serial Order: A Parallel Distributed Processing Approach", ICS Report 8604, UC San Diego
1986, https://eric.ed.gov/?id=ED276754. The network of plan, state, hidden and output units:
s_t = μ s_{t-1} + y_{t-1}, h_t = tanh(W x_t + U s_t + b), y_t = V h_t + c.
Departures: tanh in place of logistic hidden units (`activation="sigmoid"` is the paper's); linear
outputs, since an answer may be any number; each step has an input of its own, in place of one plan
for all; in training too it is the network's own answer that comes back, not the right one. All but
the last of several layers answer in as many values as they have hidden units.
"""

import math

import keras
from keras import ops

from zoo.nn.blocks import recurrent, series, shaped
from zoo.registry import register


@register(
    "forecasting",
    "sequence_classification",
    paper=dict(input_shape=(100, 10), output_shape=(1, 1)),
    parameters=417,
    test=dict(units=16, layers=2),
)
def Jordan(
    input_shape,
    output_shape,
    *,
    units=32,  # as the zoo's LSTM, to compare
    layers=1,
    decay=0.0,
    dropout=0.0,
    recurrent_dropout=0.0,
    activation="tanh",
    steps="last",
    masked=False,
    patch=1,
    name="jordan",
):
    """Build a stack of such layers, the last of which gives the answer.

    There is no second direction: its answers would be others, not more of a state. The last layer
    computes in float32 always, since its answer comes back to it.

    Args:
        input_shape: (T, F), T steps of F values each; T may be None.
        output_shape: (H, K), H steps ahead of K values, or (K,), logits of K classes.
        units: hidden units of each layer.
        layers: how many in the stack.
        decay: μ, below 1: what is left of an older answer a step later; 0 keeps the last alone.
        dropout: rate between two layers.
        recurrent_dropout: rate of the answers' way back, the same values at all steps.
        activation: of the hidden units, one that Keras knows by name.
        steps: the answer is the "last" one, the "mean" of all, or that of each of "all" steps.
        masked: series are padded at the end with `zoo.nn.layers.PADDING`, which is never looked at.
        patch: steps that are read at once, side by side, as one; 1 as in the paper. More make
            the way through a long series short.
        name: name of the model.

    Returns:
        A `keras.Model` from series (B, T, F) to float32 (B, *output_shape); for all steps
        (B, T, *output_shape).

    Raises:
        ValueError: if there are no such steps, or no layers.
    """
    own = dict(decay=decay, activation=activation, recurrent_dropout=recurrent_dropout)

    def layer(**options):
        return keras.layers.RNN(JordanCell(units, units, name="cell", **own), **options)

    def top(**options):
        values = math.prod(output_shape)
        cell = JordanCell(units, values, name="cell", dtype="float32", **own)
        return keras.layers.RNN(cell, dtype="float32", **options)

    inputs, x = series(input_shape, masked, patch)
    x = recurrent(x, layer, layers, top=top, dropout=dropout, steps=steps)
    return keras.Model(inputs, shaped(x, output_shape), name=name)


@keras.saving.register_keras_serializable("zoo")
class JordanCell(keras.layers.SimpleRNNCell):
    """One step of a Jordan network. Keras' cell has the dropout masks, the same at all steps.

    Its two states (B, outputs) are the last answer y and the trace s that the last step has seen.

    Args:
        units: hidden units.
        outputs: values of an answer.
        decay: μ.
        activation: of the hidden units.
        dropout: rate of the inputs.
        recurrent_dropout: rate of the trace.
        seed: of both.
        options: name, dtype and trainable of a layer.
    """

    def __init__(
        self,
        units,
        outputs,
        decay=0.0,
        activation="tanh",
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        **options,
    ):
        super().__init__(
            units,
            activation=activation,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            seed=seed,
            **options,
        )
        self.outputs, self.decay = outputs, decay
        self.state_size, self.output_size = [outputs, outputs], outputs

    def build(self, input_shape):
        """Make W, U, b, V and c for inputs (B, F)."""
        shapes = {
            "kernel": (input_shape[-1], self.units),
            "recurrent_kernel": (self.outputs, self.units),
            "bias": (self.units,),
            "output_kernel": (self.units, self.outputs),
            "output_bias": (self.outputs,),
        }
        for name, shape in shapes.items():
            start = "zeros" if name.endswith("bias") else "glorot_uniform"
            setattr(self, name, self.add_weight(shape, start, name=name))

    def call(self, inputs, states, training=False):
        """Return the answer (B, outputs) to inputs (B, F), and both states behind it."""
        answer, trace = states
        trace = self.decay * trace + answer
        seen = trace
        if training and self.dropout:
            inputs = inputs * self.get_dropout_mask(inputs)
        if training and self.recurrent_dropout:
            seen = trace * self.get_recurrent_dropout_mask(trace)
        hidden = ops.matmul(inputs, self.kernel) + ops.matmul(seen, self.recurrent_kernel)
        hidden = self.activation(hidden + self.bias)
        answer = ops.matmul(hidden, self.output_kernel) + self.output_bias
        return answer, [answer, trace]

    def get_initial_state(self, batch_size=None):
        """Return two states of zeros (B, outputs)."""
        return [ops.zeros((batch_size, size), self.compute_dtype) for size in self.state_size]

    def get_config(self):
        """Return the arguments."""
        own = ("units", "outputs", "decay", "dropout", "recurrent_dropout", "seed")
        return {
            **keras.layers.Layer.get_config(self),
            **{name: getattr(self, name) for name in own},
            "activation": keras.activations.serialize(self.activation),
        }
