"""A task: everything that a kind of problem decides and no model does, as one record of functions.

`train.py` and `python -m zoo predict` call these in order and never ask which task they have.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping

from zoo import index
from zoo.registry import unknown


@dataclasses.dataclass(frozen=True)
class Task:
    """What a kind of problem is.

    `info` is a dictionary of plain values: "classes", a list of names, and whatever `measure`
    found. `options` is a dictionary too: the fields below with what `--set` changed. Both are
    kept with the model. Batches are NumPy arrays, (B, ...).

    Attributes:
        name: what it is called; the name of its file.
        dataset: what `--data` is when nobody says.
        options: what `--set` may change, each with its default.
        prepared: the names of those options that `measure`, `cut` and `prepare` read.
        sizes: the names of those of them that do no more than set the size of x, in which the
            members of an ensemble may differ.
        fields: the names of the arrays that an example must have.
        training: the defaults of `--epochs`, `--batch-size`, `--learning-rate` and `--jit`, and the
            least number of "updates" that a small data set is trained, see `zoo.training.schedule`.
        losses: what the option `loss` may be, and with it `--loss`.
        best: the logged value that picks the best epoch, and "max" or "min".
        arguments: (info, options) to what the data decides of a builder's arguments.
        measure: (examples, options) to constants of the data set, a dictionary. The examples are
            a sample of the training split.
        measures_all: `measure` is given all of the training split instead, where one example may
            decide, as the longest series does.
        cut: (example, options) to the list of pieces that are trained on and scored.
        cover: (example, options) to the list of pieces that `present` needs to predict all of it.
        prepare: (piece, info, options) to (x, y) as the model takes them; y is None if unknown.
        augment: options to a function (x, y, entropy) to (x, y) that changes a batch in training,
            the same way for the same tuple of integers `entropy`; or to None.
        views: (shape, options) to the views of an input that `augment` allows, for models whose
            input has that shape, without the batch's axis: a list of pairs of functions. The
            first turns a batch of inputs into a view of it, the second the outputs for the view,
            (B, ..., K), into outputs for the batch. The first pair changes nothing.
        loss: (info, options) to the loss.
        metrics: info to the list of metrics.
        score: (y, outputs, info) to a dictionary of numbers and a report, a text.
        decode: (outputs, info) to a list of what a person wants to know, a dictionary each.
        plot: (x, y, outputs, info) to a dictionary of figures by file name.
        preview: (x, y, info) to a figure of a batch as training sees it.
        present: (example, pieces, outputs, info) to a row of a table, a dictionary (its "arrays",
            by name, are what Python returns and no table shows), and functions that write a file
            when given its path, a dictionary by the ending of the name. The outputs come from an
            iterator, one for each piece.
        built: (model, options) to what the model decides and `info` keeps from then on, such as
            the grid of a detector.
        whole: (model, info, options) to what is trained and saved: the model, or one around it
            that changes what it takes and what it says.
        series: (info, options) to the arguments of `datasets.windows.split`, where a piece is a
            series and the examples are windows of it; or None.
        notes: (training `Arrays`, info, options) to sentences that are told before training.
        found: (y, outputs, info) of the validation split to what a trained model's `info` keeps of
            its errors, under the name "found".
        objects: y of a split to how many things in it are learnt or scored, where that may be none,
            as in images without boxes; or None.
        values: whether outputs are values, not logits of classes.
    """

    name: str
    dataset: str
    options: Mapping
    prepared: tuple
    sizes: tuple
    fields: tuple
    training: Mapping
    losses: tuple
    best: tuple
    arguments: Callable
    measure: Callable
    cut: Callable
    cover: Callable
    prepare: Callable
    augment: Callable
    views: Callable
    loss: Callable
    metrics: Callable
    score: Callable
    decode: Callable
    plot: Callable
    preview: Callable
    present: Callable
    built: Callable = lambda model, options: {}
    whole: Callable = lambda model, info, options: model
    series: Callable | None = None
    notes: Callable = lambda arrays, info, options: []
    found: Callable = lambda y, outputs, info: {}
    objects: Callable | None = None
    measures_all: bool = False
    values: bool = False


def get(name):
    """Return the task called `name`: the record that `zoo/tasks/<name>/task.py` calls TASK.

    Raises:
        ValueError: if there is none.
    """
    if name not in index.tasks():
        raise ValueError(unknown("task", name, index.tasks()))
    return importlib.import_module(f"zoo.tasks.{name}.task").TASK
