"""From examples to batches: prepared once, cut fairly, the same for the same seed."""

import numpy as np
import pytest

from datasets import pipeline
from datasets.source import BadInput, Examples, Source


def make(splits, bad=(), name="toy", fingerprint="0123456789abcdef"):
    """Return a source of vectors whose label is their class, and the list of what was read."""
    read = []

    def read_one(item):
        read.append(item)
        if item in bad:
            raise BadInput(item, "it is broken", "Mend it")
        number = int(item.split("-")[1].partition("#")[0])
        return {"value": np.full(3, number, np.float32), "label": number % 4}

    examples = {split: Examples.of(items, read_one) for split, items in splits.items()}
    return Source(name, fingerprint, tuple("abcd"), examples), read


def names(prefix, count):
    """Return names of examples."""
    return [f"{prefix}-{i}" for i in range(count)]


def prepare(source, **changes):
    """Prepare a source with the simplest functions."""
    settings = dict(
        measure=lambda examples: {"mean": float(np.mean([e["value"][0] for e in examples]))},
        cut=lambda example: [example],
        prepare=lambda piece, constants: (piece["value"], np.int32(piece["label"])),
        fields=("value", "label"),
        key="toy",
    )
    return pipeline.prepare(source, **{**settings, **changes})


def test_every_example_is_read_once_and_then_never_again():
    source, read = make({"train": names("a", 300), "test": names("b", 20)})
    splits, facts = prepare(source, measure=lambda examples: {})
    for item in names("a", 300)[::2] + names("b", 20):
        assert read.count(item) <= 2  # once more to measure constants, at most 256 of them
    read.clear()
    again, _ = prepare(source, measure=lambda examples: {})
    assert not read
    for split in splits:
        np.testing.assert_array_equal(splits[split].take()[0], again[split].take()[0])
    other, read = make({"train": names("a", 300)}, fingerprint="f" * 16)
    prepare(other)
    assert read, "other data need preparing"


def test_official_splits_are_kept_and_validation_is_cut_evenly():
    source, _ = make({"train": names("a", 200), "test": names("b", 40)})
    splits, _ = prepare(source)
    assert {split: len(arrays) for split, arrays in splits.items()} == {
        "train": 168,
        "validation": 32,
        "test": 40,
    }
    assert np.bincount(splits["validation"].take()[1]).tolist() == [8, 8, 8, 8]
    train, held = (set(splits[s].take()[0][:, 0].tolist()) for s in ("train", "validation"))
    assert not train & held and len(train | held) == 200


def test_pieces_of_one_file_are_never_parted():
    items = [f"scan-{i}#{j}" for i in range(20) for j in range(5)]
    source, _ = make({"train": items})
    splits, _ = prepare(source)
    owners = [set(arrays.take()[0][:, 0].tolist()) for arrays in splits.values()]
    assert all(len(owner) >= 2 for owner in owners) and sum(map(len, owners)) == 20
    assert sum(len(arrays) for arrays in splits.values()) == 100


def test_a_single_file_is_split_by_its_blocks():
    source, _ = make({"train": ["survey-1"]})

    def cut(example):
        return [{**example, "block": block, "value": np.full(3, block)} for block in range(40)]

    splits, _ = prepare(source, cut=cut)
    assert {split: len(arrays) for split, arrays in splits.items()} == {
        "train": 28,
        "validation": 6,
        "test": 6,
    }


def test_folds_test_every_example_once():
    source, _ = make({"train": names("a", 40)})
    tested = []
    for k in range(1, 6):
        splits, _ = prepare(source, fold=(k, 5))
        held = {s: set(arrays.take()[0][:, 0].tolist()) for s, arrays in splits.items()}
        assert sum(map(len, held.values())) == 40 == len(set.union(*held.values()))
        assert len(held["test"]) == len(held["validation"]) == 8
        tested += held["test"]
    assert sorted(tested) == list(range(40))


def test_folds_of_data_with_a_test_split_are_for_validation():
    source, _ = make({"train": names("a", 40), "test": names("b", 4)})
    splits, _ = prepare(source, fold=(2, 5))
    assert {s: len(arrays) for s, arrays in splits.items()} == {
        "train": 32,
        "validation": 8,
        "test": 4,
    }
    splits = {"train": names("a", 9), "validation": ["c-1"], "test": names("b", 4)}
    source, _ = make(splits, fingerprint="f" * 16)
    with pytest.raises(BadInput, match="--fold"):
        prepare(source, fold=(2, 5))


def test_large_arrays_stay_on_disk(monkeypatch):
    monkeypatch.setattr(pipeline, "IN_MEMORY", 100)
    source, _ = make({"train": names("a", 50), "test": names("b", 9)})
    splits, _ = prepare(source)
    assert isinstance(splits["train"].x, np.memmap)
    x, y = splits["train"].take([1, 3])
    assert type(x) is np.ndarray and x.shape == (2, 3) and y.shape == (2,)


def test_bad_examples_are_all_named_or_left_out():
    bad = ["a-3", "a-7", "b-1"]
    source, _ = make({"train": names("a", 30), "test": names("b", 9)}, bad=bad)
    with pytest.raises(BadInput) as error:
        prepare(source)
    for item in [*bad, "3 examples", "--skip-bad", "it is broken"]:
        assert item in str(error.value)
    splits, facts = prepare(source, skip_bad=True)
    assert sum(len(arrays) for arrays in splits.values()) == 36
    assert len(facts["skipped"]) == 3 and "a-3" in facts["skipped"][0]


def test_a_failure_leaves_nothing_half_prepared():
    source, _ = make({"train": names("a", 30)}, bad=["a-20"])
    with pytest.raises(BadInput):
        prepare(source)
    assert not list(pipeline.cache_folder().iterdir())


def test_data_for_another_task_are_refused():
    source, _ = make({"train": names("a", 30)})
    with pytest.raises(BadInput, match="value, label.*needs image"):
        prepare(source, fields=("image",))


def test_too_few_examples_are_refused():
    source, _ = make({"train": names("a", 2)})
    with pytest.raises(BadInput, match="too few"):
        prepare(source)


def test_batches_depend_on_seed_and_epoch_alone():
    source, _ = make({"train": names("a", 100), "test": names("b", 9)})
    splits, _ = prepare(source)

    def batches(seed):
        draws = []
        augment = lambda x, y, entropy: (draws.append(entropy), (x, y))[1]  # noqa: E731
        return pipeline.Batches(
            splits["train"], 16, training=True, augment=augment, seed=seed
        ), draws

    one, draws = batches(0)
    other, _ = batches(0)
    first = [one[i][1] for i in range(len(one))]
    assert len(one) == 5 and draws == [(0, 0, i) for i in range(5)]
    one.on_epoch_end()
    second = [one[i][1] for i in range(len(one))]
    assert not np.array_equal(first, second)
    other.start(1)
    np.testing.assert_array_equal(second, [other[i][1] for i in range(len(other))])
    assert not np.array_equal(first, [batches(1)[0][i][1] for i in range(5)])
    test = pipeline.Batches(splits["test"], 4)
    assert [len(test[i][1]) for i in range(len(test))] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate([test[i][0] for i in range(3)])[:, 0], range(9))
