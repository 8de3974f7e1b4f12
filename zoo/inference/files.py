"""Inputs of a prediction as examples: files, folders and patterns, or arrays."""

import functools
import glob
import os
import pathlib

import numpy as np

from datasets.readers import clouds, images, series
from datasets.readers.series import ucr
from datasets.source import BadInput, flag

READERS = {  # by the first word of a task: paths to paths, and path to example
    "pointcloud": (clouds.find_clouds, clouds.read_example),
    "image": (images.find_images, images.read_example),
    "forecasting": (series.find_series, series.read_example),
    "sequence": (ucr.find, ucr.read_example),
}
AXES = {"pointcloud": 2, "image": 3, "forecasting": 2, "sequence": 2}  # of one example


HINTS = ("columns", "up", "units")  # of `datasets.source.HINTS`, those for files of clouds


def gather(inputs, record, leave_out=None, hints=None):
    """List the inputs of a prediction after checking them.

    Args:
        inputs: a path, a folder, a pattern such as "scans/*.ply", an array, or a list of these. An
            array with one axis more than an example has is a batch of examples.
        record: what was saved with the model: its task decides what can be read.
        leave_out: called with the message about a path that cannot be used; without it the
            `BadInput` is raised.
        hints: on files of clouds, by the names of HINTS.

    Returns:
        A list of names (paths, or "array 0" and so on), and a function from a name to an example.

    Raises:
        ValueError: if a path cannot be used, or an array cannot be such an example.
    """
    kind = record["task"].partition("_")[0]
    if kind not in READERS:
        raise ValueError(f"files cannot be read for {record['task']} yet")
    find, read = READERS[kind]
    if hints and kind != "pointcloud":
        why = f"it is for clouds, and this model is for {record['task']}"
        raise BadInput(flag(next(iter(hints))), why, "Leave it away")
    if kind == "pointcloud":
        clouds.check_hints(**(hints or {}))
        recorded = (record.get("settings") or {}).get("hints")
        read = functools.partial(read, recorded=recorded, **(hints or {}))
    names, arrays = [], {}
    for item in listed(inputs, kind):
        if isinstance(item, str | os.PathLike):
            try:
                names += find(matches(item))
            except BadInput as error:
                if leave_out is None:
                    raise
                leave_out(str(error))
        else:
            name = f"array {len(names)}"
            arrays[name] = example(name, item, kind, record)
            names.append(name)
    return names, lambda name: arrays[name] if isinstance(name, str) else read(name)


def listed(inputs, kind):
    """Return inputs as a list: one path or array, a list of them, or a batch of arrays."""
    if isinstance(inputs, str | os.PathLike):
        return [inputs]
    if isinstance(inputs, list | tuple):
        return [*inputs]
    array = np.asarray(inputs)
    return [*array] if array.ndim > AXES[kind] else [array]


def matches(item):
    """Return the path of a text, or the paths that match it as a pattern, sorted.

    Raises:
        BadInput: if no such file or folder exists.
    """
    text = os.fspath(item)
    if os.path.exists(text) or not glob.has_magic(text):
        if not os.path.lexists(text):
            raise BadInput(text, "there is no such file or folder", "Check the spelling")
        return [pathlib.Path(text)]
    paths = sorted(map(pathlib.Path, glob.glob(text, recursive=True)))
    if not paths:
        raise BadInput(text, "no file matches this pattern", "Check the spelling")
    return paths


def example(name, array, kind, record):
    """Return an array in the units of the data as an example, as a reader returns it.

    Args:
        name: in messages.
        array: an image (H, W) or (H, W, C), uint8 from 0 to 255 or of the range of the training
            images; points (n, 3 or more), metres; or a series (T,) or (T, F) in its own units,
            NaN where a value is missing, the columns in the order of the training data.
        kind: the first word of the task.
        record: what was saved with the model.

    Raises:
        BadInput: if its shape, type or range is invalid.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise BadInput(name, f"its type is {array.dtype}", "Give numbers")
    if kind != "pointcloud" and array.ndim == AXES[kind] - 1:
        array = array[..., None]
    if array.ndim != AXES[kind] or not array.size:
        shapes = {"pointcloud": "(n, 3)", "image": "(H, W, C)"}
        remedy = f"Give an array of shape {shapes.get(kind, '(T, F)')}, or a list of them"
        raise BadInput(name, f"its shape is {array.shape}", remedy)
    if kind == "image":
        return {"image": image(name, array, record)}
    if kind == "pointcloud":
        if array.shape[1] < 3:
            raise BadInput(name, f"its shape is {array.shape}", "Give x, y and z in columns")
        points, offset = clouds.metres(name, array[:, :3])
        return {"points": points, "offset": offset}
    if np.isinf(array).any():
        raise BadInput(name, "some of its values are infinite", "Give NaN where one is missing")
    if kind == "sequence":
        return {"series": array.astype(np.float64)}
    columns = record["info"]["columns"]
    if array.shape[1] != len(columns):
        why = f"it has {array.shape[1]} columns, and the model was trained on {len(columns)}"
        raise BadInput(name, why, f"Give {', '.join(columns)}, in this order")
    return {"values": array.astype(np.float64), "columns": columns}


def image(name, array, record):
    """Return an image (H, W, C) of a type that a reader returns, after checking its range."""
    info, per_image = record["info"], record["task_options"].get("normalize") == "image"
    if array.shape[-1] not in {1, 3, info["channels"]}:
        why = f"its shape is {array.shape}, and images have {info['channels']} channels at the end"
        raise BadInput(name, why, "Give several images as a list, or as (n, H, W, C)")
    if array.dtype == bool:
        return array * np.uint8(255)
    if array.dtype in (np.uint8, np.uint16):
        return array
    if not np.isfinite(array).all():
        raise BadInput(name, "some of its values are NaN or infinite", "Replace them")
    low, high = info["range"]
    if not per_image and high - low > 2 and array.min() >= 0 and 0 < array.max() <= 1:
        why = f"its values are from 0 to 1, and those of the training were from {low:g} to {high:g}"
        raise BadInput(name, why, f"Multiply them by {high:g}, or give uint8 from 0 to 255")
    return array.astype(np.float32)
