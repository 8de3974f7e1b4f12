import hashlib
import json

import h5py
import keras
import numpy as np
import pytest
from conftest import toy
from PIL import Image

import zoo
from tests.published_files import (
    SMALL,
    assert_equal_outputs,
    images,
    randomized,
    resnet_arrays,
    write_legacy,
    write_safetensors,
)
from zoo import index, tasks
from zoo.__main__ import main
from zoo.inference import verification
from zoo.training import building, recipe
from zoo.weights import inspection, presets
from zoo.weights.published import cards


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """Add a preset whose weights are at an address; return their model, the card, the folder."""
    shape = dict(input_shape=(224, 224, 3), classes=3, weights=None, alpha=0.35)
    reference = keras.applications.MobileNetV2(**shape, classifier_activation=None)
    folder = tmp_path_factory.mktemp("far")
    weights = write_legacy(randomized(reference, gain=1.4), folder / "weights.h5")
    labels = folder / "classes.json"
    labels.write_text(json.dumps({str(i): [f"n{i}", f"kind {i // 2}"] for i in range(3)}))

    def entry(path):
        return {"url": path.as_uri(), "md5": hashlib.md5(path.read_bytes()).hexdigest()}

    card = {
        "model": "mobilenet",
        "options": {"width": 0.35},
        "task": "image_classification",
        "data": {"name": "far", "licence": "CC0"},
        "published": {"weights": entry(weights), "classes": entry(labels)},
    }
    known = {**index.presets(), "mobilenet_far": card}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(folder / "keras"))
        patch.setattr(index, "presets", lambda: known)
        yield reference, card, folder


def test_cards_of_published_weights_have_an_address_and_a_hash():
    published = {name: card for name, card in index.presets().items() if "published" in card}
    assert len(published) == 9
    for name, card in published.items():
        assert [file.name for file in (index.HERE / "presets" / name).iterdir()] == ["card.json"]
        for entry in card["published"].values():
            assert entry["url"].startswith("https://storage.googleapis.com/")
            known = name != "mobilenetv2_imagenet" or entry["url"].endswith(".json")
            assert not known or len(bytes.fromhex(entry["md5"])) == 16  # of one, Keras has none


def test_hashes_and_addresses_are_those_of_keras():
    from keras.src.applications import resnet, vgg16, vgg19

    for name, (digest, _) in resnet.WEIGHTS_HASHES.items():
        if name.startswith("resnet"):
            entry = index.presets()[f"{name}_imagenet"]["published"]["weights"]
            assert entry["md5"] == digest
            assert entry["url"].startswith(f"{resnet.BASE_WEIGHTS_PATH}{name}_weights")
    for module, name in ((vgg16, "vgg16"), (vgg19, "vgg19")):
        assert index.presets()[f"{name}_imagenet"]["published"]["weights"]["url"] == (
            module.WEIGHTS_PATH
        )


def test_published_weights_are_downloaded_converted_and_kept(far, tmp_path):
    reference, card, folder = far
    path = presets.locate("mobilenet_far")
    record = inspection.record(path)
    assert record["info"]["classes"] == ["kind 0", "kind 0 (2)", "kind 1"]
    assert record["options"]["form"] == "keras" and record["data"] == card["data"]
    (folder / "weights.h5").unlink()
    assert presets.locate("mobilenet_far") == path
    pixels = (255 * images(224, 224, 3)).astype(np.uint8)
    Image.fromarray(np.pad(pixels, ((16, 16), (16, 16), (0, 0)))).save(tmp_path / "a.png")
    (row,) = zoo.predict("mobilenet_far", tmp_path / "a.png")  # it takes the middle of 7/8
    logits = keras.ops.convert_to_numpy(reference(pixels[None] / 127.5 - 1))[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose([*row["probabilities"].values()], expected, rtol=1e-4)


def test_a_download_with_another_hash_is_refused(far, monkeypatch):
    _, card, folder = far
    (folder / "other.h5").write_bytes(b"other")
    entry = {"url": (folder / "other.h5").as_uri(), "md5": "0" * 32}
    card = {**card, "published": {**card["published"], "weights": entry}}
    monkeypatch.setattr(index, "presets", lambda: {"mobilenet_other": card})
    with pytest.raises(ValueError, match="other.h5: preset mobilenet_other cannot be downloaded"):
        zoo.load("mobilenet_other")


def test_an_encoder_has_the_form_and_the_pixels_of_its_weights(far):
    reference = far[0]
    options = dict(encoder="mobilenet", encoder_weights="mobilenet_far", width=0.35)
    model = zoo.create("unet", (224, 224, 3), 2, dropout=0.0, **options)
    ours = keras.Model(model.input, model.get_layer("block3_project_norm").output)
    theirs = keras.Model(reference.input, reference.get_layer("block_2_project_BN").output)
    x = images(1, 224, 224, 3)
    assert_equal_outputs(ours(x)[0], theirs(2 * x - 1)[0])


def test_convert_writes_a_model_that_predicts_files(tmp_path, capsys):
    path = write_safetensors(tmp_path / "r.safetensors", resnet_arrays(2))
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    out = tmp_path / "r.keras"
    words = ["convert", "resnet", str(path), "--out", str(out), "--depth", "20", "--width=0.25"]
    words += ["--set", "image_size=32", "--classes", str(tmp_path / "names.txt")]
    assert main(words) == 0
    assert "image_size 32, crop 0.875" in capsys.readouterr().out
    (row,) = zoo.predict(out, (255 * images(40, 40, 3)).astype(np.uint8))
    assert row["class"] in ("cat", "dog")
    assert main(words) == 2
    assert "it exists already" in capsys.readouterr().err
    (tmp_path / "index.json").write_text('{"0": ["n1", "cat"], "1": ["n2"]}')
    extra = ["--classes", str(tmp_path / "index.json"), "--out", str(tmp_path / "b.keras")]
    assert main([*words, *extra]) == 2
    assert "index.json: it is no index of classes" in capsys.readouterr().err
    for wrong, reason in (
        (["--depht", "20"], "--depht"),
        (["--depth"], "expected one argument"),
        (["--set", "crop=2"], "crop is '2', it must be from 0 to 1"),
    ):
        with pytest.raises(SystemExit):
            main(["convert", "resnet", str(path), "--out", str(out), *wrong])
        assert reason in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["list", "--depth", "20"])
    assert main(["convert", "lenet", str(path), "--out", str(tmp_path / "b.keras")]) == 2
    assert f"{path}: no published names of the arrays of lenet" in capsys.readouterr().err


def save_images(path):
    """Write data of two classes, by their brightness, with their names in classes.txt."""
    y = np.arange(40) % 2
    noise = np.random.default_rng(0).integers(0, 100, (40, 32, 32, 3))
    x = (noise + 100 * y[:, None, None, None]).astype(np.uint8)
    np.savez(path, x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    (path.parent / "classes.txt").write_text("dark\nbright\n")


def test_convert_with_data_makes_a_scored_run(tmp_path, capsys):
    path = write_safetensors(tmp_path / "r.safetensors", resnet_arrays(2))
    save_images(tmp_path / "d.npz")
    out, data = tmp_path / "run", str(tmp_path / "d.npz")
    words = ["convert", "resnet", str(path), "--out", str(out), "--data", data]
    assert main([*words, "--depth", "20", "--width", "0.25"]) == 0
    run = json.loads((out / "run.json").read_text())
    assert run["info"]["classes"] == ["dark", "bright"] and run["status"] == "finished"
    assert run["task_options"]["image_size"] == 32 and run["task_options"]["crop"] == 1.0
    checks = {check.name: check.passed for check in verification.verify(out)}
    assert checks["bytes"] and checks["structure"]
    with np.load(data) as arrays:
        x, y = arrays["x_test"] / np.float32(255), arrays["y_test"]
    right = keras.ops.convert_to_numpy(zoo.load(out)(x)).argmax(axis=1) == y
    assert run["scores"]["test"]["accuracy"] == right.mean()


def test_a_training_starts_from_a_file_of_arrays(tmp_path, capsys):
    path, batch = tmp_path / "r.safetensors", toy("image_classification")
    write_safetensors(path, resnet_arrays(5))
    settings = {"model": "resnet", "options": SMALL, "init": str(path), "recipe": recipe.DEFAULTS}
    record = {"info": batch.info, "task_options": batch.options, "data": {}, "settings": {}}
    record |= {"examples": {"train": "", "validation": "", "test": ""}}
    model, _ = building.build(settings, tasks.get("image_classification"), record, {})
    printed = capsys.readouterr().out
    assert "95 weights transferred, 2 newly initialized" in printed
    pixels = {"pixel_mean": [0.485, 0.456, 0.406], "pixel_std": [0.229, 0.224, 0.225]}
    assert record["options"] == {**pixels, **SMALL}
    assert model.get_layer("standardized").dtype == "float32"
    wider = {**settings, "options": {**SMALL, "width": 0.5}}
    with pytest.raises(ValueError, match="width=0.5: .*r.safetensors: its conv1.weight"):
        building.build(wider, tasks.get("image_classification"), record, {})


def test_imagenets_weights_are_found_by_model_and_depth():
    assert cards.imagenet("resnet") == "resnet50_imagenet"
    assert cards.imagenet("resnet", 101) == "resnet101_imagenet"
    assert cards.imagenet("vgg", 19) == "vgg19_imagenet"
    assert cards.imagenet("mobilenet") == "mobilenetv2_imagenet"
    for name, depth in (("resnet", 18), ("googlenet", None)):
        with pytest.raises(ValueError, match=f"there are no ImageNet weights of {name}"):
            cards.imagenet(name, depth)


def test_weights_of_keras_without_a_model_name_the_way_to_use_them(tmp_path):
    with h5py.File(tmp_path / "resnet50.h5", "w") as file:
        file["conv1_conv/kernel"] = np.zeros(3)
    with pytest.raises(ValueError, match="python -m zoo convert MODEL .*resnet50.h5 --out"):
        zoo.load(tmp_path / "resnet50.h5")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("yolov3-tiny.weights", "train.py --model yolov3 --init .*darknet_weights.load"),
        ("darknet53.conv.74", "train.py --model yolov3 --init"),
        ("a.safetensors", "python -m zoo convert MODEL .*a.safetensors --out model.keras"),
        ("a.txt", "Use a .keras, .h5 or .hdf5 file"),
    ],
)
def test_files_without_a_model_name_the_way_to_use_them(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"1234")
    for use in (zoo.load, inspection.record):
        with pytest.raises(ValueError, match=remedy):
            use(tmp_path / name)
