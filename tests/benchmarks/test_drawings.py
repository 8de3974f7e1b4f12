"""Drawings of networks: each ends, whatever its operations are called."""

import keras
from keras import ops

from benchmarks import drawings


def test_operations_of_one_name_on_both_sides_of_others_are_drawn():
    """Small ones would be attached to a box that needs its own output: a cycle without an end."""
    entry = keras.Input((8,))
    x = keras.layers.Dense(4, name="embedding")(entry)
    scale = ops.rsqrt(ops.maximum(ops.sum(x * x, axis=-1, keepdims=True), 1e-6))
    model = keras.Model(entry, x * scale)
    boxes, edges = drawings.blocks(model)
    assert not drawings.cyclic(boxes, edges)
    assert drawings.drawing(model).count("<rect") == len(boxes)
