"""Heads, which compute the ensemble's logits from the members' logits, and ensemble models.

head = mixture(shapes)                        # the average; no training
logits = apply(head, outputs)                 # on the members' cached predictions
model = build_model(members, common, head)    # one keras.Model from the input to logits
"""

import keras
import numpy as np

from zoo.inference import predictors
from zoo.nn.ensemble import Joined, Members, Mixture, digest
from zoo.tasks.boxes import fusion

PASSED = "passed"  # name of the ensemble's input in a head with passthrough


def head(build, shapes, input_shape=None, name="head"):
    """Build a head: a model from the members' logits, and the input with passthrough, to logits.

    Args:
        build: function from a list of tensors (B, ..., K), one per member, and the input or None,
            to a tensor (B, ..., K).
        shapes: of the members' logits, without the batch axis; sizes may be None.
        input_shape: of the ensemble's input, for passthrough; None without.
        name: name of the model.

    Returns:
        A `keras.Model` that takes a dictionary: "logits_1", "logits_2" ... and "passed".
    """
    inputs = named([keras.Input(shape, name=f"logits_{i}") for i, shape in enumerate(shapes, 1)])
    logits = list(inputs.values())
    if input_shape is not None:
        inputs[PASSED] = keras.Input(input_shape, name=PASSED)
    return keras.Model(inputs, build(logits, inputs.get(PASSED)), name=name)


def named(logits):
    """Return the members' logits as the dictionary that a head takes."""
    return {f"logits_{i}": array for i, array in enumerate(logits, 1)}


def takes_input(head):
    """Return whether a head also takes the ensemble's input (passthrough)."""
    return PASSED in head.input


def any_size(shapes):
    """Return shapes of logits with None for all axes but the last, for a head of any size."""
    return [(None,) * (len(shape) - 1) + tuple(shape[-1:]) for shape in shapes]


def mixture(shapes, weights=None, of="probabilities", multilabel=False):
    """Return the head that computes a weighted mean; see `zoo.nn.ensemble.Mixture`.

    Raises:
        ValueError: if there is not one weight per member, one is negative, or none is above 0.
    """
    if weights is not None:
        weights = np.asarray(weights, np.float64)
        if weights.shape != (len(shapes),) or not fusion.usable(weights):
            raise ValueError(
                f"weights {weights.tolist()}: give {len(shapes)} numbers, one per member, none "
                "below 0 and at least one above"
            )
        weights = (weights / weights.sum()).tolist()
    layer = Mixture(weights, of, multilabel, name="mixture")
    return head(lambda logits, passed: layer(logits), shapes)


def apply(head, outputs, data=None, batch_size=16):
    """Return a head's logits (n, ..., K) for the members' logits.

    Args:
        head: a model that `head` returned.
        outputs: list of arrays (n, ..., K).
        data: the examples, if the head takes the input.
        batch_size: batch size.
    """
    take, logits = batch_function(outputs, None, data if takes_input(head) else None), []
    for start in range(0, len(outputs[0]), batch_size):
        rows = np.arange(start, min(start + batch_size, len(outputs[0])))
        logits.append(predictors.predict(head, take(rows)[0], batch_size))
    return np.concatenate(logits)


def batch_function(outputs, y, data=None):
    """Return the function from indices to (a head's inputs, labels) that `cache.Batches` needs."""

    def take(rows):
        x = named(np.asarray(array[rows], np.float32) for array in outputs)
        if data is not None:
            x[PASSED] = data.take(rows)[0]
        return x, None if y is None else y[rows]

    return take


def build_model(members, common, head, *, models=None, inputs="shared", name="ensemble"):
    """Build one model from members and a head.

    The members run in inference mode even while the model is trained: no dropout, and batch
    normalization with moving statistics.

    Args:
        members: list of `Member`.
        common: what they share.
        head: a model that `head` returned.
        models: the members' models, if they are already loaded.
        inputs: "shared", one input for all; or "separate", a list of one input per member.
        name: name of the model.

    Returns:
        A `keras.Model` from (B, ...) to logits (B, ..., K).
    """
    if inputs not in ("shared", "separate"):
        raise ValueError(f'inputs must be "shared" or "separate", not {inputs!r}')
    models = models or [member.load(common) for member in members]
    guard = Members({model.name: digest(model) for model in models}, name="members")
    if inputs == "shared":
        entry = keras.Input(common.input_shape, name="input")
        tensors = [guard(entry)] * len(models)
    else:
        entry = [
            keras.Input(common.input_shape, name=f"input_{i}") for i in range(1, len(models) + 1)
        ]
        tensors = guard(entry)
    logits = [model(x) for model, x in zip(models, tensors, strict=True)]
    passed = {PASSED: tensors[0]} if takes_input(head) else {}
    return Joined(entry, head({**named(logits), **passed}), name=name)
