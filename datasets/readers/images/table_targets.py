"""The targets in a table of images: a class, several labels or values for each row.

Several labels are in one column, "cat;dog", or in a column of 0 and 1 for each. Values are in a
column of numbers, or in several. What a table leaves open is decided by its cells, noted, and can
be decided otherwise by the hint `target`.
"""

import dataclasses
import math
import pathlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from datasets.readers import targets
from datasets.source import BadInput

PLURAL = ("labels", "classes", "categories", "tags", "attributes", "findinglabels")
CLEAR, POSSIBLE = (";", "|"), (",", " ")  # separators of labels; the latter are in names, too
NUMBERS = "Write a number in each row, or remove the line"


@dataclasses.dataclass(frozen=True)
class Targets:
    """The targets of a table.

    Attributes:
        labels: of each row: the index of its class; (K,) uint8 of 0 and 1; or (K,) float64.
        classes: the names of the classes or labels; () of values.
        text: what their columns are, to end the sentence "the column ... names the images, and".
        notes: further sentences.
        constants: see `datasets.source.Source`.
    """

    labels: Sequence
    classes: tuple
    text: str
    notes: Sequence = ()
    constants: Mapping = dataclasses.field(default_factory=dict)


def read(table: pathlib.Path, header, columns, rows, splits, target=None) -> Targets:
    """Read the targets of all rows.

    Args:
        table: the file, for messages.
        header: the names of its columns.
        columns: an `image_table.Columns`.
        rows: `image_table.Row`s.
        splits: the split of each row, or None.
        target: one of `datasets.source.TARGETS`, or None to decide by the cells.

    Raises:
        BadInput: a target is missing or invalid, or the table has no such targets.
    """
    train = np.array([split in (None, "train") for split in splits])
    label = columns.label
    cells = None if label is None else [row.cells[label] for row in rows]
    if target == "values":
        numeric = columns.values or (
            (label,) if label is not None else numeric_columns(columns, rows)
        )
        return values(table, header, numeric, rows, train)
    if label is not None:
        target = target or guess(header[label], cells)
        if target == "values":
            return values(table, header, (label,), rows, train)
        if target == "labels":
            return several(table, header[label], cells, rows, train)
        return classes(table, header[label], cells, rows, splits)
    if columns.values and target is None:
        return values(table, header, columns.values, rows, train)
    return of_columns(table, header, columns, rows, train, target)


def guess(name, cells):
    """Return what the cells of a column of labels are: one of `datasets.source.TARGETS`."""
    filled = [cell for cell in cells if cell]
    numbers = [*map(number, filled)]
    if filled and None not in numbers:
        return "classes" if all(value.is_integer() for value in numbers) else "values"
    if any(mark in cell for cell in filled for mark in CLEAR):
        return "labels"
    for mark in POSSIBLE if plain(name) in PLURAL else ():
        words = {word for cell in filled for word in parts(cell, mark)}
        if any(mark in cell for cell in filled) and len(words) < len(set(filled)):
            return "labels"  # few words in many combinations; names of classes combine more words
    return "classes"


def classes(table, name, cells, rows, splits):
    """Return one class for each row, in the order of the names; integers in that of their values.

    Raises:
        BadInput: a row has no label, a class is not in train, or there is only one.
    """
    for row, cell in zip(rows, cells, strict=True):
        if not cell:
            remedy = "Fill it, or remove the line; images without any are read by --target labels"
            raise BadInput(table, f"line {row.line} has no label", remedy)
    used = Counter(c for c, s in zip(cells, splits, strict=True) if s in (None, "train"))
    for row, cell, split in zip(rows, cells, splits, strict=True):
        if cell not in used:
            why = f"line {row.line}: class {cell!r} is in {split} but not in train"
            raise BadInput(table, why, "Use all classes in train")
    if len(used) < 2:
        why = f"a classifier needs at least two classes, but there is only {next(iter(used))!r}"
        raise BadInput(table, why, "Add images of a second class")
    ordered = in_order(used)
    index = {cell: i for i, cell in enumerate(ordered)}
    numbers = [*map(number, used)]
    notes = []
    if None not in numbers:
        notes = [f"the numbers in {name!r} are read as classes; {targets.otherwise('values')}"]
    return Targets([index[cell] for cell in cells], ordered, f"{name!r} their classes", notes)


def several(table, name, cells, rows, train):
    """Return the labels in each cell of one column, which may have none."""
    marks = (mark for mark in (*CLEAR, *POSSIBLE) if any(mark in cell for cell in cells))
    mark = next(marks, ";")
    words = [parts(cell, mark) for cell in cells]
    used = {word for some, known in zip(words, train, strict=True) for word in some if known}
    for row, some in zip(rows, words, strict=True):
        if unknown := [word for word in some if word not in used]:
            why = f"line {row.line}: the label {unknown[0]!r} is in {row.split} but not in train"
            raise BadInput(table, why, "Use all labels in train")
    if not used:
        raise BadInput(table, f"no row has a label in {name!r}", "Fill the column")
    ordered = in_order(used)
    labels = [np.array([word in some for word in ordered], np.uint8) for some in words]
    shown = {" ": "spaces"}.get(mark, repr(mark))
    text = f"{name!r} their labels, separated by {shown}"
    notes = [f"images have several labels or none; {targets.otherwise('classes')}"]
    return Targets(labels, ordered, text, notes, targets.LABELS)


def of_columns(table, header, columns, rows, train, target):
    """Return the targets of columns without a known name: 0 and 1 for each label, or values."""
    numeric = numeric_columns(columns, rows)
    if not numeric:
        raise columns.no_label(table, header)
    names = [header[i] for i in numeric]
    array = numbers(table, header, numeric, rows)
    flags = np.isin(array, (0, 1)).all() or np.isin(array, (-1, 1)).all()
    if not flags or (len(names) < 2 and target is None):
        if target is not None:
            raise columns.no_label(table, header)
        return values(table, header, numeric, rows, train)
    multi_hot, shown = (array > 0).astype(np.uint8), ", ".join(map(repr, names))
    single = (multi_hot.sum(axis=1) == 1).all() and len(names) > 1
    if target == "classes" and not single:
        row = rows[int(np.argmax(multi_hot.sum(axis=1) != 1))]
        why = f"line {row.line} is not of one class: not one of {shown} is 1"
        raise BadInput(table, why, "Correct it, or read labels: --target labels")
    if single and target != "labels":
        text = f"{shown} their classes, one of which is 1 in each row"
        note = f"no image has several labels; {targets.otherwise('labels')}"
        return Targets(multi_hot.argmax(axis=1).tolist(), tuple(names), text, [note])
    notes = [targets.otherwise("values"), *targets.absent(names, multi_hot[train])]
    text = f"{shown} their labels, 1 or 0"
    return Targets([*multi_hot], tuple(names), text, notes, targets.LABELS)


def values(table, header, chosen, rows, train):
    """Return the numbers of some columns for each row.

    Raises:
        BadInput: there is no such column, or a cell is not a finite number.
    """
    if not chosen:
        raise BadInput(table, "it has no column of numbers", "Name one of them 'value'")
    names, array = [header[i] for i in chosen], numbers(table, header, chosen, rows)
    constants, notes = targets.values(names, array[train])
    text = f"{', '.join(map(repr, names))} {'are values' if len(names) > 1 else 'is a value'}"
    other = f"; {targets.otherwise('classes')}" if len(names) == 1 else ""
    notes = [f"numbers are predicted (regression){other}", *notes]
    return Targets([*array], (), f"{text} to predict", notes, constants)


def numbers(table, header, chosen, rows):
    """Return the numbers of some columns, (n, K) float64; raise where a cell has none."""
    array = np.empty((len(rows), len(chosen)))
    for i, row in enumerate(rows):
        for k, column in enumerate(chosen):
            cell, where = row.cells[column], f"in the column {header[column]!r}"
            if not cell:
                raise BadInput(table, f"line {row.line} has no number {where}", NUMBERS)
            value = number(cell)
            if value is None or not math.isfinite(value):
                why = f"line {row.line}: {cell!r} {where} is not a finite number"
                raise BadInput(table, why, NUMBERS)
            array[i, k] = value
    return array


def numeric_columns(columns, rows):
    """Return those of the other columns whose first cell that is filled is a number."""
    firsts = {i: next((row.cells[i] for row in rows if row.cells[i]), "") for i in columns.others}
    return tuple(i for i, cell in firsts.items() if number(cell) is not None)


def number(cell):
    """Return the number in a cell, None if there is none."""
    try:
        return float(cell)
    except ValueError:
        return None


def parts(cell, mark):
    """Return the words of a cell between separators."""
    return [word.strip() for word in cell.split(mark) if word.strip()]


def in_order(names):
    """Return names in order; integers in the order of their values."""
    integers = all(re.fullmatch(r"-?\d{1,9}", name) for name in names)
    return tuple(sorted(names, key=int) if integers else sorted(names))


def plain(name):
    """Return the name of a column in small letters, without spaces and punctuation."""
    return re.sub(r"[\s_.-]", "", name).lower()
