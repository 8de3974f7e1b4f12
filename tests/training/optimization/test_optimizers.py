"""Optimizers of a recipe: Keras' own, and what is added to them."""

import inspect

import keras
import numpy as np
import pytest

from zoo.training import recipe
from zoo.training.optimization import optimizers


def built(model, rate=0.1, **changes):
    """Return the optimizer of a recipe for a model, of a constant rate unless changed."""
    chosen = {**recipe.DEFAULTS, "schedule": "constant", **changes}
    settings = {"recipe": chosen, "seed": 3}
    optimizer = optimizers.optimizer(settings, model.trainable_variables, 5, 4, rate)
    optimizer.build(model.trainable_variables)
    return optimizer


def network():
    """Return a dense layer of 3 to 2 with a bias, as a model."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, bias_initializer="ones")])
    model.compile("sgd", "mse")
    return model


def stepped(model, optimizer, gradients):
    """Return how a step of an optimizer with these gradients changes kernel and bias."""
    before = [np.array(variable) for variable in model.trainable_variables]
    optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], model.trainable_variables)
    return [np.array(v) - b for v, b in zip(model.trainable_variables, before, strict=True)]


ZEROS = [np.zeros((3, 2), "float32"), np.zeros(2, "float32")]


@pytest.mark.parametrize("name", recipe.OPTIMIZERS)
def test_defaults_are_those_of_keras(name):
    kind, options, _ = recipe.OPTIMIZERS[name]
    known = inspect.signature(getattr(keras.optimizers, kind)).parameters
    differing = {key for key, value in options.items() if known[key].default != value}
    assert differing == {"momentum": {"momentum"}, "nesterov": {"momentum", "nesterov"}}.get(
        name, set()
    )


@pytest.mark.parametrize("name", recipe.OPTIMIZERS)
def test_every_optimizer_descends(name):
    model = network()
    optimizer = built(model, 0.01, optimizer=name)
    kernel, bias = stepped(model, optimizer, [np.ones((3, 2), "f"), -np.ones(2, "f")])
    assert np.mean(kernel) < 0 < np.mean(bias)


def test_weights_decay_and_biases_do_not():
    model = network()
    weights = np.array(model.trainable_variables[0])
    kernel, bias = stepped(model, built(model, optimizer="sgd", weight_decay=0.5), ZEROS)
    np.testing.assert_allclose(kernel, -0.1 * 0.5 * weights, rtol=1e-5)
    np.testing.assert_array_equal(bias, 0)


def test_gradients_are_clipped():
    gradients = [np.full((3, 2), 3, "f"), np.full(2, 4, "f")]
    norm = np.sqrt(6 * 9 + 2 * 16)
    model = network()
    kernel, bias = stepped(model, built(model, optimizer="sgd", clip_norm=1.0), gradients)
    np.testing.assert_allclose(kernel, -0.1 * 3 / norm, rtol=1e-5)
    np.testing.assert_allclose(bias, -0.1 * 4 / norm, rtol=1e-5)
    kernel, _ = stepped(model, built(model, optimizer="sgd", clip_value=0.5), gradients)
    np.testing.assert_allclose(kernel, -0.1 * 0.5, rtol=1e-5)


def test_gradients_of_several_batches_make_one_update():
    model = network()
    optimizer = built(model, optimizer="sgd", accumulate=2)
    first = stepped(model, optimizer, [np.full((3, 2), 1, "f"), np.ones(2, "f")])
    np.testing.assert_array_equal(first[0], 0)
    second = stepped(model, optimizer, [np.full((3, 2), 3, "f"), np.ones(2, "f")])
    np.testing.assert_allclose(second[0], -0.1 * 2, rtol=1e-5)


def test_noise_has_the_variance_of_the_paper():
    model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(100, use_bias=False)])
    optimizer = built(model, 1.0, optimizer="sgd", gradient_noise=0.3)
    zeros = [np.zeros((100, 100), "float32")]
    first, second, third = (stepped(model, optimizer, zeros)[0] for _ in range(3))
    np.testing.assert_allclose(np.var(first), 0.3, rtol=0.05)
    np.testing.assert_allclose(np.var(third), 0.3 / 3**0.55, rtol=0.05)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    again = keras.models.clone_model(model)
    repeated = stepped(again, built(again, 1.0, optimizer="sgd", gradient_noise=0.3), zeros)[0]
    np.testing.assert_allclose(repeated, first, atol=1e-6)


def test_penalties_are_added_to_the_loss_and_constraints_hold():
    model = network()
    kernel = np.array(model.trainable_variables[0])
    optimizers.regularize(model, l1=0.5, l2=0.25, max_norm=0.1)
    (penalty,) = model.losses
    wanted = 0.5 * np.abs(kernel).sum() + 0.25 * (kernel**2).sum()
    np.testing.assert_allclose(float(penalty), wanted, rtol=1e-5)
    stepped(model, built(model, optimizer="sgd"), [np.ones((3, 2), "f"), np.ones(2, "f")])
    norms = np.linalg.norm(np.array(model.trainable_variables[0]), axis=0)
    np.testing.assert_allclose(norms, 0.1, rtol=1e-4)
    config = keras.saving.serialize_keras_object(model)
    assert "L1L2" not in str(config) and "MaxNorm" not in str(config)
