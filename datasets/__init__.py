"""Data: a name or a path in, examples out.

`open_source` finds the reader or the builder; `datasets.pipeline` turns its examples into batches.
"""

import pathlib


def open_source(data, kind, hints=None, layouts=()):
    """Open a data set.

    Args:
        data: the name of a data set (ours or any of tensorflow-datasets), or the path of a
            person's own files.
        kind: the name of the task that will use it.
        hints: what a reader of a person's own files cannot know, see `datasets.source.HINTS`.
        layouts: `datasets.readers.Layout`s of a task that the readers do not know.

    Returns:
        A `datasets.source.Source`.

    Raises:
        BadInput: if there is no such data, its layout is none that the task's readers know, or a
            hint is for other data.
    """
    from datasets import builders, readers
    from datasets.source import BadInput, flag

    if pathlib.Path(data).exists():
        return readers.read(pathlib.Path(data), kind, hints, layouts)
    if hints:
        why = f"{data} is a data set by name, and this option is for files of your own"
        raise BadInput(flag(next(iter(hints))), why, "Leave it away")
    return builders.load(data)
