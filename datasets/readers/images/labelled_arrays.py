"""Images stored as arrays with a label each, as in idx files and the batches of CIFAR."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from datasets.readers.files import safe_name
from datasets.source import BadInput, Examples, Source, fingerprint


@dataclasses.dataclass(frozen=True)
class Batch:
    """The images of one file.

    Attributes:
        file: the file of the labels, for messages and names of examples.
        images: (n, H, W, C) uint8.
        labels: (n,) class indices.
    """

    file: pathlib.Path
    images: np.ndarray
    labels: np.ndarray


def source(
    path: pathlib.Path,
    splits: Mapping[str, Sequence[Batch]],
    classes: Sequence[str],
    files: Sequence[pathlib.Path],
    notes: Sequence[str] = (),
) -> Source:
    """Return the source of a folder.

    Args:
        path: the folder.
        splits: the batches of each split.
        classes: the names of the classes, in the order of the labels.
        files: all files that were read.
        notes: sentences on what was decided.

    Raises:
        BadInput: there are fewer than two classes, or a label has no class.
    """
    for batches in splits.values():
        for batch in batches:
            check_labels(batch, classes)
    if len(classes) < 2:
        raise BadInput(
            path,
            f"a classifier needs at least two classes, but there is only {', '.join(classes)!r}",
            "Add images of a second class",
        )

    def read_example(item):
        batch, i = item
        return {
            "image": np.ascontiguousarray(batch.images[i]),
            "label": int(batch.labels[i]),
        }

    def title(item):
        batch, i = item
        return f"{batch.file.name}#{i}"

    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(files, path),
        classes=tuple(classes),
        splits={
            split: Examples.of(
                [(batch, i) for batch in batches for i in range(len(batch.labels))],
                read_example,
                title,
                lambda item: int(item[0].labels[item[1]]),
            )
            for split, batches in splits.items()
        },
        info={"notes": list(notes)} if notes else {},
    )


def check_labels(batch, classes):
    """Raise if a label of a batch is not the index of a class."""
    wrong = np.flatnonzero((batch.labels < 0) | (batch.labels >= len(classes)))
    if len(wrong):
        raise BadInput(
            batch.file,
            f"image {wrong[0]} has label {batch.labels[wrong[0]]}, but there are {len(classes)} "
            f"classes, 0 to {len(classes) - 1}",
            "Correct the label, or name all classes, and use all of them in train",
        )
