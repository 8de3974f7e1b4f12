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
def Elman(
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
    """Build a stack of such layers with a linear head.

    Args:
        input_shape: (T, F), T steps of F values each; T may be None.
        output_shape: (H, K), H steps ahead of K values, or (K,), logits of K classes.
        units: of each layer and direction.
        layers: how many in the stack.
        dropout: rate between two layers; none follows the last, as in `torch.nn.RNN`.
        recurrent_dropout: rate of the state's way to the next step, the same units at all steps.
        activation: of the hidden units, one that Keras knows by name.
        bidirectional: each layer has a second network that reads backwards.
        steps: the answer is from the "last" state (of each direction), the "mean" of all, or there
            is one for each of "all" steps.
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

    def layer(**options):
        return keras.layers.SimpleRNN(
            units, activation=activation, recurrent_dropout=recurrent_dropout, **options
        )

    inputs, x = series(input_shape, masked, patch)
    x = recurrent(x, layer, layers, dropout=dropout, bidirectional=bidirectional, steps=steps)
    return keras.Model(inputs, answer(x, output_shape), name=name)
