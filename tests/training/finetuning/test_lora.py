"""Low-rank adaptation: what is trained, and that the merged model gives the same outputs."""

import keras
import numpy as np
import pytest

from zoo.training.finetuning import freezing, lora


def network():
    """Return a network with a layer of each kind that can be adapted."""
    entry = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(entry)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Reshape((16, 4))(x)
    x = keras.layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(5, "relu", name="hidden")(x)
    return keras.Model(entry, keras.layers.Dense(3, name="logits")(x), name="net")


def test_only_low_rank_updates_and_fresh_layers_train_and_merge_into_plain_ones():
    model = network()
    names = {v.path: np.array(v) for v in model.weights}
    transferred = [path for path in names if "logits" not in path]
    merged = lora.adapt(model, 2, transferred)
    trained, total = freezing.counts(model)
    assert {v.path.split("/")[-1] for v in model.trainable_variables} == {
        "lora_kernel_a", "lora_kernel_b", "kernel", "bias"
    }  # fmt: skip
    assert {v.path for v in model.trainable_variables if "lora" not in v.path} == {
        "logits/kernel", "logits/bias"
    }  # fmt: skip
    x = np.random.default_rng(0).normal(size=(16, 6, 6, 3)).astype("float32")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, np.arange(16) % 3, 8, epochs=3, verbose=0)
    merged(model)  # each epoch that is the best so far is saved
    plain = merged(model)
    np.testing.assert_allclose(plain(x), model(x), atol=1e-5)
    assert "lora_rank': 2" not in str(keras.saving.serialize_keras_object(plain))
    for variable in plain.weights:
        if variable.path in ("norm/moving_mean", "conv/bias"):
            np.testing.assert_array_equal(variable, names[variable.path])
    difference = np.array(plain.get_layer("hidden").kernel) - names["hidden/kernel"]
    assert np.linalg.matrix_rank(difference, tol=1e-6) <= 2 and np.abs(difference).max() > 0


def test_without_a_layer_to_adapt_it_is_refused():
    entry = keras.Input((4,))
    x = keras.layers.BatchNormalization(name="norm")(entry)
    model = keras.Model(entry, keras.layers.Dense(2, name="logits")(x), name="net")
    paths = [v.path for v in model.weights if "norm" in v.path]
    with pytest.raises(ValueError, match="no transferred layer"):
        lora.adapt(model, 2, paths)
