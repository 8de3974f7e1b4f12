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


def test_groups_are_drawn_in_order_and_a_split_belongs_to_the_box_before_it():
    entry = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 3, name="first")(entry)
    style = dict(kernel_size=3, padding="same")
    parts = [
        keras.layers.Conv2D(2, name=name, **style)(part)
        for name, part in zip(("left", "right"), ops.split(x, 2, axis=-1), strict=True)
    ]
    model = keras.Model(entry, keras.layers.Concatenate(name="second")(parts))
    boxes, edges = drawings.blocks(model)
    names = ["first", "left", "right", "second"]
    assert drawings.sort(boxes, edges)[1:] == names
    assert drawings.shape(boxes["first"][-1]) == (6, 6, 4), "all parts together"
    assert "conv 3×3, 4 → split the channels" in drawings.drawing(model)
