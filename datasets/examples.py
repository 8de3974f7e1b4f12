"""Duplicate examples, whatever their names: hashes of the values decoded from the files.

A renamed or losslessly saved copy of an image has the hash of the image, and a row of an array
keeps its hash when rows are reordered. Labels are not hashed. Of series, segments of `STEPS` steps
are hashed with their position, so that the same series with more rows at its end is recognised.
"""

import hashlib
import itertools
import math
import zlib

import numpy as np

from datasets import windows

STEPS = 16  # of a segment of a series
ROW = 4096  # words of 8 bytes
SHOWN = 3  # copies that are named
MAX_GROUPS = 1000  # groups of copies whose names are recorded
WORDS = {"train": "training", "validation": "validation", "test": "test"}
_WEIGHTS = np.random.default_rng(0).integers(0, 2**64, ROW, np.uint64)


def digest(array, place=0):
    """Return 64 bits (an int) of an array's shape and values.

    Integers from 0 to 255 are hashed as bytes and all other numbers as float32, whatever their
    type; axes of length 1 are ignored. Bytes go through CRC-32 and through sums of products with
    random numbers modulo 2^64, several times as fast as a cryptographic hash.

    Args:
        array: of numbers, of any shape.
        place: an integer that is hashed with them.
    """
    array = np.asarray(array)
    array = array.reshape([size for size in array.shape if size != 1])
    if array.dtype != np.uint8:
        array = np.asarray(array, np.float32)
        first = array.flat[0] if array.size else 0  # decides quickly for most arrays
        if 0 <= first <= 255 and first % 1 == 0:
            with np.errstate(invalid="ignore"):
                small = array.astype(np.uint8)
            array = small if np.array_equal(small, array) else array
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    words = data[: len(data) // 8 * 8].view(np.uint64)
    rows = words[: len(words) // ROW * ROW].reshape(-1, ROW)
    rest = words[rows.size :]
    sums = (rows @ _WEIGHTS).tobytes() + (rest * _WEIGHTS[: len(rest)]).sum().tobytes()
    return _digest(array.dtype, array.shape, place, data, sums)


def _digest(dtype, shape, place, data, sums):
    facts = f"{dtype.str} {shape} {place} {zlib.crc32(data)}".encode()
    return int.from_bytes(hashlib.blake2b(facts + sums, digest_size=8).digest(), "little")


def of_steps(values):
    """Return the digests of the segments of a series (T, ...); 0 where nothing changes.

    They are those of `digest`. Full segments of floats are hashed together, which is faster.
    """
    values = np.asarray(values)
    count, size = len(values) // STEPS, math.prod(values.shape[1:])
    batched = values.dtype != np.uint8 and count and 0 < size * STEPS // 2 < ROW
    together = _of_full_segments(values[: count * STEPS], count) if batched else {}
    digests = []
    for number, start in enumerate(range(0, len(values), STEPS)):
        if number in together:
            digests.append(together[number])
        else:
            part = values[start : start + STEPS]
            digests.append(digest(part, number) if (part != part[:1]).any() else 0)
    return digests


def _of_full_segments(values, count):
    """Return the digests of segments by number, except those that may contain only integers."""
    shape = tuple(size for size in (STEPS, *values.shape[1:]) if size != 1)
    changes = (values.reshape(count, STEPS, -1) != values[::STEPS].reshape(count, 1, -1)).any(
        (1, 2)
    )
    rows = np.ascontiguousarray(values, np.float32).reshape(count, -1)
    with np.errstate(invalid="ignore"):
        integers = (rows[:, 0] >= 0) & (rows[:, 0] <= 255) & (rows[:, 0] % 1 == 0)
    words = rows.view(np.uint64)
    sums = words @ _WEIGHTS[: words.shape[1]]
    return {
        number: _digest(rows.dtype, shape, number, rows[number], sums[number].tobytes())
        if changes[number]
        else 0
        for number in np.flatnonzero(~integers).tolist()
    }


def units(splits, stored, hashes, validate, cut):
    """Return what each split contains, so that the splits of any two runs can be compared.

    Args:
        splits: `datasets.splits.Arrays` by split.
        stored: {split: (arrays, groups (n, 3))} that they were cut from.
        hashes: {split: uint64 by number of the example}, for the same splits.
        validate: whether training and validation were split again from those of the source.
        cut: text of the options for cutting examples into pieces.

    Returns:
        {split: (m, 2) uint64}: the digest of an example, and 0; or, where its pieces are in
        several splits, an identifier of the piece: 32 bits of `cut` and 32 of the block.
    """
    first = next(iter(stored))
    tables = {
        name: _table(stored[name][1], hashes[name], number) for number, name in enumerate(stored)
    }
    if validate and "validation" in stored and first != "validation":
        both = np.concatenate([tables[first], tables["validation"]])
        tables |= {first: both, "validation": both}
    rows = {
        split: np.unique(tables[split if split in stored else first][arrays.rows], axis=0)
        for split, arrays in splits.items()
    }
    seen, count = np.unique(
        np.concatenate([np.unique(part[:, :2], axis=0) for part in rows.values()]),
        axis=0,
        return_counts=True,
    )
    shared = np.unique(seen[count > 1, 1])  # numbers of examples, unlike those of copies
    prefix = np.uint64(zlib.crc32(cut.encode()) | 1) << np.uint64(32)
    result = {}
    for split, part in rows.items():
        block = prefix | (part[:, 2] & np.uint64(2**32 - 1))
        which = np.where(np.isin(part[:, 1], shared), block, np.uint64(0))
        result[split] = np.unique(np.stack([part[:, 0], which], axis=1), axis=0)
    return result


def _table(groups, hashes, split):
    """Return (digest, number of the example in the data, block) of each row, (n, 3) uint64."""
    number = groups[:, 1]
    place = (number + (split << 48)).astype(np.uint64)
    return np.stack([hashes[number], place, groups[:, 2].astype(np.uint64)], axis=1)


def segments(splits, stored, hashes, window, horizon):
    """Return what each split of series holds, as `units` does.

    Training uses the input steps and the steps to forecast; the scores of the other splits depend
    on the steps to forecast only. A segment counts if all of its steps do.
    """
    first, result = next(iter(stored)), {}
    for split, arrays in splits.items():
        name = split if split in stored else first
        groups = stored[name][1]
        change = np.zeros(len(groups) + 1, np.int64)
        np.add.at(change, arrays.rows + (0 if split == "train" else window), 1)
        np.add.at(change, arrays.rows + window + horizon, -1)
        covered = np.concatenate([[0], np.cumsum(np.cumsum(change)[:-1] > 0)])
        starts, ends = [], []
        for begin, end in windows.series(groups):
            starts += range(begin, end, STEPS)
            ends += [*range(begin + STEPS, end, STEPS), end]
        starts, ends = np.array(starts), np.array(ends)
        complete = (covered[ends] - covered[starts] == ends - starts) & (hashes[name] != 0)
        digests = np.unique(hashes[name][complete])
        result[split] = np.stack([digests, np.zeros_like(digests)], axis=1)
    return result


def copies(hashes, names):
    """Return the examples that occur several times: [[digest, [[split, name], ...]], ...].

    Args:
        hashes: {split: digests, one an example}.
        names: {split: names of the examples}.
    """
    every = np.concatenate([np.asarray(part, np.uint64) for part in hashes.values()])
    values, count = np.unique(every, return_counts=True)
    several, groups = set(values[count > 1].tolist()), {}
    for split, part in hashes.items() if several else ():
        for value, name in zip(part, names[split], strict=True):
            if value in several and (value in groups or len(groups) < MAX_GROUPS):
                groups.setdefault(value, []).append([split, name])
    return [[value, places] for value, places in groups.items()]


def duplicates(units, groups):
    """Return sentences on examples that occur in several splits, or several times in one.

    Args:
        units: what the splits contain, see `units`.
        groups: see `copies`.
    """
    sentences, across = [], set()
    for first, second in itertools.combinations(units, 2):
        keys = (set(map(tuple, units[split].tolist())) for split in (first, second))
        shared = {value for value, _ in set.intersection(*keys)}
        across |= shared
        if shared:
            sentences.append(
                f"Duplicates: {len(shared):,} of {len(units[second]):,} examples of the "
                f"{WORDS[second]} split are also in the {WORDS[first]} split"
                f"{_named(groups, shared)}. "
                "The scores are too optimistic: remove the copies"
            )
    within = {value for value, _ in groups} - across
    if within:
        sentences.append(
            f"Duplicates: {len(within):,} examples occur several times in one split"
            f"{_named(groups, within)}"
        )
    return sentences


def _named(groups, values):
    """Return the names of the first copies, to append to a sentence."""
    chosen = [places for value, places in groups if value in values][:SHOWN]
    shown = "; ".join(" = ".join(name for _, name in places[:2]) for places in chosen)
    return f" ({shown}{' ...' if len(values) > len(chosen) else ''})" if shown else ""
