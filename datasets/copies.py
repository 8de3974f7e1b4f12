"""Offline augmentation: changed copies of the training examples beside them, written once."""

import hashlib

import numpy as np
from keras import tree

from datasets import pipeline, stores
from datasets.splits import Arrays

BLOCK = 64  # examples that are changed at once


def augmented(arrays, augment, count, seed, key):
    """Return a training split with copies, from the cache if the same was prepared before.

    Args:
        arrays: the training split.
        augment: function (x, y, entropy) to (x, y), see `datasets.pipeline.Batches`.
        count: number of copies of each example.
        seed: an integer.
        key: text that changes when the arrays or the augmentation do.

    Returns:
        `datasets.splits.Arrays` of `count` + 1 times as many examples.
    """
    key = f"{key} {count} {seed} {hashlib.sha256(arrays.rows.tobytes()).hexdigest()}"
    folder = f"copies-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def write(path):
        writer = pipeline.Writer(path / "train")
        for copy in range(count + 1):
            for start in range(0, len(arrays), BLOCK):
                x, y = arrays.take(slice(start, start + BLOCK))
                if copy:
                    x, y = augment(x, y, (seed, copy, start))
                leaves = tree.flatten({"x": x, "y": y})
                for i, values in enumerate(zip(*leaves, strict=True)):
                    example = tree.pack_sequence_as({"x": x, "y": y}, values)
                    writer.add(example, (0, start + i, 0))
        writer.close([])

    def read(path):
        return pipeline.load(path / "train")

    stored, _ = stores.cached(pipeline.cache_folder() / folder, write, read)
    places = None
    if arrays.places is not None:
        places = np.tile(arrays.places[arrays.rows], (count + 1, 1))
    rows = np.arange((count + 1) * len(arrays))
    return Arrays(stored["x"], stored["y"], rows, places)
