"""A training on examples in memory: the steps of train.py, in a temporary run folder."""

import contextlib
import io
import pathlib
import random
import tempfile
import time

import keras
import numpy as np
from sklearn.utils import check_random_state

from datasets import in_memory, pipeline
from zoo import assignments, index
from zoo.registry import unknown
from zoo.system import precision, terminal
from zoo.training import balance, building, fitting, length, recipe, runs
from zoo.weights import saving


def train(estimator, task, examples, classes=(), constants=None):
    """Train an estimator's model; set model_, record_, history_ and best_epoch_.

    Args:
        estimator: with the parameters of `zoo.sklearn.base.ZooEstimator`.
        task: the task record.
        examples: a list of dictionaries of arrays.
        classes: names of the classes.
        constants: see `datasets.source.Source`.

    Raises:
        ValueError: if the parameters or the data do not fit, or the loss is not finite.
    """
    settings, given = settings_of(estimator, task)
    with quiet(estimator.verbose), fixed(settings), tempfile.TemporaryDirectory() as temporary:
        about = dict(classes=classes, constants=constants)
        data = in_memory.prepare(examples, task, options=given, **about)
        chosen = {**settings, "task_options": given}
        if size := building.larger(chosen, task.of(data.info), data):
            data = in_memory.prepare(examples, task, options={**given, **size}, **about)
        task = task.of(data.info)
        if data.options.get("class_weights", "none") == "balanced" and not task.values:
            data.info["class_weights"] = balance.weights(data.splits["train"], len(classes))
        count = len(data.splits["train"])
        settings = length.complete(settings, task.training.defaults, count)
        record = runs.record(settings, task, data)
        model, exported = building.build(settings, task, record, {})
        run = runs.Run.named(pathlib.Path(temporary, "run"), record, time.time())
        size, seed = settings["batch_size"], settings["seed"]
        shared = dict(seed=seed, sampler=task.training.sampler(data.options))
        augment = task.training.augment(record["info"], data.options)
        batches = pipeline.Batches(
            data.splits["train"], size, training=True, augment=augment, **shared
        )
        validation = pipeline.Batches(data.splits["validation"], size, **shared)
        interrupt = terminal.Interrupt()
        recorder, status = fitting.fit(
            model, batches, validation, run, task, settings, interrupt, exported
        )
        run.note(status=status, epochs=recorder.epochs, best_epoch=recorder.best_epoch)
        if status == "interrupted":
            raise KeyboardInterrupt
        if status == "diverged":
            raise ValueError(
                f"{settings['model']}: the loss is not finite in epoch {recorder.epochs + 1}. Try "
                "a smaller learning_rate"
            )
        estimator.model_, estimator.record_ = saving.load(run.folder / "model.keras"), run.record
    estimator.history_, estimator.best_epoch_ = recorder.history, recorder.best_epoch


def settings_of(estimator, task):
    """Return the settings as train.py's, and the options of the task that are given.

    Raises:
        ValueError: if there is no such option, or it has another value than it may.
    """
    row = index.models()[estimator._model]
    given, chosen = dict(estimator.options or {}), dict(estimator.recipe or {})
    known = {**row.options, **task.options}
    explanations = dict(row.explanations)
    explanations |= index.tasks().get(task.name, {}).get("explanations", {})
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"options: {unknown(f'option of {row.name}', key, known)}")
        if mistake := assignments.misfit(value, known[key], explanations.get(key, "")):
            raise ValueError(f"options: {key} is {value!r}, it must be {mistake}")
    if (loss := given.get("loss")) not in (None, *task.training.losses):
        raise ValueError(f"options: {unknown('loss', loss, task.training.losses)}")
    for key in chosen.keys() - recipe.DEFAULTS.keys():
        raise ValueError(f"recipe: {unknown('option of a recipe', key, recipe.DEFAULTS)}")
    for key, table in (("optimizer", recipe.OPTIMIZERS), ("schedule", recipe.SCHEDULES)):
        if chosen.get(key, recipe.DEFAULTS[key]) not in table:
            raise ValueError(f"recipe: {unknown(key, chosen[key], table)}")
    chosen = {**recipe.DEFAULTS, **chosen}
    args = dict(snapshots=None, init=estimator.init, epochs=estimator.epochs)
    for option, why in recipe.conflicts(chosen, args):
        raise ValueError(f"recipe: {option}: {why}")
    for name in ("epochs", "batch_size", "learning_rate"):
        if (value := getattr(estimator, name)) is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name} is {value}: give a number above 0")
    defaults, rate = task.training.defaults, estimator.learning_rate
    rate = recipe.learning_rate(chosen, defaults["learning_rate"]) if rate is None else rate
    settings = dict(
        model=row.name,
        task=task.name,
        options={key: value for key, value in given.items() if key not in task.options},
        seed=seed(estimator.random_state),
        epochs=estimator.epochs,
        batch_size=estimator.batch_size,
        learning_rate=rate,
        recipe=chosen,
        jit=defaults["jit"] if estimator.jit is None else bool(estimator.jit),
        precision=precision.chosen(estimator.precision),
        init=None if estimator.init is None else str(estimator.init),
    )
    return settings, {key: value for key, value in given.items() if key in task.options}


def tasks_of(model):
    """Return the names of the tasks of a model; raise a `ValueError` if there is none."""
    if model not in index.models():
        raise ValueError(unknown("model", str(model), index.models()))
    return index.models()[model].tasks


def seed(random_state):
    """Return the seed of a `random_state`: an integer is the seed itself, as --seed."""
    if isinstance(random_state, int | np.integer) and random_state >= 0:
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31))


@contextlib.contextmanager
def fixed(settings):
    """Seed all generators and set the precision, as train.py does; restore them afterwards."""
    states = np.random.get_state(), random.getstate()
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(settings["seed"])
    keras.config.set_dtype_policy(settings["precision"])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        np.random.set_state(states[0])
        random.setstate(states[1])


def quiet(verbose):
    """Return a context in which nothing is printed unless `verbose`."""
    return contextlib.nullcontext() if verbose else contextlib.redirect_stdout(io.StringIO())
