"""Stacking on cached predictions gives the same result as training the complete model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ensemble_members import classifier, images, mapper, record

import ensembles
from ensembles.combining import combine, holdout, stacking
from ensembles.members import cache, checks, opening
from zoo import tasks
from zoo.weights import saving


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Return three members that segment bright squares with different errors."""
    folder, files = tmp_path_factory.mktemp("members"), []
    for seed in range(3):
        model = mapper(seed=seed)
        saving.save(model, folder / f"seed_{seed}.keras", record())
        files.append(folder / f"seed_{seed}.keras")
    return files


@pytest.fixture(scope="module")
def gathered(paths):
    """Return members, what they share, examples and outputs; tests must not modify them."""
    opened, (x, y) = opening.open(paths), images(12)
    common, data = checks.check(opened), cache.Examples(x, y)
    return opened, common, data, cache.outputs(opened, common, data)


@pytest.fixture
def eagerly():
    """Run TensorFlow functions eagerly: for few steps, tracing would dominate the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def fit(model, take, count, common):
    keras.utils.set_random_seed(1)
    settings = dict(epochs=2, batch_size=4, learning_rate=0.01, seed=1, verbose=0)
    parts = holdout.random_split(np.zeros(count))
    return stacking.fit(model, take, parts, common, **settings)[0]


@pytest.mark.parametrize(
    "meta, passthrough", [("linear", False), ("dense", True), ("conv", False), ("conv", True)]
)
def test_training_on_kept_outputs_equals_training_the_whole_graph(
    gathered, meta, passthrough, request
):
    """The first case is run as a TensorFlow graph; members do not change."""
    if (meta, passthrough) != ("linear", False):
        request.getfixturevalue("eagerly")
    opened, common, data, outputs = gathered
    shapes = combine.any_size([logits.shape[1:] for logits in outputs])
    quick = stacking.meta_learner(meta, shapes, common, passthrough)
    naive = stacking.meta_learner(meta, shapes, common, passthrough)
    naive.set_weights(quick.get_weights())
    initial = quick.get_weights()
    take = combine.batch_function(outputs, data.y, data if passthrough else None)
    quick_history = fit(quick, take, 12, common)
    model = combine.build_model(opened, common, naive)
    naive_history = fit(model, data.take, 12, common)
    model.verify()
    assert len(model.trainable_weights) == len(naive.trainable_weights)
    for key, values in quick_history.items():
        np.testing.assert_allclose(values, naive_history[key], rtol=2e-3, atol=1e-5, err_msg=key)
    moved = False
    for a, b, before in zip(quick.get_weights(), naive.get_weights(), initial, strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=2e-4)
        moved |= not np.allclose(a, before, atol=1e-3)
    assert moved
    combined = combine.build_model(opened, common, quick)
    np.testing.assert_allclose(
        combined.predict(data.x, verbose=0), combine.apply(quick, outputs, data), atol=1e-5
    )


def test_linear_starts_as_the_exact_mean_of_logits(gathered):
    _, common, data, outputs = gathered
    shapes = combine.any_size([logits.shape[1:] for logits in outputs])
    for passthrough in (False, True):
        head = stacking.meta_learner("linear", shapes, common, passthrough)
        logits = combine.apply(head, outputs, data)
        np.testing.assert_allclose(logits, np.mean(outputs, axis=0), atol=1e-6)


def test_dense_starts_as_the_exact_mean_of_probabilities(gathered):
    _, common, data, outputs = gathered
    shapes = combine.any_size([logits.shape[1:] for logits in outputs])
    head = stacking.meta_learner("dense", shapes, common)
    mean = combine.apply(combine.mixture(shapes), outputs)
    np.testing.assert_allclose(combine.apply(head, outputs), mean, atol=1e-5)


def test_conv_is_the_meta_learner_of_the_course(gathered):
    _, common, _, outputs = gathered
    head = stacking.meta_learner("conv", combine.any_size([z.shape[1:] for z in outputs]), common)
    kernels = [weight.shape for weight in head.trainable_weights if len(weight.shape) == 4]
    assert kernels == [(3, 3, 3, 16), (1, 1, 16, 1)]
    assert head.count_params() == 3 * 9 * 16 + 4 * 16 + 17


def test_stacking_learns_which_member_is_right(tmp_path):
    """One member is right and two predict the opposite; the first gets the weight."""
    x, y = images(16)
    for name, sign in {"right": 8.0, "wrong": -3.0, "wrong_too": -3.0}.items():
        entry = keras.Input((None, None, 1))
        logits = keras.layers.Conv2D(1, 1, name="logits")(entry)
        model = keras.Model(entry, logits)
        model.set_weights([np.full((1, 1, 1, 1), sign), np.array([-sign * 0.55])])
        saving.save(model, tmp_path / f"{name}.keras", record())
    paths = [tmp_path / f"{name}.keras" for name in ("right", "wrong", "wrong_too")]

    def accuracy(model):
        return np.mean((model.predict(x, verbose=0)[..., 0] > 0) == y)

    settings = dict(epochs=12, batch_size=4, learning_rate=0.3, verbose=0)
    stacked = ensembles.stack(paths, x, y, "linear", **settings)
    assert accuracy(stacked) > 0.97
    assert accuracy(ensembles.vote(paths)) < 0.1


def test_independent_errors_gain_what_theory_says():
    """Members x = ±1 + noise: accuracy Φ(M / √Σσ²) of the mean, Φ(√Σσ⁻²) of the best weights.

    The best weights are the inverse variances, to which the linear meta-learner, a logistic
    regression, converges.
    """
    from scipy.stats import norm

    sigma, rng = np.array([1.0, 2.0, 3.0]), np.random.default_rng(0)
    task = tasks.get("image_classification")
    common = checks.Common(task, dict(task.options), {"classes": ["a", "b"]}, (8, 8, 1), 2)

    def draw(count):
        y = rng.integers(2, size=count)
        x = 2.0 * y - 1 + sigma[:, None] * rng.normal(size=(3, count))
        return [np.stack([0 * z, z], axis=-1).astype(np.float32) for z in x], y

    (outputs, y), (unseen, truth) = draw(20_000), draw(100_000)
    head = stacking.meta_learner("linear", [(2,)] * 3, common)
    settings = dict(epochs=4, batch_size=200, learning_rate=0.03, verbose=0)
    stacking.fit(
        head, combine.batch_function(outputs, y), holdout.random_split(y), common, **settings
    )

    def accuracy(head):
        return np.mean(combine.apply(head, unseen, batch_size=10_000).argmax(axis=-1) == truth)

    mean = combine.mixture([(2,)] * 3, of="logits")
    np.testing.assert_allclose(accuracy(mean), norm.cdf(3 / np.sqrt(np.sum(sigma**2))), atol=0.005)
    np.testing.assert_allclose(accuracy(head), norm.cdf(np.sqrt(np.sum(sigma**-2.0))), atol=0.005)


def test_a_builder_of_ones_own_and_a_wrong_one(paths):
    x, y = images(12)

    def custom(logits, passed, units, kernel_size):
        return keras.layers.Maximum()(logits)

    def wrong(logits, passed, units, kernel_size):
        return keras.layers.Concatenate()(logits)

    stacked = ensembles.stack(paths, x, y, custom, epochs=1, verbose=0).predict(x, verbose=0)
    outputs = [saving.load(path).predict(x, verbose=0) for path in paths]
    np.testing.assert_allclose(stacked, np.max(outputs, axis=0), atol=1e-5)
    with pytest.raises(ValueError, match="returns 3 logits, but 1 are needed"):
        ensembles.stack(paths, x, y, wrong, epochs=1)
    with pytest.raises(ValueError, match="unknown meta-learner 'dens': there are"):
        ensembles.stack(paths, x, y, "dens")


def test_classifiers_stack_and_conv_is_refused_there(tmp_path):
    for seed in (0, 1):
        classifier(seed=seed, units=3, ending="softmax").save(tmp_path / f"c{seed}.keras")
    paths = [tmp_path / f"c{seed}.keras" for seed in (0, 1)]
    x, y = images(12, channels=3)[0], np.arange(12) % 3
    opened = opening.open(paths)
    assert checks.check(opened).task.name == "image_classification"
    settings = dict(epochs=1, verbose=0)
    info = {"classes": ["a", "b", "c"]}
    for meta in ("linear", "dense"):
        model = ensembles.stack(paths, x, y, meta, passthrough=True, info=info, **settings)
        assert model.predict(x, verbose=0).shape == (12, 3)
    with pytest.raises(ValueError, match="conv stacks maps"):
        ensembles.stack(paths, x, y, "conv", info=info, **settings)


def test_too_few_examples_are_refused(paths):
    x, y = images(1)
    with pytest.raises(ValueError, match="1 examples are too few"):
        ensembles.stack(paths, x, y)


def test_half_precision_of_kept_outputs_changes_little(gathered, tmp_path):
    opened, common, data, outputs = gathered
    half = cache.outputs(opened, common, data, folder=tmp_path, key="toy", dtype="float16")
    assert half[0].dtype == np.float16
    for full, halved in zip(outputs, half, strict=True):
        np.testing.assert_allclose(full, halved, rtol=1e-3, atol=1e-4)
    assert combine.apply(combine.mixture([(None, None, 1)] * 3), half).dtype == np.float32


@pytest.mark.parametrize("build", [stacking.by_step, stacking.across_steps])
def test_stacked_forecasts_follow_a_level_and_never_take_less_than_nothing(build):
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=(2, 400, 3, 2)).astype(np.float32)
    good, bad = truth + noise, truth + 3 * noise  # least squares would take 1.5 good - 0.5 bad
    inputs = [keras.Input((3, 2)) for _ in range(2)]
    head = keras.Model(inputs, build(inputs, None, 2, 3))
    np.testing.assert_allclose(head([good, bad]), (good + bad) / 2, rtol=1e-5, atol=1e-6)
    head.compile(keras.optimizers.Adam(0.05), "mse")
    head.fit([good, bad], truth, epochs=20, verbose=0)
    shares = np.asarray(keras.ops.softmax(head.get_layer("weights").get_weights()[0]))
    assert shares.shape == (3, 2) and (shares[:, 0] > 0.9).all()
    forecast = np.asarray(head([good, bad]))
    assert ((truth - forecast) ** 2).mean() < 1.1
    np.testing.assert_allclose(head([good + 5, bad + 5]), forecast + 5, rtol=1e-5, atol=1e-5)


def digits(count, seed):
    """Return logits (count, 10) of three members, and sorted labels.

    Each member is confident, and confuses each class with another in a share of its examples.
    """
    rng = np.random.default_rng(seed)
    y, outputs = np.sort(np.arange(count) % 10), []
    for i, share in enumerate((0.15, 0.3, 0.4)):
        seen = np.where(rng.random(count) < share, (y + 1 + i) % 10, y)
        outputs.append(6 * np.eye(10)[seen] + rng.normal(0, 1, (count, 10)))
    return [logits.astype(np.float32) for logits in outputs], y


def test_rows_in_the_order_of_their_classes_spoil_no_class():
    """The last 15 % of rows are of two classes; holding them out gave class 9 a recall of 15 %."""
    task = tasks.get("image_classification")
    names = [str(k) for k in range(10)]
    common = checks.Common(task, dict(task.options), {"classes": names}, (8, 8, 1), 10)
    (outputs, y), (unseen, truth) = digits(200, 0), digits(1000, 1)
    head = stacking.meta_learner("linear", [(10,)] * 3, common)
    parts = holdout.split(cache.Examples(y, y), y, common)
    settings = dict(epochs=8, batch_size=8, learning_rate=0.03, verbose=0, least=0)
    stacking.fit(head, combine.batch_function(outputs, y), parts, common, **settings)
    right = combine.apply(head, unseen, batch_size=500).argmax(axis=-1) == truth
    assert right.mean() > max(np.mean(logits.argmax(axis=-1) == truth) for logits in unseen) + 0.05
    assert min(right[truth == k].mean() for k in range(10)) > 0.6


@pytest.mark.usefixtures("eagerly")
def test_a_start_that_is_best_is_kept():
    """With unpredictable labels any epoch is worse than the mean."""
    rng = np.random.default_rng(0)
    outputs, y = [np.zeros((40, 3), np.float32)] * 2, rng.integers(3, size=40)
    task = tasks.get("image_classification")
    common = checks.Common(task, dict(task.options), {"classes": [*"abc"]}, (8, 8, 1), 3)
    take, parts = combine.batch_function(outputs, y), (np.arange(20), np.arange(20, 40))
    y[:20], y[20:] = 0, 1  # the held-out labels are the opposite
    for least, wanted in ((0, 0), (1, 1)):
        head = stacking.meta_learner("linear", [(3,)] * 2, common)
        before = head.get_weights()
        settings = dict(epochs=2, batch_size=20, verbose=0, least=least)
        history, epoch = stacking.fit(head, take, parts, common, **settings)
        assert epoch == wanted and len(history["val_loss"]) == 2
        assert np.allclose(before[1], head.get_weights()[1]) == (epoch == 0)


CODE = {
    "holds a Lambda layer": "keras.layers.Lambda(lambda z: z)(logits[0])",
    "needs .*Mine, which is no building block": "Mine()(logits[0])",
}


@pytest.mark.parametrize("why", CODE)
def test_a_head_that_could_not_be_loaded_is_refused_before_it_is_trained(why):
    class Mine(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    task = tasks.get("image_classification")
    common = checks.Common(task, {}, {"classes": [*"abc"]}, (8, 8, 1), 3)
    scope = {"keras": keras, "Mine": Mine}
    build = eval(f"lambda logits, passed, units, kernel_size: {CODE[why]}", scope)
    with pytest.raises(ValueError, match=f"the meta-learner {why}"):
        stacking.meta_learner(build, [(3,)] * 2, common)


def test_a_head_of_ones_own_may_end_in_a_softmax():
    task = tasks.get("image_classification")
    common = checks.Common(task, {}, {"classes": [*"abc"]}, (8, 8, 1), 3)
    logits = [np.random.default_rng(i).normal(size=(4, 3)).astype(np.float32) for i in range(2)]

    def build(logits, passed, units, kernel_size):
        return keras.layers.Softmax()(keras.layers.Add()(logits))

    head = stacking.meta_learner(build, [(3,)] * 2, common)
    np.testing.assert_allclose(head(combine.named(logits)), sum(logits), rtol=1e-5)
