"""Properties of FCN (Long et al. 2015)."""

import keras
import numpy as np
import pytest
from conftest import trainable

import zoo
from zoo.inference import export
from zoo.nn import encoders
from zoo.nn.layers import Bilinear
from zoo.training.finetuning.transfer import transfer
from zoo.weights import saving
from zoo.weights.initial import without_weights

NARROW = dict(width=1 / 64, dropout=0.0)


def convolution(size, channels, filters):
    """Count the parameters of a convolution with biases."""
    return size * size * channels * filters + filters


@pytest.mark.parametrize(("stride", "width"), [(32, 0.25), (16, 0.25), (8, 1)])
def test_count_by_hand(stride, width):
    def build():
        model = zoo.create("fcn", (500, 500, 3), 21, stride=stride, width=width)
        return trainable(model), model.output.shape

    count, shape = without_weights(build)
    c = [int(width * n) for n in [64, 64, 128, 128, 256, 256, 256, *[512] * 6]]
    by_hand = sum(convolution(3, a, b) for a, b in zip([3, *c[:-1]], c, strict=True))
    hidden = int(width * 4096)
    by_hand += convolution(7, c[-1], hidden) + convolution(1, hidden, hidden)
    scored = {32: [hidden], 16: [hidden, c[9]], 8: [hidden, c[9], c[6]]}[stride]
    by_hand += sum(convolution(1, size, 21) for size in scored)
    by_hand += {32: 0, 16: 1, 8: 2}[stride] * 4 * 4 * 21 * 21
    assert count == by_hand
    assert shape == (None, 500, 500, 21)


def test_unknown_strides_and_narrow_borders_are_refused():
    with pytest.raises(ValueError, match="32, 16, 8, not 4"):
        zoo.create("fcn", (None, None, 3), 2, stride=4)
    with pytest.raises(ValueError, match="at least 97 pixels, not 96"):
        zoo.create("fcn", (None, None, 3), 2, border=96)
    model = zoo.create("fcn", (None, None, 3), 2, border=97, **NARROW)
    assert model(np.zeros((1, 1, 1, 3), "float32")).shape == (1, 1, 1, 2)


@pytest.mark.parametrize("border", [100, 0])
@pytest.mark.parametrize("stride", [32, 16, 8])
def test_any_size_is_kept(stride, border):
    model = zoo.create("fcn", (None, None, 3), 5, stride=stride, border=border, **NARROW)
    for size in [(37, 53), (1, 2), (64, 33)]:
        assert model(np.zeros((1, *size, 3), "float32")).shape == (1, *size, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "mobilenet"}, "encoder of FCN is vgg or resnet, not 'mobilenet'"),
        ({"encoder": "resnet", "stride": 16}, "stride 8 on ResNet, not 16"),
        ({"auxiliary": True}, 'auxiliary head is for encoder="resnet"'),
        ({"encoder": "resnet", "encoder_weights": "imagenet"}, "no ImageNet weights of resnet"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        zoo.create("fcn", (None, None, 3), 2, **options, **NARROW)


@pytest.mark.parametrize(("depth", "count"), [(50, 35_322_218), (101, 54_314_346)])
def test_published_count_on_resnet(depth, count):
    options = dict(encoder="resnet", encoder_depth=depth, auxiliary=True)
    build = lambda: zoo.create("fcn", (None, None, 3), 21, **options)  # noqa: E731
    assert without_weights(lambda: trainable(build())) == count
    model = without_weights(build)
    assert model.weights_of_heads == [0.5]
    rates = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.1}


def test_scores_on_resnet_are_interpolated_to_any_size():
    options = dict(encoder="resnet", encoder_depth=18, auxiliary=True, width=1 / 16)
    model = zoo.create("fcn", (None, None, 3), 3, **options)
    scores = keras.Model(model.input, model.get_layer("logits_score").output)
    for size in [(37, 53), (1, 2), (64, 33)]:
        x = np.random.default_rng(0).uniform(size=(2, *size, 3)).astype("float32")
        coarse = scores(x)
        assert coarse.shape == (2, *(-(-side // 8) for side in size), 3)
        expected = keras.ops.image.resize(coarse, size, interpolation="bilinear")
        largest = np.abs(expected).max()
        np.testing.assert_allclose(model(x), expected, atol=1e-5 * largest)
        assert [y.shape for y in model(x, training=True)] == [(2, *size, 3)] * 2


def test_a_trained_resnet_becomes_the_encoder(tmp_path):
    resnet = zoo.create("resnet", (32, 32, 3), 7, depth=18, width=1 / 16, epsilon=1e-3)
    saving.save(resnet, tmp_path / "resnet.keras", {})
    options = dict(encoder="resnet", encoder_depth=18, width=1 / 16)
    model = zoo.create("fcn", (32, 32, 3), 2, encoder_weights=tmp_path / "resnet.keras", **options)
    x = np.random.default_rng(0).uniform(size=(1, 32, 32, 3)).astype("float32")
    parts = [keras.Model(m.input, m.get_layer("stage4_block2").output) for m in (resnet, model)]
    expected, out = (keras.ops.convert_to_numpy(part(x)) for part in parts)
    np.testing.assert_allclose(out[:, ::4, ::4], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="has no weight for .* Set depth"):
        options["encoder_depth"] = 34
        zoo.create("fcn", (32, 32, 3), 2, encoder_weights=tmp_path / "resnet.keras", **options)


def test_sizes_of_the_authors_network():
    model = without_weights(lambda: zoo.create("fcn", (500, 500, 3), 21, **NARROW))
    sizes = {name: model.get_layer(name).output.shape[1] for name in ["border", "pool5", "fc6"]}
    assert sizes == {"border": 698, "pool5": 22, "fc6": 16}
    offsets = [model.get_layer(name).offset for name in ["crop16", "crop8", "logits"]]
    assert offsets == [5, 9, 31]
    build = lambda stride: zoo.create("fcn", (500, 500, 3), 21, stride=stride, **NARROW)  # noqa: E731
    ends = [without_weights(lambda s=s: build(s)) for s in (32, 16)]
    assert [end.get_layer("logits").offset for end in ends] == [19, 27]


def identity(model, through):
    """Pass the first channel unchanged through the network and one of the scores only."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and (
            not layer.name.startswith("score") or layer.name == through
        ):
            kernel = np.zeros(layer.kernel.shape, "float32")
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, 0, 0] = 1
            layer.set_weights([kernel, np.zeros(layer.bias.shape, "float32")])
    return model


@pytest.mark.parametrize("border", [100, 97, 0])
@pytest.mark.parametrize(
    ("stride", "through"),
    [
        (32, "score32"), (16, "score32"), (16, "score16"),
        (8, "score32"), (8, "score16"), (8, "score8"),
    ],
)  # fmt: skip
def test_scores_lie_where_their_fields_of_view_are(stride, through, border):
    size, edge = 192, 64
    model = zoo.create("fcn", (size, size, 1), 1, stride=stride, border=border, **NARROW)
    identity(model, through)
    ramp = np.broadcast_to(np.arange(1.0, size + 1), (size, size)).astype("float32")
    rising, falling = ramp, size + 1 - ramp
    down, across = (
        model(np.stack([rising, falling])[..., None]),
        model(np.stack([rising.T, falling.T])[..., None]),
    )
    for scores, expected in [(down, ramp), (across, ramp.T)]:
        scores = keras.ops.convert_to_numpy(scores)[..., 0]
        # Poolings pick the largest: a field's end where values rise, its start where they fall.
        middle = (scores[0] + size + 1 - scores[1]) / 2
        inner = slice(edge, -edge)
        np.testing.assert_allclose(middle[inner, inner], expected[inner, inner], atol=1e-3)


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_first_weights_interpolate_bilinearly_each_class_alone(factor):
    model = zoo.create("fcn", (None, None, 3), 3, stride=max(factor, 8), border=0, **NARROW)
    layer = model.get_layer("up8" if factor == 2 else "up")
    x = np.random.default_rng(0).normal(size=(1, 7, 9, 3)).astype("float32")
    size = (7 * factor, 9 * factor)
    expected = keras.ops.image.resize(x, size, interpolation="bilinear")
    inner = slice(factor, -factor)  # beyond the edge are zeros, not copies
    result = keras.ops.convert_to_numpy(layer(x))[:, inner, inner]
    np.testing.assert_allclose(result, expected[:, inner, inner], rtol=1e-4, atol=1e-5)


def test_bilinear_kernel_is_that_of_the_authors_program():
    tent = np.array([0.25, 0.75, 0.75, 0.25])
    kernel = keras.ops.convert_to_numpy(Bilinear()((4, 4, 2, 2)))
    np.testing.assert_allclose(kernel[:, :, 0, 0], np.outer(tent, tent))
    np.testing.assert_allclose(kernel[:, :, 1, 1], np.outer(tent, tent))
    assert not kernel[:, :, 0, 1].any() and not kernel[:, :, 1, 0].any()
    odd = keras.ops.convert_to_numpy(Bilinear()((3, 3, 1, 1)))
    np.testing.assert_allclose(odd[:, :, 0, 0], np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]))


def test_only_the_last_up_sampling_is_fixed_and_scores_start_at_zero():
    model = zoo.create("fcn", (None, None, 3), 3, **NARROW)
    up = {layer.name: layer.trainable for layer in model.layers if layer.name.startswith("up")}
    assert up == {"up16": True, "up8": True, "up": False}
    assert not np.any(model(np.ones((1, 40, 40, 3), "float32")))


def test_the_authors_border_is_exported_and_loads_back(tmp_path):
    model = zoo.create("fcn", (None, None, 3), 3, **NARROW)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + rng.uniform(0, 0.1, weight.shape).astype("float32"))
    saving.save(model, tmp_path / "model.keras", {})
    again = saving.load(tmp_path / "model.keras")
    assert not again.get_layer("up").trainable
    export.export(again, tmp_path / "model.onnx", "onnx")  # raises if an output differs


def test_a_finer_network_starts_from_a_coarser_one():
    coarse, fine = (zoo.create("fcn", (None, None, 3), 3, stride=s, **NARROW) for s in (32, 16))
    _, fresh = transfer(coarse, fine)
    assert set(fresh) == {"up16/kernel", "score16/kernel", "score16/bias", "up/kernel"}


def trained(folder, size):
    """Save a narrow VGG for images of a size as a trained classifier."""
    vgg = zoo.create("vgg", (size, size, 3), 7, width=1 / 64)
    saving.save(vgg, folder / "vgg.keras", {})
    return vgg


@pytest.mark.parametrize("size", [224, 32])
def test_a_classifier_becomes_convolutional(tmp_path, size):
    vgg = trained(tmp_path, size)
    model = zoo.create(
        "fcn", (size, size, 3), 7, border=0, encoder_weights=tmp_path / "vgg.keras", **NARROW
    )
    x = np.random.default_rng(0).uniform(size=(1, size, size, 3)).astype("float32")
    known = keras.Model(vgg.input, vgg.get_layer("block5_pool").output)
    ours = keras.Model(model.input, model.get_layer("pool5").output)
    np.testing.assert_allclose(ours(x), known(x), rtol=1e-5, atol=1e-5)
    dense = keras.Model(vgg.input, vgg.get_layer("fc2").output)(x)
    convolved = keras.Model(model.input, model.get_layer("fc7").output)(x)
    centre = keras.ops.convert_to_numpy(convolved)[0, size // 64, size // 64]
    same = np.allclose(centre, dense[0], rtol=1e-4, atol=1e-5)
    assert same == (size == 224), "fc6 sees 7 x 7 places, those of an image of 224 pixels"


def test_imagenet_weights_get_the_top_and_their_own_preprocessing(monkeypatch):
    with pytest.raises(ValueError, match="3 channels, red, green and blue, not of 1"):
        zoo.create("fcn", (None, None, 1), 2, encoder_weights="imagenet", **NARROW)
    asked = []

    def fake(**options):
        asked.append(options)
        return zoo.create("vgg", (224, 224, 3), 7, width=1 / 64)

    monkeypatch.setattr(encoders.home("vgg"), "applications", fake)
    model = zoo.create("fcn", (None, None, 3), 2, encoder_weights="imagenet", **NARROW)
    assert asked == [{"top": True, "depth": 16}]
    names = [layer.name for layer in model.layers]
    assert names.index("imagenet") < names.index("border"), "the border is 0 as the network sees it"
