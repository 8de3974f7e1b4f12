"""From examples to batches: every example is prepared once, into arrays that all runs share.

splits, facts = prepare(source, ...)  # decoded, cut, sampled; cached on disk by fingerprint
Batches(splits["train"], 32, ...)     # what model.fit takes
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile

import keras
import numpy as np
from keras import tree

from datasets.source import SPLITS, BadInput, Examples

HELD_OUT = 0.15  # of the examples, for each split that the source does not bring
IN_MEMORY = 2**29  # bytes of an array that is still read into memory as a whole
MEASURED = 256  # training examples that a task's constants are measured on


def cache_folder():
    """Return where prepared arrays are kept: $ZOO_CACHE, else ~/.cache/keras-model-zoo."""
    default = pathlib.Path.home() / ".cache" / "keras-model-zoo"
    return pathlib.Path(os.environ.get("ZOO_CACHE") or default)


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The prepared examples of one split: rows of arrays that other splits may share.

    Attributes:
        x: an array (n, ...), or a dictionary of them; mapped from disk when it is large.
        y: likewise.
        rows: which of the n are this split's, ascending; of a bootstrap some repeatedly.
    """

    x: object
    y: object
    rows: np.ndarray

    def __len__(self):
        return len(self.rows)

    def take(self, some=slice(None)):
        """Return (x, y) of some of the examples, as arrays of their own."""
        rows = self.rows[some]
        return tree.map_structure(lambda array: np.asarray(array[rows]), (self.x, self.y))


def prepare(
    source, measure, cut, prepare, *, fields, key, skip_bad=False, fold=None, validate=None
):
    """Prepare a source, or find it prepared already.

    Args:
        source: a `Source`.
        measure: function from a list of examples to a dictionary of constants.
        cut: function from an example to a list of pieces; a piece's "block" groups it with others
            that must not be parted between training and validation.
        prepare: function from a piece and the constants to (x, y) of NumPy arrays, or dictionaries
            of them.
        fields: names of the arrays that an example must have.
        key: text that changes when these functions or their options do.
        skip_bad: leave unreadable examples out instead of raising.
        fold: (k, n): the k-th of n equal parts, from 1, is held out instead of a fixed share: for
            the test if the source brings none, else for validation.
        validate: (k, n): the k-th of n equal parts, from 1, of all that is not the test is the
            validation, and the others are for training; the test is the same as without.

    Returns:
        (splits, facts): `Arrays` by split, and a dictionary of the measured "constants" and the
        messages of what was "skipped".

    Raises:
        BadInput: if an example cannot be read (the first ten are named), or a split is empty.
    """
    digest = hashlib.sha256(f"{source.fingerprint} {key} {skip_bad}".encode()).hexdigest()[:16]
    folder = cache_folder() / f"{source.name}-{digest}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = pathlib.Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            _write(work, source, measure, cut, prepare, fields, skip_bad)
            if not folder.exists():
                work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    stored = {split: _load(folder / split) for split in SPLITS if (folder / split).exists()}
    return _split(stored, fold, validate), json.loads((folder / "facts.json").read_text())


def bootstrap(arrays, seed):
    """Return a sample with replacement of as many examples as there are, drawn by a seed.

    Breiman 1996, https://doi.org/10.1007/BF00058655, Sec. 1: it leaves out about 37 % of them.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))  # not `Batches`' own
    drawn = rng.integers(len(arrays), size=len(arrays))
    return dataclasses.replace(arrays, rows=arrays.rows[np.sort(drawn)])


class Batches(keras.utils.PyDataset):
    """Batches of prepared examples for `model.fit`, the same for the same seed, epoch and place.

    Args:
        arrays: `Arrays`.
        size: examples a batch; in training the last, smaller batch is left out.
        training: shuffle, and change examples by `augment`.
        augment: None, or a function (x, y, entropy) to (x, y), used in training alone; entropy is
            a tuple of integers that is never the same twice.
        seed: an integer.
    """

    def __init__(self, arrays, size, *, training=False, augment=None, seed=0):
        super().__init__()
        self.arrays, self.training, self.seed = arrays, training, seed
        self.size = min(size, len(arrays)) if training else size
        self.augment = augment if training else None
        self.start(0)

    def start(self, epoch):
        """Set the epoch, which decides the order and every random draw."""
        self.epoch, count = epoch, len(self.arrays)
        rng = np.random.default_rng([self.seed, epoch])
        self.order = rng.permutation(count) if self.training else np.arange(count)

    def __len__(self):
        count = len(self.arrays)
        return count // self.size if self.training else -(-count // self.size)

    def __getitem__(self, i):
        x, y = self.arrays.take(self.order[i * self.size : (i + 1) * self.size])
        return self.augment(x, y, (self.seed, self.epoch, i)) if self.augment else (x, y)

    def on_epoch_end(self):
        """Go to the next epoch."""
        self.start(self.epoch + 1)


def read(examples, bad):
    """Read examples in order, with a progress bar on a terminal.

    Args:
        examples: `Examples`.
        bad: a list; the `BadInput` of each example that cannot be read is appended.

    Yields:
        (name of the example, its dictionary).
    """
    bar = keras.utils.Progbar(len(examples), unit_name="example") if sys.stdout.isatty() else None
    for number, example in enumerate(examples):
        try:
            yield example.name, example.read()
        except BadInput as error:
            bad.append(error)
        if bar:
            bar.update(number + 1)


def _write(folder, source, measure, cut, prepare, fields, skip_bad):
    """Prepare every split of a source into a folder."""
    sizes = ", ".join(f"{len(examples):,} {split}" for split, examples in source.splits.items())
    print(f"Preparing {source.name} once for all later runs: {sizes}")
    first = next(source.splits[split] for split in SPLITS if split in source.splits)
    step = max(1, len(first) // MEASURED)
    some = Examples(-(-len(first) // step), lambda: itertools.islice(first, 0, None, step))
    examples = [example for _, example in read(some, [])]
    for field in fields:
        if examples and field not in examples[0]:
            held, needed = ", ".join(examples[0]), ", ".join(fields)
            raise BadInput(
                source.name,
                f"its examples hold {held}, and this task needs {needed}",
                "Choose a model for another task (python -m zoo list), or other data",
            )
    constants = measure(examples) if examples else {}
    bad = []
    for split, examples in source.splits.items():
        writer, files = _Writer(folder / split), {}
        for number, (name, example) in enumerate(read(examples, bad)):
            file = files.setdefault(name.partition("#")[0], len(files))
            for piece in cut(example):
                x, y = prepare(piece, constants)
                writer.add({"x": x, "y": y}, (file, number, piece.get("block", 0)))
        writer.close()
        if not writer.groups and not bad:
            raise BadInput(source.name, f"its split {split!r} holds no examples")
    if bad and not skip_bad:
        shown = "\n".join(f"  {error}" for error in bad[:10])
        more = f"\n  and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise BadInput(
            source.name,
            f"{len(bad)} examples cannot be read, and nothing was trained\n{shown}{more}\n",
            "Mend or remove them, or train without them: --skip-bad",
        )
    facts = {"constants": constants, "skipped": [str(error) for error in bad]}
    (folder / "facts.json").write_text(json.dumps(facts))


class _Writer:
    """Appends examples to one raw file an array, so that memory does not bound the data."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.files, self.about, self.groups = folder, {}, {}, []

    def add(self, example, group):
        for path, value in tree.flatten_with_path(example):
            name, value = ".".join(path), np.asarray(value)
            about = {"dtype": value.dtype.str, "shape": list(value.shape)}
            if self.about.setdefault(name, about) != about:
                raise ValueError(f"{name} is {about} here and {self.about[name]} before")
            if name not in self.files:
                self.files[name] = open(self.folder / f"{name}.bin", "wb")
            self.files[name].write(value.tobytes())
        self.groups.append(group)

    def close(self):
        for file in self.files.values():
            file.close()
        np.save(self.folder / "groups.npy", np.array(self.groups, np.int64).reshape(-1, 3))
        (self.folder / "about.json").write_text(json.dumps(self.about))


def _load(folder):
    """Return a split's arrays, large ones mapped, and its rows' (file, example, block), (n, 3)."""
    groups, arrays = np.load(folder / "groups.npy"), {}
    for name, about in json.loads((folder / "about.json").read_text()).items():
        shape = (len(groups), *about["shape"])
        array = np.memmap(folder / f"{name}.bin", about["dtype"], "r", shape=shape)
        *outer, last = name.split(".")
        inner = arrays
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = array if array.nbytes > IN_MEMORY else np.array(array)
    return arrays, groups


def _split(stored, fold=None, validate=None):
    """Give each split its rows, cutting those that the source does not bring from its training.

    The seed is fixed, so that all members of an ensemble have the same splits.
    """
    name = next(split for split in SPLITS if split in stored)
    stored = {"train": stored[name], **{s: stored[s] for s in stored if s != name}}
    splits = {
        split: Arrays(arrays["x"], arrays["y"], np.arange(len(groups)))
        for split, (arrays, groups) in stored.items()
    }
    missing = [split for split in ("validation", "test") if split not in splits]
    if fold and not missing:
        raise BadInput("The data", "they bring all their splits", "Train without --fold")
    if missing:
        splits |= _cut(stored, missing, fold)
    return splits | _parts(stored, splits, validate) if validate else splits


def _cut(stored, missing, fold):
    """Return the training split without what the splits that are missing take from it, and these.

    Each takes a fixed share, but for the last one if a fold says how much.
    """
    arrays, groups = stored["train"]
    member = _member(groups)
    strata = _strata(arrays["y"], member)
    rng, owner = np.random.default_rng(0), np.full(len(strata), "train", dtype="<U10")
    for value in np.unique(strata):
        order = rng.permutation(np.flatnonzero(strata == value))
        share = max(1, round(HELD_OUT * len(order)))
        if fold:
            owner[order[fold[0] - 1 :: fold[1]]] = missing[-1]
            order = order[owner[order] == "train"]
        for split in missing[:-1] if fold else missing:
            if len(order) > share:
                owner[order[:share]], order = split, order[share:]
    if fold and not (owner == missing[-1]).any():
        raise BadInput("The data", f"{len(strata)} parts make no {fold[1]} folds", "Take fewer")
    return {
        split: Arrays(arrays["x"], arrays["y"], np.flatnonzero(owner[member] == split))
        for split in ("train", *missing)
    }


def _parts(stored, splits, validate):
    """Return all that is not the test as training and validation, the k-th of n equal parts."""
    (k, n), (x, y), (_, groups) = validate, (splits["train"].x, splits["train"].y), stored["train"]
    rows, others = splits["train"].rows, splits["validation"].rows
    if "validation" in stored:
        more = stored["validation"][1] + [groups[:, 0].max() + 1, 0, 0]  # other files
        others, groups = others + len(groups), np.concatenate([groups, more])
        held = splits["validation"]
        x, y = tree.map_structure(_Joined, (x, y), (held.x, held.y))
    rows = np.union1d(rows, others)
    members, member = np.unique(_member(groups)[rows], return_inverse=True)
    if len(members) < n:
        why = f"what is not the test are {len(members)} files that are not parted, too few for {n}"
        raise BadInput("The data", why, "Take fewer parts")
    labels = y[rows] if getattr(y, "ndim", 0) == 1 else None
    strata = _strata(labels, member)
    rng = np.random.default_rng(0)
    order = [rng.permutation(np.flatnonzero(strata == value)) for value in np.unique(strata)]
    held = np.isin(member, np.concatenate(order)[k - 1 :: n])
    return {"train": Arrays(x, y, rows[~held]), "validation": Arrays(x, y, rows[held])}


def _member(groups):
    """Return which of the groups that are not parted each example is in, from its (n, 3) places.

    What comes from one file stays together; where there are fewer than three files, what comes
    from one example, and then from one block.
    """
    for level in (1, 2, 3):
        members, member = np.unique(groups[:, :level], axis=0, return_inverse=True)
        if len(members) >= 3:
            return member
    raise BadInput("The data", f"{len(members)} examples are too few to split", "Add more")


def _strata(y, member):
    """Return the label of each group, if labels are one integer a group; else 0 for each."""
    place = np.unique(member, return_index=True)[1]
    if isinstance(y, np.ndarray) and y.ndim == 1 and np.array_equal(y, y[place][member]):
        return y[place]
    return np.zeros(len(place), int)


class _Joined:
    """Two arrays (n, ...) and (m, ...) as one (n + m, ...), which takes rows and copies no more."""

    def __init__(self, first, second):
        self.parts, self.dtype = (first, second), first.dtype
        self.shape = (len(first) + len(second), *first.shape[1:])
        self.ndim = first.ndim

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        rows = np.arange(len(self))[rows]
        first, second = self.parts
        found, later = np.empty((len(rows), *self.shape[1:]), self.dtype), rows >= len(first)
        found[~later], found[later] = first[rows[~later]], second[rows[later] - len(first)]
        return found
