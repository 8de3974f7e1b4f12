"""Models that predict in another precision than that of their training."""

import keras
import numpy as np
import pytest
from conftest import toy
from PIL import Image

import zoo
from zoo.__main__ import main
from zoo.inference import rebuilding
from zoo.system import precision
from zoo.weights import saving

SETTINGS = {"depth": 2, "width": 0.125, "dropout": 0.0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save a segmenter, one of mixed precision, and an ensemble, and a picture for them."""
    folder, batch = tmp_path_factory.mktemp("saved"), toy("image_segmentation")
    record = {"model": "unet", "arguments": batch.arguments, "options": SETTINGS}
    record |= {"task": batch.task.name, "task_options": batch.options, "info": batch.info}
    for name, policy in [("plain", "float32"), ("mixed", "mixed_bfloat16")]:
        keras.utils.set_random_seed(0)
        model, _ = rebuilding.build(record, policy)
        saving.save(model, folder / f"{name}.keras", record)
    model = zoo.create("unet", **batch.arguments, **SETTINGS, batch_norm=True, epsilon=0.1)
    older = {**record, "options": {**SETTINGS, "batch_norm": True}}  # of another default
    saving.save(model, folder / "older.keras", older)
    other = {**record, "options": {**SETTINGS, "batch_norm": True, "up": "bilinear"}}
    saving.save(model, folder / "other.keras", other)
    saving.save(model, folder / "ensemble.keras", {**record, "model": "average"})
    anonymous = {key: record[key] for key in ("task", "task_options", "info")}
    saving.save(model, folder / "anonymous.keras", anonymous)
    Image.fromarray(batch.examples[0]["image"]).save(folder / "a.png")
    return folder


def probabilities(folder, name, **options):
    """Return what a saved model predicts for the picture (H, W, K)."""
    [row] = zoo.predict(folder / f"{name}.keras", folder / "a.png", **options)
    return row["probabilities"]


def test_bfloat16_predicts_nearly_the_same(saved):
    plain, half = (probabilities(saved, "plain", precision=p) for p in (None, "mixed_bfloat16"))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - plain).max() < 0.02  # of bfloat16's 8 bits
    assert keras.config.dtype_policy().name == "float32"


def test_a_model_of_mixed_precision_predicts_in_float32_what_a_plain_one_does(saved):
    mixed = probabilities(saved, "mixed", precision="float32")
    np.testing.assert_allclose(mixed, probabilities(saved, "plain"), atol=1e-6)
    half = probabilities(saved, "plain", precision="mixed_bfloat16")
    np.testing.assert_array_equal(probabilities(saved, "mixed"), half)


def test_epsilon_is_that_of_the_training(saved):
    again = probabilities(saved, "older", precision="float32")
    np.testing.assert_array_equal(again, probabilities(saved, "older"))


def test_auto_is_what_the_machine_computes_natively(saved, monkeypatch):
    monkeypatch.setattr(precision, "auto", lambda: ("mixed_bfloat16", "it is a test"))
    half = probabilities(saved, "plain", precision="mixed_bfloat16")
    np.testing.assert_array_equal(probabilities(saved, "plain", precision="auto"), half)


def test_the_command_takes_it(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precision, "auto", lambda: ("mixed_bfloat16", "it is a test"))
    words = ["predict", str(saved / "plain.keras"), str(saved / "a.png"), "--precision", "auto"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "Precision mixed_bfloat16: it is a test" in capsys.readouterr().out
    assert (tmp_path / "out" / "a_mask.png").is_file()


def test_what_cannot_be_built_again_is_refused_in_one_line(saved):
    for name in ("ensemble", "anonymous"):
        with pytest.raises(
            ValueError, match=f"{name}.keras: it is no single model of the zoo"
        ) as e:
            probabilities(saved, name, precision="float32")
        assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="other.keras: .* its builder now makes it"):
        probabilities(saved, "other", precision="float32")
    with pytest.raises(ValueError, match="precision is 'half': give float32, mixed_bfloat16"):
        probabilities(saved, "plain", precision="half")
