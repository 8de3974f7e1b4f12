"""Explanations of models made by hand: they point where the model looks."""

import keras
import numpy as np
import pytest
from conftest import toy
from keras import layers, ops

import zoo
from zoo import tasks
from zoo.insight.methods import dream, filters, gradcam, maximise, occlusion, saliency, scores

INFO = {"classes": ["red", "green", "blue"]}
CLASSIFICATION = tasks.get("image_classification")


@pytest.fixture(scope="module")
def colours():
    """Return a classifier of colours: maps of each, their means, and class logits of these."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(3, 4, 4, activation="relu", use_bias=False, name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(3, use_bias=False, name="logits")(x)
    model = keras.Model(image, logits)
    own = np.eye(3) - 0.5 * (1 - np.eye(3))  # a colour without the others
    model.get_layer("conv").set_weights([np.tile(own, (4, 4, 1, 1)) / 16])
    model.get_layer("logits").set_weights([20 * np.eye(3)])
    return model


@pytest.fixture(scope="module")
def image():
    """Return a black image with a red top left quarter and a blue bottom right one."""
    x = np.zeros((32, 32, 3), np.float32)
    x[:16, :16, 0] = x[16:, 16:, 2] = 1.0
    x[16:, 16:, 2] = 0.9
    return x


def quarter(heat, row, column):
    """Return the share of a heat map that is in a quarter."""
    size = heat.shape[0] // 2
    heat = np.maximum(heat, 0)
    part = heat[row * size : (row + 1) * size, column * size : (column + 1) * size]
    return part.sum() / heat.sum()


def score_of(model, x, target=None, task=CLASSIFICATION, info=INFO):
    return scores.of(task, info, model.predict_on_batch(x[None]), target)


@pytest.mark.parametrize("method", ["gradcam", "occlusion", "saliency"])
def test_the_class_is_where_its_colour_is(colours, image, method):
    assert score_of(colours, image).name == "red", "the more probable one"
    for target, place in ((0, (0, 0)), (2, (1, 1))):
        score = score_of(colours, image, target)
        if method == "gradcam":
            heat, layer = gradcam.explain(colours, image, score, None, "image_classification")
            assert layer == "conv" and heat.min() >= 0
        elif method == "occlusion":
            heat = occlusion.explain(colours, image, score)
        else:
            heat = saliency.explain(colours, image, score)
        assert heat.shape == (32, 32) and quarter(heat, *place) > 0.8


def test_saliency_of_a_linear_model_is_its_weights():
    model = keras.Sequential([keras.Input((4, 4, 2)), layers.Flatten(), layers.Dense(3)])
    x = np.random.default_rng(0).uniform(size=(4, 4, 2)).astype("float32")
    heat = saliency.explain(model, x, score_of(model, x, 1))
    kernel = np.asarray(model.layers[-1].kernel)[:, 1].reshape(4, 4, 2)
    np.testing.assert_allclose(heat, np.abs(kernel).max(axis=-1), rtol=1e-5)


def test_grad_cam_has_the_values_of_its_equations(colours, image):
    score = score_of(colours, image, 0)
    heat, _ = gradcam.explain(colours, image, score, "conv", "image_classification")
    # The score is 20 times the mean of the red map of 64 pixels, so the map's weight is 20 / 64.
    assert heat.max() == pytest.approx(20 / 64, rel=1e-5) and heat[24, 24] == 0


def test_connections_that_skip_a_layer_do_not_count():
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(1, 1, use_bias=False, name="conv")(image)
    y = layers.Add(name="sum")([layers.Rescaling(5.0)(image), x])
    model = keras.Model(image, layers.GlobalAveragePooling2D()(y))
    model.get_layer("conv").set_weights([np.ones((1, 1, 1, 1))])
    x = np.ones((8, 8, 1), np.float32)
    score = scores.Score(0, "", "", lambda outputs: outputs[:, 0], None)
    heat, _ = gradcam.explain(model, x, score, "conv", "image_classification")
    np.testing.assert_allclose(heat, 1 / 64, rtol=1e-5)


def test_maps_in_front_of_attention_are_no_explanation():
    model = zoo.create("vit", (32, 32, 3), 3, size="Ti", patch=8, width=0.25)
    assert gradcam.candidates(model, "image_classification") == []


def test_a_segmenter_is_explained_at_its_coarsest_maps():
    batch = toy("image_segmentation")
    model = zoo.create("unet", **batch.arguments, depth=2, width=0.0625)
    x = batch.x[0]
    outputs = model.predict_on_batch(x[None])
    labels = outputs[0].argmax(axis=-1)
    target = int(labels[0, 0])
    score = scores.of(batch.task, batch.info, outputs, target)
    inside = labels == target
    np.testing.assert_allclose(score.share, inside.mean(), rtol=1e-5)
    expected = outputs[0][..., target][inside].mean()
    np.testing.assert_allclose(score.logit(ops.convert_to_tensor(outputs))[0], expected, rtol=1e-4)
    (layer,) = gradcam.candidates(model, "image_segmentation")
    heat, name = gradcam.explain(model, x, score, None, "image_segmentation")
    assert heat.shape == x.shape[:2] and name == layer.name
    front, _ = gradcam.cut(model, layer)
    assert front.predict_on_batch(x[None]).shape[1:3] == (8, 8), "two poolings of 32 pixels"
    with pytest.raises(ValueError, match="no pixel is predicted as"):
        missing = next(k for k in range(4) if not (labels == k).any() or k == 3)
        scores.of(batch.task, batch.info, np.where(np.arange(4) == missing, -99, outputs), missing)


@pytest.mark.parametrize("target", [0, 1])
def test_one_logit_stands_for_two_classes(target):
    task, info = tasks.get("image_segmentation"), {"classes": ["background", "cell"]}
    outputs = np.float32([[[[2.0], [-1.0]], [[3.0], [-2.0]]]])
    score = scores.of(task, info, outputs, target)
    sign, inside = (1, [2.0, 3.0]) if target else (-1, [-1.0, -2.0])
    np.testing.assert_allclose(
        score.logit(ops.convert_to_tensor(outputs))[0], sign * np.mean(inside)
    )
    expected = np.mean(1 / (1 + np.exp(-sign * np.array(inside))))
    np.testing.assert_allclose(score.probability(outputs), expected, rtol=1e-5)


def test_a_detector_is_explained_where_its_best_box_is_read_from():
    batch = toy("image_detection")
    model = zoo.create("yolov3_tiny", **batch.arguments, width=0.0625)
    info = {**batch.info, **batch.task.training.built(model, batch.options)}
    x = np.float32(batch.x[0])
    outputs = model.predict_on_batch(x[None])
    for row in (0, outputs.shape[1] - 1):  # of the coarse and of the fine maps
        strong = outputs.copy()
        strong[0, row, 4:] = 9.0
        score = scores.of(batch.task, info, strong, 2)
        assert score.name == info["classes"][2] and score.probability(strong)[0] > 0.99
        heat, layer = gradcam.explain(model, x, score, None, "image_detection")
        assert heat.shape == x.shape[:2] and not gradcam.feeds(model.get_layer(layer), "Grid")


def test_what_a_map_responds_to_is_found(colours):
    reader = keras.Model(colours.inputs, colours.get_layer("conv").output)
    x = maximise.channels(reader, (32, 32, 3), [0, 2])
    for picture, own in zip(x, (0, 2), strict=True):
        rest = [k for k in range(3) if k != own]
        assert picture[..., own].mean() > 0.8 > 0.4 > picture[..., rest].mean()
        np.testing.assert_array_equal((picture >= 0) & (picture <= 1), True)


def test_a_dream_has_more_of_what_the_layer_finds(colours):
    reader = keras.Model(colours.inputs[0], colours.get_layer("conv").output)
    x = np.random.default_rng(0).uniform(0.3, 0.7, (40, 52, 3)).astype("float32")
    dreamt = dream.dream(reader, x, (32, 32), octaves=2, steps=6)
    assert dreamt.shape == (45, 58, 3) and dreamt.min() >= 0 and dreamt.max() <= 1

    def response(image):
        return np.square(reader.predict_on_batch(image[None, :32, :32])).mean()

    assert response(dreamt) > 3 * response(x)
    assert dream.plan((16, 16), (32, 32), 2) == [(32, 32), (45, 45)], "none is below a tile"
    assert dream.plan((1024, 512), (64, 64), 2) == [(366, 183), (512, 256)]


def test_kernels_that_are_no_pictures_are_refused(colours):
    figure, name = filters.kernels(colours)
    assert name == "conv" and len(figure.axes) == 3 + 1  # and the colour bar
    model = zoo.create("cnn", (32, 32, 3), 3)
    with pytest.raises(ValueError, match="conv2: its kernels have 32 channels.* Use maximise"):
        filters.kernels(model, "conv2")
    with pytest.raises(ValueError, match="unknown layer of cnn 'conv': did you mean conv"):
        filters.kernels(model, "conv")
    with pytest.raises(ValueError, match="no kernels of two-dimensional convolutions"):
        filters.kernels(zoo.create("mlp", (8, 8, 1), 3))
