"""Cached predictions: computed once, one member in memory at a time.

Outputs lie in memory-mapped files under a name made of the member's file, the data and how both
are brought together, so that every later command finds them. A file appears when it is whole.
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
BLOCK = 2**20  # bytes that are read at a time
TRIES = 3


@dataclasses.dataclass(frozen=True)
class Examples:
    """Arrays x (n, ...) and y (n, ...), as `take` hands them out; `datasets` has its like.

    Examples of one number in `groups` (n,) are pieces of one image, series or file.
    """

    x: object
    y: object
    groups: object = None

    def __len__(self):
        return len(self.x)

    def take(self, some=slice(None)):
        """Return (x, y) of some of the examples."""
        return self.x[some], self.y[some]


class Batches(keras.utils.PyDataset):
    """Batches for `fit`: what `take` returns for some rows, in an order drawn for each epoch.

    Args:
        take: function from an array of row numbers to (x, y).
        rows: which rows there are.
        size: of a batch; the last one may be smaller.
        seed: of the order; None leaves it as it is.
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
        """Draw the order of the next epoch."""
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
        data: examples with `len` and `take`, such as `Examples(x, y)`.
        folder: of the cache; None keeps everything in memory.
        key: text that tells these data, prepared this way, from all others.
        dtype: "float32" or "float16" of what is kept.
        batch_size: batch size.
        wrap: function from a member's model to what predicts in its place; see
            `zoo.inference.predictors`.

    Returns:
        A list of arrays (n, ..., K), mapped from disk if there is a folder.
    """
    found = []
    for member in members:
        facts = f"{key} {common.input_shape} {common.units} {dtype} {len(data)}"
        name = hashlib.sha256(f"{member.sha256} {facts}".encode()).hexdigest()[:24]
        path = None if folder is None else pathlib.Path(folder, FOLDER, f"{name}.npy")

        def predict(path=path, member=member):
            return predicted(member, common, data, path, dtype, batch_size, wrap)

        found.append(predict() if path is None else kept(path, predict))
    return found


def kept(path, predict):
    """Return an array that is mapped from a file, which is written first if need be.

    It may be removed at any time, by another command or by hand, and it may be damaged.
    """
    for left in reversed(range(TRIES)):
        if path.exists() and not intact(path):
            print(f"{path} is damaged: it is computed again", file=sys.stderr)
            path.unlink(missing_ok=True)
        if not path.exists():
            predict()
        try:
            return np.load(path, mmap_mode="r")
        except FileNotFoundError:
            if not left:
                raise


def intact(path):
    """Say whether a file has the size and the checksum that lie beside it."""
    try:
        return json.loads(path.with_suffix(".json").read_text("utf-8")) == size_and_sum(path)
    except (OSError, ValueError):
        return False


def size_and_sum(path):
    """Return a file's size in bytes and its CRC-32, a list."""
    number = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            number = zlib.crc32(block, number)
        return [file.tell(), number]


def predicted(member, common, data, path, dtype, batch_size, wrap):
    """Load one member, predict all examples, and let it go; write them if there is a path."""
    model, array = member.load(common), None
    model = wrap(model) if wrap else model
    with contextlib.ExitStack() as files:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            half = files.enter_context(disk.whole(path))
        for start in range(0, len(data), batch_size):
            x, _ = data.take(slice(start, start + batch_size))
            part = predictors.predict(model, x, batch_size)
            if array is None:
                shape = (len(data), *part.shape[1:])
                if path is None:
                    array = np.empty(shape, dtype)
                else:
                    array = np.lib.format.open_memmap(half, "w+", dtype, shape)
            array[start : start + len(part)] = part
        if path is not None:
            array.flush()
            with disk.whole(path.with_suffix(".json")) as facts:
                facts.write_text(json.dumps(size_and_sum(half)), encoding="utf-8")
    del model
    keras.backend.clear_session()
    gc.collect()
    return array


def fingerprint(array):
    """Return the SHA-256 of an array's type, shape and bytes."""
    array = np.ascontiguousarray(array)
    facts = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(facts + array.tobytes()).hexdigest()


def labels(data, batch_size=256):
    """Return y of all examples, without holding more of x than a batch."""
    starts = range(0, len(data), batch_size)
    return np.concatenate([data.take(slice(i, i + batch_size))[1] for i in starts])


def size(folder):
    """Return how many outputs are kept, and their bytes."""
    files = [path for path in pathlib.Path(folder, FOLDER).glob("*.npy") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def clear(folder):
    """Remove all outputs; return how many they were, and their bytes."""
    found = size(folder)
    shutil.rmtree(pathlib.Path(folder, FOLDER), ignore_errors=True)
    return found


class Chained:
    """Examples of several sources, one after the other.

    Args:
        parts: each with `len` and `take`.
    """

    def __init__(self, parts):
        self.parts, self.ends = parts, np.cumsum([len(part) for part in parts])

    def __len__(self):
        return int(self.ends[-1])

    @property
    def groups(self):
        """Numbers of what examples are pieces of, (n,), or None if that is not known."""
        own = [part.groups for part in self.parts]
        if any(numbers is None for numbers in own):
            return None
        first = np.cumsum([0, *(np.max(numbers, initial=-1) + 1 for numbers in own[:-1])])
        return np.concatenate([a + b for a, b in zip(own, first, strict=True)])

    def take(self, some=slice(None)):
        """Return (x, y) of some of the examples."""
        rows = np.arange(len(self))[some]
        owner, found = np.searchsorted(self.ends, rows, side="right"), None
        for i, part in enumerate(self.parts):
            where = np.flatnonzero(owner == i)
            if len(where):
                taken = part.take(rows[where] - self.ends[i] + len(part))
                if found is None:
                    found = [np.empty((len(rows), *a.shape[1:]), a.dtype) for a in taken]
                for whole, piece in zip(found, taken, strict=True):
                    whole[where] = piece
        return tuple(found)
