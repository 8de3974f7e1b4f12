"""The architecture that docs/extend/model.md adds keeps every promise, and trains."""

import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from zoo import index

ROOT = pathlib.Path(__file__).parent.parent
FILE = str(pathlib.PurePath(index.models()["pointnet"].file).with_name("deepsets.py"))
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "presets", "runs")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Copy the repository and do what docs/extend/model.md says, no more."""
    text = (ROOT / "docs" / "extend" / "model.md").read_text("utf-8")
    assert f"`{FILE}`" in text
    (module,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    copy = tmp_path_factory.mktemp("contributing") / "repository"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    (copy / FILE).write_text(module, "utf-8")
    return copy


def run(copy, *arguments):
    """Run a Python module or file in the copy; return what it printed."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def test_example_has_the_style_of_the_project(copy):
    run(copy, "-m", "ruff", "check", FILE)
    run(copy, "-m", "ruff", "format", "--check", FILE)


def test_example_keeps_every_promise(copy):
    run(
        copy,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "tests/models/test_promises.py",
        "-k",
        "deepsets",
    )


def test_example_trains(copy, tmp_path):
    rng = np.random.default_rng(0)
    splits = {"train": 64, "test": 16}
    arrays = {f"x_{split}": rng.normal(size=(n, 32, 3)) for split, n in splits.items()}
    arrays |= {f"y_{split}": np.arange(n) % 2 for split, n in splits.items()}
    np.savez(tmp_path / "tiny.npz", **arrays)
    options = ["--data", tmp_path / "tiny.npz", "--epochs", 1, "--set", "points=32"]
    run(copy, "train.py", "--model", "deepsets", *options, "--out", tmp_path / "runs")
    assert list(tmp_path.glob("runs/*/model.keras"))
