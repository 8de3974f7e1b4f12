"""Adversarial training: its loss by hand, and what it gains against the attack."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from zoo.insight.attack.attacks import Domain
from zoo.nn.auxiliary import supervised
from zoo.training.adversarial import AdversarialTraining

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_half_of_the_loss_is_of_attacked_inputs():
    inputs = keras.Input((4,))
    outputs = layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
    student = keras.Model(inputs, outputs)
    learner = AdversarialTraining(student, 0.2, Domain())
    learner.compile(keras.optimizers.SGD(0.1), LOSS)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)).astype("float32"), np.arange(6) % 2
    kernel, _ = student.get_weights()
    away = np.sign(kernel[:, 1] - kernel[:, 0]) * np.where(y == 0, 1, -1)[:, None]
    clean, attacked = (float(LOSS(y, student(a))) for a in (x, x + 0.2 * away))
    penalty = 0.1 * (kernel**2).sum()
    tensors = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    value = learner.compute_loss(*tensors, learner(x, training=True), training=True)
    assert float(value) == pytest.approx(0.5 * clean + 0.5 * attacked + penalty, rel=1e-5)
    value = learner.compute_loss(*tensors, learner(x), training=False)
    assert float(value) == pytest.approx(clean + penalty, rel=1e-5), "of validation"
    assert attacked > clean


@pytest.mark.parametrize("jit", [False, True])
def test_fit_trains_the_student_with_its_auxiliary_heads(jit):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = layers.BatchNormalization()(layers.Dense(6, "relu")(inputs))
    heads = [layers.Dense(3, name="auxiliary")(x)]
    student = supervised(inputs, layers.Dense(3)(layers.Dropout(0.5)(x)), heads, 0.3, "student")
    learner = AdversarialTraining(student, 0.02, Domain(0.0, 1.0))
    learner.compile(keras.optimizers.Adam(0.001), LOSS, ["accuracy"], jit_compile=jit)
    before = [ops.convert_to_numpy(weight) for weight in student.weights]
    x = np.random.default_rng(0).uniform(size=(8, 8)).astype("float32")
    history = learner.fit(x, np.arange(8) % 3, batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all() and "accuracy" in history
    for old, weight in zip(before, student.weights, strict=True):
        assert "seed" in weight.path or np.any(old != ops.convert_to_numpy(weight)), weight.path
    assert len(learner.trainable_variables) == len(student.trainable_variables)
