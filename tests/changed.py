"""Name the tests of what changed, for pytest: those whose imports lead to a changed file.

    python -m tests.changed [COMMIT]    # arguments for pytest; COMMIT is main unless given

What differs from the last commit that this branch shares with COMMIT counts, committed or not. Of
the promises of all models those of the models that import a changed file are run. Of files that
are not Python nothing is known but that the tests of the house and of the pages read them.
"""

import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
PARTS = ("zoo", "ensembles", "datasets", "tests", "benchmarks")
HOUSE = ("tests/test_house.py", "tests/test_pages.py")  # which read all files, the texts too
PROMISES = "tests/models/test_promises.py"
LOADER = "zoo/tasks/task.py"  # imports the records of the tasks by their names


def changed(commit):
    """Return the paths of files that differ from a commit, or that git does not know yet."""

    def git(*words):
        done = subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT)
        return done.stdout.splitlines() if done.returncode == 0 else []

    base = git("merge-base", "HEAD", commit) or ["HEAD"]
    tracked = git("diff", "--name-only", base[0])
    return {*tracked, *git("ls-files", "--others", "--exclude-standard")}


def graph(root=ROOT):
    """Return the files that each Python file of the project imports, paths from the root."""
    files = [path for part in PARTS for path in (root / part).rglob("*.py")] + [root / "train.py"]
    files = [path for path in files if path.exists()]
    modules = {}
    for path in files:
        place = path.relative_to(root)
        name = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        modules[name] = place.as_posix()
    for path in (root / "tests").glob("*.py"):  # pytest lets tests import these by their names
        modules.setdefault(path.stem, path.relative_to(root).as_posix())
    arrows = {}
    for path in files:
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        place = path.relative_to(root).as_posix()
        arrows[place] = {modules[name] for name in imported(tree, modules)} - {place}
        if path.name.startswith("test_"):
            arrows[place].add("tests/conftest.py")
    if LOADER in arrows:
        arrows[LOADER] |= {place for place in arrows if is_task(place)}
    return arrows


def imported(nodes, modules):
    """Return the names of the modules that nodes of a syntax tree import."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= full | {node.module}
    return names & modules.keys()


def is_task(place):
    """Tell whether a file holds the record of a task."""
    parts = place.split("/")
    return parts[:2] == ["zoo", "tasks"] and parts[-1] == "task.py" and len(parts) == 4


def reaches(place, targets, arrows):
    """Tell whether a file is one of the targets, or its imports lead to one."""
    seen, waiting = set(), [place]
    while waiting:
        current = waiting.pop()
        if current in targets:
            return True
        if current not in seen:
            seen.add(current)
            waiting += arrows.get(current, ())
    return False


def selection(targets, arrows, models):
    """Return the arguments of pytest for what changed.

    Args:
        targets: paths of the changed files.
        arrows: as of `graph`.
        models: the file of each model, by the model's name.

    Returns:
        A list: test files, and "--rows=NAMES" where of the promises some models' are enough.
    """
    tests = [place for place in arrows if pathlib.PurePath(place).name.startswith("test_")]
    chosen = {*HOUSE, *(place for place in tests if reaches(place, targets, arrows))}
    rows = sorted(name for name, file in models.items() if reaches(file, targets, arrows))
    if PROMISES in chosen or not rows:
        return sorted(chosen)
    return [*sorted(chosen | {PROMISES}), f"--rows={','.join(rows)}"]


def main(commit="main"):
    """Print the arguments."""
    from zoo import index

    models = {row.name: row.file for row in index.models().values()}
    print(" ".join(selection(changed(commit), graph(), models)))


if __name__ == "__main__":
    main(*sys.argv[1:])
