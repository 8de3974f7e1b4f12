"""From examples to batches: every example is prepared once, into arrays that all runs share.

splits, facts = prepare(source, ...)  # decoded, cut, sampled; cached on disk by fingerprint
Batches(splits["train"], 32, ...)     # the input of model.fit
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

IN_MEMORY = stores.IN_MEMORY  # bytes of the largest array that is read into memory
FORMAT = 2  # version of the cached files; a change invalidates all caches
DIVIDED = "its images are used for training, and whole classes are held out in its place"
MEASURED = 256  # training examples from which most tasks compute their constants


def cache_folder():
    """Return the folder of the cached arrays: $ZOO_CACHE, else ~/.cache/keras-model-zoo."""
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
    by_class=False,
):
    """Prepare a source, or load it from the cache.

    Args:
        source: a `Source`.
        measure: function from a list of training examples to a dictionary of constants.
        measured: the number of these examples; None for all.
        cut: function from an example to a list of pieces; pieces of the same "block" are never
            split between training and validation.
        prepare: function from a piece and the constants to (x, y) of NumPy arrays, or dictionaries
            of them.
        fields: names of the arrays that an example must have.
        key: text that changes when these functions or their options do.
        skip_bad: leave unreadable examples out instead of raising.
        fold: (k, n): the k-th of n equal parts, from 1, is held out instead of a fixed fraction:
            for the test if the source has none, else for validation.
        validate: (k, n): the k-th of n equal parts, from 1, of all examples but the test is for
            validation, and the others are for training; the test does not change.
        series: None; or, where a piece is a series, of which `prepare` returns all steps (T, F) as
            x and no y, and the examples are windows of it: function from the constants to the
            arguments of `datasets.windows.split`.
        by_class: whether validation and test have classes that training has not: those of the
            source if they do, else whole classes are held out.

    Returns:
        (splits, facts): `Arrays` by split, and a dictionary of the measured "constants", the
        messages of what was "skipped", the distinct "notes" of examples, the
        "examples" of each split, see `datasets.examples.units`, and sentences on "duplicates".

    Raises:
        BadInput: if an example cannot be read (the first ten are named), or a split is empty.
    """
    facts = f"{FORMAT} {source.fingerprint} {key} {skip_bad}"
    name = f"{stores.short(source.name)}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"

    def write(folder):
        steps = series is not None
        _write(folder, source, measure, measured, cut, prepare, fields, skip_bad, steps)

    stored, hashes, facts = stores.cached(cache_folder() / name, write, _read)
    copies = facts.pop("copies")
    if by_class:
        stored, hashes, added = splits.pooled(stored, hashes)
        notes = [f"the {split} split shares classes with training: {DIVIDED}" for split in added]
        facts["notes"] = [*facts["notes"], *notes]
    if series is None:
        result = splits.split(stored, fold, validate, by_class)
        units = hashed.units(result, stored, hashes, validate, key)
    elif fold or validate:
        why = "series are split by time, and folds would let training use the future"
        raise BadInput("The data", why, "Train without --fold and --validate")
    else:
        arguments = series(facts["constants"])
        result = windows.split(stored, **arguments)
        units = hashed.segments(result, stored, hashes, arguments["window"], arguments["horizon"])
    return result, {**facts, "examples": units, "duplicates": hashed.duplicates(units, copies)}


class Batches(keras.utils.PyDataset):
    """Batches of prepared examples for `model.fit`, the same for the same seed, epoch and place.

    Args:
        arrays: `Arrays`.
        size: examples per batch. In training all batches have the same size, the largest one
            up to this with which every example is used in every epoch; see `even`.
        training: shuffle, and augment examples.
        augment: None, or a function (x, y, entropy) to (x, y), used in training only; entropy
            is a tuple of integers, different for each batch.
        seed: an integer.
        sampler: None, or a function (y, size, rng) to the examples of all batches of an epoch,
            indices (batches, batch size) in a shape that y and size alone decide. Without
            `training` its batches are the same in every epoch.
    """

    def __init__(self, arrays, size, *, training=False, augment=None, seed=0, sampler=None):
        super().__init__()
        self.arrays, self.training, self.seed = arrays, training, seed
        self.sampler, self.augment = sampler, augment if training else None
        self.asked = size
        self.size = even(len(arrays), size) if training and not sampler else size
        self.start(0)

    def start(self, epoch):
        """Set the epoch, which determines the order and all random draws."""
        self.epoch, count = epoch, len(self.arrays)
        rng = np.random.default_rng([self.seed, epoch if self.training else 0])
        if self.sampler:
            labels = np.asarray(self.arrays.y[self.arrays.rows])
            rows = self.sampler(labels, self.asked, rng)
            self.order, self.size = rows.reshape(-1), rows.shape[1]
            return
        order = rng.permutation(count) if self.training else np.arange(count)
        self.order = np.resize(order, len(self) * self.size) if self.training else order

    def __len__(self):
        if self.sampler:
            return len(self.order) // self.size
        return -(-len(self.arrays) // self.size)

    def __getitem__(self, i):
        x, y = self.arrays.take(self.order[i * self.size : (i + 1) * self.size])
        return self.augment(x, y, (self.seed, self.epoch, i)) if self.augment else (x, y)

    def whole(self):
        """Yield all examples in order, without augmentation, in batches."""
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
    """Return a mask (count,) of at most `size` examples, drawn at random.

    Every n-th example could be of the same class where classes alternate.
    """
    drawn = np.random.default_rng(0).permutation(count)[:size]
    return np.isin(np.arange(count), drawn)


def read(examples, bad):
    """Read examples in order, with a progress bar on a terminal.

    Args:
        examples: `Examples`.
        bad: a list; the `BadInput` of each example that is faulty, or faulty in part, is appended.

    Yields:
        (name of the example, its dictionary).
    """
    bar = keras.utils.Progbar(len(examples), unit_name="example") if sys.stdout.isatty() else None
    for number, example in enumerate(examples):
        try:
            yield example.name, example.read()
        except BadInput as error:
            bad.append(error)
            if error.partial is not None:
                yield example.name, error.partial
        except OSError as error:  # no permission to read it, a faulty disk
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
            present, expected = ", ".join(examples[0]), ", ".join(fields)
            raise BadInput(
                source.name,
                f"its examples have {present}, and this task needs {expected}",
                "Choose a model for another task (python -m zoo list), or other data",
            )
    constants = measure(examples) if examples else {}
    bad, notes, names, hashes = [], {}, {}, {}
    for split, examples in source.splits.items():
        writer, files = Writer(folder / split, steps), {}
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
            raise BadInput(source.name, f"its split {split!r} has no examples")
    if bad and not skip_bad:
        shown = "".join(f"\n  {error}" for error in bad[:10])
        shown += f"\n  and {len(bad) - 10} more" if len(bad) > 10 else ""
        shown = shown.removesuffix(".")  # BadInput adds a full stop
        count = "1 example" if len(bad) == 1 else f"{len(bad)} examples"
        raise BadInput(
            source.name,
            f"{count} cannot be read, and nothing was trained",
            f"Fix or remove them, or train without them (--skip-bad):{shown}",
        )
    facts = {
        "constants": constants,
        "skipped": [str(error) for error in bad],
        "notes": [counted(note, examples) for note, examples in notes.items()],
        "copies": [] if steps else hashed.copies(hashes, names),
    }
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def counted(note, names):
    """Return a note with its examples: the names of the first three, and their number."""
    shown = printable(", ".join(names[:3])) + (", ..." if len(names) > 3 else "")
    return f"{shown}: {note}" + (f" ({len(names):,} examples)" if len(names) > 1 else "")


class Writer:
    """Appends examples to one raw file per array, so that the data need not fit into memory.

    With `steps` the first axis of an array is the axis of the examples.
    """

    def __init__(self, folder, steps=False):
        folder.mkdir()
        self.folder, self.steps, self.files, self.about, self.groups = folder, steps, {}, {}, []

    def add(self, example, group):
        """Append an example, a nested dictionary of arrays, and its place, three integers."""
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
        """Write what describes the files; `hashes` are the digests of the examples."""
        for file in self.files.values():
            file.close()
        np.save(self.folder / "hashes.npy", np.array(hashes, np.uint64))
        np.save(self.folder / "groups.npy", np.array(self.groups, np.int64).reshape(-1, 3))
        (self.folder / "about.json").write_text(json.dumps(self.about), encoding="utf-8")


def _read(folder):
    """Return the output of `_write`: arrays and places of the rows, digests, and the facts."""
    present = [split for split in SPLITS if (folder / split).exists()]
    hashes = {split: np.load(folder / split / "hashes.npy") for split in present}
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return {split: load(folder / split) for split in present}, hashes, facts


def load(folder):
    """Return a split's arrays, large ones memory-mapped, and (file, example, block) of its rows."""
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
