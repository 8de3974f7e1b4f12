"""Members: saved models, opened frozen, uniquely named, and checked against each other.

members = open(["runs/unet-dsb2018-1", "old_model.h5", "unet_dsb2018"])
common = check(members)           # what they share, or an error that names two and the difference
model = members[0].load(common)   # one of them, from the common input to logits
"""

import dataclasses
import json
import pathlib

import keras
import numpy as np
from keras import layers

from ensembles.evaluation import probabilities
from ensembles.members import graph
from zoo import tasks
from zoo.nn.ensemble import Frozen, TwoClasses
from zoo.tasks.image_detection import task as image_detection
from zoo.weights import presets, provenance, saving

RECORDED = ("task", "task_options", "info")
COPIES = 0.05  # share of the examples to fit to that may be copies of the data's own training


@dataclasses.dataclass(frozen=True)
class Member:
    """A saved model, not in memory.

    Attributes:
        name: what tables call it: its preset, run folder or file; no two alike.
        layer: the name of its layer in the ensemble, "member_1" ...
        path: of its file.
        sha256: of the file.
        record: what was saved with it, see `zoo.weights.saving.save`; {} if it is not of the zoo.
        input_shape: (..., C), without the batch's axis; None where any size is taken.
        output_shape: (..., K), likewise.
        ending: what its last layer makes of logits: "linear", "sigmoid" or "softmax".
        parameters: how many.
    """

    name: str
    layer: str
    path: pathlib.Path
    sha256: str
    record: dict
    input_shape: tuple
    output_shape: tuple
    ending: str
    parameters: int

    def load(self, common):
        """Load the model frozen, from the common input to logits, under the name of its layer."""
        model = saving.load(self.path)
        model = model if common.task.values else graph.in_logits(model, self.path)
        model = fitted(model, common, self)
        model = Frozen(model.inputs[0], model.outputs[0], name=self.layer)
        model.trainable = False
        return model

    def manifest(self):
        """Return what an ensemble keeps of its member."""
        data = self.record.get("data", {})
        return {
            "name": self.name,
            "layer": self.layer,
            "sha256": self.sha256,
            "model": self.record.get("model"),
            "parameters": self.parameters,
            "data": {key: data[key] for key in ("name", "fingerprint") if key in data},
            "command": self.record.get("settings", {}).get("command"),
        }


@dataclasses.dataclass(frozen=True)
class Common:
    """What the members of an ensemble share.

    Attributes:
        task: the task record.
        options: of the task, but for the sizes, which are the largest member's.
        info: classes and constants; {} if no member has a record.
        input_shape: of the ensemble, without the batch's axis.
        units: K, the number of logits.
    """

    task: object
    options: dict
    info: dict
    input_shape: tuple
    units: int


def open(sources, *, detectors=False):
    """Open members, reading one after the other once, so that a damaged file is found now.

    Args:
        sources: presets, run folders, `.keras` or `.h5` files; the same one may come twice.
        detectors: whether all are to be detectors, or none.

    Returns:
        A list of `Member`.

    Raises:
        ValueError: if one cannot be read, is no model of one input and one output, or is a
            detector where none is wanted, or the other way round; this is said before any model
            is loaded.
    """
    paths = [presets.locate(source) for source in sources]
    records = [saving.record(path) for path in paths]
    names = [path.parent.name if path.name == presets.MODEL else path.stem for path in paths]
    for name, record in zip(names, records, strict=True):
        kind = record.get("task")
        if (kind == image_detection.TASK.name) != detectors:
            raise of_boxes(name) if not detectors else not_of_boxes(name, kind)
    found = []
    for i, (path, record, name) in enumerate(zip(paths, records, names, strict=True)):
        model = saving.load(path)
        shapes = [tuple(tensor.shape[1:]) for tensor in one_each(model, path)]
        finite(model, path)
        values = "task" in record and tasks.get(record["task"]).values
        count = names[: i + 1].count(name)
        found.append(
            Member(
                name=name if count == 1 else f"{name} ({count})",
                layer=f"member_{i + 1}",
                path=path,
                sha256=saving.sha256(path),
                record=record,
                input_shape=shapes[0],
                output_shape=shapes[1],
                ending="linear" if values or detectors else graph.kind_of(model, path),
                parameters=model.count_params(),
            )
        )
        del model
        keras.backend.clear_session()
    return found


def of_boxes(name):
    """Return the error that a member is a detector."""
    return ValueError(
        f"{name} is a detector, and boxes cannot be averaged like maps or classes. Combine "
        "detectors by python -m ensembles fuse, which scores each of them too"
    )


def not_of_boxes(name, kind):
    """Return the error that a member is no detector; `kind` is its task, or None."""
    what = f"its task is {kind}" if kind else "it has no record of its task"
    return ValueError(
        f"{name}: {what}, and fuse is for detectors. Combine other models by average, stack or "
        "another command of python -m ensembles"
    )


def finite(model, path):
    """Raise a `ValueError` if not all weights of a model are finite numbers."""
    for variable in model.weights:
        array = keras.ops.convert_to_numpy(variable)
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            why = f"its weights {variable.path} hold NaN or infinite numbers"
            raise saving.trouble(path, why, "Train it again, with a lower learning rate")


def verify(members, outputs, common):
    """Check what members return for examples, before anything is made of it.

    Args:
        members: list of `Member`.
        outputs: for each its logits or values (n, ..., K).
        common: what they share.

    Raises:
        ValueError: if one has returned NaN or infinite numbers, or what ends in a linear layer
            returns probabilities; the message names it.
    """
    for member, array in zip(members, outputs, strict=True):
        bad, sums = 0, member.ending == "linear" and not common.task.values and common.units > 1
        for (part,) in probabilities.blocks(array):
            part = np.asarray(part, np.float32).reshape(len(part), -1, array.shape[-1])
            bad += int((~np.isfinite(part).all(axis=(1, 2))).sum())
            sums = sums and (part >= 0).all() and np.abs(part.sum(axis=-1) - 1).max() < 1e-3
        if bad:
            raise ValueError(
                f"{member.name}: it returns NaN or infinite numbers for {bad:,} of "
                f"{len(array):,} examples. Leave it out, or train it again with a lower learning "
                "rate"
            )
        if sums:
            raise ValueError(
                f"{member.name}: it ends in a linear layer, and still its outputs are "
                "probabilities: none is below 0, and those of all classes sum to 1. End it in a "
                "softmax, so that they are taken for what they are"
            )


def one_each(model, path):
    """Return the input and the output tensor of a model that has one of each."""
    if not getattr(model, "built", False) or not hasattr(model, "inputs"):
        raise saving.trouble(path, "its layers are not a graph", "Save a functional model")
    for tensors, kind in ((model.inputs, "inputs"), (model.outputs, "outputs")):
        if len(tensors) != 1:
            why = f"it has {len(tensors)} {kind}, and a member has one"
            raise saving.trouble(path, why, "Make a model of the one that is combined, and save it")
    return model.inputs[0], model.outputs[0]


def fitted(model, common, member):
    """Return a model with what it needs in front and behind to fit the ensemble, if anything.

    An image is resized to the member's size, and its map of logits back; of a cloud's points, which
    come in random order, the member gets the first ones, of a series' steps the last.
    """
    own, units = member.input_shape, member.output_shape[-1]
    resized = tuple(own) != tuple(common.input_shape) and None not in own
    if not resized and units == common.units:
        return model
    if isinstance(model.output, list):  # of legacy files it is a list of one
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    x = entry = keras.Input(common.input_shape, name="input")
    if resized and len(own) == 3:
        x = layers.Resizing(*own[:2], name="resize")(x)
    elif resized:
        rest = common.input_shape[0] - own[0]
        x = layers.Cropping1D((rest, 0) if common.task.values else (0, rest), name="some")(x)
    y = model(x)
    if resized and len(own) == 3 and len(member.output_shape) == 3:
        y = layers.Resizing(*common.input_shape[:2], name="resize_back")(y)
    if units != common.units:
        y = TwoClasses(common.units, name="units")(y)
    return keras.Model(entry, y)


def check(members, task=None):
    """Check members against each other.

    Args:
        members: list of `Member`.
        task: name of the task, which is only needed if no member says and the shapes do not tell.

    Returns:
        What they share, a `Common`.

    Raises:
        ValueError: if two do not fit together; the message names both and what differs.
    """
    first = next((one for one in members if set(RECORDED) <= one.record.keys()), None)
    if first is not None and task not in (None, first.record["task"]):
        raise ValueError(f"{first.name} was trained for {first.record['task']}, not for {task}")
    name = first.record["task"] if first else task or guess(members[0])
    if name == image_detection.TASK.name:
        raise of_boxes(members[0].name)
    task = tasks.get(name)
    for other in members:
        if other is not first and set(RECORDED) <= other.record.keys():
            alike(first, other, task)
    for other in members[1:]:
        shapes(members[0], other, task)
    one_convention(members)
    options, info = dict(task.options), {}
    if first:
        recorded = [one.record for one in members if set(RECORDED) <= one.record.keys()]
        options = {**options, **first.record["task_options"]}
        info = {key: value for key, value in first.record["info"].items() if key != "found"}
        for key in task.sizes:
            options[key] = max(record["task_options"].get(key, 0) for record in recorded)
    shape = shared_shape(members)
    options |= sized(options, shape, first is None)
    return Common(task, options, info, shape, shared_units(members, task))


def alike(one, other, task):
    """Raise a `ValueError` if two members do not have task, classes and preparation in common."""
    a, b = one.record, other.record

    def differ(what, x, y, remedy):
        raise ValueError(
            f"{one.name} and {other.name} cannot be combined: {what} is {x} and {y}. {remedy}"
        )

    if a["task"] != b["task"]:
        differ("their task", a["task"], b["task"], "Combine models of one task")
    x, y = a["info"]["classes"], b["info"]["classes"]
    if x != y:
        what = "the order of their classes" if sorted(x) == sorted(y) else "their classes"
        differ(what, ", ".join(x), ", ".join(y), "Train them on data of the same classes")
    for key in sorted((set(a["info"]) | set(b["info"])) - {"found"}):
        if a["info"].get(key) != b["info"].get(key):
            known = a["info"].get(key), b["info"].get(key)
            differ(f"the scale of their inputs, {key},", *known, "Train them on the same data")
    for key in set(task.prepared) - set(task.sizes):
        x, y = (one["task_options"].get(key, task.options[key]) for one in (a, b))
        if x != y:
            differ(f"the option {key} of their inputs", x, y, f"Train them with one {key}")


def shapes(one, other, task):
    """Raise a `ValueError` if the inputs or outputs of two members do not go together."""

    def differ(what, x, y, remedy):
        raise ValueError(
            f"{one.name} and {other.name} cannot be combined: {what} {x} and {y}. {remedy}"
        )

    a, b = one.input_shape, other.input_shape
    if len(a) != len(b):
        differ("they take inputs of shape", a, b, "Combine models for one kind of input")
    if a[-1] != b[-1]:
        differ("they take channels,", a[-1], b[-1], "Combine models of as many channels")
    if len(one.output_shape) != len(other.output_shape):
        shapes = one.output_shape, other.output_shape
        differ("they return shapes", *shapes, "Combine models of one task")
    k, units = one.output_shape[-1], {one.output_shape[-1], other.output_shape[-1]}
    if len(units) > 1 and units != {1, 2}:
        differ("they tell classes apart,", k, other.output_shape[-1], "Use the same classes")
    if task.values and one.output_shape != other.output_shape:
        differ("they forecast", one.output_shape, other.output_shape, "Train them with one horizon")
    dense = len(a) == 2 and len(one.output_shape) == 2 and not task.values
    if dense and a[0] != b[0] and None not in (a[0], b[0]):
        differ("they label points,", a[0], b[0], "Train them with as many points")
    if len(a) == 3 and len(one.output_shape) == 3 and margin(one) != margin(other):
        margins = margin(one), margin(other)
        differ("they leave out, of height and width,", *margins, "Train them with one padding")


def one_convention(members):
    """Raise a `ValueError` if classes exclude each other for some members alone."""
    apart = [one for one in members if one.ending == "sigmoid" and one.output_shape[-1] > 1]
    if apart and (other := next((one for one in members if one not in apart), None)):
        raise ValueError(
            f"{apart[0].name} and {other.name} cannot be combined: the first ends in "
            f"{apart[0].output_shape[-1]} sigmoids, by which several classes may be true at once, "
            f"and the second in {other.ending}, by which one is. Train them with one ending"
        )


def margin(member):
    """Return how many pixels of (height, width) a map of logits lacks; None if sizes are free."""
    pairs = zip(member.input_shape[:2], member.output_shape[:2], strict=True)
    return tuple(size - left if size and left else 0 for size, left in pairs)


def shared_shape(members):
    """Return the input's shape: the largest size of those members that have one, else any."""
    shapes = [member.input_shape for member in members]
    sizes = [[size for size in axis if size] for axis in zip(*shapes, strict=True)]
    return tuple(max(axis, default=None) for axis in sizes)


def sized(options, shape, unknown):
    """Return the options that make inputs of a fixed shape; channels too if no record has them."""
    found = {"channels": shape[-1]} if unknown and "channels" in options else {}
    if None not in shape and "window" in options:
        found["window"] = shape[0]
    elif None not in shape and "points" in options:
        found["points"] = shape[0]
    elif None not in shape and "tile_height" in options:
        found |= {"tile_height": shape[0], "tile_width": shape[1], "fixed_size": True}
    elif None not in shape and "image_size" in options:
        found["image_size"] = shape[0]
    return found


def shared_units(members, task):
    """Return K, the number of logits: that of all members, or the task's for two classes."""
    units = {member.output_shape[-1] for member in members}
    if len(units) == 1:
        return units.pop()
    return task.arguments({"classes": [0, 1], "channels": 1}, task.options)["num_classes"]


def guess(member):
    """Return the name of the task that a member's shapes tell."""
    ranks = len(member.input_shape), len(member.output_shape)
    known = {
        (3, 3): "image_segmentation",
        (3, 1): "image_classification",
        (2, 1): "pointcloud_classification",
        (2, 2): "pointcloud_segmentation",
    }
    if ranks not in known:
        raise ValueError(f"{member.path}: what it was trained for is not known. Say it with --task")
    return known[ranks]


def source(members):
    """Return the name or path of the data that the members were trained on.

    Raises:
        ValueError: if no member says, or two differ.
    """
    known = [(one, one.record["data"]) for one in members if "data" in one.record]
    if not known:
        raise ValueError(
            "no member says what it was trained on. Say what to combine them on: --data"
        )
    first, data = known[0]
    for other, theirs in known[1:]:
        if theirs["fingerprint"] != data["fingerprint"]:
            raise ValueError(
                f"{first.name} and {other.name} were trained on different data, {data['source']} "
                f"and {theirs['source']}. Say what to combine them on: --data"
            )
    return data["source"]


def cut(members):
    """Return how the members' data are read and split, where they agree."""
    settings = [one.record["settings"] for one in members if "settings" in one.record]
    agreed = {}
    for key in ("fold", "validate", "hints", "skip_bad"):
        values = [each.get(key) or None for each in settings]
        agreed[key] = values[0] if values and all(v == values[0] for v in values) else None
    return {**agreed, "skip_bad": bool(agreed["skip_bad"])}


def fixed(common, info):
    """Return the task with the members' constants in place of those measured on other data.

    Raises:
        ValueError: if the classes differ.
    """
    if common.info["classes"] != info["classes"]:
        names = ", ".join(common.info["classes"]), ", ".join(info["classes"])
        raise ValueError(
            f"the members know the classes {names[0]}, and the data have {names[1]}. Combine them "
            "on data of the same classes"
        )
    constants = {key: value for key, value in common.info.items() if key != "classes"}
    return dataclasses.replace(common.task, measure=lambda examples, options: constants)


def completed(common, data):
    """Return what the members share with the data's classes and constants, if they have none."""
    return dataclasses.replace(common, options=data.options, info=common.info or data.info)


def leakage(members, about, cut, examples=None):
    """Find out which members were trained on what the ensemble would be fitted to or judged by.

    Examples are compared one by one, so it does not matter how their files are called now. Of
    members without a record of their examples only the data and their splits are known: the
    validation split is cut the same way for all who cut the same data alike; so whoever was
    trained on the same data, cut otherwise, has seen some of it.

    Args:
        members: list of `Member`.
        about: the record of the data, with its fingerprint.
        cut: {"fold": ..., "validate": ..., "skip_bad": ...}, how they are split.
        examples: {split: (m, 2) uint64} of the data, see `zoo.weights.provenance`.

    Returns:
        (refusals, warnings): two lists of sentences; the first is of what would be fitted.
    """
    refusals, warnings = [], list(about.get("duplicates", ()))
    for member in members:
        name, record = member.name, member.record
        data, settings = record.get("data", {}), record.get("settings", {})
        if examples is not None and provenance.decode(record) is not None:
            known = known_examples(name, record, examples)
            refusals += known[0]
            warnings += known[1]
            if unknown := record.get("unknown"):
                warnings.append(
                    f"{name}: nobody can tell which examples {', '.join(unknown)} has seen, "
                    "which it was made of"
                )
        elif "fingerprint" not in data:
            warnings.append(
                f"{name}: it has no record of its training, so nobody can tell whether it "
                "has seen the data that it is combined on"
            )
        elif data["fingerprint"] != about["fingerprint"]:
            continue
        elif "fitted" in record:
            refusals.append(f"{name} is an ensemble that was fitted to the same examples")
        elif different := [key for key in cut if (settings.get(key) or None) != (cut[key] or None)]:
            ways = ", ".join(f"{key} {json.dumps(settings.get(key))}" for key in different)
            refusals.append(f"{name} was trained on some of the same examples ({ways})")
    return refusals, warnings


def known_examples(name, record, examples):
    """Return (refusals, warnings) of a member that has a record of its examples."""
    held, rows = examples["validation"], provenance.decode(record)
    seen = provenance.overlap(held, rows)
    own = provenance.overlap(held, examples["train"])
    sentences = provenance.warnings(name, rows, examples, ["validation"])
    few = not (seen & ~own).any() and seen.mean() <= COPIES if len(held) else True
    judged = provenance.warnings(name, rows, examples, ["test"])
    if few:
        return [], sentences + judged
    return [text.removesuffix(provenance.EFFECT) for text in sentences], judged
