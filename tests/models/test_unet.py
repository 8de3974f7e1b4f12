"""Properties of U-Net (Ronneberger et al. 2015) and of encoders."""

import keras
import numpy as np
import pytest
from conftest import trainable

import zoo
from zoo.inference import export
from zoo.nn import encoders
from zoo.nn.layers import BilinearUpSampling, CropLike
from zoo.training.finetuning.transfer import transfer
from zoo.weights import saving
from zoo.weights.initial import without_weights

NARROW = dict(width=0.0625, dropout=0.0)


def images(*shape, seed=0):
    """Return random images in [0, 1]."""
    return np.random.default_rng(seed).uniform(size=shape).astype("float32")


@pytest.fixture(autouse=True)
def cleared():
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()


@pytest.mark.parametrize(("channels", "classes", "count"), [(1, 2, 31_030_658), (3, 1, 31_031_745)])
def test_published_counts(channels, classes, count):
    build = lambda: trainable(zoo.create("unet", (None, None, channels), classes))  # noqa: E731
    assert without_weights(build) == count


def test_figure_1():
    model = without_weights(lambda: zoo.create("unet", (572, 572, 1), 2, padding="valid"))
    ends = ["down1_conv2", "down2_conv2", "down3_conv2", "down4_conv2", "down5_conv2"]
    ends += ["up4_up", "up4_join", "up4_conv2", "up3_conv2", "up2_conv2", "up1_conv2", "logits"]
    assert [tuple(model.get_layer(name).output.shape[1:]) for name in ends] == [
        (568, 568, 64),
        (280, 280, 128),
        (136, 136, 256),
        (64, 64, 512),
        (28, 28, 1024),
        (56, 56, 512),
        (56, 56, 1024),
        (52, 52, 512),
        (100, 100, 256),
        (196, 196, 128),
        (388, 388, 64),
        (388, 388, 2),
    ]
    join = model.get_layer("up4_join")
    assert join.input[1] is model.get_layer("up4_up").output, "the skip comes first"
    rates = {x.name: x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)}
    assert rates == {"down4_dropout": 0.5, "down5_dropout": 0.5}


@pytest.mark.parametrize("up", ["transpose", "bilinear"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_any_size_is_kept(up, batch_norm):
    model = zoo.create("unet", (None, None, 2), 3, up=up, batch_norm=batch_norm, **NARROW)
    for size in [(37, 53), (1, 1), (64, 17), (16, 32)]:
        assert model(images(2, *size, 2)).shape == (2, *size, 3)
    fixed = zoo.create("unet", (37, 53, 2), 3, up=up, batch_norm=batch_norm, **NARROW)
    assert fixed.output.shape == (None, 37, 53, 3)
    fixed.set_weights(model.get_weights())
    x = images(1, 37, 53, 2)
    np.testing.assert_allclose(fixed(x), model(x), rtol=1e-5, atol=1e-5)


def test_maps_are_cropped_only_where_sizes_differ_or_are_unknown():
    def crops(*size):
        model = zoo.create("unet", (*size, 1), 2, **NARROW)
        return [layer.name for layer in model.layers if isinstance(layer, CropLike)]

    assert crops(64, 32) == []
    assert crops(64, 36) == ["up4_crop", "up3_crop"]
    assert crops(None, None) == ["up4_crop", "up3_crop", "up2_crop", "up1_crop"]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_unpadded_sizes_fit_or_are_refused_with_the_nearest(depth):
    def output(size):
        return zoo.create("unet", (size, size, 1), 2, depth=depth, padding="valid", width=1 / 64)

    def halves(size):
        """Return whether the size is even at every pooling, with at least one pixel left."""
        levels = []
        for _ in range(depth):
            levels.append(size - 4)
            if (size - 4) % 2 or size <= 4:
                return False
            size = (size - 4) // 2
        size -= 4
        for skip in reversed(levels):
            if size <= 0:
                return False
            assert (skip - 2 * size) % 2 == 0
            size = 2 * size - 4
        return size > 0

    fitting = [size for size in range(1, 260) if halves(size)]
    for size in [*fitting[:2], fitting[-1]]:
        assert output(size).output.shape[1] == size - 12 * 2**depth + 8
    for size in set(range(fitting[0] - 20, fitting[0] + 2**depth + 1)) - set(fitting):
        with pytest.raises(ValueError, match=f"not {size}:") as error:
            output(size)
        near = [n for n in fitting[:3] if abs(n - size) < 2**depth] or fitting[:1]
        assert f"choose {' or '.join(map(str, near))}, or" in str(error.value)


def test_unpadded_refusal_names_the_rule():
    with pytest.raises(ValueError, match="multiple of 16 plus 12 and at least 188, not 512") as e:
        zoo.create("unet", (572, 512, 1), 2, padding="valid")
    assert "508 or 524" in str(e.value)
    with pytest.raises(ValueError, match="fixed height and width.*--set margin=92"):
        zoo.create("unet", (572, None, 1), 2, padding="valid")


def test_unpadded_output_equals_the_inside_of_the_padded_one():
    options = dict(depth=1, **NARROW)  # deeper, the two pool pixels of other pairs
    valid = zoo.create("unet", (92, 76, 1), 2, padding="valid", **options)
    same = zoo.create("unet", (None, None, 1), 2, **options)
    same.set_weights(valid.get_weights())
    x, lost = images(1, 92, 76, 1), 6 * 2 - 4
    x[:, :, :40] = 0  # so that a crop off the centre cannot pass
    cropped, full = valid(x), same(x)
    assert cropped.shape == (1, 92 - 2 * lost, 76 - 2 * lost, 2)
    np.testing.assert_allclose(cropped, full[:, lost:-lost, lost:-lost], rtol=1e-4, atol=1e-5)


def test_moving_the_image_by_16_pixels_moves_the_labels():
    model = zoo.create("unet", (None, None, 1), 2, **NARROW)
    x = images(1, 320, 48, 1)
    moved = np.roll(x, 16, axis=1)
    inner = slice(136, -120)  # 92 pixels are seen to each side, 16 rolled round
    before = keras.ops.convert_to_numpy(model(x))[:, 120:-136]
    np.testing.assert_allclose(model(moved)[:, inner], before, rtol=1e-4, atol=1e-5)
    moved = np.roll(x, 8, axis=1)
    assert np.abs(model(moved)[:, 128:-128] - before).max() > 1e-3, "no effect"


def test_contradictions_are_refused():
    create = lambda **options: zoo.create("unet", (None, None, 3), 2, **options)  # noqa: E731
    with pytest.raises(ValueError, match="not 'nearest'"):
        create(up="nearest")
    with pytest.raises(ValueError, match="name the encoder"):
        create(encoder_weights="imagenet")
    with pytest.raises(ValueError, match="encoder vgg is padded"):
        create(encoder="vgg", padding="valid")
    with pytest.raises(ValueError, match="pointnet cannot be an encoder.*resnet, vgg"):
        create(encoder="pointnet")
    with pytest.raises(ValueError, match="did you mean vgg"):
        create(encoder="vgg16")
    with pytest.raises(ValueError, match="not 12"):
        create(encoder="vgg", encoder_depth=12)


def test_up_sampling_is_bilinear_for_any_size():
    for size in [(5, 8), (1, 3)]:
        x = images(2, *size, 3)
        sizes = [2 * side for side in size]
        expected = keras.ops.image.resize(x, sizes, interpolation="bilinear")
        np.testing.assert_allclose(BilinearUpSampling()(x), expected, rtol=1e-5, atol=1e-6)
    assert BilinearUpSampling()(keras.Input((None, 8, 3))).shape == (None, None, 16, 3)


def test_crop_like_starts_at_an_offset_or_in_the_centre():
    x, like = images(1, 9, 8, 2), images(1, 4, 5, 1)
    np.testing.assert_array_equal(CropLike(2)([x, like]), x[:, 2:6, 2:7])
    np.testing.assert_array_equal(CropLike(None)([x, like]), x[:, 2:6, 1:6])
    tensors = [keras.Input((None, 8, 2)), keras.Input((4, None, 1))]
    assert CropLike()(tensors).shape == (None, 4, None, 2)


@pytest.mark.parametrize("options", [{}, {"up": "bilinear"}, {"encoder": "vgg"}])
def test_free_sizes_are_exported_and_load_back(options, tmp_path):
    model = zoo.create("unet", (None, None, 3), 2, **NARROW, **options)
    saving.save(model, tmp_path / "model.keras", {})
    again, x = saving.load(tmp_path / "model.keras"), images(1, 37, 53, 3)
    np.testing.assert_array_equal(again(x), model(x))
    assert export.export(again, tmp_path / "model.onnx", "onnx") <= 1e-4
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    outputs = session.run(None, {session.get_inputs()[0].name: x})[0]
    np.testing.assert_allclose(outputs, model(x), rtol=1e-3, atol=1e-4)


def test_encoder_takes_the_place_of_the_contracting_path():
    model = zoo.create("unet", (None, None, 3), 2, encoder="vgg", encoder_depth=11, **NARROW)
    names = [layer.name for layer in model.layers]
    assert "block5_conv2" in names and "block5_conv3" not in names
    assert not [name for name in names if name.startswith("down1")]
    widths = [model.get_layer(f"up{level}_conv2").filters for level in (4, 3, 2, 1)]
    assert widths == [32, 16, 8, 4]
    joined = [model.get_layer(f"up{level}_join").output.shape[-1] for level in (4, 3, 2, 1)]
    assert joined == [32 + 32, 16 + 16, 8 + 8, 4 + 4]
    for size in [(37, 53), (1, 1)]:
        assert model(images(1, *size, 3)).shape == (1, *size, 2)


def test_encoder_without_some_strides_is_brought_to_full_size(monkeypatch):
    def features(x, *, width):
        maps = {}
        for stride in (2, 4, 8):
            x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)
            maps[stride] = x
        del maps[4]
        return maps

    monkeypatch.setattr(encoders, "features", lambda name, weights: features)
    model = zoo.create("unet", (None, None, 3), 2, encoder="other", **NARROW)
    joins = [layer.name for layer in model.layers if layer.name.endswith("join")]
    assert joins == ["up2_join"]
    for size in [(37, 53), (3, 9), (64, 64)]:
        assert model(images(1, *size, 3)).shape == (1, *size, 2)


def test_encoder_weights_of_a_trained_classifier(tmp_path):
    vgg = zoo.create("vgg", (32, 32, 3), 7, depth=13, width=0.0625, batch_norm=True)
    for weight in vgg.weights:
        weight.assign(weight + 0.25)
    saving.save(vgg, tmp_path / "model.keras", {})
    options = dict(encoder="vgg", encoder_depth=13, encoder_weights=tmp_path, **NARROW)
    model = zoo.create("unet", (32, 32, 3), 2, batch_norm=True, **options)
    x = images(1, 32, 32, 3)
    expected = keras.Model(vgg.input, vgg.get_layer("block5_conv2_relu").output)(x)
    features = keras.Model(model.input, model.get_layer("block5_conv2_relu").output)(x)
    np.testing.assert_allclose(features, expected, rtol=1e-5)
    assert all(layer.trainable for layer in model.layers)
    for wrong in [dict(width=0.125), dict(batch_norm=False), dict(encoder_depth=16)]:
        with pytest.raises(ValueError, match="of the encoder vgg, or one of another shape"):
            zoo.create("unet", (32, 32, 3), 2, **{**options, "batch_norm": True, **wrong})
    with pytest.raises(ValueError, match="block1_conv1"):
        zoo.create("unet", (32, 32, 1), 2, batch_norm=True, **options)
    with pytest.raises(ValueError, match="no such preset, file or folder"):
        zoo.create("unet", (32, 32, 3), 2, encoder="vgg", encoder_weights=tmp_path / "none.keras")


def test_encoder_weights_of_imagenet(monkeypatch):
    with pytest.raises(ValueError, match="3 channels, red, green and blue, not of 1"):
        zoo.create("unet", (32, 32, 1), 2, encoder="vgg", encoder_weights="imagenet")
    source = keras.applications.VGG19(weights=None, include_top=False)
    asked = []

    def fetch(**options):
        asked.append(options)
        if len(asked) > 1:
            raise OSError("no route to host\nand much more")
        return source

    monkeypatch.setattr(encoders.home("vgg"), "applications", fetch)
    options = dict(encoder="vgg", encoder_depth=19, encoder_weights="imagenet", batch_norm=True)
    model = zoo.create("unet", (32, 32, 3), 2, dropout=0.0, **options)
    assert asked == [{"depth": 19}]
    x = images(1, 32, 32, 3)
    prepared = keras.applications.vgg19.preprocess_input(255 * x)
    expected = keras.Model(source.input, source.get_layer("block5_conv4").output)(prepared)
    features = keras.Model(model.input, model.get_layer("block5_conv4").output)(x)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"vgg cannot be downloaded \(no route to host\)"):
        zoo.create("unet", (32, 32, 3), 2, **options)


def test_other_classes_change_the_head_alone():
    old, new = (zoo.create("unet", (None, None, 1), k, **NARROW) for k in (2, 5))
    assert transfer(old, new)[1] == ["logits/kernel", "logits/bias"]
