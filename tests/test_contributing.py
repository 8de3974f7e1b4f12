"""What docs/extend adds keeps every promise: an architecture trains, a task does all tasks do."""

import csv
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from zoo import index

ROOT = pathlib.Path(__file__).parent.parent
FILE = str(pathlib.PurePath(index.models()["pointnet"].file).with_name("deepsets.py"))
TASK = "zoo/tasks/image_regression/task.py"
COMMANDS = """
import sys
import train
from ensembles.__main__ import main as ensembles
from zoo.__main__ import main as zoo

mains = [train.main] * 2 + [zoo] * 2 + [ensembles] * 2
for main, command in zip(mains, sys.argv[1:], strict=True):
    if status := main(command.split()):
        sys.exit(f"{command}: {status}")
"""
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "presets", "runs")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Copy the repository and follow docs/extend/model.md and task.md exactly."""
    copy = tmp_path_factory.mktemp("contributing") / "repository"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    (copy / FILE).write_text(example("model", FILE), "utf-8")
    return copy


def example(page, file):
    """Return the file that a page of docs/extend shows."""
    text = (ROOT / "docs" / "extend" / f"{page}.md").read_text("utf-8")
    assert f"`{file}`" in text
    (module,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return module


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


@pytest.fixture
def brightness(tmp_path):
    """Make a folder of images whose value is a linear function of their brightness."""
    folder, rng = tmp_path / "brightness", np.random.default_rng(0)
    folder.mkdir()
    rows = [("file", "value")]
    for i, gray in enumerate(np.linspace(20, 220, 60)):
        pixels = (gray + rng.normal(0, 10, (16, 16))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append((f"{i}.png", 3 * gray + 1000))
    with open(folder / "values.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_example_task_trains_predicts_exports_and_averages(copy, tmp_path, brightness):
    module = example("task", TASK)
    assert len(module.splitlines()) < 100
    (copy / TASK).parent.mkdir()
    (copy / TASK).write_text(module, "utf-8")
    run(copy, "-m", "ruff", "check", TASK)
    run(copy, "-m", "ruff", "format", "--check", TASK)
    runs = tmp_path / "runs"
    first, second = runs / "vgg-brightness-1", runs / "vgg-brightness-2"
    training = f"--model vgg --task image_regression --data {brightness} --out {runs} --epochs 6"
    training += " --set image_size=32 --set width=0.0625 --set depth=11 --set dropout=0"
    run(
        copy,
        "-c",
        COMMANDS,
        f"{training} --seed 0",
        f"{training} --seed 1",
        f"predict {first} {brightness} --out {tmp_path / 'predicted'}",
        f"export {first} --format onnx --with-preprocessing --out {tmp_path / 'model.onnx'}",
        f"average {first} {second} --out {runs}",
        f"stack {first} {second} --meta dense --epochs 2 --out {runs}",
    )
    scores = json.loads((first / "run.json").read_text())["scores"]["test"]
    assert scores["r2"] > 0.5 and scores["mae"] < 150
    rows = json.loads((tmp_path / "predicted" / "predictions.json").read_text())
    values = [row["value"] for row in rows]
    assert (
        np.corrcoef(values, np.linspace(20, 220, 60)[np.argsort([str(i) for i in range(60)])])[0, 1]
        > 0.7
    )
    average = json.loads((runs / "average-brightness-1" / "run.json").read_text())
    assert average["scores"]["test"]["mae"] < 150
    for row in average["rows"]:  # in the units of the values, as the scores
        low, high = row["interval"]
        assert low <= row["scores"]["mae"] <= high
    assert (tmp_path / "model.onnx").exists()
