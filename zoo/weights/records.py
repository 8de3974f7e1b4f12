"""Records of models, in a model's file and in run.json, validated when they are read.

A record is JSON that may have been edited or truncated. The functions here return values of the
types that the rest of the zoo relies on, or raise one sentence with the file and the entry. Entries
that are not listed belong to later versions and are accepted.
"""

import json
import math
import numbers
import pathlib

from zoo import index

RUN = "run.json"
MOST_POINTS, MOST_PIXELS = 10**7, 2**16  # largest inputs of models without a fixed size
SIZES = {  # option of a task: the axis of the input that it sets, and its maximum
    "points": (0, MOST_POINTS),
    "window": (0, MOST_POINTS),
    "image_size": (0, MOST_PIXELS),
    "tile_height": (0, MOST_PIXELS),
    "tile_width": (1, MOST_PIXELS),
}
LIMITS = {  # of options that memory depends on: minimum and maximum
    "resolution": (1 / 64, 16),
    "crop": (1 / 64, 1),
    "horizon": (1, MOST_POINTS),
    "length": (0, MOST_POINTS),
    "margin": (0, MOST_PIXELS),
    "overlap": (0, MOST_PIXELS),
    "max_boxes": (1, MOST_PIXELS),
    "num_objects": (0, MOST_PIXELS),
    "block": (0, MOST_POINTS),
    "channels": (0, MOST_PIXELS),
}


def trouble(what, why, remedy):
    """Return an error with a file, the reason and the remedy."""
    return ValueError(f"{what}: {why}. {remedy}.")


def read_run(folder, needed=()):
    """Return the validated record in the run.json of a run folder.

    Args:
        folder: the run folder.
        needed: names of required entries.

    Returns:
        A dictionary.

    Raises:
        ValueError: if the file is missing, truncated, not a JSON object, lacks a required entry,
            or has one of the wrong type; one sentence with the file.
    """
    path = pathlib.Path(folder, RUN)
    record = read_json(path)
    if reason := objection(record):
        raise trouble(path, reason, "Restore it from a copy, or train again")
    require(path, record, needed)
    return record


def require(path, record, names):
    """Raise a `ValueError` if the record of the file `path` lacks one of these entries."""
    if missing := [name for name in names if name not in record]:
        raise trouble(path, f"it lacks {', '.join(missing)}", "Use the folder of a training run")


def read_json(path):
    """Return the JSON object in a file.

    Raises:
        ValueError: if it cannot be read, is truncated, or has something else.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise trouble(
            path, f"it cannot be read ({error.strerror})", "Check the spelling"
        ) from error
    return parse(path, text)


def parse(path, text):
    """Return the JSON object in a text from the file `path`."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise trouble(path, f"its description is no JSON ({reason})", "Save it again") from error
    if not isinstance(value, dict):
        raise trouble(path, "its description is no JSON object", "Save it again")
    return value


def objection(record):
    """Return which entry of a record is invalid, or None.

    Args:
        record: a dictionary from a model's file, a run or a preset's card.
    """
    for name, (kind, is_valid) in ENTRIES.items():
        if name in record and not is_valid(record[name]):
            return f"its record is damaged: {name} is {shown(record[name])}, not {kind}"
    info = record.get("info", {})
    for name, (kind, is_valid) in CONSTANTS.items():
        if name in info and not is_valid(info[name]):
            return f"its record is damaged: {name} is {shown(info[name])}, not {kind}"
    return objection_to_task(record) or inconsistency(info) or misfit(record)


def objection_to_task(record):
    """Return which entry of a record is invalid for its task, or None."""
    task = record.get("task")
    if task is None:
        return None
    if task not in index.tasks():
        return f"it is for the task {shown(task)}, which this version of the zoo does not have"
    options = index.tasks()[task]["options"]
    for name, value in record.get("task_options", {}).items():
        if name in options and not same_type(value, options[name]):
            what = f"not of the type of {options[name]!r}"
            return f"its record is damaged: the option {name} is {shown(value)}, {what}"
    values = record.get("info", {}).get("target") == "values"
    needed = NEEDED.get(task, NEEDED.get(task.partition("_")[0], ())) + OF_VALUES * values
    for name in needed:
        if "info" in record and name not in record["info"]:
            return f"its record is damaged: it lacks {name}"
    return None


def inconsistency(info):
    """Return which constants of the data have different lengths, or None."""
    for a, b in (("columns", "mean"), ("mean", "deviation")):
        if a in info and b in info and len(info[a]) != len(info[b]):
            counts = f"{len(info[a])} {a} and {len(info[b])} values of {b}"
            return f"its record is damaged: it has {counts}"
    if "targets" in info and info["targets"] > len(info.get("mean", ())):
        return f"its record is damaged: it has {info['targets']} targets and fewer values of mean"
    return None


def misfit(record, shape=None):
    """Return which task option of a record does not fit the model's input, or None.

    This is checked before an input of that size is allocated, which may not fit into memory.

    Args:
        record: a dictionary.
        shape: of the model's input, (..., C) without the batch axis, None where any size is
            accepted; without a shape only the limits of the options are checked.
    """
    options, sizes = record.get("task_options", {}), tuple(shape or ())[:-1]
    defaults = index.tasks().get(record.get("task"), {}).get("options", {})
    for name, (least, most) in LIMITS.items():
        value = options.get(name)
        if is_number(value) and not least <= value <= most:
            return f"its record is damaged: the option {name} is {shown(value)}"
    for name, (axis, most) in SIZES.items():
        value = options.get(name)
        if not isinstance(value, int) or value == defaults.get(name) == 0:  # 0: as the data
            continue
        if not 1 <= value <= most:
            return f"its record is damaged: the option {name} is {shown(value)}"
        own = sizes[axis] if axis < len(sizes) else None
        if own and (value > own if name.startswith("tile") else value != own):
            return f"its record is damaged: the option {name} is {value}, and the model takes {own}"
    return None


def shown(value):
    """Return a value for a message: on one line, truncated."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def same_type(value, default):
    """Return whether an option's value has the type of its default, after JSON."""
    if default is None or value is None:
        return value is None or isinstance(value, str | int | float | list | dict)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return is_number(value)
    if isinstance(default, tuple | list):
        return isinstance(value, list | tuple)
    return isinstance(value, type(default))


def is_number(value):
    """Return whether a value is a finite number."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def is_count(value):
    """Return whether a value is a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_text(value):
    """Return whether a value is a string or None."""
    return value is None or isinstance(value, str)


def is_names(value):
    """Return whether a value is a list of strings."""
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def is_numbers(value):
    """Return whether a value is a list of finite numbers."""
    return isinstance(value, list) and all(map(is_number, value))


def is_mapping(value):
    """Return whether a value is a dictionary whose keys are strings."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def is_scores(value):
    """Return whether a value is the scores of splits."""
    return is_mapping(value) and all(map(is_mapping, value.values()))


def is_settings(value):
    """Return whether a value is the settings of a command."""
    return is_mapping(value) and isinstance(value.get("command", ""), str | None)


def is_grid(value):
    """Return whether a value is the grid of a detector, as `boxes.coding.grid` returns it."""
    if not isinstance(value, dict) or value.get("form") not in ("yolo", "yolov3", "rows"):
        return False
    levels, strides, size = (value.get(name) for name in ("anchors", "strides", "size"))
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_count, size)):
        return False
    if value["form"] == "rows":
        return max(size) <= MOST_PIXELS
    if not isinstance(strides, list) or not all(map(is_count, strides)) or max(size) > MOST_PIXELS:
        return False
    return isinstance(levels, list) and len(levels) == len(strides) and all(map(is_anchors, levels))


def is_anchors(value):
    """Return whether a value is a list of widths and heights."""
    return isinstance(value, list) and all(
        is_numbers(pair) and len(pair) == 2 and min(pair) > 0 for pair in value
    )


def is_suppression(value):
    """Return whether a value is the settings of non-maximum suppression."""
    if not isinstance(value, dict) or not all(
        is_number(value.get(key)) for key in ("iou", "sigma")
    ):
        return False
    weights = value.get("weights")  # of the members of a combined detector
    methods = (None, "wbf", "nms", "soft_nms")
    return value.get("method") in methods and (weights is None or is_numbers(weights))


def is_members(value):
    """Return whether a value is the manifest of an ensemble's members."""
    return isinstance(value, list) and all(
        is_mapping(item) and isinstance(item.get("name"), str) for item in value
    )


TEXT, MAPPING = ("a text", is_text), ("a dictionary", is_mapping)
NUMBER, NAMES = ("a number", is_number), ("a list of names", is_names)
ENTRIES = {  # of any record: the expected type, and its check
    **dict.fromkeys("model task status sha256 machine backend command".split(), TEXT),
    **dict.fromkeys("arguments options task_options info data".split(), MAPPING),
    **dict.fromkeys("versions teacher bootstrap found attacked".split(), MAPPING),
    **dict.fromkeys("seed seconds epochs best_epoch".split(), NUMBER),
    **dict.fromkeys("notes snapshots".split(), NAMES),
    "settings": ("a dictionary with a command", is_settings),
    "scores": ("a dictionary of scores", is_scores),
    "members": ("a list of members", is_members),
}
CONSTANTS = {  # of the data, in `info`: the expected type, and its check
    "classes": NAMES,
    "columns": NAMES,
    "notes": NAMES,
    "found": MAPPING,
    "target": ("labels or values", lambda value: value in ("labels", "values")),
    "targets": ("a positive integer", is_count),
    "channels": ("a positive integer", lambda value: is_count(value) and value <= MOST_PIXELS),
    "length": ("a positive integer", lambda value: is_count(value) and value <= MOST_POINTS),
    "ragged": ("true or false", lambda value: isinstance(value, bool)),
    "radius": ("a positive number", lambda value: is_number(value) and value > 0),
    "mean": ("a list of numbers", is_numbers),
    "deviation": (
        "a list of positive numbers",
        lambda value: is_numbers(value) and all(number > 0 for number in value),
    ),
    "range": (
        "two numbers, the smaller one first",
        lambda value: is_numbers(value) and len(value) == 2 and value[0] <= value[1],
    ),
    "grid": ("the grid of a detector", is_grid),
    "suppression": ("settings of non-maximum suppression", is_suppression),
}
OF_VALUES = ("columns", "targets", "mean", "deviation")
NEEDED = {  # constants that a task requires, by its name or the first word of its name
    "forecasting": ("columns", "targets", "mean", "deviation"),
    "image": ("classes", "channels", "range"),
    "image_detection": ("classes", "channels", "range", "grid", "suppression"),
    "pointcloud": ("classes", "radius"),
    "sequence": ("classes", "length", "ragged", "mean", "deviation"),
}
