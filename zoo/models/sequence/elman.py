"""Elman network: the hidden units see what they were a step ago, beside the input.

Elman, Cognitive Science 1990, https://doi.org/10.1207/s15516709cog1402_1. Fig. 2:
h_t = tanh(W x_t + U h_{t-1} + b), with a linear head.
Departures: tanh, whose slope is up to four times that of the paper's logistic units, so that the
gradient lasts longer (`activation="sigmoid"` is the paper's); the gradient flows through all steps,
where the paper takes the copied state for an input.
"""

import keras

from zoo.nn.blocks import answer, recurrent, series
from zoo.registry import register


@register(
    "forecasting",
    "sequence_classification",
    paper=dict(input_shape=(100, 10), output_shape=(1, 1)),
    parameters=1_409,
    test=dict(units=16),
)
def Elman(  # noqa: D417, the rest is that of LSTM
    input_shape,
    output_shape,
    *,
    units=32,  # as the zoo's LSTM, to compare; the paper has up to 150
    layers=1,
    dropout=0.0,
    recurrent_dropout=0.0,
    activation="tanh",
    bidirectional=False,
    steps="last",
    masked=False,
    patch=1,
    name="elman",
):
    """Build a stack of Elman layers with a linear head.

    Arguments, result and errors are as of `LSTM`, and in addition:

    Args:
        activation: of the hidden units, one that Keras knows by name.
    """

    def layer(**options):
        return keras.layers.SimpleRNN(
            units, activation=activation, recurrent_dropout=recurrent_dropout, **options
        )

    inputs, x, mask = series(input_shape, masked, patch)
    x = recurrent(
        x, layer, layers, mask=mask, dropout=dropout, bidirectional=bidirectional, steps=steps
    )
    return keras.Model(inputs, answer(x, output_shape), name=name)
