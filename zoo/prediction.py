"""From files to predictions: read, cut, predict in full batches, present, write."""

import collections
import csv
import itertools
import json
import math

from zoo import describe, inference, records, tasks

PICTURES = (".png", "_overlay.png", "_boxes.png")  # files that are for people's eyes alone


def predict(files, read, complain, *, model, record, batch_size, remark=print):
    """Predict files, small ones in shared batches; no more is in memory than a batch needs.

    Args:
        files: their paths.
        read: path to example, a dictionary; a `ValueError` says why it cannot be read.
        complain: called with the message about a file that is left out.
        model: a `keras.Model`, or one in several views, `zoo.inference.Averaged`.
        record: what was saved with the model: its task, the task's options, and info.
        batch_size: pieces a step; fewer if they are large.
        remark: called with what was decided about a file that is predicted all the same.

    Yields:
        (path, row, writers) for each file, as `Task.present` makes them.
    """
    shape = getattr(model, "input_shape", None)
    if reason := records.misfit(record, shape[1:] if isinstance(shape, tuple) else None):
        raise records.trouble(getattr(model, "name", "the model"), reason, "Copy its file again")
    task, info = tasks.get(record["task"]), record["info"]
    options = {**task.options, **record["task_options"]}
    waiting = collections.deque()

    def inputs():
        for path in files:
            try:
                example = read(path)
            except ValueError as error:  # it names the file
                complain(str(error))
                continue
            try:
                pieces = task.cover(example, options)
                first = task.prepare(pieces[0], info, options)[0]
            except ValueError as error:
                complain(f"{path}: {error}")
                continue
            for note in notes(example, pieces[0], info):
                remark(f"{path}: {note}")
            waiting.append((path, example, pieces))
            yield first
            yield from (task.prepare(piece, info, options)[0] for piece in pieces[1:])

    outputs = inference.stream(model, inputs(), batch_size)
    for first in outputs:
        path, example, pieces = waiting.popleft()
        own = itertools.chain([first], itertools.islice(outputs, len(pieces) - 1))
        try:
            row, writers = task.present(example, pieces, own, info)
        except ValueError as error:
            complain(f"{path}: {error}")
            collections.deque(own, maxlen=0)  # the next file's come after them
            continue
        yield path, row, writers


def notes(example, piece, info):
    """Return what was decided about an example: its notes, and columns that the model ignores."""
    extra = [name for name in piece.get("columns", ()) if name not in info.get("columns", ())]
    shown = ", ".join(map(repr, extra[:10])) + (", ..." if len(extra) > 10 else "")
    ignored = [f"the model does not know the columns {shown}, and ignores them"] if extra else []
    return [*example.get("notes", ()), *piece.get("notes", ()), *ignored]


def write_all(results, folder, pictures):
    """Write what predictions bring along.

    Args:
        results: (path, row, writers) of each file.
        folder: where to; files keep their names, and their places below what they share.
        pictures: how many to draw at most.

    Yields:
        The row of each file, with the names of the files that were written for it.
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
            write(target)
            written.append(target.name)
        yield {"file": str(path), **row, "written": written}


def free(folder, path, ending, taken):
    """Return a path in the folder that nothing has taken, named after the input."""
    stem, number = f"{path.stem}", 1
    while (name := f"{stem}{f'-{number}' * (number > 1)}{ending}") in taken:
        number += 1
    taken.add(name)
    return folder / name


def save_tables(rows, folder):
    """Write predictions.json, and predictions.csv with nested values as columns of their own."""
    text = json.dumps(standard(rows), indent=1, allow_nan=False)
    (folder / "predictions.json").write_text(text + "\n", encoding="utf-8")
    lines = [
        {describe.inert(k): describe.inert(v) for k, v in unnested(row).items()} for row in rows
    ]
    path, name_errors = folder / "predictions.csv", "surrogateescape"  # names of any bytes
    with open(path, "w", newline="", encoding="utf-8", errors=name_errors) as file:
        writer = csv.DictWriter(file, [*lines[0]])
        writer.writeheader()
        writer.writerows(lines)


def standard(value):
    """Return a nest of values with None for what JSON has no number for: NaN and infinities."""
    if isinstance(value, dict):
        return {key: standard(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [standard(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unnested(row):
    """Return a row without nesting: inner names follow the outer one and a full stop."""
    flat = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": content for inner, content in value.items()})
        else:
            flat[key] = " ".join(value) if isinstance(value, list) else value
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in flat.items()}
