"""Peephole LSTM: the gates see the memory itself, also while the output gate is shut.

Gers & Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000,
https://doi.org/10.1109/IJCNN.2000.861302. Also Gers, Schraudolph & Schmidhuber, JMLR 2002,
https://www.jmlr.org/papers/v3/gers02a.html. Equations as in Graves 2013,
https://arxiv.org/abs/1308.0850, Eqs. 7 to 11: i, f = σ(W x_t + U h_{t-1} + p c_{t-1} + b),
c_t = f c_{t-1} + i tanh(W x_t + U h_{t-1} + b), o = σ(W x_t + U h_{t-1} + p c_t + b),
h_t = o tanh(c_t); each p is a vector, so that a gate sees the memory of its own unit.
Departures: one cell in a block; tanh, as in Graves, on the way into the memory and out of it;
peepholes start at 0, so training starts from an LSTM. cuDNN has no peepholes: on a GPU this network
steps through a series by the plain loop, many times slower than the zoo's `lstm`.
"""

import keras
from keras import ops

from zoo.nn.blocks import answer, recurrent, series
from zoo.registry import register


@register(
    "forecasting",
    "sequence_classification",
    paper=dict(input_shape=(100, 10), output_shape=(1, 1)),
    parameters=5_633,
    test=dict(units=16),
)
def PeepholeLSTM(
    input_shape,
    output_shape,
    *,
    units=32,  # as the zoo's LSTM, to compare
    layers=1,
    dropout=0.0,
    recurrent_dropout=0.0,
    bidirectional=False,
    steps="last",
    masked=False,
    patch=1,
    name="peephole_lstm",
):
    """Build a stack of LSTM layers with peepholes with a linear head.

    Arguments, result and errors are as of `LSTM`.
    """

    def layer(**options):
        cell = PeepholeLSTMCell(units, recurrent_dropout=recurrent_dropout, name="cell")
        return keras.layers.RNN(cell, **options)

    inputs, x, mask = series(input_shape, masked, patch)
    x = recurrent(
        x, layer, layers, mask=mask, dropout=dropout, bidirectional=bidirectional, steps=steps
    )
    return keras.Model(inputs, answer(x, output_shape), name=name)


@keras.saving.register_keras_serializable("zoo")
class PeepholeLSTMCell(keras.layers.LSTMCell):
    """One step of an LSTM with peepholes: Keras' cell, its arguments, and a weight more.

    Dropout takes the same inputs and states from all gates, where Keras' cell draws for each.
    """

    def __init__(self, units, **options):
        super().__init__(units, **options)
        self.dropout_mask_count = None  # one mask, not a list

    def build(self, input_shape):
        """Make the weights of an LSTM for inputs (B, F), and three peepholes a unit."""
        super().build(input_shape)
        self.peephole = self.add_weight((3, self.units), "zeros", name="peephole")

    def call(self, inputs, states, training=False):
        """Return the output (B, units) for inputs (B, F), and both states behind it."""
        h, c = states
        if training and self.dropout:
            inputs = inputs * self.get_dropout_mask(inputs)
        if training and self.recurrent_dropout:
            h = h * self.get_recurrent_dropout_mask(h)
        gates = ops.matmul(inputs, self.kernel) + ops.matmul(h, self.recurrent_kernel)
        if self.use_bias:
            gates = gates + self.bias
        i, f, candidate, o = ops.split(gates, 4, axis=-1)
        i = self.recurrent_activation(i + self.peephole[0] * c)
        f = self.recurrent_activation(f + self.peephole[1] * c)
        c = f * c + i * self.activation(candidate)
        o = self.recurrent_activation(o + self.peephole[2] * c)
        h = o * self.activation(c)
        return h, [h, c]
