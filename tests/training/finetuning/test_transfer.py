"""Transfer of epsilon, and warnings about anchors."""

import keras
import numpy as np
import pytest
from conftest import toy

import zoo
from zoo import tasks
from zoo.training import building, recipe
from zoo.training.finetuning import transfer
from zoo.weights import darknet_weights, saving

GRID = {
    "form": "yolov3",
    "anchors": [[[81, 82], [135, 169], [344, 319]], [[10, 14], [23, 27], [37, 58]]],
    "strides": [32, 16],
    "size": [64, 64],
}


def network(epsilon, momentum, nested=False):
    """Return a small network with two kinds of normalisation."""
    entry = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(2, 3, name="conv")(entry)
    x = keras.layers.BatchNormalization(epsilon=epsilon, momentum=momentum, name="norm")(x)
    x = keras.layers.LayerNormalization(epsilon=epsilon, name="layer_norm")(x)
    model = keras.Model(entry, x, name="inner")
    if not nested:
        return model
    outer = keras.Input((4, 4, 3))
    return keras.Model(outer, keras.layers.Flatten()(model(outer)), name="outer")


def test_normalisation_takes_over_its_epsilon_so_that_outputs_are_equal(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    for nested in (False, True):
        source, target = network(0.1, 0.99, nested), network(1e-5, 0.9, nested)
        copied, missing = transfer.transfer(source, target)
        assert len(copied) == 8 and not missing
        np.testing.assert_array_equal(target(x), source(x))
        target.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again(x), source(x))
        inner = again.get_layer("inner") if nested else again
        assert inner.get_layer("norm").momentum == 0.9


def test_epsilon_stays_where_no_weight_was_taken():
    target, entry = network(1e-5, 0.9), keras.Input((4, 4, 3))
    wide = keras.layers.Conv2D(5, 3, name="conv")(entry)
    source = keras.Model(entry, keras.layers.BatchNormalization(epsilon=0.1, name="norm")(wide))
    copied, missing = transfer.transfer(source, target)
    assert not copied and len(missing) == 8
    assert target.get_layer("norm").epsilon == 1e-5


@pytest.mark.parametrize(
    ("name", "task", "given", "epsilon", "message"),
    [
        ("pointnet", "pointcloud_classification", {}, 1e-5, None),
        (
            "pointnet",
            "pointcloud_classification",
            {"epsilon": 1e-2},
            1e-2,
            "it was trained with the epsilon 1e-05, and the model has 0.01",
        ),
        ("pointnet_segmentation", "pointcloud_segmentation", {}, 1e-5, None),
    ],
)
def test_a_model_is_built_with_the_epsilon_of_its_initial_weights(
    name, task, given, epsilon, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(building.provenance, "inherit", lambda *_: [])  # these data have no splits
    source = zoo.create("pointnet", (64, 3), 4, width=1 / 16, epsilon=1e-5)
    saving.save(source, tmp_path / "source.keras", {"model": "pointnet", "options": {}})
    settings = {
        "model": name,
        "options": {"width": 1 / 16, **given},
        "init": str(tmp_path / "source.keras"),
        "recipe": recipe.DEFAULTS,
    }
    batch = toy(task)
    record = {"info": batch.info, "task_options": batch.options}
    model, _ = building.build(settings, tasks.get(task), record, {})
    assert set(transfer.epsilons(model)) == {epsilon}
    assert record["options"]["epsilon"] == epsilon, "a rebuilt model is the same"
    printed = capsys.readouterr().out
    assert message in printed if message else "epsilon" not in printed


def test_an_epsilon_that_no_option_sets_is_told():
    source, target = network(0.1, 0.99), network(1e-5, 0.9)
    built, trained = transfer.epsilons(target), transfer.epsilons(source)
    transfer.transfer(source, target, keep_epsilon=True)
    assert transfer.epsilons(target) == built == [1e-5]
    (message,) = transfer.epsilon_notes("runs/a", trained, built, target)
    assert message == "runs/a: it was trained with the epsilon 0.1, and the model has 1e-05"
    transfer.transfer(source, target)
    (message,) = transfer.epsilon_notes("runs/a", trained, built, target)
    assert message == "runs/a: 1 batch normalisations take over its epsilon 0.1"
    assert transfer.epsilon_notes("runs/a", trained, trained, target) == []


def test_anchors_that_weights_were_not_trained_with_are_told():
    (message,) = transfer.notes("yolov3-tiny.weights", None, GRID, [])
    assert "--set anchors=..." in message
    assert str([[10, 14], [23, 27], [37, 58], [81, 82], [135, 169], [344, 319]]) in message
    assert "published yolov3-tiny.weights have [[23, 27], [37, 58], [81, 82], [81, 82]" in message
    published = {**GRID, "anchors": [transfer.TINY[3:], transfer.TINY[:3]]}
    assert "published" not in transfer.notes("yolov3-tiny.weights", None, published, [])[0]
    (message,) = transfer.notes("runs/a", published, GRID, [])
    assert message.startswith("runs/a: its weights were trained with the anchors [[23, 27]")
    assert transfer.notes("runs/a", GRID, GRID, []) == []
    assert transfer.notes("runs/a", published, GRID, ["coarse_raw/kernel"]) == []
    assert transfer.notes("darknet53.conv.74", None, None, []) == []


def test_the_published_tiny_weights_bring_their_anchors(tmp_path, capsys):
    path = tmp_path / "yolov3-tiny.weights"
    with open(path, "wb") as file:
        file.truncate(transfer.TINY_BYTES)
    coco = {"num_classes": 80}
    brought = transfer.published_anchors(path, "yolov3_tiny", coco)
    assert brought == {"anchors": transfer.TINY} and "anchors" in capsys.readouterr().out
    other = {**coco, "anchors": [[1, 2]] * 6}
    assert transfer.published_anchors(path, "yolov3_tiny", other) == {}
    assert transfer.published_anchors(path, "yolov3_tiny", {"num_classes": 3}) == {}
    assert transfer.published_anchors(path, "yolov3", coco) == {}
    path.write_bytes(b"1234")
    assert transfer.published_anchors(path, "yolov3_tiny", coco) == {}


def test_a_detector_is_built_with_the_anchors_of_the_published_weights(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(building.provenance, "inherit", lambda *_: [])  # these data have no splits
    path, batch = tmp_path / "yolov3-tiny.weights", toy("image_detection")
    source = zoo.create("yolov3_tiny", (64, 64, 3), 4, width=1 / 16)
    darknet_weights.save(source, path)
    monkeypatch.setattr(transfer, "TINY_BYTES", path.stat().st_size)
    settings = {"model": "yolov3_tiny", "options": {"width": 1 / 16}, "init": str(path)}
    settings["recipe"] = recipe.DEFAULTS
    for classes, anchors in ((4, transfer.TINY), (80, None)):
        monkeypatch.setattr(transfer, "COCO", classes)
        record = {"info": batch.info, "task_options": batch.options}
        building.build(settings, tasks.get("image_detection"), record, {})
        assert record["arguments"].get("anchors") == anchors
        chosen = transfer.smallest_first(record["info"]["grid"])
        assert (chosen == transfer.TINY) == bool(anchors)
        printed = capsys.readouterr().out
        assert ("takes the anchors" in printed) == bool(anchors)
        assert ("does not contain the anchors" in printed) != bool(anchors)
