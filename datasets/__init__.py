"""Data: a name or a path in, examples out.

`open_source` finds the reader or the builder; `datasets.pipeline` turns its examples into batches.
"""

import pathlib


def open_source(data, kind, hints=None, layouts=()):
    """Open a data set.

    Args:
        data: the name of a data set (of this package or of tensorflow-datasets), or the path of
            the user's own files.
        kind: the name of the task that will use it.
        hints: what a reader of own files cannot infer, see `datasets.source.HINTS`.
        layouts: `datasets.readers.Layout`s of a task that the readers do not know.

    Returns:
        A `datasets.source.Source`.

    Raises:
        BadInput: if there is no such data set, no reader of the task knows its layout, or a hint
            does not apply to it.
    """
    from datasets import builders, readers
    from datasets.source import BadInput, flag

    if pathlib.Path(data).exists():
        return readers.read(pathlib.Path(data), kind, hints, layouts)
    if hints:
        why = f"{data} is a data set by name, and this option is for files of your own"
        raise BadInput(flag(next(iter(hints))), why, "Remove the option")
    return builders.load(data)
