"""Data sets of the UCR and UEA archives: NAME_TRAIN.ts and NAME_TEST.ts, series with classes."""

import functools
import pathlib
import re
from collections.abc import Sequence

from datasets.readers.files import clutter, divide, safe_name, split_of, walk
from datasets.readers.series import sequences, ucr_tables
from datasets.readers.series.series_tables import listed
from datasets.readers.series.ts import parse
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint

LINE = re.compile(r"(.+\.(?:ts|tsv|txt|csv))#(\d+)", re.I)  # a file and the index of a series in it


def match(path: pathlib.Path) -> bool:
    """Return whether a path is a file of such a data set, or a folder with such files."""
    return holds(path) if path.is_file() else bool(problem_files(path)[0])


def holds(path):
    """Return whether a file contains series and their classes."""
    return path.suffix.lower() == ".ts" or ucr_tables.labelled(path)


def problem_files(folder):
    """Return the data set files directly in a folder, .ts if there are any, and the others."""
    paths = sorted(p for p in folder.iterdir() if p.is_file() and not clutter(p.name))
    files = [p for p in paths if p.suffix.lower() == ".ts"]
    for suffix in () if files else ucr_tables.EXTENSIONS:
        files = files or [p for p in paths if p.suffix.lower() == suffix and ucr_tables.labelled(p)]
    return files, [p for p in paths if p not in files]


def parsed_file(path):
    """Return the `Problem` or `TableProblem` of a file."""
    return parse(path) if path.suffix.lower() == ".ts" else ucr_tables.parse(path)


def read(path: pathlib.Path) -> Source:
    """Read NAME_TRAIN.ts and NAME_TEST.ts, given their folder or one of the two; or a single .ts.

    Without a .ts, the archive's .tsv are read, or older .txt and .csv: a series per row.

    Raises:
        BadInput: a header is wrong, the two files do not match, or a folder contains several
            data sets.
    """
    files = files_of(path)
    problems = {split: parsed_file(file) for split, file in files.items()}
    first = problems["train"]
    for problem in problems.values():
        check_fit(problem, first)

    def read_one(item):
        problem, i = problems[item[0]], item[1]
        return {"series": problem.series(i), "label": first.classes.index(problem.label(i))}

    def title(item):
        return f"{files[item[0]].name}#{item[1]}"

    (base, _) = parts(first.path)
    return Source(
        name=safe_name(pathlib.Path(f"{base}.ts")),
        fingerprint=fingerprint([*files.values()], first.path.parent),
        classes=first.classes,
        splits={
            split: Examples.of([(split, i) for i in range(len(problem.lines))], read_one, title)
            for split, problem in problems.items()
        },
        info=unused(path, files),
    )


def unused(path, files):
    """Return a note on files of the same data set in other formats, which are not read."""
    if path.is_file():
        return {}
    bases = {parts(file)[0] for file in files.values()}
    others = [file.name for file in problem_files(path)[1] if parts(file)[0] in bases]
    if not others:
        return {}
    used = " and ".join(file.name for file in files.values())
    return {"notes": [f"{used} are read, but not {listed(others)}"]}


def check_fit(problem, first):
    """Raise unless a file has classes, and the dimensions and classes of the first file."""
    if problem.classes is None:
        why = "it has no classes (@classLabel false)"
        raise BadInput(problem.path, why, "Give data with @classLabel true and names")
    if problem.dimensions != first.dimensions:
        why = (
            f"its series have {problem.dimensions} dimensions, but those of {first.path.name} have "
        )
        raise BadInput(problem.path, f"{why}{first.dimensions}", "Give files of one data set")
    if more := [name for name in problem.classes if name not in first.classes]:
        why = f"it declares class {more[0]!r}, which {first.path.name} does not"
        raise BadInput(problem.path, why, "Declare the same classes in both")


def parts(path):
    """Return (name of the data set, split or None) of a file: GunPoint_TRAIN.ts."""
    base, _, ending = path.stem.rpartition("_")
    return (base, split_of(ending)) if base and split_of(ending) else (path.stem, None)


def files_of(path):
    """Return {split: file} of the data set of a file, or of a folder."""
    candidates = problem_files(path if path.is_dir() else path.parent)[0]
    if path.is_file() and path not in candidates:  # beside a .ts, but given explicitly
        candidates = [p for p in sorted(path.parent.glob(f"*{path.suffix}")) if holds(p)]
    by_name = {}
    for file in candidates:
        name, split = parts(file)
        by_name.setdefault(name, {}).setdefault(split, file)
    if path.is_dir():
        if len(by_name) > 1:
            why = f"it contains several data sets: {', '.join([*by_name][:10])}"
            raise BadInput(path, why, "Give one of the files; the other split is read too")
        ((name, files),) = by_name.items()
    else:
        name, split = parts(path)
        files = by_name[name] if split else {None: path}
    named = {split: files[split] for split in SPLITS if split in files}
    files = named if path.is_file() and split else files
    if None in files and named:
        raise BadInput(files[None], "it is in no split, but other files are", "Move it away")
    if "train" not in named and len(named) > 1:
        raise BadInput(path, f"there is no {name}_TRAIN.ts beside it", "Add it")
    return named if "train" in named else {"train": next(iter(files.values()))}


def find(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Return the series of files and folders given on a command line, in order.

    A table is one series, and so is each line of a data set file: NAME_TEST.ts#0 is the first.

    Raises:
        BadInput: a path does not exist, cannot be read, is not a series, or is a folder without
            series.
    """
    examples, extensions = [], (".ts", *sequences.EXTENSIONS)
    for path in map(pathlib.Path, paths):
        files = divide(walk(path), extensions)[0] if path.is_dir() else [path]
        if not files:
            raise BadInput(path, "the folder contains no series", f"Use {', '.join(extensions)}")
        for file in files:
            if not file.exists():
                raise BadInput(file, "there is no such file or folder")
            if not file.name.lower().endswith(extensions):
                raise BadInput(
                    file, "it is not a time series format", f"Use {', '.join(extensions)}"
                )
            several = len(parsed_file(file).lines) if holds(file) else 0
            examples += [file.with_name(f"{file.name}#{i}") for i in range(several)] or [file]
    return examples


def read_example(path: pathlib.Path) -> dict:
    """Read a path returned by `find` as the `series` of an example.

    Raises:
        BadInput: it cannot be read.
    """
    line = LINE.fullmatch(str(path))
    if not line or pathlib.Path(path).exists():
        return sequences.read_example(path)
    file = pathlib.Path(line[1])
    problem = parsed(file, file.stat().st_mtime_ns)
    return {"series": problem.series(int(line[2]))}


@functools.lru_cache(maxsize=1)
def parsed(file, _):
    """Return `parse(file)`, cached for the next series of the same file."""
    return parsed_file(file)
