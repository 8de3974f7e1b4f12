"""The data of a trained model, prepared again from its record, if they are available."""

import dataclasses
import os
import pathlib

from datasets import builders, open_source, prepared
from datasets.source import BadInput


def prepare(record, task, key, other=None):
    """Prepare the data that a model was trained on, or others with its options and constants.

    Nothing of the model's own data is downloaded. Available are own files at their recorded path,
    embedded data sets, those that tensorflow-datasets has prepared already, and folders of
    $ZOO_DATA.

    Args:
        record: of the model: "data", "task_options", "info" and, if known, "settings".
        task: a record with the fields of the zoo's tasks.
        key: text that changes when the task's functions do.
        other: name or path of other data; if they are the model's own after all, they are split
            as in its training.

    Returns:
        A `datasets.prepared.Prepared`.

    Raises:
        BadInput: if the data are not available, have other classes, or are not those of the record
            although no others were asked for.
    """
    data, settings = record.get("data", {}), record.get("settings", {})
    if other is None:
        source = located(settings.get("data") or data.get("source"), data.get("name"))
    else:
        path = prepared.expand(other)
        source = str(path) if path.exists() else other
    hints = settings.get("hints") if pathlib.Path(source).exists() else None
    opened = open_source(source, task.name, hints)
    own = opened.fingerprint == data.get("fingerprint")
    if not own and other is None:
        why = f"its fingerprint is {opened.fingerprint}, not {data.get('fingerprint')}"
        raise BadInput(source, why, "Give the data that the model was trained on")
    how = {name: settings.get(name) or None for name in ("fold", "validate") if own}
    how |= dict(options=record["task_options"], skip_bad=bool(settings.get("skip_bad")))
    result = prepared.prepare(source, task, key, source=opened, **how)
    recorded = {name: record["info"].get(name) for name in result.info}
    if recorded == result.info:
        return result
    if recorded.pop("classes") != result.info["classes"]:
        why = f"its classes are {', '.join(result.info['classes'])}"
        raise BadInput(source, why, "Give the data that the model was trained on")
    fixed = dataclasses.replace(
        task, data=dataclasses.replace(task.data, measure=lambda examples, options: recorded)
    )
    return prepared.prepare(source, fixed, f"{key} {recorded}", source=opened, **how)


def located(source, name):
    """Return the path or the name of data that are available without a download.

    Args:
        source: their path or name when the model was trained, or None.
        name: of the data set, or None.

    Raises:
        BadInput: if they are not available.
    """
    for candidate in filter(None, (source, name)):
        if prepared.expand(candidate).exists():
            return str(prepared.expand(candidate))
        if candidate in builders.ours() or downloaded(candidate):
            return candidate
    folder = os.environ.get("ZOO_DATA")
    if folder and name and pathlib.Path(folder, name).exists():
        return str(pathlib.Path(folder, name))
    remedy = "Restore them, or copy them to a folder of that name below $ZOO_DATA"
    raise BadInput(name or source or "The data", "they are not available", remedy)


def downloaded(name):
    """Return whether tensorflow-datasets has prepared a data set on this machine."""
    default = pathlib.Path.home() / "tensorflow_datasets"
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR") or default)
    bare = name.split(":")[0]
    return builders.known(name) and (folder / bare).is_dir()
