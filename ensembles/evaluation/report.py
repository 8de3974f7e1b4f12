"""The report of an ensemble: its scores and its members', as text, CSV and HTML.

It only formats given numbers. `report.html` in this folder is the template of the page.
"""

import base64
import csv
import io
import itertools
import math
import os
import pathlib
import re
import string
import struct
from html import escape

import numpy as np
from matplotlib.figure import Figure

from zoo import describe, plots

COLOURS = {"member": plots.QUIET, "ensemble": "#1f5fae", "student": "#b3541e"}
COLOURS |= {"member with TTA": "#4d7a4d", "member with MC dropout": "#7a4d7a"}
ERRORS = ("mse", "mae", "mase")  # scores of which lower is better
BEST = "best of its column: highest score; lowest error, NLL, Brier, ECE, AURC and time"
INTERVAL = "95% interval: bootstrap over the test examples"
FIRST = ("scores", "reliability", "risk_coverage", "other_data", "uncertainty")  # of the page
CAPTIONS = {
    "scores": "The {first} of each row, the best on top{bars}.",
    "agreement": "Share of the test labels for which two members predict the same class.",
}
NOTES = {
    "reliability": "Accuracy over confidence: on the diagonal, predictions are as often right as "
    "their probability says.",
    "risk_coverage": "The error of the most certain predictions, over the share that these are. "
    "The dashed line is at 80%.",
    "other_data": "Uncertainty of the test split and of the other data; the further apart, the "
    "better they are told from each other.",
}
ALTS = {
    "scores": "Dot plot of the {first} of the table above, sorted",
    "agreement": "Heat map with a number for each pair of members",
}


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
    if reserved := CAPTIONS.keys() & (figures or {}).keys():
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
    html = page(title, rows, facts, images, tables, shown)
    texts = {"csv": spreadsheet(rows), "txt": text, "html": html}
    for suffix, text in texts.items():
        write_atomically(folder / f"report.{suffix}", text.encode("utf-8", "replace"))


def write_atomically(path, content):
    """Write bytes to a temporary file and rename it, so that readers see no partial file."""
    temporary = path.with_name(f".{path.name}.half")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def columns(rows):
    """Return the columns, scores first; the first score is followed by its interval."""
    first, *others = rows[0]["scores"]
    numbers = [("nll", ".4f", -1), ("brier", ".4f", -1), ("ece", ".4f", -1)]
    numbers += [("adaptive_ece", ".4f", -1), ("aurc", ".4f", -1), ("accuracy_at_80", ".4f", 1)]
    numbers += [("parameters", ",", 0)]
    numbers += [("milliseconds", ",.2f", -1), ("weight", ".3f", 0)]
    scores = [column(rows, key, ".4f", -1 if key in ERRORS else 1) for key in (first, *others)]
    return [
        scores[0],
        interval_column(rows),
        *scores[1:],
        *(column(rows, *arguments) for arguments in numbers),
    ]


def column(rows, key, form, sign):
    """Return a column: key, title, arrow, values, texts, whether it is empty, and its best rows.

    Args:
        rows: as `write` takes them.
        key: of the value in a row, or in its scores.
        form: format of a number.
        sign: 1 if higher is better, -1 if lower is, 0 if neither.
    """
    values = [row["scores"].get(key, row.get(key)) for row in rows]
    texts = ["–" if value is None else format(value, form) for value in values]
    known = [i for i, value in enumerate(values) if value is not None and math.isfinite(value)]
    ranked = sorted(
        known, key=lambda i: (-sign or 1) * round(values[i], 4)
    )  # ties keep their order
    differ = sign and len({texts[i] for i in known}) > 1
    best = {i for i in known if differ and texts[i] == texts[ranked[0]]}  # as displayed
    if key == "milliseconds":
        others = {*known} - best
        best = {i for i in best if not any(overlap(rows[i], rows[j]) for j in others)}
    return {
        "key": key,
        "title": plots.label(key),
        "arrow": {1: "\N{NO-BREAK SPACE}↑", -1: "\N{NO-BREAK SPACE}↓", 0: ""}[sign],
        "values": values,
        "texts": texts,
        "empty": all(value is None for value in values),
        "ranked": ranked,
        "best": best,
    }


def overlap(row, other):
    """Return whether the measured times of two rows overlap, so that neither is clearly faster."""
    a, b = row.get("milliseconds_range"), other.get("milliseconds_range")
    return bool(a and b) and a[0] <= b[1] and b[0] <= a[1]


def interval_column(rows):
    """Return the column of the first score's intervals."""
    pairs = [row.get("interval") for row in rows]
    texts = ["–" if pair is None else "{:.3f}–{:.3f}".format(*pair) for pair in pairs]
    constants = {"arrow": "", "ranked": [], "best": set(), "empty": not any(pairs)}
    return {
        "key": "interval",
        "title": "95% interval",
        "values": pairs,
        "texts": texts,
        **constants,
    }


def groups(rows):
    """Return groups of consecutive rows of one kind: pairs (title, indices of the rows)."""
    runs = itertools.groupby(range(len(rows)), key=lambda i: rows[i]["kind"])
    titles = {kind: re.sub(r"^\w+", r"\g<0>s", kind) for kind in COLOURS}  # "members with TTA"
    return [(titles[kind], [*indices]) for kind, indices in runs]


def summary(rows):
    """Return a sentence on the row with the best first score, compared with the best member."""
    first = columns(rows)[0]
    if not first["ranked"]:
        return f"No row has a {first['title']}."
    top = first["ranked"][0]
    best = next((i for i in first["ranked"] if rows[i]["kind"] == "member"), top)
    highest, beyond = ("Lowest", "below") if first["key"] in ERRORS else ("Highest", "above")
    text = f"{highest} {first['title']}: {rows[top]['name']}, {first['texts'][top]}"
    if top != best:
        member = f"{rows[best]['name']} ({first['texts'][best]})"
        gain = rows[top].get("gain")
        if gain and gain["interval"][0] <= 0 <= gain["interval"][1]:
            low, high = (f"{value:+.4f}" for value in gain["interval"])
            return (
                f"No row is significantly better than the best member, {member}: "
                f"{rows[top]['name']} gains {gain['value']:+.4f}, with a 95% interval from {low} "
                f"to {high}."
            )
        difference = abs(first["values"][top] - first["values"][best])
        return f"{text}, which is {difference:.4f} {beyond} the best member, {member}."
    alone = all(row["kind"] == "member" for row in rows) or rows[top]["kind"] != "member"
    return f"{text}." if alone else f"{text}, a member; no combination is {beyond} it."


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


def scores_figure(rows):
    """Plot the first score of every row as a dot, the best on top."""
    first = columns(rows)[0]
    ranked, values = first["ranked"][::-1], first["values"]
    figure = Figure(figsize=(5.5, 1.2 + 0.29 * len(ranked)), layout="constrained")
    axes = figure.add_subplot()
    for kind, colour in COLOURS.items():
        places = [place for place, i in enumerate(ranked) if rows[i]["kind"] == kind]
        dots = [values[ranked[place]] for place in places]
        if dots:
            axes.plot(dots, places, "o", color=colour, markersize=7, label=kind, zorder=3)
        if dots and kind == "member" and len(dots) < len(ranked):
            style = dict(color=colour, linewidth=1, linestyle="--", label="best member")
            axes.axvline(min(dots) if first["key"] in ERRORS else max(dots), **style)
    for place, i in enumerate(ranked):
        if rows[i].get("interval"):
            style = dict(color=COLOURS[rows[i]["kind"]], linewidth=1.2, alpha=0.5)
            axes.plot(rows[i]["interval"], [place, place], **style)
        settings = dict(textcoords="offset points", va="center", fontsize=8, color=plots.INK)
        settings["bbox"] = dict(facecolor="white", edgecolor="none", pad=1)
        axes.annotate(first["texts"][i], (values[i], place), (8, 0), **settings)
    ticks = [short(rows[i]["name"]) for i in ranked]
    axes.set_yticks(range(len(ranked)), ticks, parse_math=False)
    axes.set_xlabel(first["title"], parse_math=False)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.margins(x=0.15)
    axes.set_ylim(-0.7, len(ranked) - 0.3)
    axes.grid(axis="y", alpha=0.35)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if ranked:
        figure.legend(loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    return figure


def pairwise(names, matrix):
    """Return the agreement of M members as an array (M, M).

    Raises:
        ValueError: if it does not have this shape.
    """
    matrix, count = np.array(matrix, float), len(names)
    if matrix.shape != (count, count):
        raise ValueError(
            f"agreement is {matrix.shape}: give {count, count}, one number per pair of members"
        )
    return matrix


def agreement_figure(names, matrix):
    """Plot the agreement of each pair of members as a heat map, without the diagonal.

    Args:
        names: of the M members.
        matrix: (M, M) numbers.
    """
    matrix, count = np.array(matrix, float), len(names)
    np.fill_diagonal(matrix, np.nan)
    pairs = np.argwhere(np.isfinite(matrix))
    known = matrix[tuple(pairs.T)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    low -= 0.3 * (high - low) + 1e-6  # keeps a tint for the lowest value
    size = 0.75 if count <= 10 else 0.42
    figure = Figure(figsize=(3 + size * count, 1.5 + size * count), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix, cmap="Blues", vmin=low, vmax=high)
    for row, across in pairs:
        number = matrix[row, across]
        ink = "white" if number > low + 0.6 * (high - low) else plots.INK
        text = f"{number:.3f}" if count <= 10 else f"{number:.2f}"
        axes.text(across, row, text, ha="center", va="center", fontsize=8, color=ink)
    ticks = [short(name) for name in names]
    axes.set_xticks(range(count), ticks, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(count), ticks, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.7, label="agreement")
    return figure


def short(name, length=28):
    """Return a name that fits a figure; long names are shortened in the middle."""
    half = length // 2
    return name if len(name) <= length else f"{name[: half - 1]}…{name[-half:]}"


def png(figure):
    """Return a figure as the bytes of a PNG file."""
    file = io.BytesIO()
    plots.save(figure, file)
    return file.getvalue()


def page(title, rows, facts, images, tables=None, gallery=()):
    """Return the report as one HTML page.

    Args:
        title: of the report.
        rows: as `write` takes them.
        facts: likewise.
        images: dictionary of PNG files by name, the scores first.
        tables: as `write` takes them.
        gallery: pairs of a PNG file and its caption.
    """
    first, intervals = columns(rows)[0]["title"], any(row.get("interval") for row in rows)
    warnings = [name for name in facts if name.lower().startswith("warning")]
    parts = [
        f'<p class="warning"><strong>{heading(name)}:</strong> {escape(facts[name])}</p>'
        for name in warnings
    ]
    parts += [f"<p>{escape(summary(rows))}</p>", "<h2>Scores</h2>", score_table(rows)]
    for place, (name, image) in enumerate(images.items()):
        if place == 1:
            parts += sections(gallery, tables or {})
        words = {"first": first, "bars": f", with its {INTERVAL}" if intervals else ""}
        alt, caption = (texts.get(name, "").format(**words) for texts in (ALTS, CAPTIONS | NOTES))
        parts += [f"<h2>{heading(name)}</h2>"] * (name != "scores")
        parts.append(embedded(image, alt or plots.label(name), caption))
    parts += sections(gallery, tables or {}) if len(images) == 1 else []
    pairs = [
        f"<dt>{heading(name)}</dt>\n<dd>{escape(text)}</dd>"
        for name, text in facts.items()
        if name not in warnings
    ]
    parts += ["<h2>Provenance</h2>", "<dl>", *pairs, "</dl>"] if pairs else []
    template = pathlib.Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    return string.Template(template).substitute(title=escape(title), body="\n".join(parts))


def sections(gallery, tables):
    """Return the least certain examples and the further tables as parts of the page."""
    parts = []
    if gallery:
        widths = [struct.unpack(">I", image[16:20])[0] / 1.25 for image, _ in gallery]
        widest = f"--wide: {min(max(widths), 560):.0f}px"
        pictures = [embedded(image, caption, caption, False) for image, caption in gallery]
        parts += ["<h2>Least certain examples</h2>", f'<div class="gallery" style="{widest}">']
        parts += [*pictures, "</div>"]
    if tables:
        blocks = [
            f"<section>\n<h2>{escape(name)}</h2>\n{html_table(name, lines)}\n</section>"
            for name, lines in tables.items()
        ]
        parts += ['<div class="tables">', *blocks, "</div>"]
    return parts


def heading(key):
    """Return a name as an HTML heading: "learning_curves" is "Learning curves", mAP stays."""
    text = plots.label(key)
    return escape(text[:1].upper() + text[1:] if text.partition(" ")[0].islower() else text)


def score_table(rows):
    """Return the rows as an HTML table that scrolls on a narrow screen."""
    filled = [column for column in columns(rows) if not column["empty"]]
    heads = "".join(
        f'<th scope="col">{heading(column["title"])}{column["arrow"]}</th>' for column in filled
    )
    lines = ['<div class="scroll" role="region" aria-label="Scores" tabindex="0">', "<table>"]
    lines.append(f'<thead><tr><th scope="col">Name</th>{heads}</tr></thead>')
    for title, indices in groups(rows):
        span = f'scope="rowgroup" colspan="{len(filled) + 1}"'
        lines += ["<tbody>", f"<tr><th {span}>{heading(title)}</th></tr>"]
        for i in indices:
            cells = [
                f"<mark>{column['texts'][i]}</mark>" if i in column["best"] else column["texts"][i]
                for column in filled
            ]
            cells[0] += track(filled[0], i, rows[i]["kind"])
            cells = "".join(f"<td>{cell}</td>" for cell in cells)
            name = re.sub(
                "([_/-])", r"\1<wbr>", escape(rows[i]["name"])
            )  # allows a line break there
            lines.append(f'<tr><th scope="row"><div>{name}</div></th>{cells}</tr>')
        lines.append("</tbody>")
    lines += ["</table>", "</div>"]
    if len(ranked := filled[0]["ranked"]) > 1:
        low, high = (filled[0]["texts"][i] for i in (ranked[-1], ranked[0]))
        dots = f"The dots next to {escape(filled[0]['title'])} range from {low} to {high}."
        lines.append(f'<p class="note"><mark>Marked</mark> is the {BEST}. {dots}</p>')
    return "\n".join(lines)


def html_table(title, rows):
    """Return a further table as HTML; it scrolls on a narrow screen."""
    heads = "".join(f'<th scope="col">{escape(key)}</th>' for key in rows[0])
    label = f'role="region" aria-label="{escape(title)}" tabindex="0"'
    lines = [f'<div class="scroll narrow" {label}>', "<table>"]
    lines += [f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
    for row in rows:
        first, *others = map(escape, row.values())
        cells = "".join(f"<td>{text}</td>" for text in others)
        lines.append(f'<tr><th scope="row"><div>{first}</div></th>{cells}</tr>')
    return "\n".join([*lines, "</tbody>", "</table>", "</div>"])


def track(column, i, kind):
    """Return an HTML line with a dot that shows a number between the column's extremes."""
    shown = {k: round(column["values"][k], 4) for k in column["ranked"]}
    if len(shown) < 2:
        return ""
    low, high, dot = min(shown.values()), max(shown.values()), ""
    if i in shown:
        share = (shown[i] - low) / ((high - low) or 1)
        dot = f'<i class="{kind}" style="--at: {share:.1%}"></i>'
    return f'<span class="track" aria-hidden="true">{dot}</span>'


def embedded(png_file, alt, caption, scrolls=True):
    """Return a PNG file as an HTML figure, at its print size; narrow screens scroll or shrink."""
    width, height = (round(side / 1.25) for side in struct.unpack(">II", png_file[16:24]))
    source = f"data:image/png;base64,{base64.b64encode(png_file).decode()}"
    minimum = f' style="min-width: {0.6 * width:.0f}px"' if scrolls else ""
    size = f'width="{width}" height="{height}"{minimum}'
    image = f'<img alt="{escape(alt)}" {size} src="{source}">'
    text = f"\n<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>\n<div>{image}</div>{text}\n</figure>"
