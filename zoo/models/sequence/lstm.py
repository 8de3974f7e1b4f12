"""LSTM: a sum behind gates carries what was seen, and its gradient, over hundreds of steps.

Hochreiter & Schmidhuber, Neural Computation 1997, https://doi.org/10.1162/neco.1997.9.8.1735.
Fig. 1, with the forget gate of Gers, Schmidhuber & Cummins 2000,
https://doi.org/10.1162/089976600300015015: i, f, o = σ(W x_t + U h_{t-1} + b),
c_t = f c_{t-1} + i tanh(W x_t + U h_{t-1} + b), h_t = o tanh(c_t).
Departures: one cell in a block; tanh in place of scaled logistic functions; the gradient flows
through all weights and steps, where the papers cut it off at the gates.
"""

import keras

from zoo.nn import recurrence
from zoo.nn.blocks import answer, recurrent, series
from zoo.registry import register


@register(
    "forecasting",
    "sequence_classification",
    paper=dict(input_shape=(100, 10), output_shape=(1, 1)),
    parameters=5_537,
    test=dict(units=16),
)
def LSTM(
    input_shape,
    output_shape,
    *,
    units=32,  # a usual size; the papers' toy tasks need a handful
    layers=1,
    dropout=0.0,
    recurrent_dropout=0.0,
    bidirectional=False,
    steps="last",
    masked=False,
    patch=1,
    name="lstm",
):
    """Build a stack of such layers with a linear head.

    Args:
        input_shape: (T, F), T steps of F values each; T may be None.
        output_shape: (H, K), H steps ahead of K values, or (K,), logits of K classes.
        units: of each layer and direction.
        layers: how many in the stack.
        dropout: rate between two layers; none follows the last, as in `torch.nn.LSTM`.
        recurrent_dropout: rate of the state's way to the next step, the same units at all steps.
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
        return recurrence.LSTM(units, recurrent_dropout=recurrent_dropout, **options)

    inputs, x = series(input_shape, masked, patch)
    x = recurrent(x, layer, layers, dropout=dropout, bidirectional=bidirectional, steps=steps)
    return keras.Model(inputs, answer(x, output_shape), name=name)
