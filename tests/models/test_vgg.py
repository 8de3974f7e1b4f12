"""Properties of VGG (Simonyan & Zisserman 2015)."""

import keras
import numpy as np
import pytest
from conftest import trainable

import zoo
from zoo.models.classification import vgg
from zoo.weights.initial import without_weights


@pytest.fixture(autouse=True)
def cleared():
    yield
    keras.backend.clear_session()


COUNTS = {11: 132_863_336, 13: 133_047_848, 16: 138_357_544, 19: 143_667_240}


@pytest.mark.parametrize(("depth", "count"), COUNTS.items())
def test_count_of_each_column_of_table_2(depth, count):
    build = lambda: trainable(zoo.create("vgg", (224, 224, 3), 1000, depth=depth))  # noqa: E731
    assert without_weights(build) == count


def test_paper_counts_in_millions_are_those_of_table_2():
    assert [round(count / 1e6) for count in COUNTS.values()] == [133, 133, 138, 144]


def test_depth_counts_layers_with_weights_and_unknown_ones_are_refused():
    for depth in COUNTS:
        build = lambda depth=depth: zoo.create("vgg", (32, 32, 3), 4, depth=depth)  # noqa: E731
        model = without_weights(build)
        kinds = (keras.layers.Conv2D, keras.layers.Dense)
        assert sum(isinstance(layer, kinds) for layer in model.layers) == depth
    with pytest.raises(ValueError, match="11, 13, 16, 19, not 12"):
        zoo.create("vgg", (32, 32, 3), 4, depth=12)


def test_batch_norm_adds_two_vectors_for_each_bias_it_takes():
    plain, normed = (
        zoo.create("vgg", (32, 32, 3), 4, width=0.0625, batch_norm=on) for on in (False, True)
    )
    channels = sum(layer.filters for layer in plain.layers if hasattr(layer, "filters"))
    assert trainable(normed) - trainable(plain) == channels


@pytest.mark.parametrize(("depth", "builder"), [(16, "VGG16"), (19, "VGG19")])
def test_weights_of_keras_applications_give_equal_outputs(depth, builder):
    keras.utils.set_random_seed(0)
    application = getattr(keras.applications, builder)(
        weights=None, input_shape=(32, 32, 3), classes=10
    )
    model = zoo.create("vgg", (32, 32, 3), 10, depth=depth)
    ours = [layer.name for layer in model.layers if layer.weights]
    assert ours == [layer.name for layer in application.layers if layer.weights][:-1] + ["logits"]
    for weight, copy in zip(application.weights, model.weights, strict=True):
        weight.assign(1.4 * weight)
        copy.assign(weight)
    # With values up to 255 some random weights predict one class for every image.
    x = np.random.default_rng(0).uniform(0, 10, (3, 32, 32, 3)).astype("float32")
    probabilities = keras.ops.softmax(model(x))
    np.testing.assert_allclose(probabilities, application(x), rtol=1e-4, atol=1e-6)
    assert np.ptp(probabilities, axis=0).max() > 1e-3, "all predictions are equal"


def test_imagenet_preprocessing_is_that_of_keras_applications(tmp_path):
    image = keras.Input((None, None, 3))
    keras.Model(image, vgg.imagenet(image)).save(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(size=(2, 5, 7, 3)).astype("float32")
    expected = keras.applications.vgg16.preprocess_input(255 * x)
    outputs = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)(x)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-4)


def test_features_are_the_last_maps_before_each_pooling_which_rounds_up():
    image = keras.Input((37, 53, 3))
    maps = vgg.features(image, depth=19, width=0.125)
    shapes = {stride: tuple(tensor.shape[1:]) for stride, tensor in maps.items()}
    assert shapes == {
        1: (37, 53, 8),
        2: (19, 27, 16),
        4: (10, 14, 32),
        8: (5, 7, 64),
        16: (3, 4, 64),
    }
    layers = [keras.Model(image, tensor).layers[-1].name for tensor in maps.values()]
    last = ["block1_conv2", "block2_conv2", "block3_conv4", "block4_conv4", "block5_conv4"]
    assert layers == last


def test_published_weights_are_those_of_the_depth_asked_for(monkeypatch):
    asked = []
    for name in ("VGG16", "VGG19"):
        fake = lambda name=name, **options: asked.append((name, options))  # noqa: E731
        monkeypatch.setattr(keras.applications, name, fake)
    vgg.applications()
    vgg.applications(19, top=True)
    assert asked == [
        ("VGG16", {"include_top": False, "weights": "imagenet"}),
        ("VGG19", {"include_top": True, "weights": "imagenet"}),
    ]
    with pytest.raises(ValueError, match="16 and 19, not 11"):
        vgg.applications(11)
