"""Checks: whether members fit together, and what they share."""

import dataclasses

import numpy as np

from ensembles.evaluation import probabilities
from ensembles.members import opening
from zoo import tasks
from zoo.tasks.image_detection import task as image_detection

RECORDED = ("task", "task_options", "info")


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
        raise opening.of_boxes(members[0].name)
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
        for key in task.data.sizes:
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
    for key in set(task.data.prepared) - set(task.data.sizes):
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
    return task.training.arguments({"classes": [0, 1], "channels": 1}, task.options)["num_classes"]


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
    data = dataclasses.replace(common.task.data, measure=lambda examples, options: constants)
    return dataclasses.replace(common.task, data=data)


def completed(common, data):
    """Return what the members share with the data's classes and constants, if they have none."""
    return dataclasses.replace(common, options=data.options, info=common.info or data.info)


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
