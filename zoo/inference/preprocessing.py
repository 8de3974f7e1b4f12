"""Preprocessing and postprocessing as layers, so that they can be part of an export.

Training prepares inputs in NumPy, see `zoo.tasks`, and a saved model takes prepared inputs. These
layers prepare the user's data, given in the size of the model: cropping and resizing of images,
sampling of points, and filling of gaps in series are left to the user.
"""

import keras
from keras import ops

from zoo import tasks
from zoo.inference import detector
from zoo.nn.layers import PADDING
from zoo.tasks import series
from zoo.tasks.boxes import nms
from zoo.tasks.boxes.detections import SHOWN
from zoo.tasks.targets import conformal

register = keras.saving.register_keras_serializable("zoo")
TAIL = 0.001  # share of an image's values left out at each end, as in `zoo.tasks.images.spread`
STRAY = 0.01  # share of a cloud's points below the ground, as in `zoo.tasks.clouds.settle`


class Preparation(keras.layers.Layer):
    """Base class of the layers that prepare inputs: their settings, and conversion to float32.

    Args:
        settings: the task's options and the constants of the data set, a dictionary.
    """

    def __init__(self, settings, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.settings = settings

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape

    def compute_output_spec(self, x):
        """Return a float32 tensor of the input's shape."""
        return keras.KerasTensor(x.shape, dtype="float32")

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "settings": self.settings}


@register
class PreparedImages(Preparation):
    """Images (B, H, W, C) in the range of the data, or in each image's own, to 0 to 1."""

    def call(self, x):
        """Return the images."""
        x = ops.cast(x, "float32")
        low, high = self.settings["range"]
        if self.settings.get("normalize") == "image":
            ordered = ops.sort(ops.reshape(x, (ops.shape(x)[0], -1)), axis=1)
            low, high = (
                edge[:, None, None, None] for edge in (lower(ordered, TAIL), upper(ordered, TAIL))
            )
        return ops.clip((x - low) / ops.maximum(high - low, 1e-6), 0.0, 1.0)


@register
class PreparedClouds(Preparation):
    """Points (B, N, 3) in metres, centred, with the ground at z = 0, and scaled."""

    def call(self, points):
        """Return the points."""
        points = ops.cast(points, "float32")
        middle = (ops.min(points, axis=1) + ops.max(points, axis=1)) / 2
        height = ops.zeros_like(middle[:, 2])
        if self.settings["ground"] == "lowest":
            height = lower(ops.sort(points[:, :, 2], axis=1), STRAY)
        origin = ops.stack([middle[:, 0], middle[:, 1], height], axis=1)
        points = points - origin[:, None]
        if self.settings["normalize"] == "dataset":
            return points / self.settings["radius"]
        points = points - ops.mean(points, axis=1, keepdims=True)
        squares = ops.max(ops.sum(points**2, axis=2), axis=1)
        return points / ops.maximum(ops.sqrt(squares), 1e-6)[:, None, None]


@register
class PreparedSeries(Preparation):
    """Series (B, T, F) in their own units, padded with NaN, to standardized values."""

    def call(self, x):
        """Return the series."""
        x = ops.cast(x, "float32")
        padding = ops.isnan(x)
        if self.settings["normalize"] == "dataset":
            mean = ops.convert_to_tensor(self.settings["mean"], "float32")
            x = (x - mean) / ops.convert_to_tensor(self.settings["deviation"], "float32")
        elif self.settings["normalize"] == "series":
            known = ops.cast(ops.logical_not(padding), "float32")
            values = ops.where(padding, 0.0, x)
            count = ops.maximum(ops.sum(known, axis=1, keepdims=True), 1.0)
            mean = ops.sum(values, axis=1, keepdims=True) / count
            squares = ops.sum(known * (values - mean) ** 2, axis=1, keepdims=True)
            deviation = ops.sqrt(squares / count)
            x = (x - mean) / ops.where(deviation > series.PLAIN, deviation, 1.0)
        return ops.where(padding, PADDING, x) if self.settings["ragged"] else x


def lower(ordered, share):
    """Return the value (B,) below which a share of sorted values (B, n) lies."""
    place = share * ops.cast(ops.shape(ordered)[1] - 1, "float32")
    first = ops.cast(ops.floor(place), "int32")
    second = ops.minimum(first + 1, ops.shape(ordered)[1] - 1)
    rest = place - ops.floor(place)
    return (1 - rest) * ops.take(ordered, first, axis=1) + rest * ops.take(ordered, second, axis=1)


def upper(ordered, share):
    """Return the value (B,) above which a share of sorted values (B, n) lies."""
    return -lower(ops.flip(-ordered, axis=1), share)


@register
class InUnits(keras.layers.Layer):
    """Standardized forecasts (B, H, K), to the units of the series.

    Args:
        mean: of each target, K numbers.
        deviation: the standard deviation, likewise.
        errors: of each step and target, (H, K), standardized, added to the forecast; or None.
    """

    def __init__(self, mean, deviation, errors=None, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.mean, self.deviation, self.errors = mean, deviation, errors

    def call(self, outputs):
        """Return the forecasts, or a bound of their interval."""
        if self.errors is not None:
            outputs = outputs + ops.convert_to_tensor(self.errors, "float32")
        mean = ops.convert_to_tensor(self.mean, "float32")
        return outputs * ops.convert_to_tensor(self.deviation, "float32") + mean

    def get_config(self):
        """Return the arguments."""
        arguments = {name: getattr(self, name) for name in ("mean", "deviation", "errors")}
        return {**super().get_config(), **arguments}


PREPARATIONS = {
    "image": PreparedImages,
    "pointcloud": PreparedClouds,
    "sequence": PreparedSeries,
    "forecasting": PreparedSeries,
}


def around(model, path, record, score=None):
    """Return a model with preprocessing and postprocessing, from the user's data to predictions.

    Args:
        model: a `keras.Model` as it was trained.
        path: its file, for messages.
        record: what was saved with it: task, task_options and info.
        score: of a detector, boxes of lower scores are left out (0.25).

    Returns:
        A `keras.Model` whose input has the size of the model's: images (B, H, W, C), uint8 from 0
        to 255 if the training images were uint8, else float32 in their range; points (B, N, 3)
        float32, metres, z up; series (B, T, F) float32 in their own units. Its outputs are a
        dictionary: "probabilities" (B, ..., K) of the K classes or labels; "value" (B, K) in the
        units of the values; of a forecaster "forecast" (B, H, K) with "lower" and "upper", in the
        units of the series. Of a detector the output is the
        rows (B, 100, 6) of `zoo.inference.detector.with_boxes`.

    Raises:
        ValueError: if the record does not contain what the model was trained for.
    """
    if not {"task", "task_options", "info"} <= record.keys():
        why = "it does not record what its inputs were, so no preprocessing can be included"
        raise ValueError(f"{path}: {why}. Use a model that was trained by train.py")
    task, info = tasks.of(record), record["info"]
    settings = {"ragged": False, "normalize": "dataset", **task.options, **record["task_options"]}
    settings |= {
        key: info[key] for key in ("range", "radius", "mean", "deviation", "ragged") if key in info
    }
    prepare = PREPARATIONS[task.name.partition("_")[0]](settings, name="preparation")
    if "suppression" in info:
        ends_in = detector.with_boxes(
            model, info, info.get("confidence", SHOWN) if score is None else score
        )
        layer = nms.Boxes.from_config(detector.last(ends_in).get_config())
        image = keras.Input(model.inputs[0].shape[1:], name="image", dtype=kind(info))
        return keras.Model(image, layer(model(prepare(image))), name=model.name)
    if score is not None:
        raise ValueError(f"{path}: only a detector can end in boxes: leave them out")
    entry = taken(model, info, task)
    x = {**entry, "points": prepare(entry["points"])} if isinstance(entry, dict) else prepare(entry)
    multiple = isinstance(model.input, list)
    logits = model([x] * len(model.inputs) if multiple else x)
    return keras.Model(entry, outputs(logits, task, info), name=model.name)


def taken(model, info, task):
    """Return the `keras.Input`s of the user's data, in the structure of one input of the model."""
    if isinstance(model.input, dict):
        return {
            name: keras.Input(tensor.shape[1:], name=name, dtype=tensor.dtype)
            for name, tensor in model.input.items()
        }
    name = input_name(task.name)
    dtype = kind(info) if name == "image" else "float32"
    return keras.Input(model.inputs[0].shape[1:], name=name, dtype=dtype)


def input_name(task):
    """Return the name of the input of a task's models."""
    return {"image": "image", "pointcloud": "points"}.get(task.partition("_")[0], "series")


def kind(info):
    """Return the type of the user's images: uint8 if the training images were."""
    return "uint8" if info["range"] == [0.0, 255.0] else "float32"


def outputs(logits, task, info):
    """Return the predictions by name, see `around`."""
    if task.vectors:
        return {"embedding": keras.layers.Identity(dtype="float32", name="embedding")(logits)}
    if task.values:
        count = info["targets"]
        scales = dict(mean=info["mean"][:count], deviation=info["deviation"][:count])
        intervals = conformal.stored(info)
        ends = {values_name(task): None}
        if "slopes" not in intervals:  # else intervals differ between forecasts, and need `predict`
            ends |= {key: intervals[key] for key in ("lower", "upper") if key in intervals}
        return {
            name: InUnits(**scales, errors=errors, name=name)(logits)
            for name, errors in ends.items()
        }
    if task.multilabel:
        end = keras.layers.Activation("sigmoid", dtype="float32", name="probabilities")
        return {"probabilities": end(logits)}
    if logits.shape[-1] > 1:
        return {
            "probabilities": keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
        }
    probability = keras.layers.Activation("sigmoid", dtype="float32")(logits)
    both = keras.layers.Concatenate(dtype="float32", name="probabilities")
    return {"probabilities": both([1 - probability, probability])}


def values_name(task):
    """Return the name of the outputs of a task on values."""
    return "forecast" if task.data.series else "value"


def facts(record, inside=False, score=None):
    """Return the metadata of an exported model for programs that use it, plain values by name.

    Args:
        record: what was saved with the model; {} of a foreign one gives {}.
        inside: the preprocessing is part of the export.
        score: of a detector that ends in boxes, the least score; None if it ends in raw outputs.
    """
    if not {"task", "task_options", "info"} <= record.keys():
        return {}
    task, info = tasks.of(record), record["info"]
    options = {**task.options, **record["task_options"]}
    names = "range channels radius length ragged mean deviation columns targets grid suppression"
    known = {name: info[name] for name in names.split() if name in info}
    chosen = "normalize ground resolution margin fill".split()
    described = {
        "task": task.name,
        **({"target": info["target"]} if "target" in info else {}),
        "classes": info.get("classes", []),
        "input": input_text(task.name, info, options, inside),
        "output": output_text(task, info, inside, score),
        "preprocessing": "inside" if inside else "not inside",
        "constants": {**known, **{name: options[name] for name in chosen if name in options}},
    }
    return {"made by": "keras-model-zoo", **described}


def input_text(name, info, options, inside):
    """Describe the input in words: of the preprocessing if `inside`, else of the network."""
    return in_units(name, info, options) if inside else prepared(name, info, options)


def in_units(name, info, options):
    """Describe the input of the preprocessing."""
    if name.startswith("image"):
        low, high = info["range"]
        text = f"image: {kind(info)} values from {low:g} to {high:g}, channels last"
        if options.get("resolution", 1.0) != 1.0:
            text += f", resized by {options['resolution']:g} before"
        if name == "image_detection":
            text += ", in a square whose margins are gray (half of the range)"
        return text
    if name.startswith("pointcloud"):
        return "points: x, y, z in metres, z up"
    return "series: values in their own units" + ", NaN behind the end" * bool(info.get("ragged"))


def prepared(name, info, options):
    """Describe the input of the network alone."""
    if name.startswith("image"):
        low, high = info["range"]
        limits = f"{low:g} to {high:g}"
        if options.get("normalize") == "image":
            limits = "its own 0.1 and 99.9 percentile"
        return f"image: float32 from 0 to 1, of values from {limits}, channels last"
    if name.startswith("pointcloud"):
        unit = f"divided by {info['radius']:g} m"
        if options["normalize"] != "dataset":
            unit = "in a ball of radius 1"
        return f"points: x, y, z float32, centred, z = 0 on the ground, {unit}"
    scale = (
        "standard deviations from the mean"
        if options.get("normalize") != "none"
        else "their own units"
    )
    return f"series: float32 values in {scale}" + (
        f", {PADDING:g} behind the end" if info.get("ragged") else ""
    )


def output_text(task, info, inside, score):
    """Describe the outputs in words."""
    if "suppression" in info:
        if score is not None or inside:
            return "boxes: x1, y1, x2, y2 in pixels of the input, score, class (-1: none)"
        return "raw outputs: box, objectness and classes of each anchor"
    if task.vectors:
        return "embedding: a vector, whose distances to others mean something"
    if task.values:
        units = f"in the units of the {'series' if task.data.series else 'training values'}"
        return f"{values_name(task)}: {units if inside else 'standardized'}"
    if task.multilabel:
        return "probabilities of the labels" if inside else "logits of the labels, a sigmoid each"
    if inside:
        return "probabilities of the classes"
    return "logits" + " (one: class 1 against class 0)" * (len(info["classes"]) == 2)
