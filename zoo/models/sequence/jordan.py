"""Jordan network: the hidden units see the input and the network's previous outputs.

Jordan, "Serial Order: A Parallel Distributed Processing Approach", ICS Report 8604, UC San Diego
1986, https://eric.ed.gov/?id=ED276754. The network of plan, state, hidden and output units:
s_t = μ s_{t-1} + y_{t-1}, h_t = tanh(W x_t + U s_t + b), y_t = V h_t + c.
Departures: tanh instead of logistic hidden units (`activation="sigmoid"` is the paper's); linear
outputs, since targets may be any number; each step has its own input, instead of one plan for all;
in training, too, the network's own output is fed back, without teacher forcing. In a stack, all
layers but the last have as many outputs as hidden units.
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
    units=32,  # as in the zoo's LSTM, for comparison
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
    """Build a stack of Jordan layers, the last of which returns the output.

    There is no bidirectional version, because the recurrent state is the output itself. The last
    layer always computes in float32, since its output is fed back.

    Args:
        input_shape: (T, F), T steps of F values; T may be None.
        output_shape: (H, K), H steps ahead of K values, or (K,), logits of K classes.
        units: number of hidden units per layer.
        layers: number of layers.
        decay: μ, below 1, the weight of earlier outputs at each step; 0 uses only the last one.
        dropout: dropout rate between layers.
        recurrent_dropout: dropout rate of the feedback, with one mask for all steps.
        activation: of the hidden units, the name of a Keras activation.
        steps: return the "last" output, the "mean" of all outputs, or those of "all" steps.
        masked: series are padded at the end with `zoo.nn.layers.PADDING`, which is masked.
        patch: consecutive steps that are concatenated to one; 1 as in the paper. More shorten
            long series.
        name: name of the model.

    Returns:
        A `keras.Model` from series (B, T, F) to float32 (B, *output_shape), or
        (B, T, *output_shape) for all steps.

    Raises:
        ValueError: if `steps` is not supported, or there are no layers.
    """
    shared = dict(decay=decay, activation=activation, recurrent_dropout=recurrent_dropout)

    def layer(**options):
        return keras.layers.RNN(JordanCell(units, units, name="cell", **shared), **options)

    def top(**options):
        values = math.prod(output_shape)
        cell = JordanCell(units, values, name="cell", dtype="float32", **shared)
        return keras.layers.RNN(cell, dtype="float32", **options)

    inputs, x, mask = series(input_shape, masked, patch)
    x = recurrent(x, layer, layers, mask=mask, top=top, dropout=dropout, steps=steps)
    return keras.Model(inputs, shaped(x, output_shape), name=name)


@keras.saving.register_keras_serializable("zoo")
class JordanCell(keras.layers.SimpleRNNCell):
    """One step of a Jordan network; Keras' cell provides the dropout masks.

    Its two states (B, outputs) are the last output y and the state units s of the last step.

    Args:
        units: number of hidden units.
        outputs: number of output units.
        decay: μ.
        activation: of the hidden units.
        dropout: dropout rate of the inputs.
        recurrent_dropout: dropout rate of the state units.
        seed: random seed of both.
        options: name, dtype and trainable of a Keras layer.
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
        """Create W, U, b, V and c for inputs (B, F)."""
        shapes = {
            "kernel": (input_shape[-1], self.units),
            "recurrent_kernel": (self.outputs, self.units),
            "bias": (self.units,),
            "output_kernel": (self.units, self.outputs),
            "output_bias": (self.outputs,),
        }
        for name, shape in shapes.items():
            initializer = "zeros" if name.endswith("bias") else "glorot_uniform"
            setattr(self, name, self.add_weight(shape, initializer, name=name))

    def call(self, inputs, states, training=False):
        """Return the output (B, outputs) for inputs (B, F), and both new states."""
        output, trace = states
        trace = self.decay * trace + output
        feedback = trace
        if training and self.dropout:
            inputs = inputs * self.get_dropout_mask(inputs)
        if training and self.recurrent_dropout:
            feedback = trace * self.get_recurrent_dropout_mask(trace)
        hidden = ops.matmul(inputs, self.kernel) + ops.matmul(feedback, self.recurrent_kernel)
        hidden = self.activation(hidden + self.bias)
        output = ops.matmul(hidden, self.output_kernel) + self.output_bias
        return output, [output, trace]

    def get_initial_state(self, batch_size=None):
        """Return two states of zeros (B, outputs)."""
        return [ops.zeros((batch_size, size), self.compute_dtype) for size in self.state_size]

    def get_config(self):
        """Return the arguments."""
        names = ("units", "outputs", "decay", "dropout", "recurrent_dropout", "seed")
        return {
            **keras.layers.Layer.get_config(self),
            **{name: getattr(self, name) for name in names},
            "activation": keras.activations.serialize(self.activation),
        }
