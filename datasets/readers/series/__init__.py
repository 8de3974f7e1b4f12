"""Series to forecast: the user's tables with a row per step, or arrays, one or several series.

An example is {"values": (T, C) float64, NaN where missing; "columns": (C,) their names; "times":
(T, D) int64, nanoseconds since 1970; "time_columns": (D,) their names}. Readers do not impute, cut
or select.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from datasets.readers.files import divide, one_or_no_split, safe_name, split_of, walk
from datasets.readers.series.series_arrays import read_array, read_arrays, unlabelled
from datasets.readers.series.series_tables import (
    DATES,
    ELAPSED,
    NOTHING,
    NUMBERS,
    TEXT,
    Table,
    listed,
    read_table,
)
from datasets.readers.series.ucr_tables import labelled
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint

EXTENSIONS = (".csv", ".tsv", ".txt", ".parquet", ".npy", ".npz", ".csv.gz", ".tsv.gz", ".txt.gz")
FEWEST = 3  # minimum number of steps of a series to forecast


def match(path: pathlib.Path) -> bool:
    """Return whether a path is a file of series, or a folder of such files without class folders.

    The folder may have subfolders train, val and test. Data sets of the UCR archive do not match:
    each row is a series that begins with its class.
    """
    if path.is_file():
        suffix = path.suffix.lower()
        return suits(path) and not labelled(path) and (suffix != ".npz" or unlabelled(path))
    paths = walk(path)
    if any(file.suffix.lower() == ".ts" for file in paths):
        return False
    files = divide(paths, EXTENSIONS)[0]
    return bool(files) and all(flat(file, path) for file in files) and not any(map(labelled, files))


def suits(path):
    """Return whether a file has an extension of series."""
    return path.name.lower().endswith(EXTENSIONS)


def flat(file: pathlib.Path, root: pathlib.Path) -> bool:
    """Return whether a file is directly in a folder, or in one of its splits."""
    folders = file.relative_to(root).parts[:-1]
    return not folders or (len(folders) == 1 and split_of(folders[0]) is not None)


def read(path: pathlib.Path) -> Source:
    """Read a file, or a folder with one file per series and the same columns in each.

    Folders or files named train, val and test are splits. Columns of neither numbers nor dates are
    left out, and named in info["left_out"].

    Raises:
        BadInput: no file can be read, files differ in their columns, or some are in no split.
    """
    root, files, ignored = path.parent, [path], {}
    if path.is_dir():
        root, (files, ignored) = path, divide(walk(path), EXTENSIONS)
    split = {file: placed(file, path) if path.is_dir() else None for file in files}
    one_or_no_split(list(split.items()))
    loaded, errors, items = {}, [], []
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            tables = {name + inner: table for inner, table in load(file).items()}
        except BadInput as error:
            errors.append(error)
            tables = {name: error}  # raised when it is read, so that it can be skipped
        else:
            loaded |= tables
        items += [(split[file] or "train", *item) for item in tables.items()]
    if not loaded:
        raise errors[0]
    kinds = common_kinds(loaded)

    def read_one(item):
        if isinstance(item[2], BadInput):
            raise item[2]
        return example(item[2], kinds)

    by_split = {s: [item for item in items if item[0] == s] for s in SPLITS}
    left_out = [name for name, kind in kinds.items() if kind not in (NUMBERS, DATES)]
    notes = [f"{name}: {note}" for name, table in loaded.items() for note in table.notes]
    notes += remarks(kinds, ignored)
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(files, root),
        classes=(),
        splits={
            s: Examples.of(some, read_one, lambda item: item[1])
            for s, some in by_split.items()
            if some
        },
        info={
            key: facts
            for key, facts in {"left_out": left_out, "ignored": ignored, "notes": notes}.items()
            if facts
        },
    )


def remarks(kinds, ignored):
    """Return sentences on the columns and files that are left out."""
    notes = []
    for reason, reasons in (
        ("are neither numbers nor dates", (TEXT,)),
        ("have no values", (NOTHING,)),
        ("increase like times without a date, and are not forecast", (ELAPSED,)),
    ):
        names = [repr(name[:40]) for name, kind in kinds.items() if kind in reasons]
        notes += [f"columns that {reason} are left out: {listed(names)}"] if names else []
    files = [f"{count} {kind}" for kind, count in ignored.items()]
    return notes + ([f"files of other kinds are not read: {listed(files)}"] if files else [])


def placed(file, root):
    """Return the split that the folder or the name of a file stands for, or None."""
    folders = file.relative_to(root).parts[:-1]
    return split_of(folders[0] if folders else file.stem)


def read_example(path: pathlib.Path) -> dict:
    """Read a file of one series.

    Raises:
        BadInput: it cannot be read, or contains several.
    """
    path = pathlib.Path(path)
    tables = load(path)
    if len(tables) > 1:
        raise BadInput(path, f"it contains {len(tables)} series", "Save each in its own file")
    (table,) = tables.values()
    kinds = common_kinds({path.name: table})
    notes = [*table.notes, *remarks(kinds, {})]
    return example(table, kinds) | ({"notes": notes} if notes else {})


def load(path):
    """Return the series of a file, {suffix of its name: `Table`}, after checking them."""
    tables = read_tables(path)
    for inner, table in tables.items():
        if table.steps < FEWEST:
            why = f"it has {table.steps} steps, but a series to forecast needs at least {FEWEST}"
            raise BadInput(f"{path}{inner}", why, "Add earlier steps")
        dates = table.named(DATES)
        if len(dates) == 1:  # if there are several, the task selects one
            check_order(f"{path}{inner}", table, dates[0])
    return tables


def read_tables(path: pathlib.Path) -> dict[str, Table]:
    """Read the series of a file, {suffix of its name: table}; each has a numeric column."""
    kind = path.suffix.lower()
    if not suits(path):
        raise BadInput(path, "it is not a time series format", f"Use {formats()}")
    if not path.is_file():
        raise BadInput(path, "there is no such file")
    try:
        readers = {".npy": read_array, ".npz": read_arrays}
        tables = readers[kind](path) if kind in readers else {"": read_table(path)}
    except MemoryError as error:
        raise BadInput(path, "it does not fit in memory", "Split it into several files") from error
    for inner, table in tables.items():
        if not table.named(NUMBERS):
            others = ", ".join(map(repr, [*table.columns][:10]))
            raise BadInput(
                f"{path}{inner}",
                f"it has no numeric column, only {others[:200] or 'empty ones'}",
                "Separate columns by commas, semicolons or tabs, or move it if it is not a series",
            )
    return tables


def check_order(what, table, name):
    """Raise unless the dates of a column are strictly increasing."""
    times = table.columns[name][1]
    increasing = np.diff(times) > 0
    if increasing.all():
        return
    row = int(increasing.argmin()) + 1
    before, after = (written(times[i]) for i in (row - 1, row))
    why = f"{table.place(row)}, column {name!r}: {after} comes after {before}"
    if times[row] == times[row - 1]:
        remedy = "Remove one of them, or save each series in its own file"
        raise BadInput(what, why, f"{remedy}; date and time of day must be in one column")
    raise BadInput(what, why, "Sort the rows by time")


def written(time):
    """Return nanoseconds since 1970 as a date, with the time of day unless it is midnight."""
    date, _, clock = str(np.datetime64(int(time), "ns")).partition("T")
    clock = clock.removesuffix(".000000000")
    return date if clock == "00:00:00" else f"{date} {clock}"


def common_kinds(tables: Mapping[str, Table]) -> dict[str, str]:
    """Return {name: kind} of the columns of tables, after checking that all agree.

    A column without any value agrees with every kind.

    Args:
        tables: {name in messages: table}.

    Raises:
        BadInput: they have different columns, or columns of different kinds; the message has the
            names of both files.
    """
    (first, table), *rest = tables.items()
    kinds = {name: (kind, first) for name, (kind, _) in table.columns.items()}
    for label, table in rest:
        check_same(table.path, table.columns, first, kinds)
        for name, (kind, _) in table.columns.items():
            before, where = kinds[name]
            if before == NOTHING:
                kinds[name] = kind, label
            elif {kind, before} == {ELAPSED, NUMBERS}:  # it increases in some files only
                kinds[name] = NUMBERS, where if before == NUMBERS else label
            elif kind not in (before, NOTHING):
                why = f"its column {name!r} has {kind}, but {before} in {where}"
                raise BadInput(table.path, why, "Use the same columns in all files")
    return {name: kind for name, (kind, _) in kinds.items()}


def check_same(what, names, first, wanted):
    """Raise unless a file has the columns of the first file, in any order."""
    present, expected = set(names), set(wanted)  # of thousands of columns
    missing, extra = (
        [n for n in wanted if n not in present],
        [n for n in names if n not in expected],
    )
    differences = [f"lacks {', '.join(map(repr, missing[:10]))}"] if missing else []
    differences += [f"also has {', '.join(map(repr, extra[:10]))}"] if extra else []
    if differences:
        why = f"its columns are not those of {first}: it {' and '.join(differences)}"
        raise BadInput(what, why, "Use the same columns in all files")


def example(table, kinds):
    """Return the example of a table, with columns of these kinds."""
    numbers, dates = ([n for n, k in kinds.items() if k == kind] for kind in (NUMBERS, DATES))
    for name in dates:
        if table.columns[name][0] == NOTHING:
            why = f"its column {name!r} is empty, but has dates in other files"
            raise BadInput(table.path, why, "Fill it in")
    return {
        "values": stacked(table, numbers, np.float64),
        "columns": np.array(numbers, str),
        "times": stacked(table, dates, np.int64),
        "time_columns": np.array(dates, str),
    }


def stacked(table, names, dtype):
    """Return columns of a table as (T, C); columns without values are NaN."""
    values = np.empty((table.steps, len(names)), dtype)
    for i, name in enumerate(names):
        kind, column = table.columns[name]
        values[:, i] = np.nan if kind == NOTHING else column
    return values


def find_series(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Return the series files of files and folders given on a command line, in order.

    Raises:
        BadInput: a path does not exist, is not a series, or is a folder without series.
    """
    series = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            files, _ = divide(walk(path), EXTENSIONS)
            if not files:
                raise BadInput(path, "the folder contains no series", f"Use {formats()}")
            series += files
        elif not path.exists():
            raise BadInput(path, "there is no such file or folder")
        elif not suits(path):
            raise BadInput(path, "it is not a time series format", f"Use {formats()}")
        else:
            series.append(path)
    return series


def formats() -> str:
    """Return the formats as text for a message."""
    return ", ".join(EXTENSIONS)
