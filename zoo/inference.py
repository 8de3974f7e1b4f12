"""Predicting with a model in batches of one shape, so that nothing is compiled twice."""

import keras
import numpy as np

ELEMENTS = 2**19  # numbers in a batch that `stream` makes, about: two gray images of 512 x 512


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


def stream(model, inputs, batch_size):
    """Predict inputs one after the other, as they are asked for, in batches of one shape.

    Args:
        model: a `keras.Model`.
        inputs: an iterable of arrays (...), or dictionaries of them, without the batch's axis.
        batch_size: how many at a time; fewer where that would be more than ELEMENTS numbers.

    Yields:
        The output of each, NumPy arrays in the structure in which the model has them.
    """
    batch, shape = [], None
    for x in inputs:
        if batch and shape != _shapes(x):
            yield from _outputs(model, batch, batch_size)
            batch = []
        batch.append(x)
        shape = _shapes(x)
        if len(batch) == _fits(x, batch_size):
            yield from _outputs(model, batch, batch_size)
            batch = []
    if batch:
        yield from _outputs(model, batch, batch_size)


def _shapes(x):
    return [array.shape for array in keras.tree.flatten(x)]


def _fits(x, batch_size):
    """Return how many inputs like this one make a batch."""
    size = sum(array.size for array in keras.tree.flatten(x))
    return max(1, min(batch_size, ELEMENTS // size))


def _outputs(model, batch, batch_size):
    """Return an iterator of the outputs of a batch."""
    x = keras.tree.map_structure(lambda *parts: np.stack(parts), *batch)
    outputs = predict(model, x, _fits(batch[0], batch_size))
    return (
        keras.tree.map_structure(lambda array, i=i: array[i], outputs) for i in range(len(batch))
    )
