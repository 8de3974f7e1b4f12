"""Tables and arrays of series are read as they were written, and what is wrong with one is said."""

import gzip
import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from datasets.readers import FILES, LAYOUTS, read, series
from datasets.source import BadInput
from tests.readers import test_readers_fuzz

ROOT = pathlib.Path(__file__).parents[2]
FORECAST, CLASSIFY = "forecasting", "sequence_classification"
DAY = 86_400 * 10**9
PLAIN = "date,load,heat\n2020-01-01,1,4\n2020-01-02,2.5,5\n2020-01-03,3,6\n"
QUOTED = "\n".join(",".join(f'"{word}"' for word in line.split(",")) for line in PLAIN.split())
COUNTED = "".join(f"{i - 1 if i else ''},{line}\n" for i, line in enumerate(PLAIN.split()))


def put(path, text=PLAIN):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def example(path, text=PLAIN):
    return series.read_example(put(path, text))


def refused(path, *words, kind=FORECAST):
    with pytest.raises(BadInput) as caught:
        for some in read(path, kind).splits.values():
            for example in some:
                example.read()
    for word in words:
        assert str(word) in str(caught.value), caught.value
    return caught.value


def days(*numbers):
    start = np.datetime64("2020-01-01", "ns").astype(np.int64)
    return start + DAY * np.array(numbers)


def test_a_table_is_an_example(tmp_path):
    source = read(put(tmp_path / "my load.csv", PLAIN), FORECAST)
    assert (source.name, source.classes, source.options) == ("my_load", (), {})
    assert source.info.keys() == {"layout"}
    (item,) = source.splits["train"]
    example = item.read()
    assert item.name == "my load.csv"
    assert list(example) == ["values", "columns", "times", "time_columns"]
    np.testing.assert_array_equal(example["values"], [[1, 4], [2.5, 5], [3, 6]])
    assert example["values"].dtype == np.float64 and example["times"].dtype == np.int64
    assert example["columns"].tolist() == ["load", "heat"]
    assert example["time_columns"].tolist() == ["date"]
    np.testing.assert_array_equal(example["times"], days(0, 1, 2)[:, None])
    before = source.fingerprint
    put(tmp_path / "my load.csv", PLAIN + "2020-01-04,1,1\n")
    assert read(tmp_path / "my load.csv", FORECAST).fingerprint != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", PLAIN.replace(",", "\t")),
        ("a.csv", PLAIN.replace(",", ";")),
        ("a.CSV", PLAIN.replace(",", ";").replace("2.5", "2,5")),
        ("a.txt", PLAIN.replace(",", "\t").replace("2.5", "2,5")),
        ("a.csv", "\ufeff" + PLAIN),
        ("a.csv", PLAIN.replace("\n", "\r\n")),
        ("a.csv", PLAIN.replace("\n", "\r")),
        ("a.csv", PLAIN.replace("\n", "\n\n")),
        ("a.csv", PLAIN.replace(",", " , ")),
        ("a.csv", QUOTED),
        ("a.csv", PLAIN.replace("\n", ",\n")),
        ("a.csv", PLAIN.replace("\n", ",\n").replace(",\n", "\n", 1)),
        ("a.csv", PLAIN.replace("\n", ",\n", 1)),
        ("a.csv", COUNTED),
        ("a.csv", PLAIN.encode("utf-16")),
        ("a.csv", "\ufeff".encode("utf-16-be") + PLAIN.encode("utf-16-be")),
        ("a.csv", PLAIN.replace("\n", "\n-,kW,\u00b0C\n", 1)),
        ("a.csv", PLAIN.replace("\n", "\n,[kW],[K]\n", 1).replace("2.5", " 2.5 ")),
        (
            "a.csv",
            PLAIN.replace("2.5", "2.50 kW").replace(",1,", ",1 kW,").replace(",3,", ",3 kW,"),
        ),
        ("a.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
        ("a.TSV.GZ", gzip.compress(PLAIN.replace(",", "\t").encode(), mtime=0)),
    ],
)
def test_however_a_table_is_written_it_says_the_same(name, text, tmp_path):
    result, wanted = example(tmp_path / name, text), example(tmp_path / "plain.csv")
    for key, array in wanted.items():
        np.testing.assert_array_equal(result[key], array)


@pytest.mark.parametrize("missing", ["", "?", "n/a", "-", "NULL", "NaN", "nan", " ? ", "None"])
@pytest.mark.parametrize("column", [0, 1])
def test_words_for_what_is_missing(missing, column, tmp_path):
    rows = [["1.5", "7"], ["2.5", "8"], ["3.5", "9"]]
    rows[1][column] = missing
    text = "a,b\n" + "".join(",".join(row) + "\n" for row in rows)
    wanted = np.array([[1.5, 7], [2.5, 8], [3.5, 9]])
    wanted[1, column] = np.nan
    np.testing.assert_array_equal(example(tmp_path / "a.csv", text)["values"], wanted)


def test_an_empty_line_of_a_single_column_is_a_missing_value(tmp_path):
    result = example(tmp_path / "a.csv", "x\n1\n\n3\n4\n\n")["values"]
    np.testing.assert_array_equal(result[:, 0], [1, np.nan, 3, 4])


def test_numbers_of_any_kind_are_read_exactly(tmp_path):
    words = ["0.1", "-1e-3", "+7", ".5", "3.", "123456789.123456789", "18446744073709551616"]
    result = example(tmp_path / "a.csv", "x\n" + "\n".join(words))["values"][:, 0]
    assert result.tolist() == [float(word) for word in words]
    result = example(tmp_path / "a.csv", "x,y\nTrue,1\n,2\nFalse,3\n")["values"]
    np.testing.assert_array_equal(result[:, 0], [1, np.nan, 0])


@pytest.mark.parametrize("form", ["1,234;5", "1.5;2,5"])
def test_numbers_with_other_marks_are_refused(form, tmp_path):
    refused(
        put(tmp_path / "a.csv", f"x;y\n{form}\n{form}\n{form}\n"), "a.csv", "not a number", "point"
    )


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["1.234,5", "950", "2.000,25"], [1234.5, 950, 2000.25]),
        (["1.234.567", "950", "1.000"], [1234567, 950, 1000]),
        (["1,234.5", "950", "2,000"], [1234.5, 950, 2000]),
        (["1 234,5", "950", "-2 000"], [1234.5, 950, -2000]),
        (["1\u00a0234", "950,5", ""], [1234, 950.5, np.nan]),
        (["1\u202f234.5", "0.5", "7"], [1234.5, 0.5, 7]),
        (["1'234.5", "12", "7"], [1234.5, 12, 7]),
        (["0.950", "1.050", "2.000"], [0.95, 1.05, 2]),
        (["0.5", "950", "1.05"], [0.5, 950, 1.05]),
        (["1.050", "1050", "950"], [1.05, 1050, 950]),
        (["1500 kW", "1.5kW", "-2 kW"], [1500, 1.5, -2]),
        (["5 %", "12 %", ""], [5, 12, np.nan]),
        (["$5", "-$1,200.50", "$7"], [5, -1200.5, 7]),
        (["1.200,50 \u20ac", "3,00 \u20ac", "7,00 \u20ac"], [1200.5, 3, 7]),
    ],
)
def test_thousands_and_units_are_read_where_one_of_them_leaves_no_doubt(words, wanted, tmp_path):
    text = "d;x\n" + "".join(f"2020-01-0{i};{word}\n" for i, word in enumerate(words, 1))
    np.testing.assert_array_equal(example(tmp_path / "a.csv", text)["values"][:, 0], wanted)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["1.050", "950", "2.000"], ["line 2", "'1.050' may be a fraction or thousands", "'950'"]),
        (["999", "", "1.312"], ["line 4", "'1.312'", "Write 1312", "999.000"]),
        (["5 kW"] * 10 + ["?", "off"], ["line 13", "'off' is not a number in kW"]),
        (["1e300", "2", "3"], ["line 2", "1e+300 is too large for float32"]),
    ],
)
def test_numbers_that_may_mean_two_things_are_refused(words, named, tmp_path):
    text = "n;x\n" + "".join(f"{i}.5;{word}\n" for i, word in enumerate(words, 1))
    refused(put(tmp_path / "a.csv", text), "column 'x'", *named)


def test_three_decimals_everywhere_are_noted(tmp_path):
    text = "n;x\n" + "".join(f"{i};{word}\n" for i, word in enumerate(["1.050", "-20.500", ""]))
    example, notes = noted(tmp_path / "a.csv", text)
    np.testing.assert_array_equal(example["values"][:, 1], [1.05, -20.5, np.nan])
    assert "column 'x' has three decimals" in notes and "1.050 means thousands" in notes
    _, notes = noted(tmp_path / "a.csv", text.replace("20.500", "0.500"))
    assert "three decimals" not in notes


def noted(path, text):
    source = read(put(path, text), FORECAST)
    (example,) = source.splits["train"]
    return example.read(), " ".join(source.info.get("notes", []))


@pytest.mark.parametrize(
    ("name", "words", "note"),
    [
        ("any", ["2020-01-01 00:00:00 UTC", "2020-01-02 00:00 UTC", "2020-01-03 UTC"], ""),
        ("any", ["2020-01-01 00:00:00 +0000", "2020-01-02 01:00:00 +0100", "2020-01-03Z"], ""),
        ("timestamp", ["1577836800.0", "1577923200.0", "1578009600.0"], "seconds since 1970"),
        ("t", ["1577836800", "1577923200", "1578009600"], "seconds since 1970"),
        ("Date", ["43831", "43832", "43833"], "Excel days"),
        ("ts", ["43831.0", "43832.00000", "43833.00000001"], "Excel days"),
    ],
)
def test_times_of_all_kinds_are_times(name, words, note, tmp_path):
    text = f"{name},x\n" + "".join(f"{word},{i}.5\n" for i, word in enumerate(words))
    example, notes = noted(tmp_path / "a.csv", text)
    assert example["columns"].tolist() == ["x"] and note in notes
    np.testing.assert_array_equal(example["times"][:, 0], days(0, 1, 2))


def test_quarters_and_parts_of_seconds_are_times(tmp_path):
    result = example(tmp_path / "a.csv", "q,x\n2020Q1,1\n2020-Q2,2\n2020 q3,4\n")
    wanted = np.array(["2020-01", "2020-04", "2020-07"], "datetime64[M]").astype("datetime64[ns]")
    np.testing.assert_array_equal(result["times"][:, 0], wanted.astype(np.int64))
    result = example(tmp_path / "a.csv", "time,x\n1577836800.25,1\n1577836800.5,2\n1577836801,4\n")
    assert (result["times"][:, 0] - days(0)[0]).tolist() == [25 * 10**7, 5 * 10**8, 10**9]


def test_times_without_a_date_are_not_forecast_and_missing_dates_are_named(tmp_path):
    example, notes = noted(tmp_path / "a.csv", "time,x\n0,5\n0.1,4\n0.2,7\n")
    assert example["columns"].tolist() == ["x"] and "'time'" in notes and "not forecast" in notes
    example, notes = noted(tmp_path / "a.csv", "time,x\n3,5\n0.1,4\n0.2,7\n")  # a measurement
    assert example["columns"].tolist() == ["time", "x"] and not notes
    example, notes = noted(
        tmp_path / "a.csv", "count,x\n1577836800,5\n1577836999,4\n1578009600,7\n"
    )
    assert example["columns"].tolist() == ["count", "x"] and not notes
    text = "timestamp,x\n1577836800,5\n,4\n1578009600,7\n"
    refused(put(tmp_path / "a.csv", text), "line 3", "the date is missing")


def test_what_is_decided_about_a_text_is_noted(tmp_path):
    example, notes = noted(
        tmp_path / "a.csv", "Gr\u00f6\u00dfe,b\n1,2\n3,4\n5,9\n".encode("cp1252")
    )
    assert example["columns"].tolist() == ["Gr\u00f6\u00dfe", "b"] and "Windows-1252" in notes
    _, notes = noted(tmp_path / "a.csv", "a,b\n-,kW\n1,2\n3,4\n5,9\n")
    assert "line 2 has no values, and is read as units: 'b' in kW" in notes
    _, notes = noted(tmp_path / "a.csv", "a,b\n1,2 m\n3,4 m\n5,9 m\n")
    assert notes == "a.csv: column 'b' is read as numbers in m"
    refused(put(tmp_path / "a.csv", "a,b\n1,2,\n3,4,5\n"), "line 3 has 3 columns, but line 1 has 2")


@pytest.mark.parametrize("case", range(24))
def test_a_table_is_read_however_it_is_written(case, tmp_path):
    rng = random.Random(case)
    steps, digits = rng.randrange(4, 9), rng.choice([1, 2, 4])
    values = np.round([[rng.uniform(-1e4, 1e4) for _ in "ab"] for _ in range(steps)], digits)
    separator = ",;\t"[case % 3]
    decimal = "," if case % 3 and rng.random() < 0.5 else "."
    group = rng.choice(["", "\u00a0", "'", "." if decimal == "," else ""])
    unit, quote = rng.choice(["", "", " kW", "%"]), rng.choice(["", '"'])

    def word(number):
        text = f"{number:,.{digits}f}" if group else f"{number:.{digits}f}"
        return text.translate({ord(","): group, ord("."): decimal})

    rows = [["date", "a" if not quote else "Load, kW", "b"]]
    rows += [["", "kW", "-"]] * rng.randrange(2)
    for i, (a, b) in enumerate(values, 1):
        rows.append([f"2020-01-{i:02}", word(a) + unit, word(b)])
    end, trailing = rng.choice(["\n", "\r\n", "\r"]), rng.choice(["", separator])
    lines = [separator.join(f"{quote}{cell}{quote}" for cell in row) + trailing for row in rows]
    text = (end * rng.choice([1, 2])).join(lines) + end * rng.randrange(3)
    raw = text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    result = example(tmp_path / "a.csv", raw)
    np.testing.assert_allclose(result["values"], values)
    assert result["columns"].tolist() == rows[0][1:] and len(result["times"]) == steps


def test_a_table_of_thousands_of_columns_takes_linear_time(tmp_path):
    names = [f"c{i}" for i in range(3000)]
    text = "\n".join([",".join(names), *(",".join(["1.5"] * 3000) for _ in range(3))])
    began = time.process_time()
    result = example(tmp_path / "a.csv", text)
    assert result["values"].shape == (3, 3000)
    assert time.process_time() - began < 10  # minutes, once each name was compared with all


def test_tables_that_swell_are_refused_before_they_do(tmp_path, monkeypatch):
    pd = pytest.importorskip("pandas")
    pd.DataFrame({"x": np.zeros(200_000)}).to_parquet(tmp_path / "a.parquet")
    put(tmp_path / "a.csv.gz", gzip.compress(b"x\n" + b"0\n" * 600_000, mtime=0))
    for name in ("a.parquet", "a.csv.gz"):
        assert (tmp_path / name).stat().st_size < 2**17
    monkeypatch.setenv("ZOO_MEMORY", "1M")
    for name in ("a.parquet", "a.csv.gz"):
        refused(tmp_path / name, name, "GiB of memory", "ZOO_MEMORY")


def test_a_damaged_gz_is_named(tmp_path):
    refused(
        put(tmp_path / "a.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)[:-12]),
        "a corrupt .gz file",
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1,2\n3,4\n5,6\n", ["0", "1"]),
        ("1\n3\n5\n", ["0"]),
        ("0,1,2\n1,2,3\n2,3,4\n", ["0", "1", "2"]),
        ("0,1\n1.5,2.0\n2.5,2.0\n3.5,1.0\n", ["0", "1"]),  # the names that pandas gives
        (",0,1\n0,1.5,2.0\n1,2.5,2.0\n2,3.5,1.0\n", ["0", "1"]),
        ("inf-1,x\n1,2\n3,4\n5,6\n", ["inf-1", "x"]),
    ],
)
def test_names_of_columns(text, names, tmp_path):
    result = example(tmp_path / "a.csv", text)
    assert result["columns"].tolist() == names and result["values"].shape == (3, len(names))


def test_a_table_without_names_may_have_dates(tmp_path):
    result = example(tmp_path / "a.csv", PLAIN.partition("\n")[2])
    assert result["columns"].tolist() == ["1", "2"] and result["time_columns"].tolist() == ["0"]


def test_columns_of_text_are_left_out_and_told(tmp_path):
    text = "date,city,load,empty,code\n" + "".join(
        f"2020-01-0{i},Ulm,{i},,A{i}\n" for i in (1, 2, 3)
    )
    source = read(put(tmp_path / "a.csv", text), FORECAST)
    assert source.info["left_out"] == ["city", "empty", "code"]
    assert source.info["notes"] == [
        "columns that are neither numbers nor dates are left out: 'city', 'code'",
        "columns that have no values are left out: 'empty'",
    ]
    (example,) = source.splits["train"]
    assert example.read()["columns"].tolist() == ["load"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("any", ["2020-01-01", "2020-01-02", "2020-01-03"]),
        ("any", ["2020-01-01 00:00:00", "2020-01-02 00:00", "2020-01-03"]),
        ("any", ["2020-01-01T00:00:00Z", "2020-01-02T01:00:00+01:00", "2020-01-03T00:00:00.000Z"]),
        ("any", ["2020/01/01", "2020/1/2", "2020/1/3"]),
        ("any", ["01.01.2020", "2.1.2020", "03.01.2020"]),
        ("any", ["01.01.2020 00:00", "02.01.2020 00:00", "03.01.2020 00:00"]),
        ("any", ["01-Jan-2020", "02-Jan-2020", "03-Jan-2020"]),
        ("any", ["Jan 1, 2020", "Jan 2, 2020", "Jan 3, 2020"]),
        ("ds", ["20200101", "20200102", "20200103"]),
        ("Time Stamp", ["1577836800", "1577923200", "1578009600"]),
        ("timestamp", ["1577836800000", "1577923200000", "1578009600000"]),
        ("datetime", ["1577836800000000000", "1577923200000000000", "1578009600000000000"]),
    ],
)
def test_dates_in_common_forms(name, words, tmp_path):
    text = f"x;{name}\n" + "".join(f"{i};{word}\n" for i, word in enumerate(words))
    result = example(tmp_path / "a.csv", text)
    assert result["time_columns"].tolist() == [name] and result["columns"].tolist() == ["x"]
    np.testing.assert_array_equal(result["times"][:, 0], days(0, 1, 2))


def test_months_and_years_are_dates(tmp_path):
    result = example(tmp_path / "a.csv", "Month,n\n1949-01,1\n1949-02,2\n1949-03,3\n")
    wanted = np.array(["1949-01", "1949-02", "1949-03"], "datetime64[M]")
    assert (result["times"][:, 0] == wanted.astype("datetime64[ns]").astype(np.int64)).all()
    result = example(tmp_path / "a.csv", "YEAR,n\n1700,1\n1701,2\n1702,3\n")
    wanted = np.array(["1700", "1701", "1702"], "datetime64[Y]")
    assert (result["times"][:, 0] == wanted.astype("datetime64[ns]").astype(np.int64)).all()
    many = example(tmp_path / "a.csv", "year,n\n1700,1\n1700,2\n1701,3\n")
    assert many["columns"].tolist() == ["year", "n"] and many["times"].shape == (3, 0)


def test_day_and_month_are_told_apart_by_the_whole_column(tmp_path):
    def text(form, name="date"):
        rows = [form.format(day=day, month=1) for day in (11, 12, 13)]
        return f"x,{name}\n" + "".join(f"{i},{row}/2020\n" for i, row in enumerate(rows))

    for form in ("{day}/{month}", "{month}/{day}"):
        result = example(tmp_path / "a.csv", text(form))
        np.testing.assert_array_equal(result["times"][:, 0], days(10, 11, 12))
    unclear = text("{day}/{month}").replace("13/1", "10/1")
    refused(
        put(tmp_path / "a.csv", unclear), "line 2", "'11/1/2020'", "day and month", "2020-12-31"
    )
    source = read(put(tmp_path / "a.csv", unclear.replace("date", "birth")), FORECAST)
    assert source.info["left_out"] == ["birth"]


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("load,date", "1,2020-02-30", ["line 4", "'date'", "'2020-02-30'", "2020-12-31"]),
        ("load,date", "1,soon", ["line 4", "'date'", "'soon'", "not a date"]),
        ("load,date", "1,", ["line 4", "'date'", "missing", "Fill it in"]),
        ("load,date", "1,9999-01-01", ["line 4", "'date'", "9999", "1678 to 2261"]),
        ("load,date", "oops,2020-01-03", ["line 4", "'load'", "'oops' is not a number"]),
        ("load,date", "inf,2020-01-03", ["line 4", "'load'", "infinite"]),
        ("load,date", "1e999,2020-01-03", ["line 4", "'load'", "too large"]),
        ("load,date", "1", ["line 4 has 1 columns", "line 1 has 2"]),
        ("load,date", "1,2020-01-03,5", ["line 4 has 3 columns", "line 1 has 2"]),
        ("load,date", "1,2020-01-02", ["line 4", "'date'", "2020-01-02 comes after 2020-01-02",
                                       "Remove one", "its own file"]),
        ("load,date", "1,2020-01-01 06:00", ["line 4", "2020-01-01 06:00:00 comes after", "Sort"]),
        ("load,load", "1,2020-01-03", ["two columns 'load'", "Rename"]),
        ("load,date", '1,"2020-01-03', ["line 4", "quotation"]),
    ],
)  # fmt: skip
def test_faults_of_a_line_are_named(header, row, words, tmp_path):
    text = f"{header}\n5,2020-01-01\n6,2020-01-02\n{row}\n"
    refused(put(tmp_path / "my.csv", text), "my.csv", *words)


def test_lines_are_counted_as_an_editor_does(tmp_path):
    text = '\n"load",note\n\n1,"two\nlines"\n2,x\nbad,y\n4,z\n'
    refused(put(tmp_path / "a.csv", text), "line 7", "'load'", "'bad'")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["empty", "copy it again"]),
        (b"\n \n", ["empty"]),
        (b"\xef\xbb\xbf", ["empty"]),
        (b"date,load\n", ["no rows"]),
        (b"a,b\nx,y\nz,w\nu,v\n", ["no numeric column", "'a', 'b'"]),
        (b"date\n2020-01-01\n2020-01-02\n2020-01-03\n", ["no numeric column", "'date'"]),
        (b"a\n1\n2\n", ["2 steps", "at least 3"]),
        (b"a,\n1,2\n3,4\n\xe4,6\n", ["line 4", "'\u00e4' is not a number"]),
        (
            "\u043d\u0430,b\n1,2\n3,4\n".encode("cp1251"),
            ["not UTF-8 text", "Save it as CSV in UTF-8"],
        ),
        (b"\x89PNG\r\n\x1a\n\xff", ["UTF-8"]),
        (b"PK\x03\x04\x00\x00", ["not a text file"]),
        (b'a,b\n1,2\n"3"x,4\n', ["line 3", "quotation marks"]),
    ],
)
def test_files_that_are_no_series_are_refused(text, words, tmp_path):
    refused(put(tmp_path / "my.csv", text), "my.csv", *words)


def test_order_of_time_matters_only_where_one_column_has_it(tmp_path):
    text = (
        "date,made,x\n2020-01-03,2020-02-01,1\n2020-01-02,2020-02-02,2\n2020-01-01,2020-02-03,3\n"
    )
    result = example(tmp_path / "a.csv", text)
    assert result["time_columns"].tolist() == ["date", "made"] and result["times"].shape == (3, 2)
    refused(
        put(tmp_path / "a.csv", text.replace("made", "2", 0).replace("2020-02-0", "v")), "line 3"
    )


def frame():
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(
        {
            "when": pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin"),
            "load": [1.5, None, 3.0],
            "count": pd.array([1, None, 3], "Int64"),
            "word": ["1", "2", "?"],
            "on": [True, False, True],
            "city": ["a", "b", None],
        }
    )


def test_parquet_is_read_with_its_types(tmp_path):
    frame().to_parquet(tmp_path / "a.parquet")
    source = read(tmp_path / "a.parquet", FORECAST)
    (item,) = source.splits["train"]
    example = item.read()
    assert example["columns"].tolist() == ["load", "count", "word", "on"]
    assert example["time_columns"].tolist() == ["when"] and source.info["left_out"] == ["city"]
    nan = np.nan
    wanted = [[1.5, 1, 1, 1], [nan, nan, 2, 0], [3, 3, nan, 1]]
    np.testing.assert_array_equal(example["values"], wanted)
    np.testing.assert_array_equal(example["times"][:, 0], days(0, 1, 2) - DAY // 24)  # UTC


def test_an_index_of_dates_is_a_column_of_a_parquet_file(tmp_path):
    frame().set_index("when").to_parquet(tmp_path / "a.parquet")
    assert series.read_example(tmp_path / "a.parquet")["time_columns"].tolist() == ["when"]
    frame().iloc[[2, 0, 1]].to_parquet(tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "row 2", "'when'", "2019-12-31 23:00:00 comes after", "Sort")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"date,x\n1,2\n" * 9])
def test_what_is_no_parquet_is_refused(content, tmp_path):
    refused(put(tmp_path / "a.parquet", content), "a.parquet")


def test_arrays_of_one_and_of_several_series(tmp_path):
    values = np.arange(12.0).reshape(6, 2)
    times = np.arange("2020-01-01", "2020-01-07", dtype="datetime64[D]")
    names = np.array(["a", "b"])
    np.savez(tmp_path / "x.npz", values=values, columns=names, times=times)
    example = series.read_example(tmp_path / "x.npz")
    np.testing.assert_array_equal(example["values"], values)
    np.testing.assert_array_equal(example["times"][:, 0], days(*range(6)))
    assert example["columns"].tolist() == ["a", "b"] and example["time_columns"].tolist() == [
        "times"
    ]
    np.savez(tmp_path / "x.npz", values=values[:, 0].astype(np.float32))
    example = series.read_example(tmp_path / "x.npz")
    assert example["values"].shape == (6, 1) and example["values"].dtype == np.float64
    assert example["columns"].tolist() == ["0"] and example["times"].shape == (6, 0)
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(series.read_example(tmp_path / "x.npy")["values"], values)
    np.savez(tmp_path / "x.npz", values=values.reshape(2, 3, 2), times=days(0, 1, 2))
    items = list(read(tmp_path / "x.npz", FORECAST).splits["train"])
    assert [item.name for item in items] == ["x.npz#values[0]", "x.npz#values[1]"]
    np.testing.assert_array_equal(items[1].read()["values"], values[3:])
    with pytest.raises(BadInput, match="contains 2 series"):
        series.read_example(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(values=None, v=np.ones(4)), ["no array 'values'", "times, v"]),
        (dict(values=np.ones((2, 2, 2, 2))), ["(2, 2, 2, 2)", "(n, T, C)"]),
        (dict(values=np.array(["a"] * 4)), ["'values'", "is not numeric"]),
        (dict(values=np.ones((4, 0))), ["(4, 0)"]),
        (dict(values=np.array([[1, 2], [3, np.inf], [1, 2], [1, 2]])), ["infinite at [1, 1]"]),
        (dict(values=np.array([[1, 2], [3, -1e300]] * 2)), ["-1e+300 at [1, 1]", "float32"]),
        (dict(columns=np.array(["a", "a"])), ["'columns'", "2 distinct names"]),
        (dict(columns=np.array([1, 2])), ["'columns'", "2 distinct names"]),
        (dict(columns=np.array(["a", "times"])), ["other than times"]),
        (dict(times=days(0, 1)), ["'times' of shape (2,)", "does not match 4 steps"]),
        (dict(times=np.arange(4.0)), ["'times'", "float64", "is not of dates"]),
        (dict(times=np.array(["2020", "NaT", "2021", "2022"], "datetime64[D]")), ["missing"]),
        (dict(times=days(0, 1, 1, 2)), ["values[2]", "'times'", "comes after", "Remove one"]),
        (dict(values=np.full((4, 2), np.nan)), ["no numeric column"]),
    ],
)
def test_faults_of_arrays_are_named(changes, words, tmp_path):
    made = {"values": np.ones((4, 2)), "times": days(0, 1, 2, 3)} | changes
    np.savez(tmp_path / "own.npz", **{k: v for k, v in made.items() if v is not None})
    refused(tmp_path / "own.npz", "own.npz", *words)


def test_a_folder_holds_a_series_a_file(tmp_path):
    put(tmp_path / "load" / "b.csv")
    put(
        tmp_path / "load" / "a.csv",
        "heat,date,load\n" + "".join(f"{i},2021-0{i}-01,{i}.5\n" for i in range(1, 6)),
    )
    put(tmp_path / "load" / "notes.md")
    source = read(tmp_path / "load", FORECAST)
    assert source.name == "load" and source.info["ignored"] == {".md": 1}
    assert source.info["notes"] == ["files of other kinds are not read: 1 .md"]
    first, second = source.splits["train"]
    assert (first.name, second.name) == ("a.csv", "b.csv")
    assert first.read()["columns"].tolist() == second.read()["columns"].tolist() == ["heat", "load"]
    np.testing.assert_array_equal(second.read()["values"][:, 1], [1, 2.5, 3])


@pytest.mark.parametrize("names", ["{}/1.csv", "{}.csv"])
def test_official_splits_of_series(names, tmp_path):
    for name in ("train", "val", "test"):
        put(tmp_path / names.format(name))
    source = read(tmp_path, FORECAST)
    assert {split: len(some) for split, some in source.splits.items()} == {
        "train": 1, "validation": 1, "test": 1,
    }  # fmt: skip
    put(tmp_path / "more.csv")
    refused(tmp_path, "more.csv", "in no split")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("date,load\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n", ["lacks 'heat'"]),
        (PLAIN.replace("heat", "cold"), ["lacks 'heat' and also has 'cold'"]),
        (PLAIN.replace(",4", ",a").replace(",5", ",b").replace(",6", ",c"),
         ["'heat' has text", "but numbers in a.csv"]),
    ],
)  # fmt: skip
def test_files_of_a_folder_have_the_same_columns(text, words, tmp_path):
    put(tmp_path / "a.csv"), put(tmp_path / "b.csv", text)
    refused(tmp_path, tmp_path / "b.csv", " a.csv", *words)


def test_a_column_may_be_empty_in_some_files(tmp_path):
    put(tmp_path / "b.csv")
    put(tmp_path / "a.csv", PLAIN.replace(",4", ",").replace(",5", ",").replace(",6", ","))
    first, second = (example.read() for example in read(tmp_path, FORECAST).splits["train"])
    assert np.isnan(first["values"][:, 1]).all() and second["values"][:, 1].tolist() == [4, 5, 6]


def test_a_bad_file_of_a_folder_is_found_when_it_is_read(tmp_path):
    put(tmp_path / "a.csv", b""), put(tmp_path / "b.csv")
    bad, good = read(tmp_path, FORECAST).splits["train"]
    assert good.read()["values"].shape == (3, 2)
    with pytest.raises(BadInput, match="a.csv: the file is empty"):
        bad.read()


def test_find_series_expands_folders_and_names_what_is_wrong(tmp_path):
    for name in ("b/c.CSV", "b/d.parquet", "b/.hidden/e.csv", "b/notes.md", "a.npz"):
        put(tmp_path / name)
    paths = series.find_series([tmp_path / "b", tmp_path / "a.npz"])
    assert [path.name for path in paths] == ["c.CSV", "d.parquet", "a.npz"]
    (tmp_path / "void").mkdir()
    for name, reason in [
        ("void", "no series"),
        ("x", "no such"),
        ("b/notes.md", "not a time series"),
    ]:
        with pytest.raises(BadInput, match=reason):
            series.find_series([tmp_path / name])


def test_each_layout_is_told_from_the_others(tmp_path):
    def fits(path):
        return [kind for kind in (FORECAST, CLASSIFY) if any(x.match(path) for x in LAYOUTS[kind])]

    assert fits(put(tmp_path / "a" / "1.csv").parent) == [FORECAST]
    assert fits(put(tmp_path / "b" / "train" / "1.csv").parent.parent) == [FORECAST]
    assert fits(put(tmp_path / "c" / "walk" / "1.csv").parent.parent) == [CLASSIFY]
    assert fits(put(tmp_path / "d" / "test" / "walk" / "1.csv").parents[2]) == [CLASSIFY]
    assert fits(put(tmp_path / "e" / "X_TRAIN.ts").parent) == [CLASSIFY]
    np.savez(tmp_path / "f.npz", values=np.ones(5))
    np.savez(tmp_path / "g.npz", x_train=np.ones((4, 5)), y_train=np.arange(4))
    assert (fits(tmp_path / "f.npz"), fits(tmp_path / "g.npz")) == ([FORECAST], [CLASSIFY])
    assert {FORECAST, "sequence"} <= set(FILES) and not fits(put(tmp_path / "h.md"))


# Sequences: class folders and arrays


def test_class_folders_of_tables(tmp_path):
    for split, count in (("train", 2), ("test", 1)):
        for name in ("run", "walk"):
            for i in range(count):
                put(tmp_path / split / name / f"{i}.csv", PLAIN + f"2020-01-09,{i},7\n" * i)
    source = read(tmp_path, CLASSIFY)
    assert source.classes == ("run", "walk")
    assert {split: len(some) for split, some in source.splits.items()} == {"train": 4, "test": 2}
    examples = [example.read() for example in source.splits["train"]]
    assert [example["series"].shape for example in examples] == [(3, 2), (4, 2)] * 2
    assert [example["label"] for example in examples] == [0, 0, 1, 1]
    assert examples[0]["series"].dtype == np.float32 and set(examples[0]) == {"series", "label"}
    put(tmp_path / "train" / "walk" / "0.csv", "heat,load\n1,2\n")
    swapped = list(read(tmp_path, CLASSIFY).splits["train"])
    assert [example.read()["series"].tolist() for example in swapped][2] == [[2, 1]]
    put(tmp_path / "train" / "walk" / "0.csv", "load,cold\n1,2\n")
    refused(tmp_path, "0.csv", "run/0.csv", "lacks 'heat' and also has 'cold'", kind=CLASSIFY)
    put(tmp_path / "train" / "walk" / "0.csv", "load,heat\n1,2\n1e200,4\n")
    refused(tmp_path, "0.csv", "line 3", "'load'", "1e+200", "float32", kind=CLASSIFY)


def test_arrays_of_sequences(tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    x[1, 4:], x[2, 2, 0] = np.nan, np.nan
    y = np.array([0, 1, 1, 0])
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:2, :5], y_test=y[:2])
    source = read(tmp_path / "own.npz", CLASSIFY)
    examples = [example.read() for example in source.splits["train"]]
    assert [example["series"].shape for example in examples] == [(6, 2), (4, 2), (6, 2), (6, 2)]
    assert np.isnan(examples[2]["series"]).sum() == 1 and examples[0]["series"].dtype == np.float32
    assert source.classes == ("0", "1") and [example["label"] for example in examples] == y.tolist()
    np.savez(tmp_path / "own.npz", x_train=x[..., 0], y_train=y)
    (example, *_) = read(tmp_path / "own.npz", CLASSIFY).splits["train"]
    np.testing.assert_array_equal(example.read()["series"], x[0, :, :1].astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(x_train=np.ones(4)), ["'x_train' of shape (4,)", "(examples, steps, features)"]),
        (dict(x_train=np.ones((4, 0, 2))), ["(4, 0, 2)", "NaN at the end"]),
        (dict(x_train=np.full((4, 3), "a")), ["'x_train'", "is not numeric"]),
        (dict(x_train=np.full((4, 3), np.inf)), ["'x_train'", "[0, 0, 0] is inf"]),
        (dict(x_train=np.full((4, 3), np.nan)), ["own.npz#x_train[0]", "all its values are NaN"]),
        (dict(x_test=np.ones((4, 3, 2)), y_test=np.arange(4) % 2), ["test", "2 features", "1"]),
        (dict(y_train=np.arange(3)), ["'y_train' of shape (3,)"]),
    ],
)
def test_faults_of_arrays_of_sequences_are_named(changes, words, tmp_path):
    made = {"x_train": np.ones((4, 3)), "y_train": np.arange(4) % 2} | changes
    np.savez(tmp_path / "own.npz", **made)
    refused(tmp_path / "own.npz", "own.npz", *words, kind=CLASSIFY)


def test_readers_are_imported_without_pandas(tmp_path):
    code = (
        "import sys, datasets.readers;"
        "bad = {'pandas', 'pyarrow', 'tensorflow', 'keras', 'sklearn'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# Damaged files, read in a process of its own: pyarrow is not Python


WRITERS = {
    "plain.csv": lambda path: put(path, long_table()),
    "commas.csv": lambda path: put(path, long_table().replace(",", ";").replace(".", ",")),
    "wide.tsv": lambda path: put(path, long_table().replace(",", "\t")),
    "frame.parquet": lambda path: frame().to_parquet(path),
    "arrays.npz": lambda path: np.savez(path, values=np.ones((9, 2)), times=days(*range(9))),
    "array.npy": lambda path: np.save(path, np.arange(9.0)),
}


def long_table():
    rows = [f"2020-01-{i:02} 06:00:00,{i / 4},{i * 1.5},Ulm\n" for i in range(1, 29)]
    return "date,load,heat,city\n" + "".join(rows)


def check(path):
    """Read a series; it is sound, or refused in words that name the file."""
    example = series.read_example(path)
    values, times = example["values"], example["times"]
    assert values.ndim == 2 and values.dtype == np.float64 and len(values) >= 3
    assert not np.isinf(values).any() and len(example["columns"]) == values.shape[1] >= 1
    assert times.shape == (len(values), len(example["time_columns"])) and times.dtype == np.int64
    if times.shape[1] == 1:
        assert (np.diff(times[:, 0]) > 0).all()
    return example


def fuzz(path):
    """Check a file damaged in many ways; exit with an error where that fails."""
    import random
    import resource
    import signal

    valid, raw = check(path), path.read_bytes()
    rng, refusals = random.Random(path.name), 0
    in_use = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (1 << 30), in_use + (1 << 30)))
    for case in range(test_readers_fuzz.CASES):
        content, cut = test_readers_fuzz.damage(raw, rng)
        path.write_bytes(content)
        print(f"case {case}", flush=True)  # the last line tells which case killed the process
        signal.alarm(test_readers_fuzz.SECONDS)
        try:
            example = check(path)
        except BadInput as error:
            assert path.name in str(error) and len(str(error)) < 2000, error
            refusals += 1
            continue
        if cut:  # where a line ends, a cut file is a shorter sound one
            assert path.suffix in (".csv", ".tsv") and len(example["values"]) <= len(
                valid["values"]
            )
            whole = example["columns"].tolist() == valid["columns"].tolist()
            rows = len(example["values"]) - 1
            assert not whole or (example["values"][:rows] == valid["values"][:rows]).all()
    print(f"{refusals} refused")


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process as Linux does")
@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_are_refused_or_read_soundly(name, tmp_path):
    WRITERS[name](tmp_path / name)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.readers.test_readers_series", str(tmp_path / name)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    last = "\n".join((ended.stdout + ended.stderr).splitlines()[-15:])
    assert ended.returncode == 0, f"exit status {ended.returncode}: {last}"


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
def test_real_loads():
    folder = pathlib.Path(os.environ["ZOO_DATA"]) / "ett"
    (item,) = read(folder / "ETTh1.csv", FORECAST).splits["train"]
    example = item.read()
    assert example["columns"].tolist() == ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    assert example["values"].shape == (17_420, 7) and example["time_columns"].tolist() == ["date"]
    assert np.isfinite(example["values"]).all()
    assert set(np.diff(example["times"][:, 0])) == {3600 * 10**9}
    with open(folder / "ETTh1.csv") as file:
        lines = file.read().splitlines()
    for row in (0, 9_999, 17_419):
        date, *numbers = lines[row + 1].split(",")
        assert example["values"][row].tolist() == [float(word) for word in numbers]
        assert example["times"][row, 0] == np.datetime64(date, "ns").astype(np.int64)
    assert [len(item.read()["values"]) for item in read(folder, FORECAST).splits["train"]] == [
        17_420, 17_420,
    ]  # fmt: skip


if __name__ == "__main__":
    fuzz(pathlib.Path(sys.argv[1]))
