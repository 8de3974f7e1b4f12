"""The methods of combining: each makes a head from an `Assembly`, and returns its results.

A method is a function (assembly, args) to (head, facts, weights): a model from the members' logits
to the ensemble's, a dictionary for the record, and each member's weight or None. METHODS names
them; FITTED are those that learn from the validation split.
"""

import importlib.util
import pathlib

import keras
import numpy as np

from ensembles.combining import combine, forecast_weights, holdout, selection, stacking
from ensembles.combining import soup as soups
from ensembles.evaluation import calibration
from ensembles.members import cache, graph
from zoo.nn.ensemble import Mixture
from zoo.weights import saving


def average(assembly, args):
    """Take the mean of probabilities, or of logits or values, with the weights given."""
    of = "logits" if assembly.common.task.values else args.of
    head = combine.mixture(assembly.shapes, args.weights, of)
    return head, {"of": of, "weights": args.weights}, args.weights


def vote(assembly, args):
    """Let each member vote for its most probable class; ties go to the higher mean probability."""
    of_classes(assembly, "vote")
    return combine.mixture(assembly.shapes, of="votes"), {}, None


def weights(assembly, args):
    """Search the weights of the mean on the validation split."""
    if assembly.common.task.values:
        found = forecast_weights.search(products(assembly))
        facts = {"metric": "mse", "weights": found.tolist()}
        return combine.mixture(assembly.shapes, found, "logits"), facts, found
    found = selection.search(
        assembly.outputs("validation"),
        assembly.labels("validation"),
        metric=metric(assembly, args.metric),
    )
    facts = {"metric": args.metric, "weights": found.tolist()}
    return combine.mixture(assembly.shapes, found), facts, found


def select(assembly, args):
    """Choose members greedily, with replacement, on the validation split."""
    if assembly.common.task.values:
        found, history = forecast_weights.select(products(assembly), args.rounds)
        facts = {"metric": "mse", "rounds": args.rounds, "weights": found.tolist()}
        head = combine.mixture(assembly.shapes, found, "logits")
        return head, {**facts, "history": history}, found
    found, history = selection.select(
        assembly.outputs("validation"),
        assembly.labels("validation"),
        rounds=args.rounds,
        metric=metric(assembly, args.metric),
    )
    facts = {"metric": args.metric, "rounds": args.rounds, "weights": found.tolist()}
    return combine.mixture(assembly.shapes, found), {**facts, "history": history}, found


def products(assembly):
    """Return the mean products of the members' errors on the validation split."""
    return forecast_weights.products(assembly.outputs("validation"), assembly.labels("validation"))


def of_classes(assembly, method):
    """Raise a `ValueError` if members return values, which have no probability."""
    if assembly.common.task.values:
        raise ValueError(f"{method} is for classes, and these members return values. Take average")


def stack(assembly, args):
    """Train a meta-learner on the members' predictions for the validation split."""
    return stacked(assembly.outputs("validation"), assembly.labels("validation"), assembly, args)


def stacked(outputs, y, assembly, args, data=None):
    """Train a meta-learner on given outputs (list of (n, ..., K)) and labels (n, ...)."""
    maps = len(assembly.shapes[0]) == 3
    data = data or assembly.data.splits["validation"]
    meta = args.meta or ("conv" if maps else "linear")
    build = outside(meta) if ":" in meta else meta
    keras.utils.set_random_seed(args.seed)
    shapes = assembly.shapes[: len(outputs)]
    head = stacking.meta_learner(build, shapes, assembly.common, args.passthrough)
    history, epoch = stacking.fit(
        head,
        combine.taker(outputs, y, data if args.passthrough else None),
        holdout.split(data, y, assembly.common, args.seed),
        assembly.common,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        least=0 if meta in stacking.MEANS else 1,
    )
    facts = {"meta": meta, "passthrough": args.passthrough, "epochs": epoch}
    return head, {**facts, "learning_rate": args.learning_rate, "history": history}, None


def outside(word):
    """Return the builder that FILE.py:FUNCTION names.

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


def calibrate(assembly, args):
    """Divide the logits by the temperature that makes the validation split the most likely."""
    of_classes(assembly, "calibrate")
    found = calibration.temperature(
        assembly.outputs("validation")[0], assembly.labels("validation")
    )
    layer = keras.layers.Rescaling(1 / found, name="temperature")
    head = combine.head(lambda logits, passed: layer(logits[0]), assembly.shapes)
    return head, {"temperature": found}, None


def soup(assembly, args):
    """Average the weights of members of one architecture.

    Returns:
        (model, facts): a model like the first member's, and what was chosen.

    Raises:
        ValueError: if two members' weights differ in number or shape.
    """
    names = [member.name for member in assembly.members]
    weights = []
    for member in assembly.members:
        model = graph.in_logits(saving.load(member.path), member.path)
        weights.append(model.get_weights())
    if args.recipe == "uniform":
        model.set_weights(soups.uniform(weights, names=names))
        return model, {"recipe": "uniform"}
    y, (best, mode) = assembly.labels("validation"), assembly.common.task.training.best

    def score(outputs):
        scores, _ = assembly.common.task.results.evaluate(y, outputs, assembly.common.info)
        return scores[best.removeprefix("val_")] * (1 if mode == "max" else -1)

    def evaluate(some):
        model.set_weights(some)
        return score(assembly.predict(model, "validation"))

    alone = [score(one) for one in assembly.outputs("validation")]
    found, chosen, history = soups.greedy(weights, alone, evaluate, names=names)
    model.set_weights(found)
    chosen = [names[i] for i in chosen]
    return model, {"recipe": "greedy", "chosen": chosen, "history": history}


def out_of_fold(parts, assembly, args):
    """Fit a meta-learner to what members say of the examples that they have not been trained on.

    Args:
        parts: an `Assembly` a fold: one member of each variant, and the fold as its validation.
        assembly: of all members, the folds of the first variant first.
        args: settings of the command.

    Returns:
        (head, facts): the head takes all members' logits; those of a variant are averaged first.
    """
    said = zip(*(part.outputs("validation") for part in parts), strict=True)
    outputs = [np.concatenate(each) for each in said]
    y = np.concatenate([part.labels("validation") for part in parts])
    data = cache.Chained([part.data.splits["validation"] for part in parts])
    meta, facts, _ = stacked(outputs, y, assembly, args, data)
    count = len(parts)

    def build(logits, passed):
        groups = [logits[i : i + count] for i in range(0, len(logits), count)]
        means = [Mixture(name=f"mean_{i}")(group) for i, group in enumerate(groups, 1)]
        return meta(combine.named(means) | ({} if passed is None else {combine.PASSED: passed}))

    shape = assembly.common.input_shape if args.passthrough else None
    return combine.head(build, assembly.shapes, shape, name="folds"), facts


def metric(assembly, name):
    """Return the metric that a search improves: the log-loss, or the task's first score."""
    if name == "log_loss":
        return name
    task, info = assembly.common.task, assembly.common.info

    def score(y, p):
        """Score probabilities (n, ..., C) by the value that picks a training's best epoch."""
        logits = keras.ops.convert_to_numpy(keras.ops.log(keras.ops.maximum(p, 1e-7)))
        if assembly.common.units == 1:
            logits = logits[..., 1:] - logits[..., :1]
        scores, _ = task.results.evaluate(y, logits, info)
        return scores[task.training.best[0].removeprefix("val_")]

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
