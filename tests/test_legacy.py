"""Files of Keras 2, written by tf-keras, give the outputs that they gave there."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from zoo import legacy, saving

LAYERS = {  # name: (shape of the input, the layer)
    "conv1d": ((12, 4), "Conv1D(4, 3)"),
    "conv1d_transpose": ((12, 4), "Conv1DTranspose(4, 3)"),
    "conv2d_transpose": ((16, 16, 3), "Conv2DTranspose(4, 2, strides=2)"),
    "conv3d_transpose": ((6, 6, 6, 2), "Conv3DTranspose(4, 3)"),
    "depthwise_conv2d": ((16, 16, 3), "DepthwiseConv2D(3)"),
    "separable_conv1d": ((12, 4), "SeparableConv1D(4, 3)"),
    "separable_conv2d": ((16, 16, 3), "SeparableConv2D(4, 3)"),
    "simple_rnn": ((12, 4), "SimpleRNN(4)"),
    "lstm": ((12, 4), "LSTM(4, return_sequences=True)"),
    "gru": ((12, 4), "GRU(4)"),
    "bidirectional_lstm": ((12, 4), "Bidirectional(L.LSTM(4))"),
    "time_distributed": ((12, 4, 2), "TimeDistributed(L.Conv1DTranspose(3, 2))"),
    "conv_lstm": ((3, 8, 8, 2), "ConvLSTM2D(4, 3, recurrent_activation='sigmoid')"),
    "hard": ((12, 4), "LSTM(4, recurrent_activation='hard_sigmoid')"),
    "batch_normalization": ((16, 16, 3), "BatchNormalization()"),
    "dropout": ((12, 4), "Dropout(0.2)"),
    "spatial_dropout": ((16, 16, 3), "SpatialDropout2D(0.2)"),
    "random_rotation": ((16, 16, 3), "RandomRotation(0.1)"),
    "prelu": ((16, 16, 3), "PReLU()"),
    "leaky_relu": ((16, 16, 3), "LeakyReLU(0.1)"),
    "swish": ((16, 16, 3), "Activation('swish')"),
    "up_sampling": ((16, 16, 3), "UpSampling2D(interpolation='bilinear')"),
}
WRITE = """
import json, sys
import numpy as np, tf_keras
from tf_keras import layers as L
tf_keras.utils.set_random_seed(0)
for name, (shape, layer) in json.loads(sys.argv[1]).items():
    entry = tf_keras.Input(shape)
    model = tf_keras.Model(entry, eval("L." + layer)(entry))
    for weight in model.trainable_variables:
        weight.assign_add(np.random.normal(0, 0.1, weight.shape))
    x = np.random.normal(size=(2, *shape)).astype("float32")
    model.save(f"{sys.argv[2]}/{name}.h5")
    np.savez(f"{sys.argv[2]}/{name}.npz", x=x, y=model(x, training=False))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("legacy")
    words = [sys.executable, "-c", WRITE, json.dumps(LAYERS), str(folder)]
    subprocess.run(words, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "hard"])
def test_a_layer_gives_the_outputs_that_it_gave_in_keras_2(written, tmp_path, name):
    model = saving.load(written / f"{name}.h5")
    known = np.load(written / f"{name}.npz")
    outputs = model(known["x"], training=False)
    np.testing.assert_allclose(outputs, known["y"], rtol=1e-5, atol=1e-5)
    saving.save(model, tmp_path / "model.keras", {})
    again = saving.load(tmp_path / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in again.layers} == {"keras"}
    np.testing.assert_array_equal(again(known["x"], training=False), outputs)


def test_what_keras_3_cannot_do_is_said():
    with pytest.raises(ValueError, match="LSTM has time_major=True, which Keras 3 cannot do"):
        legacy.translated(keras.layers.LSTM, {"units": 3, "time_major": True})
    with pytest.raises(ValueError, match="Conv2DTranspose has groups=2"):
        legacy.readers()["Conv2DTranspose"].from_config({"filters": 4, "groups": 2})


def test_what_keras_3_computes_differently_is_refused(written):
    with pytest.raises(ValueError, match="hard.h5: .* recurrent_activation='hard_sigmoid', which"):
        saving.load(written / "hard.h5")


def test_files_that_keras_3_wrote_itself_are_read_as_they_are(tmp_path):
    model = keras.Sequential([keras.Input((12, 4)), keras.layers.Dense(3, "hard_sigmoid")])
    model.save(tmp_path / "of_keras_3.h5")
    x = np.ones((2, 12, 4), "float32")
    np.testing.assert_array_equal(saving.load(tmp_path / "of_keras_3.h5")(x), model(x))


def test_arguments_that_a_layer_takes_stay_as_they_are():
    layer = keras.layers.Conv2D(4, 3, groups=2, trainable=False, kernel_initializer="zeros")
    assert legacy.translated(keras.layers.Conv2D, layer.get_config()) == layer.get_config()
