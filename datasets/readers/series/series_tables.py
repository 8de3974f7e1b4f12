"""Tables with a row per step: CSV, TSV and Parquet files, whose columns are numbers or dates.

What pandas would guess or drop silently (rows of unequal length, duplicate column names, ambiguous
thousands separators) raises an error, or is decided and noted.
"""

import codecs
import collections
import csv
import dataclasses
import io
import pathlib
import re
from collections.abc import Callable, Mapping

import numpy as np

from datasets.readers.files import afford, read_bytes
from datasets.readers.series.dates import (
    dates_of_numbers,
    dates_of_words,
    nanoseconds,
    without_date,
)
from datasets.readers.series.series_numbers import WRITE, measured_numbers, plain_numbers, thousands
from datasets.source import BadInput

NUMBERS, DATES, TEXT, NOTHING = "numbers", "dates", "text", "nothing"
ELAPSED = "times without a date"
MISSING = ("", "?", "-", "n/a", "#n/a", "na", "<na>", "nan", "-nan", "null", "none", "nat")
NUMERIC = ("floating", "integer", "mixed-integer-float", "decimal", "boolean")  # in pandas
BINARY = re.compile("[\x00-\x08\x0e-\x1f]")
VALUE = re.compile(
    r"[-+]?((\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?|inf)|"
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([ T].*)?",
    re.IGNORECASE,
)  # a number or a date, not the name of a column
DIGIT = re.compile(r"[-+]?[$€£]? ?[-+]?[.,]?\d")  # the beginning of a number
FRACTION = re.compile(r'(?:^|[;\t"]) *([-+]?\d*[.,]\d+)(?:[eE][-+]?\d+)? *(?=[;\t"]|$)', re.M)
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}")
GROUPS = re.compile(r"[-+]?(?:\d{1,3}|[1-9]\d{0,2}\.\d{3})")
FOREIGN = 0.5  # fraction of letters beyond ASCII above which a text is not in a western language
LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a file.

    Attributes:
        path: the file.
        columns: {name: (kind, array)}: of `NUMBERS` (T,) float64, finite or NaN where missing; of
            `DATES` (T,) int64, nanoseconds since 1970; of `TEXT`, `NOTHING` and `ELAPSED` None.
        steps: T, the number of rows.
        place: function from the index of a row to its name in messages: "line 7".
        notes: sentences on what was decided while reading it.
    """

    path: pathlib.Path
    columns: Mapping[str, tuple[str, np.ndarray | None]]
    steps: int
    place: Callable[[int], str]
    notes: tuple[str, ...] = ()

    def named(self, kind: str) -> list[str]:
        """Return the names of the columns of a kind."""
        return [name for name, (its_kind, _) in self.columns.items() if its_kind == kind]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column as read by pandas.

    Attributes:
        path: the file.
        name: of the column.
        cells: a `pandas.Series` (T,).
        first: whether it is the first column, which often has the dates.
        decimal: "." or ",", the decimal separator of numbers that are not parsed yet.
        place: as of `Table`.
        notes: a list, to which sentences on decisions are appended.
    """

    path: pathlib.Path
    name: str
    cells: object
    first: bool
    decimal: str
    place: Callable[[int], str]
    notes: list

    def fault(self, row: int, why: str, remedy: str) -> BadInput:
        """Return the error for one cell."""
        return BadInput(
            self.path, f"{self.place(row)}, column {self.name!r}: {str(why)[:200]}", remedy
        )


def read_table(path: pathlib.Path) -> Table:
    """Read a .parquet file, or text whose columns are separated by commas, semicolons or tabs.

    Without a header line the columns are named "0", "1", ... A first column without a name that
    numbers the rows is dropped, as are columns with neither a name nor values.

    Raises:
        BadInput: the file is empty, corrupt or not a table, or a column of numbers or dates has
            other values; the message has the line, column and value.
    """
    read = parquet_frame if path.suffix.lower() == ".parquet" else text_frame
    frame, decimal, place, notes = read(path)
    columns = {}
    for i, (name, cells) in enumerate(frame.items()):
        column = Column(path, name, cells, i == 0, decimal, place, notes)
        kind, array = parsed(column)
        counts = kind == NUMBERS and i == 0 and (np.diff(array) == 1).all()
        if name != nameless(i) or not (kind == NOTHING or counts):
            columns[name] = kind, array
    return Table(path, columns, len(frame), place, tuple(notes))


def nameless(i):
    """Return the name of a column without a name."""
    return f"unnamed {i}"


def text_frame(path):
    """Return (pandas.DataFrame, decimal separator, `place`, notes) of a text file."""
    import pandas as pd

    text, notes = decoded(path)
    lines = list(enumerate(re.split("\r\n|\r|\n", text), 1))
    separator = separator_of([line for _, line in lines])
    if separator is None:  # with a single column, an empty line may be a missing value
        while lines and not lines[-1][1].strip(" "):
            lines.pop()
    else:
        lines = [(number, line) for number, line in lines if line.strip(" ")]
    if not lines:
        raise BadInput(path, "the file is empty", "Remove it or copy it again")
    rows, ends = checked_rows(path, lines, separator or ",")
    header = 0 if without_header(*rows[:2]) else 1
    names = checked_names(path, rows[0] if header else list(range(len(rows[0]))))
    if header and units_only(rows):
        pairs = zip(names, map(str.strip, rows[1]), strict=True)
        units = [f"{name!r} in {unit}" for name, unit in pairs if unit.lower() not in MISSING]
        notes.append(f"line {ends[1][1]} has no values, and is read as units: {listed(units)}")
        header = 2
    if len(ends) == header:
        raise BadInput(path, "it has a header line but no rows", "Copy it again")
    skipped, ends = ends[header - 1][0] if header else 0, ends[header:]
    decimal = decimal_of(text) if separator in (";", "\t") else "."
    body = [line for _, line in lines[skipped:]]
    try:
        frame = pd.read_csv(
            io.StringIO("\n".join(body)),
            sep=separator or ",",
            names=names,
            index_col=False,
            na_values=[form(word) for word in MISSING for form in (str, str.upper)],
            keep_default_na=False,
            skipinitialspace=True,
            skip_blank_lines=False,
            decimal=decimal,
            low_memory=False,
        )
    except (ValueError, OverflowError) as error:
        raise BadInput(
            path, f"it is not a table ({str(error).strip()})", "Copy it again"
        ) from error
    if len(frame) != len(ends):
        raise BadInput(
            path, "its quotation marks are not balanced", "Remove them, or copy it again"
        )

    def place(row):
        return f"line {ends[row][1]}"

    notes += check_thousands(path, frame, body, separator or ",", place)
    return frame, decimal, place, notes


def decoded(path):
    """Return the text of a file, and notes on how it was read."""
    raw, notes = read_bytes(path), []
    remedy = "Save it as CSV in UTF-8"
    try:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = raw.decode("utf-16")
        else:
            text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        try:
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            raise BadInput(path, "it is not UTF-8 text", remedy) from error
        letters = re.findall(r"[^\W\d_]", text)
        if sum(not letter.isascii() for letter in letters) > FOREIGN * len(letters):
            raise BadInput(path, "it is not UTF-8 text", remedy) from error
        notes.append("it is not UTF-8 text, and is read as Windows-1252 (cp1252)")
    if BINARY.search(text):
        raise BadInput(path, "it is not a text file", remedy)
    return text, notes


def separator_of(lines):
    """Return the separator of the columns, None if there is only one column."""
    some = [line for line in lines if line.strip(" ")][:50]
    for separator in "\t;,":
        if {line.count(separator) > 0 for line in some} == {True}:
            return separator
    return next((separator for separator in "\t;," if some and separator in some[0]), None)


def checked_rows(path, lines, separator):
    """Return the first three rows, and (lines so far, number of its last line) of every row.

    Either the header or the rows may have a trailing separator.
    """
    rows, ends, width, trailing = [], [], 0, False
    style = dict(delimiter=separator, skipinitialspace=True, strict=True)
    reader = csv.reader((line for _, line in lines), **style)
    try:
        for row in reader:
            row = row or [""]
            rows += [row] if len(rows) < 3 else []
            number = lines[reader.line_num - 1][0]
            ends.append((reader.line_num, number))
            if len(ends) == 2 and not without_header(rows[0]):
                trailing = len(row) == len(rows[0]) + 1 and not row[-1].strip()
                if len(rows[0]) == len(row) + 1 and not rows[0][-1].strip():
                    rows[0].pop()
                rows[0] += [""] * trailing
            width = len(rows[0])
            if len(row) != width or (trailing and row[-1].strip()):
                raise BadInput(
                    path,
                    f"line {number} has {len(row)} columns, but line {ends[0][1]} "
                    f"has {width - trailing}",
                    "Fix the line; columns are separated by commas, semicolons or tabs",
                )
    except csv.Error as error:
        number = lines[max(reader.line_num, 1) - 1][0]
        raise BadInput(path, f"line {number}: {error}", "Fix the quotation marks") from error
    return rows, ends


def check_thousands(path, frame, body, separator, place):
    """Raise if a column of text may have thousands written with a point: 950 beside 1.050.

    Returns:
        Notes on columns whose numbers all have that form, and are read as fractions.
    """
    suspects, notes = {i: [] for i in thousands(frame)}, []
    for row in csv.reader(body, delimiter=separator, skipinitialspace=True):
        if not suspects:
            break
        for i in [*suspects]:
            word = (row or [""])[i].strip()
            if GROUPS.fullmatch(word) or word.lower() in MISSING:
                suspects[i].append(word)
            else:  # 0.5 or 1200 or 1.05
                del suspects[i]
    for i, words in suspects.items():
        grouped = [word for word in words if THOUSANDS.fullmatch(word)]
        ungrouped = [word for word in words if word.lower() not in MISSING and "." not in word]
        longest = max(ungrouped, key=len, default="").lstrip("+-")
        if grouped and not ungrouped and separator == ";":
            notes.append(
                f"column {frame.columns[i]!r} has three decimals in all its numbers, which are "
                f"read as fractions: if {grouped[0]} means thousands, write it without a point"
            )
        if grouped and len(longest) == 3:
            row = words.index(grouped[0])
            why = f"{words[row]!r} may be a fraction or thousands, because it is beside {longest!r}"
            remedy = f"Write {words[row].replace('.', '')} or, if it is a fraction, {longest}.000"
            raise BadInput(path, f"{place(row)}, column {frame.columns[i]!r}: {why}", remedy)
    return notes


def units_only(rows):
    """Return whether the row below the header has units: words without values, above values."""
    if len(rows) < 3:
        return False
    words, below = ([word.strip() for word in row] for row in rows[1:])
    named = [word.lower() not in MISSING for word in words]
    return any(named) and not any(
        VALUE.fullmatch(word) or (name and not DIGIT.match(number))
        for word, name, number in zip(words, named, below, strict=True)
    )


def listed(words, most=10):
    """Return the first words as text, and the number of the others."""
    return ", ".join(words[:most]) + (f" and {len(words) - most:,} more" * (len(words) > most))


def without_header(first, second=()):
    """Return whether the first row has values, not names."""
    words = [word.strip() for word in first]
    values = [bool(VALUE.fullmatch(word)) for word in words]
    if not any(values) or any(
        not value and word.lower() not in MISSING for value, word in zip(values, words, strict=True)
    ):
        return False
    # pandas names columns 0, 1, ...: above fractions these are names, not values
    counted = words[words[0] == "" :]
    numbered = counted == [str(i) for i in range(len(counted))]
    return not (numbered and len(words) > 1 and any("." in word for word in second))


def checked_names(path, names):
    """Return the names of columns, after checking that they are distinct."""
    names = [str(name).strip() or nameless(i) for i, name in enumerate(names)]
    name, count = collections.Counter(names).most_common(1)[0]
    if count > 1:
        raise BadInput(path, f"it has two columns {name[:80]!r}", "Rename or remove one")
    return names


def decimal_of(text):
    """Return "," if all fractions have one, and not all can be thousands; else a point."""
    fractions = set(FRACTION.findall(text)) if "," in text else set()
    commas = {word for word in fractions if "," in word}
    unambiguous = any(not THOUSANDS.fullmatch(word) for word in commas)
    points = all(THOUSANDS.fullmatch(word) for word in fractions - commas)
    return "," if points and unambiguous else "."


def parquet_frame(path):
    """Return (pandas.DataFrame, decimal separator, `place`, notes) of a Parquet file."""
    import pandas as pd

    raw = read_bytes(path)
    try:
        import pyarrow.parquet

        shape = pyarrow.parquet.read_metadata(io.BytesIO(raw))
        afford(path, 8 * shape.num_rows * shape.num_columns)  # decompressed size of the data
        # without threads: with little memory, the process can abort when it exits
        table = pyarrow.parquet.read_table(
            io.BytesIO(raw), page_checksum_verification=True, use_threads=False, pre_buffer=False
        )
        table.validate(full=True)
        frame = table.to_pandas(use_threads=False)
        if isinstance(frame.index, pd.DatetimeIndex) or any(frame.index.names):
            frame = frame.reset_index()
    except BadInput:
        raise
    except MemoryError as error:
        raise BadInput(path, "it does not fit in memory", "Copy it again, or split it") from error
    except Exception as error:  # corrupt files make pyarrow raise many kinds of errors
        reason = str(error).strip().split("\n")[0].rstrip(".")[:200]
        raise BadInput(path, f"it is a corrupt Parquet file ({reason})", "Copy it again") from error
    if frame.empty:
        raise BadInput(path, "it has no rows or no columns", "Copy it again")
    frame.columns = checked_names(path, frame.columns)
    return frame.reset_index(drop=True), ".", lambda row: f"row {row + 1}", []


def parsed(column):
    """Return (kind, array) of a column."""
    import pandas as pd

    cells = column.cells
    if cells.dtype.kind in "iuf" and isinstance(cells.dtype, np.dtype):  # type inference is slower
        values = cells.to_numpy(np.float64)
        return (NOTHING, None) if np.isnan(values).all() else number_column(column, values)
    if cells.isna().all():
        return NOTHING, None
    kind = pd.api.types.infer_dtype(cells, skipna=True)
    if kind in NUMERIC:
        return number_column(column, cells.to_numpy(np.float64, na_value=np.nan))
    if kind in ("datetime64", "datetime", "date"):
        times = pd.to_datetime(cells, errors="coerce", utc=True)
        return (TEXT, None) if times.isna().any() else (DATES, nanoseconds(column, times))
    if kind in ("string", "categorical"):
        return word_column(column, cells.astype(str).where(cells.notna()))
    return TEXT, None


def word_column(column, cells):
    """Return (kind, array) of a column of text, which may be numbers or dates."""
    words = cells.str.strip()
    words = words.mask(words.str.lower().isin(MISSING)).dropna()
    if not len(words):
        return NOTHING, None
    numbers = plain_numbers(column, words)
    if numbers is None:
        times = dates_of_words(column, words)
        if times is not None:
            return DATES, times
        numbers = measured_numbers(column, words)
    if numbers is None:
        return TEXT, None
    values = np.full(len(cells), np.nan)
    values[words.index] = numbers
    return number_column(column, values)


def number_column(column, values):
    """Return (kind, array) of a numeric column, which may be times."""
    infinite = np.isinf(values)
    if infinite.any():
        raise column.fault(infinite.argmax(), "the number is infinite or too large", WRITE)
    large = np.abs(values) > LARGEST
    if large.any():
        row = large.argmax()
        why = f"{values[row]:g} is too large for float32"
        raise column.fault(row, why, "Leave it empty if it is missing, or use another unit")
    times = dates_of_numbers(column, values)
    if times is not None:
        return DATES, times
    return (ELAPSED, None) if without_date(column, values) else (NUMBERS, values)
