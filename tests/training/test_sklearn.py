"""zoo.sklearn: estimators that scikit-learn's tools and checks accept, trained as by train.py."""

import pickle

import keras
import numpy as np
import pytest
from conftest import CLASSES, motion, picture
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import ensembles
import zoo
from train import main as train
from zoo.sklearn import ZooClassifier, ZooForecaster, ZooRegressor, base
from zoo.tasks.sequence_classification import task as sequence

LINEAR = dict(
    model="logistic_regression", epochs=1, batch_size=64, learning_rate=0.1, random_state=0
)
COSTLY = {  # of up to 60 trainings each: they pass, and take two minutes
    "check_classifiers_train",
    "check_classifiers_classes",
    "check_classifier_data_not_an_array",
    "check_estimators_dtypes",
    "check_regressors_train",
    "check_regressors_int",
    "check_regressor_data_not_an_array",
}
OF_TIME = {  # not for steps in the order of time
    "check_methods_sample_order_invariance": "the order of the rows is what is learned",
    "check_methods_subset_invariance": "a part of a series has another end to forecast from",
    "check_fit1d": "X (T,) is a series of one value a step",
    "check_fit2d_predict1d": "X (T,) is a series of one value a step",
}


@pytest.fixture(autouse=True)
def eagerly():
    """Run steps without tracing them, which takes most of the time of so small trainings."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def blobs(count=60, seed=0):
    """Return rows (n, 4) of three classes that are far apart, in large units, and their names."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % 3
    x = 3 * np.eye(4)[labels] + rng.normal(0, 0.5, (count, 4))
    return 100 * x + 7, np.array(["ant", "bee", "cat"])[labels]


def word(value):
    """Return the name of a check, for the name of its test."""
    return getattr(getattr(value, "func", value), "__name__", "estimator")


def checks(estimator, left_out):
    """Return pairs of an estimator and a check of scikit-learn."""
    pairs = [*estimator_checks_generator(estimator, mark=None)]
    assert left_out <= {word(check) for _, check in pairs}
    return [(own, check) for own, check in pairs if word(check) not in left_out]


SERIES = dict(options={"window": 2, "horizon": 1}, epochs=1, batch_size=64, random_state=0)
CHECKED = [
    *checks(ZooClassifier(**LINEAR), {name for name in COSTLY if "regressor" not in name}),
    *checks(ZooForecaster("autoregression", **SERIES), {*OF_TIME, "check_estimators_dtypes"}),
]
OF_REGRESSORS = [  # the others are the same code as the classifier's
    (own, check)
    for own, check in checks(ZooRegressor(**LINEAR), {n for n in COSTLY if "classifier" not in n})
    if "regressor" in word(check) or "y_" in word(check)
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), [*CHECKED, *OF_REGRESSORS], ids=word)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_classifier_is_the_training_of_train_py(tmp_path):
    """The same arrays, options and seed give the same weights, scores and epoch."""
    examples = [picture(np.random.default_rng(seed)) for seed in range(40)]
    x = np.stack([example["image"][:32, :32] for example in examples])
    y = np.array([example["label"] for example in examples])
    names = np.array(CLASSES)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4], classes=names)
    words = "--model mlp --set widths=(16,) --set rotation=5 --epochs 3 --batch-size 8 --seed 3"
    words += f" --optimizer momentum --data {tmp_path / 'data.npz'} --name own --out {tmp_path}"
    assert train(words.split()) == 0
    own = zoo.load(tmp_path / "own")
    options = {"widths": (16,), "rotation": 5.0}
    settings = dict(options=options, recipe={"optimizer": "momentum"}, epochs=3, batch_size=8)
    estimator = ZooClassifier("mlp", **settings, random_state=3).fit(x, names[y])
    for array, other in zip(estimator.model_.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_array_equal(array, other)
    assert estimator.history_.keys() >= {"loss", "val_accuracy", "learning_rate"}
    assert len(estimator.history_["loss"]) == 3 and 1 <= estimator.best_epoch_ <= 3
    rows = zoo.predict(tmp_path / "own", list(x))
    assert [row["class"] for row in rows] == estimator.predict(x).tolist()
    estimator.save(tmp_path / "mine.keras")
    assert [row["class"] for row in zoo.predict(tmp_path / "mine.keras", list(x))] == [
        row["class"] for row in rows
    ]
    mean = ensembles.average([tmp_path / "own", tmp_path / "mine.keras"])
    assert mean.output_shape == (None, 4)


def test_cross_validation_search_pipeline_and_stacking():
    x, y = blobs()
    estimator = ZooClassifier(options={"widths": (8,)}, **{**LINEAR, "model": "mlp", "epochs": 10})
    assert clone(estimator).get_params() == estimator.get_params()
    assert cross_val_score(estimator, x, y, cv=2).min() > 0.7
    grid = {"options": [{"widths": (1,), "activation": "relu"}, {"widths": (8,)}]}
    search = GridSearchCV(estimator, grid, cv=2).fit(x, y)
    assert search.best_params_["options"]["widths"] == (8,) and search.score(x, y) > 0.7
    pipeline = make_pipeline(StandardScaler(), estimator)
    stack = StackingClassifier([("zoo", pipeline), ("linear", LogisticRegression())], cv=2)
    assert stack.fit(x, y).score(x, y) > 0.9


def test_a_regressor_predicts_in_the_units_of_y():
    x, _ = blobs(80)
    y = x @ [[1.0, 0], [0, 2], [3, 0], [0, 0]] + [1000, -5]
    estimator = ZooRegressor(**{**LINEAR, "epochs": 15, "learning_rate": 0.2}).fit(x, y)
    assert estimator.predict(x).shape == y.shape and estimator.score(x, y) > 0.9
    one = clone(estimator).set_params(epochs=1).fit(x, y[:, 0])
    assert one.predict(x).shape == (80,) and one.predict(x).mean() > 500


def test_a_forecaster_of_a_series_with_gaps():
    steps = np.sin(np.arange(200)[:, None] * np.pi / 6 + [0, 1]) * [10, 1] + [100, 0]
    steps[50, 0] = np.nan
    options = {"window": 24, "horizon": 6}
    estimator = ZooForecaster("autoregression", options=options, epochs=30, random_state=0)
    estimator.fit(steps)
    assert estimator.score(steps) > 0.95
    np.testing.assert_allclose(estimator.predict(steps[:150]), steps[150:156], atol=2)
    scores = cross_val_score(clone(estimator), steps, cv=TimeSeriesSplit(2, test_size=40))
    assert scores.shape == (2,) and np.isfinite(scores).all()
    one = clone(estimator).set_params(epochs=1).fit(steps[:, 1])
    assert one.predict(steps[:, 1]).shape == (6, 1)
    with pytest.raises(ValueError, match="X has 10 steps, and one window and horizon are 30"):
        one.score(steps[:10, 1])


def test_series_and_states_of_generators():
    examples = [motion(np.random.default_rng(seed)) for seed in range(24)]
    x, y = (np.stack([example[key] for example in examples]) for key in ("series", "label"))
    x = x[:, :6]
    before = np.random.get_state()[1].copy()
    small = dict(options={"units": 4}, epochs=1, random_state=0)
    estimator = ZooClassifier("elman", **small).fit(x, y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    again = pickle.loads(pickle.dumps(estimator))
    p = estimator.predict_proba(x)
    np.testing.assert_array_equal(again.predict_proba(x), p)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert estimator.record_["task"] == "sequence_classification"
    assert estimator.model_.input_shape == (None, 6, 2)
    assert base.examples(sequence.TASK, x[..., 0])[0]["series"].shape == (6, 1)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (ZooClassifier("mpl"), "unknown model 'mpl': did you mean mlp"),
        (ZooClassifier("unet"), "unet takes X of shape other data, not an array with 2 axes"),
        (ZooClassifier("resnet"), r"resnet takes X of shape \(n, H, W, C\), not an array with 2"),
        (ZooClassifier(options={"width": 2}), "unknown option of mlp 'width': did you mean widths"),
        (ZooClassifier(options={"widths": 3}), "options: widths is 3, it must be of type tuple"),
        (ZooClassifier(options={"loss": "dice"}), "options: unknown loss 'dice'"),
        (ZooClassifier(recipe={"optimiser": "sgd"}), "unknown option of a recipe 'optimiser'"),
        (ZooClassifier(recipe={"optimizer": "adan"}), "unknown optimizer 'adan': did you mean"),
        (ZooClassifier(recipe={"freeze": True}), "recipe: freeze: it is for transferred weights"),
        (ZooClassifier(epochs=0), "epochs is 0: give a number above 0"),
        (ZooRegressor("gru"), "gru returns classes or forecasts for X with 2 axes, not values"),
        (ZooForecaster("mlp"), "mlp is no forecaster. Use lstm"),
        (ZooForecaster(options={"window": 90}), "its train part holds no window|no window of 90"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(estimator, message):
    x, _ = blobs()
    with pytest.raises(ValueError, match=message):
        estimator.fit(x, np.arange(60) % 2)
    with pytest.raises(NotFittedError):
        estimator.predict(x)


def test_one_class_and_too_few_examples_are_refused():
    x, y = blobs()
    with pytest.raises(ValueError, match="y has one class, ant"):
        ZooClassifier().fit(x, ["ant"] * 60)
    with pytest.raises(ValueError, match="2 examples are too few to split"):
        ZooClassifier().fit(x[:2], y[:2])
