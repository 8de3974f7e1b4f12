"""The report of an ensemble: its scores and its members', as text, CSV and HTML.

It only formats given numbers.
"""

import csv
import io
import os
import pathlib

from ensembles.reporting import page
from ensembles.reporting.columns import BEST, COLOURS, INTERVAL, columns, groups, summary
from ensembles.reporting.figures import agreement_figure, pairwise, png, scores_figure
from zoo import describe

FIRST = ("scores", "reliability", "risk_coverage", "other_data", "uncertainty")  # of the page


def write(
    folder, title, rows, *, facts=None, agreement=None, figures=None, tables=None, gallery=()
):
    """Write report.txt, report.csv, report.html and plots/<name>.png into a folder.

    Args:
        folder: output folder; created if it does not exist.
        title: of the report.
        rows: list of dictionaries, members first: name, kind (one of COLOURS),
            scores (dictionary of floats, higher is better except for ERRORS, the same keys in
            every row; the first is plotted), nll, ece and others of `columns`, parameters,
            milliseconds per example, weight; missing values are None or left out. Optional:
            "interval", [low, high] of the first score; "gain", see
            `ensembles.evaluation.intervals.add`; and "milliseconds_range", the measured
            [minimum, maximum].
        facts: dictionary of texts on the provenance of the numbers; line breaks are kept. Texts
            whose name begins with "warning" are at the top of the page.
        agreement: (M, M) array, the agreement of each pair of the M members, in their order.
        figures: dictionary of Matplotlib Figures by name.
        tables: dictionary of further tables by title: lists of dictionaries of texts with equal
            keys, which are the heads of the columns.
        gallery: the least certain examples, pairs of a Matplotlib Figure and a caption.

    Raises:
        ValueError: if there is no row, the rows have different scores or an unknown kind, a
            figure's name is reserved, or agreement is not (M, M).
    """
    keys = [[*row["scores"]] for row in rows]
    if not rows or not keys[0] or keys != keys[:1] * len(rows):
        raise ValueError(
            f"rows have the scores {keys}: give each row the same scores, at least one"
        )
    if reserved := page.CAPTIONS.keys() & (figures or {}).keys():
        raise ValueError(
            f"figures has {sorted(reserved)}, which the report plots itself: use another name"
        )
    if unknown := {row["kind"] for row in rows} - COLOURS.keys():
        raise ValueError(f"rows are of kind {sorted(unknown)}: give one of {[*COLOURS]}")
    folder, own_figures = pathlib.Path(folder), {"scores": scores_figure(rows)}
    facts = {name: str(text) for name, text in (facts or {}).items()}
    members = [row["name"] for row in rows if row["kind"] == "member"]
    if agreement is not None and len(members) > 1:
        matrix = pairwise(members, agreement)
        if len(members) > 2:
            own_figures["agreement"] = agreement_figure(members, matrix)
        else:  # a single number needs no figure
            facts["agreement"] = f"the members predict the same class for {matrix[0, 1]:.1%}"
    all_figures = {**own_figures, **(figures or {})}
    order = sorted(all_figures, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    images = {name: png(all_figures[name]) for name in order}
    shown = [(png(figure), caption) for figure, caption in gallery]
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    numbered = {f"least_certain_{i}": image for i, (image, _) in enumerate(shown, 1)}
    for name, image in {**images, **numbered}.items():
        write_atomically(folder / "plots" / f"{name}.png", image)
    tables = tables or {}
    parts = [title, summary(rows), table(rows), *plain_tables(tables), listed(facts)]
    text = "\n\n".join(parts).rstrip() + "\n"
    html = page.page(title, rows, facts, images, tables, shown)
    texts = {"csv": spreadsheet(rows), "txt": text, "html": html}
    for suffix, text in texts.items():
        write_atomically(folder / f"report.{suffix}", text.encode("utf-8", "replace"))


def write_atomically(path, content):
    """Write bytes to a temporary file and rename it, so that readers see no partial file."""
    temporary = path.with_name(f".{path.name}.half")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def table(rows):
    """Return the rows as text, 100 characters wide; columns that do not fit follow below."""
    filled = [column for column in columns(rows) if not column["empty"]]
    height = max(len(column["title"].split()) for column in filled)
    layout = [line for title, indices in groups(rows) for line in (title, *indices)]
    names = [line if isinstance(line, str) else f"  {rows[line]['name']}" for line in layout]
    names = column_lines([], names, height, "<")
    blocks, room = [], 0
    for column in filled:
        texts = [text + "* "[i not in column["best"]] for i, text in enumerate(column["texts"])]
        cells = ["" if isinstance(line, str) else texts[line] for line in layout]
        words = [f"{word} " for word in column["title"].split()]
        lines = column_lines(words, cells, height, ">")
        if room < len(lines[0]):
            blocks.append([names])
            room = max(describe.COLUMNS - len(names[0]), 40)  # some room even with long names
        blocks[-1].append(lines)
        room -= len(lines[0])
    blocks = [zip(*block, strict=True) for block in blocks]
    texts = ["\n".join("".join(line).rstrip() for line in block) for block in blocks]
    notes = [f"* {BEST}"] * any(column["best"] for column in filled)
    notes += [INTERVAL] * any(column["key"] == "interval" for column in filled)
    return "\n\n".join(texts + ["\n".join(notes)] * bool(notes))


def plain_tables(tables):
    """Return further tables as texts, with their titles."""
    texts = []
    for title, rows in tables.items():
        columns = []
        for key in rows[0]:
            side = "<" if not columns else ">"
            columns.append(column_lines([f"{key} "], [f"{row[key]} " for row in rows], 1, side))
        lines = ["".join(line).rstrip() for line in zip(*columns, strict=True)]
        texts.append("\n".join([title, "", *lines]))
    return texts


def column_lines(words, cells, height, side):
    """Return a column's lines, all of one width: heading of `height` lines, rule, cells."""
    lines = [""] * (height - len(words)) + words + cells
    width = 1 + max(map(len, lines))
    lines = [f"{line:{side}{width}}" for line in lines]
    return [*lines[:height], "-" * width, *lines[height:]]


def listed(facts):
    """Return facts as text, 100 characters wide."""
    pairs = []
    for name, text in facts.items():
        first, *more = text.splitlines() or [""]
        pairs += [(name, first), *(("", line) for line in more)]
    return describe.paragraphs("provenance", pairs) if pairs else ""


def spreadsheet(rows):
    """Return the rows as comma-separated values, with numbers in full precision."""
    file, shown = io.StringIO(), [column for column in columns(rows) if column["key"] != "interval"]
    writer = csv.writer(file, lineterminator="\n")
    bounds = ("interval_low", "interval_high")
    writer.writerow(["name", "kind", *(column["key"] for column in shown), *bounds])
    for i, row in enumerate(rows):
        numbers = [column["values"][i] for column in shown]
        name, ends = describe.inert(row["name"]), row.get("interval", (None, None))
        writer.writerow([name, row["kind"], *numbers, *ends])
    return file.getvalue()
