"""Converters: a file that others published becomes a model of the zoo, with its record.

    model, record = read("resnet50.safetensors", "resnet", {"depth": 50})

The file is a `.safetensors` or `.npz` with the names of timm or torchvision, or an `.h5` with the
weights of a model of keras.applications. Every array is used, or the file is rejected. The record
says how images are prepared, so that `predict` does it.
"""

import json
import pathlib

from zoo import index, registry
from zoo.weights import initial, inspection, records
from zoo.weights.published import applications, arrays, filling, torch_weights
from zoo.weights.published.preparation import TASK
from zoo.weights.records import trouble

IMAGENET = 1000  # classes


def matches(path):
    """Return whether a file name is that of named arrays, or of a pickle of them."""
    return arrays.matches(path) or pathlib.Path(path).suffix.lower() in arrays.PICKLES


def read(path, name, options, *, task_options=None, classes=None):
    """Return the model of a file of published weights, and its record.

    Args:
        path: of the file; beside a `.safetensors`, a config.json of timm is read, too.
        name: of a model of the zoo: googlenet, mobilenet, resnet, vgg or vit.
        options: of its builder that differ from those of the file, such as depth.
        task_options: of image classification that differ from those of the file.
        classes: names of the classes; default: those of the file, or their numbers.

    Returns:
        (model, record): a `keras.Model`, and what `zoo.weights.saving.save` needs.

    Raises:
        ValueError: if the file is damaged, or does not fit the model; one line with the file, the
            reason and the remedy.
    """
    path, task_options = pathlib.Path(path), task_options or {}
    if not path.is_file():
        raise trouble(path, "there is no such file", "Check the spelling")
    hdf5 = path.suffix.lower() in inspection.HDF5
    content = (applications if hdf5 else torch_weights).read(path, name, options, task_options)
    labels = classes or content.labels or [*map(str, range(content.count))]
    if len(labels) != content.count:
        why = f"it has {content.count:,} classes, and {len(labels):,} names are given"
        raise trouble(path, why, "Give one name for each class")
    settings = {**index.tasks()[TASK]["options"], **content.task_options, **task_options}
    size = settings["image_size"]
    record = {
        "model": name,
        "arguments": {"input_shape": [size, size, 3], "num_classes": len(labels)},
        "options": json.loads(json.dumps({**content.options, **options})),
        "task": TASK,
        "task_options": settings,
        "info": {"classes": distinct(labels), "channels": 3, "range": [0.0, 255.0]},
        "data": {"name": "imagenet" if len(labels) == IMAGENET else path.stem},
        "converted": {"file": path.name, "sha256": inspection.sha256(path)},
    }
    if reason := records.misfit(record):
        raise trouble(name, reason.partition(": ")[2], "Change the option")
    model = built(record)
    places, unused = content.places(model), content.unused(model)
    filling.fill(model, content.arrays, places, path, unused, options)
    return model, record


def distinct(labels):
    """Return names of classes without duplicates: ImageNet has two that are called crane."""
    counts, names = {}, []
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
        names.append(f"{label} ({counts[label]})" if counts[label] > 1 else label)
    return names


def built(record):
    """Return the new model of a record; wrong options raise a `ValueError` that names the model."""
    try:
        with initial.zeros():
            return registry.get(record["model"]).builder(**record["arguments"], **record["options"])
    except (TypeError, ValueError) as error:
        why = str(error).splitlines()[0].rpartition("() ")[2].rstrip(".")
        raise trouble(record["model"], why, "Change the option") from error
