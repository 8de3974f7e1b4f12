"""A training of embeddings on class folders: what the run leaves, and what is refused before."""

import csv
import json

import numpy as np
import pytest
from conftest import CLASSES, pattern
from PIL import Image

import train


@pytest.fixture
def folder(tmp_path):
    """Write eight classes of four images: patterns of different colours and brightness."""
    rng = np.random.default_rng(0)
    for k in range(2 * len(CLASSES)):
        (tmp_path / "pictures" / f"class_{k}").mkdir(parents=True)
        for i in range(4):
            image = pattern(np.full((20, 20), k % len(CLASSES)), rng) // (1 + k // len(CLASSES))
            Image.fromarray(image).save(tmp_path / "pictures" / f"class_{k}" / f"{i}.png")
    return tmp_path / "pictures"


def test_a_run_is_scored_on_classes_that_it_has_not_seen(folder, tmp_path, capsys):
    words = ["--model", "siamese", "--data", str(folder), "--epochs", "2", "--set", "width=0.25"]
    words += ["--set", "examples_per_class=2", "--batch-size", "3", "--out", str(tmp_path / "runs")]
    assert train.main(words) == 0
    printed = capsys.readouterr().out
    assert "4 steps an epoch, batches of 4;" in printed and "unbalanced" not in printed
    run = tmp_path / "runs" / "siamese-pictures-1"
    record = json.loads((run / "run.json").read_text())
    assert "Batches have 4 examples: 3 are too few" in printed and record["batch_size"] == 4
    assert record["data"]["sizes"] == {"train": 16, "validation": 8, "test": 8}
    seen = [set(record["scores"][split]["classes"]) for split in ("validation", "test")]
    assert [len(names) for names in seen] == [2, 2] and not seen[0] & seen[1]
    rows = list(csv.DictReader(open(run / "history.csv")))
    recalls = [float(row["val_recall_at_1"]) for row in rows]
    assert record["best_epoch"] == max(i for i in (1, 2) if recalls[i - 1] == max(recalls))
    scores = record["scores"]["validation"]
    assert scores["recall_at_1"] == max(recalls), "the best epoch's model is the one that is scored"
    names = {path.stem for path in (run / "plots").iterdir()}
    assert names == {"learning_curves", "preview", "examples", "plane"}
    assert "R-precision" in (run / "report.txt").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--loss", "cross_entropy"], "siamese has a loss of its own"),
        (["--set", "examples_per_class=1"], "others of its class: 2 or more"),
        (["--set", "encoder=koch", "--set", "image_size=32"], "too small for koch: --set image"),
        (["--set", "encoder=mlp"], "mlp cannot be an encoder"),
        (["--set", "encoder=yolo"], "yolo cannot be an encoder"),
        (["--set", "encoder=foo"], "siamese --set encoder=foo: unknown encoder 'foo'"),
        (["--set", "classes=class_1,class_9"], "Did you mean class_7? Indices are 0 to 7.\n"),
        (["--set", "embedding_size=2", "--set", "width=0.001"], "width=0.001: Invalid value"),
    ],
)
def test_mistakes_have_one_line(words, message, folder, tmp_path, capsys):
    command = ["--model", "siamese", "--data", str(folder), "--out", str(tmp_path / "runs"), *words]
    try:
        status = train.main(command)
    except SystemExit as end:
        status = end.code
    assert status == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
