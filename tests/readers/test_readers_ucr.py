"""Problems of the UCR and UEA archives are read as written, and their faults are named."""

import os
import pathlib
import random
import time

import numpy as np
import pytest

from datasets.readers import read, suited
from datasets.readers.series import sequences, ucr
from datasets.source import BadInput
from tests.readers.test_readers_fuzz import damage

KIND = "sequence_classification"
HEADER = """# a comment
@problemName Walk
@timeStamps false
@missing false
@univariate false
@dimensions 2
@equalLength true
@seriesLength 3
@classLabel true 2 slow

# another
@data
"""
LINES = "1,2,3:4,5,6:2\n-1,.5,1e3:7,?,9:slow\n0,0,0:1,1,1:2\n"
FREE = HEADER.replace("@equalLength true\n@seriesLength 3\n", "@equalLength false\n")


def put(path, header=HEADER, lines=LINES):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + lines)
    return path


def examples(source, split="train"):
    return [(example.name, example.read()) for example in source.splits[split]]


def refused(path, *words):
    with pytest.raises(BadInput) as caught:
        for some in read(path, KIND).splits.values():
            for example in some:
                example.read()
    for word in words:
        assert str(word) in str(caught.value), caught.value


def test_a_file_is_read_as_written(tmp_path):
    source = read(put(tmp_path / "Walk.ts"), KIND)
    assert (source.name, source.classes, set(source.splits)) == ("Walk", ("2", "slow"), {"train"})
    (name, first), (_, second), (_, third) = examples(source)
    assert name == "Walk.ts#0" and set(first) == {"series", "label"}
    assert first["series"].dtype == np.float32 and type(first["label"]) is int
    np.testing.assert_array_equal(first["series"], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(second["series"], [[-1, 7], [0.5, np.nan], [1000, 9]])
    assert [example["label"] for example in (first, second, third)] == [0, 1, 0]


@pytest.mark.parametrize("give", ["", "Walk_TRAIN.ts", "Walk_TEST.ts"])
def test_the_partner_of_a_file_is_found(give, tmp_path):
    put(tmp_path / "my" / "Walk_TRAIN.ts")
    put(tmp_path / "my" / "Walk_TEST.ts", HEADER.replace("2 slow", "slow 2"), "1,1,1:1,1,1:slow\n")
    (tmp_path / "my" / "Walk.txt").touch()
    source = read(tmp_path / "my" / give, KIND)
    assert {split: len(some) for split, some in source.splits.items()} == {"train": 3, "test": 1}
    assert source.name == "Walk" and examples(source, "test")[0][1]["label"] == 1
    before = source.fingerprint
    put(tmp_path / "my" / "Walk_TEST.ts", lines="1,1,2:1,1,1:slow\n")
    assert read(tmp_path / "my" / give, KIND).fingerprint != before


def test_a_file_without_its_partner_is_for_training(tmp_path):
    source = read(put(tmp_path / "Walk_TEST.ts"), KIND)
    assert set(source.splits) == {"train"} and source.name == "Walk"
    put(tmp_path / "Walk.ts", lines=LINES * 2)
    assert len(read(tmp_path / "Walk_TEST.ts", KIND).splits["train"]) == 3
    assert len(read(tmp_path / "Walk.ts", KIND).splits["train"]) == 6


def test_series_may_differ_in_length(tmp_path):
    lines = "1,2:3,4:2\n1,2,3,4:5,6,7,8:slow\n"
    pairs = examples(read(put(tmp_path / "a.ts", FREE, lines), KIND))
    assert [item["series"].shape for _, item in pairs] == [(2, 2), (4, 2)]


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace("\n", "\r\n"),
        HEADER.upper().replace("2 SLOW", "2 slow"),
        HEADER.replace("@dimensions 2\n", ""),
        HEADER.replace("@dimensions", "@dimension"),
        HEADER.replace("@seriesLength 3\n", ""),
        HEADER.replace("@missing false\n", "@targetLabel false\n"),
        "\ufeff" + HEADER,
        HEADER.replace("a comment", "café"),
    ],
)
def test_headers_that_say_the_same(header, tmp_path):
    wanted = examples(read(put(tmp_path / "a.ts"), KIND))
    (tmp_path / "a.ts").write_bytes((header + LINES).encode())
    for (_, first), (_, second) in zip(
        examples(read(tmp_path / "a.ts", KIND)), wanted, strict=True
    ):
        np.testing.assert_array_equal(first["series"], second["series"])
    (tmp_path / "a.ts").write_bytes((header.lstrip("\ufeff") + LINES).encode("latin-1"))
    assert len(examples(read(tmp_path / "a.ts", KIND))) == 3


def test_one_dimension_is_the_simplest(tmp_path):
    header = "@univariate true\n@classLabel true 1 2\n@data\n"
    ((_, first), _) = examples(read(put(tmp_path / "a.ts", header, "1,2:1\n3,4,5:2\n"), KIND))
    np.testing.assert_array_equal(first["series"], [[1], [2]])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("4,5,6:2", "4,5,6:3", ["line 13", "class '3'", "2, slow"]),
        ("4,5,6:2", "4,5,6", ["line 13 has 1 dimensions, not 2", "class"]),
        ("1,2,3:", "1,2,3:1,2,3:", ["line 13 has 3 dimensions, not 2"]),
        ("1,2,3:", "", ["line 13 has 1 dimensions, not 2"]),
        ("1,2,3:4,5,6", "1,2:4,5", ["line 13 has 2 values in dimension 1, not 3", "@equalLength"]),
        ("1,2,3:4,5,6", "1,2,3:4,5", ["line 13 has 2 values in dimension 2, not 3"]),
        ("1,2,3", "1,two,3", ["line 13: 'two' is not a number", '"?"']),
        ("1,2,3", "1,,3", ["line 13: a value is missing"]),
        ("1,2,3", "1,2_0,3", ["line 13: '2_0'"]),
        ("1,2,3", "1,inf,3", ["line 13: 'inf' is not a number"]),
        ("1,2,3", "1,1e99,3", ["line 13", "1e+99", "float32"]),
        ("@data", "", ["no line @data"]),
        (LINES, "", ["no series follows"]),
        ("@timeStamps false", "@timeStamps true", ["have times", "@timeStamps false"]),
        ("@classLabel true 2 slow", "@classLabel false", ["no classes"]),
        ("@classLabel true 2 slow", "@targetLabel true", ["regression targets", "@classLabel"]),
        ("@classLabel true 2 slow\n", "", ["no line @classLabel"]),
        ("@classLabel true 2 slow", "@classLabel true 2", ["declares 2"]),
        ("@classLabel true 2 slow", "@classLabel true 2 2", ["declares 2, 2"]),
        ("@classLabel true", "@classLabel", ["line 9", "neither true nor false"]),
        ("@missing false", "@missing no", ["line 4", "neither true nor false"]),
        (
            "@dimensions 2",
            "@dimensions two",
            ["line 6", "'@dimensions two' is not a positive integer"],
        ),
        ("@dimensions 2", "@dimensoins 2", ["line 6", "not a header line", "@dimensions"]),
    ],
)
def test_faults_are_named(old, new, words, tmp_path):
    put(tmp_path / "my.ts").write_text((HEADER + LINES).replace(old, new))
    refused(tmp_path / "my.ts", "my.ts", *words)


def test_equal_length_without_its_number_is_that_of_the_first(tmp_path):
    header = HEADER.replace("@seriesLength 3\n", "")
    refused(
        put(tmp_path / "a.ts", header, "1,2:1,2:2\n1:2:slow\n"), "line 13 has 1 values", "not 2"
    )


def test_faults_of_two_files_are_named(tmp_path):
    put(tmp_path / "X_TRAIN.ts")
    put(tmp_path / "X_TEST.ts", HEADER.replace("2 slow", "2 fast"))
    refused(tmp_path, "X_TEST.ts", "'fast'", "X_TRAIN.ts")
    put(tmp_path / "X_TEST.ts", HEADER.replace("@dimensions 2", "@dimensions 3"))
    refused(tmp_path, "X_TEST.ts", "3 dimensions", "X_TRAIN.ts have 2")
    put(tmp_path / "X.ts")
    refused(tmp_path, "X.ts", "in no split")
    put(tmp_path / "Y_TRAIN.ts")
    refused(tmp_path, "several data sets: X, Y", "Give one of the files")


def test_a_bad_line_is_found_when_it_is_read_and_not_before(tmp_path):
    put(tmp_path / "a.ts", lines=LINES + "1,2:3,x:2\n")
    *good, bad = read(tmp_path / "a.ts", KIND).splits["train"]
    assert len([example.read() for example in good]) == 3
    with pytest.raises(BadInput, match="line 16"):
        bad.read()


@pytest.mark.parametrize("content", [b"", b"\0\1\2", b"\x89PNG\r\n\x1a\n", b"a,b\n1,2\n"])
def test_what_is_no_such_file_is_refused(content, tmp_path):
    (tmp_path / "a.ts").write_bytes(content)
    refused(tmp_path / "a.ts", "a.ts")


def test_each_line_can_be_predicted(tmp_path):
    put(tmp_path / "b" / "X_TEST.ts")
    (tmp_path / "b" / "1.csv").write_text("x,y\n1,2\n3,4\n")
    unlabelled = HEADER.replace("true 2 slow", "false")
    put(tmp_path / "new.ts", unlabelled, "1,2,3:4,5,6\n")
    paths = ucr.find([tmp_path / "b", tmp_path / "new.ts"])
    assert [path.name for path in paths] == [
        "1.csv", "X_TEST.ts#0", "X_TEST.ts#1", "X_TEST.ts#2", "new.ts#0",
    ]  # fmt: skip
    series = [ucr.read_example(path)["series"] for path in paths]
    assert [example.shape for example in series] == [(2, 2), (3, 2), (3, 2), (3, 2), (3, 2)]
    np.testing.assert_array_equal(series[1], series[4])
    put(tmp_path / "new.ts", unlabelled, "1,2,3:4,5,7\n")
    os.utime(tmp_path / "new.ts", (1, 1))
    assert ucr.read_example(paths[4])["series"][2, 1] == 7
    (tmp_path / "void").mkdir(), (tmp_path / "b" / "a.md").touch()
    for name, reason in [
        ("void", "no series"),
        ("x.ts", "no such"),
        ("b/a.md", "not a time series"),
    ]:
        with pytest.raises(BadInput, match=reason):
            ucr.find([tmp_path / name])
    with pytest.raises(BadInput, match="not a format of one series"):
        sequences.read_example(tmp_path / "b" / "a.md")


def test_damaged_files_are_refused_or_read_soundly(tmp_path):
    rows = [f"{i},{i / 3},-{i}:{i},?,{i}.5:{'2' if i % 2 else 'slow'}\n" for i in range(20)]
    raw = put(tmp_path / "a.ts", lines="".join(rows)).read_bytes()
    valid = [item for _, item in examples(read(tmp_path / "a.ts", KIND))]
    rng, refusals = random.Random(0), 0
    for _ in range(400):
        content, cut = damage(raw, rng)
        (tmp_path / "a.ts").write_bytes(content)
        try:
            source = read(tmp_path / "a.ts", KIND)
        except BadInput as error:
            assert "a.ts" in str(error)
            refusals += 1
            continue
        for number, item in enumerate(source.splits["train"]):
            try:
                example = item.read()
            except BadInput as error:
                assert "line" in str(error)
                refusals += 1
                continue
            assert example["series"].dtype == np.float32 and example["series"].ndim == 2
            assert not np.isinf(example["series"]).any() and len(example["series"])
            assert 0 <= example["label"] < len(source.classes)
            if cut:  # a line that lost its end is refused, unless a class has the name of its rest
                np.testing.assert_array_equal(example["series"], valid[number]["series"])
    assert refusals > 100


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
@pytest.mark.parametrize(
    ("name", "sizes", "lengths", "features", "classes"),
    [
        ("GunPoint", (50, 150), (150, 150), 1, 2),
        ("ItalyPowerDemand", (67, 1029), (24, 24), 1, 2),
        ("OSULeaf", (200, 242), (427, 427), 1, 6),
        ("BasicMotions", (40, 40), (100, 100), 6, 4),
        ("JapaneseVowels", (270, 370), (7, 29), 12, 9),
    ],
)
def test_real_problems(name, sizes, lengths, features, classes):
    path, start = pathlib.Path(os.environ["ZOO_DATA"]) / "ucr" / name, time.process_time()
    source = read(path, KIND)
    by_split = {split: [e for _, e in examples(source, split)] for split in ("train", "test")}
    assert time.process_time() - start < 2  # seconds; a tenth of it on an idle machine
    assert (len(by_split["train"]), len(by_split["test"])) == sizes and len(
        source.classes
    ) == classes
    both = by_split["train"] + by_split["test"]
    shapes = {item["series"].shape for item in both}
    assert {shape[1] for shape in shapes} == {features}
    assert (min(shapes)[0], max(shapes)[0]) == lengths
    assert all(np.isfinite(item["series"]).all() for item in both)
    for some in by_split.values():
        assert {item["label"] for item in some} == set(range(classes))
    assert source.name == name


# The archive's tables: a series a row, its class first


def table(labels, separator="\t", steps=5):
    rows = ([label, *map(str, np.arange(steps) / 4 + i)] for i, label in enumerate(labels))
    return "".join(separator.join(row) + "\n" for row in rows)


@pytest.mark.parametrize("ending", [".tsv", ".txt", ".csv"])
def test_tables_of_the_archive_are_classes_and_not_one_series(ending, tmp_path):
    separator = {".tsv": "\t", ".txt": "  ", ".csv": ","}[ending]
    labels = ["-1", "10", "2", "2"] if ending != ".txt" else [f"{i:.7e}" for i in (-1, 10, 2, 2)]
    for part in ("TRAIN", "TEST"):
        text = table(labels, separator).replace("1.5", "NaN", 1)
        (tmp_path / f"Walk_{part}{ending}").write_text(text.replace("\n", f"{separator}NaN\n", 1))
    for give in (tmp_path, tmp_path / f"Walk_TEST{ending}"):
        assert suited(give, ("forecasting", KIND)) == KIND
        source = read(give, KIND)
        assert source.classes == ("-1", "2", "10") and source.name == "Walk"
        assert {split: len(some) for split, some in source.splits.items()} == dict(train=4, test=4)
    (name, first), (_, second), *_ = examples(source)
    assert name == f"Walk_TRAIN{ending}#0" and [first["label"], second["label"]] == [0, 2]
    np.testing.assert_array_equal(first["series"], np.arange(5, dtype=np.float32)[:, None] / 4)
    assert np.isnan(second["series"]).sum() == 1
    with pytest.raises(BadInput, match="it can be read for .*sequence_classification"):
        read(tmp_path, "forecasting")
    paths = ucr.find([tmp_path / f"Walk_TEST{ending}"])
    assert len(paths) == 4 and ucr.read_example(paths[0])["series"].shape == (5, 1)


def test_one_format_of_a_problem_is_read_and_the_others_are_told(tmp_path):
    for part in ("TRAIN", "TEST"):
        put(tmp_path / f"Walk_{part}.ts")
        (tmp_path / f"Walk_{part}.arff").write_text("@relation Walk")
        (tmp_path / f"Walk_{part}.tsv").write_text(table("1122"))
    assert suited(tmp_path, ("forecasting", KIND)) == KIND
    source = read(tmp_path, KIND)
    assert source.classes == ("2", "slow")
    (note,) = source.info["notes"]
    assert note.startswith("Walk_TRAIN.ts and Walk_TEST.ts are read, but not")
    assert "Walk_TRAIN.arff" in note and "Walk_TEST.tsv" in note
    assert read(tmp_path / "Walk_TRAIN.tsv", KIND).classes == ("1", "2")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("load_train.csv", "0,1,2,3\n1,5,6,7\n2,8,9,1\n"),  # rows are counted
        ("load_train.csv", "date,a,b,c\n1,5,6,7\n1,8,9,1\n"),
        ("load_train.csv", "1,5\n1,8\n2,8\n"),  # two columns
        ("load.csv", "1,5,6,7\n1,8,9,1\n2,8,9,1\n"),
        ("load_train.csv", "0.5,5,6,7\n0.5,8,9,1\n2,8,9,1\n"),
    ],
)
def test_tables_of_measurements_are_no_problem_of_the_archive(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert suited(tmp_path / name, (KIND, "forecasting")) == "forecasting"


def test_faults_of_such_a_table_are_named(tmp_path):
    (tmp_path / "a_TRAIN.tsv").write_text(table("1122").replace("1.25", "x"))
    refused(
        tmp_path / "a_TRAIN.tsv", "a_TRAIN.tsv", "line 2", "'x' is not a number", "first the class"
    )
    (tmp_path / "a_TRAIN.tsv").write_text(table("1122"))
    (tmp_path / "a_TEST.tsv").write_text(table("1133"))
    refused(tmp_path, "a_TEST.tsv", "'3'", "a_TRAIN.tsv does not")
    (tmp_path / "a_TEST.tsv").write_text(table("11") + "1\t1e99\t1\t1\n")
    refused(tmp_path, "a_TEST.tsv: line 3", "too large")
