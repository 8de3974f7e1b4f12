"""From examples to batches: prepared once, cut fairly, the same for the same seed."""

import numpy as np
import pytest

from datasets import pipeline, prepared, splits
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
    another, read = make({"train": names("a", 300)}, fingerprint="f" * 16)
    prepare(another)
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


def numbered(prefix, first, count, pieces=1):
    """Return names of examples that no other split has, several a file if so wished."""
    files = range(first, first + count)
    return [f"{prefix}-{i}#{j}" for i in files for j in range(pieces)]


def held(splits):
    """Return the number of each example's file, by split."""
    return {split: arrays.take()[0][:, 0].astype(int).tolist() for split, arrays in splits.items()}


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("brought", ["", "test", "validation", "validation test"])
def test_parts_of_what_is_not_the_test_are_validated_once(brought, pieces):
    items = {"train": numbered("a", 0, 40, pieces)}
    items |= {s: numbered(s, 100 + len(s), 8, pieces) for s in brought.split()}
    source, _ = make(items)
    without, validated = held(prepare(source)[0]), []
    rest = sorted(without["train"] + without["validation"])
    for k in range(1, 6):
        splits, _ = prepare(source, validate=(k, 5))
        contents = held(splits)
        assert contents["test"] == without["test"] and len(contents["test"]) >= 6 * pieces
        assert sorted(contents["train"] + contents["validation"]) == rest
        assert not set(contents["train"]) & set(contents["validation"])  # a number is a file
        assert abs(len(contents["validation"]) - len(rest) / 5) < pieces
        x, y = splits["train"].take()
        np.testing.assert_array_equal(x[:, 0] % 4, y)
        for split in ("train", "validation"):
            assert np.ptp(np.bincount(splits[split].take()[1] % 4)) <= 3 * pieces
        validated += contents["validation"]
    assert sorted(validated) == rest


def test_parts_are_the_same_whenever_they_are_made():
    source, _ = make({"train": names("a", 40), "validation": numbered("v", 50, 9)})
    first, second = (held(prepare(source, validate=(2, 3))[0]) for _ in range(2))
    assert first == second


def test_joining_stored_splits_reads_no_more_than_is_taken(monkeypatch):
    monkeypatch.setattr(pipeline, "IN_MEMORY", 100)
    items = {"train": names("a", 50), "validation": numbered("v", 50, 30), "test": names("b", 9)}
    source, _ = make(items)
    splits, _ = prepare(source, validate=(1, 4))
    x = splits["train"].x
    assert all(isinstance(part, np.memmap) for part in x.parts)
    assert (x.shape, len(x), x.dtype) == ((80, 3), 80, np.float32)
    np.testing.assert_array_equal(x[[70, 3, 49, 50, 3]][:, 0], [70, 3, 49, 50, 3])
    np.testing.assert_array_equal(x[48:52][:, 2], [48, 49, 50, 51])
    taken, y = splits["train"].take([40, 2])
    assert type(taken) is np.ndarray and taken.shape == (2, 3)
    np.testing.assert_array_equal(taken[:, 0] % 4, y)


def test_more_parts_than_files_are_refused():
    source, _ = make({"train": numbered("a", 0, 4, 9), "test": names("b", 9)})
    with pytest.raises(BadInput, match="4 files.* too few for 5.*Use fewer"):
        prepare(source, validate=(1, 5))
    assert len(prepare(source, validate=(4, 4))[0]["validation"]) == 9


@pytest.mark.parametrize("brought", ["test", "validation", "validation test"])
def test_data_without_a_training_split_lend_nothing_twice(brought):
    source, _ = make({s: numbered(s, 100 * len(s), 20) for s in brought.split()})
    contents = held(prepare(source)[0])
    assert all(contents.values()) and set(contents) == {"train", "validation", "test"}
    everything = sum(contents.values(), [])
    assert len(everything) == len(set(everything)) == 20 * len(brought.split())


def test_a_bootstrap_draws_as_many_examples_with_replacement():
    source, _ = make({"train": names("a", 1000), "test": names("b", 9)})
    train = prepare(source)[0]["train"]
    first, same, second = (splits.bootstrap(train, seed) for seed in (5, 5, 6))
    assert len(first) == len(train) and set(first.rows) <= set(train.rows)
    np.testing.assert_array_equal(first.rows, same.rows)
    assert not np.array_equal(first.rows, second.rows)
    share = len(np.unique(first.rows)) / len(train)
    assert share == pytest.approx(1 - np.exp(-1), abs=0.03)
    x, y = first.take()
    np.testing.assert_array_equal(x[:, 0] % 4, y)


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
    assert "\n." not in str(error.value) and not str(error.value).endswith("..")
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

    before, draws = batches(0)
    after, _ = batches(0)
    first = [before[i][1] for i in range(len(before))]
    assert len(before) == 6 and draws == [(0, 0, i) for i in range(6)]
    assert {len(y) for y in first} == {14} and len(splits["train"]) == 84
    before.on_epoch_end()
    second = [before[i][1] for i in range(len(before))]
    assert not np.array_equal(first, second)
    after.start(1)
    np.testing.assert_array_equal(second, [after[i][1] for i in range(len(after))])
    assert not np.array_equal(first, [batches(1)[0][i][1] for i in range(6)])
    test = pipeline.Batches(splits["test"], 4)
    assert [len(test[i][1]) for i in range(len(test))] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate([test[i][0] for i in range(3)])[:, 0], range(9))


@pytest.mark.parametrize(
    ("count", "size", "batches", "each"),
    [(30, 16, 2, 15), (33, 16, 3, 11), (31, 16, 2, 16), (5, 4, 2, 3), (3, 8, 1, 3), (1, 1, 1, 1)],
)
def test_every_example_is_used_in_every_epoch_by_batches_of_one_size(count, size, batches, each):
    arrays = pipeline.splits.Arrays(np.arange(count), np.arange(count), np.arange(count))
    training = pipeline.Batches(arrays, size, training=True)
    for epoch in range(3):
        training.start(epoch)
        seen = [training[i][1] for i in range(len(training))]
        assert [len(y) for y in seen] == [each] * batches
        assert set(np.concatenate(seen)) == set(range(count))
        _, times = np.unique(np.concatenate(seen), return_counts=True)
        assert times.max() <= 2 and (times - 1).sum() < batches


def test_prepared_data_are_those_of_the_fingerprint(tmp_path, monkeypatch):
    from zoo import tasks

    task, rng = tasks.get("pointcloud_classification"), np.random.default_rng(0)
    points, labels = rng.normal(size=(30, 20, 3)).astype(np.float32), np.arange(30) % 3
    np.savez(tmp_path / "toy.npz", x_train=points, y_train=labels)
    monkeypatch.setenv("TOYS", str(tmp_path))
    data = prepared.prepare("$TOYS/toy.npz", task, "key", options={"points": 16}, fold=[2, 5])
    assert data.options == {**task.options, "points": 16}
    assert data.splits["train"].take([0])[0].shape == (1, 16, 3)
    assert len(data.info["classes"]) == 3 and data.info["radius"] > 0
    assert data.about["source"] == "$TOYS/toy.npz" and data.about["name"] == "toy"
    assert data.about["sizes"] == {split: len(rows) for split, rows in data.splits.items()}
    same = dict(options={"points": 16}, fold=[2, 5], fingerprint=data.about["fingerprint"])
    again = prepared.prepare("$TOYS/toy.npz", task, "key", **same)
    np.testing.assert_array_equal(again.splits["test"].rows, data.splits["test"].rows)
    np.savez(tmp_path / "toy.npz", x_train=2 * points, y_train=labels)
    with pytest.raises(BadInput, match=data.about["fingerprint"]):
        prepared.prepare("$TOYS/toy.npz", task, "key", **same)


def test_what_readers_note_is_counted():
    assert pipeline.counted("its mask is turned", ["a.png"]) == "a.png: its mask is turned"
    text = pipeline.counted("its mask is turned", [f"{i}.png" for i in range(1200)])
    assert text == "0.png, 1.png, 2.png, ...: its mask is turned (1,200 examples)"
    assert pipeline.counted("x", ["caf\udce9.png"]) == r"caf\udce9.png: x"


def labelled(*counts, first=0):
    """Return names of examples of the classes 0, 1, ..., so many of each."""
    return [f"a-{first + 4 * i + k}" for k, count in enumerate(counts) for i in range(count)]


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ((2, 2, 2, 2), {"train": 6, "validation": 1, "test": 1}),
        ((1, 1, 1, 5), {"train": 6, "validation": 1, "test": 1}),
        ((2, 9), {"train": 8, "validation": 2, "test": 1}),  # as of three or more of each class
    ],
)
def test_classes_of_one_or_two_examples_leave_no_split_empty(counts, sizes):
    source, _ = make({"train": labelled(*counts)})
    parts, _ = prepare(source)
    assert {split: len(arrays) for split, arrays in parts.items()} == sizes
    taken = [arrays.take()[1].tolist() for arrays in parts.values()]
    assert sorted(set(taken[0])) == list(range(len(counts))), "each class is trained on"
    assert sum(map(len, taken)) == sum(counts)


def test_classes_of_one_example_are_refused():
    source, _ = make({"train": labelled(1, 1, 1, 1)})
    with pytest.raises(BadInput, match="4 examples of 4 classes .* the validation.*three of each"):
        prepare(source)


def test_constants_are_measured_on_a_sample_of_all_classes():
    for count in (10, 256, 600, 1024, 5000):
        chosen = pipeline.sample(count, 256)
        assert chosen.sum() == min(count, 256) and len(chosen) == count
        np.testing.assert_array_equal(chosen, pipeline.sample(count, 256))
        if count > 256:
            places = np.flatnonzero(chosen)
            assert np.bincount(places % 4, minlength=4).min() > 40  # classes that take turns
            assert np.bincount(places * 4 // count, minlength=4).min() > 40  # one after another


@pytest.mark.parametrize(("measured", "count"), [(256, 256), (None, 300)])
def test_constants_are_measured_on_all_examples_where_one_may_decide(measured, count):
    source, _ = make({"train": names("a", 300)})
    _, facts = prepare(source, measure=lambda some: {"count": len(some)}, measured=measured)
    assert facts["constants"] == {"count": count}
