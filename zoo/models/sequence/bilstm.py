"""BiLSTM: two LSTMs, one in each direction, so that each step is seen with past and future.

Schuster & Paliwal, IEEE Transactions on Signal Processing 1997, https://doi.org/10.1109/78.650093.
Fig. 3, with the LSTM as in Graves & Schmidhuber 2005,
https://doi.org/10.1016/j.neunet.2005.06.042; the second layer reads both directions of the first,
as in Graves, Mohamed & Hinton 2013, https://arxiv.org/abs/1303.5778, Sec. 2.
Departures: the layer is that of the zoo's `lstm`; the default sizes suit a small forecaster, two
layers of 16 units per direction.
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
    """Build a stack of bidirectional layers with a linear head.

    Args:
        input_shape: (T, F), T steps of F values; T may be None.
        output_shape: (H, K), H steps ahead of K values, or (K,), logits of K classes.
        units: number of units per layer and direction.
        layers: number of layers.
        dropout: dropout rate between layers; none after the last, as in `torch.nn.LSTM`.
        recurrent_dropout: dropout rate of the recurrent state, with one mask for all steps.
        steps: predict from the "last" state of each direction, from the "mean" of all states, or
            at each of "all" steps. The last backward state is that at the first step, whereas
            `output[:, -1]` of `torch.nn.LSTM` has seen only one step backward.
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

    def layer(**options):
        return recurrence.LSTM(units, recurrent_dropout=recurrent_dropout, **options)

    inputs, x, mask = series(input_shape, masked, patch)
    x = recurrent(x, layer, layers, mask=mask, dropout=dropout, bidirectional=True, steps=steps)
    return keras.Model(inputs, answer(x, output_shape), name=name)
