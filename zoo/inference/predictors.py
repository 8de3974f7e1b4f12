"""Predicting with a model in batches of one shape, so that nothing is compiled twice.

A `Predictor` is a trained model with its inference settings: the network alone, the mean over
several views (test-time augmentation), or a recursive forecast; and how its outputs are decoded,
such as the non-maximum suppression of a detector.
"""

import keras
import numpy as np

from zoo import tasks
from zoo.nn.ensemble import Mixture
from zoo.weights import records

SAMPLE = 2**24  # numbers of inputs and outputs of a `Sample`, about 64 MB
LEAST = 8  # examples of a `Sample` at least
ELEMENTS = 2**19  # numbers in a batch that `stream` makes, about: two gray images of 512 x 512


class Predictor:
    """A trained model with all settings of its predictions.

    Args:
        model: a `keras.Model`.
        record: what was saved with it: task, task_options and info.
        batch_size: of its predictions; smaller where inputs are large.
        tta: predict several views and average.
        steps: of a forecast.
        confidence: of a detector, score from which boxes are returned, 0 to 1.
        iou: of a detector, IoU above which non-maximum suppression drops a box, 0 to 1.

    Attributes:
        task: the task record.
        options: of the task, as the model was trained with them.
        info: of the model, with `confidence` and `iou` as given.
        model: what predicts a batch.

    Raises:
        ValueError: if the model cannot be used with these settings.
    """

    def __init__(
        self, model, record, *, batch_size=16, tta=False, steps=None, confidence=None, iou=None
    ):
        shape = getattr(model, "input_shape", None)
        if reason := records.misfit(record, shape[1:] if isinstance(shape, tuple) else None):
            raise records.trouble(
                getattr(model, "name", "the model"), reason, "Copy its file again"
            )
        self.task, self.info = tasks.of(record), dict(record["info"])
        self.options = {**self.task.options, **record["task_options"]}
        self.model, self.batch_size = model, batch_size
        if confidence is not None:
            self.info["confidence"] = confidence
        if iou is not None:
            self.info["suppression"] = {**self.info["suppression"], "iou": iou}
        if tta:
            self.model = with_views(self.model, self.task, self.options)
        if steps:
            self.model = Recursive(self.model, steps)

    def stream(self, inputs):
        """Yield the output of each of an iterable of prepared inputs, without the batch's axis."""
        return stream(self.model, inputs, self.batch_size)


def predict(model, x, batch_size):
    """Predict all of x, an array (n, ...) or a dictionary of them.

    The last batch is filled up with copies of its first example, whose outputs are dropped. A model
    of several equal inputs, such as an ensemble, gets the same in each.

    Returns:
        The outputs as NumPy arrays (n, ...), in the structure of the model's outputs.
    """
    count = len(keras.tree.flatten(x)[0])
    batches = []
    for start in range(0, count, batch_size):
        rows = np.arange(start, start + batch_size)
        rows[rows >= count] = start
        batch = keras.tree.map_structure(lambda array, rows=rows: array[rows], x)
        batches.append(model.predict_on_batch(for_each_input(model, batch)))
    if len(batches) == 1:  # not copied: maps of one batch may take much memory
        return keras.tree.map_structure(lambda part: np.asarray(part)[:count], batches[0])
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts)[:count], *batches)


def parts(model, arrays, batch_size, sample=None):
    """Predict a split of the data part by part, so that only one part is in memory.

    Args:
        model: a `keras.Model`.
        arrays: the split, `datasets.splits.Arrays`.
        batch_size: examples at a time.
        sample: a `Sample` that collects some of the examples.

    Yields:
        Pairs of y and outputs of at most `batch_size` examples, NumPy arrays.
    """
    for start in range(0, len(arrays), batch_size):
        x, y = arrays.take(slice(start, start + batch_size))
        outputs = predict(model, x, batch_size)
        if sample is not None:
            sample.add(x, y, outputs)
        yield y, outputs


class Sample:
    """A sample of a split for figures, limited by memory and deterministic.

    All examples if there are few, else a random sample of them, in their order.

    Args:
        count: how many examples the split has.
    """

    def __init__(self, count):
        self.count, self.seen, self.kept = count, 0, None

    def add(self, x, y, outputs):
        """Add those of the next examples that belong to the sample."""
        values, size = (x, y, outputs), len(y)
        if self.kept is None:
            numbers = sum(array.size for array in keras.tree.flatten((x, outputs))) // size
            order = np.random.default_rng(0).permutation(self.count)
            self.rows = np.sort(order[: max(LEAST, SAMPLE // numbers)])
            empty = lambda a: np.empty((len(self.rows), *a.shape[1:]), a.dtype)  # noqa: E731
            self.kept = keras.tree.map_structure(empty, values)
        [places] = np.nonzero((self.rows >= self.seen) & (self.rows < self.seen + size))
        for kept, array in zip(*map(keras.tree.flatten, (self.kept, values)), strict=True):
            kept[places] = array[self.rows[places] - self.seen]
        self.seen += size

    def arrays(self):
        """Return x, y and outputs, NumPy arrays (n, ...)."""
        return self.kept


def for_each_input(model, x):
    """Return a list of x, one for each input, if the model takes a list; else x."""
    inputs = getattr(model, "input", None)
    return [x] * len(inputs) if isinstance(inputs, list) else x


def stream(model, inputs, batch_size):
    """Predict inputs lazily, one after the other, in batches of one shape.

    Args:
        model: a `keras.Model`.
        inputs: an iterable of arrays (...), or dictionaries of them, without the batch's axis.
        batch_size: how many at a time; fewer if that would be more than ELEMENTS numbers.

    Yields:
        The output of each, NumPy arrays in the structure of the model's outputs.
    """
    batch, shape = [], None
    for x in inputs:
        if batch and shape != _shapes(x):
            yield from _outputs(model, batch, batch_size)
            batch = []
        batch.append(x)
        shape = _shapes(x)
        if len(batch) == _fits(x, batch_size):
            yield from _outputs(model, batch, batch_size)
            batch = []
    if batch:
        yield from _outputs(model, batch, batch_size)


class Averaged:
    """A model that predicts the mean of several views of each input: of probabilities or values.

    `predict` and `stream` take it as a model.

    Args:
        model: a `keras.Model` from a batch to logits (B, ..., K); one logit for two classes.
        views: pairs of functions (there, back), see `zoo.tasks.Task`.
        values: whether outputs are values, not logits.
        multilabel: whether they are logits of labels, with a sigmoid each.
    """

    def __init__(self, model, views, values=False, multilabel=False):
        self.model, self.views = model, views
        of = "logits" if values else "probabilities"
        self.mean = Mixture(of=of, multilabel=multilabel, dtype="float32")

    def predict_on_batch(self, x):
        """Return logits of the mean probabilities, or mean values, for a batch, float32."""
        outputs = [back(self.model.predict_on_batch(there(x))) for there, back in self.views]
        return keras.ops.convert_to_numpy(self.mean(outputs))


def with_views(model, task, options):
    """Return a model that predicts the mean over the flips or turns of the training's augmentation.

    Args:
        model: a `keras.Model` from a batch to logits (B, ..., K).
        task: what it was trained for, a `zoo.tasks.Task`.
        options: all of the task's, as it was trained with them.

    Returns:
        An `Averaged`.

    Raises:
        ValueError: if there is only one view.
    """
    views = task.usage.views(model.inputs[0].shape[1:], options)
    if len(views) == 1:
        raise ValueError(
            "the model was trained without flips and turns, so there is nothing to average over: "
            "predict without --tta, or train it with flip (images) or rotate (clouds)"
        )
    return Averaged(model, views, task.values, task.multilabel)


class Recursive:
    """A forecaster that continues from its own forecasts up to a number of steps.

    `predict` and `stream` take it as a model.

    Args:
        model: a `keras.Model` from (B, W, F) to (B, H, K); beyond H steps K must be F.
        steps: how many.

    Raises:
        ValueError: if that is beyond the horizon, and the model needs inputs that it does not
            forecast.
    """

    def __init__(self, model, steps):
        (_, _, features), (_, horizon, values) = model.inputs[0].shape, model.outputs[0].shape
        if steps > horizon and values < features:
            raise ValueError(
                f"{steps} steps are more than the horizon of {horizon}, and the model forecasts "
                f"{values} of the {features} values that it needs as inputs to continue: ask for "
                "fewer steps, or train it with --set inputs=targets"
            )
        self.model, self.steps = model, steps

    def predict_on_batch(self, x):
        """Return the forecasts for a batch, (B, steps, K) float32."""
        forecasts, window = [], x.shape[1]
        while sum(forecast.shape[1] for forecast in forecasts) < self.steps:
            forecasts.append(np.asarray(self.model.predict_on_batch(x)))
            if forecasts[-1].shape[-1] == x.shape[-1]:
                x = np.concatenate([x, forecasts[-1]], axis=1)[:, -window:]
        return np.concatenate(forecasts, axis=1)[:, : self.steps]


def _shapes(x):
    return [array.shape for array in keras.tree.flatten(x)]


def _fits(x, batch_size):
    """Return how many inputs like this one make a batch."""
    size = sum(array.size for array in keras.tree.flatten(x))
    return max(1, min(batch_size, ELEMENTS // size))


def _outputs(model, batch, batch_size):
    """Return an iterator of the outputs of a batch."""
    x = keras.tree.map_structure(lambda *parts: np.stack(parts), *batch)
    outputs = predict(model, x, _fits(batch[0], batch_size))
    return (
        keras.tree.map_structure(lambda array, i=i: array[i], outputs) for i in range(len(batch))
    )
