"""The house stands: who imports whom, generated texts are fresh, nothing is lost in packaging."""

import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted(
    path
    for part in ("zoo", "ensembles", "datasets")
    for path in (ROOT / part).rglob("*.py")
) + [ROOT / "train.py"]  # fmt: skip

OURS = {"zoo", "ensembles", "datasets", "train"}
SHARED = {"zoo.registry", "zoo.blocks", "zoo.layers", "zoo.recurrence"}
MODEL_LIBRARIES = {"keras", "numpy", "math"}


def imports(path):
    """Return every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            if node.module in ("zoo", "zoo.tasks", "datasets", "ensembles", "zoo.pointcloud"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path):
    """Return those of our own packages' modules."""
    return {name for name in imports(path) if name.split(".")[0] in OURS}


def borrowed(path):
    """Return the model files of classification from which a file takes `features` and no more."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    taken = [node for node in tree if isinstance(node, ast.ImportFrom)]
    taken = [node for node in taken if node.module.startswith("zoo.classification.")]
    return {node.module for node in taken if [name.name for name in node.names] == ["features"]}


def part(path):
    """Return which part of the house a file belongs to."""
    place = path.relative_to(ROOT).parts
    if place[0] == "zoo" and len(place) == 3:
        return "task" if place[1] == "tasks" else "model"
    return place[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path):
    kind, found = part(path), ours(path)
    tops = {name.split(".")[0] for name in found}
    if kind == "datasets":
        assert tops <= {"datasets"}
    elif path.name == "__main__.py" or path in (ROOT / "zoo" / "files.py", ROOT / "train.py"):
        assert tops <= {"zoo", "datasets", "ensembles"}
    elif kind == "ensembles":
        assert tops <= {"ensembles", "zoo"}
    else:
        assert tops <= {"zoo"}
    if kind in ("zoo", "task", "model", "ensembles"):
        heavy = {name.split(".")[0] for name in imports(path)} & {"tensorflow", "jax", "torch"}
        assert not heavy, "every operation is keras.ops"
    if kind == "task":
        allowed = {"zoo", "zoo.metrics", "zoo.losses", "zoo.layers", "zoo.plots", "zoo.index"}
        allowed |= {"zoo.registry", "zoo.boxes", "zoo.box_losses", "zoo.precision"}
        allowed |= {"zoo.suppression", "zoo.differencing"}
        assert {name for name in found if not name.startswith("zoo.tasks")} <= allowed
    if kind == "model" and path.name != "__init__.py":
        folder = f"zoo.{path.parent.name}"
        allowed = SHARED | {"zoo"}
        if path.parent.name in ("segmentation", "detection"):
            allowed |= {"zoo.encoders"} | borrowed(path)
        assert {name for name in found if not name.startswith(folder)} <= allowed
        outside = {name.split(".")[0] for name in imports(path)} - OURS
        assert outside <= MODEL_LIBRARIES


def test_nothing_heavy_is_imported_by_the_light_modules():
    light = "import sys, zoo, zoo.index, zoo.registry, datasets, datasets.source, datasets.builders"
    check = "heavy = {'keras', 'tensorflow', 'jax', 'numpy', 'matplotlib', 'open3d'}"
    import subprocess

    script = f"{light}\n{check}\nprint(sorted(heavy & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def unnamed_encoding(path):
    """Return the lines of a file that read or write text in whatever encoding the locale has."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        mode = [item.value for item in node.args[1:2] if isinstance(item, ast.Constant)]
        binary = name == "open" and any("b" in str(value) for value in mode)
        text = {"read_text": 0, "write_text": 1}.get(name) == len(node.args)  # encoding not given
        text |= isinstance(node.func, ast.Name) and name == "open"
        if text and not binary and "encoding" not in {item.arg for item in node.keywords}:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "benchmarks").glob("*.py"))], ids=str)
def test_text_is_read_and_written_as_utf_8_whatever_the_locale(path):
    assert not unnamed_encoding(path)


def test_model_files_are_one_idea_long():
    for path in FILES:
        if part(path) == "model":
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, path


def test_every_module_of_a_model_folder_is_imported_by_it():
    for init in (ROOT / "zoo").glob("*/__init__.py"):
        if init.parent.name == "tasks":
            continue
        named = {name.rpartition(".")[2] for name in imports(init)}
        files = {path.stem for path in init.parent.glob("*.py")} - {"__init__"}
        assert files <= named, f"{init} lacks an import line"
