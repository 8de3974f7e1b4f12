"""Presets are verified: each matches its card, and damage is reported."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import JAX

import zoo
from datasets import recorded
from datasets.source import BadInput
from zoo import index, tasks
from zoo.__main__ import main
from zoo.inference import stored_example, verification
from zoo.weights import presets, saving

ROOT = pathlib.Path(__file__).parents[2]
NAMES = presets.stored()
SMALL = "gru_gunpoint"


@pytest.fixture
def copy(tmp_path):
    """Return a folder with a copy of a small preset, which may be damaged."""
    return shutil.copytree(index.HERE / "presets" / SMALL, tmp_path / "copied")


def results(source, **settings):
    """Verify something; return the checks by name."""
    return {check.name: check for check in verification.verify(source, **settings)}


def change(folder, **entries):
    """Change entries of a card."""
    card = json.loads((folder / "card.json").read_text("utf-8"))
    (folder / "card.json").write_text(json.dumps({**card, **entries}), "utf-8")


def rewrite(folder, change_arrays):
    """Change the arrays of the stored example, and its digest in the card."""
    arrays = dict(np.load(folder / "example.npz"))
    change_arrays(arrays)
    (folder / "example.npz").write_bytes(stored_example.packed(arrays))
    change(folder, example={"sha256": saving.sha256(folder / "example.npz")})


def test_every_preset_is_tested():
    assert len(NAMES) >= 9 and not index.damaged_presets()


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_what_its_card_says(name):
    checks = results(name)
    assert [checks[key].passed for key in ("bytes", "structure", "output")] == [True] * 3, checks
    assert "add --scores" in checks["score"].text and checks["score"].passed is None
    folder = index.HERE / "presets" / name
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes["example.npz"] <= 150_000 and sum(sizes.values()) < presets.LARGEST
    card = index.presets()[name]
    drawn = card["data"]["name"] == "cifar10"  # whose pictures are not ours to copy
    assert ("random numbers" if drawn else "test split") in card["example"]["input"]
    keras.backend.clear_session()


def test_all_presets_on_jax():
    pytest.importorskip("jax")
    environment = {**os.environ, **JAX}
    words = [sys.executable, "-m", "zoo", "verify"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("  output")]
    assert len(lines) == len(NAMES) and all("on jax" in line for line in lines)
    assert done.stdout.endswith(f"{len(NAMES)} verified\n")


def test_a_flipped_byte_is_named_and_the_model_is_not_opened(copy, capsys, monkeypatch):
    content = bytearray((copy / "model.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.keras").write_bytes(content)
    monkeypatch.setattr(saving, "load", lambda path: pytest.fail("it was opened"))
    assert main(["verify", str(copy)]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if "FAILED" in line]
    assert len(failed) == 1 and failed[0].startswith("  bytes")
    assert f"{copy / 'model.keras'}: its SHA-256 is" in failed[0] and "out again" in failed[0]
    assert sum("not checked" in line for line in lines) == 3
    assert lines[-1] == "1 of 1 failed"


def test_a_flipped_byte_of_the_example_is_named(copy):
    content = bytearray((copy / "example.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "example.npz").write_bytes(content)
    checks = results(copy)
    assert checks["bytes"].passed is False and "example.npz: its SHA-256" in checks["bytes"].text
    assert checks["structure"].passed and checks["output"].passed is None
    (copy / "example.npz").unlink()
    assert "example.npz: it cannot be read" in results(copy)["bytes"].text


def test_another_output_is_named(copy, capsys):
    def shift(arrays):
        arrays["output"][0, 0] += 0.01

    rewrite(copy, shift)
    assert main(["verify", str(copy)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert line.startswith("  output") and "differs from the one that is stored by 0.01" in line
    assert f"{copy / 'example.npz'}: " in line and "more than 0.0001" in line


def test_an_example_of_another_model_is_no_traceback(copy):
    rewrite(copy, lambda arrays: arrays.update(input=np.zeros((1, 8, 8, 3), "float32")))
    check = results(copy)["output"]
    assert check.passed is False and "example.npz: its input cannot be used" in check.text
    rewrite(copy, lambda arrays: arrays.pop("output"))
    assert "it lacks the array output" in results(copy)["output"].text


def test_other_options_in_the_card_are_named(copy):
    card = json.loads((copy / "card.json").read_text("utf-8"))
    options = card["options"]
    change(copy, options={**options, "units": 16})
    check = results(copy)["structure"]
    assert check.passed is False and "card.json: the model gru" in check.text
    assert "32 in the file and 16 as built" in check.text
    change(copy, options={**options, "layers": 3})
    assert results(copy)["structure"].passed is False
    change(copy, options={**options, "unts": 32})
    assert "cannot be built" in results(copy)["structure"].text
    change(copy, options={**options, "units": 10**9})  # is not made
    assert results(copy)["structure"].passed is False
    change(copy, options=options, model="gur")
    assert "did you mean gru" in results(copy)["structure"].text


def test_a_preset_without_an_example_is_told_how_to_store_one(copy, capsys):
    (copy / "example.npz").unlink()
    change(copy, example=None)
    assert main(["verify", str(copy)]) == 1
    assert f"no stored example. Store one: python -m zoo example {copy}" in capsys.readouterr().out
    before = (copy / "model.keras").read_bytes()
    verification.store(copy)
    assert results(copy)["output"].passed and (copy / "model.keras").read_bytes() == before
    assert main(["example", str(copy)]) == 2
    assert "stored already" in capsys.readouterr().err


def test_a_damaged_card_is_named(copy):
    (copy / "card.json").write_text("{", "utf-8")
    check = results(copy)["bytes"]
    assert check.passed is False and "card.json: its description is no JSON" in check.text


def test_what_is_no_preset_is_named(copy, capsys, tmp_path):
    assert main(["verify", "gru_gunpont"]) == 2
    assert "did you mean gru_gunpoint" in capsys.readouterr().err
    assert main(["verify", str(copy / "model.keras")]) == 2
    assert "it is neither a preset nor a run" in capsys.readouterr().err
    assert main(["verify", str(tmp_path)]) == 2
    assert "no card.json and no run.json" in capsys.readouterr().err


def test_the_score_is_that_of_the_card(copy):
    check = results(SMALL, prepare=recorded.prepare, scores=True)["score"]
    assert check.passed and "accuracy 0.9600" in check.text
    scores = {"test": {"accuracy": 0.97}}
    change(copy, scores=scores)
    check = results(copy, prepare=recorded.prepare, scores=True)["score"]
    assert check.passed is False and "its accuracy is 0.9700" in check.text
    assert "gives 0.9600" in check.text and f"{copy / 'card.json'}: " in check.text
    data = json.loads((copy / "card.json").read_text("utf-8"))["data"]
    change(copy, data={**data, "fingerprint": "0" * 16})
    check = results(copy, prepare=recorded.prepare, scores=True)["score"]
    assert check.passed is None and "its fingerprint is" in check.text


def test_data_that_are_not_at_hand_are_named(monkeypatch, tmp_path):
    task = tasks.get("sequence_classification")
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    for data in ({"name": "no_such_data"}, {}):
        with pytest.raises(BadInput, match="they are not available"):
            recorded.prepare({"data": data, "task_options": {}, "info": {}}, task, "")
    (tmp_path / "no_such_data").mkdir()
    assert recorded.located(None, "no_such_data") == str(tmp_path / "no_such_data")


def test_the_stored_input_is_small_and_its_output_its_own():
    x = np.random.default_rng(0).uniform(size=(1, 416, 416, 3)).astype("float32")
    smaller, changes = stored_example.small(x)
    assert smaller.shape == x.shape and smaller.dtype == "float16" and "coarser" in changes
    assert len(stored_example.packed({"input": smaller})) <= stored_example.LARGEST
    model = zoo.create("unet", (None, None, 1), 2, width=0.125)
    content, entry = stored_example.make(model, {"task": "image_segmentation"})
    assert entry["input"] == "random numbers" and len(content) < 100_000
    assert stored_example.make(model, {"task": "image_segmentation"})[0] == content


def test_several_inputs_and_many_outputs_are_stored(tmp_path):
    points, kind = keras.Input((None, 3), name="points"), keras.Input((4,), name="kind")
    wide = keras.layers.Dense(500)(points)
    outputs = {"wide": wide, "kind": keras.layers.Dense(2)(kind)}
    model = keras.Model({"points": points, "kind": kind}, outputs)
    (tmp_path / "example.npz").write_bytes(stored_example.make(model, {})[0])
    arrays = stored_example.read(tmp_path / "example.npz")
    assert arrays["input"].keys() == {"points", "kind"}
    assert (step := int(arrays["step"])) > 1 and arrays["output"]["wide"].ndim == 1
    again = stored_example.predicted(model, arrays["input"], step)
    np.testing.assert_allclose(again["wide"], arrays["output"]["wide"], atol=1e-6)
