"""Data: a name or a path in, examples out.

`open_source` finds the reader or the builder; `datasets.pipeline` turns its examples into batches.
"""

import pathlib


def open_source(data, kind):
    """Open a data set.

    Args:
        data: the name of a data set (ours or any of tensorflow-datasets), or the path of a
            person's own files.
        kind: the name of the task that will use it.

    Returns:
        A `datasets.source.Source`.

    Raises:
        BadInput: if there is no such data, or its layout is none that the task's readers know.
    """
    from datasets import builders, readers

    if pathlib.Path(data).exists():
        return readers.read(pathlib.Path(data), kind)
    return builders.load(data)
