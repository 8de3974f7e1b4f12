"""Monte Carlo dropout: a member with active dropout as an ensemble of its passes.

Gal & Ghahramani, ICML 2016, https://arxiv.org/abs/1506.02142: dropout that stays active in
prediction draws networks from an approximate posterior.
"""

import keras
import numpy as np

from zoo.inference import predictors

DROPOUT = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


def active(model, name):
    """Return a copy of a functional model whose dropout is active in prediction, too.

    All else, such as batch normalization, predicts as before.

    Args:
        model: a `keras.Model`; models inside it are changed likewise.
        name: of the member, for messages.

    Raises:
        ValueError: if it has no layer of dropout with a rate above 0.
    """
    count = 0

    def copy(layer):
        nonlocal count
        again = layer.__class__.from_config(layer.get_config())
        if isinstance(layer, DROPOUT) and layer.rate > 0:
            call, count = again.call, count + 1
            again.call = lambda inputs, training=None: call(inputs, training=True)
        return again

    drawn = keras.models.clone_model(model, clone_function=copy, recursive=True)
    if not count:
        raise ValueError(
            f"{name} has no active dropout, which --mc-dropout draws from. Leave it out, or train "
            "it with a dropout rate: --set dropout=0.2"
        )
    drawn.set_weights(model.get_weights())
    return drawn


def passes(model, examples, count, batch_size):
    """Return the outputs of several passes, a list of arrays (n, ..., K).

    Args:
        model: what `active` returned.
        examples: with `len` and `take`.
        count: number of passes.
        batch_size: batch size.
    """
    outputs = [[] for _ in range(count)]
    for start in range(0, len(examples), batch_size):
        x, _ = examples.take(slice(start, start + batch_size))
        for parts in outputs:
            parts.append(predictors.predict(model, x, batch_size))
    return [np.concatenate(parts) for parts in outputs]
