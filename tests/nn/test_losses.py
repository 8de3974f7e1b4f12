"""Losses and metrics of segmentation: values by hand, and by scikit-learn for hard masks."""

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from zoo import tasks
from zoo.nn import losses, metrics
from zoo.training import distillation

RNG = np.random.default_rng(0)
EVERY = [
    losses.CrossEntropy(),
    losses.BinaryCrossEntropy(),
    losses.Dice(),
    losses.DiceBCE(),
    losses.Tversky(),
    losses.Tversky(gamma=0.75, name="focal_tversky"),
]


def logit(p):
    """Return the logit of a probability."""
    return np.log(p / (1 - p))


def pixels(*values):
    """Return values as a map of one row: (1, 1, n)."""
    return np.array(values)[None, None]


# Four pixels, probabilities 0.9, 0.6, 0.3, 0.2 of class 1; truth 1, 0, 1, void.
TRUTH = pixels(1, 0, 1, -1)
PROBABILITIES = np.array([0.9, 0.6, 0.3, 0.2])
LOGITS = logit(PROBABILITIES)[None, None, :, None].astype("float32")
TP, FP, FN = 0.9 + 0.3, 0.6, 0.1 + 0.7


def value(loss, truth=TRUTH, logits=LOGITS):
    """Return a loss as a number."""
    return float(loss(truth, logits))


def test_by_hand_one_logit():
    bce = -np.mean(np.log([0.9, 0.4, 0.3]))
    assert value(losses.BinaryCrossEntropy()) == pytest.approx(bce, rel=1e-5)
    assert value(losses.CrossEntropy()) == pytest.approx(bce, rel=1e-5)
    dice = 1 - 2 * (TP + 1) / (2 * (TP + 1) + FP + FN)  # one true-positive pixel is added
    assert value(losses.Dice()) == pytest.approx(dice, rel=1e-5)
    assert value(losses.DiceBCE()) == pytest.approx(dice + bce, rel=1e-5)
    tversky = 1 - (TP + 1) / (TP + 1 + 0.2 * FP + 0.8 * FN)
    assert value(losses.Tversky(0.2, 0.8)) == pytest.approx(tversky, rel=1e-5)
    assert value(losses.Tversky(0.2, 0.8, 0.75)) == pytest.approx(tversky**0.75, rel=1e-5)


def test_by_hand_three_classes():
    truth = pixels(0, 1, 1, -1)  # class 2 does not occur, so no region's loss counts it
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])
    logits = np.log(probabilities)[None, None].astype("float32")
    entropy = -np.mean(np.log([0.7, 0.6, 0.4]))
    assert value(losses.CrossEntropy(), truth, logits) == pytest.approx(entropy, rel=1e-5)
    expected = []
    for k in (0, 1):
        inside, p = (truth[0, 0, :3] == k), probabilities[:3, k]
        hit, more, missed = p[inside].sum(), p[~inside].sum(), (1 - p)[inside].sum()
        expected.append(1 - (hit + 1) / (hit + 1 + 0.3 * more + 0.7 * missed))
    assert value(losses.Tversky(), truth, logits) == pytest.approx(np.mean(expected), rel=1e-5)
    sigmoid = 1 / (1 + np.exp(-logits[0, 0, :3]))
    one_hot = np.eye(3)[truth[0, 0, :3]]
    bce = -np.mean(np.log(np.where(one_hot == 1, sigmoid, 1 - sigmoid)))
    assert value(losses.BinaryCrossEntropy(), truth, logits) == pytest.approx(bce, rel=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_overlaps_equal_scikit_learn_on_hard_masks(count):
    truth = RNG.integers(max(2, count), size=(1, 20, 20))
    predicted = np.where(RNG.random(truth.shape) < 0.7, truth, 0)
    if count == 1:
        logits = np.where(predicted == 1, 50.0, -50.0)[..., None]
    else:
        logits = 100.0 * np.eye(count)[predicted]
    and_one = lambda values: np.append(values.ravel(), 1)  # noqa: E731  the added pixel
    wanted = [
        (
            f1_score(and_one(truth == k), and_one(predicted == k)),
            jaccard_score(and_one(truth == k), and_one(predicted == k)),
        )
        for k in ([1] if count == 1 else range(count))
    ]
    f1, jaccard = np.mean(wanted, axis=0)
    logits = logits.astype("float32")
    assert value(losses.Dice(), truth, logits) == pytest.approx(1 - f1, abs=1e-5)
    assert value(losses.Tversky(1.0, 1.0), truth, logits) == pytest.approx(1 - jaccard, abs=1e-5)


def test_the_tversky_index_by_hand():
    truth, predicted = np.array([[[1.0], [1], [0]]]), np.array([[[0.8], [0.4], [0.5]]])
    index = losses.tversky_index(truth.astype("float32"), predicted.astype("float32"), 0.1, 0.9)
    np.testing.assert_allclose(index, [[1.2 / (1.2 + 0.1 * 0.5 + 0.9 * 0.8)]], rtol=1e-6)


def test_alpha_weighs_false_positives():
    truth = pixels(0, 0, 1, 1)
    too_much = np.array([5.0, 5, 5, 5])[None, None, :, None].astype("float32")
    light, heavy = losses.Tversky(alpha=0.1, beta=0.9), losses.Tversky(alpha=0.9, beta=0.1)
    assert value(light, truth, too_much) < value(heavy, truth, too_much)
    assert value(light, truth, -too_much) > value(heavy, truth, -too_much)


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: loss.name)
@pytest.mark.parametrize("count", [1, 3])
class TestEveryLoss:
    """Properties of all losses."""

    def maps(self, count):
        truth = RNG.integers(-1, max(2, count), size=(3, 8, 6))
        return truth, RNG.normal(size=(3, 8, 6, count)).astype("float32")

    def test_void_counts_nowhere(self, loss, count):
        truth, logits = self.maps(count)
        changed = np.where(truth[..., None] < 0, 30 * RNG.normal(size=logits.shape), logits)
        assert value(loss, truth, changed.astype("float32")) == pytest.approx(
            value(loss, truth, logits), rel=1e-5
        )

    def test_the_mean_of_images_is_the_loss_of_the_batch(self, loss, count):
        truth, logits = self.maps(count)
        values = [value(loss, truth[i : i + 1], logits[i : i + 1]) for i in range(3)]
        assert value(loss, truth, logits) == pytest.approx(np.mean(values), rel=1e-5)

    def test_logits_of_the_middle_meet_the_labels_of_the_middle(self, loss, count):
        truth, logits = self.maps(count)
        inner = logits[:, 2:6, 1:5]
        expected = value(loss, truth[:, 2:6, 1:5], inner)
        assert value(loss, truth, inner) == pytest.approx(expected, rel=1e-6)
        with pytest.raises(ValueError, match="8 x 6 pixels"):
            loss(truth[:, 2:6], logits)

    def test_all_void_is_no_nan_and_has_no_slope(self, loss, count):
        import tensorflow as tf

        truth, logits = np.full((1, 4, 4), -1), tf.Variable(tf.ones((1, 4, 4, count)))
        with tf.GradientTape() as tape:
            result = loss(truth, logits)
        slope = np.asarray(tape.gradient(result, logits))
        assert np.isfinite(result) and np.isfinite(slope).all()
        np.testing.assert_allclose(slope, 0, atol=1e-6)

    def test_its_configuration_makes_it_again(self, loss, count):
        truth, logits = self.maps(count)
        again = keras.losses.deserialize(keras.losses.serialize(loss))
        assert type(again) is type(loss)
        assert value(again, truth, logits) == value(loss, truth, logits)


def test_an_empty_image_counts_by_its_false_positives():
    truth = np.zeros((1, 4, 4), int)
    few = np.full((1, 4, 4, 1), -9.0, "float32")
    many = np.full((1, 4, 4, 1), 9.0, "float32")
    for loss in (losses.Dice(), losses.Tversky()):
        assert value(loss, truth, few) < 0.01
        assert value(loss, truth, many) > 0.5


@pytest.mark.parametrize("count", [2, 3])
def test_metrics_equal_scikit_learn(count):
    truth = RNG.integers(-1, count, size=(4, 10, 10))
    logits = RNG.normal(size=(4, 10, 10, 1 if count == 2 else count)).astype("float32")
    predicted = (logits[..., 0] > 0).astype(int) if count == 2 else logits.argmax(-1)
    valid = truth >= 0
    y, guess = truth[valid], predicted[valid]
    mode = dict(average="binary" if count == 2 else "macro")
    wanted = {
        metrics.DiceScore: f1_score(y, guess, **mode),
        metrics.MeanIoU: jaccard_score(y, guess, average="macro"),
        metrics.Accuracy: np.mean(y == guess),
    }
    for kind, expected in wanted.items():
        metric = kind(count)
        metric.update_state(truth[:1], logits[:1])
        metric.update_state(truth[1:], logits[1:])
        assert float(metric.result()) == pytest.approx(expected, rel=1e-5)
        metric.reset_state()
        inner = logits[:, 2:8, 2:8]
        metric.update_state(truth, inner)
        cropped = kind(count)
        cropped.update_state(truth[:, 2:8, 2:8], inner)
        assert float(metric.result()) == float(cropped.result())


def divergence(teacher, student, temperature):
    """Return T² times the mean KL divergence of logits (..., K) at a temperature."""
    p, q = (np.exp(z / temperature) for z in (teacher, student))
    p, q = (e / e.sum(axis=-1, keepdims=True) for e in (p, q))
    return temperature**2 * np.mean(np.sum(p * np.log(p / q), axis=-1))


@pytest.mark.parametrize("shape", [(3, 4), (2, 5, 6, 3), (2, 5, 6, 1)])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_teacher_by_hand(shape, temperature):
    import tensorflow as tf

    teacher, student = RNG.normal(size=(2, *shape)).astype("float32")
    pairs = teacher, student
    if shape[-1] == 1:  # one logit z is equal to the two logits (0, z)
        pairs = (np.concatenate([0 * z, z], axis=-1) for z in pairs)
    loss, wanted = distillation.LogitsDistillation(temperature), divergence(*pairs, temperature)
    with tf.GradientTape(persistent=True) as tape:
        z, same = tf.Variable(student), tf.Variable(teacher)
        result, nothing = (loss.compute_loss(teacher, outputs) for outputs in (z, same))
    assert float(result) == pytest.approx(wanted, rel=1e-4) and wanted > 0.01
    slope = np.asarray(tape.gradient(result, z))
    assert (np.abs(slope) > 0).all()
    if shape[-1] == 1:  # of T² KL, by hand: T (sigmoid(z / T) - sigmoid(teacher / T)), of the mean
        p, q = (1 / (1 + np.exp(-outputs / temperature)) for outputs in (teacher, student))
        np.testing.assert_allclose(slope, temperature * (q - p) / q.size, rtol=1e-3, atol=1e-6)
    assert float(nothing) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(tape.gradient(nothing, same), 0, atol=1e-6)


def network(penalty, units=1, size=4):
    """Return a small network from maps to logits whose activity costs `penalty` each."""
    x = keras.Input((size, size, 2))
    regularizer = keras.regularizers.L2(penalty) if penalty else None
    h = keras.layers.Conv2D(3, 1, activation="tanh", activity_regularizer=regularizer)(x)
    h = keras.layers.BatchNormalization()(keras.layers.Dropout(0.5)(h))
    return keras.Model(x, keras.layers.Conv2D(units, 1)(h))


def test_a_student_keeps_its_regularization_and_the_teacher_stays_as_it_is():
    teacher, student = network(7.0), network(0.1)
    x = RNG.normal(size=(6, 4, 4, 2)).astype("float32")
    y = RNG.integers(-1, 2, size=(6, 4, 4))
    learner = distillation.distiller(teacher, student, 3.0)
    task_metrics = [metrics.Accuracy(2, "accuracy")]
    learner.compile("adam", losses.CrossEntropy(), task_metrics, jit_compile=False)
    logits = [np.asarray(model(x, training=False)) for model in (teacher, student)]
    hard, regularization = value(losses.CrossEntropy(), y, logits[1]), float(sum(student.losses))
    soft = divergence(*(np.concatenate([0 * z, z], axis=-1) for z in logits), 3.0)
    logs = learner.evaluate(x, y, batch_size=6, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx((hard + soft) / 2 + regularization, rel=1e-4)
    assert regularization > 0.01 and 0 <= logs["accuracy"] <= 1
    before = [model.get_weights() for model in (teacher, student)]
    learner.fit(x, y, batch_size=3, epochs=2, verbose=0)
    changed = [
        [not np.array_equal(*pair) for pair in zip(model.get_weights(), old, strict=True)]
        for model, old in zip((teacher, student), before, strict=True)
    ]
    assert not any(changed[0]) and sum(changed[1]) >= 6


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"task": "image_classification"}, ["image_classification", "image_segmentation"]),
        ({"info": {"classes": ["b", "a"], "range": [0, 255]}}, ["b, a", "a, b"]),
        ({"info": {"classes": ["a", "b"], "range": [0, 65535]}}, ["range", "65535", "255"]),
        ({"task_options": {"normalize": "image"}}, ["normalize=image", "--set"]),
        ({"info": None}, ["no record"]),
    ],
)
def test_teachers_that_do_not_fit_are_refused(change, parts):
    task = tasks.get("image_segmentation")
    info = {"classes": ["a", "b"], "range": [0, 255]}
    record = {"task": task.name, "task_options": dict(task.options), "info": info}
    sizes = {**task.options, "tile_height": 64}
    assert distillation.objection({**record, "task_options": sizes}, record, task) is None
    teacher = {key: value for key, value in {**record, **change}.items() if value is not None}
    reason = distillation.objection(teacher, record, task)
    for part in parts:
        assert part in reason


def test_teachers_of_other_shapes_are_refused():
    assert distillation.mismatch(network(0), network(0)) is None
    assert distillation.mismatch(network(0, size=None), network(0)) is None
    assert "(4, 4, 3), and the student's (4, 4, 1)" in distillation.mismatch(
        network(0, units=3), network(0)
    )
    assert "inputs" in distillation.mismatch(network(0, size=8), network(0))


def test_cross_entropy_of_labels_is_keras_and_void_does_not_count():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 5, 3)).astype("float32"), rng.integers(-1, 3, (2, 5))
    known = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    ours = losses.ClassCrossEntropy()
    np.testing.assert_allclose(ours(labels, logits), known(labels, logits), rtol=1e-5)


def test_label_smoothing_is_the_course_s_and_shares_are_mixed():
    logits = np.array([[0.2, -1.0, 0.7]], "float32")
    logs = np.log(np.exp(logits) / np.exp(logits).sum())
    smooth = losses.ClassCrossEntropy(label_smoothing=0.3)
    np.testing.assert_allclose(
        smooth(np.array([1]), logits), -(logs @ [0.1, 0.8, 0.1])[0], rtol=1e-5
    )
    shares = np.array([[0.25, 0.0, 0.75]], "float32")
    plain = losses.ClassCrossEntropy()
    np.testing.assert_allclose(plain(shares, logits), -(logs @ shares[0])[0], rtol=1e-5)
    each = losses.OneVersusAll()(shares, logits)
    known = keras.losses.binary_crossentropy(shares, logits, from_logits=True) * 3
    np.testing.assert_allclose(each, known[0], rtol=1e-5)


def test_class_weights_multiply_the_loss_of_examples_and_pixels():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 3)).astype("float32"), np.array([0, 1, 2, 2])
    weights = [2.0, 0.5, 1.0]
    plain = losses.ClassCrossEntropy(reduction=None)(labels, logits)
    weighted = losses.ClassCrossEntropy(class_weights=weights, reduction=None)(labels, logits)
    np.testing.assert_allclose(weighted, np.array(plain) * np.array(weights)[labels], rtol=1e-5)
    maps, mask = rng.normal(size=(1, 2, 2, 1)).astype("float32"), np.array([[[0, 1], [1, -1]]])
    pixels = keras.losses.binary_crossentropy(
        np.maximum(mask, 0)[..., None].astype("float32"), maps, from_logits=True
    )
    wanted = (np.array(pixels) * np.array([[[3, 0.5], [0.5, 0]]])).sum() / 3
    loss = losses.CrossEntropy(class_weights=[3.0, 0.5])
    np.testing.assert_allclose(loss(mask, maps), wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", [losses.ClassCrossEntropy, losses.CrossEntropy])
def test_cross_entropies_are_restored_with_their_arguments(kind):
    loss = kind(label_smoothing=0.2, class_weights=[1.0, 2.0])
    again = kind.from_config(loss.get_config())
    assert (again.label_smoothing, again.class_weights) == (0.2, [1.0, 2.0])
