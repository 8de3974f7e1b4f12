"""The report as one HTML page, of which `report.html` in this folder is the template."""

import base64
import pathlib
import re
import string
import struct
from html import escape

from ensembles.reporting.columns import BEST, INTERVAL, columns, groups, summary
from zoo import plots

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


def page(title, rows, facts, images, tables=None, gallery=()):
    """Return the report as one HTML page.

    Args:
        title: of the report.
        rows: as `report.write` takes them.
        facts: likewise.
        images: dictionary of PNG files by name, the scores first.
        tables: as `report.write` takes them.
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
