"""The index: what the zoo holds, read from the text of its files, so nothing heavy is imported.

`train.py --list`, `--help` and the check of a command line answer from here in milliseconds; a
test keeps it equal to the registry that importing the same files fills.
"""

import ast
import dataclasses
import functools
import json
import pathlib

HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Row:
    """What can be known of a model without building it; `options` maps each name to its default."""

    name: str
    tasks: tuple
    idea: str
    source: str
    parameters: int
    options: dict
    file: str


@functools.cache
def folders():
    """Names of the folders that hold model files: those below `zoo` with an `__init__.py`."""
    inits = sorted(HERE.glob("*/__init__.py"))
    return tuple(path.parent.name for path in inits if path.parent.name != "tasks")


@functools.cache
def models():
    """Every registered model as a `Row`, by name."""
    files = sorted(path for folder in folders() for path in (HERE / folder).glob("*.py"))
    rows = [row for path in files for row in _rows(path)]
    return {row.name: row for row in sorted(rows, key=lambda row: row.name)}


@functools.cache
def tasks():
    """Every task's literal fields (name, dataset, options, training ...), by name."""
    found = {}
    for path in sorted((HERE / "tasks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Task":
                fields = _keywords(node)
                found[fields["name"]] = fields
    return found


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
            lacking = [key for key in ("model", "sha256") if not isinstance(card[key], str)]
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
                    file=path.relative_to(HERE.parent).as_posix(),
                )


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


def _literal(node):
    """Evaluate a literal or a `dict(...)` of literals; anything else is `...`."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dict":
        return _keywords(node)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...
