"""Predicting with a model in batches of one shape, so that nothing is compiled twice."""

import keras
import numpy as np


def predict(model, x, batch_size):
    """Predict all of x, an array (n, ...) or a dictionary of them.

    The last batch is filled up with copies of its first example, whose outputs are dropped.

    Returns:
        The outputs as NumPy arrays (n, ...), in the structure in which the model has them.
    """
    count = len(keras.tree.flatten(x)[0])
    batches = []
    for start in range(0, count, batch_size):
        rows = np.arange(start, start + batch_size)
        rows[rows >= count] = start
        batch = keras.tree.map_structure(lambda array, rows=rows: array[rows], x)
        batches.append(model.predict_on_batch(batch))
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts)[:count], *batches)
