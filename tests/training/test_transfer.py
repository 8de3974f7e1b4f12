"""Transfer of epsilon, and warnings about anchors."""

import keras
import numpy as np

from zoo.training import transfer

GRID = {
    "form": "yolov3",
    "anchors": [[[81, 82], [135, 169], [344, 319]], [[10, 14], [23, 27], [37, 58]]],
    "strides": [32, 16],
    "size": [64, 64],
}


def network(epsilon, momentum, nested=False):
    """Return a small network with two kinds of normalisation."""
    entry = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 3, name="conv")(entry)
    x = keras.layers.BatchNormalization(epsilon=epsilon, momentum=momentum, name="norm")(x)
    x = keras.layers.LayerNormalization(epsilon=epsilon, name="layer_norm")(x)
    model = keras.Model(entry, x, name="inner")
    if not nested:
        return model
    outer = keras.Input((4, 4, 3))
    return keras.Model(outer, keras.layers.Flatten()(model(outer)), name="outer")


def test_normalisation_takes_over_its_epsilon_so_that_outputs_are_equal(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    for nested in (False, True):
        source, target = network(0.1, 0.99, nested), network(1e-5, 0.9, nested)
        copied, missing = transfer.transfer(source, target)
        assert len(copied) == 8 and not missing
        np.testing.assert_array_equal(target(x), source(x))
        target.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again(x), source(x))
        inner = again.get_layer("inner") if nested else again
        assert inner.get_layer("norm").momentum == 0.9


def test_epsilon_stays_where_no_weight_was_taken():
    target, entry = network(1e-5, 0.9), keras.Input((4, 4, 3))
    wide = keras.layers.Conv2D(5, 3, name="conv")(entry)
    source = keras.Model(entry, keras.layers.BatchNormalization(epsilon=0.1, name="norm")(wide))
    copied, missing = transfer.transfer(source, target)
    assert not copied and len(missing) == 8
    assert target.get_layer("norm").epsilon == 1e-5


def test_anchors_that_weights_were_not_trained_with_are_told():
    (message,) = transfer.notes("yolov3-tiny.weights", None, GRID, [])
    assert "--set anchors=..." in message
    assert str([[10, 14], [23, 27], [37, 58], [81, 82], [135, 169], [344, 319]]) in message
    assert "published yolov3-tiny.weights have [[23, 27], [37, 58], [81, 82], [81, 82]" in message
    published = {**GRID, "anchors": [transfer.TINY[3:], transfer.TINY[:3]]}
    assert "published" not in transfer.notes("yolov3-tiny.weights", None, published, [])[0]
    (message,) = transfer.notes("runs/a", published, GRID, [])
    assert message.startswith("runs/a: its weights were trained with the anchors [[23, 27]")
    assert transfer.notes("runs/a", GRID, GRID, []) == []
    assert transfer.notes("runs/a", published, GRID, ["coarse_raw/kernel"]) == []
    assert transfer.notes("darknet53.conv.74", None, None, []) == []
