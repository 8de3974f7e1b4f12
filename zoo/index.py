"""The index: what the zoo holds, read from the text of its files, so nothing heavy is imported.

`train.py --list`, `--help` and the check of a command line answer from here in milliseconds; a
test keeps it equal to the registry that importing the same files fills.
"""

import ast
import dataclasses
import functools
import itertools
import json
import pathlib
import re

HERE = pathlib.Path(__file__).parent
MODELS = HERE / "models"  # zoo/models/<kind>/<paper>.py
RECORD = {  # what a task's record holds unless it states another
    "losses": ("cross_entropy",),
    "best": ("val_accuracy", "max"),
    "dataset": "",
    "defaults": dict(epochs=20, updates=800, batch_size=32, learning_rate=0.001, jit=False),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What can be known of a model without building it.

    `options` maps each name to its default, `explanations` to what the builder's docstring says.
    """

    name: str
    tasks: tuple
    idea: str
    source: str
    parameters: int
    options: dict
    explanations: dict
    file: str


@functools.cache
def models():
    """Every registered model as a `Row`, by name."""
    rows = [row for path in sorted(MODELS.glob("*/*.py")) for row in _rows(path)]
    rows = [dataclasses.replace(row, tasks=row.tasks + _borrowing(row.tasks)) for row in rows]
    return {row.name: row for row in sorted(rows, key=lambda row: row.name)}


def _borrowing(names):
    """Return the tasks that take the models of these tasks."""
    return tuple(name for name, task in tasks().items() if task.get("models") in names)


@functools.cache
def tasks():
    """Every task's literal fields (name, dataset, options, defaults, losses ...), by name.

    "explanations" are the comments beside its options. One that several tasks of a subject (image,
    pointcloud ...) have alike is explained in the first of them.
    """
    records, shared = {}, {}
    for path in sorted((HERE / "tasks").glob("*/task.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Task":
                fields = {**RECORD, **_flat(node)}
                options = next(key.value for key in node.keywords if key.arg == "options")
                own = {"loss": "as --loss", **_comments(text, options)}
                alike = shared.setdefault(fields["name"].partition("_")[0], {})
                known = {**alike, **own}
                alike.update({**own, **alike})
                explanations = {name: known.get(name, "") for name in fields["options"]}
                records[fields["name"]] = {**fields, "explanations": explanations}
    return records


def choices(default, explanation):
    """Return the values that an option can have, as its explanation lists them; () if any.

    Words are listed in double quotes, the default among them; integers as in "11, 13, 16 or 19".
    """
    if isinstance(default, str):
        words = tuple(re.findall(r'"(\w+)"', explanation))
        return words if default in words else ()
    if type(default) is int and (listed := re.search(r"\d+(, \d+)* or \d+", explanation)):
        numbers = tuple(map(int, re.findall(r"\d+", listed[0])))
        return numbers if default in numbers else ()
    return ()


@functools.cache
def presets():
    """Every preset's card, by the preset's name."""
    return {name: card for name, card in _cards().items() if isinstance(card, dict)}


def damaged_presets():
    """What is wrong with the card of each preset that cannot be used, by the preset's name."""
    return {name: card for name, card in _cards().items() if isinstance(card, str)}


def _cards():
    """Every preset's card, or what is wrong with it, a text."""
    cards = {}
    for path in sorted((HERE / "presets").glob("*/card.json")):
        try:
            card = json.loads(path.read_bytes())
            needed = ("model",) if "published" in card else ("model", "sha256")
            lacking = [key for key in needed if not isinstance(card[key], str)]
            problem = f"its {lacking[0]} is no text" if lacking else ""
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            problem = f"it is no card of a preset ({type(error).__name__}: {error})".splitlines()[0]
        cards[path.parent.name] = problem or card
    return cards


def _rows(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        for mark in getattr(node, "decorator_list", []):
            if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "register":
                idea, source = _headline(ast.get_docstring(tree) or "")
                names = [argument.arg for argument in node.args.kwonlyargs]
                options = dict(zip(names, map(_literal, node.args.kw_defaults), strict=True))
                yield Row(
                    name=options.pop("name"),
                    tasks=tuple(map(_literal, mark.args)),
                    idea=idea,
                    source=source,
                    parameters=_keywords(mark)["parameters"],
                    options=options,
                    explanations=_explanations(path, ast.get_docstring(node) or "", options),
                    file=path.relative_to(HERE.parent).as_posix(),
                )


def _explanations(path, docstring, options):
    """Return the explanations of a builder's options: its own, and those it has "as of `LSTM`"."""
    own = _arguments(docstring, options)
    if reference := re.search(r"as of `(\w+)`", docstring):
        texts = (file.read_text(encoding="utf-8") for file in sorted(path.parent.glob("*.py")))
        nodes = (
            node
            for text in texts
            if f"def {reference[1]}(" in text
            for node in ast.parse(text).body
        )
        builder = next(node for node in nodes if getattr(node, "name", "") == reference[1])
        shared = _arguments(ast.get_docstring(builder), options)
        own = {name: text or shared[name] for name, text in own.items()}
    return own


def _arguments(docstring, options):
    """Return the explanations of options in the section "Args:" of a docstring."""
    section = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.split(r"^    (\w+): ", section, flags=re.MULTILINE)
    texts = dict(zip(entries[1::2], entries[2::2], strict=True))
    return {name: " ".join(texts.get(name, "").split()).rstrip(".") for name in options}


def _comments(text, call):
    """Return the comments beside the keywords of a call, by keyword, those below included."""
    comments, lines = {}, text.splitlines()
    for keyword, end in itertools.pairwise([*call.keywords, call]):
        last = end.end_lineno if end is call else end.value.lineno - 1
        rows = "\n".join(lines[keyword.value.end_lineno - 1 : last])
        comments[keyword.arg] = " ".join(re.findall(r"  # (.*)$", rows, flags=re.MULTILINE))
    return {name: comment for name, comment in comments.items() if comment}


def _headline(docstring):
    """Split a model file's docstring: the idea, and the citation up to its address."""
    first, _, rest = docstring.partition("\n\n")
    citation = " ".join(rest.split("\n\n")[0].split())
    words = citation.split(" ")
    end = next((i for i, word in enumerate(words) if word.startswith("http")), len(words) - 1)
    return " ".join(first.split()).split(": ", 1)[-1], " ".join(words[: end + 1]).rstrip(".")


def _keywords(call):
    values = ((keyword.arg, _literal(keyword.value)) for keyword in call.keywords)
    return {name: value for name, value in values if value is not ...}


def _flat(call):
    """Return the literal keywords of a call, and those of the records that it is given."""
    values = {}
    for keyword in call.keywords:
        inner = keyword.value
        if isinstance(inner, ast.Call) and getattr(inner.func, "id", "") != "dict":
            values.update(_flat(inner))
        elif (value := _literal(inner)) is not ...:
            values[keyword.arg] = value
    return values


def _literal(node):
    """Evaluate a literal or a `dict(...)` of literals; anything else is `...`."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict":
        return _keywords(node)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...
