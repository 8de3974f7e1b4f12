"""Columns of dates: read where there is no doubt which day they mean."""

import itertools

import numpy as np

NAMES = {"date", "time", "datetime", "timestamp", "ds", "year", "month", "unix", "unixtime"}
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
YEARS = (1678, 2261)  # whose nanoseconds since 1970 fit into 64 bits
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
        column: a `datasets.readers.series_tables.Column`.
        words: a `pandas.Series` of its cells that are not missing.

    Raises:
        BadInput: it is meant to hold dates, and one is missing, is none, or all have two meanings.
    """
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
        why = f"{words[row]!r} is no date, or not written like the others"
        raise column.fault(row, why, WRITE)
    if not all(times.equals(whole[0]) for times in whole):
        if not likely(column):
            return None
        why = f"{words.iloc[0]!r} may be day and month or month and day, as may all the others"
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
    """Return the dates that whole numbers mean, (T,) int64 nanoseconds, or None.

    They are years, 202012, 20201231, or seconds or parts of them since 1970, in a column whose name
    says that it holds dates.

    Raises:
        BadInput: most are dates like 20201231, and one is not.
    """
    import pandas as pd

    if not said(column) or column.cells.dtype.kind not in "iu":
        return None
    whole = column.cells.astype(np.int64)
    low, high = whole.min(), whole.max()
    for digits, form in COMPACT.items():
        scale = 10 ** (digits - 4)
        if YEARS[0] * scale <= low and high < (YEARS[1] + 1) * scale:
            times = parsed(whole.astype(str), form)
            if digits == 4 and not (np.diff(whole) > 0).all():
                return None  # of many rows each, years are no dates
            if times.isna().any() and 2 * times.notna().sum() >= len(times):
                row = times.isna().idxmax()
                raise column.fault(row, f"{whole[row]} is no date", WRITE)
            return None if times.isna().any() else nanoseconds(column, times)
    for unit, scale in UNITS.items():
        if 3e8 * scale <= low and high < 4e9 * scale:  # 1979 to 2096
            return nanoseconds(column, pd.to_datetime(whole, unit=unit, utc=True))
    return None


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
