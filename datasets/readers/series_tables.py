"""Tables with a row a step: CSV, TSV and Parquet files, whose columns are numbers or dates.

What pandas would guess or drop without a word (rows of unequal length, two columns of one name,
thousands written like decimals) is refused.
"""

import csv
import dataclasses
import io
import pathlib
import re
from collections.abc import Callable, Mapping

import numpy as np

from datasets.readers.dates import dates_of_numbers, dates_of_words, nanoseconds
from datasets.readers.files import read_bytes
from datasets.source import BadInput

NUMBERS, DATES, TEXT, NOTHING = "numbers", "dates", "text", "nothing"
MISSING = ("", "?", "-", "n/a", "#n/a", "na", "<na>", "nan", "-nan", "null", "none", "nat")
NUMERIC = ("floating", "integer", "mixed-integer-float", "decimal", "boolean")  # to pandas
WRITE = "Write numbers with a decimal point and no other mark, or leave the cell empty"
BINARY = re.compile("[\x00-\x08\x0e-\x1f]")
VALUE = re.compile(
    r"[-+]?((\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?|inf)|"
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([ T].*)?",
    re.IGNORECASE,
)  # a number or a date, and no name of a column
FRACTION = re.compile(r'(?:^|[;\t"]) *([-+]?\d*[.,]\d+)(?:[eE][-+]?\d+)? *(?=[;\t"]|$)', re.M)
MARKED = r"(?=.*[,'%$€£])[-+]?[$€£]? ?\d+(?:[.,']\d+)*(?: ?[%$€£])?"  # numbers of a kind
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")


@dataclasses.dataclass(frozen=True)
class Table:
    """What a file says.

    Attributes:
        path: the file.
        columns: {name: (kind, array)}: of `NUMBERS` (T,) float64, finite or NaN where missing; of
            `DATES` (T,) int64, nanoseconds since 1970; of `TEXT` and `NOTHING` None.
        steps: T, the number of rows.
        place: the index of a row to how messages call it: "line 7".
    """

    path: pathlib.Path
    columns: Mapping[str, tuple[str, np.ndarray | None]]
    steps: int
    place: Callable[[int], str]

    def named(self, kind: str) -> list[str]:
        """Return the names of the columns of a kind."""
        return [name for name, (own, _) in self.columns.items() if own == kind]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column as pandas has it.

    Attributes:
        path: the file.
        name: of the column.
        cells: a `pandas.Series` (T,).
        first: whether it is the first one, where dates use to stand.
        decimal: "." or ",", in numbers that are text still.
        place: as of `Table`.
    """

    path: pathlib.Path
    name: str
    cells: object
    first: bool
    decimal: str
    place: Callable[[int], str]

    def fault(self, row: int, why: str, remedy: str) -> BadInput:
        """Return the error that is about one cell."""
        return BadInput(
            self.path, f"{self.place(row)}, column {self.name!r}: {str(why)[:200]}", remedy
        )


def read_table(path: pathlib.Path) -> Table:
    """Read a .parquet file, or text whose columns are parted by commas, semicolons or tabs.

    A text without a line of names has columns "0", "1", ... A first column without a name that
    counts the rows is left away, as are columns with neither name nor value.

    Raises:
        BadInput: the file is empty, damaged or no table, or a column of numbers or dates holds
            something else; names line, column and value.
    """
    read = parquet_frame if path.suffix.lower() == ".parquet" else text_frame
    frame, decimal, place = read(path)
    columns = {}
    for i, name in enumerate(frame):
        column = Column(path, name, frame[name], i == 0, decimal, place)
        kind, array = understood(column)
        counts = kind == NUMBERS and i == 0 and (np.diff(array) == 1).all()
        if name != nameless(i) or not (kind == NOTHING or counts):
            columns[name] = kind, array
    return Table(path, columns, len(frame), place)


def nameless(i):
    """Return what a column without a name is called."""
    return f"unnamed {i}"


def text_frame(path):
    """Return (pandas.DataFrame, decimal separator, `place`) of a text file."""
    import pandas as pd

    text = decoded(path)
    lines = list(enumerate(re.split("\r\n|\r|\n", text), 1))
    separator = separator_of([line for _, line in lines])
    if separator is None:  # an empty line may be a missing value
        while lines and not lines[-1][1].strip(" "):
            lines.pop()
    else:
        lines = [(number, line) for number, line in lines if line.strip(" ")]
    if not lines:
        raise BadInput(path, "the file is empty", "Remove it or copy it again")
    rows, ends = checked_rows(path, lines, separator or ",")
    skipped = 0 if headless(*rows) else ends[0][0]
    ends = ends if not skipped else ends[1:]
    names = unlike(path, list(range(len(rows[0]))) if not skipped else rows[0])
    if not ends:
        raise BadInput(path, "it has a line of names and no rows", "Copy it again")
    decimal = decimal_of(text) if separator in (";", "\t") else "."
    try:
        frame = pd.read_csv(
            io.StringIO("\n".join(line for _, line in lines[skipped:])),
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
        raise BadInput(path, f"it is no table ({str(error).strip()})", "Copy it again") from error
    if len(frame) != len(ends):
        raise BadInput(path, "its quotation marks do not pair", "Remove them, or copy it again")
    return frame, decimal, lambda row: f"line {ends[row][1]}"


def decoded(path):
    """Return the text of a file."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, "it is no text in UTF-8", "Save it as CSV in UTF-8") from error
    if BINARY.search(text):
        raise BadInput(path, "it is not a text file", "Save it as CSV")
    return text


def separator_of(lines):
    """Return what parts the columns, None if there is one alone."""
    some = [line for line in lines if line.strip(" ")][:50]
    for separator in "\t;,":
        if {line.count(separator) > 0 for line in some} == {True}:
            return separator
    return next((separator for separator in "\t;," if some and separator in some[0]), None)


def checked_rows(path, lines, separator):
    """Return the first two rows, and for every one (lines so far, number of its last line)."""
    rows, ends = [], []
    style = dict(delimiter=separator, skipinitialspace=True, strict=True)
    reader = csv.reader((line for _, line in lines), **style)
    try:
        for row in reader:
            row = row or [""]
            rows += [row] if len(rows) < 2 else []
            number = lines[reader.line_num - 1][0]
            ends.append((reader.line_num, number))
            if len(row) != len(rows[0]):
                raise BadInput(
                    path,
                    f"line {number} has {len(row)} columns, and line {ends[0][1]} {len(rows[0])}",
                    "Repair the line; columns are parted by commas, semicolons or tabs",
                )
    except csv.Error as error:
        number = lines[max(reader.line_num, 1) - 1][0]
        raise BadInput(path, f"line {number}: {error}", "Repair the quotation marks") from error
    return rows, ends


def headless(first, second=()):
    """Tell whether the first row holds values and no names."""
    words = [word.strip() for word in first]
    values = [bool(VALUE.fullmatch(word)) for word in words]
    if not any(values) or any(
        not value and word.lower() not in MISSING for value, word in zip(values, words, strict=True)
    ):
        return False
    # pandas names columns 0, 1, ...: before fractions these are no row of whole numbers
    counted = words[words[0] == "" :]
    numbered = counted == [str(i) for i in range(len(counted))]
    return not (numbered and len(words) > 1 and any("." in word for word in second))


def unlike(path, names):
    """Return the names of columns, all told and unlike."""
    names = [str(name).strip() or nameless(i) for i, name in enumerate(names)]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(path, f"it has two columns {name[:80]!r}", "Rename or remove one")
    return names


def decimal_of(text):
    """Return "," if all fractions have one, and not all may be thousands; else a point."""
    found = set(FRACTION.findall(text)) if "," in text else set()
    commas = {word for word in found if "," in word}
    unmistakable = any(not THOUSANDS.fullmatch(word) for word in commas)
    return "," if commas == found and unmistakable else "."


def parquet_frame(path):
    """Return (pandas.DataFrame, decimal separator, `place`) of a Parquet file."""
    import pandas as pd

    raw = read_bytes(path)
    try:
        import pyarrow.parquet

        # without threads: a process whose memory is scarce can abort when it ends with them
        table = pyarrow.parquet.read_table(
            io.BytesIO(raw), page_checksum_verification=True, use_threads=False, pre_buffer=False
        )
        table.validate(full=True)
        frame = table.to_pandas(use_threads=False)
        if isinstance(frame.index, pd.DatetimeIndex) or any(frame.index.names):
            frame = frame.reset_index()
    except MemoryError as error:
        raise BadInput(path, "it does not fit in memory", "Copy it again, or cut it") from error
    except Exception as error:  # damaged files make pyarrow raise a dozen kinds
        reason = str(error).strip().split("\n")[0].rstrip(".")[:200]
        raise BadInput(path, f"it is no sound Parquet file ({reason})", "Copy it again") from error
    if frame.empty:
        raise BadInput(path, "it has no rows or no columns", "Copy it again")
    frame.columns = unlike(path, frame.columns)
    return frame.reset_index(drop=True), ".", lambda row: f"row {row + 1}"


def understood(column):
    """Return (kind, array) of a column."""
    import pandas as pd

    cells = column.cells
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
    """Return (kind, array) of a column of text, which may mean numbers or dates."""
    import pandas as pd

    words = cells.str.strip()
    words = words.mask(words.str.lower().isin(MISSING)).dropna()
    if not len(words):
        return NOTHING, None
    plain = words.str.replace(",", ".") if column.decimal == "," else words
    found = pd.to_numeric(plain, errors="coerce")
    if 2 * found.notna().sum() >= len(words):
        if found.isna().any():
            row = found.isna().idxmax()
            raise column.fault(row, f"{words[row]!r} is no number", WRITE)
        values = np.full(len(cells), np.nan)
        values[words.index] = found.astype(np.float64)
        return number_column(column, values)
    times = dates_of_words(column, words)
    marked = words.str.fullmatch(MARKED)
    if times is None and 2 * marked.sum() >= len(words):
        row = marked.idxmax()
        raise column.fault(row, f"{words[row]!r} is no number", WRITE)
    return (TEXT, None) if times is None else (DATES, times)


def number_column(column, values):
    """Return (kind, array) of a column of numbers, which may mean dates."""
    endless = np.isinf(values)
    if endless.any():
        raise column.fault(endless.argmax(), "the number is infinite or too large", WRITE)
    times = dates_of_numbers(column, values)
    return (NUMBERS, values) if times is None else (DATES, times)
