"""Write everything that is generated: the table of results, README.md, docs/ and its drawings.

python -m benchmarks.pages     # or: make table

In a page, what is between `<!-- NAME ARGUMENT -->` and `<!-- end -->` is made by PARTS[NAME]. A
kind of models without a page gets one.
"""

import ast
import pathlib
import re

import keras

from benchmarks import drawings, records, tables
from datasets import readers
from zoo import index, registry

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / "docs"
DRAWINGS = DOCS / "images" / "models"

# A folder of models: its title, what its data are, and the guide for one's own data.
KINDS = {
    "classification": ("Image classification", "images with a label each", None),
    "segmentation": ("Image segmentation", "images with a mask each", "microscopy"),
    "detection": ("Object detection", "images with boxes", "boxes"),
    "pointcloud": ("Point clouds", "LiDAR scans, meshes, objects and scenes", "lidar"),
    "sequence": ("Sequences", "measurements over time, labelled series", "series"),
}
EXAMPLES = {  # what a person's own data and a new file are called in the commands of a task
    "image_classification": ("my_photos/", "new_image.jpg"),
    "image_segmentation": ("my_images/", "new_image.tif"),
    "image_detection": ("my_boxes/", "new_image.jpg"),
    "pointcloud_classification": ("my_scans/", "scan.ply"),
    "pointcloud_segmentation": ("my_scenes/", "street.laz"),
    "forecasting": ("plant.csv", "plant.csv"),
    "sequence_classification": ("my_series/", "new_series.csv"),
}


def main():
    """Write all files that differ from what the sources and the records say."""
    records.main()
    for kind in kinds():
        if not (path := DOCS / "models" / f"{kind}.md").exists():
            path.write_text(f"# {title(kind)}\n\n<!-- kind {kind} -->\n<!-- end -->\n", "utf-8")
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in DRAWINGS.glob("*.svg"):
        if path.stem not in index.models():
            path.unlink()


def generated():
    """Return the text of every generated file, and of every page with generated parts, by path."""
    texts = {records.TABLE: records.dumps(records.gather(records.RESULTS))}
    for path in pages():
        texts[path] = refreshed(path.read_text(encoding="utf-8"))
    for name in index.models():
        texts[DRAWINGS / f"{name}.svg"] = drawings.drawing(published(name))
    return texts


def pages():
    """Return the paths of all pages."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def refreshed(text):
    """Return a page's text with each generated part made anew."""

    def part(match):
        name, *arguments = match[1].split()
        body = PARTS[name](*arguments)
        return f"<!-- {match[1]} -->\n{body}\n<!-- end -->"

    pattern = rf"<!-- ((?:{'|'.join(PARTS)})(?: \w+)*) -->.*?<!-- end -->"
    return re.sub(pattern, part, text, flags=re.DOTALL)


def published(name):
    """Build a model as its paper has it, without weights."""
    model = registry.get(name)
    with keras.StatelessScope(initialize_variables=False):
        return model.builder(**model.paper)


def kinds():
    """Return the names of the models of each kind, by the folder of their files."""
    found = {}
    for row in index.models().values():
        found.setdefault(pathlib.PurePath(row.file).parent.name, []).append(row.name)
    return dict(sorted(found.items(), key=lambda item: [*KINDS, item[0]].index(item[0])))


def title(kind):
    """Return the title of a kind of models."""
    return KINDS[kind][0] if kind in KINDS else kind.replace("_", " ").capitalize()


def kinds_table(place="docs"):
    """Return the table of kinds, with links as from the folder `place`: "root" or "docs"."""
    up = "docs/" if place == "root" else ""
    rows = []
    for kind, names in kinds().items():
        _, data, guide = KINDS.get(kind, (None, "", None))
        link = f"[{title(kind)}]({up}models/{kind}.md)"
        models = ", ".join(f"`{name}`" for name in names)
        own = f"[{guide_title(guide)}]({up}guides/{guide}.md)" if guide else "-"
        rows.append((link, data, own, models))
    return tables.table(("kind", "data", "guide", "models"), rows)


def guide_title(guide):
    """Return the title of a guide."""
    first = (DOCS / "guides" / f"{guide}.md").read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# ")


def kind_page(kind):
    """Return the generated part of a kind's page: its models, its tasks, its results."""
    names = kinds()[kind]
    rows = [index.models()[name] for name in names]
    heads = [
        (f"[`{row.name}`](#{row.name})", f"{row.parameters:,}", sentence(row.idea)) for row in rows
    ]
    parts = [tables.table(("model", "parameters", "idea"), heads)]
    parts += [model_section(row) for row in rows]
    tasks = dict.fromkeys(task for row in rows for task in row.tasks)
    parts.append(f"## Presets\n\n{tables.presets(names)}")
    parts.append(f"## Results\n\n{tables.results(names)}")
    parts += [task_section(task) for task in tasks]
    return "\n\n".join(parts)


def model_section(row):
    """Return one model's section: idea, paper, drawing, options and commands."""
    made = [f"`{name}`" for name, card in index.presets().items() if card["model"] == row.name]
    facts = [
        ("paper", sentence(linked(row.source.rstrip(",")))),
        ("parameters", f"{row.parameters:,} in the paper's configuration"),
        ("tasks", ", ".join(f"[{tables.task_name(t)}](#task-{slug(t)})" for t in row.tasks)),
        ("presets", ", ".join(made) or "none yet"),
        ("file", f"`{row.file}`"),
    ]
    lines = [f"## {row.name}", sentence(row.idea)]
    lines.append("\n".join(f"- **{name}**: {text}" for name, text in facts))
    lines.append(escaped(notes(row)))
    lines.append(
        f"![Block diagram of {row.name}: the boxes are its layers, with the shape of their "
        f"output](../images/models/{row.name}.svg)"
    )
    if row.options:
        lines.append(options(row.options, row.explanations))
    lines.append(commands(row, made))
    return "\n\n".join(line for line in lines if line)


def notes(row):
    """Return what a model's file says below its idea and the address of its paper."""
    tree = ast.parse((ROOT / row.file).read_text(encoding="utf-8"))
    text = " ".join(ast.get_docstring(tree).partition("\n\n")[2].split())
    *_, rest = re.split(r"(?<=\S)(?:\.|,) ", text.partition("http")[2], maxsplit=1)
    return rest if "Departures" in rest else ""


def commands(row, made):
    """Return the commands of a model: train, describe, predict."""
    own, new = EXAMPLES.get(row.tasks[0], ("my_data/", "new_file"))
    lines = [
        f"python -m zoo show {row.name}",
        f"python train.py --model {row.name}",
        f"python train.py --model {row.name} --data {own}",
    ]
    if made:
        lines.append(f"python -m zoo predict {made[0].strip('`')} {new}")
    return "```sh\n" + "\n".join(lines) + "\n```"


def options(defaults, explanations):
    """Return a table of options."""
    rows = [
        (f"`{name}`", f"`{default(value)}`", escaped(sentence(explanations[name] or "-")))
        for name, value in defaults.items()
    ]
    return tables.table(("option", "default", "meaning"), rows)


def default(value):
    """Return an option's default as `--set` takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else value


def task_section(name):
    """Return one task's section: its losses, data and options."""
    task = index.tasks()[name]
    losses = ", ".join(f"`{loss}`" for loss in task["losses"])
    training = task["defaults"]
    text = (
        f"Losses for `--loss`: {losses}; the first is the default. Without `--data` it trains on "
        f"`{task['dataset']}`. Learning rate {training['learning_rate']}; epochs and batch size "
        "follow the number of examples. Options for `--set`:"
    )
    head = f"## Task {tables.task_name(name)}"
    return f"{head}\n\n{text}\n\n{options(task['options'], task['explanations'])}"


def layouts(*tasks):
    """Return how files may be laid out for some tasks, a block each."""
    parts = []
    for task in tasks:
        trees = "\n".join(layout.drawing for layout in readers.LAYOUTS[task])
        lines = [line.strip() for line in trees.split("\n")]
        columns = [re.split(r" {2,}", line, maxsplit=1) for line in lines]
        width = 2 + max(len(first) for first, *_ in columns)
        text = "\n".join("".join([f"{first:{width}}", *rest]).rstrip() for first, *rest in columns)
        files = readers.FILES[task.partition("_")[0]]
        parts.append(f"For {tables.task_name(task)}, {files}:\n\n```text\n{text}\n```")
    return "\n\n".join(parts)


def layout():
    """Return the tables of folders and files, each with the first sentence of its docstring."""
    parts = []
    for top in ("zoo", "ensembles", "datasets", "benchmarks"):
        for folder in [ROOT / top, *sorted(p for p in (ROOT / top).rglob("*") if p.is_dir())]:
            files = sorted(folder.glob("*.py"))
            rows = [(f"`{p.name}`", escaped(first_sentence(p))) for p in files]
            rows = [row for row in rows if row[1]]
            if rows and (folder / "__init__.py").exists():
                place = folder.relative_to(ROOT).as_posix()
                parts.append(f"### {place}\n\n{tables.table(('file', 'what it is'), rows)}")
    return "\n\n".join(parts)


def first_sentence(path):
    """Return the first line of a file's docstring; "" if it has none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def example():
    """Return the path of the example of docs/extend/model.md."""
    path = pathlib.PurePath(index.models()["pointnet"].file).with_name("deepsets.py")
    return f"This is all of `{path}`:"


def sentence(text):
    """Return a text with a capital first letter and a full stop, unless it begins with code."""
    text = text.strip()
    if re.match(r"[a-z][a-z ]", text):
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "-")) else f"{text}."


def linked(text):
    """Return a citation whose address is a link."""
    return re.sub(r"(https?://[^\s,]+[^\s,.])", r"<\1>", text)


def escaped(text):
    """Return a text of a docstring in which Markdown finds its code and addresses alone."""
    parts = re.split(r"(`[^`]*`|https?://[^\s,]+[^\s,.])", text)
    parts[::2] = [re.sub(r"([*_|<\[])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"<{part}>" if part.startswith("http") else part for part in parts[1::2]]
    return "".join(parts)


def slug(task):
    """Return the address of a task's section."""
    return tables.task_name(task).replace(" ", "-")


PARTS = {
    "kinds": kinds_table,
    "kind": kind_page,
    "models": tables.models,
    "presets": tables.presets,
    "results": tables.results,
    "published": tables.published,
    "ensembles": tables.ensembles,
    "speed": tables.speed,
    "yolo": tables.yolo,
    "bilstm": tables.bilstm,
    "stacking": tables.stacking,
    "layout": layout,
    "layouts": layouts,
    "example": example,
}

if __name__ == "__main__":
    main()
