"""Attacks: closed forms on linear models, bounds, and patches that are where they should be."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.insight.attack import attacks, patch
from zoo.insight.attack.attacks import Domain
from zoo.nn.layers import PADDING

IMAGES = Domain(0.0, 1.0)


def linear(shape, classes, seed=0):
    """Return a linear classifier of x (B, *shape), and its weights (values, classes)."""
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten()])
    model.add(keras.layers.Dense(classes))
    kernel = np.random.default_rng(seed).normal(size=model.layers[-1].kernel.shape)
    model.layers[-1].set_weights([kernel.astype("float32"), np.zeros(classes, "float32")])
    return model, kernel


def losses(model, x, y):
    """Return the cross-entropy of each example."""
    return ops.convert_to_numpy(
        keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True)
    )


@pytest.fixture(scope="module")
def crooked():
    """Return a small network of one hidden layer, inputs and labels."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(16, "tanh")]
    model = keras.Sequential([*layers, keras.layers.Dense(3)])
    for weight in model.weights:
        weight.assign(3 * weight)
    rng = np.random.default_rng(1)
    return model, rng.uniform(size=(8, 6, 6, 1)).astype("float32"), np.arange(8) % 3


def test_fgsm_of_two_linear_classes_has_a_closed_form():
    model, kernel = linear((4, 4, 1), 2)
    x = np.random.default_rng(1).uniform(0.3, 0.7, (3, 4, 4, 1)).astype("float32")
    y = np.array([0, 1, 0])
    attacked = attacks.fgsm(attacks.slope(model), x, y, [0.01, 0.1], IMAGES)
    away = np.sign(kernel[:, 1] - kernel[:, 0]).reshape(1, 4, 4, 1) * [[[[1]]], [[[-1]]], [[[1]]]]
    for epsilon, changed in zip([0.01, 0.1], attacked, strict=True):
        np.testing.assert_allclose(changed, x + epsilon * away, atol=1e-6)
        # a linear score falls by epsilon times the 1-norm of the weights, Sec. 3 of the paper
        margin = lambda x: ops.convert_to_numpy(model(x)) @ [1, -1] * [1, -1, 1]  # noqa: E731
        fall = epsilon * np.abs(kernel[:, 1] - kernel[:, 0]).sum()
        np.testing.assert_allclose(margin(x) - margin(changed), fall, rtol=1e-3)


def test_images_stay_images():
    model, _ = linear((4, 4, 1), 2)
    x = np.round(np.random.default_rng(1).uniform(size=(3, 4, 4, 1))).astype("float32")
    attacked = attacks.fgsm(attacks.slope(model), x, np.zeros(3, int), 0.25, IMAGES)
    assert attacked.min() == 0 and attacked.max() == 1
    inwards = attacked != x
    np.testing.assert_allclose(np.abs(attacked - x)[inwards], 0.25)
    assert 0 < inwards.mean() < 1


def test_pgd_stays_within_epsilon_and_is_stronger_than_one_step(crooked):
    model, x, y = crooked
    slope = attacks.slope(model)
    for targeted in (False, True):
        labels = (y + 1) % 3 if targeted else y
        one = attacks.fgsm(slope, x, labels, 0.1, IMAGES, targeted)
        many = attacks.pgd(slope, x, labels, 0.1, IMAGES, targeted, steps=20)
        assert np.abs(many - x).max() <= 0.1 + 1e-6 and many.min() >= 0 and many.max() <= 1
        sign = -1 if targeted else 1
        before, weak, strong = (sign * losses(model, a, labels).mean() for a in (x, one, many))
        assert before < weak < strong
    again = attacks.pgd(slope, x, labels, 0.1, IMAGES, True, steps=20)
    np.testing.assert_array_equal(again, many)


def test_the_gradient_of_an_example_does_not_depend_on_the_others(crooked):
    model, x, y = crooked
    together, alone = attacks.slope(model)(x, y), attacks.slope(model)(x[:1], y[:1])
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)


def test_the_padding_of_series_is_left_as_it_is():
    model, _ = linear((5, 2), 2)
    x = np.full((2, 5, 2), PADDING, "float32")
    x[0], x[1, :3] = 0.5, -1.5
    changed = attacks.fgsm(attacks.slope(model), x, np.array([0, 1]), 0.1, Domain(padding=True))
    np.testing.assert_array_equal(changed[1, 3:], PADDING)
    np.testing.assert_allclose(np.abs(changed - x)[x != PADDING], 0.1, rtol=1e-5)


def test_a_patch_is_laid_where_its_matrix_says():
    side = 21
    shape = patch.disc(side, 1 / 3)  # a diameter of 7 pixels
    middle = side // 2
    inside = shape[..., 0] > 0.5
    assert inside.sum() == pytest.approx(np.pi * 3.5**2, abs=4)
    assert inside[middle - 3 : middle + 4, middle].all() and not inside[middle - 4, middle]
    images = np.zeros((1, side, side, 3), "float32")
    canvas = np.broadcast_to(np.float32([1, 0.5, 0]), (side, side, 3))
    moved = np.float32([[1, 0, 5, 0, 1, -4, 0, 0]])  # pixel (x, y) shows (x + 5, y - 4)
    laid = ops.convert_to_numpy(patch.pasted(canvas, shape, ops.convert_to_tensor(images), moved))
    expected = np.roll(shape, (4, -5), axis=(0, 1))[None] * np.float32([1, 0.5, 0])
    np.testing.assert_allclose(laid, expected, atol=1e-5)


def test_patches_are_whole_wherever_they_are_laid():
    side, size = 40, 0.3
    shape, white = patch.disc(side, size), np.ones((side, side, 1), "float32")
    laid = patch.laid(white, shape, np.zeros((64, side, side, 1)), size, seed=3)
    areas = laid.sum(axis=(1, 2, 3)) / shape.sum()
    assert 0.9**2 - 0.03 < areas.min() and areas.max() < 1.1**2 + 0.03
    columns = (laid[..., 0].sum(axis=1) * np.arange(side)).sum(axis=1) / laid.sum(axis=(1, 2, 3))
    assert columns.min() < 12 and columns.max() > 28, "all over the image"


def test_a_patch_turns_every_image_into_its_class():
    image = keras.Input((24, 24, 3))
    logits = 40 * keras.layers.GlobalAveragePooling2D()(image)  # a class for each colour
    model = keras.Model(image, logits)
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.4, (32, 24, 24, 3)).astype("float32")
    x[..., 0] += 0.02  # red, all of them
    y = np.zeros(32, int)
    canvas, shape = patch.train(model, x, y, 0.4, target=2, steps=60)
    inside = shape[..., 0] > 0.9
    assert canvas[inside].mean(axis=0)[2] > 0.9 > 0.3 > canvas[inside].mean(axis=0)[0], "blue"
    predicted = model.predict_on_batch(patch.laid(canvas, shape, x, 0.4)).argmax(axis=1)
    assert (predicted == 2).all()
