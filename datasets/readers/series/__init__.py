"""Series to forecast: a person's tables with a row a step, or arrays, one series or several.

An example is {"values": (T, C) float64, NaN where missing; "columns": (C,) their names; "times":
(T, D) int64, nanoseconds since 1970; "time_columns": (D,) their names}. Nothing is filled in, cut
or chosen here.
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
FEWEST = 3  # steps of a series that can be forecast


def match(path: pathlib.Path) -> bool:
    """Tell whether a path is a file of series, or a folder of such files in no class folders.

    The folder may have train/, val/ and test/ in it. Problems of the UCR archive are none: a row of
    theirs is a series, and begins with its class.
    """
    if path.is_file():
        kind = path.suffix.lower()
        return suits(path) and not labelled(path) and (kind != ".npz" or unlabelled(path))
    everything = walk(path)
    if any(file.suffix.lower() == ".ts" for file in everything):
        return False
    files = divide(everything, EXTENSIONS)[0]
    return bool(files) and all(flat(file, path) for file in files) and not any(map(labelled, files))


def suits(path):
    """Tell whether the name of a file ends as those of series do."""
    return path.name.lower().endswith(EXTENSIONS)


def flat(file: pathlib.Path, root: pathlib.Path) -> bool:
    """Tell whether a file lies directly in a folder, or in one of its splits."""
    folders = file.relative_to(root).parts[:-1]
    return not folders or (len(folders) == 1 and split_of(folders[0]) is not None)


def read(path: pathlib.Path) -> Source:
    """Read a file, or a folder with a file a series and the same columns in each.

    What lies in folders named train, val and test, or in files of these names, is that split.
    Columns that hold neither numbers nor dates are left out, and named in info["left_out"].

    Raises:
        BadInput: no file can be read, files differ in their columns, or some are in no split.
    """
    root, files, ignored = path.parent, [path], {}
    if path.is_dir():
        root, (files, ignored) = path, divide(walk(path), EXTENSIONS)
    split = {file: placed(file, path) if path.is_dir() else None for file in files}
    one_or_no_split(list(split.items()))
    found, faults, items = {}, [], []
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            tables = {name + inner: table for inner, table in load(file).items()}
        except BadInput as error:
            faults.append(error)
            tables = {name: error}  # found when it is read, so that it can be skipped
        else:
            found |= tables
        items += [(split[file] or "train", *item) for item in tables.items()]
    if not found:
        raise faults[0]
    kinds = agreed(found)

    def read_one(item):
        if isinstance(item[2], BadInput):
            raise item[2]
        return example(item[2], kinds)

    by_split = {s: [item for item in items if item[0] == s] for s in SPLITS}
    left_out = [name for name, kind in kinds.items() if kind not in (NUMBERS, DATES)]
    notes = [f"{name}: {note}" for name, table in found.items() for note in table.notes]
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
    for reason, own in (
        ("are neither numbers nor dates", (TEXT,)),
        ("hold no value", (NOTHING,)),
        ("rise like times without a date, and are not forecast", (ELAPSED,)),
    ):
        names = [repr(name[:40]) for name, kind in kinds.items() if kind in own]
        notes += [f"columns that {reason} are left out: {listed(names)}"] if names else []
    files = [f"{count} {kind}" for kind, count in ignored.items()]
    return notes + ([f"files of other kinds are not read: {listed(files)}"] if files else [])


def placed(file, root):
    """Return the split that a file's folder stands for, or its name, or None."""
    folders = file.relative_to(root).parts[:-1]
    return split_of(folders[0] if folders else file.stem)


def read_example(path: pathlib.Path) -> dict:
    """Read a file that holds one series.

    Raises:
        BadInput: it cannot be read, or holds several.
    """
    path = pathlib.Path(path)
    tables = load(path)
    if len(tables) > 1:
        raise BadInput(path, f"it holds {len(tables)} series", "Save each in a file of its own")
    (table,) = tables.values()
    kinds = agreed({path.name: table})
    notes = [*table.notes, *remarks(kinds, {})]
    return example(table, kinds) | ({"notes": notes} if notes else {})


def load(path):
    """Return the series of a file, {what follows its name: `Table`}, once each can be forecast."""
    tables = read_tables(path)
    for inner, table in tables.items():
        if table.steps < FEWEST:
            why = f"it has {table.steps} steps, and a series to forecast has {FEWEST} at least"
            raise BadInput(f"{path}{inner}", why, "Add the steps before them")
        dates = table.named(DATES)
        if len(dates) == 1:  # of several, the task takes one
            check_order(f"{path}{inner}", table, dates[0])
    return tables


def read_tables(path: pathlib.Path) -> dict[str, Table]:
    """Read the series of a file, {what follows its name: table}; each has a column of numbers."""
    kind = path.suffix.lower()
    if not suits(path):
        raise BadInput(path, "it is no format of series", f"Use {formats()}")
    if not path.is_file():
        raise BadInput(path, "there is no such file")
    try:
        readers = {".npy": read_array, ".npz": read_arrays}
        tables = readers[kind](path) if kind in readers else {"": read_table(path)}
    except MemoryError as error:
        raise BadInput(path, "it does not fit in memory", "Cut it into files") from error
    for inner, table in tables.items():
        if not table.named(NUMBERS):
            others = ", ".join(map(repr, [*table.columns][:10]))
            raise BadInput(
                f"{path}{inner}",
                f"it has no column of numbers, only {others[:200] or 'empty ones'}",
                "Part columns by commas, semicolons or tabs, or move it if it is no series",
            )
    return tables


def check_order(what, table, name):
    """Raise unless the dates of a column are later from row to row."""
    times = table.columns[name][1]
    late = np.diff(times) > 0
    if late.all():
        return
    row = int(late.argmin()) + 1
    before, after = (written(times[i]) for i in (row - 1, row))
    why = f"{table.place(row)}, column {name!r}: {after} comes after {before}"
    if times[row] == times[row - 1]:
        remedy = "Remove one of them, or save each series in a file of its own"
        raise BadInput(what, why, f"{remedy}; date and time of day belong into one column")
    raise BadInput(what, why, "Sort the rows by time")


def written(time):
    """Return nanoseconds since 1970 as a date, and a time if there is one."""
    date, _, clock = str(np.datetime64(int(time), "ns")).partition("T")
    clock = clock.removesuffix(".000000000")
    return date if clock == "00:00:00" else f"{date} {clock}"


def agreed(tables: Mapping[str, Table]) -> dict[str, str]:
    """Return {name: kind} of the columns of tables, once all agree.

    A column without any value is of every kind.

    Args:
        tables: by what messages call them.

    Raises:
        BadInput: they have other columns, or columns of other kinds; names the two files.
    """
    (first, table), *others = tables.items()
    kinds = {name: (kind, first) for name, (kind, _) in table.columns.items()}
    for other, table in others:
        check_same(table.path, table.columns, first, kinds)
        for name, (kind, _) in table.columns.items():
            before, where = kinds[name]
            if before == NOTHING:
                kinds[name] = kind, other
            elif {kind, before} == {ELAPSED, NUMBERS}:  # it rises in some files alone
                kinds[name] = NUMBERS, where if before == NUMBERS else other
            elif kind not in (before, NOTHING):
                why = f"its column {name!r} holds {kind}, and in {where} it holds {before}"
                raise BadInput(table.path, why, "Give all files the same columns")
    return {name: kind for name, (kind, _) in kinds.items()}


def check_same(what, names, first, wanted):
    """Raise unless a file has the columns of the first one, in any order."""
    own, others = set(names), set(wanted)  # of thousands of columns
    lacks, more = [n for n in wanted if n not in own], [n for n in names if n not in others]
    told = [f"lacks {', '.join(map(repr, lacks[:10]))}"] if lacks else []
    told += [f"has {', '.join(map(repr, more[:10]))} besides"] if more else []
    if told:
        why = f"its columns are not those of {first}: it {' and '.join(told)}"
        raise BadInput(what, why, "Give all files the same columns")


def example(table, kinds):
    """Return the example that a table is, with the columns of these kinds."""
    numbers, dates = ([n for n, k in kinds.items() if k == kind] for kind in (NUMBERS, DATES))
    for name in dates:
        if table.columns[name][0] == NOTHING:
            why = f"its column {name!r} is empty, and holds dates in other files"
            raise BadInput(table.path, why, "Fill it in")
    return {
        "values": stacked(table, numbers, np.float64),
        "columns": np.array(numbers, str),
        "times": stacked(table, dates, np.int64),
        "time_columns": np.array(dates, str),
    }


def stacked(table, names, dtype):
    """Return columns of a table as (T, C); one without any value is NaN."""
    found = np.empty((table.steps, len(names)), dtype)
    for i, name in enumerate(names):
        kind, column = table.columns[name]
        found[:, i] = np.nan if kind == NOTHING else column
    return found


def find_series(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Expand files and folders, as given on a command line, to the files of series, in order.

    Raises:
        BadInput: a path does not exist, is no series, or is a folder without any.
    """
    found = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            files, _ = divide(walk(path), EXTENSIONS)
            if not files:
                raise BadInput(path, "the folder holds no series", f"Use {formats()}")
            found += files
        elif not path.exists():
            raise BadInput(path, "there is no such file or folder")
        elif not suits(path):
            raise BadInput(path, "it is no format of series", f"Use {formats()}")
        else:
            found.append(path)
    return found


def formats() -> str:
    """Return the formats as words for a message."""
    return ", ".join(EXTENSIONS)
