import json

import numpy as np
import pytest

import zoo
from zoo import index
from zoo.inference import stored_example, verification
from zoo.weights import presets, saving

RUN = {
    "status": "finished",
    "model": "pointnet",
    "arguments": {"input_shape": [64, 3], "num_classes": 2},
    "options": {"width": 0.125},
    "task": "pointcloud_classification",
    "task_options": {"points": 64},
    "info": {"classes": ["car", "tree"], "radius": 1.0},
    "data": {"name": "lidar_objects", "source": "lidar_objects", "licence": "CC0"},
    "command": "python train.py --model pointnet",
    "scores": {"test": {"accuracy": 0.5}},
    "seed": 0,
    "seconds": 1.0,
    "machine": "a machine",
    "versions": {"keras": "3"},
}


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Return the folder of a zoo without presets, for new presets."""
    index.models(), index.tasks()  # as read from the real one
    monkeypatch.setattr(index, "HERE", tmp_path / "zoo")
    (tmp_path / "zoo" / "presets").mkdir(parents=True)
    index.presets.cache_clear()
    yield tmp_path / "zoo" / "presets"
    index.presets.cache_clear()


@pytest.fixture
def run(tmp_path):
    """Return a run folder."""
    folder = tmp_path / "runs" / "pointnet-lidar_objects-1"
    folder.mkdir(parents=True)
    model = zoo.create("pointnet", (64, 3), 2, width=0.125)
    saving.save(model, folder / "model.keras", RUN)
    note(folder, sha256=saving.sha256(folder / "model.keras"))
    return folder


def note(folder, **changes):
    (folder / "run.json").write_text(json.dumps({**RUN, **changes}))


def outputs(model):
    return model(np.random.default_rng(0).normal(size=(2, 64, 3)).astype("float32"))


def publish(run, name, **settings):
    """Create a preset with an example of random numbers."""
    return presets.publish(run, name, example=stored_example.make, **settings)


def test_presets_of_the_zoo_are_whole():
    assert {"resnet20_cifar10", "unet_dsb2018"} <= {*presets.stored()} < {*presets.names()}
    for name in presets.stored():
        card = index.presets()[name]
        assert presets.locate(name).stat().st_size == card["bytes"] <= presets.LARGEST
        assert card["model"] in index.models() and card["data"]["licence"] and card["command"]


def test_a_run_becomes_a_preset_that_loads(shelf, run):
    folder = publish(run, "pointnet_toy")
    files = sorted(file.name for file in folder.iterdir())
    assert files == ["card.json", "example.npz", "model.keras"]
    assert presets.names() == ["pointnet_toy"]
    np.testing.assert_array_equal(outputs(zoo.load("pointnet_toy")), outputs(zoo.load(run)))
    card = json.loads((folder / "card.json").read_text())
    assert card["sha256"] == saving.sha256(folder / "model.keras")
    for key in ("model", "options", "data", "scores", "command", "seconds", "machine", "versions"):
        assert card[key] == RUN[key]
    assert [*shelf.iterdir()] == [folder]
    checks = verification.verify("pointnet_toy")
    assert [check.passed for check in checks] == [True, True, True, None]
    assert card["example"]["input"] == "random numbers"


def test_a_preset_whose_bytes_changed_is_refused_unopened(shelf, run, monkeypatch):
    file = publish(run, "pointnet_toy") / "model.keras"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    monkeypatch.setattr(saving, "load", lambda path: pytest.fail("it was opened"))
    with pytest.raises(ValueError, match="model.keras: its SHA-256 .* pointnet_toy .* changed"):
        zoo.load("pointnet_toy")
    file.unlink()
    with pytest.raises(ValueError, match="pointnet_toy is missing"):
        zoo.load("pointnet_toy")


def test_a_large_preset_comes_from_its_address_and_is_verified(shelf, run, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(presets, "LARGEST", 1000)
    with pytest.raises(ValueError, match=r"has 0\.\d MB, .* --url"):
        publish(run, "pointnet_far")
    address = (run / "model.keras").as_uri()
    folder = publish(run, "pointnet_far", url=address)
    assert sorted(file.name for file in folder.iterdir()) == ["card.json", "example.npz"]
    checks = verification.verify("pointnet_far")
    assert [check.passed for check in checks] == [True, True, True, None]
    np.testing.assert_array_equal(outputs(zoo.load("pointnet_far")), outputs(zoo.load(run)))
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    index.presets.cache_clear()
    with pytest.raises(ValueError, match="preset pointnet_far cannot be downloaded"):
        zoo.load("pointnet_far")


def test_a_preset_is_replaced_only_on_demand(shelf, run):
    publish(run, "pointnet_toy")
    with pytest.raises(ValueError, match="exists already.*--replace"):
        publish(run, "pointnet_toy")
    publish(run, "pointnet_toy", replace=True, licence="CC BY 4.0", source="a street")
    data = index.presets()["pointnet_toy"]["data"]
    assert (data["licence"], data["source"]) == ("CC BY 4.0", "a street")


def test_no_preset_of_a_run_that_is_not_to_be_trusted(shelf, run):
    for name in ("Pointnet", "point-net", "../pointnet", "pointnet"):
        with pytest.raises(ValueError, match="(a preset name|the name of a model)"):
            publish(run, name)
    note(run, sha256="0" * 64)
    with pytest.raises(ValueError, match="not the file that was scored"):
        publish(run, "pointnet_toy")
    note(run, sha256=saving.sha256(run / "model.keras"), data={"name": "mine"})
    with pytest.raises(ValueError, match="licence .* not known"):
        publish(run, "pointnet_toy")
    note(run, status="interrupted")
    with pytest.raises(ValueError, match="the run is interrupted"):
        publish(run, "pointnet_toy")
    with pytest.raises(ValueError, match="no run.json"):
        publish(shelf, "pointnet_toy")
    assert not [*shelf.iterdir()]


def test_a_source_can_be_a_folder_or_a_file(run, tmp_path):
    assert presets.locate(run) == presets.locate(str(run)) == run / "model.keras"
    assert presets.locate(run / "model.keras") == run / "model.keras"
    with pytest.raises(ValueError, match="has no model.keras"):
        presets.locate(tmp_path)


def test_an_unknown_source_is_told_with_the_nearest_preset(shelf, run):
    with pytest.raises(ValueError, match="pointnet_tow: there is no such preset, file or folder"):
        presets.locate("pointnet_tow")
    publish(run, "pointnet_toy")
    with pytest.raises(
        ValueError, match="unknown preset 'pointnet_tow': did you mean pointnet_toy"
    ):
        presets.locate("pointnet_tow")
    with pytest.raises(ValueError, match="runs/nothing.keras: there is no such"):
        presets.locate("runs/nothing.keras")
