"""A kind of target: what depends on whether an example has a class, labels or values."""

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of target; a task that knows several asks it for these.

    Attributes:
        what: of data with such targets, for messages.
        units: info to the number of outputs.
        label: (label of an example, info) to y of an example.
        losses: by name, functions (info, options) to a loss; the first is the default.
        metrics: info to the list of metrics in the progress bar.
        best: the logged value that picks the best epoch, and "max" or "min".
        summarize: (y, outputs, info) to a summary, as of `zoo.tasks.task.Results`.
        score: (summary, info) to a dictionary of numbers and a report, a text.
        curves: (summary, info) to a dictionary of figures by file name.
        figures: (y, outputs, info) of some examples to further figures by file name.
        shown: (y, outputs, info, count) to the examples of a figure: (index, title, its colour).
        titles: (y, info) to the titles of examples in training.
        decode: (outputs, info) to a list of decoded predictions, a dictionary each.
        row: (decoded prediction, info) to a row of a table, see `zoo.tasks.task.Usage.present`.
        caption: (decoded prediction, info) to the title of its picture.
        values: whether outputs are values.
        multilabel: whether outputs are logits of a sigmoid each.
    """

    what: str
    units: Callable
    label: Callable
    losses: Mapping
    metrics: Callable
    best: tuple
    summarize: Callable
    score: Callable
    curves: Callable
    shown: Callable
    titles: Callable
    decode: Callable
    row: Callable
    caption: Callable
    figures: Callable = lambda y, outputs, info: {}
    values: bool = False
    multilabel: bool = False
