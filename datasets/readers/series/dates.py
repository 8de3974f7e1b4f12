"""Columns of dates, which are parsed only if they are unambiguous."""

import itertools

import numpy as np

NAMES = {"date", "time", "datetime", "timestamp", "ds", "year", "month", "unix", "unixtime"}
NAMES |= {"ts", "dt", "epoch", "epochtime", "timeutc", "utc", "datum", "zeit", "zeitstempel"}
DAYS = (
    *("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y"),
    *("%m-%d-%Y", "%d-%b-%Y", "%d %b %Y", "%b %d %Y", "%b %d, %Y", "%b-%Y", "%b %Y"),
    *("%d %B %Y", "%B %d, %Y", "%B %Y"),
)
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = ("ISO8601", *map("".join, itertools.product(DAYS, CLOCKS)))
SHAPE = r"\d{4}\D\d|\d{1,2}[-/. ]\w+[-/. ,]+\d|[A-Za-z]{3,9}[- ]\d"  # the beginning of all of these
COMPACT = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d"}  # by the number of digits
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # since 1970
SECONDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
EXCEL = (20_000, 80_000)  # days since 1899-12-30, from 1954 to 2119
YEARS = (1678, 2261)  # whose nanoseconds since 1970 fit into 64 bits
QUARTER = r"\d{4}[- ]?[Qq][1-4]"
OFFSET = r"(:\d\d(?:\.\d+)?)\s+([+-]\d\d:?\d\d)$"
ZONE = r"\s*(?:UTC|GMT|Z)$"
WRITE = "Write all dates as 2020-12-31 or 2020-12-31 23:59:00"


def may_be_dates(column):
    """Return whether a column may have dates, by its name or position."""
    return column.first or named_dates(column)


def named_dates(column):
    """Return whether the name of a column means that it has dates."""
    return "".join(filter(str.isalnum, column.name.lower())) in NAMES


def dates_of_words(column, words):
    """Return the words of a column as dates, (T,) int64 nanoseconds, or None.

    Args:
        column: a `datasets.readers.series.series_tables.Column`.
        words: a `pandas.Series` of its cells that are not missing.

    Raises:
        BadInput: it has dates, but one is missing or invalid, or all are ambiguous.
    """
    written, words = words, words.str.replace(ZONE, "", regex=True)
    words = words.str.replace(OFFSET, r"\1\2", regex=True)
    if words.str.fullmatch(QUARTER).all():
        words = words.str[:4] + "-" + (3 * words.str[-1].astype(int) - 2).astype(str).str.zfill(2)
    sample = words.iloc[:: -(-len(words) // 50)]
    if 2 * sample.str.match(SHAPE).sum() < len(sample):
        return None
    formats = [f for f in FORMATS if 2 * parsed(sample, f).notna().sum() >= len(sample)]
    candidates = [parsed(words, f) for f in formats]
    complete = [times for times in candidates if times.notna().all()]
    if not candidates or not (
        may_be_dates(column) or (complete and len(words) == len(column.cells))
    ):
        return None
    if len(words) < len(column.cells):
        row = column.cells.index.difference(words.index)[0]
        raise column.fault(row, "the date is missing", "Fill it in, or remove the row")
    if not complete:
        row = max(candidates, key=lambda times: times.notna().sum()).isna().idxmax()
        why = f"{written[row]!r} is not a date, or not written like the others"
        raise column.fault(row, why, WRITE)
    if not all(times.equals(complete[0]) for times in complete):
        if not may_be_dates(column):
            return None
        why = f"{written.iloc[0]!r} may be day and month or month and day, like all the others"
        raise column.fault(0, why, WRITE)
    return nanoseconds(column, complete[0])


def parsed(words, form):
    """Return words as `pandas` dates in UTC, NaT where they do not have that format."""
    import pandas as pd

    try:
        return pd.to_datetime(words, format=form, errors="coerce", utc=True)
    except (ValueError, OverflowError):  # of years out of range
        return pd.Series(pd.NaT, words.index, "datetime64[us, UTC]")


def dates_of_numbers(column, values):
    """Return numbers as dates, (T,) int64 nanoseconds, or None.

    In a column whose name means dates, they are years, 202012, 20201231, seconds or fractions of
    them since 1970, or Excel's days since 1900. A first column of any other name is parsed as
    seconds since 1970 only if it increases by equal steps, within 2001 to 2039. Assumptions are
    noted.

    Raises:
        BadInput: most are dates, but one is not or is missing.
    """
    known = values[~np.isnan(values)]
    if not len(known) or not (
        named_dates(column) or (column.first and increases(known, equal=True))
    ):
        return None
    low, high, what = known.min(), known.max(), f"column {column.name!r} is read as"
    if named_dates(column) and (known == np.round(known)).all():
        for digits, form in COMPACT.items():
            scale = 10 ** (digits - 4)
            if YEARS[0] * scale <= low and high < (YEARS[1] + 1) * scale:
                return compact(column, values, digits, form)
    least, most = (3e8, 4e9) if named_dates(column) else (1e9, 2.2e9)
    for unit, scale in UNITS.items():
        if least * scale <= low and high < most * scale:  # 1979 to 2096, if named so
            check_complete(column, values)
            column.notes.append(f"{what} {SECONDS[unit]} since 1970")
            return since_1970(column.cells.to_numpy(), scale)
    days = "da" in column.name.lower() or (known != np.floor(known)).any()
    if named_dates(column) and EXCEL[0] <= low and high < EXCEL[1] and days and increases(known):
        check_complete(column, values)
        column.notes.append(f"{what} Excel days since 1899-12-30")
        return np.round((values - 25_569) * 86_400).astype(np.int64) * 10**9
    return None


def since_1970(values, scale):
    """Return numbers, `scale` of them per second, as int64 nanoseconds; exact for integers."""
    if values.dtype.kind in "iu":
        return values.astype(np.int64) * (10**9 // scale)
    # Seconds separately: float64 is too coarse for the nanoseconds of a date.
    seconds = np.floor(values / scale)
    microseconds = np.round((values - seconds * scale) * 1e6 / scale)
    return seconds.astype(np.int64) * 10**9 + microseconds.astype(np.int64) * 1000


def compact(column, values, digits, form):
    """Return integers of so many digits as dates, or None."""
    if digits == 4 and not increases(values):
        return None  # repeated years are not dates
    check_complete(column, values)
    integers = column.cells.astype(np.int64)
    times = parsed(integers.astype(str), form)
    if times.isna().any() and 2 * times.notna().sum() >= len(times):
        row = times.isna().idxmax()
        raise column.fault(row, f"{integers[row]} is not a date", WRITE)
    return None if times.isna().any() else nanoseconds(column, times)


def check_complete(column, values):
    """Raise if a date is missing."""
    if np.isnan(values).any():
        row = np.isnan(values).argmax()
        raise column.fault(row, "the date is missing", "Fill it in, or remove the row")


def increases(values, equal=False):
    """Return whether numbers are strictly increasing; with `equal`, by mostly equal steps."""
    steps = np.diff(values)
    if not len(steps) or not (steps > 0).all():
        return False
    usual = np.median(steps)
    return not equal or np.mean(np.abs(steps - usual) < 1e-3 * usual) >= 0.9


def without_date(column, values):
    """Return whether numbers are times since an unknown start: 0, 0.1, 0.2 in "time"."""
    return named_dates(column) and increases(values)


def nanoseconds(column, times):
    """Return `pandas` dates as (T,) int64 nanoseconds since 1970.

    Raises:
        BadInput: a year is out of range.
    """
    outside = ~times.dt.year.between(*YEARS)
    if outside.any():
        row = outside.idxmax()
        why = f"its year is {times.dt.year[row]}, not in {YEARS[0]} to {YEARS[1]}"
        raise column.fault(row, why, "Remove the row, or correct the date")
    return times.dt.tz_convert("UTC").dt.as_unit("ns").astype("int64").to_numpy()
