"""Gradients with respect to a tensor, of which the value is known."""

import keras
import numpy as np
import pytest
from keras import ops

from zoo.nn import gradients


@pytest.mark.parametrize("wrap", [lambda function: function, gradients.compiled])
def test_value_and_gradient_of_a_quadratic_function(wrap):
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(2, 3, 4)).astype("float32")
    value, slope = wrap(gradients.of(lambda x, a: ops.sum(a * ops.square(x))))(x, a)
    np.testing.assert_allclose(value, (a * x**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(slope, 2 * a * x, rtol=1e-5)


def test_of_what_does_not_depend_on_the_tensor_it_is_0():
    _, slope = gradients.of(lambda x, a: ops.sum(ops.stop_gradient(x) * a))(np.ones(3), np.ones(3))
    np.testing.assert_array_equal(slope, np.zeros(3))


def test_through_a_model_whose_weights_stay():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    before = model.get_weights()
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    _, slope = gradients.of(lambda x: ops.sum(model(x, training=False)[:, 1]))(x)
    (a, _), (b, _) = (layer.get_weights() for layer in model.layers)
    np.testing.assert_allclose(slope, np.tile((a @ b)[:, 1], (4, 1)), rtol=1e-5)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
