"""Monte Carlo dropout: dropout alone is active, and passes differ by it."""

import keras
import numpy as np
import pytest

from ensembles.members import cache, dropout


def network(rate, normalized=False):
    """Return a model with dropout, inside an inner model too, and examples."""
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dropout(rate)], name="inner")
    x = entry = keras.Input((6,))
    if normalized:
        x = keras.layers.BatchNormalization()(x)
    x = inner(x)
    model = keras.Model(entry, keras.layers.Dense(2, use_bias=False)(x))
    x = np.random.default_rng(0).normal(3, 2, (40, 6)).astype(np.float32)
    return model, cache.Examples(x, np.zeros(40))


def test_passes_differ_and_their_mean_is_the_prediction():
    keras.utils.set_random_seed(0)
    model, data = network(0.5)
    plain = model.predict(data.x, verbose=0)
    outputs = dropout.passes(dropout.active(model, "m"), data, 400, 16)
    assert len(outputs) == 400 and outputs[0].shape == (40, 2)
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1
    error = np.std(outputs, axis=0) / np.sqrt(400)
    assert (np.abs(np.mean(outputs, axis=0) - plain) < 5 * error).all()
    np.testing.assert_array_equal(model.predict(data.x, verbose=0), plain)


def test_batch_normalization_predicts_as_before():
    model, data = network(1e-9, normalized=True)
    plain = model.predict(data.x, verbose=0)
    (output,) = dropout.passes(dropout.active(model, "m"), data, 1, 16)
    np.testing.assert_allclose(output, plain, rtol=1e-4, atol=1e-5)


def test_a_member_without_dropout_is_refused():
    model, _ = network(0.0)
    with pytest.raises(ValueError, match="m has no active dropout"):
        dropout.active(model, "m")
