"""A task: what depends on the kind of problem and not on the model, a record of functions.

`train.py` and `python -m zoo predict` call these in order, whichever the task.
"""

import dataclasses
import functools
import importlib
import math
import operator
from collections.abc import Callable, Mapping

import numpy as np

from zoo import index
from zoo.registry import unknown
from zoo.tasks import targets
from zoo.tasks.targets import report
from zoo.tasks.targets.classes import accuracies, cross_entropy

DEFAULTS = dict(epochs=20, updates=800, batch_size=32, learning_rate=0.001, jit=False)
BLOCK = 2**22  # numbers of outputs that are summarized at once, 16 MB


def whole_example(example, options):
    """Return an example as its only piece."""
    return [example]


def identity(shape, options):
    """Return the only view of an input that is not changed."""
    return [(lambda x: x, lambda y: y)]


@dataclasses.dataclass(frozen=True)
class Data:
    """What examples must be, and how they become arrays; read by `datasets`.

    Attributes:
        fields: the names of the arrays that an example must have.
        prepare: (piece, info, options) to (x, y) as the model takes them; y is None if unknown.
        measure: (examples, options) to constants of the data set, a dictionary. The examples are
            a sample of the training split.
        measures_all: `measure` is given all of the training split instead, where one example may
            decide, as the longest series does.
        cut: (example, options) to the list of pieces that are trained on and scored.
        cover: (example, options) to the list of pieces that together predict all of an example,
            if these are others.
        prepared: the names of those options that `measure`, `cut` and `prepare` read.
        sizes: the names of those of them that do no more than set the size of x, in which the
            members of an ensemble may differ. One that is 0 becomes what `measure` returns under
            its name.
        series: (info, options) to the arguments of `datasets.windows.split`, where a piece is a
            series and the examples are windows of it; or None.
        objects: y of a split to the number of objects in it that are trained on or scored, where it
            may be 0, as in images without boxes; or None.
        by_class: whether validation and test have classes that training has not.
        layouts: `datasets.readers.Layout`s of the user's files, of a task that `datasets.readers`
            does not know.
    """

    fields: tuple
    prepare: Callable
    measure: Callable = lambda examples, options: {}
    measures_all: bool = False
    cut: Callable = whole_example
    cover: Callable | None = None
    prepared: tuple = ()
    sizes: tuple = ()
    series: Callable | None = None
    objects: Callable | None = None
    by_class: bool = False
    layouts: tuple = ()

    def __post_init__(self):
        if self.cover is None:
            object.__setattr__(self, "cover", self.cut)


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained and how; read by `train.py`.

    Attributes:
        arguments: (info, options) to what the data decides of a builder's arguments.
        suggestions: (info, options) to values of the builder's options that suit such data, taken
            where the builder has such an option and the user has not set it.
        defaults: of `--epochs`, `--batch-size`, `--learning-rate` and `--jit`, and the least number
            of "updates" that a small data set is trained, see `zoo.training.length`.
        losses: what the option `loss` may be, and with it `--loss`; () if its models have their
            own loss.
        loss: (info, options) to the loss; None if its models have their own.
        metrics: info to the list of metrics.
        best: the logged value that picks the best epoch, and "max" or "min".
        sampler: options to a function (y, size, rng) to the examples of each batch of an epoch, see
            `datasets.pipeline.Batches`; or to None.
        augment: (info, options) to a function (x, y, entropy) to (x, y) that changes a batch in
            training, the same way for the same tuple of integers `entropy`; or to None.
        built: (model, options) to entries that the model adds to `info`, such as the grid of a
            detector.
        whole: (model, info, options) to what is trained and saved: the model, or one around it
            that changes its inputs and outputs.
        notes: (training `Arrays`, info, options) to sentences that are printed before training.
        preview: (x, y, info) to a figure of a batch as training sees it; or to None.
    """

    arguments: Callable
    defaults: Mapping = dataclasses.field(default_factory=lambda: dict(DEFAULTS))
    suggestions: Callable = lambda info, options: {}
    losses: tuple = ("cross_entropy",)
    loss: Callable = cross_entropy
    metrics: Callable = accuracies
    best: tuple = ("val_accuracy", "max")
    sampler: Callable = lambda options: None
    augment: Callable = lambda info, options: None
    built: Callable = lambda model, options: {}
    whole: Callable = lambda model, info, options: model
    notes: Callable = lambda arrays, info, options: []
    preview: Callable = lambda x, y, info: None


@dataclasses.dataclass(frozen=True)
class Results:
    """What comes out of a split of the data; read by `train.py` and `ensembles`.

    A split is scored part by part, so that its outputs need not be in memory together.

    Attributes:
        summarize: (y, outputs, info) of a part of a split to its summary, such as a confusion
            matrix. Summaries of parts are added by `+` to that of the whole split.
        score: (summary, info) to a dictionary of numbers and a report, a text.
        curves: (summary, info) to a dictionary of figures by file name.
        plot: (x, y, outputs, info) of some examples to a dictionary of figures by file name.
        errors: (summary, info) of the validation split to what a trained model's `info` stores of
            its errors, under the key "found".
    """

    summarize: Callable = report.summarize
    score: Callable = report.score
    curves: Callable = report.curves
    plot: Callable = lambda x, y, outputs, info: {}
    errors: Callable = lambda summary, info: {}

    def summary(self, parts, info):
        """Return the summary of parts, an iterable of at least one pair (y, outputs)."""
        return functools.reduce(operator.add, (self.summarize(*part, info) for part in parts))

    def evaluate(self, y, outputs, info):
        """Return the numbers and the report of arrays (n, ...), which may be on disk."""
        return self.score(self.summary(blocks(y, outputs), info), info)


def blocks(y, outputs):
    """Yield pairs of parts of two arrays (n, ...) in memory, of about BLOCK outputs."""
    step = max(1, BLOCK // math.prod(outputs.shape[1:]))
    for start in range(0, len(outputs), step):
        rows = slice(start, start + step)
        yield np.asarray(y[rows]), np.asarray(outputs[rows])


@dataclasses.dataclass(frozen=True)
class Usage:
    """How a trained model is used; read by `zoo.inference`.

    Attributes:
        present: (example, pieces, outputs, info) to a row of a table, a dictionary (its "arrays",
            by name, are what Python returns and no table shows), and functions that write a file
            when given its path, a dictionary by the ending of the name. The outputs come from an
            iterator, one for each piece.
        decode: (outputs, info) to a list of decoded predictions, a dictionary each.
        views: (shape, options) to the views of an input that augmentation allows, for models whose
            input has that shape, without the batch's axis: a list of pairs of functions. The
            first turns a batch of inputs into a view of it, the second the outputs for the view,
            (B, ..., K), into outputs for the batch. The first pair is the identity.
    """

    present: Callable
    decode: Callable = report.decode
    views: Callable = identity


@dataclasses.dataclass(frozen=True)
class Task:
    """What a kind of problem is: four records, each for one reader.

    `info` is a dictionary of plain values: "classes", a list of names, the constants of the
    `Source`, and whatever `Data.measure` returned. `options` is a dictionary too: the field below
    with what `--set` changed. Both are stored with the model. Batches are NumPy arrays, (B, ...).
    Fields that are left out are those of a classifier.

    Attributes:
        name: what it is called; the name of its folder.
        dataset: what `--data` is unless given; "" if it must be given.
        options: what `--set` may change, each with its default.
        data: what examples must be, and how they become arrays.
        training: what is trained and how.
        results: scores and figures.
        usage: how a trained model is used.
        values: whether outputs are values, not logits of classes.
        multilabel: whether outputs are logits of labels, with a sigmoid each.
        vectors: whether outputs are vectors (B, D), of which only the distances mean something.
        models: the task whose models it takes too, "" if none.
    """

    name: str
    options: Mapping
    data: Data
    training: Training
    usage: Usage
    results: Results = Results()
    dataset: str = ""
    values: bool = False
    multilabel: bool = False
    vectors: bool = False
    models: str = ""

    def of(self, info):
        """Return the task for data with these constants, whose targets may not be classes."""
        if "target" not in info:
            return self
        target = targets.of(info)
        training = dataclasses.replace(self.training, best=target.best)
        kinds = dict(values=target.values, multilabel=target.multilabel)
        return dataclasses.replace(self, training=training, **kinds)


def get(name):
    """Return the task called `name`: the record that `zoo/tasks/<name>/task.py` calls TASK.

    Raises:
        ValueError: if there is none.
    """
    if name not in index.tasks():
        raise ValueError(unknown("task", name, index.tasks()))
    return importlib.import_module(f"zoo.tasks.{name}.task").TASK


def of(record):
    """Return the task of a model's record, for the data that it was trained on."""
    return get(record["task"]).of(record.get("info", {}))
