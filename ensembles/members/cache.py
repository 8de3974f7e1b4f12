"""Cached predictions: computed once, with one member in memory at a time.

Predictions are memory-mapped files. Their names are a hash of the member's file, the data and the
preprocessing, so that later commands reuse them. Files are written atomically.
"""

import contextlib
import dataclasses
import gc
import hashlib
import json
import pathlib
import shutil
import sys
import zlib

import keras
import numpy as np

from zoo.inference import predictors
from zoo.system import disk

FOLDER = "outputs"  # below the cache's folder
BLOCK = 2**20  # bytes read at a time
TRIES = 3


@dataclasses.dataclass(frozen=True)
class Examples:
    """Arrays x (n, ...) and y (n, ...), with the interface of the splits in `datasets`.

    Examples with the same integer in `groups` (n,) are parts of one image, series or file.
    """

    x: object
    y: object
    groups: object = None

    def __len__(self):
        return len(self.x)

    def take(self, some=slice(None)):
        """Return (x, y) of the selected examples."""
        return self.x[some], self.y[some]


class Batches(keras.utils.PyDataset):
    """Batches for `fit`: examples by their indices, shuffled for each epoch.

    Args:
        take: function from an array of indices to (x, y).
        rows: indices of the examples.
        size: batch size; the last batch may be smaller.
        seed: of the shuffling; None does not shuffle.
    """

    def __init__(self, take, rows, size, seed=None):
        super().__init__()
        self.take, self.rows, self.size, self.seed, self.epoch = take, rows, size, seed, -1
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.rows) // self.size)

    def __getitem__(self, i):
        return self.take(self.order[i * self.size : (i + 1) * self.size])

    def on_epoch_end(self):
        """Shuffle for the next epoch."""
        self.epoch += 1
        self.order = self.rows
        if self.seed is not None:
            self.order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)


def outputs(
    members, common, data, *, folder=None, key="", dtype="float32", batch_size=16, wrap=None
):
    """Return the logits of every member for every example.

    Args:
        members: list of `ensembles.members.opening.Member`.
        common: what they share, see `ensembles.members.checks.check`.
        data: examples with `len` and `take`, for example `Examples(x, y)`.
        folder: of the cache; None holds everything in memory.
        key: text that identifies the data and their preprocessing.
        dtype: of the cached arrays, "float32" or "float16".
        batch_size: batch size.
        wrap: function from a member's model to the model that predicts instead of it; see
            `zoo.inference.predictors`.

    Returns:
        A list of arrays (n, ..., K), memory-mapped if there is a folder.
    """
    arrays = []
    for member in members:
        facts = f"{key} {common.input_shape} {common.units} {dtype} {len(data)}"
        name = hashlib.sha256(f"{member.sha256} {facts}".encode()).hexdigest()[:24]
        path = None if folder is None else pathlib.Path(folder, FOLDER, f"{name}.npy")

        def predict(path=path, member=member):
            return predicted(member, common, data, path, dtype, batch_size, wrap)

        arrays.append(predict() if path is None else cached(path, predict))
    return arrays


def cached(path, predict):
    """Return a memory-mapped array; call `predict` to write the file if it is missing or corrupt.

    Another command or the user may remove the file at any time.
    """
    for tries_left in reversed(range(TRIES)):
        if path.exists() and not intact(path):
            print(f"{path} is corrupt: the predictions are computed again", file=sys.stderr)
            path.unlink(missing_ok=True)
        if not path.exists():
            predict()
        try:
            return np.load(path, mmap_mode="r")
        except FileNotFoundError:
            if not tries_left:
                raise


def intact(path):
    """Return whether a file has the size and checksum of its .json file."""
    try:
        return json.loads(path.with_suffix(".json").read_text("utf-8")) == size_and_checksum(path)
    except (OSError, ValueError):
        return False


def size_and_checksum(path):
    """Return a file's size in bytes and its CRC-32, a list."""
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
        return [file.tell(), checksum]


def predicted(member, common, data, path, dtype, batch_size, wrap):
    """Load one member, predict all examples and free its memory; save them if there is a path."""
    model, array = member.load(common), None
    model = wrap(model) if wrap else model
    with contextlib.ExitStack() as files:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = files.enter_context(disk.whole(path))
        for start in range(0, len(data), batch_size):
            x, _ = data.take(slice(start, start + batch_size))
            logits = predictors.predict(model, x, batch_size)
            if array is None:
                shape = (len(data), *logits.shape[1:])
                if path is None:
                    array = np.empty(shape, dtype)
                else:
                    array = np.lib.format.open_memmap(temporary, "w+", dtype, shape)
            array[start : start + len(logits)] = logits
        if path is not None:
            array.flush()
            with disk.whole(path.with_suffix(".json")) as facts:
                facts.write_text(json.dumps(size_and_checksum(temporary)), encoding="utf-8")
    del model
    keras.backend.clear_session()
    gc.collect()
    return array


def fingerprint(array):
    """Return the SHA-256 of an array's dtype, shape and bytes."""
    array = np.ascontiguousarray(array)
    facts = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(facts + array.tobytes()).hexdigest()


def labels(data, batch_size=256):
    """Return y of all examples, with at most one batch of x in memory."""
    starts = range(0, len(data), batch_size)
    return np.concatenate([data.take(slice(i, i + batch_size))[1] for i in starts])


def size(folder):
    """Return the number of cached arrays, and their bytes."""
    files = [path for path in pathlib.Path(folder, FOLDER).glob("*.npy") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def clear(folder):
    """Remove all cached arrays; return their number and their bytes."""
    removed = size(folder)
    shutil.rmtree(pathlib.Path(folder, FOLDER), ignore_errors=True)
    return removed


class Chained:
    """Concatenated examples of several sources.

    Args:
        parts: sources with `len` and `take`.
    """

    def __init__(self, parts):
        self.parts, self.ends = parts, np.cumsum([len(part) for part in parts])

    def __len__(self):
        return int(self.ends[-1])

    @property
    def groups(self):
        """Integers that number the groups of the examples, (n,), or None if a part has none."""
        groups = [part.groups for part in self.parts]
        if any(numbers is None for numbers in groups):
            return None
        offsets = np.cumsum([0, *(np.max(numbers, initial=-1) + 1 for numbers in groups[:-1])])
        return np.concatenate([part + offset for part, offset in zip(groups, offsets, strict=True)])

    def take(self, some=slice(None)):
        """Return (x, y) of the selected examples."""
        rows = np.arange(len(self))[some]
        owners, arrays = np.searchsorted(self.ends, rows, side="right"), None
        for i, part in enumerate(self.parts):
            where = np.flatnonzero(owners == i)
            if len(where):
                taken = part.take(rows[where] - self.ends[i] + len(part))
                if arrays is None:
                    arrays = [np.empty((len(rows), *a.shape[1:]), a.dtype) for a in taken]
                for array, values in zip(arrays, taken, strict=True):
                    array[where] = values
        return tuple(arrays)
