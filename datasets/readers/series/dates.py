"""Columns of dates: read where there is no doubt which day they mean."""

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
SHAPE = r"\d{4}\D\d|\d{1,2}[-/. ]\w+[-/. ,]+\d|[A-Za-z]{3,9}[- ]\d"  # how all of these begin
COMPACT = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d"}  # by the number of digits
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # since 1970
SECONDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
EXCEL = (20_000, 80_000)  # days since 1899-12-30, of 1954 to 2119
YEARS = (1678, 2261)  # whose nanoseconds since 1970 fit into 64 bits
QUARTER = r"\d{4}[- ]?[Qq][1-4]"
OFFSET = r"(:\d\d(?:\.\d+)?)\s+([+-]\d\d:?\d\d)$"
ZONE = r"\s*(?:UTC|GMT|Z)$"
WRITE = "Write all dates as 2020-12-31 or 2020-12-31 23:59:00"


def likely(column):
    """Tell whether a column is meant to hold dates, by its name or place."""
    return column.first or said(column)


def said(column):
    """Tell whether the name of a column says that it holds dates."""
    return "".join(filter(str.isalnum, column.name.lower())) in NAMES


def dates_of_words(column, words):
    """Return the dates that all words of a column are, (T,) int64 nanoseconds, or None.

    Args:
        column: a `datasets.readers.series.series_tables.Column`.
        words: a `pandas.Series` of its cells that are not missing.

    Raises:
        BadInput: it is meant to hold dates, and one is missing, is none, or all have two meanings.
    """
    written, words = words, words.str.replace(ZONE, "", regex=True)
    words = words.str.replace(OFFSET, r"\1\2", regex=True)
    if words.str.fullmatch(QUARTER).all():
        words = words.str[:4] + "-" + (3 * words.str[-1].astype(int) - 2).astype(str).str.zfill(2)
    sample = words.iloc[:: -(-len(words) // 50)]
    if 2 * sample.str.match(SHAPE).sum() < len(sample):
        return None
    formats = [f for f in FORMATS if 2 * parsed(sample, f).notna().sum() >= len(sample)]
    read = [parsed(words, f) for f in formats]
    whole = [times for times in read if times.notna().all()]
    if not read or not (likely(column) or (whole and len(words) == len(column.cells))):
        return None
    if len(words) < len(column.cells):
        row = column.cells.index.difference(words.index)[0]
        raise column.fault(row, "the date is missing", "Fill it in, or remove the row")
    if not whole:
        row = max(read, key=lambda times: times.notna().sum()).isna().idxmax()
        why = f"{written[row]!r} is no date, or not written like the others"
        raise column.fault(row, why, WRITE)
    if not all(times.equals(whole[0]) for times in whole):
        if not likely(column):
            return None
        why = f"{written.iloc[0]!r} may be day and month or month and day, as may all the others"
        raise column.fault(0, why, WRITE)
    return nanoseconds(column, whole[0])


def parsed(words, form):
    """Return words as `pandas` dates in UTC, NaT where they are not in that form."""
    import pandas as pd

    try:
        return pd.to_datetime(words, format=form, errors="coerce", utc=True)
    except (ValueError, OverflowError):  # of years that no format has
        return pd.Series(pd.NaT, words.index, "datetime64[us, UTC]")


def dates_of_numbers(column, values):
    """Return the dates that numbers mean, (T,) int64 nanoseconds, or None.

    In a column whose name says that it holds dates, they are years, 202012, 20201231, seconds or
    parts of them since 1970, or Excel's days since 1900. A first column of any other name is read
    as seconds since 1970 only if it rises by equal steps, within 2001 to 2039. What is not plain
    from the numbers is noted.

    Raises:
        BadInput: most are dates, and one is not or is missing.
    """
    known = values[~np.isnan(values)]
    if not len(known) or not (said(column) or (column.first and rises(known, equal=True))):
        return None
    low, high, what = known.min(), known.max(), f"column {column.name!r} is read as"
    if said(column) and (known == np.round(known)).all():
        for digits, form in COMPACT.items():
            scale = 10 ** (digits - 4)
            if YEARS[0] * scale <= low and high < (YEARS[1] + 1) * scale:
                return compact(column, values, digits, form)
    least, most = (3e8, 4e9) if said(column) else (1e9, 2.2e9)
    for unit, scale in UNITS.items():
        if least * scale <= low and high < most * scale:  # 1979 to 2096, if it says so
            check_complete(column, values)
            column.notes.append(f"{what} {SECONDS[unit]} since 1970")
            return since_1970(column.cells.to_numpy(), scale)
    days = "da" in column.name.lower() or (known != np.floor(known)).any()
    if said(column) and EXCEL[0] <= low and high < EXCEL[1] and days and rises(known):
        check_complete(column, values)
        column.notes.append(f"{what} days of Excel, since 1899-12-30")
        return np.round((values - 25_569) * 86_400).astype(np.int64) * 10**9
    return None


def since_1970(values, scale):
    """Return numbers, of which a second has so many, as int64 nanoseconds; exact if whole."""
    if values.dtype.kind in "iu":
        return values.astype(np.int64) * (10**9 // scale)
    whole = np.floor(values / scale)  # apart, since a float cannot hold the nanoseconds of a date
    rest = np.round((values - whole * scale) * 1e6 / scale)
    return whole.astype(np.int64) * 10**9 + rest.astype(np.int64) * 1000


def compact(column, values, digits, form):
    """Return the dates that whole numbers of so many digits are, or None."""
    if digits == 4 and not rises(values):
        return None  # of many rows each, years are no dates
    check_complete(column, values)
    whole = column.cells.astype(np.int64)
    times = parsed(whole.astype(str), form)
    if times.isna().any() and 2 * times.notna().sum() >= len(times):
        row = times.isna().idxmax()
        raise column.fault(row, f"{whole[row]} is no date", WRITE)
    return None if times.isna().any() else nanoseconds(column, times)


def check_complete(column, values):
    """Raise if a date is missing."""
    if np.isnan(values).any():
        row = np.isnan(values).argmax()
        raise column.fault(row, "the date is missing", "Fill it in, or remove the row")


def rises(values, equal=False):
    """Tell whether each number is above the one before, by steps most of which are equal if so."""
    steps = np.diff(values)
    if not len(steps) or not (steps > 0).all():
        return False
    usual = np.median(steps)
    return not equal or np.mean(np.abs(steps - usual) < 1e-3 * usual) >= 0.9


def without_date(column, values):
    """Tell whether numbers are times since a start that nobody names: 0, 0.1, 0.2 in "time"."""
    return said(column) and rises(values)


def nanoseconds(column, times):
    """Return `pandas` dates as (T,) int64 nanoseconds since 1970.

    Raises:
        BadInput: a year does not fit.
    """
    outside = ~times.dt.year.between(*YEARS)
    if outside.any():
        row = outside.idxmax()
        why = f"its year is {times.dt.year[row]}, and {YEARS[0]} to {YEARS[1]} are read"
        raise column.fault(row, why, "Remove the row, or correct the date")
    return times.dt.tz_convert("UTC").dt.as_unit("ns").astype("int64").to_numpy()
