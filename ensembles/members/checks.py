"""Checks that members are compatible, and what they share."""

import dataclasses

import numpy as np

from ensembles.evaluation import probabilities
from ensembles.members import opening
from zoo import tasks
from zoo.tasks.image_detection import task as image_detection

RECORDED = ("task", "task_options", "info")
OWN = ("found", "conformal", "threshold")  # of one model, and not of what it is combined to
OF_VALUES = ("columns", "targets", "mean", "deviation")


@dataclasses.dataclass(frozen=True)
class Common:
    """What the members of an ensemble share.

    Attributes:
        task: the task record.
        options: of the task; sizes are those of the largest member.
        info: classes and constants; {} if no member has a record.
        input_shape: of the ensemble, without the batch axis.
        units: K, the number of logits.
    """

    task: object
    options: dict
    info: dict
    input_shape: tuple
    units: int


def check(members, task=None):
    """Check that members are compatible.

    Args:
        members: list of `Member`.
        task: name of the task; only needed if no member has a record of it and the shapes do not
            determine it.

    Returns:
        What they share, a `Common`.

    Raises:
        ValueError: if two are incompatible; the message names both and what differs.
    """
    recorded = [member for member in members if set(RECORDED) <= member.record.keys()]
    first = next(iter(recorded), None)
    if first is not None and task not in (None, first.record["task"]):
        raise ValueError(f"{first.name} was trained for {first.record['task']}, not for {task}")
    name = first.record["task"] if first else task or guess(members[0])
    if name == image_detection.TASK.name:
        raise opening.detector_error(members[0].name)
    task = tasks.get(name).of(first.record["info"] if first else {})
    for member in recorded[1:]:
        check_records(first, member, task)
    for member in members[1:]:
        check_shapes(members[0], member, task)
    check_activations(members, task)
    options, info = dict(task.options), {}
    if first:
        options = {**options, **first.record["task_options"]}
        info = {key: value for key, value in first.record["info"].items() if key not in OWN}
        for key in task.data.sizes:
            options[key] = max(member.record["task_options"].get(key, 0) for member in recorded)
    shape = shared_shape(members)
    options |= size_options(options, shape, first is None)
    return Common(task, options, info, shape, shared_units(members, task))


def check_records(first, second, task):
    """Raise a `ValueError` if two members differ in task, classes or preprocessing."""
    a, b = first.record, second.record

    def differ(what, x, y, remedy):
        raise ValueError(
            f"{first.name} and {second.name} cannot be combined: {what} is {x} and {y}. {remedy}"
        )

    if a["task"] != b["task"]:
        differ("their task", a["task"], b["task"], "Combine models of one task")
    x, y = (record["info"].get("target", "classes") for record in (a, b))
    if x != y:
        differ("what they predict", x, y, "Combine models of one kind of target")
    x, y = a["info"]["classes"], b["info"]["classes"]
    if x != y:
        what = "the order of their classes" if sorted(x) == sorted(y) else "their classes"
        differ(what, ", ".join(x), ", ".join(y), "Train them on data of the same classes")
    for key in sorted((set(a["info"]) | set(b["info"])) - {*OWN}):
        if a["info"].get(key) != b["info"].get(key):
            values = a["info"].get(key), b["info"].get(key)
            what = "the scale of their inputs"
            if key in OF_VALUES and "target" in a["info"]:
                what = "what their values are"
            differ(f"{what}, {key},", *values, "Train them on the same data")
    for key in set(task.data.prepared) - set(task.data.sizes):
        x, y = (record["task_options"].get(key, task.options[key]) for record in (a, b))
        if x != y:
            differ(f"the option {key} of their inputs", x, y, f"Train them with one {key}")


def check_shapes(first, second, task):
    """Raise a `ValueError` if the input or output shapes of two members are incompatible."""

    def differ(what, x, y, remedy):
        raise ValueError(
            f"{first.name} and {second.name} cannot be combined: {what} {x} and {y}. {remedy}"
        )

    a, b = first.input_shape, second.input_shape
    if len(a) != len(b):
        differ("they take inputs of shape", a, b, "Combine models for one kind of input")
    if a[-1] != b[-1]:
        differ("their numbers of input channels are", a[-1], b[-1], "Use models of equal channels")
    if len(first.output_shape) != len(second.output_shape):
        shapes = first.output_shape, second.output_shape
        differ("they return shapes", *shapes, "Combine models of one task")
    k, units = first.output_shape[-1], {first.output_shape[-1], second.output_shape[-1]}
    if len(units) > 1 and (units != {1, 2} or task.multilabel):
        differ("their numbers of classes are", k, second.output_shape[-1], "Use the same classes")
    if task.values and first.output_shape != second.output_shape:
        shapes = first.output_shape, second.output_shape
        if task.data.series:
            differ("their forecasts have shapes", *shapes, "Train them with one horizon")
        differ("their values have shapes", *shapes, "Train them on the same values")
    dense = len(a) == 2 and len(first.output_shape) == 2 and not task.values
    if dense and a[0] != b[0] and None not in (a[0], b[0]):
        differ("their numbers of points are", a[0], b[0], "Train them with as many points")
    if len(a) == 3 and len(first.output_shape) == 3 and margin(first) != margin(second):
        margins = margin(first), margin(second)
        differ("their maps lack a height and width of", *margins, "Train them with one padding")


def check_activations(members, task):
    """Raise a `ValueError` if some members, but not all, end in several sigmoids.

    Of labels, members may end in logits or in sigmoids, since the task has a sigmoid for each; they
    may not end in a softmax.
    """
    if task.multilabel:
        for member in members:
            if member.ending == "softmax":
                raise ValueError(
                    f"{member.name} ends in a softmax, for one true class, and the others are for "
                    f"{member.output_shape[-1]} labels, of which several may be true at once. "
                    "Train it on the same labels"
                )
        return
    multi_label = [
        member for member in members if member.ending == "sigmoid" and member.output_shape[-1] > 1
    ]
    others = [member for member in members if member not in multi_label]
    if multi_label and others:
        raise ValueError(
            f"{multi_label[0].name} and {others[0].name} cannot be combined: the first ends in "
            f"{multi_label[0].output_shape[-1]} sigmoids, for several true classes at once, and "
            f"the second in {others[0].ending}, for one true class. Train them with one activation"
        )


def margin(member):
    """Return the difference in (height, width) of input and logits, 0 where a size is unknown."""
    pairs = zip(member.input_shape[:2], member.output_shape[:2], strict=True)
    return tuple(before - after if before and after else 0 for before, after in pairs)


def shared_shape(members):
    """Return the input shape: the largest size of members with a fixed size, else None."""
    shapes = [member.input_shape for member in members]
    sizes = [[size for size in axis if size] for axis in zip(*shapes, strict=True)]
    return tuple(max(axis, default=None) for axis in sizes)


def size_options(options, shape, unknown):
    """Return the options for inputs of a fixed shape; with the channels if no record has them."""
    sizes = {"channels": shape[-1]} if unknown and "channels" in options else {}
    if None not in shape and "window" in options:
        sizes["window"] = shape[0]
    elif None not in shape and "points" in options:
        sizes["points"] = shape[0]
    elif None not in shape and "tile_height" in options:
        sizes |= {"tile_height": shape[0], "tile_width": shape[1], "fixed_size": True}
    elif None not in shape and "image_size" in options:
        sizes["image_size"] = shape[0]
    return sizes


def shared_units(members, task):
    """Return K, the number of logits: of all members, or the task's default for two classes."""
    units = {member.output_shape[-1] for member in members}
    if len(units) == 1:
        return units.pop()
    return task.training.arguments({"classes": [0, 1], "channels": 1}, task.options)["num_classes"]


def guess(member):
    """Return the name of the task that a member's shapes imply."""
    ranks = len(member.input_shape), len(member.output_shape)
    tasks_by_rank = {
        (3, 3): "image_segmentation",
        (3, 1): "image_classification",
        (2, 1): "pointcloud_classification",
        (2, 2): "pointcloud_segmentation",
    }
    if ranks not in tasks_by_rank:
        raise ValueError(f"{member.path}: its task is unknown. Give it with --task")
    return tasks_by_rank[ranks]


def fixed(common, info):
    """Return the task with the members' constants, not those measured on the new data.

    Raises:
        ValueError: if the classes differ.
    """
    kinds = [known.get("target", "classes") for known in (common.info, info)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"the members predict {kinds[0]}, and the data have {kinds[1]}. Combine them on data "
            f"of {kinds[0]}"
        )
    if common.info["classes"] != info["classes"]:
        names = ", ".join(common.info["classes"]), ", ".join(info["classes"])
        raise ValueError(
            f"the members' classes are {names[0]}, and the data's are {names[1]}. Combine them "
            "on data of the same classes"
        )
    return with_constants(common)


def with_constants(common):
    """Return the task with the members' constants, for data of any classes."""
    constants = {key: value for key, value in common.info.items() if key != "classes"}
    data = dataclasses.replace(common.task.data, measure=lambda examples, options: constants)
    return dataclasses.replace(common.task, data=data)


def completed(common, data):
    """Return `common` with the data's options, and its classes and constants if there are none."""
    info = common.info or data.info
    return dataclasses.replace(common, options=data.options, info=info, task=common.task.of(info))


def verify(members, outputs, common):
    """Check the members' outputs before they are combined.

    Args:
        members: list of `Member`.
        outputs: logits or values (n, ..., K) of each member.
        common: what they share.

    Raises:
        ValueError: if a member returns NaN or infinite values, or ends in a linear layer and
            returns probabilities; the message names it.
    """
    for member, array in zip(members, outputs, strict=True):
        not_finite = 0
        exclusive = not common.task.values and not common.task.multilabel
        probable = member.ending == "linear" and exclusive and common.units > 1
        for (part,) in probabilities.blocks(array):
            part = np.asarray(part, np.float32).reshape(len(part), -1, array.shape[-1])
            not_finite += int((~np.isfinite(part).all(axis=(1, 2))).sum())
            probable = probable and (part >= 0).all() and np.abs(part.sum(axis=-1) - 1).max() < 1e-3
        if not_finite:
            raise ValueError(
                f"{member.name}: it returns NaN or infinite values for {not_finite:,} of "
                f"{len(array):,} examples. Leave it out, or train it again with a lower learning "
                "rate"
            )
        if probable:
            raise ValueError(
                f"{member.name}: it ends in a linear layer, but its outputs are probabilities: "
                "none is below 0, and those of all classes sum to 1. End the model in a softmax, "
                "so that they are recognised as probabilities"
            )
