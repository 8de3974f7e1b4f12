"""Combining: a head turns the members' logits into the ensemble's, and is joined to them.

head = mixture(common, len(members))          # the average; no training
logits = apply(head, outputs)                 # on what the members said, from the cache
model = join(members, common, head)           # one keras.Model from the input to logits
"""

import keras
import numpy as np

from zoo.inference import predictors
from zoo.nn.ensemble import Joined, Members, Mixture, digest
from zoo.tasks.boxes import fusion

PASSED = "passed"  # the name of the ensemble's input in a head that takes it


def head(build, shapes, input_shape=None, name="head"):
    """Make a head: a model from the members' logits, and the input if it is passed on, to logits.

    Args:
        build: function from a list of tensors (B, ..., K), one a member, and the input or None, to
            a tensor (B, ..., K).
        shapes: of the members' logits, without the batch's axis; sizes may be None.
        input_shape: of the ensemble's input, if it is passed on.
        name: of the model.

    Returns:
        A `keras.Model` that takes a dictionary: "logits_1", "logits_2" ... and "passed".
    """
    inputs = named([keras.Input(shape, name=f"logits_{i}") for i, shape in enumerate(shapes, 1)])
    logits = list(inputs.values())
    if input_shape is not None:
        inputs[PASSED] = keras.Input(input_shape, name=PASSED)
    return keras.Model(inputs, build(logits, inputs.get(PASSED)), name=name)


def named(logits):
    """Return what members say as the dictionary that a head takes."""
    return {f"logits_{i}": one for i, one in enumerate(logits, 1)}


def passes(head):
    """Tell whether a head takes the ensemble's input besides."""
    return PASSED in head.input


def free(shapes):
    """Return shapes of logits with the sizes of maps left open, so that a head takes any."""
    return [(None,) * (len(shape) - 1) + tuple(shape[-1:]) for shape in shapes]


def mixture(shapes, weights=None, of="probabilities"):
    """Return the head that takes a weighted mean; see `zoo.nn.ensemble.Mixture`.

    Raises:
        ValueError: if the weights are not one a member, or none is above 0.
    """
    if weights is not None:
        weights = np.asarray(weights, np.float64)
        if weights.shape != (len(shapes),) or not fusion.usable(weights):
            raise ValueError(
                f"weights {weights.tolist()}: give {len(shapes)} numbers, one a member, none below "
                "0 and one above"
            )
        weights = (weights / weights.sum()).tolist()
    layer = Mixture(weights, of, name="mixture")
    return head(lambda logits, passed: layer(logits), shapes)


def apply(head, outputs, data=None, batch_size=16):
    """Return the head's logits (n, ..., K) of the members' logits, and of the input if it is asked.

    Args:
        head: a model that `head` made.
        outputs: list of arrays (n, ..., K).
        data: the examples themselves, if the head takes the input.
        batch_size: batch size.
    """
    take, found = taker(outputs, None, data if passes(head) else None), []
    for start in range(0, len(outputs[0]), batch_size):
        rows = np.arange(start, min(start + batch_size, len(outputs[0])))
        found.append(predictors.predict(head, take(rows)[0], batch_size))
    return np.concatenate(found)


def taker(outputs, y, data=None):
    """Return the function from rows to (what a head takes, labels) that `cache.Batches` needs."""

    def take(rows):
        x = named(np.asarray(array[rows], np.float32) for array in outputs)
        if data is not None:
            x[PASSED] = data.take(rows)[0]
        return x, None if y is None else y[rows]

    return take


def join(members, common, head, *, models=None, inputs="shared", name="ensemble"):
    """Join members and a head to one model.

    The members are called as in prediction even where the whole is trained: no dropout, and batch
    normalisation by what was learnt.

    Args:
        members: list of `Member`.
        common: what they share.
        head: a model that `head` made.
        models: the members' models if they are in memory already.
        inputs: "shared", one for all; or "separate", a list of one a member.
        name: of the model.

    Returns:
        A `keras.Model` from (B, ...) to logits (B, ..., K).
    """
    if inputs not in ("shared", "separate"):
        raise ValueError(f'inputs are "shared" or "separate", not {inputs!r}')
    models = models or [member.load(common) for member in members]
    known = Members({model.name: digest(model) for model in models}, name="members")
    if inputs == "shared":
        entry = keras.Input(common.input_shape, name="input")
        each = [known(entry)] * len(models)
    else:
        entry = [
            keras.Input(common.input_shape, name=f"input_{i}") for i in range(1, len(models) + 1)
        ]
        each = known(entry)
    logits = [model(x) for model, x in zip(models, each, strict=True)]
    passed = {PASSED: each[0]} if passes(head) else {}
    return Joined(entry, head({**named(logits), **passed}), name=name)
