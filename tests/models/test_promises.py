"""Tests of all registered models. New models are tested without changes here."""

import dataclasses
import functools
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import JAX, loss_of, toy, trainable

import zoo
from zoo import index, registry
from zoo.inference import export, predictors
from zoo.weights import saving
from zoo.weights.initial import without_weights

ROOT = pathlib.Path(__file__).parents[2]
NAMES = zoo.names()
# Forms of a model that are networks of their own: (options, those of the test instance, parameters)
FORMS = {
    "googlenet:auxiliary": (
        dict(auxiliary=True),
        dict(depth=12, width=0.25, dropout=0.0, auxiliary_dropout=0.0),
        13_004_888,
    ),
    "mobilenet:keras": (
        dict(form="keras", pixel_mean=(0.5, 0.4, 0.3), pixel_std=(0.2, 0.3, 0.4)),
        dict(width=0.25, depth=0.3, dropout=0.0, last=64),
        3_504_872,
    ),
    "fcn:resnet": (
        dict(encoder="resnet", auxiliary=True),
        dict(encoder_depth=18, width=0.25, dropout=0.0),
        35_322_218,
    ),
}

pytestmark = pytest.mark.parametrize("name", [*NAMES, *FORMS])


def row_of(name):
    """Return the registered model called `name`, or a form of it as if it were registered."""
    row = registry.get(name.partition(":")[0])
    if name not in FORMS:
        return row
    options, small, parameters = FORMS[name]
    paper, test = {**row.paper, **options}, {**options, **small}
    return dataclasses.replace(row, paper=paper, test=test, parameters=parameters)


def small(name, task=None):
    """Build the test instance of a model, and the toy batch of one of its tasks."""
    row = row_of(name)
    batch = toy(task or row.tasks[0])
    keras.utils.set_random_seed(0)
    model = row.builder(**batch.arguments, **row.test)
    batch.info.update(batch.task.training.built(model, batch.options))
    return model, batch


@functools.cache
def stirred(name):
    """Build it with every weight changed, so that no initial zero or one hides an error.

    Tests share the model and the batch, and change neither.
    """
    model, batch = small(name)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            noise = rng.uniform(-0.1, 0.1, weight.shape)
            weight.assign(keras.ops.convert_to_numpy(weight) + noise.astype("float32"))
    return model, batch


@functools.cache
def predicted(name):
    """Return the outputs of the stirred model for its batch, a NumPy array or a dictionary."""
    model, batch = stirred(name)
    return model.predict_on_batch(batch.x)


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    """Free the shared instances after the last promise."""
    yield
    for function in (stirred, predicted):
        function.cache_clear()


def test_index_tells_what_the_registry_holds(name):
    name = name.partition(":")[0]
    row, model = index.models()[name], registry.get(name)
    parameters = inspect.signature(model.builder).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert options.pop("name") == name
    assert row.options == options
    assert (row.tasks, row.parameters) == (model.tasks, model.parameters)
    assert (ROOT / row.file) == pathlib.Path(inspect.getsourcefile(model.builder))


def test_signature_and_docstring_follow_the_contract(name):
    name = name.partition(":")[0]
    model = registry.get(name)
    parameters = inspect.signature(model.builder).parameters
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    for task in model.tasks:
        assert positional == list(toy(task).arguments), "positional: the data's arguments"
    kinds = {p.kind for p in parameters.values()}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert list(parameters)[-1] == "name"
    assert ... not in index.models()[name].options.values(), "defaults are literals"
    text = inspect.getdoc(model.builder)
    if reference := re.search(r"as of `(\w+)`", text):  # what it shares is explained there
        builders = [row.builder for row in registry.MODELS.values()]
        (other,) = [builder for builder in builders if builder.__name__ == reference[1]]
        text += inspect.getdoc(other)
    assert "\nArgs:\n" in text and "\nReturns:\n" in text, "a docstring has both"
    for parameter in parameters:
        assert f"\n    {parameter}: " in text, f"{parameter} is not explained"
    headline = inspect.getdoc(inspect.getmodule(model.builder)).split("\n\n")
    assert ": " in headline[0] and headline[0].endswith("."), "first line: name and idea"
    assert "http" in headline[1], "then the citation with its address"
    assert "Departures:" in headline[1]


def test_paper_configuration_has_the_exact_count(name):
    model = row_of(name)

    count = without_weights(lambda: trainable(model.builder(**model.paper)))
    assert count == model.parameters


def test_logits_are_float32_under_mixed_precision(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, batch = small(name)
    finally:
        keras.config.set_dtype_policy(before)
    policies = {layer.compute_dtype for layer in model.layers}
    assert "bfloat16" in policies
    for output in keras.tree.flatten(model(batch.x)):
        assert output.dtype == "float32"
        assert np.isfinite(output).all()


def test_every_trainable_weight_gets_a_gradient(name):
    model, batch = stirred(name)
    with tf.GradientTape() as tape:
        value = loss_of(model, batch)
    gradients = tape.gradient(value, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, f"{weight.path} has no gradient"
        assert np.isfinite(gradient).all(), f"{weight.path}'s gradient is not finite"
        assert np.any(gradient), f"{weight.path}'s gradient is zero"


def test_one_batch_is_learnt(name):
    """Compiling takes longer than some steps: what learns at a good pace is spared it."""
    for task in row_of(name).tasks:
        model, batch = small(name, task)
        loss = batch.task.training.loss(batch.info, batch.options)
        optimizer = keras.optimizers.Adam(0.01)
        model.compile(optimizer, loss, run_eagerly=True)
        first = last = model.train_on_batch(batch.x, batch.y)
        for step in range(80):
            if step == 3 and last > 0.75 * first:
                model.compile(optimizer, loss, jit_compile=False)
            last = model.train_on_batch(batch.x, batch.y)
            assert np.isfinite(last)
            if last < 0.3 * first:
                break
        assert last < 0.3 * first


def test_saved_and_loaded_it_predicts_identically(name, tmp_path):
    model, batch = stirred(name)
    saving.save(model, tmp_path / "model.keras", {"model": name})
    again = saving.load(tmp_path / "model.keras")
    expected, outputs = predicted(name), again.predict_on_batch(batch.x)
    keras.tree.map_structure(np.testing.assert_array_equal, expected, outputs)
    assert saving.record(tmp_path / "model.keras") == {"model": name}


def test_padding_the_last_batch_changes_no_output(name):
    model, batch = stirred(name)
    whole, parts = predicted(name), predictors.predict(model, batch.x, 3)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)  # noqa: E731
    keras.tree.map_structure(close, whole, parts)


def test_onnx_gives_equal_outputs(name, tmp_path):
    model, _ = stirred(name)
    scale = max(1, *(np.abs(output).max() for output in keras.tree.flatten(predicted(name))))
    assert export.export(model, tmp_path / "model.onnx", "onnx") <= 1e-4 * scale


PREDICT = """
import json, sys, numpy as np
from zoo.weights import saving
for name, folder in json.loads(sys.argv[1]).items():
    x = dict(np.load(folder + "/x.npz"))
    x = x.pop("only") if "only" in x else x
    y = saving.load(folder + "/model.keras").predict_on_batch(x)
    np.savez(folder + "/y.npz", **(y if isinstance(y, dict) else {"only": y}))
"""


@pytest.fixture(scope="module")
def on_jax(request, tmp_path_factory):
    """Predict with the models on JAX, in one process: outputs by name, with those of TensorFlow.

    The models are those whose test is to run: all of them, unless some were chosen.
    """
    folders, expected = {}, {}
    tests = [item for item in request.session.items if "on_jax" in item.fixturenames]
    for name in [item.callspec.params["name"] for item in tests]:
        folder = tmp_path_factory.mktemp(name.replace(":", "_"))
        model, batch = stirred(name)
        saving.save(model, folder / "model.keras", {})
        expected[name] = predicted(name)
        np.savez(folder / "x.npz", **(batch.x if isinstance(batch.x, dict) else {"only": batch.x}))
        folders[name] = str(folder)
    environment = {**os.environ, **JAX}
    command = [sys.executable, "-c", PREDICT, json.dumps(folders)]
    subprocess.run(command, check=True, env=environment, cwd=ROOT)
    on_jax_outputs = {name: dict(np.load(f"{folder}/y.npz")) for name, folder in folders.items()}
    return {name: (expected[name], on_jax_outputs[name]) for name in folders}


def test_jax_and_tensorflow_agree(name, on_jax):
    expected, outputs = on_jax[name]
    expected = expected if isinstance(expected, dict) else {"only": expected}
    assert expected.keys() == outputs.keys()
    for key in expected:
        np.testing.assert_allclose(outputs[key], expected[key], rtol=1e-4, atol=1e-4)
