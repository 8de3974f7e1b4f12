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

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}
MODEL_LIBRARIES = {"keras", "numpy", "math"}

# Which rooms a room may import, besides itself. A room is a folder, or a file beside folders.
ROOMS = {
    "zoo.index": set(),
    "zoo.registry": {"zoo.index"},
    "zoo.system": set(),
    "zoo.assignments": {"zoo.index", "zoo.registry"},
    "zoo.describe": {"zoo.index", "zoo.system"},
    "zoo.nn": {"zoo.registry"},
    "zoo.models": {"zoo.nn", "zoo.registry"},
    "zoo.plots": set(),
    "zoo.tasks": {"zoo.index", "zoo.nn", "zoo.plots", "zoo.registry"},
    "zoo.weights": {"zoo.index", "zoo.nn", "zoo.registry", "zoo.system"},
    "zoo.inference": {
        "zoo.describe",
        "zoo.index",
        "zoo.nn",
        "zoo.plots",
        "zoo.registry",
        "zoo.system",
        "zoo.tasks",
        "zoo.weights",
    },
    "zoo.insight": {
        "zoo.describe",
        "zoo.index",
        "zoo.inference",
        "zoo.nn",
        "zoo.plots",
        "zoo.registry",
        "zoo.tasks",
        "zoo.weights",
    },
    "zoo.sklearn": {
        "zoo.assignments",
        "zoo.index",
        "zoo.inference",
        "zoo.registry",
        "zoo.system",
        "zoo.tasks",
        "zoo.training",
        "zoo.weights",
    },
    "zoo.training": {
        "zoo.inference",
        "zoo.insight",
        "zoo.nn",
        "zoo.plots",
        "zoo.registry",
        "zoo.system",
        "zoo.weights",
    },
}
# A file that imports more than its room may, because that is its subject.
EXCEPTIONS = {
    "zoo.nn.encoders": {"zoo.training", "zoo.weights"},  # an encoder starts from a trained model
    "zoo.inference.files": {"datasets.readers", "datasets.source"},  # the user's files
    # like train.py, they bring data and models together
    "zoo.sklearn.estimators": {"datasets.readers"},
    "zoo.sklearn.forecaster": {"datasets.windows"},
    "zoo.sklearn.training": {"datasets.in_memory", "datasets.pipeline"},
}
COMMANDS = {"train", "zoo.__main__", "ensembles.__main__"}
GRADIENTS = "zoo.nn.gradients"  # the only file that may know the backend


def imports(path):
    """Return the names of the modules that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in modules}
    return names


def room(module):
    """Return the room of a module of ours: its first two names, the package's own file apart."""
    return ".".join(module.split(".")[:2])


def borrows_features(path, module):
    """Return whether a file imports `features`, and nothing else, of a classifier."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    nodes = [node for node in tree if isinstance(node, ast.ImportFrom) and node.module == module]
    names = {alias.name for node in nodes for alias in node.names}
    return module.startswith("zoo.models.classification.") and names == {"features"}


def is_model(module):
    """Return whether a module is the file of a model."""
    return module.startswith("zoo.models.") and module.count(".") == 3


@pytest.mark.parametrize("module", MODULES)
def test_arrows(module):
    path, package = MODULES[module], module.split(".")[0]
    outside = {name.split(".")[0] for name in imports(path) if name not in MODULES}
    ours = {name for name in imports(path) & MODULES.keys() if room(name) != room(module)}
    if package in ("zoo", "ensembles"):
        backends = set() if module == GRADIENTS else {"tensorflow", "jax", "torch"}
        assert not outside & backends, "every operation is keras.ops"
    if module in COMMANDS:
        return
    if package == "datasets":
        assert {name.split(".")[0] for name in ours} <= {"datasets"}
    elif package == "ensembles":
        assert {name.split(".")[0] for name in ours} <= {"ensembles", "zoo"}
        assert not {name for name in ours if name.startswith("zoo.models")}
    elif room(module) in ROOMS:
        allowed = ROOMS[room(module)] | EXCEPTIONS.get(module, set())
        assert {room(name) for name in ours} <= allowed
    if is_model(module):
        folder = module.rpartition(".")[0]
        others = {name for name in imports(path) if name.startswith("zoo.models.")}
        others = {name for name in others if name.rpartition(".")[0] != folder}
        assert all(borrows_features(path, name) for name in others)
        assert outside <= MODEL_LIBRARIES


def test_imports_make_no_circle():
    arrows = {name: imports(path) & MODULES.keys() - {name} for name, path in MODULES.items()}
    while leaves := [name for name, targets in arrows.items() if not targets & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    assert not arrows


def test_every_room_is_described_in_the_rules():
    rooms = {room(name) for name in MODULES if name.startswith("zoo.")}
    assert rooms - {"zoo.__main__"} == ROOMS.keys()


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
        if path.parts[-4:-2] == ("zoo", "models"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, path
