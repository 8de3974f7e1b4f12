"""Output activations are read from the graph, and converted to logits or refused."""

import types

import keras
import numpy as np
import pytest
from ensemble_members import record
from keras import layers, ops

import ensembles
from ensembles.members import cache, checks, graph, opening
from zoo.weights import saving

X = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype(np.float32)


def net(ending, units=3, flat=True):
    """Build a model of images (4, 4, 1) whose last convolution has an activation."""
    entry = keras.Input((4, 4, 1))
    y = layers.Conv2D(units, 3, padding="same", activation=ending, name="last")(entry)
    return keras.Model(entry, layers.GlobalAveragePooling2D()(y) if flat else y)


def behind(*steps, ending="softmax", units=3):
    """Return a model of maps with layers or operations after its last convolution."""
    model = net(ending, units, flat=False)
    y = model.output
    for step in steps:
        y = step(y)
    return keras.Model(model.input, y)


def nested(ending="softmax", units=3):
    """Return a model that calls another, whose last layer is a Sequential."""
    inner = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(units, 1, activation=ending)])
    entry = keras.Input((4, 4, 1))
    middle = keras.Model(entry, inner(layers.Conv2D(2, 1)(entry)))
    outer = keras.Input((4, 4, 1))
    return keras.Model(outer, layers.Dropout(0.5)(middle(outer)))


def average(*endings, units=3):
    """Return the average of models."""
    entry = keras.Input((4, 4, 1))
    return keras.Model(entry, layers.Average()([net(ending, units)(entry) for ending in endings]))


PROBABILITIES = {
    "dropout": lambda: behind(layers.Dropout(0.5), layers.GaussianNoise(0.1)),
    "linear activation": lambda: behind(layers.Activation("linear")),
    "reshape": lambda: behind(layers.Reshape((16, 3)), layers.Reshape((2, 8, 3))),
    "permute": lambda: behind(layers.Permute((2, 1, 3))),
    "cropping": lambda: behind(layers.Cropping2D(1)),
    "identity": lambda: behind(layers.Softmax(), layers.Identity(), ending=None),
    "softmax of a map": lambda: behind(
        layers.Activation("softmax"), layers.Reshape((16, 3)), ending=None
    ),
    "operation": lambda: behind(ops.softmax, layers.Dropout(0.5), ending=None),
    "scaled by 1": lambda: behind(layers.Rescaling(1.0)),
    "resizing": lambda: behind(layers.Resizing(6, 6)),
    "upsampling": lambda: behind(layers.UpSampling2D(interpolation="bilinear")),
    "pooling": lambda: behind(layers.AveragePooling2D(2), layers.GlobalAveragePooling2D()),
    "each step": lambda: behind(
        layers.Reshape((16, 3)),
        layers.TimeDistributed(layers.Dense(2, activation="softmax")),
        ending=None,
    ),
    "nested": lambda: nested(),
    "average": lambda: average("softmax", "softmax"),
}
ONE = {  # of one class
    "dropout": lambda: behind(layers.Dropout(0.5), ending="sigmoid", units=1),
    "resizing": lambda: behind(layers.Resizing(6, 6), ending="sigmoid", units=1),
    "nested": lambda: nested("sigmoid", 1),
    "average": lambda: average("sigmoid", "sigmoid", units=1),
    "operation": lambda: behind(ops.sigmoid, layers.Cropping2D(1), ending=None, units=1),
}


def logits(model):
    """Return the logits of the converted model, and the outputs of the model itself."""
    wanted = ops.convert_to_numpy(model(X))
    return ops.convert_to_numpy(graph.in_logits(model, "m.keras")(X)), wanted


@pytest.mark.parametrize("name", PROBABILITIES)
def test_probabilities_are_found_behind_what_keeps_them(name):
    model = PROBABILITIES[name]()
    assert graph.kind_of(model, "m.keras") == "softmax"
    result, wanted = logits(model)
    np.testing.assert_allclose(wanted.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(ops.softmax(result), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ONE)
def test_one_sigmoid_is_found_behind_what_keeps_it(name):
    model = ONE[name]()
    assert graph.kind_of(model, "m.keras") == "sigmoid"
    result, wanted = logits(model)
    np.testing.assert_allclose(ops.sigmoid(result), wanted, atol=1e-5)


LINEAR = {
    "plain": lambda: net(None, flat=False),
    "scaled": lambda: behind(layers.Rescaling(0.5, 1), ending=None),
    "resizing": lambda: behind(layers.Resizing(6, 6), ending=None),
    "softmax inside": lambda: behind(layers.Conv2D(3, 1)),
    "log_softmax": lambda: behind(ops.log_softmax, ending=None),
    "log of softmax": lambda: behind(ops.log),
    "average": lambda: average(None, None),
    "nested": lambda: nested(None),
}


@pytest.mark.parametrize("name", LINEAR)
def test_logits_are_left_as_they_are(name):
    model = LINEAR[name]()
    assert graph.kind_of(model, "m.keras") == "linear"
    assert graph.in_logits(model, "m.keras") is model


def merged(layer):
    """Return a model whose softmax is combined with itself by a layer."""
    model = net("softmax")
    return keras.Model(model.input, layer([model.output, model.output]))


REFUSED = {
    "Maximum": lambda: merged(layers.Maximum()),
    "Multiply": lambda: merged(layers.Multiply()),
    "Concatenate": lambda: merged(layers.Concatenate()),
    "Add": lambda: merged(layers.Add()),
    "softmax and linear|linear and softmax": lambda: average("softmax", None),
    "Rescaling": lambda: behind(layers.Rescaling(2.0, -1.0), ending="sigmoid", units=1),
    "Permute .*moves the classes": lambda: behind(layers.Permute((3, 1, 2))),
    "Flatten .*moves the classes": lambda: behind(layers.Flatten()),
    "Reshape .*moves the classes": lambda: behind(layers.Reshape((3, 16))),
    "ZeroPadding2D": lambda: behind(layers.ZeroPadding2D(1)),
    "Resizing": lambda: behind(layers.Resizing(6, 6, interpolation="bicubic")),
    "GetItem": lambda: behind(lambda y: y[..., :2]),
    "Subtract": lambda: behind(lambda y: 1 - y, ending="sigmoid", units=1),
    "over axis 1": lambda: behind(layers.Softmax(axis=1), ending=None),
    "ends in relu": lambda: behind(layers.ReLU(), ending=None),
    "ends in tanh": lambda: behind(layers.Dropout(0.5), ending="tanh"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_neither_is_refused_with_the_reason(why):
    with pytest.raises(ValueError, match=rf"m\.keras: .*{why}"):
        graph.kind_of(REFUSED[why](), "m.keras")


def test_a_gate_of_logits_is_no_ending():
    entry = keras.Input((4, 4, 1))
    gate = layers.Conv2D(3, 1, activation="sigmoid")(entry)
    model = keras.Model(entry, layers.Multiply()([layers.Conv2D(3, 1)(entry), gate]))
    assert graph.kind_of(model, "m.keras") == "linear"


def test_several_sigmoids_are_normalized():
    result, wanted = logits(behind(layers.GlobalAveragePooling2D(), ending="sigmoid"))
    wanted = wanted / wanted.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(ops.softmax(result), wanted, atol=1e-5)


def member(name, ending, units):
    """Return a member that is not read from a file."""
    shapes = {"input_shape": (4, 4, 1), "output_shape": (4, 4, units)}
    more = {"layer": "", "path": None, "sha256": "", "record": {}, "parameters": 0}
    return opening.Member(name=name, ending=ending, **shapes, **more)


@pytest.mark.parametrize("ending, units", [("softmax", 2), ("linear", 2), ("sigmoid", 1)])
def test_several_sigmoids_go_with_no_other_ending(ending, units):
    many = [member("many", "sigmoid", 2), member("more", "sigmoid", 2)]
    assert checks.check(many).units == 2
    with pytest.raises(ValueError, match="many and other cannot be .*2 sigmoids"):
        checks.check([*many, member("other", ending, units)])


def test_an_average_of_probabilities_averages_like_its_members(tmp_path):
    """The saved mean of two models, combined with both, has the same probabilities."""
    entry, parts = keras.Input((4, 4, 1)), [net("softmax"), net("softmax")]
    mean = keras.Model(entry, layers.Average()([part(entry) for part in parts]))
    for name, model in {"a": parts[0], "b": parts[1], "mean": mean}.items():
        model.save(tmp_path / f"{name}.keras")
    paths = [tmp_path / f"{name}.keras" for name in ("a", "b", "mean")]
    result = ensembles.average(paths)(X)
    np.testing.assert_allclose(ops.softmax(result), mean(X), atol=1e-5)


def test_members_that_return_no_numbers_are_named(tmp_path):
    model = net("softmax")
    model.save(tmp_path / "good.keras")
    entry = keras.Input((4, 4, 1))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1)(ops.log(entry)))
    keras.Model(entry, y).save(tmp_path / "of_log.keras")  # NaN for what is below 0
    model.get_layer("last").bias.assign([np.nan, 0, 0])
    model.save(tmp_path / "bad.keras")
    with pytest.raises(ValueError, match=r"bad\.keras: its weights last/bias contain NaN"):
        opening.open([tmp_path / "good.keras", tmp_path / "bad.keras"])
    info = {"classes": ["a", "b", "c"]}
    paths = [tmp_path / "good.keras", tmp_path / "of_log.keras"]
    with pytest.raises(ValueError, match=r"of_log: it returns NaN .* for 5 of 5 examples"):
        ensembles.stack(paths, X, np.arange(5) % 3, info=info)


def test_probabilities_of_a_linear_ending_are_noticed_on_data(tmp_path):
    entry = keras.Input((4, 4, 1))
    y = ops.exp(ops.log_softmax(layers.Conv2D(3, 1)(entry)))
    keras.Model(entry, layers.GlobalAveragePooling2D()(y)).save(tmp_path / "odd.keras")
    opened = opening.open([tmp_path / "odd.keras"])
    common = checks.check(opened)
    with pytest.raises(ValueError, match="odd: .*its outputs are probabilities"):
        checks.verify(opened, cache.outputs(opened, common, cache.Examples(X, X)), common)


def test_forecasts_keep_the_activation_at_their_end(tmp_path):
    entry = keras.Input((4, 1))
    y = layers.Dense(2, activation="relu")(layers.Flatten()(entry))
    model = keras.Model(entry, layers.Reshape((2, 1))(y))
    info = {"classes": [], "columns": ["a"], "targets": 1, "mean": [0.0], "deviation": [1.0]}
    saving.save(model, tmp_path / "f.keras", record("forecasting", info=info))
    opened = opening.open([tmp_path / "f.keras"])
    loaded = opened[0].load(checks.check(opened))
    np.testing.assert_allclose(loaded(X[:, 0]), model(X[:, 0]))


def test_a_model_whose_output_is_a_list_of_one_is_resized_and_made_of_one_logit():
    """Functional files of Keras 2 load so."""
    plain = net(None, units=2, flat=False)
    model = keras.Model(plain.inputs, plain.outputs)
    task = types.SimpleNamespace(values=False)
    common = types.SimpleNamespace(input_shape=(8, 8, 1), units=1, task=task)
    adapted = opening.adapted(model, common, member("old", "linear", 2))
    assert adapted(np.zeros((2, 8, 8, 1))).shape == (2, 8, 8, 1)
