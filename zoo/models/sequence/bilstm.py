"""BiLSTM: two LSTMs, one from either end, so that each step is seen with its past and its future.

Schuster & Paliwal, IEEE Transactions on Signal Processing 1997, https://doi.org/10.1109/78.650093.
Fig. 3, with the LSTM as in Graves & Schmidhuber 2005,
https://doi.org/10.1016/j.neunet.2005.06.042; the second layer sees both directions of the first, as
in Graves, Mohamed & Hinton 2013, https://arxiv.org/abs/1303.5778, Sec. 2.
Departures: the layer is that of the zoo's `lstm`; the sizes are those of a small forecaster, two
layers of 16 units each way on one value a step.
"""

import keras

from zoo.nn import recurrence
from zoo.nn.blocks import answer, recurrent, series
from zoo.registry import register


@register(
    "forecasting",
    "sequence_classification",
    paper=dict(input_shape=(100, 1), output_shape=(1, 1)),
    parameters=8_609,
    test=dict(dropout=0.0),
)
def BiLSTM(
    input_shape,
    output_shape,
    *,
    units=16,
    layers=2,
    dropout=0.2,
    recurrent_dropout=0.0,
    steps="last",
    masked=False,
    patch=1,
    name="bilstm",
):
    """Build a stack of such layers with a linear head.

    Args:
        input_shape: (T, F), T steps of F values each; T may be None.
        output_shape: (H, K), H steps ahead of K values, or (K,), logits of K classes.
        units: of each layer and direction.
        layers: how many in the stack.
        dropout: rate between two layers; none follows the last, as in `torch.nn.LSTM`.
        recurrent_dropout: rate of the state's way to the next step, the same units at all steps.
        steps: the answer is from the "last" state of each direction, the "mean" of all, or there
            is one for each of "all" steps. Backwards the last is behind the first step, where
            `output[:, -1]` of `torch.nn.LSTM` has seen a single one.
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
    x = recurrent(x, layer, layers, dropout=dropout, bidirectional=True, steps=steps)
    return keras.Model(inputs, answer(x, output_shape), name=name)
