"""Files of Keras 2, written by tf-keras, give the same outputs."""

import json
import pathlib
import re
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from zoo.weights import legacy, saving

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
# Models as tutorials build them: the inner ones are called, frozen, shared, or of free size.
MODELS = """
def norm(x, frozen=False):
    return L.BatchNormalization(trainable=not frozen)(L.Conv2D(3, 3, padding="same")(x))

def base(frozen=False):
    entry = K.Input((8, 8, 3))
    model = K.Model(entry, L.ReLU()(norm(norm(entry))), name="base")
    model.trainable = not frozen
    return model

def head(x):
    return L.Dense(2, activation="softmax")(L.Dropout(0.2)(L.GlobalAveragePooling2D()(x)))

def transfer(x):
    return head(base(frozen=True)(x / 127.5 - 1.0, training=False))

def tuned(x):
    inner = base()
    for layer in inner.layers[:3]:
        layer.trainable = False
    return head(inner(x))

def sequential(x):
    conv = L.Conv2D(3, 3, input_shape=(8, 8, 3), batch_input_shape=(None, 8, 8, 3))
    inner = K.Sequential([conv, L.BatchNormalization(), L.MaxPooling2D()], name="enc")
    return head(inner(K.Sequential([L.RandomFlip(), L.Rescaling(0.5)])(x)))

def shared(x):
    inner = base()
    return L.Concatenate()([head(inner(x)), head(inner(1.0 - x) + x)])

def ends_in_a_model(x):
    return K.Sequential([L.Conv2D(2, 3, input_shape=(8, 8, 3)), L.Flatten(), L.Dense(2)])(x)

def ends_in_a_functional_model(x):
    return base()(x)

def seq2seq(x):
    steps = L.Reshape((8, 24))(x)
    _, *state = L.LSTM(4, return_state=True)(steps)
    return L.Dense(2)(L.LSTM(4)(steps, initial_state=state))

def attention(x):
    steps = L.Reshape((8, 24))(x)
    both = L.Bidirectional(L.GRU(3, return_sequences=True))(steps)
    return L.MultiHeadAttention(2, 4)(both, value=L.LayerNormalization()(steps))

def distributed(x):
    entry = K.Input((8, 3))
    inner = K.Model(entry, L.Dense(2)(L.Flatten()(entry)))
    return L.TimeDistributed(inner)(x)

def half(x):
    K.mixed_precision.set_global_policy("mixed_float16")
    y = L.Activation("softmax", dtype="float32")(L.Dense(2)(L.Flatten()(norm(x))))
    K.mixed_precision.set_global_policy("float32")
    return y
"""
NAMES = re.findall(r"^def (\w+)\(x\):", MODELS, re.M)
EARLY = ["sequential", "shared", "attention"]
WRITE = """
import json, sys
import numpy as np, tf_keras as K
from tf_keras import layers as L
exec(sys.argv[3])
K.utils.set_random_seed(0)
layers = {name: (s, eval("L." + layer)) for name, (s, layer) in json.loads(sys.argv[1]).items()}
models = {name: ((8, 8, 3), eval(name)) for name in sys.argv[4].split()}
made = {}
for name, (shape, function) in {**layers, **models}.items():
    entry = K.Input(shape)
    model = K.Model(entry, function(entry))
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign_add(np.abs(np.random.normal(0, 0.1, weight.shape)))
    x = np.random.normal(size=(2, *shape)).astype("float32")
    np.savez(f"{sys.argv[2]}/{name}.npz", x=x, y=model(x, training=False))
    for ending in ("h5", "keras")[: 1 + (name in models)]:
        model.save(f"{sys.argv[2]}/{name}.{ending}")
    made[name] = model

# As Keras 2.13 and 2.14 did it: attributes in the order of `dir`, this one among them.
from tf_keras.src.saving import saving_lib
saving_lib.ATTR_SKIPLIST -= {"_layer_checkpoint_dependencies"}
saving_lib._walk_trackable = lambda trackable: [
    (name, getattr(trackable, name)) for name in dir(trackable)
    if not name.startswith("__") and name not in saving_lib.ATTR_SKIPLIST
    and hasattr(trackable, name)
]
for name in sys.argv[5].split():
    made[name].save(f"{sys.argv[2]}/{name}-2.13.keras")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    pytest.importorskip("tf_keras")
    folder = tmp_path_factory.mktemp("legacy")
    names = [" ".join(names) for names in (NAMES, EARLY)]
    words = [sys.executable, "-c", WRITE, json.dumps(LAYERS), folder, MODELS, *names]
    subprocess.run(words, check=True, capture_output=True)
    return folder


FILES = [f"{name}.h5" for name in LAYERS if name != "hard"]
FILES += [f"{name}.{ending}" for name in NAMES for ending in ("h5", "keras")]
FILES += [f"{name}-2.13.keras" for name in EARLY]


@pytest.mark.parametrize("file", FILES)
def test_a_model_gives_the_outputs_that_it_gave_in_keras_2(written, tmp_path, file):
    model = saving.load(written / file)
    known = np.load(written / f"{re.split('[-.]', file)[0]}.npz")
    outputs = model(known["x"], training=False)
    assert outputs.shape == known["y"].shape
    np.testing.assert_allclose(outputs, known["y"], rtol=1e-5, atol=1e-5)
    if pathlib.Path(file).stem in LAYERS:
        saving.save(model, tmp_path / "model.keras", {})
        again = saving.load(tmp_path / "model.keras")
        assert {type(layer).__module__.split(".")[0] for layer in again.layers} == {"keras"}
        np.testing.assert_array_equal(again(known["x"], training=False), outputs)


def test_what_keras_3_cannot_do_is_said():
    config = {"class_name": "LSTM", "config": {"units": 3, "time_major": True}}
    with pytest.raises(ValueError, match="LSTM has time_major=True, not supported by Keras 3"):
        legacy.translated(config)
    config = {"class_name": "Conv2DTranspose", "config": {"filters": 4, "groups": 2}}
    with pytest.raises(ValueError, match="Conv2DTranspose has groups=2"):
        legacy.translated({"class_name": "TimeDistributed", "config": {"layer": config}})


def test_links_that_make_no_sense_are_one_line(tmp_path):
    config = {"class_name": "Functional", "config": {"name": "m", "layers": []}}
    dense = {"class_name": "Dense", "name": "d", "config": {"units": 1, "name": "d"}}
    for calls in ([[["x"]]], [[7]], [[["d", 0, 0, 3]]], {"a": 1}, "abc"):
        config["config"]["layers"] = [{**dense, "inbound_nodes": calls}]
        with h5py.File(tmp_path / "odd.h5", "w") as file:
            file.attrs["model_config"] = json.dumps(config)
        with pytest.raises(ValueError, match=r"odd.h5: [^\n]+\.$"):
            saving.load(tmp_path / "odd.h5")


def test_what_keras_3_computes_differently_is_refused(written):
    with pytest.raises(ValueError, match="hard.h5: .* recurrent_activation='hard_sigmoid', which"):
        saving.load(written / "hard.h5")


def test_files_that_keras_3_wrote_itself_are_read_as_they_are(tmp_path):
    inner = keras.Sequential([keras.Input((12, 4)), keras.layers.Dense(3, "hard_sigmoid")])
    entry = keras.Input((12, 4))
    model = keras.Model(entry, keras.layers.Bidirectional(keras.layers.GRU(2))(inner(entry)))
    model.save(tmp_path / "of_keras_3.h5")
    x = np.ones((2, 12, 4), "float32")
    np.testing.assert_array_equal(saving.load(tmp_path / "of_keras_3.h5")(x), model(x))


def test_arguments_that_a_layer_takes_stay_as_they_are():
    layer = keras.layers.Conv2D(4, 3, groups=2, trainable=False, kernel_initializer="zeros")
    assert legacy.arguments_of(keras.layers.Conv2D, layer.get_config()) == layer.get_config()


def test_layers_that_keras_2_13_counted_by_twos_come_in_their_order(tmp_path):
    numbers = {"conv2d": 0, "conv2d_2": 1, "conv2d_10": 2, "dense": 3, "functional/X/dense_2": 4}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for name, value in numbers.items():
            file[f"X/{name}/vars/0".replace("X", legacy.EARLIER)] = value
        legacy.renumber(file)
        names = "conv2d", "conv2d_1", "conv2d_2", "dense", "functional/layers/dense"
        assert [file[f"layers/{name}/vars/0"][()] for name in names] == [0, 1, 2, 3, 4]
