"""Auxiliary heads: what is trained, what is returned, and what is saved."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from zoo.nn import auxiliary
from zoo.training import distillation
from zoo.training.finetuning.transfer import transfer
from zoo.weights import saving

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 4)).astype("float32"), np.arange(6) % 3
WEIGHT, PENALTY = 0.4, 0.1


def network(heads=2, dropout=0.0):
    """Return a small classifier of vectors, with auxiliary heads and a regularizer."""
    x = entry = keras.Input((4,))
    outputs = []
    for i in range(heads):
        regularizer = keras.regularizers.L2(PENALTY) if i == 0 else None
        x = layers.Dense(5, "tanh", kernel_regularizer=regularizer, name=f"hidden_{i}")(x)
        outputs.append(layers.Dense(3, name=f"auxiliary_{i}")(x))
    x = layers.Dropout(dropout, name="dropout")(layers.Dense(5, "tanh", name="last")(x))
    logits = layers.Dense(3, name="logits")(x)
    return auxiliary.supervised(entry, logits, outputs, WEIGHT, "small")


def cross_entropy(logits, y=Y):
    """Return the mean cross-entropy by hand."""
    logits = np.float64(ops.convert_to_numpy(logits))
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return -np.log((p / p.sum(axis=-1, keepdims=True))[np.arange(len(y)), y]).mean()


def compiled(model):
    """Compile a model as a task does."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [keras.metrics.SparseCategoricalAccuracy("accuracy")]
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=metrics, run_eagerly=True)
    return model


def test_every_head_is_trained_with_its_weight_and_metrics_see_the_main_logits():
    model = compiled(network())
    logits, *heads = model(X, training=True)
    kernel = ops.convert_to_numpy(model.get_layer("hidden_0").kernel)
    alone = cross_entropy(logits) + PENALTY * (kernel**2).sum()
    logs = model.train_on_batch(X, Y, return_dict=True)
    assert logs["loss"] == pytest.approx(alone + WEIGHT * sum(map(cross_entropy, heads)), rel=1e-5)
    assert logs["accuracy"] == pytest.approx(np.mean(np.argmax(logits, axis=-1) == Y))
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(alone, rel=1e-5)


def test_outside_of_training_it_is_the_network_without_heads():
    model = network()
    logits = model(X)
    assert model.output.shape == (None, 3) and logits.shape == (6, 3)
    assert model.predict(X, verbose=0).shape == (6, 3)
    entry = keras.Input((4,))
    outer = keras.Model(entry, layers.Softmax()(model(entry)))
    expected = ops.softmax(logits)
    for training in (False, True):
        np.testing.assert_allclose(outer(X, training=training), expected, rtol=1e-5)
    assert [*model.parts()] == ["logits", "auxiliary_0", "auxiliary_1"]
    for part, outputs in zip(model.parts().values(), model(X, training=True), strict=True):
        np.testing.assert_allclose(part(X), outputs, rtol=1e-5)


def test_without_heads_it_is_a_plain_model():
    assert not isinstance(network(heads=0), auxiliary.DeepSupervision)


def test_a_loaded_model_has_its_heads(tmp_path):
    model = network()
    saving.save(model, tmp_path / "model.keras", {})
    again = compiled(saving.load(tmp_path / "model.keras"))
    pairs = zip(again(X, training=True), model(X, training=True), strict=True)
    for outputs, expected in pairs:
        np.testing.assert_array_equal(outputs, expected)
    logs = compiled(model).train_on_batch(X, Y, return_dict=True)
    assert again.train_on_batch(X, Y, return_dict=True) == logs


def test_weights_go_to_a_network_without_heads_and_back():
    with_heads = network()
    plain = keras.Model(with_heads.input, with_heads.output)
    for target in (keras.models.clone_model(plain), network()):
        target.set_weights([w + 1 for w in target.get_weights()])
        copied, missing = transfer(plain, target)
        assert len(copied) == len(plain.weights)
        assert all(path.startswith("auxiliary") for path in missing)
        np.testing.assert_array_equal(target(X), plain(X))
    target = keras.models.clone_model(plain)
    assert transfer(with_heads, target)[1] == []
    np.testing.assert_array_equal(target(X), with_heads(X))


def test_a_student_with_heads_learns_from_labels_and_from_the_teacher():
    student, teacher = network(), network()
    learner = distillation.distiller(teacher, student, 2.0)
    compiled(learner)
    logits, *heads = (np.asarray(outputs) for outputs in student(X, training=True))
    p, q = (np.exp(z / 2.0) for z in (np.asarray(teacher(X)), logits))
    p, q = (e / e.sum(axis=-1, keepdims=True) for e in (p, q))
    soft = 4 * (p * np.log(p / q)).sum(axis=-1).mean()
    hard = cross_entropy(logits) + WEIGHT * sum(map(cross_entropy, heads))
    penalty = PENALTY * (ops.convert_to_numpy(student.get_layer("hidden_0").kernel) ** 2).sum()
    logs = learner.train_on_batch(X, Y, return_dict=True)
    assert logs["loss"] == pytest.approx((hard + soft) / 2 + penalty, rel=1e-4)
    assert logs["accuracy"] == pytest.approx(np.mean(np.argmax(logits, axis=-1) == Y))


def test_heads_are_trained_in_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = compiled(network())
    finally:
        keras.config.set_dtype_policy(before)
    model.optimizer.learning_rate = 0.1
    first = model.train_on_batch(X, Y)[0]
    for _ in range(20):
        last = model.train_on_batch(X, Y)[0]
    assert last < first
