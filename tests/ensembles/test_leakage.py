"""Leakage: examples are tracked individually, along every route from one model to the next."""

import types

import numpy as np
import pytest

from datasets import examples as hashed
from datasets import pipeline, windows
from datasets.source import Examples, Source
from ensembles.members import provenance as members_provenance
from zoo.weights import provenance

PLAIN = {"fold": None, "validate": None, "skip_bad": False}


def rows(*numbers):
    """Return undivided examples (m, 2); the numbers stand for their hashes."""
    return np.array([[number, 0] for number in numbers], np.uint64).reshape(-1, 2)


def pieces(number, way, *blocks):
    """Return pieces of one example; the number `way` stands for how it is cut."""
    return np.array([[number, way << 32 | block] for block in blocks], np.uint64)


NOW = {"train": rows(*range(60)), "validation": rows(*range(60, 80)), "test": rows(*range(80, 99))}


def record(train, validation=(), test=(), data="a" * 16, **fields):
    """Return the record of a training run on examples."""
    splits = {"train": train, "validation": validation, "test": test}
    splits = {name: part if len(part) else provenance.NONE for name, part in splits.items()}
    return {
        "data": {"fingerprint": data},
        "settings": dict(PLAIN),
        "examples": provenance.encode(splits),
        **fields,
    }


def clean():
    """Return the record of a training run on the same splits."""
    return record(*NOW.values())


def begun_with(other):
    """Return the record of a training run on the same splits, initialized from another model."""
    child = clean()
    provenance.inherit(child, "other", other)
    return child


def combined(*records, fitted=provenance.NONE):
    """Return the record of an ensemble."""
    named = [(f"member {i}", member) for i, member in enumerate(records)]
    fields = provenance.merged(fitted, named, NOW, {"fingerprint": "a" * 16}, PLAIN)
    return {"data": {"fingerprint": "a" * 16}, "settings": dict(PLAIN), **fields}


OTHER_FOLD = record(rows(*range(20, 80)), rows(*range(20)), NOW["test"])
SAW_TEST = record(rows(*range(80, 99)))
WITHOUT = {"data": {"fingerprint": "f" * 16}, "settings": dict(PLAIN)}
FITTED = combined(clean(), clean(), fitted=NOW["validation"])
OLD = {"data": {"fingerprint": "a" * 16}, "settings": dict(PLAIN)}
REFUSED, JUDGED, UNKNOWN, CLEAN = "refused", "judged", "unknown", "clean"

ROUTES = {
    "the same splits": (clean(), CLEAN),
    "other data": (record(rows(*range(200, 260))), CLEAN),
    "another fold": (OTHER_FOLD, REFUSED),
    "trained on what is the test": (SAW_TEST, JUDGED),
    "data of another fingerprint, one row more": (
        record(rows(*range(1, 81)), data="b" * 16),
        REFUSED,
    ),
    "one renamed or reordered copy": (record(rows(79, 5, 3), data="c" * 16), REFUSED),
    "begun with a model of another fold": (begun_with(OTHER_FOLD), REFUSED),
    "begun with a model that saw the test": (begun_with(SAW_TEST), JUDGED),
    "begun with a model without a record": (begun_with({}), UNKNOWN),
    "begun with an old run of the same splits": (begun_with(OLD), CLEAN),
    "an ensemble fitted to validation": (FITTED, REFUSED),
    "a student of an ensemble fitted to validation": (begun_with(FITTED), REFUSED),
    "a student of its student": (begun_with(begun_with(FITTED)), REFUSED),
    "an average of members of two folds": (combined(clean(), OTHER_FOLD), REFUSED),
    "an average of averages": (combined(combined(clean(), OTHER_FOLD), clean()), REFUSED),
    "an average of clean members": (combined(clean(), clean()), CLEAN),
    "an average with a member without a record": (combined(clean(), WITHOUT), UNKNOWN),
    "a student of that": (begun_with(combined(clean(), WITHOUT)), UNKNOWN),
    "an average of old runs, fitted": (combined({**OLD, "fitted": "validation"}), REFUSED),
    "an old run, cut alike": (OLD, CLEAN),
    "an old run of another fold": ({**OLD, "settings": {"fold": [1, 5]}}, REFUSED),
    "an old ensemble that was fitted": ({**OLD, "fitted": "validation"}, REFUSED),
    "no record": ({}, UNKNOWN),
    "a record that is damaged": ({**OLD, "examples": {"train": "%%%"}}, CLEAN),
}


def outcome(member, now=NOW):
    """Return the first outcome that applies to a member."""
    named = types.SimpleNamespace(name="it", record=member)
    refusals, warnings = members_provenance.leakage([named], {"fingerprint": "a" * 16}, PLAIN, now)
    if refusals:
        return REFUSED
    if any("test split" in text for text in warnings):
        return JUDGED
    return UNKNOWN if warnings else CLEAN


@pytest.mark.parametrize("route", ROUTES)
def test_routes(route):
    member, expected = ROUTES[route]
    assert outcome(member) == expected


def test_pieces_of_one_example_are_compared_by_how_they_are_cut():
    now = {
        "train": pieces(1, 7, 0, 1),
        "validation": pieces(1, 7, 2, 3),
        "test": pieces(1, 7, 4, 5),
    }
    assert outcome(record(*now.values()), now) == CLEAN
    assert outcome(record(pieces(1, 7, 1, 2)), now) == REFUSED  # another fold
    assert outcome(record(pieces(1, 9, 0)), now) == REFUSED  # tiles of another size
    assert outcome(record(rows(1)), now) == REFUSED  # the whole
    assert outcome(record(pieces(2, 7, 2)), now) == CLEAN  # another image


def test_a_few_copies_within_the_data_are_warned_of_and_foreign_ones_refused():
    now = {**NOW, "validation": rows(0, *range(60, 80))}  # 1 of 21 is in the training, too
    assert (
        outcome(record(*now.values()), now) == UNKNOWN
    )  # a warning that is not about the test split
    assert outcome(record(rows(*range(60), 61)), now) == REFUSED
    now["validation"] = rows(0, 1, *range(60, 80))
    assert outcome(record(*now.values()), now) == REFUSED


def test_what_a_start_or_a_teacher_knows_is_told_and_noted():
    made = clean()
    (note,) = provenance.inherit(made, "other", SAW_TEST)
    assert note.startswith("other was trained on 19 of the 19 examples of the test split")
    assert made["notes"] == [note]
    (note,) = provenance.inherit(made, "weights", {})
    assert "Nobody can tell" in note and made["unknown"] == ["weights"]
    provenance.inherit(made, "more", {})
    assert made["unknown"] == ["weights", "more"]


def test_records_are_small_and_come_back():
    encoded = provenance.encode({"train": np.concatenate([rows(5, 2**63), pieces(3, 7, 1)])})
    assert len(encoded["train"]) <= 2 * 11 + 2
    back = provenance.decode({"examples": encoded})
    assert back.tolist() == [[5, 0], [2**63, 0], [3, 7 << 32 | 1]]
    assert provenance.decode({}) is None and provenance.decode({"examples": 3}) is None


def test_digests_are_of_values():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    known = hashed.digest(image)
    for same in (image.copy(), image.astype(float), image[None], np.asfortranarray(image)):
        assert hashed.digest(same) == known
    cloud = rng.normal(size=(300, 3)).astype(np.float32)
    assert hashed.digest(cloud) == hashed.digest(cloud.astype(np.float64))
    others = {known, hashed.digest(cloud), hashed.digest(image.reshape(50, 40, 3))}
    others |= {hashed.digest(np.zeros((0, 3))), hashed.digest(image[..., 0] / 255)}
    for place in (0, 7, 3000, 5999):
        changed = image.copy()
        changed.flat[place] ^= 1
        others.add(hashed.digest(changed))
    dots = np.zeros((256, 256), np.uint8)  # more than a row of words
    for place in range(0, 65536, 777):
        dots.flat[[place - 1, place]] = 0, 255
        others.add(hashed.digest(dots))
        dots.flat[place] = 0
    assert len(others) == 5 + 4 + len(range(0, 65536, 777))


def prepared(splits, **more):
    """Prepare vectors {split: {name: numbers}}; return the facts."""

    def read(item):
        return {"value": np.asarray(item[1], np.float32), "label": 0}

    parts = {s: Examples.of(list(p.items()), read, lambda item: item[0]) for s, p in splits.items()}
    settings = dict(
        measure=lambda examples: {},
        cut=lambda example: [example],
        prepare=lambda piece, constants: (piece["value"], np.int32(0)),
        fields=("value", "label"),
        key="toy",
    )
    digest = f"{hash(str(splits)) & 0xFFFFFFFF:016x}"
    return pipeline.prepare(Source("toy", digest, ("a",), parts), **{**settings, **more})[1]


def vectors(first, last):
    """Return vectors by name."""
    return {f"{i}.png": [i, i + 0.5] for i in range(first, last)}


def test_duplicates_across_splits_are_told_with_numbers_and_names():
    clean = {"train": vectors(0, 30), "test": vectors(50, 60)}
    assert prepared(clean)["duplicates"] == []
    copied = {"train": vectors(0, 30), "validation": vectors(30, 36), "test": {}}
    copied["test"] = {f"copy of {name}": value for name, value in vectors(10, 30).items()}
    (warning,) = prepared(copied)["duplicates"]
    assert warning.startswith("Duplicates: 20 of 20 examples of the test split are also in the")
    assert "10.png = copy of 10.png" in warning and "..." in warning
    twice = {**vectors(0, 30), "again.png": [3, 3.5]}
    (warning,) = prepared({"train": twice, "test": vectors(50, 60)}, validate=(1, 31))["duplicates"]
    assert "3.png = again.png" in warning


def test_examples_are_the_same_by_another_name_and_in_another_order():
    first = prepared({"train": vectors(0, 30), "test": vectors(50, 60)})["examples"]
    again = {f"new {name}": value for name, value in reversed(vectors(0, 30).items())}
    again = prepared({"train": again, "test": vectors(50, 60)})["examples"]
    everything = [np.concatenate([part["train"], part["validation"]]) for part in (first, again)]
    assert set(everything[0][:, 0].tolist()) == set(everything[1][:, 0].tolist())
    assert first["test"].tolist() == again["test"].tolist()


def test_tiles_of_one_image_are_pieces():
    def cut(example):
        return [{**example, "block": block} for block in range(20)]

    made = prepared({"train": vectors(1, 2)}, cut=cut)["examples"]
    assert [len(made[split]) for split in ("train", "validation", "test")] == [14, 3, 3]
    other = prepared({"train": vectors(1, 2)}, cut=cut, key="larger tiles")["examples"]
    assert not provenance.overlap(made["validation"], made["train"]).any()
    assert provenance.overlap(made["validation"], other["train"]).all()


def test_stretches_of_a_series_know_what_was_seen_when_rows_are_added():
    def held(values, parts=(0.7, 0.15, 0.15)):
        groups = np.zeros((len(values), 3), np.int64)
        stored = {"train": ({"x": values}, groups)}
        how = dict(window=8, horizon=4)
        cut = windows.split(stored, **how, targets=1, parts=parts, stride=1)
        hashes = {"train": np.array(hashed.of_steps(values), np.uint64)}
        return hashed.segments(cut, stored, hashes, **how)

    values = np.random.default_rng(0).normal(size=(800, 2)).astype(np.float32)
    whole, begun = held(values), held(values[:640])
    assert len(whole["train"]) == 35 and 5 <= len(whole["test"]) <= 8
    for split in ("validation", "test"):
        assert not provenance.overlap(whole[split], whole["train"]).any()
    assert provenance.overlap(begun["validation"], whole["train"]).any()
    assert provenance.overlap(begun["test"], np.concatenate(list(whole.values()))).all()
    assert hashed.of_steps(np.ones((40, 2))) == [0, 0, 0]
