"""Descriptions of models and results, as text for a terminal of 100 columns."""

import math
import textwrap

from zoo import index
from zoo.system import terminal

COLUMNS = 100
FORMULAS = tuple("=+-@\t\r")  # first characters of a formula in a spreadsheet
WIDEST = 30  # column of an option and its default, beside its explanation


def listing(task=None):
    """Return every model, or those of one task, as a list of dictionaries."""
    presets = {}
    for preset, card in index.presets().items():
        presets.setdefault(card.get("model"), []).append(preset)
    return [
        {
            "name": row.name,
            "tasks": list(row.tasks),
            "parameters": row.parameters,
            "paper": row.source,
            "idea": row.idea,
            "presets": presets.get(row.name, []),
        }
        for row in index.models().values()
        if task is None or task in row.tasks
    ]


def listed(rows):
    """Return a listing as text: a line per model, followed by a line per preset of it."""
    name = max(len(row["name"]) for row in rows)
    count = max(len(f"{row['parameters']:,}") for row in rows)
    lines = []
    for task in sorted({task for row in rows for task in row["tasks"]}):
        lines += ["", task] if lines else [task]
        for row in [row for row in rows if task in row["tasks"]]:
            paper = row["paper"].split(", http")[0]
            line = f"  {row['name']:{name}}  {row['parameters']:>{count},}  {paper}"
            lines.append(line if len(line) <= COLUMNS else f"{line[: COLUMNS - 3]}...")
            lines += [f"  {'':{name}}  {'preset':>{count}}  {preset}" for preset in row["presets"]]
    return "\n".join(lines)


def model_page(name, model, table=None):
    """Describe a registered model: idea, paper, options, and its layers as published.

    Args:
        name: of the model.
        model: its paper's configuration.
        table: of its layers, in place of `layer_table`.
    """
    row = index.models()[name]
    explained = [("options", row.options, row.explanations)]
    for task in map(index.tasks().get, row.tasks):
        others = {k: v for k, v in task["options"].items() if k not in row.options}
        explained.append((f"options of {task['name']}", others, task["explanations"]))
    presets = listing()[[*index.models()].index(name)]["presets"]
    pairs = [
        ("idea", row.idea),
        ("paper", row.source),
        ("task", ", ".join(row.tasks)),
        ("file", row.file),
        ("presets", ", ".join(presets) or "none yet"),
    ]
    lines = [paragraphs(name, pairs)]
    for title, defaults, explanations in explained:
        lines += ["", f"{title} (--set KEY=VALUE):", *options(defaults, explanations, "  ")]
    return "\n".join([*lines, "", "As published:", table or layer_table(model)])


def options(defaults, explanations, indent=""):
    """Return lines that explain options: name and default, then the explanation."""
    pairs = {name: f"{name}={value}" for name, value in defaults.items()}
    width = min(max(map(len, pairs.values()), default=0), WIDEST)
    lines = []
    for name, pair in pairs.items():
        first = f"{indent}{pair:{width}}  "
        rest = " " * (len(indent) + width + 2)
        if len(pair) > width:
            lines += textwrap.wrap(f"{indent}{pair}", COLUMNS, subsequent_indent=indent + "  ")
            first = rest
        lines += textwrap.wrap(
            explanations[name] or "-", COLUMNS, initial_indent=first, subsequent_indent=rest
        )
    return lines


def trained_page(source, record, model, table=None):
    """Describe a trained model from its record (of a run or preset): data, scores, layers.

    Args:
        source: its name or path.
        record: of the run or preset.
        model: the `keras.Model`.
        table: of its layers, in place of `layer_table`.
    """
    data = record.get("data", {})
    options = {
        **record.get("arguments", {}),
        **record.get("options", {}),
        **record.get("found", {}),
    }
    test = record.get("scores", {}).get("test", {})
    info = record.get("info", {})
    pairs = [
        ("model", record.get("model", model.name)),
        ("options", assignments(options)),
        ("members", ", ".join(member["name"] for member in record.get("members", []))),
        ("task", record.get("task", "")),
        (
            "labels" if info.get("target") == "labels" else "classes",
            ", ".join(info.get("classes", [])),
        ),
        ("values", ", ".join(info["columns"]) if info.get("target") == "values" else ""),
        ("data", ", ".join(str(data[key]) for key in ("name", "source", "licence") if key in data)),
        ("test", ", ".join(f"{k} {v:.4f}" for k, v in test.items() if isinstance(v, float))),
        ("command", record.get("command", record.get("settings", {}).get("command", ""))),
        ("converted" if "converted" in record else "trained", trained(record)),
        ("sha256", record.get("sha256", "")),
    ]
    facts = paragraphs(source, [pair for pair in pairs if pair[1]])
    return f"{facts}\n\n{table or layer_table(model)}"


def assignments(options):
    """Return options in the syntax of `--set`."""
    return ", ".join(f"{key}={value}" for key, value in options.items())


def trained(record):
    """Return the duration and the machine of the training."""
    if "seconds" not in record:
        return ""
    return f"{record['seconds'] / 60:.1f} minutes on {record.get('machine', 'an unknown machine')}"


def paragraphs(title, pairs):
    """Return a title and named paragraphs, with the text indented next to the names."""
    width = 2 + max(len(name) for name, _ in pairs)
    lines = [str(title)]
    for name, text in pairs:
        lines += textwrap.wrap(
            text,
            COLUMNS,
            initial_indent=f"  {name:{width}}",
            subsequent_indent=" " * (width + 2),
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def layer_table(model):
    """Return name, type, output shape and number of parameters of every layer as a table."""
    rows = [("layer", "type", "output", "parameters")]
    for layer in model.layers:
        shape = str(getattr(layer.output, "shape", "several")).replace("None", "?")
        rows.append(
            (one_line(layer.name), type(layer).__name__, shape, f"{layer.count_params():,}")
        )
    groups = (model.weights, model.trainable_weights)
    counts = [sum(math.prod(weight.shape) for weight in group) for group in groups]
    rows.append(("all", "", "", f"{counts[0]:,}"))
    rows.append(("trainable", "", "", f"{counts[1]:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    widths[0] = min(widths[0], COLUMNS - 8 - sum(widths[1:]))
    lines = [
        f"  {name[: widths[0]]:{widths[0]}}  {kind:{widths[1]}}  {shape:{widths[2]}}  "
        f"{count:>{widths[3]}}"
        for name, kind, shape, count in rows
    ]
    rule = "  " + "-" * (len(lines[0]) - 2)
    return "\n".join([lines[0], rule, *lines[1:-2], rule, *lines[-2:]])


def rows_table(rows):
    """Return predictions as text: a table if it fits the width, else a paragraph per file.

    Args:
        rows: list of dictionaries with the same keys; "file" is first; nested values are omitted.
    """
    plain = [{k: readable(v) for k, v in row.items() if is_plain(v)} for row in rows]
    titles = [*plain[0]]
    widths = [max(len(title), *(len(row[title]) for row in plain)) for title in titles]
    if sum(widths) + 2 * len(widths) > COLUMNS + 2:
        return "\n".join(
            paragraphs(row.pop("file"), [("", "  ".join(f"{k} {v}" for k, v in row.items()))])
            for row in plain
        )
    lines = [dict(zip(titles, titles, strict=True)), *plain]
    return "\n".join(
        "  ".join(
            f"{line[title]:{'<' if title in ('file', 'class') else '>'}{width}}"
            for title, width in zip(titles, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def is_plain(value):
    """Return whether a value fits one cell of a table."""
    return isinstance(value, str | int | float)


def readable(value):
    """Return a value as readable text."""
    return f"{value:.3f}" if isinstance(value, float) else one_line(str(value))


def one_line(name):
    """Return a name as one line, with control characters escaped."""
    return terminal.plain(name).replace("\n", "\\n").replace("\t", "\\t")


def inert(cell):
    """Return a CSV cell that spreadsheets do not read as a formula; numbers are unchanged.

    A leading apostrophe makes a spreadsheet read a cell as text, as OWASP recommends.
    """
    if not isinstance(cell, str) or not cell.startswith(FORMULAS):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
