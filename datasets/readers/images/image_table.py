"""A table of images: a CSV file with a column of file names, and a column of labels or several.

The images are beside the table, or in one folder below, or in train/, val/ and test/ below, or
where names with folders say. A further column may have the split of each image.
"""

import csv
import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

from datasets.readers import targets
from datasets.readers.files import clutter, divide, safe_name, split_of, walk
from datasets.readers.images import EXTENSIONS, read_example, table_targets
from datasets.readers.images.table_targets import plain
from datasets.readers.series.series_tables import decoded
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint, printable

TABLES = (".csv", ".tsv")
SEPARATORS = "\t;,"
FILE_NAMES = (
    "file", "files", "filename", "filenames", "filepath", "path", "image", "images", "img",
    "imagename", "imagefile", "imagefilename", "imagepath", "imgname", "imgpath", "picture",
)  # fmt: skip
IDS = ("imageid", "imgid", "id")  # used if no column has one of the names above
LABELS = (
    "label", "labels", "labelname", "class", "classes", "classname", "category", "categoryname",
    "target", "species", "breed", "categories", "tags", "attributes", "findinglabels",
)  # fmt: skip
VALUES = ("value", "values")  # or names that begin so: value_x
SUBSETS = ("split", "subset", "set", "partition")
PLACES = f"Put it beside the table or in one folder below, as {' '.join(EXTENSIONS)}"
SHOWN = 3  # examples that a message names
NAME_COLUMNS = (
    "Name the column of the files 'filename' and that of the classes 'label', of several labels "
    "'labels', of numbers 'value'"
)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The positions of the columns.

    Attributes:
        file: of the file names.
        label: of the labels, None if no column has such a name.
        split: likewise of the splits.
        values: of columns named as values.
        others: of all others that may have targets.
    """

    file: int
    label: int | None
    split: int | None
    values: tuple = ()
    others: tuple = ()

    def no_label(self, table, header):
        """Return the error of a table without targets."""
        known = ", ".join(map(repr, header)) or "none"
        why = f"none of its columns is known to be the labels: it has {known}"
        return BadInput(table, why, NAME_COLUMNS)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        line: its line in the file, from 1.
        name: of the image, as in the table.
        cells: of all columns.
        split: of `SPLITS`, or None.
    """

    line: int
    name: str
    cells: Sequence[str]
    split: str | None


def match(path: pathlib.Path, target: str | None = None) -> bool:
    """Return whether a path is a table of images, or a folder with a table and images.

    A folder with class folders is not one, whatever tables it has.
    """
    if path.is_file():
        return is_table(path) and (has_columns(path) or bool(images_below(path.parent)))
    return path.is_dir() and bool(tables_in(path)) and one_place(path)


def read(path: pathlib.Path, target: str | None = None, by_class: bool = False) -> Source:
    """Read the images of a table and their targets, see `table_targets`.

    A row whose image is missing is an example of the training split that raises `BadInput`.

    Args:
        path: a .csv or .tsv file with commas, semicolons or tabs between its columns; or a folder
            with one such file.
        target: what the targets are: classes, labels or values; None to decide by the cells.
        by_class: targets are classes, and a split may have some that others have not.

    Raises:
        BadInput: the table or its columns cannot be determined, all images are missing, one has
            two rows, or a row has no target or an unknown split.
    """
    targets.check(target)
    table = path if path.is_file() else table_of(path)
    root = table.parent
    header, columns, rows, notes = parse(table)
    images = images_below(root)
    rows, files, lost = find_images(table, rows, images)
    splits = splits_of(table, rows, files)
    if by_class:
        target, used = "classes", [None] * len(rows)
    else:
        used = splits
    row_targets = table_targets.read(table, header, columns, rows, used, target)
    notes.append(f"the column {header[columns.file]!r} names the images, and {row_targets.text}")
    if unlisted := len(set(images) - set(files)):
        notes.append(f"images without a row in {table.name} are ignored: {unlisted}")
    notes += row_targets.notes

    def read_row(item):
        file, own = item
        if isinstance(file, Row):
            why = f"line {file.line}: there is no image {file.name}"
            raise BadInput(table, why, PLACES)
        return {**read_example(file), "label": own}

    def title(item):
        file, _ = item
        return file.name if isinstance(file, Row) else file.relative_to(root).as_posix()

    def label(item):
        return None if row_targets.constants else item[1]

    items = {split: [] for split in SPLITS}
    for file, own, split in zip(files, row_targets.labels, splits, strict=True):
        items[split or "train"].append((file, own))
    items["train"] += [(row, None) for row in lost]
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint([table, *files], root),
        classes=tuple(map(printable, row_targets.classes)),
        splits={
            s: Examples.of(chosen, read_row, title, label) for s, chosen in items.items() if chosen
        },
        info={"notes": [printable(note) for note in notes]},
        constants=row_targets.constants,
    )


# Which files


def is_table(path):
    """Return whether the name of a file is that of a table."""
    return path.suffix.lower() in TABLES and not clutter(path.name)


def tables_in(folder):
    """Return the tables directly in a folder, in order."""
    return sorted(path for path in folder.iterdir() if is_table(path) and path.is_file())


def images_below(folder):
    """Return the images in a folder and below it."""
    return divide(walk(folder), EXTENSIONS)[0]


def one_place(folder):
    """Return whether all images are beside the table, or in one subfolder, or in splits."""
    places = {file.relative_to(folder).parts[:-1] for file in images_below(folder)}
    if not places or max(map(len, places)) > 1:
        return False
    return len(places) == 1 or all(place and split_of(place[0]) for place in places)


def known_columns(table):
    """Return the `Columns` of a table, None if they cannot be determined."""
    try:
        return columns_of(table, header_of(table, decoded(table)[0])[0])
    except BadInput:
        return None


def has_columns(table):
    """Return whether columns of a table are of file names and of targets by their names."""
    columns = known_columns(table)
    return columns is not None and (columns.label is not None or bool(columns.values))


def table_of(folder):
    """Return the one table of a folder; raises `BadInput` if there are several."""
    tables = tables_in(folder)
    usable = tables
    if len(tables) > 1:
        named = [table for table in tables if has_columns(table)]
        usable = named or [table for table in tables if known_columns(table)]
    if len(usable) != 1:
        names = ", ".join(table.name for table in usable or tables)
        if usable:
            why, remedy = f"it has several tables of images: {names}", "Give the path of one"
        else:
            why = f"no table in it has columns of file names and of labels: {names}"
            remedy = NAME_COLUMNS
        raise BadInput(folder, why, remedy)
    return usable[0]


# The table


def header_of(table, text):
    """Return the names of the columns in the first line of a table, and the separator."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((s for s in SEPARATORS if s in first), ",")
    names = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
    return [name.strip() for name in names], separator


def columns_of(table, header: Sequence[str]) -> Columns:
    """Determine the columns by their names; raises `BadInput` with the names that there are."""
    names = [plain(name) for name in header]

    def places(known):
        return [i for i, name in enumerate(names) if name in known]

    chosen = {
        "the file names": places(FILE_NAMES) or places(IDS),
        "the labels": places(LABELS),
        "the splits": places(SUBSETS),
    }
    for what, columns in chosen.items():
        if len(columns) > 1:
            several = ", ".join(repr(header[i]) for i in columns)
            why = f"several of its columns could be {what}: {several}"
            raise BadInput(table, why, "Rename or remove all but one of them")
    if not chosen["the file names"]:
        known = ", ".join(map(repr, header)) or "none"
        why = f"none of its columns is known to be the file names: it has {known}"
        raise BadInput(table, why, NAME_COLUMNS)
    file, label, split = (columns[0] if columns else None for columns in chosen.values())
    rest = {*range(len(header))} - {file, label, split, *places(IDS), *places(("", "unnamed:0"))}
    values = tuple(i for i in sorted(rest) if names[i].startswith(VALUES))
    columns = Columns(file, label, split, values, tuple(sorted(rest)))
    if label is None and not rest:
        raise columns.no_label(table, header)
    return columns


def parse(table: pathlib.Path) -> tuple[list[str], Columns, list[Row], list[str]]:
    """Return the header of a table, its columns, its rows, and notes on how it was read."""
    text, notes = decoded(table)
    header, separator = header_of(table, text)
    columns = columns_of(table, header)
    lines = re.split("\r\n|\r|\n", text)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    rows, width = [], None
    try:
        for words in reader:
            if not any(word.strip() for word in words):
                continue
            if width is None:  # the header
                width = len(words)
                continue
            if len(words) != width:
                why = f"line {reader.line_num} has {len(words)} columns, but the header has {width}"
                raise BadInput(table, why, "Correct the line; quote names that have the separator")
            rows.append(row_of(table, reader.line_num, words, columns))
    except csv.Error as error:
        why = f"line {reader.line_num}: {error}"
        raise BadInput(table, why, "Correct the quotation marks") from error
    if not rows:
        raise BadInput(table, "it has a header but no rows", "Copy it again")
    return header, columns, rows, notes


def row_of(table, line, words, columns):
    """Return one row; raises `BadInput` if it has no name or an unknown split."""
    cells = [word.strip() for word in words]
    if not cells[columns.file]:
        raise BadInput(table, f"line {line} has no file name", "Fill it, or remove the line")
    split = None
    if columns.split is not None and (word := cells[columns.split]):
        split = split_of(word)
        if split is None:
            why = f"line {line} is in the split {word!r}"
            raise BadInput(table, why, "Write train, val or test")
    return Row(line, cells[columns.file], cells, split)


# The images of the rows


def find_images(
    table: pathlib.Path, rows: Sequence[Row], images: Sequence[pathlib.Path]
) -> tuple[list[Row], list[pathlib.Path], list[Row]]:
    """Return the rows that have an image, the image of each, and the rows whose image is missing.

    A name is relative to the table, or to a folder beside it, with or without extension.

    Raises:
        BadInput: all images are missing, a name has several, or an image several rows.
    """
    lookups = lookups_of(images, table.parent)
    pairs = [(row, find_image(table, row, lookups)) for row in rows]
    lost = [row for row, file in pairs if file is None]
    if len(lost) == len(rows):
        names = ", ".join(f"{row.name} (line {row.line})" for row in lost[:SHOWN])
        more = " ..." if len(lost) > SHOWN else ""
        raise BadInput(table, f"none of its images exists: {names}{more}", PLACES)
    rows, files = map(list, zip(*(pair for pair in pairs if pair[1] is not None), strict=True))
    lines = {}
    for row, file in zip(rows, files, strict=True):
        if file in lines:
            why = f"lines {lines[file]} and {row.line} have the same image, {row.name}"
            raise BadInput(table, why, "Remove one of them")
        lines[file] = row.line
    return rows, files, lost


def lookups_of(images, root) -> list[Mapping[str, list[pathlib.Path]]]:
    """Return what a name may be, in order of preference: {name: images} of each."""
    exact, stems, inner, inner_stems = {}, {}, {}, {}
    for file in images:
        relative = file.relative_to(root)
        exact.setdefault(relative.as_posix(), []).append(file)
        stems.setdefault(relative.with_suffix("").as_posix(), []).append(file)
        if len(relative.parts) == 2:
            inner.setdefault(file.name, []).append(file)
            inner_stems.setdefault(file.stem, []).append(file)
    return [exact, stems, inner, inner_stems]


def find_image(table, row, lookups):
    """Return the image of a row, None if it is missing."""
    name = row.name.replace("\\", "/").removeprefix("./")
    for lookup in lookups:
        files = lookup.get(name, ())
        if len(files) > 1:
            root = table.parent
            several = ", ".join(file.relative_to(root).as_posix() for file in files[:SHOWN])
            why = f"line {row.line}: {row.name} could be {several}"
            raise BadInput(table, why, "Write the folder and the extension of each image")
        if files:
            return files[0]
    return None


# Splits


def splits_of(table, rows, files):
    """Return the split of each row: of its column, else of its folder, else None for all."""
    splits = [row.split for row in rows]
    if not any(splits):
        tops = [file.relative_to(table.parent).parts[:-1][:1] for file in files]
        splits = [split_of(top[0]) if top else None for top in tops]
        official = all(splits) and len(set(splits)) > 1 and "train" in splits
        return splits if official else [None] * len(rows)
    for row in rows:
        if row.split is None:
            why = f"line {row.line} is in no split while others are"
            raise BadInput(table, why, "Write train, val or test")
    if "train" not in splits:
        present = ", ".join(sorted(set(splits)))
        raise BadInput(table, f"its splits are {present}, without train", "Add images of train")
    return splits
