"""From examples to batches: every example is prepared once, into arrays that all runs share.

splits, facts = prepare(source, ...)  # decoded, cut, sampled; cached on disk by fingerprint
Batches(splits["train"], 32, ...)     # what model.fit takes
"""

import hashlib
import itertools
import json
import os
import pathlib
import sys

import keras
import numpy as np
from keras import tree

from datasets import examples as hashed
from datasets import splits, stores, windows
from datasets.source import SPLITS, BadInput, Examples, printable

IN_MEMORY = stores.IN_MEMORY  # bytes of an array that is still read into memory as a whole
FORMAT = 2  # of what is written; a change makes everything be prepared anew
MEASURED = 256  # training examples that most tasks' constants are measured on


def cache_folder():
    """Return where prepared arrays are kept: $ZOO_CACHE, else ~/.cache/keras-model-zoo."""
    default = pathlib.Path.home() / ".cache" / "keras-model-zoo"
    return pathlib.Path(os.environ.get("ZOO_CACHE") or default)


def prepare(
    source,
    measure,
    cut,
    prepare,
    *,
    fields,
    key,
    measured=MEASURED,
    skip_bad=False,
    fold=None,
    validate=None,
    series=None,
):
    """Prepare a source, or find it prepared already.

    Args:
        source: a `Source`.
        measure: function from a list of training examples to a dictionary of constants.
        measured: how many examples that are; None for all.
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
        series: where a piece is a series, of which `prepare` returns all steps (T, F) as x and no
            y, and the examples are windows of them: function from the constants to the arguments
            of `datasets.windows.split`.

    Returns:
        (splits, facts): `Arrays` by split, and a dictionary of the measured "constants", the
        messages of what was "skipped", the "notes" of examples, each sentence once, the
        "examples" of each split, see `datasets.examples.units`, and sentences on "duplicates".

    Raises:
        BadInput: if an example cannot be read (the first ten are named), or a split is empty.
    """
    facts = f"{FORMAT} {source.fingerprint} {key} {skip_bad}"
    name = f"{stores.short(source.name)}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"

    def write(folder):
        steps = series is not None
        _write(folder, source, measure, measured, cut, prepare, fields, skip_bad, steps)

    stored, hashes, facts = stores.kept(cache_folder() / name, write, _read)
    copies = facts.pop("copies")
    if series is None:
        found = splits.split(stored, fold, validate)
        units = hashed.units(found, stored, hashes, validate, key)
    elif fold or validate:
        why = "series are split by time, and folds would let the training see the future"
        raise BadInput("The data", why, "Train without --fold and --validate")
    else:
        how = series(facts["constants"])
        found = windows.split(stored, **how)
        units = hashed.stretches(found, stored, hashes, how["window"], how["horizon"])
    return found, {**facts, "examples": units, "duplicates": hashed.duplicates(units, copies)}


class Batches(keras.utils.PyDataset):
    """Batches of prepared examples for `model.fit`, the same for the same seed, epoch and place.

    Args:
        arrays: `Arrays`.
        size: examples a batch. In training all batches have one size, the nearest to it from below
            by which every example is used in every epoch; see `even`.
        training: shuffle, and change examples by `augment`.
        augment: None, or a function (x, y, entropy) to (x, y), used in training alone; entropy is
            a tuple of integers that is never the same twice.
        seed: an integer.
    """

    def __init__(self, arrays, size, *, training=False, augment=None, seed=0):
        super().__init__()
        self.arrays, self.training, self.seed = arrays, training, seed
        self.size = even(len(arrays), size) if training else size
        self.augment = augment if training else None
        self.start(0)

    def start(self, epoch):
        """Set the epoch, which decides the order and every random draw."""
        self.epoch, count = epoch, len(self.arrays)
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(count) if self.training else np.arange(count)
        self.order = np.resize(order, len(self) * self.size) if self.training else order

    def __len__(self):
        return -(-len(self.arrays) // self.size)

    def __getitem__(self, i):
        x, y = self.arrays.take(self.order[i * self.size : (i + 1) * self.size])
        return self.augment(x, y, (self.seed, self.epoch, i)) if self.augment else (x, y)

    def whole(self):
        """Yield all examples in order, as they were prepared, in batches."""
        for start in range(0, len(self.arrays), self.size):
            yield self.arrays.take(slice(start, start + self.size))

    def on_epoch_end(self):
        """Go to the next epoch."""
        self.start(self.epoch + 1)


def even(count, size):
    """Return the batch size that divides `count` examples into equal batches, at most `size`.

    One shape is compiled once, and no example is left out: what the last batch lacks, less than one
    example a batch, is taken from the beginning of the epoch's order. 30 examples and a size of 16
    give two batches of 15, 33 and 16 three of 11.
    """
    batches = -(-count // size)
    return -(-count // batches)


def sample(count, size):
    """Return which of so many examples are in a sample of `size`, or of all: truth values (count,).

    Every n-th example would be of one class where classes take turns.
    """
    drawn = np.random.default_rng(0).permutation(count)[:size]
    return np.isin(np.arange(count), drawn)


def read(examples, bad):
    """Read examples in order, with a progress bar on a terminal.

    Args:
        examples: `Examples`.
        bad: a list; the `BadInput` of each example that cannot be read, or in part, is appended.

    Yields:
        (name of the example, its dictionary).
    """
    bar = keras.utils.Progbar(len(examples), unit_name="example") if sys.stdout.isatty() else None
    for number, example in enumerate(examples):
        try:
            yield example.name, example.read()
        except BadInput as error:
            bad.append(error)
            if error.kept is not None:
                yield example.name, error.kept
        except OSError as error:  # no right to read it, a damaged disk
            why = f"it cannot be read ({error.strerror or error})"
            bad.append(BadInput(example.name, why, "Check its permissions and the disk"))
        if bar:
            bar.update(number + 1)


def _write(folder, source, measure, measured, cut, prepare, fields, skip_bad, steps):
    """Prepare every split of a source into a folder."""
    sizes = ", ".join(f"{len(examples):,} {split}" for split, examples in source.splits.items())
    print(f"Preparing {source.name} once for all later runs: {sizes}")
    first = next(source.splits[split] for split in SPLITS if split in source.splits)
    chosen = sample(len(first), measured or len(first))
    some = Examples(int(chosen.sum()), lambda: itertools.compress(first, chosen))
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
    bad, notes, names, hashes = [], {}, {}, {}
    for split, examples in source.splits.items():
        writer, files = _Writer(folder / split, steps), {}
        names[split], hashes[split] = [], []
        for number, (name, example) in enumerate(read(examples, bad)):
            file = files.setdefault(name.partition("#")[0], len(files))
            for note in example.get("notes", ()):
                notes.setdefault(note, []).append(name)
            names[split].append(name)
            if steps:
                hashes[split] += hashed.of_steps(example[fields[0]])
            else:
                hashes[split].append(hashed.digest(example[fields[0]]))
            for piece in cut(example):
                x, y = prepare(piece, constants)
                example = {"x": x} if steps else {"x": x, "y": y}
                writer.add(example, (file, number, piece.get("block", 0)))
        writer.close(hashes[split])
        if not writer.groups and not bad:
            raise BadInput(source.name, f"its split {split!r} holds no examples")
    if bad and not skip_bad:
        shown = "".join(f"\n  {error}" for error in bad[:10])
        shown += f"\n  and {len(bad) - 10} more" if len(bad) > 10 else ""
        shown = shown.removesuffix(".")  # BadInput adds its own
        raise BadInput(
            source.name,
            f"{len(bad)} examples cannot be read, and nothing was trained",
            f"Mend or remove them, or train without them (--skip-bad):{shown}",
        )
    facts = {
        "constants": constants,
        "skipped": [str(error) for error in bad],
        "notes": [counted(note, of) for note, of in notes.items()],
        "copies": [] if steps else hashed.copies(hashes, names),
    }
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def counted(note, names):
    """Return a note with the examples it is of: the first three by name, and how many they are."""
    shown = printable(", ".join(names[:3])) + (", ..." if len(names) > 3 else "")
    return f"{shown}: {note}" + (f" ({len(names):,} examples)" if len(names) > 1 else "")


class _Writer:
    """Appends examples to one raw file an array, so that memory does not bound the data.

    With `steps` the first axis of an array counts what are examples of their own.
    """

    def __init__(self, folder, steps=False):
        folder.mkdir()
        self.folder, self.steps, self.files, self.about, self.groups = folder, steps, {}, {}, []

    def add(self, example, group):
        for path, value in tree.flatten_with_path(example):
            name, value = ".".join(path), np.asarray(value)
            about = {"dtype": value.dtype.str, "shape": list(value.shape[self.steps :])}
            if self.about.setdefault(name, about) != about:
                raise ValueError(f"{name} is {about} here and {self.about[name]} before")
            if name not in self.files:
                self.files[name] = open(self.folder / f"{name}.bin", "wb")
            self.files[name].write(value.tobytes())
        self.groups += [group] * (len(value) if self.steps else 1)

    def close(self, hashes):
        for file in self.files.values():
            file.close()
        np.save(self.folder / "hashes.npy", np.array(hashes, np.uint64))
        np.save(self.folder / "groups.npy", np.array(self.groups, np.int64).reshape(-1, 3))
        (self.folder / "about.json").write_text(json.dumps(self.about), encoding="utf-8")


def _read(folder):
    """Return what `_write` has written: arrays and rows' places, digests, and the facts."""
    present = [split for split in SPLITS if (folder / split).exists()]
    hashes = {split: np.load(folder / split / "hashes.npy") for split in present}
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return {split: _load(folder / split) for split in present}, hashes, facts


def _load(folder):
    """Return a split's arrays, large ones mapped, and its rows' (file, example, block), (n, 3)."""
    groups, arrays = np.load(folder / "groups.npy"), {}
    for name, about in json.loads((folder / "about.json").read_text(encoding="utf-8")).items():
        shape = (len(groups), *about["shape"])
        array = np.memmap(folder / f"{name}.bin", about["dtype"], "r", shape=shape)
        *outer, last = name.split(".")
        inner = arrays
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = array if array.nbytes > IN_MEMORY else np.array(array)
    return arrays, groups
