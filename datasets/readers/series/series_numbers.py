"""Columns of numbers that are written with thousands, decimal commas or units."""

import collections
import re

import numpy as np

WRITE = "Write numbers with a decimal point and no other mark, or leave the cell empty"
MARKED = r"(?=.*[,'%$€£])[-+]?[$€£]? ?\d+(?:[.,']\d+)*(?: ?[%$€£])?"  # numbers of a kind
SPACE = "\u0020\u00a0\u2007\u2009\u202f'’"  # between thousands: blanks of all kinds, apostrophes
GROUPED = (
    (rf"[-+]?(?:\d{{1,3}}(?:[{SPACE}]\d{{3}})+|\d+)(?:[.,]\d+)?", rf"\d[{SPACE}]\d{{3}}", SPACE),
    (r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?", r"\d\.\d{3}[,.]", "."),
    (r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", r"\d,\d{3}[.,]", ","),
)  # forms of numbers with thousands, what in one of them leaves no doubt, and the marks
MEASURED = re.compile(
    r"([-+]?)([$€£]?) ?([-+]?(?:\d|\d.*?\d|[.,]\d+))\s?"
    r"((?!e[-+]?\d)[%‰°A-Za-zµμΩ€$£][A-Za-z0-9µμΩ²³°%/·*^_€$£-]{0,11})?",
    re.IGNORECASE,
)  # sign, currency, number, unit


def plain_numbers(column, words):
    """Return the numbers that all words of a column are, (n,) float64, or None.

    Thousands and decimal commas are read where one of the words leaves no doubt.

    Args:
        column: a `datasets.readers.series.series_tables.Column`.
        words: a `pandas.Series` of its cells that are not missing.

    Raises:
        BadInput: most are numbers and one is none.
    """
    import pandas as pd

    for form, evidence, marks in GROUPED:
        sure = words.str.contains(evidence).any() or (marks == "." and column.decimal == ",")
        if sure and words.str.fullmatch(form).all():
            bare = words.str.replace(f"[{marks}]", "", regex=True).str.replace(",", ".")
            return pd.to_numeric(bare).to_numpy(np.float64)
    plain = words.str.replace(",", ".") if column.decimal == "," else words
    found = pd.to_numeric(plain, errors="coerce")
    if 2 * found.notna().sum() < len(words):
        return None
    if found.isna().any():
        row = found.isna().idxmax()
        raise column.fault(row, f"{words[row]!r} is no number", WRITE)
    return found.to_numpy(np.float64)


def measured_numbers(column, words):
    """Return numbers that all have one unit or currency, or None; the unit is noted.

    Args:
        column: likewise.
        words: likewise.

    Raises:
        BadInput: most have that unit and one has not, or all may mean two numbers.
    """
    import pandas as pd

    parts = [MEASURED.fullmatch(word) for word in words]
    units = [(part[2] or "") + (part[4] or "") if part else "" for part in parts]
    unit, count = collections.Counter(units).most_common(1)[0]
    if unit and 10 * count >= 9 * len(units):
        if count < len(units):
            other = next(i for i, own in enumerate(units) if own != unit)
            why = f"{words.iloc[other]!r} is no number in {unit}, as the others are"
            raise column.fault(words.index[other], why, WRITE)
        bare = pd.Series([part[1] + part[3].strip() for part in parts], words.index)
        found = plain_numbers(column, bare)
        if found is not None:
            column.notes.append(f"column {column.name!r} is read as numbers in {unit}")
            return found
    marked = words.str.fullmatch(MARKED)
    if 2 * marked.sum() >= len(words):
        row = marked.idxmax()
        raise column.fault(row, f"{words[row]!r} is no number", WRITE)
    return None


def thousands(frame):
    """Return the columns whose numbers, once read, may be thousands written with a point.

    These are whole or have three decimals, and none is 1000 or more.

    Args:
        frame: a `pandas.DataFrame`.

    Returns:
        The indices of the columns.
    """
    own = np.flatnonzero([kind == np.float64 for kind in frame.dtypes])
    values = np.abs(frame.iloc[:, own].to_numpy())
    own, values = own[(keep := ~(values >= 1000).any(axis=0))], values[:, keep]
    parts = values * 1000
    return own[~(np.abs(parts - np.round(parts)) > 1e-6).any(axis=0)].tolist()
