"""Combination methods: each builds a head for an `Ensemble`, and fits it if needed.

A method is a function (ensemble, args) to (head, facts, weights): a model from the members' logits
to the ensemble's logits, a dictionary for the record, and the members' weights or None. METHODS
lists them by name; FITTED are those that are fitted to the validation split.
"""

import functools
import importlib.util
import pathlib

import keras
import numpy as np

from ensembles.combining import (
    combine,
    forecast_weights,
    holdout,
    selection,
    soup_model,
    stacking,
)
from ensembles.combining.calibrating import calibrate
from ensembles.members import cache
from zoo.nn.ensemble import Mixture


def average(ensemble, args):
    """Average probabilities, logits or values, with the given weights."""
    of = "logits" if ensemble.common.task.values else args.of
    return ensemble.mixture(args.weights, of), {"of": of, "weights": args.weights}, args.weights


def vote(ensemble, args):
    """Majority vote over the most probable classes, or on each label; the mean breaks ties."""
    require_classes(ensemble, "vote")
    return ensemble.mixture(of="votes"), {}, None


def weights(ensemble, args):
    """Fit the weights of the mean to the validation split."""
    if ensemble.common.task.values:
        fitted = forecast_weights.search(products(ensemble))
        facts = {"metric": "mse", "weights": fitted.tolist()}
        return ensemble.mixture(fitted), facts, fitted
    fitted = selection.search(
        [*map(ensemble.decisions, ensemble.outputs("validation"))],
        ensemble.labels("validation"),
        metric=metric(ensemble, args.metric),
    )
    facts = {"metric": args.metric, "weights": fitted.tolist()}
    return ensemble.mixture(fitted), facts, fitted


def select(ensemble, args):
    """Select members greedily, with replacement, on the validation split."""
    if ensemble.common.task.values:
        fitted, history = forecast_weights.select(products(ensemble), args.rounds)
        facts = {"metric": "mse", "rounds": args.rounds, "weights": fitted.tolist()}
        return ensemble.mixture(fitted), {**facts, "history": history}, fitted
    fitted, history = selection.select(
        [*map(ensemble.decisions, ensemble.outputs("validation"))],
        ensemble.labels("validation"),
        rounds=args.rounds,
        metric=metric(ensemble, args.metric),
    )
    facts = {"metric": args.metric, "rounds": args.rounds, "weights": fitted.tolist()}
    return ensemble.mixture(fitted), {**facts, "history": history}, fitted


def products(ensemble):
    """Return the mean products of the members' errors on the validation split."""
    return forecast_weights.products(ensemble.outputs("validation"), ensemble.labels("validation"))


def require_classes(ensemble, method):
    """Raise a `ValueError` if members return values, not probabilities."""
    if ensemble.common.task.values:
        raise ValueError(f"{method} is for classes, but these members return values. Use average")


def stack(ensemble, args):
    """Train a meta-learner on the members' predictions for the validation split."""
    return fit_meta_learner(
        ensemble.outputs("validation"), ensemble.labels("validation"), ensemble, args
    )


def fit_meta_learner(outputs, y, ensemble, args, data=None):
    """Train a meta-learner on outputs, a list of arrays (n, ..., K), and labels (n, ...)."""
    maps = len(ensemble.shapes[0]) == 3
    data = data or ensemble.data.splits["validation"]
    meta = args.meta or ("conv" if maps else "linear")
    build = load_function(meta) if ":" in meta else meta
    keras.utils.set_random_seed(args.seed)
    shapes = ensemble.shapes[: len(outputs)]
    head = stacking.meta_learner(build, shapes, ensemble.common, args.passthrough)
    history, epoch = stacking.fit(
        head,
        combine.batch_function(outputs, y, data if args.passthrough else None),
        holdout.split(data, y, ensemble.common, args.seed),
        ensemble.common,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        least=0 if meta in stacking.MEANS else 1,
    )
    facts = {"meta": meta, "passthrough": args.passthrough, "epochs": epoch}
    return head, {**facts, "learning_rate": args.learning_rate, "history": history}, None


def load_function(word):
    """Return the function that FILE.py:FUNCTION names.

    Raises:
        ValueError: if there is no such file or function.
    """
    path, _, name = word.rpartition(":")
    path = pathlib.Path(path)
    if path.suffix != ".py" or not path.is_file():
        raise ValueError(f"--meta {word}: there is no file {path}. Give FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise ValueError(f"--meta {word}: {path} has no function {name}. Give FILE.py:FUNCTION")
    return getattr(module, name)


def soup(ensemble, args):
    """Merge the weights of members of one architecture, see `soup_model.build`.

    Returns:
        (model, facts): a model of the members' architecture, and a dictionary for the record.
    """
    common, settings = ensemble.common, {}
    if args.recipe == "greedy":
        score = functools.partial(soup_model.score, common, ensemble.labels("validation"))
        settings["score"] = lambda model: score(ensemble.predict(model, "validation"))
        settings["scores"] = [score(logits) for logits in ensemble.outputs("validation")]
    names = ("base", "fraction", "density", "scale", "seed")
    settings |= {name: getattr(args, name) for name in names}
    return soup_model.build(ensemble.members, common, args.recipe, **settings)


def out_of_fold(parts, ensemble, args):
    """Fit a meta-learner to the members' out-of-fold predictions.

    Args:
        parts: an `Ensemble` per fold: one member of each variant, with the fold as validation.
        ensemble: of all members, ordered by variant, then by fold.
        args: settings of the command.

    Returns:
        (head, facts): the head averages the members' logits by variant before the meta-learner.
    """
    variants = zip(*(part.outputs("validation") for part in parts), strict=True)
    outputs = [np.concatenate(folds) for folds in variants]
    y = np.concatenate([part.labels("validation") for part in parts])
    data = cache.Chained([part.data.splits["validation"] for part in parts])
    meta, facts, _ = fit_meta_learner(outputs, y, ensemble, args, data)
    count, task = len(parts), ensemble.common.task

    def build(logits, passed):
        groups = [logits[i : i + count] for i in range(0, len(logits), count)]
        mean = dict(of="logits" if task.values else "probabilities", multilabel=task.multilabel)
        means = [Mixture(**mean, name=f"mean_{i}")(group) for i, group in enumerate(groups, 1)]
        return meta(combine.named(means) | ({} if passed is None else {combine.PASSED: passed}))

    shape = ensemble.common.input_shape if args.passthrough else None
    return combine.head(build, ensemble.shapes, shape, name="folds"), facts


def metric(ensemble, name):
    """Return the metric to optimise: the log-loss, or the task's first score."""
    if name == "log_loss":
        return name
    task, info = ensemble.common.task, ensemble.common.info

    def score(y, p):
        """Score probabilities (n, ..., C) by the metric that picks the best training epoch."""
        logits = keras.ops.convert_to_numpy(keras.ops.log(keras.ops.maximum(p, 1e-7)))
        if ensemble.common.units == 1 or task.multilabel:
            logits = logits[..., 1:] - logits[..., :1]
        if task.multilabel:  # from decisions (n, K, 1)
            logits = logits[..., 0]
        scores, _ = task.results.evaluate(y, logits, info)
        return scores.get(task.training.best[0].removeprefix("val_"), 0.0)  # without any label

    return score


METHODS = {
    "average": average,
    "vote": vote,
    "weights": weights,
    "select": select,
    "stack": stack,
    "calibrate": calibrate,
}
FITTED = ("weights", "select", "stack", "calibrate")
