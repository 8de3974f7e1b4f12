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
    """Build a stack of such layers with a linear head.

    Args:
        input_shape: (T, F), T steps of F values each; T may be None.
        output_shape: (H, K), H steps ahead of K values, or (K,), logits of K classes.
        units: of each layer and direction.
        layers: how many in the stack.
        dropout: rate between two layers; none follows the last, as in `torch.nn.GRU`.
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
        return recurrence.GRU(units, recurrent_dropout=recurrent_dropout, **options)

    inputs, x = series(input_shape, masked, patch)
    x = recurrent(x, layer, layers, dropout=dropout, bidirectional=bidirectional, steps=steps)
    return keras.Model(inputs, answer(x, output_shape), name=name)
