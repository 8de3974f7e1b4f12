"""GRU: two gates, one that forgets and one that keeps, and no memory besides the state.

Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk & Bengio, EMNLP 2014,
https://arxiv.org/abs/1406.1078. Sec. 2.3, Eqs. 5 to 8: h_t = z h_{t-1} + (1 - z) g with
z, r = σ(W x_t + U h_{t-1} + b), g = tanh(W x_t + b + r (U h_{t-1} + b')).
Departures: r gates the product U h_{t-1}, where the paper's Eq. 8 has U (r h_{t-1}), and all three
parts have a second bias b'. This is cuDNN's form, Keras' `reset_after`, which runs on its fast
path on a GPU.
"""

import keras

from zoo.nn import recurrence
from zoo.nn.blocks import answer, recurrent, series
from zoo.registry import register


@register(
    "forecasting",
    "sequence_classification",
    paper=dict(input_shape=(100, 10), output_shape=(1, 1)),
    parameters=4_257,
    test=dict(units=16),
)
def GRU(
    input_shape,
    output_shape,
    *,
    units=32,  # as the zoo's LSTM, to compare; the paper's translator has 1000
    layers=1,
    dropout=0.0,
    recurrent_dropout=0.0,
    bidirectional=False,
    steps="last",
    masked=False,
    patch=1,
    name="gru",
):
    """Build a stack of GRU layers with a linear head.

    Arguments, result and errors are as of `LSTM`.
    """

    def layer(**options):
        return recurrence.GRU(units, recurrent_dropout=recurrent_dropout, **options)

    inputs, x, mask = series(input_shape, masked, patch)
    x = recurrent(
        x, layer, layers, mask=mask, dropout=dropout, bidirectional=bidirectional, steps=steps
    )
    return keras.Model(inputs, answer(x, output_shape), name=name)
