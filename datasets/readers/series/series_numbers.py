"""Numeric columns written with thousands separators, decimal commas or units."""

import collections
import re

import numpy as np

WRITE = "Write numbers with a decimal point and no other separator, or leave the cell empty"
MARKED = r"(?=.*[,'%$€£])[-+]?[$€£]? ?\d+(?:[.,']\d+)*(?: ?[%$€£])?"  # marked numbers
SPACE = "\u0020\u00a0\u2007\u2009\u202f'’"  # thousands separators: spaces and apostrophes
GROUPED = (
    (rf"[-+]?(?:\d{{1,3}}(?:[{SPACE}]\d{{3}})+|\d+)(?:[.,]\d+)?", rf"\d[{SPACE}]\d{{3}}", SPACE),
    (r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?", r"\d\.\d{3}[,.]", "."),
    (r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", r"\d,\d{3}[.,]", ","),
)  # patterns of grouped numbers, the unambiguous part of each, and its separators
MEASURED = re.compile(
    r"([-+]?)([$€£]?) ?([-+]?(?:\d|\d.*?\d|[.,]\d+))\s?"
    r"((?!e[-+]?\d)[%‰°A-Za-zµμΩ€$£][A-Za-z0-9µμΩ²³°%/·*^_€$£-]{0,11})?",
    re.IGNORECASE,
)  # sign, currency, number, unit


def plain_numbers(column, words):
    """Return the words of a column as numbers, (n,) float64, or None if they are not numeric.

    Thousands separators and decimal commas are parsed if one of the words is unambiguous.

    Args:
        column: a `datasets.readers.series.series_tables.Column`.
        words: a `pandas.Series` of its cells that are not missing.

    Raises:
        BadInput: most are numbers but one is not.
    """
    import pandas as pd

    for form, evidence, marks in GROUPED:
        unambiguous = words.str.contains(evidence).any() or (marks == "." and column.decimal == ",")
        if unambiguous and words.str.fullmatch(form).all():
            digits = words.str.replace(f"[{marks}]", "", regex=True).str.replace(",", ".")
            return pd.to_numeric(digits).to_numpy(np.float64)
    plain = words.str.replace(",", ".") if column.decimal == "," else words
    numbers = pd.to_numeric(plain, errors="coerce")
    if 2 * numbers.notna().sum() < len(words):
        return None
    if numbers.isna().any():
        row = numbers.isna().idxmax()
        raise column.fault(row, f"{words[row]!r} is not a number", WRITE)
    return numbers.to_numpy(np.float64)


def measured_numbers(column, words):
    """Return numbers that all have the same unit or currency, or None; a note has the unit.

    Args:
        column: a `datasets.readers.series.series_tables.Column`.
        words: a `pandas.Series` of its cells that are not missing.

    Raises:
        BadInput: most have that unit but one has not, or all are ambiguous.
    """
    import pandas as pd

    parts = [MEASURED.fullmatch(word) for word in words]
    units = [(part[2] or "") + (part[4] or "") if part else "" for part in parts]
    unit, count = collections.Counter(units).most_common(1)[0]
    if unit and 10 * count >= 9 * len(units):
        if count < len(units):
            odd = next(i for i, name in enumerate(units) if name != unit)
            why = f"{words.iloc[odd]!r} is not a number in {unit}, as the others are"
            raise column.fault(words.index[odd], why, WRITE)
        digits = pd.Series([part[1] + part[3].strip() for part in parts], words.index)
        numbers = plain_numbers(column, digits)
        if numbers is not None:
            column.notes.append(f"column {column.name!r} is read as numbers in {unit}")
            return numbers
    marked = words.str.fullmatch(MARKED)
    if 2 * marked.sum() >= len(words):
        row = marked.idxmax()
        raise column.fault(row, f"{words[row]!r} is not a number", WRITE)
    return None


def thousands(frame):
    """Return the columns whose parsed numbers may be thousands written with a point.

    Their numbers are integers or have three decimals, and none is 1000 or more.

    Args:
        frame: a `pandas.DataFrame`.

    Returns:
        The indices of the columns.
    """
    columns = np.flatnonzero([kind == np.float64 for kind in frame.dtypes])
    values = np.abs(frame.iloc[:, columns].to_numpy())
    columns, values = columns[(keep := ~(values >= 1000).any(axis=0))], values[:, keep]
    scaled = values * 1000
    return columns[~(np.abs(scaled - np.round(scaled)) > 1e-6).any(axis=0)].tolist()
