"""From files to predictions: read, cut, predict in full batches, present, write."""

import collections
import csv
import itertools
import json
import math
import os
import pathlib

import numpy as np

from zoo import describe, tasks
from zoo.inference import files, predictors, rebuilding
from zoo.weights import presets, saving

PICTURES = (".png", "_overlay.png", "_boxes.png", "_sizes.png")  # files that are pictures


def results(
    source, inputs, *, batch_size=16, gallery=None, nearest=None, precision=None, **settings
):
    """Predict files or arrays; see `zoo.predict`."""
    record = saving.record(path := presets.locate(source))
    check(path, record, gallery=gallery, nearest=nearest, **settings)
    names, read = files.gather(inputs, record)
    predictor = opened(path, record, precision, batch_size=batch_size, **settings)

    def refuse(message):
        raise ValueError(message)

    rows = []
    for name, row, _ in predict(names, read, refuse, predictor):
        place = {} if isinstance(name, str) else {"file": str(name)}
        arrays = row.pop("arrays", {})
        rows.append({**place, **row, **arrays})
    return rows


def check(
    path, record, *, tta=False, steps=None, confidence=None, iou=None, gallery=None, nearest=None
):
    """Raise a `ValueError` if the settings of a prediction do not fit a model's record.

    Args:
        path: of the model, for messages.
        record: what was saved with it.
        tta: predict several views and average.
        steps: of a forecast.
        confidence: score from which boxes are returned, 0 to 1.
        iou: overlap above which non-maximum suppression drops a box, 0 to 1.
        gallery: of images to search.
        nearest: how many of them to return.
    """
    if not {"task", "task_options", "info"} <= record.keys():
        why = "it does not say what it was trained for"
        raise ValueError(f"{path}: {why}. Use a model that was trained by train.py")
    task = tasks.of(record)
    if not task.vectors and (gallery, nearest) != (None, None):
        why = f"a gallery is for image embeddings, and this model is for {task.name}"
        raise ValueError(f"{why}: leave out --gallery and --nearest")
    if task.vectors and tta:
        raise ValueError("vectors of several views are not averaged: predict without tta")
    if steps is not None and not task.data.series:
        raise ValueError(f"steps are for forecasts, and this model is for {task.name}: leave them")
    if confidence is None and iou is None:
        return
    if "suppression" not in record["info"]:
        why = f"confidence and iou are for detectors, and this model is for {task.name}"
        raise ValueError(f"{why}: leave them")
    for name, value in (("confidence", confidence), ("iou", iou)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}: give a number from 0 to 1")


def opened(path, record, precision=None, **settings):
    """Load a model as a `Predictor` with settings that `check` has accepted.

    Args:
        path: of the model.
        record: what was saved with it.
        precision: that of `zoo.inference.rebuilding`, instead of the model's own.
        **settings: of a `Predictor`.
    """
    model = saving.load(path)
    if precision:
        model = rebuilding.in_precision(model, record, path, precision)
    return predictors.Predictor(model, record, **settings)


def predict(names, read, complain, predictor, remark=print):
    """Predict files, small ones in shared batches; no more is in memory than a batch needs.

    Args:
        names: their paths, or other names that `read` takes.
        read: path to example, a dictionary; a `ValueError` says why it cannot be read.
        complain: called with the message about a file that is skipped.
        predictor: a `zoo.inference.predictors.Predictor`.
        remark: called with notes about a file that is predicted.

    Yields:
        (path, row, writers) for each file, as `Task.present` returns them.
    """
    task, info, options = predictor.task, predictor.info, predictor.options
    waiting = collections.deque()

    def inputs():
        for path in names:
            try:
                example = read(path)
            except ValueError as error:  # it names the file
                complain(str(error))
                continue
            try:
                pieces = task.data.cover(example, options)
                first = task.data.prepare(pieces[0], info, options)[0]
            except ValueError as error:
                complain(f"{path}: {error}")
                continue
            for note in notes(example, pieces[0], info):
                remark(f"{path}: {note}")
            waiting.append((path, example, pieces))
            yield first
            yield from (task.data.prepare(piece, info, options)[0] for piece in pieces[1:])

    outputs = predictor.stream(inputs())
    for first in outputs:
        path, example, pieces = waiting.popleft()
        of_file = itertools.chain([first], itertools.islice(outputs, len(pieces) - 1))
        try:
            row, writers = task.usage.present(example, pieces, of_file, info)
        except ValueError as error:
            complain(f"{path}: {error}")
            collections.deque(of_file, maxlen=0)  # skip to the outputs of the next file
            continue
        yield path, row, writers


def notes(example, piece, info):
    """Return the notes on an example, and on columns that the model ignores."""
    extra = [name for name in piece.get("columns", ()) if name not in info.get("columns", ())]
    shown = ", ".join(map(repr, extra[:10])) + (", ..." if len(extra) > 10 else "")
    ignored = [f"the model does not know the columns {shown}, and ignores them"] if extra else []
    return [*example.get("notes", ()), *piece.get("notes", ()), *ignored]


def write_all(results, folder, pictures):
    """Write the files of predictions.

    Args:
        results: (path, row, writers) of each file.
        folder: where to write; files are named after their inputs.
        pictures: the largest number to draw.

    Yields:
        The row of each file without its arrays, with the names of the files written for it.

    Raises:
        OSError: if one cannot be written; a partial file is removed.
    """
    taken, drawn = set(), 0
    for path, row, writers in results:
        written = []
        for ending, write in writers.items():
            if ending in PICTURES:
                drawn += 1
                if drawn > pictures:
                    continue
            target = free(folder, path, ending, taken)
            whole(write, target)
            written.append(target.name)
        row = {key: value for key, value in row.items() if key != "arrays"}
        yield {"file": str(path), **row, "written": written}


def whole(write, target):
    """Call a function that writes a file at a path; remove a partial file if that fails.

    Raises:
        OSError: with the path, which libraries that write do not always give.
    """
    try:
        write(target)
    except OSError as error:
        if target.is_file():
            target.unlink()
        reason = error.strerror or str(error) or type(error).__name__
        raise OSError(error.errno, reason, str(target)) from error


def free(folder, path, ending, taken):
    """Return an unused path in the folder, named after the input."""
    stem, number = f"{path.stem}", 1
    longest = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    while True:
        tail = f"{f'-{number}' * (number > 1)}{ending}"
        room = longest - len(os.fsencode(tail))
        name = os.fsencode(stem)[:room].decode(errors="ignore") + tail
        if name not in taken:
            taken.add(name)
            return folder / name
        number += 1


def save_tables(rows, folder):
    """Write predictions.json, and predictions.csv with nested values as columns of their own."""
    whole(lambda path: save_json(rows, path), folder / "predictions.json")
    lines = [unnested(row) for row in rows]
    whole(lambda path: save_csv(lines, path), folder / "predictions.csv")


def save_csv(lines, path):
    """Write dictionaries of the same keys, at least one, as a table."""
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(map(describe.inert, lines[0]))
        writer.writerows([describe.inert(line[key]) for key in lines[0]] for line in lines)


def save_json(value, path):
    """Write a value as JSON, see `plain`."""
    text = json.dumps(plain(value), indent=1, allow_nan=False)
    pathlib.Path(path).write_text(f"{text}\n", encoding="utf-8")


def plain(value):
    """Return a value in types of JSON: NumPy's numbers as Python's, null if not finite."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unnested(row):
    """Return a row without nesting: inner names follow the outer one and a full stop."""
    flat = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": content for inner, content in value.items()})
        else:
            flat[key] = " ".join(value) if isinstance(value, list) else value
    return {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in flat.items()}
