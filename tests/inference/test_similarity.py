"""Similar images by command and by Python; vectors as files; who has none is told what to use."""

import csv
import json

import keras
import numpy as np
import pytest
from conftest import toy
from PIL import Image

import zoo
from ensembles.__main__ import main as ensembles
from zoo.__main__ import main
from zoo.inference import titles
from zoo.weights import saving


def saved(folder, name, task, **options):
    """Save an untrained model; return its path."""
    keras.utils.set_random_seed(0)
    batch = toy(task)
    model = zoo.create(name, **batch.arguments, **options)
    record = {"model": name, "task": task, "task_options": batch.options, "info": batch.info}
    saving.save(model, folder / f"{name}.keras", record)
    return folder / f"{name}.keras"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model"), "triplet", "image_embedding", width=0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write pictures: red.png and its copy, a similar one, and other ones."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    red = np.full((32, 32, 3), [200, 40, 40]) + rng.integers(-30, 30, (32, 32, 3))
    others = {f"other{i}": rng.integers(0, 256, (40, 32, 3)) for i in range(4)}
    for name, pixels in {"red": red, "copy": red, "=like": red // 2, **others}.items():
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def test_a_copy_is_at_distance_0_and_no_image_is_compared_with_itself(model, folder):
    (row,) = zoo.predict(model, folder / "red.png", gallery=folder, nearest=3)
    assert row["file"] == str(folder / "red.png") and row["embedding"].shape == (128,)
    files = [place["file"] for place in row["nearest"]]
    assert files[0] == str(folder / "copy.png") and row["nearest"][0]["distance"] == 0
    assert len(files) == 3 and str(folder / "red.png") not in files
    distances = [place["distance"] for place in row["nearest"]]
    assert distances == sorted(distances) and distances[1] > 0


def test_distances_are_those_of_the_vectors_the_other_inputs_by_default(model, folder):
    rows = zoo.predict(model, folder, nearest=99)
    vectors = {row["file"]: row["embedding"].astype(float) for row in rows}
    assert len(vectors) == 7
    for row in rows:
        assert {place["file"] for place in row["nearest"]} == vectors.keys() - {row["file"]}
        for place in row["nearest"]:
            expected = np.linalg.norm(vectors[row["file"]] - vectors[place["file"]])
            assert place["distance"] == pytest.approx(expected, abs=1e-6)
    x = np.asarray(Image.open(folder / "red.png"))
    (row,) = zoo.predict(model, x, gallery=[folder / "copy.png"])
    assert row["nearest"] == [{"file": str(folder / "copy.png"), "distance": 0.0}]


def test_command_writes_tables_and_pages(model, folder, tmp_path, capsys):
    out, query = tmp_path / "out", str(folder / "red.png")
    command = ["predict", str(model), query, str(folder / "other0.png"), "--nearest", "2"]
    assert main([*command, "--gallery", str(folder), "--out", str(out)]) == 0
    assert "copy.png" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        "nearest-1.png",
        "predictions.csv",
        "predictions.json",
    }
    rows = json.loads((out / "predictions.json").read_text())
    assert [len(row["nearest"]) for row in rows] == [2, 2]
    assert rows[0]["nearest"][0] == {"file": str(folder / "copy.png"), "distance": 0.0}
    lines = list(csv.DictReader(open(out / "predictions.csv")))
    assert [line["rank"] for line in lines] == ["1", "2", "1", "2"]
    assert lines[0]["nearest"] == str(folder / "copy.png") and float(lines[0]["distance"]) == 0
    assert Image.open(out / "nearest-1.png").size[0] > 300


def test_embed_writes_vectors_and_their_plane(model, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    files = sorted(path.name for path in folder.glob("*.png"))
    for number in (1, 2):  # a second time beside the first
        out = tmp_path / f"embeddings-{number}"
        assert main(["embed", str(model), *files, "--out", str(out)]) == 0
        vectors = np.load(out / "vectors.npy")
        assert vectors.shape == (7, 128) and vectors.dtype == np.float32
        rows = list(csv.reader(open(out / "vectors.csv")))
        assert rows[0] == ["file", *(f"v{i}" for i in range(1, 129))]
        assert rows[1][0] == "'=like.png", "no formula of a spreadsheet"
        np.testing.assert_array_equal(np.float32([row[1:] for row in rows[1:]]), vectors)
        assert Image.open(out / "plane.png").size[0] > 600
        check_projector(out, vectors)
    assert main(["embed", str(model), *files, "--out", str(out)]) == 2
    assert "exists already and is not empty" in capsys.readouterr().err
    np.testing.assert_array_equal(np.load(out / "vectors.npy"), vectors)


def test_titles_tell_files_of_one_name_apart_and_folders_have_colours():
    assert titles.shortened(["a/cat/2.png", "a/dog/2.png"]) == ["cat/2.png", "dog/2.png"]
    assert titles.shortened(["a/cat/2.png"]) == ["2.png"]
    long = titles.shortened(["a/cat/" + 30 * "x" + ".png", "a/b.png"])
    assert long == ["cat/\n..." + 15 * "x" + ".png", "b.png"]
    colours, legend = titles.folders(["a/cat/2.png", "a/dog/2.png", "b/cat/1.png"])
    assert [name for name, _ in legend] == ["cat", "dog"]
    np.testing.assert_array_equal(colours, [legend[0][1], legend[1][1], legend[0][1]])
    assert titles.folders(["a/cat/2.png", "a/cat/3.png"]) == (None, ())
    assert titles.folders([f"{i}/x.png" for i in range(21)])[1] == (), "no room for all"


def check_projector(out, vectors):
    """Check the files of TensorBoard's projector by its own parser."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    text = (out / "projector_config.pbtxt").read_text(encoding="utf-8")
    (config,) = text_format.Parse(text, ProjectorConfig()).embeddings
    lines = (out / config.tensor_path).read_text(encoding="utf-8").splitlines()
    rows = np.float32([line.split("\t") for line in lines])
    np.testing.assert_array_equal(rows, vectors)
    names = (out / config.metadata_path).read_text(encoding="utf-8").splitlines()
    assert names == sorted(names) and "red.png" in names and len(names) == len(vectors)
    side, picture = config.sprite.single_image_dim[0], Image.open(out / config.sprite.image_path)
    assert picture.size == (3 * side, 3 * side), "the smallest square of seven"
    top, left = divmod(names.index("red.png"), 3)
    tile = np.asarray(picture)[top * side : (top + 1) * side, left * side : (left + 1) * side]
    np.testing.assert_allclose(tile.mean(axis=(0, 1)), [200, 40, 40], atol=5)


def test_embed_numbers_its_folders(model, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert main(["embed", str(model), str(folder / "red.png")]) == 0
        assert (tmp_path / f"embeddings-{number}" / "vectors.npy").is_file()


def test_a_classifier_gives_the_features_before_its_last_layer(folder, tmp_path):
    path = saved(tmp_path, "cnn", "image_classification")
    assert main(["embed", str(path), str(folder), "--out", str(tmp_path / "out")]) == 0
    classifier, vectors = saving.load(path), np.load(tmp_path / "out" / "vectors.npy")
    kernel, bias = classifier.get_layer("logits").get_weights()
    logits = np.log([[*row["probabilities"].values()] for row in zoo.predict(path, folder)])
    ours = vectors @ kernel + bias
    shift = logits - ours  # logits are known up to one number for each image
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=1e-4)


@pytest.mark.parametrize("name", ["unet", "bilstm"])
def test_models_without_features_of_images_are_refused(name, folder, tmp_path, capsys):
    task = {"unet": "image_segmentation", "bilstm": "sequence_classification"}[name]
    options = {"unet": dict(depth=1, width=0.0625), "bilstm": dict(units=2)}[name]
    path = saved(tmp_path, name, task, **options)
    assert main(["embed", str(path), str(folder), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Use siamese, triplet, or a classifier" in error
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_compared_is_refused(model, folder, tmp_path, capsys):
    with pytest.raises(ValueError, match="red.png: it is the only image, .* --gallery"):
        zoo.predict(model, folder / "red.png")
    with pytest.raises(ValueError, match="the gallery has no other image"):
        zoo.predict(model, folder / "red.png", gallery=folder / "red.png")
    assert main(["predict", str(model), str(folder / "red.png"), "--gallery", "nowhere"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    for options in ({"tta": True}, {"steps": 3}, {"confidence": 0.5}):
        with pytest.raises(ValueError, match="without tta|for forecasts|for detectors"):
            zoo.predict(model, folder, **options)
    path = saved(tmp_path, "cnn", "image_classification")
    with pytest.raises(ValueError, match="a gallery is for image embeddings"):
        zoo.predict(path, folder, gallery=folder)


@pytest.mark.parametrize(
    "words",
    [["average", "M", "M"], ["stack", "M", "M"], ["fuse", "M", "M"], ["evaluate", "M", "M"],
     ["distill", "M", "--model", "cnn"], ["folds", "--model", "triplet"]],
)  # fmt: skip
def test_ensembles_refuse_before_they_write(words, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ensembles([str(model) if word == "M" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "vectors to compare" in error
    assert not list(tmp_path.glob("runs*"))


def test_an_export_with_preprocessing_ends_in_the_embedding(model, folder, tmp_path):
    import onnxruntime

    out = tmp_path / "triplet.onnx"
    command = ["export", str(model), "--format", "onnx", "--with-preprocessing", "--out", str(out)]
    assert main(command) == 0
    session = onnxruntime.InferenceSession(out)
    x = np.asarray(Image.open(folder / "red.png"))
    (output,) = session.run(None, {"image": x[None]})
    (row,) = zoo.predict(model, [x], gallery=folder)
    np.testing.assert_allclose(output[0], row["embedding"], atol=1e-5)
