"""Examples in memory as a task needs them: prepared and split as a data set, without a cache.

    data = prepare([{"image": array, "label": 2}, ...], task, classes=["cat", "dog", "bird"])
    data.splits["train"], data.splits["validation"], data.info

There is no test split: whoever has arrays holds examples out for the test before.
"""

import hashlib

import numpy as np
from keras import tree

from datasets import examples as hashed
from datasets import splits, windows
from datasets.prepared import Prepared, completed
from datasets.source import BadInput


def prepare(examples, task, *, options=None, classes=(), constants=None, name="arrays"):
    """Prepare examples for a task, and hold some of them out for validation.

    Args:
        examples: a list of dictionaries of arrays, as readers return them.
        task: a record with the fields of the zoo's tasks.
        options: of the task, those that are given.
        classes: names of the classes, in the order of the labels.
        constants: see `datasets.source.Source`.
        name: of the data.

    Returns:
        A `datasets.prepared.Prepared` with the splits "train" and "validation".

    Raises:
        BadInput: if the examples do not fit the task or its options, or are too few.
    """
    options = {**task.options, **(options or {})}
    info = {"classes": [*classes], **(constants or {})}
    steps, series = task.data.series is not None, task.data.series
    try:
        measured = task.data.measure(examples, options)
        options = completed(task, options, measured)
        info |= {key: measured[key] for key in measured if key not in task.data.sizes}
        pairs, places = [], []
        for number, example in enumerate(examples):
            for piece in task.data.cut(example, options):
                pairs.append(task.data.prepare(piece, info, options))
                count = len(pairs[-1][0]) if steps else 1
                places += [(0, number, piece.get("block", 0))] * count
        combine = np.concatenate if steps else np.stack
        columns = zip(*([x] if steps else [x, y] for x, y in pairs), strict=True)
        arrays = [tree.map_structure(lambda *parts: combine(parts), *column) for column in columns]
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(name, str(error), "Change the data, or the option") from error
    stored = dict(zip(("x", "y"), arrays, strict=False)), np.array(places)
    stored = {"train": stored, "test": stored}  # so that no examples are held out for a test
    field = task.data.fields[0]
    if steps:
        digests = [digest for example in examples for digest in hashed.of_steps(example[field])]
        arguments = series(measured, options)
        parts = windows.split(stored, **arguments)
        hashes = {split: np.array(digests, np.uint64) for split in stored}
        units = hashed.segments(parts, stored, hashes, arguments["window"], arguments["horizon"])
    else:
        digests = [hashed.digest(example[field]) for example in examples]
        parts = splits.split(stored)
        hashes = {split: np.array(digests, np.uint64) for split in stored}
        units = hashed.units(parts, stored, hashes, None, "")
    del parts["test"], units["test"]
    about = {
        "source": name,
        "name": name,
        "fingerprint": hashlib.sha256(np.array(digests, np.uint64).tobytes()).hexdigest()[:16],
        "sizes": {split: len(part) for split, part in parts.items()},
    }
    return Prepared(parts, options, info, about, units)
