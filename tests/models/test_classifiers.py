"""The classifiers' own facts: published numbers of parameters, and what no other network has."""

import keras
import numpy as np
import pytest
from conftest import trainable
from keras import ops

import zoo
from zoo import registry
from zoo.models.classification import alexnet, lenet, mlp, mobilenet, resnet, vit
from zoo.nn import blocks
from zoo.nn.layers import LocalResponseNormalization
from zoo.nn.losses import OneVersusAll
from zoo.weights.initial import without_weights

IMAGENET = dict(input_shape=(224, 224, 3), num_classes=1000)
CIFAR = dict(input_shape=(32, 32, 3), num_classes=10)


@pytest.mark.parametrize(
    ("name", "arguments", "parameters"),
    [
        ("alexnet", {**IMAGENET, "groups": 1}, 62_378_344),
        ("alexnet", {**IMAGENET, "form": "tower"}, 61_100_840),
        ("cnn", dict(input_shape=(28, 28, 1), num_classes=10, form="mnist"), 105_506),
        ("cnn", dict(input_shape=(32, 32, 3), num_classes=3, dropout=True), 20_163),
        ("googlenet", {**IMAGENET, "auxiliary": True}, 13_004_888),
        ("googlenet", {**IMAGENET, "batch_norm": False, "kernel": 5}, 6_998_552),
        ("lenet", dict(input_shape=(32, 32, 1), num_classes=10, form="printed"), 60_000),
        ("vgg", {**IMAGENET, "depth": 11, "lrn": True}, 132_863_336),
        ("vgg", {**IMAGENET, "pointwise": True}, 133_638_952),
        ("vgg", {**IMAGENET, "input_shape": (96, 96, 3), "pool": 7}, 138_357_544),
        ("resnet", {**IMAGENET, "depth": 18}, 11_689_512),
        ("resnet", {**IMAGENET, "depth": 34}, 21_797_672),
        ("resnet", {**IMAGENET, "depth": 101}, 44_549_160),
        ("resnet", {**IMAGENET, "depth": 152}, 60_192_808),
        ("resnet", {**IMAGENET, "form": "keras"}, 25_557_032),
        # Keras' 25,568,360 without the biases of shortcuts and of the last layer of each block.
        ("resnet", {**IMAGENET, "form": "keras", "version": 2}, 25_568_360 - 3_840 - 15_104),
        ("resnet", {**CIFAR, "depth": 20}, 269_722),
        ("resnet", {**CIFAR, "depth": 32}, 464_154),
        ("resnet", {**CIFAR, "depth": 44}, 658_586),
        ("resnet", {**CIFAR, "depth": 56}, 853_018),
        ("resnet", {**CIFAR, "depth": 20, "shortcut": "projection"}, 271_824 + 650),
        ("vit", {**IMAGENET, "size": "Ti"}, 5_717_416),
        ("vit", {**IMAGENET, "size": "S"}, 22_050_664),
        ("vit", {**IMAGENET, "size": "L"}, 304_326_632),
    ],
)
def test_published_number_of_parameters(name, arguments, parameters):
    builder = registry.get(name).builder
    assert without_weights(lambda: trainable(builder(**arguments))) == parameters


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("alexnet", {"form": "wide"}, "form is"),
        ("cnn", {"form": "imagenet"}, "form is"),
        ("cnn", {"pool": "sum"}, "pool is"),
        ("googlenet", {"depth": 23}, "depth is 4 and 2"),
        ("googlenet", {"depth": 10, "auxiliary": True}, "depth of 12 or more, not 10"),
        ("lenet", {"form": "old"}, "form is"),
        ("resnet", {"depth": 19}, "ResNet has depth 18, 20"),
        ("resnet", {"version": 3}, "version is 1 or 2"),
        ("resnet", {"shortcut": "none"}, "shortcut is"),
        ("resnet", {"form": "jax"}, 'form is "torch" or "keras"'),
        ("resnet", {"form": "keras", "depth": 18}, "depth 50, 101 or 152"),
        ("resnet", {"pixel_mean": (0.5,)}, "pixel_mean is .0.5,., and the images have 3 channels"),
        ("resnet", {"pixel_std": (0.5, 0.5, 0.0)}, "pixel_std is .* must be above 0"),
        ("mobilenet", {"form": "jax"}, 'form is "torch" or "keras"'),
        ("vit", {"size": "XL"}, "size is Ti, S, B, L"),
        ("vit", {"patch": 10}, "not made of patches of 10"),
    ],
)
def test_options_that_do_not_exist_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        registry.get(name).builder((64, 64, 3), 10, **options)


def test_a_map_of_c3_sees_only_its_maps_of_s2():
    layer = lenet.PartialConv2D(lenet.SEEN, 5)
    x = np.random.default_rng(0).normal(size=(1, 14, 14, 6)).astype("float32")
    before = ops.convert_to_numpy(layer(x))
    for channel in range(6):
        changed = x.copy()
        changed[..., channel] += 1
        seen = np.abs(ops.convert_to_numpy(layer(changed)) - before).max(axis=(0, 1, 2)) > 1e-6
        assert [*seen] == [channel in maps for maps in lenet.SEEN]


def test_a_partial_convolution_that_sees_all_is_a_convolution():
    layer, full = lenet.PartialConv2D([range(3)] * 4, 5), keras.layers.Conv2D(4, 5)
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype("float32")
    expected, _ = full(x), layer(x)
    kernel = ops.convert_to_numpy(full.kernel)  # (5, 5, C, maps)
    layer.kernel.assign(kernel.transpose(0, 1, 3, 2).reshape(5, 5, 12))
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_lenet_as_printed_ends_in_distances_to_codes():
    layer = lenet.CodeDistance(5)
    x = np.random.default_rng(0).normal(size=(3, 84)).astype("float32")
    distances = ops.convert_to_numpy(layer(x))
    codes = ops.convert_to_numpy(layer.codes)
    assert set(codes.ravel()) == {-1.0, 1.0} and not layer.trainable_weights
    expected = -((x[:, None] - codes) ** 2).sum(axis=-1)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert ops.convert_to_numpy(layer(codes)).argmax(axis=1).tolist() == [*range(5)]


def test_local_response_normalization_divides_by_neighbouring_maps():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 7)).astype("float32")
    expected = np.empty_like(x)
    for i in range(7):
        total = (x[..., max(0, i - 2) : i + 3] ** 2).sum(axis=-1)
        expected[..., i] = x[..., i] / (2 + 0.5 * total) ** 0.75
    layer = LocalResponseNormalization(alpha=0.5)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)


def test_alexnets_groups_see_half_of_the_channels():
    x = keras.Input((27, 27, 8))
    model = keras.Model(x, alexnet.conv(x, 6, 5, 2, "conv", 1))
    image = np.random.default_rng(0).normal(size=(1, 27, 27, 8)).astype("float32")
    changed = image + np.float32([0, 0, 0, 0, 1, 1, 1, 1])
    change = np.abs(model.predict_on_batch(changed) - model.predict_on_batch(image)).max((0, 1, 2))
    assert (change[:3] == 0).all() and (change[3:] > 0).all()


def test_a_shortcut_of_zeros_takes_every_second_pixel():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 4)).astype("float32")
    y = resnet.reduced(keras.KerasTensor((1, 6, 6, 4)), keras.KerasTensor((1, 3, 3, 8)), 2, "a")
    assert y.shape == (1, 3, 3, 8)
    entry = keras.Input((6, 6, 4))
    model = keras.Model(entry, resnet.reduced(entry, keras.KerasTensor((None, 3, 3, 8)), 2, "a"))
    out = model.predict_on_batch(x)
    np.testing.assert_array_equal(out[..., 2:6], x[:, ::2, ::2])
    assert (out[..., :2] == 0).all() and (out[..., 6:] == 0).all()


@pytest.mark.parametrize("version", [1, 2])
def test_a_resnet_whose_branches_are_zero_hands_its_stem_on(version):
    entry = keras.Input((8, 8, 3))
    maps = resnet.features(entry, depth=20, version=version)
    model = keras.Model(entry, [model_stem(maps), maps[1]])
    for layer in model.layers:
        if "block" in layer.name and layer.name.endswith("_conv"):
            layer.kernel.assign(ops.zeros_like(layer.kernel))
    stem, first = model.predict_on_batch(np.random.default_rng(0).normal(size=(2, 8, 8, 3)))
    np.testing.assert_allclose(first, stem, atol=1e-6)


@pytest.mark.parametrize(("depth", "version"), [(18, 1), (18, 2), (50, 1), (50, 2)])
def test_every_second_pixel_of_a_dilated_stage_is_that_of_the_strided_one(depth, version):
    entry, style = keras.Input((45, 64, 3)), dict(depth=depth, version=version, width=0.0625)
    strided = keras.Model(entry, resnet.features(entry, **style)[32])
    maps = resnet.features(entry, output_stride=8, **style)
    assert [*maps] == [4, 8]
    dilated = keras.Model(entry, maps[8])
    dilated.set_weights(strided.get_weights())
    x = np.random.default_rng(0).normal(size=(2, 45, 64, 3)).astype("float32")
    expected, out = (ops.convert_to_numpy(model(x)) for model in (strided, dilated))
    assert expected.shape[1:3] == (2, 2) and out.shape[1:3] == (6, 8)
    np.testing.assert_allclose(out[:, ::4, ::4], expected, atol=1e-5 * expected.max())


def test_googlenets_heads_need_a_size_and_follow_the_modules_of_the_paper():
    build = registry.get("googlenet").builder
    for size in ((None, None, 3), (16, 16, 3)):
        with pytest.raises(ValueError, match="fixed height and width above 16 pixels"):
            build(size, 10, auxiliary=True, width=0.125)
    model = without_weights(lambda: build((224, 224, 3), 10, auxiliary=True))
    assert model.weights_of_heads == [0.3, 0.3]
    assert model.get_layer("auxiliary_4a_pool").input.shape[1:] == (14, 14, 512)
    assert model.get_layer("auxiliary_4d_pool").input.shape[1:] == (14, 14, 528)


def model_stem(maps):
    """Return the output of the stem that a ResNet's maps were made from."""
    whole = keras.Model(keras.utils.get_source_inputs(maps[1]), maps[1])
    return whole.get_layer("stem").output


def test_drop_connect_drops_weights_in_training_alone():
    layer = mlp.DropConnect(64, rate=0.5, use_bias=False, seed=0)
    x = np.eye(256, dtype="float32")
    plain = ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(plain, ops.convert_to_numpy(layer.kernel), rtol=1e-6)
    dropped = ops.convert_to_numpy(layer(x, training=True))
    kept = dropped != 0
    assert 0.48 < kept.mean() < 0.52
    np.testing.assert_allclose(dropped[kept], 2 * plain[kept], rtol=1e-5)
    with pytest.raises(ValueError, match="is 1.5, and must be from 0 to below 1"):
        mlp.DropConnect(64, rate=1.5)


def test_channels_of_mobilenet_are_rounded_like_the_authors():
    widths = {16: 8, 24: 16, 32: 16, 64: 32, 96: 48, 160: 80, 320: 160, 1280: 640}
    assert {n: mobilenet.rounded(0.5 * n) for n in widths} == widths
    assert mobilenet.rounded(3) == 8 and mobilenet.rounded(0.35 * 24) == 8


def test_positions_of_vit_are_interpolated_for_other_sizes():
    same, other = vit.Tokens(grid=4), vit.Tokens(grid=4)
    x = np.zeros((2, 4, 4, 8), "float32")
    tokens = ops.convert_to_numpy(same(x))
    np.testing.assert_allclose(tokens[0, 1:], ops.convert_to_numpy(same.positions)[0, 1:])
    other.build((None, 6, 8, 8))
    smooth = np.linspace(0, 1, 4)[:, None, None] * np.ones((4, 4, 8))
    other.positions.assign(np.concatenate([np.zeros((1, 8)), smooth.reshape(16, 8)])[None])
    larger = ops.convert_to_numpy(other(np.zeros((1, 6, 8, 8), "float32")))[0, 1:]
    rows = larger.reshape(6, 8, 8)[:, 0, 0]
    assert (np.diff(rows) > 0).all() and rows.mean() == pytest.approx(0.5, abs=1e-5)


def test_one_versus_all_is_a_sigmoid_for_each_class():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    p = 1 / (1 + np.exp(-logits))
    truth = np.eye(3)[labels]
    expected = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).sum(axis=1).mean()
    assert float(OneVersusAll()(labels, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("version", [1, 2])
def test_a_resnet_in_the_form_of_keras_has_the_maps_of_every_stride(version):
    style = dict(depth=50, width=1 / 16, form="keras", version=version)
    maps = without_weights(lambda: resnet.features(keras.Input((64, 64, 3)), **style))
    assert {stride: x.shape[1:] for stride, x in maps.items()} == {
        4: (16, 16, 16),
        8: (8, 8, 32),
        16: (4, 4, 64),
        32: (2, 2, 128),
    }
    with pytest.raises(ValueError, match="no dilation"):
        resnet.features(keras.Input((64, 64, 3)), output_stride=8, **style)


def test_pixels_are_standardized_in_float32():
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    entry = keras.Input((4, 4, 3))
    model = keras.Model(entry, blocks.standardized(entry, mean, std))
    x = np.random.default_rng(0).uniform(size=(1, 4, 4, 3)).astype("float32")
    np.testing.assert_allclose(model(x), (x - mean) / std, rtol=1e-5, atol=1e-6)
    assert blocks.standardized(entry, None, None) is entry


SMALL = ("alexnet", "cnn", "lenet", "multiscale_cnn", "multicolumn_dnn")


@pytest.mark.parametrize("name", SMALL)
def test_maps_of_small_classifiers_can_be_embedded_but_not_segmented(name):
    options = {} if name in ("cnn", "lenet") else {"width": 0.1}
    model = zoo.create("siamese", (64, 64, 3), encoder=name, **options)
    assert model(np.zeros((2, 64, 64, 3), np.float32)).shape == (2, 64)
    if name == "cnn":  # its maps lie on the image
        return
    for size in (64, None):
        with pytest.raises(ValueError, match="convolutions without padding"):
            zoo.create("unet", (size, size, 3), 2, encoder=name, **options)


def test_a_detector_needs_maps_of_three_strides():
    with pytest.raises(ValueError, match="vit has maps of stride 16 alone, and yolov3 needs three"):
        zoo.create("yolov3", (64, 64, 3), 2, backbone="vit")
