"""Facts of the recurrent networks: their published equations step by step, padding, directions."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import JAX

import zoo
from zoo.inference import export
from zoo.models.sequence.jordan import JordanCell
from zoo.models.sequence.peephole_lstm import PeepholeLSTMCell
from zoo.nn import layers, recurrence
from zoo.nn.layers import PADDING, Dropout
from zoo.weights import saving

NAMES = ["bilstm", "elman", "gru", "jordan", "lstm", "peephole_lstm"]
DIRECTED = ["elman", "gru", "lstm", "peephole_lstm"]  # whose second direction is an option
STEPS = ["last", "mean", "all"]
# Every network in all its forms.
FORMS = [(name, {}) for name in NAMES] + [(name, {"bidirectional": True}) for name in DIRECTED]
IDS = [name + ("_both_ways" if options else "") for name, options in FORMS]

each_model = pytest.mark.parametrize("name", NAMES)
form = pytest.mark.parametrize(("name", "options"), FORMS, ids=IDS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def elman(x, units, w, u, b):
    h, out = np.zeros((len(x), units)), []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ w + h @ u + b)
        out.append(h)
    return np.stack(out, axis=1)


def jordan(x, units, w, u, b, v, c, decay=0.0):
    y = s = np.zeros((len(x), len(c)))
    out = []
    for t in range(x.shape[1]):
        s = decay * s + y
        y = np.tanh(x[:, t] @ w + s @ u + b) @ v + c
        out.append(y)
    return np.stack(out, axis=1)


def lstm(x, units, w, u, b, p=None):
    p = np.zeros((3, units)) if p is None else p
    w, u, b = np.split(w, 4, axis=1), np.split(u, 4, axis=1), np.split(b, 4)
    h, c, out = np.zeros((len(x), units)), np.zeros((len(x), units)), []
    for t in range(x.shape[1]):
        i = sigmoid(x[:, t] @ w[0] + h @ u[0] + p[0] * c + b[0])
        f = sigmoid(x[:, t] @ w[1] + h @ u[1] + p[1] * c + b[1])
        c = f * c + i * np.tanh(x[:, t] @ w[2] + h @ u[2] + b[2])
        o = sigmoid(x[:, t] @ w[3] + h @ u[3] + p[2] * c + b[3])
        h = o * np.tanh(c)
        out.append(h)
    return np.stack(out, axis=1)


def gru(x, units, w, u, both):
    w, u = np.split(w, 3, axis=1), np.split(u, 3, axis=1)
    b, d = (np.split(bias, 3) for bias in both)
    h, out = np.zeros((len(x), units)), []
    for t in range(x.shape[1]):
        z = sigmoid(x[:, t] @ w[0] + b[0] + h @ u[0] + d[0])
        r = sigmoid(x[:, t] @ w[1] + b[1] + h @ u[1] + d[1])
        g = np.tanh(x[:, t] @ w[2] + b[2] + r * (h @ u[2] + d[2]))
        h = z * h + (1 - z) * g
        out.append(h)
    return np.stack(out, axis=1)


RECURRENCES = dict(bilstm=lstm, elman=elman, gru=gru, jordan=jordan, lstm=lstm, peephole_lstm=lstm)


def by_hand(model, recurrence, x, steps, **options):
    """Evaluate a recurrent network from its weights, in float64."""
    x = x.astype(np.float64)
    for layer in [layer for layer in model.layers if layer.name in ("layer_1", "layer_2")]:
        if isinstance(layer, keras.layers.Bidirectional):
            ahead, back = layer.forward_layer, layer.backward_layer
            ahead = recurrence(x, ahead.cell.units, *ahead.get_weights(), **options)
            back = recurrence(x[:, ::-1], back.cell.units, *back.get_weights(), **options)
            last = np.concatenate([ahead[:, -1], back[:, -1]], axis=-1)
            x = np.concatenate([ahead, back[:, ::-1]], axis=-1)
        else:
            x = recurrence(x, layer.cell.units, *layer.get_weights(), **options)
            last = x[:, -1]
    x = {"last": last, "mean": x.mean(axis=1), "all": x}[steps]
    if "head" in [layer.name for layer in model.layers]:
        kernel, bias = model.get_layer("head").get_weights()
        x = x @ kernel + bias
    return x


def build(name, input_shape=(7, 3), output_shape=(2, 2), seed=0, **options):
    """Build a network with every weight off its start."""
    keras.utils.set_random_seed(seed)
    model = zoo.create(name, input_shape, output_shape, **{"units": 5, **options})
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(value + rng.uniform(-0.3, 0.3, value.shape).astype("float32"))
    return model


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def outputs(model, x, **options):
    return keras.ops.convert_to_numpy(model(x, **options))


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("steps", STEPS)
@form
def test_it_computes_the_published_equations(name, options, steps):
    model, x = build(name, layers=2, steps=steps, **options), draw(4, 7, 3)
    actual = outputs(model, x)
    assert actual.shape == ((4, 7, 2, 2) if steps == "all" else (4, 2, 2))
    close(actual, by_hand(model, RECURRENCES[name], x, steps).reshape(actual.shape))


@each_model
def test_one_layer_and_classes(name):
    model, x = build(name, (None, 3), (4,), layers=1), draw(4, 9, 3)
    expected = by_hand(model, RECURRENCES[name], x, "last")
    close(outputs(model, x), expected)


def test_jordans_answers_fade():
    model, x = build("jordan", decay=0.7, layers=2), draw(4, 7, 3)
    close(outputs(model, x), by_hand(model, jordan, x, "last", decay=0.7).reshape(4, 2, 2))
    undecayed = build("jordan", decay=0.0, layers=2)
    undecayed.set_weights(model.get_weights())
    assert np.abs(outputs(undecayed, x) - outputs(model, x)).max() > 1e-3


def test_elmans_units_can_be_logistic():
    model, x = build("elman", activation="sigmoid"), draw(4, 7, 3)
    w, u, b = model.get_layer("layer_1").get_weights()
    h = np.zeros((4, 5))
    for t in range(7):
        h = sigmoid(x[:, t] @ w + h @ u + b)
    kernel, bias = model.get_layer("head").get_weights()
    close(outputs(model, x), (h @ kernel + bias).reshape(4, 2, 2))


def test_peepholes_of_zero_make_it_an_lstm():
    lstm, peephole, x = build("lstm"), build("peephole_lstm"), draw(4, 7, 3)
    *weights, peepholes = peephole.get_layer("layer_1").get_weights()
    lstm.get_layer("layer_1").set_weights(weights)
    lstm.get_layer("head").set_weights(peephole.get_layer("head").get_weights())
    assert np.abs(outputs(lstm, x) - outputs(peephole, x)).max() > 1e-3
    peephole.get_layer("layer_1").set_weights([*weights, 0 * peepholes])
    close(outputs(peephole, x), outputs(lstm, x))


def test_counts_without_the_head():
    counts = dict(elman=1_376, gru=4_224, lstm=5_504, peephole_lstm=5_600)
    for name, count in counts.items():
        model = zoo.create(name, (100, 10), (1, 1))
        assert model.count_params() - model.get_layer("head").count_params() == count, name


@pytest.mark.parametrize("steps", ["last", "mean"])
@form
def test_padding_changes_nothing(name, options, steps):
    lengths = [3, 5, 1, 4]
    model = build(name, (None, 3), layers=2, steps=steps, masked=True, **options)
    series = [draw(n, 3, seed=n) for n in lengths]
    alone = np.concatenate([outputs(model, values[None]) for values in series])
    unmasked = build(name, (None, 3), layers=2, steps=steps, **options)
    close(alone[1], outputs(unmasked, series[1][None])[0])
    for longest in (5, 8):
        padded = np.full((4, longest, 3), PADDING, np.float32)
        for row, values in zip(padded, series, strict=True):
            row[: len(values)] = values
        close(outputs(model, padded), alone)
    assert np.abs(outputs(unmasked, padded) - alone).max() > 1e-2


def check_stacks_on_padded_series():
    """Compare stacks of two layers on padded series with unmasked ones on the series alone.

    No recurrent layer passes its mask on, as in Keras 3.16.
    """
    series = draw(1, 5, 3)
    padded = np.pad(series, ((0, 0), (0, 4), (0, 0)), constant_values=PADDING)
    never = property(lambda layer: False, lambda layer, value: None)
    with pytest.MonkeyPatch.context() as patch:
        for kind in (keras.layers.RNN, keras.layers.Bidirectional):
            patch.setattr(kind, "supports_masking", never)
        for name in ("lstm", "gru", "bilstm"):
            options = dict(input_shape=(None, 3), layers=2, steps="mean")
            model, unmasked = build(name, masked=True, **options), build(name, **options)
            close(model.predict_on_batch(padded), unmasked.predict_on_batch(series), 1e-6)


@pytest.mark.filterwarnings("ignore:.*destroy the mask")
def test_padding_changes_nothing_behind_two_layers():
    check_stacks_on_padded_series()


def test_padding_changes_nothing_behind_two_layers_on_jax():
    here = pathlib.Path(__file__).parent
    places = os.pathsep.join([str(here), str(here.parent)])
    settings = {**JAX, "PYTHONPATH": places}
    script = "import test_recurrent; test_recurrent.check_stacks_on_padded_series()"
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, **settings})


@pytest.mark.parametrize("patch", [1, 4])
def test_the_mask_of_series_is_that_of_what_the_network_sees(patch):
    x = np.full((2, 10, 3), PADDING, np.float32)
    x[0], x[1, :5, 1] = draw(10, 3), draw(5)
    mask = np.asarray(layers.PaddingMask(patch)(x))
    assert mask.dtype == bool
    expected = [[True] * 10, [True] * 5 + [False] * 5] if patch == 1 else [[True] * 3, [1, 1, 0]]
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(mask, layers.Patches(patch, masked=True).compute_mask(x, None))
    symbolic = layers.PaddingMask(patch)(keras.Input((10, 3)))
    assert (symbolic.shape, symbolic.dtype) == ((None, mask.shape[1]), "bool")


def test_a_model_of_keras_before_3_16_passes_masks_on(tmp_path):
    stack = [
        recurrence.LSTM(5, return_sequences=True),
        keras.layers.Bidirectional(recurrence.GRU(5)),
    ]
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.Masking(PADDING), *stack])
    x, path = draw(2, 7, 3), tmp_path / "model.keras"
    x[1, 4:] = PADDING
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras, "__version__", "3.15.1")
        saving.save(model, path, {})
    again = saving.load(path)
    assert all(layer.supports_masking for layer in recurrence.recurrent_layers(again))
    for model in (again, export.portable(again)):
        close(outputs(model, x)[1], outputs(model, x[1:, :4])[0])


def test_which_versions_of_keras_pass_masks_on():
    supported = [
        recurrence.keeps_masks(version) for version in ("", "2.15.0", "3.15.1", "3.16.0.dev1")
    ]
    assert supported == [False, False, False, True]


def test_the_mean_over_padding_alone_is_zero():
    x = np.full((2, 5, 3), PADDING, np.float32)
    x[0, :2] = draw(2, 3)
    model = build("gru", (None, 3), layers=1, steps="mean", masked=True)
    assert np.isfinite(outputs(model, x)).all()
    mask = np.array([[True, True, False, False, False], [False] * 5])
    actual = np.asarray(layers.MeanOfSteps()(x, mask=mask))
    close(actual, [x[0, :2].mean(axis=0), np.zeros(3)])


@each_model
def test_padding_has_no_part_in_the_loss_of_every_step(name):
    model = build(name, (None, 3), layers=1, steps="all", masked=True)
    x, y = draw(2, 6, 3), draw(2, 6, 2, 2, seed=1)
    x[1, 4:] = PADDING
    real = np.square(outputs(model, x) - y)
    loss = keras.losses.MeanSquaredError(reduction="sum")
    expected = real[0].mean(axis=-1).sum() + real[1, :4].mean(axis=-1).sum()
    close(float(loss(y, model(x))), expected)


@each_model
def test_padding_is_exact_in_half_precision(name):
    assert all(np.array(PADDING, kind) == PADDING for kind in ("float16", "int16"))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build(name, (None, 3), layers=2, steps="mean", masked=True)
    finally:
        keras.config.set_dtype_policy(before)
    x = draw(2, 8, 3)
    x[1, 5:] = PADDING
    actual = outputs(model, x)
    assert actual.dtype == np.float32
    close(actual[1], outputs(model, x[1:, :5])[0], 0.01)  # of bfloat16's 8 bits
    near = np.where(x == PADDING, np.float32(PADDING + 1), x)  # the same number in bfloat16
    assert np.abs(outputs(model, near)[1] - actual[1]).max() > 0.01


@form
def test_the_last_state_of_either_direction_has_seen_all(name, options):
    model, x = build(name, layers=1, **options), draw(1, 7, 3)
    both_ways = options or name == "bilstm"
    first, last = x.copy(), x.copy()
    first[0, 0] += 1
    last[0, -1] += 1
    for changed in (first, last):
        assert np.abs(outputs(model, changed) - outputs(model, x)).max() > 1e-5
    model = build(name, layers=1, steps="all", **options)
    difference = np.abs(outputs(model, last) - outputs(model, x)).max(axis=(0, 2, 3))
    assert (difference > 0).tolist() == [bool(both_ways)] * 6 + [True]


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
@each_model
def test_dropout_is_for_training_alone(name, option):
    plain = build(name, layers=2, dropout=0.0)
    model = build(name, layers=2, **{"dropout": 0.0, option: 0.5})
    for weight, source in zip(model.trainable_weights, plain.trainable_weights, strict=True):
        weight.assign(source)
    x = draw(4, 7, 3)
    close(outputs(model, x), outputs(plain, x), 1e-6)
    first, second = (outputs(model, x, training=True) for _ in range(2))
    assert np.abs(first - outputs(plain, x)).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3, "the same is dropped at every call"
    close(outputs(plain, x, training=True), outputs(plain, x), 1e-6)


def test_one_layer_has_no_dropout():
    model, x = build("lstm", layers=1, dropout=0.9), draw(4, 7, 3)
    close(outputs(model, x, training=True), outputs(model, x), 1e-6)


CELLS = {
    "jordan": lambda **options: JordanCell(5, 4, decay=0.5, **options),
    "peephole_lstm": lambda **options: PeepholeLSTMCell(5, **options),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout"])
def test_cells_drop_the_same_values_at_all_steps(name, option):
    cell = CELLS[name](**{option: 0.5})
    layer = keras.layers.RNN(cell, return_sequences=True)
    x = np.ones((64, 12, 3), "float32")
    layer.build(x.shape)
    for weight in layer.trainable_weights:  # each step's output depends on its own mask only
        start = {"kernel": 0.3, "recurrent_kernel": 0.2, "output_kernel": 0.3}.get(weight.name, 0)
        weight.assign(np.full(weight.shape, start, np.float32))
    y = keras.ops.convert_to_numpy(layer(x, training=True))[:, :, 0]
    rounded = {tuple(row) for row in np.round(y, 4)}
    possible = 4 if option == "dropout" else 5  # how many of the 3 inputs, or states, are left
    assert 1 < len(rounded) <= possible + 1


@pytest.mark.parametrize("name", CELLS)
def test_cells_keep_their_arguments(name):
    cell = CELLS[name](dropout=0.1, recurrent_dropout=0.2, seed=3)
    config = keras.saving.serialize_keras_object(cell)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(cell)
    assert again.get_config() == cell.get_config()
    assert (again.dropout, again.recurrent_dropout, again.seed) == (0.1, 0.2, 3)


@form
def test_saved_and_loaded_it_predicts_identically(name, options, tmp_path):
    model = build(name, (None, 3), layers=2, masked=True, recurrent_dropout=0.3, **options)
    saving.save(model, tmp_path / "model.keras", {})
    again = saving.load(tmp_path / "model.keras")
    x = draw(4, 7, 3)
    x[1, 4:] = PADDING
    np.testing.assert_array_equal(outputs(again, x), outputs(model, x))
    assert np.abs(outputs(again, x, training=True) - outputs(again, x)).max() > 1e-3


@form
def test_compiled_it_predicts_the_same(name, options):
    model, x = build(name, layers=2, masked=True, **options), draw(4, 7, 3)
    x[1, 4:] = PADDING
    model.compile(jit_compile=True)
    close(model.predict_on_batch(x), outputs(model, x))


@each_model
def test_what_it_refuses(name):
    with pytest.raises(ValueError, match="steps is last, mean or all, not 'first'"):
        zoo.create(name, (7, 3), (1, 1), steps="first")
    with pytest.raises(ValueError, match="1 layer or more, not 0"):
        zoo.create(name, (7, 3), (1, 1), layers=0)


# Keras' layers where there is no GPU: the zoo's own program for the LSTM


def gradients(layer, weights, x, states, jit):
    """Return outputs, and the gradients of a weighted sum of them by inputs, states and weights."""
    import tensorflow as tf

    @tf.function(jit_compile=jit)
    def run(x, *states):
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            result = layer(x, initial_state=list(states))
            score = tf.reduce_sum(result * weights)
        of = [x, *states, *(weight.value for weight in layer.trainable_weights)]
        return [result, *tape.gradient(score, of)]

    return [np.asarray(array) for array in run(*map(tf.constant, (x, *states)))]


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_our_lstm_and_its_gradient_are_those_of_keras(backwards, jit):
    options = dict(return_sequences=True, go_backwards=backwards)
    ours = recurrence.LSTM(5, **options)
    reference = keras.layers.LSTM(5, use_cudnn=False, **options)
    x, states, weights = draw(4, 7, 3), (draw(4, 5), draw(4, 5, seed=1)), draw(4, 7, 5)
    for layer in (ours, reference):
        layer.build(x.shape)
    reference.set_weights([draw(*weight.shape) for weight in reference.weights])
    ours.set_weights(reference.get_weights())
    actual = gradients(ours, weights, x, states, jit)
    assert len(actual) == 7
    for array, expected in zip(
        actual, gradients(reference, weights, x, states, False), strict=True
    ):
        assert np.ptp(expected) > 0.1
        close(array, expected)


@pytest.mark.parametrize(
    "options",
    [
        dict(return_state=True),
        dict(stateful=True),
        dict(activation="relu"),
        dict(recurrent_activation="hard_sigmoid"),
        dict(use_bias=False),
        dict(unroll=True),
    ],
)
def test_our_lstm_leaves_the_unusual_to_keras(options):
    x = draw(4, 7, 3)
    results = []
    for layer in (recurrence.LSTM(5, **options), keras.layers.LSTM(5, **options)):
        layer.build(x.shape)
        layer.set_weights([draw(*weight.shape) for weight in layer.weights])
        results.append([np.asarray(array) for array in keras.tree.flatten([layer(x), layer(x)])])
    for ours, reference in zip(*results, strict=True):
        close(ours, reference)


def test_cudnn_is_left_out_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    assert recurrence.cudnn() is False
    assert recurrence.LSTM(5).supports_jit and recurrence.GRU(5).supports_jit
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0", "cpu:0"])
    assert recurrence.cudnn() == "auto"
    assert recurrence.LSTM(5).use_cudnn == recurrence.GRU(5).use_cudnn == "auto"


@pytest.mark.parametrize("name", ["bilstm", "gru", "lstm"])
def test_its_exported_twin_is_of_keras_layers_without_cudnn(name, monkeypatch):
    monkeypatch.setattr(recurrence, "cudnn", lambda: "auto")
    model = build(name, layers=2)
    exported = export.portable(model)

    def kinds(model):
        layers = [layer for layer in model._flatten_layers() if hasattr(layer, "use_cudnn")]
        return {(type(layer).__module__.split(".")[0], layer.use_cudnn) for layer in layers}

    assert kinds(model) == {("zoo", "auto")} and kinds(exported) == {("keras", False)}
    close(outputs(exported, draw(4, 7, 3)), outputs(model, draw(4, 7, 3)))


def test_dropout_draws_the_same_with_and_without_xla():
    import tensorflow as tf

    x, results = draw(64, 50, 8), []
    for jit in (False, True):
        layer = Dropout(0.25, seed=3)
        layer.build(x.shape)
        run = tf.function(
            lambda x, layer=layer: layer(x, training=True),
            jit_compile=jit,
            input_signature=[tf.TensorSpec((None, 50, 8))],
        )
        results.append([run(x).numpy(), run(x).numpy()])
        np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(*results)
    first, second = results[0]
    nonzero = first != 0
    np.testing.assert_allclose(first[nonzero], x[nonzero] / 0.75, rtol=1e-6)
    assert (~nonzero).mean() == pytest.approx(0.25, abs=0.01)
    # Nothing in common with the next call, with a neighbour, or with the same place elsewhere
    expected = pytest.approx(0.25**2 + 0.75**2, abs=0.01)
    assert (nonzero == (second != 0)).mean() == expected
    for axis in range(3):
        assert (nonzero == np.roll(nonzero, 1, axis)).mean() == expected
    assert 0.1 < nonzero.mean(axis=0).min() < nonzero.mean(axis=0).max() < 1


def test_dropout_of_whole_rows_is_that_of_keras():
    rows = Dropout(0.5, noise_shape=(None, 1, 8), seed=3)(np.ones((64, 50, 8)), training=True)
    assert (np.ptp(np.asarray(rows), axis=1) == 0).all() and np.ptp(np.asarray(rows)) == 2


def test_hashes_are_those_of_murmur():
    def fmix32(x):
        x ^= x >> 16
        x = x * 0x85EBCA6B % 2**32
        x ^= x >> 13
        x = x * 0xC2B2AE35 % 2**32
        return x ^ x >> 16

    numbers = np.array([0, 1, 2, 12_345, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    hashes = keras.ops.convert_to_numpy(
        layers.hashed(keras.ops.cast(numbers.view(np.int32), "int32"))
    )
    assert hashes.view(np.uint32).tolist() == [fmix32(int(number)) for number in numbers]
