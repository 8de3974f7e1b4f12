"""Detectors that end in boxes, so that other programs need not know their grid.

The layer that turns raw outputs into boxes, `zoo.tasks.boxes.nms.Boxes`, is the one that the task
uses, and it is exported with the detector.
"""

import keras
import numpy as np
from keras import ops

from zoo.tasks.boxes import coding, fusion, nms
from zoo.tasks.image_detection import task as image_detection

DRAWN = 60  # boxes of an example at most


def check_single(path, record):
    """Raise a `ValueError` if a model combines detectors: their boxes are fused outside of it."""
    if record.get("info", {}).get("grid", {}).get("form") == fusion.ROWS:
        names = ", ".join(member["name"] for member in record.get("members", ()))
        raise ValueError(f"{path}: it combines detectors. Export these one by one: {names}")


def with_boxes(model, info, score=image_detection.SHOWN):
    """Return a detector that ends in boxes, with the weights of one that ends in raw outputs.

    Args:
        model: a detector, from images (B, H, W, C) in [0, 1] to raw outputs, see
            `zoo.tasks.boxes.coding`.
        info: what was saved with it, with the settings of non-maximum suppression; without any,
            those of the task are used.
        score: boxes of no higher score are left out; 0 or more.

    Returns:
        A `keras.Model` from the same images to float32 rows (B, 100, 6): x1, y1, x2, y2 in pixels
        of the input, score, class, best first; unused rows are 0, their class -1.

    Raises:
        ValueError: if the model is not a detector.
    """
    try:
        known = image_detection.built(model, image_detection.TASK.options)
    except ValueError as error:
        raise ValueError(f"{error}. Only a detector can end in boxes: leave them out") from error
    settings = {**known["suppression"], **info.get("suppression", {}), "score": float(score)}
    layer = nms.Boxes(known["grid"], settings, dtype="float32", name="boxes")
    return keras.Model(model.input, layer(model.output), name=model.name)


def halves(model):
    """Return the detector that ends in raw outputs, and a model from these to boxes.

    Args:
        model: as `with_boxes` returns it.

    Returns:
        Two models, or None if the model does not end in boxes.
    """
    layer = last(model)
    if layer is None:
        return None
    # A copy: a layer that is used twice has no single input.
    boxes = nms.Boxes.from_config(layer.get_config())
    raw = keras.Input(layer.input.shape[1:], name="raw")
    return keras.Model(model.input, layer.input, name=model.name), keras.Model(raw, boxes(raw))


def last(model):
    """Return the layer of boxes that a model ends in, or None."""
    layer = model.layers[-1]
    return layer if isinstance(layer, nms.Boxes) else None


def example(model, batch):
    """Return raw outputs (B, A, 5 + C) of some boxes whose scores are far apart.

    Groups of three boxes share a class and nearly a place, so some of them suppress others. All
    other rows have a score of exactly 0.

    Args:
        model: a detector that ends in boxes.
        batch: B, which also seeds the draw.
    """
    layer, rng = last(model), np.random.default_rng(batch)
    _, count, numbers = layer.input.shape
    raw = np.full((batch, count, numbers), -1000, np.float32)
    raw[..., coding.BOX] = rng.uniform(0.5, 1.0, (batch, count, 4))
    threes = min(count, DRAWN) // 3
    for image in raw:
        rows = 3 * rng.choice(count // 3, threes, replace=False)[:, None] + np.arange(3)
        labels = rng.choice([0, (numbers - 5) // 2, numbers - 6], (threes, 1))
        # Objectness and class get the square root; no score is a round number, as thresholds are.
        confidences = np.sqrt(rng.permutation(np.linspace(0.0137, 0.9871, rows.size)))
        if layer.grid["form"] == "yolov3":
            confidences = np.log(confidences / (1 - confidences))
        image[rows, coding.OBJECT] = image[rows, 5 + labels] = confidences.reshape(rows.shape)
    return raw


def unit(model):
    """Return the largest values of a row: sides of the input, 1, number of classes."""
    layer = last(model)
    height, width = layer.grid["size"]
    return np.float32([width, height, width, height, 1, layer.input.shape[-1] - 5])


def steady(model, raw, spread, allowed):
    """Return which rows are stable under small changes of the boxes and scores that they come from.

    Which of two boxes of nearly equal scores is the better one, or whether their overlap is above
    the threshold, affects other boxes too, and rounding may decide it otherwise in another program.

    Args:
        model: a detector that ends in boxes.
        raw: raw outputs (B, A, 5 + C).
        spread: the largest relative change of boxes and scores.
        allowed: the largest change of a stable row, in units, see `unit`.

    Returns:
        (B, 100) bool.
    """
    layer, rng = last(model), np.random.default_rng(0)
    arrays = [ops.convert_to_numpy(x) for x in coding.scored(raw, layer.grid)]
    inputs = [keras.Input(x.shape[1:]) for x in arrays]
    suppress = keras.layers.Lambda(lambda pair: nms.suppress(*pair, **layer.settings))
    graph = keras.Model(inputs, suppress(inputs))  # its loop is ten times as fast as eagerly
    graph.compile(jit_compile=False)

    def rows(spread):
        shaken = [x * np.float32(1 + rng.uniform(-spread, spread, x.shape)) for x in arrays]
        return graph.predict_on_batch(shaken) / unit(model)

    plain, repeats = rows(0), [rows(spread) for _ in range(8)]
    return np.all([np.abs(repeat - plain).max(axis=-1) <= allowed for repeat in repeats], axis=0)
