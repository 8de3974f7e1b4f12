"""A trained model built again from its record: as it was, or in another precision."""

import json

import keras

from zoo import index, registry, tasks
from zoo.inference import structure
from zoo.weights import initial
from zoo.weights.records import trouble


def build(record, precision):
    """Build the model of a record in a precision.

    Args:
        record: what was saved with the model.
        precision: name of a dtype policy of Keras, such as "mixed_bfloat16".

    Returns:
        (model, info): a `keras.Model`, and what it adds to the info of the record.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        builder = registry.get(record["model"]).builder
        model = builder(**record["arguments"], **record["options"])
        if "task" not in record:
            return model, {}
        task, options = tasks.of(record), record["task_options"]
        info = task.training.built(model, options)
        model = task.training.whole(model, {**record["info"], **info}, options)
        return model, json.loads(json.dumps(info))
    finally:
        keras.config.set_dtype_policy(before)


def in_precision(model, record, path, precision):
    """Return a model with the same weights that computes in a precision.

    Args:
        model: a `keras.Model`.
        record: what was saved with it.
        path: of its file, for messages.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; weights and outputs are float32
            in each.

    Raises:
        ValueError: if the model is not of one of the zoo's builders, such as an ensemble, or its
            builder makes another network today.
    """
    whole = {"model", "arguments", "options"} <= record.keys()
    if not whole or record["model"] not in index.models():
        why = "it is no single model of the zoo with the options of its builder"
        raise trouble(path, why, "Leave the precision")
    with initial.zeros():
        again, _ = build(record, precision)
    for layer, copy in zip(model._flatten_layers(), again._flatten_layers(), strict=False):
        if hasattr(layer, "epsilon"):  # its default was another one in older versions
            copy.epsilon = layer.epsilon
    ignored = (*structure.IGNORED, "dtype")
    pair = (structure.described(network, ignored) for network in (model, again))
    if difference := structure.difference(*pair):
        why = "{} is {}, and its builder now makes it {}".format(*difference)
        raise trouble(path, why, "Leave the precision")
    again.set_weights(model.get_weights())
    return again
