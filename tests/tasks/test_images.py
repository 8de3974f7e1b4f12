"""What the tasks on images do to images: augmentation, tiles, and their way back together."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import toy

from zoo import tasks
from zoo.tasks import images
from zoo.tasks.image_segmentation import tiles

ROOT = pathlib.Path(__file__).parents[2]
MOVES = {
    "flip": "horizontal_and_vertical",
    "rotation": 40.0,
    "zoom": 0.3,
    "shift": 0.2,
    "shear": 20.0,
    "perspective": 0.5,
    "elastic": 4.0,
}
CHANGES = {
    "brightness": 0.3,
    "contrast": 0.5,
    "saturation": 0.8,
    "hue": 0.3,
    "color_jitter": 0.5,
    "channel_shift": 0.3,
    "blur": 1.0,
    "noise": 0.2,
    "erasing": 1.0,
    "cutout": 24,
    "randaugment": 0.8,
}
STILL = {**dict.fromkeys([*MOVES, *CHANGES], 0.0), "flip": "none"}


def blobs(count=6, side=64):
    """Return images of which class 1 is the bright half, and their masks."""
    rng, places = np.random.default_rng(0), np.indices((side, side))
    centres = rng.uniform(0.3 * side, 0.7 * side, (count, 2, 1, 1))
    y = (np.hypot(*(places - centres).transpose(1, 0, 2, 3)) < 0.3 * side).astype(np.int16)
    x = np.repeat(0.2 + 0.6 * y[..., None], 3, axis=-1).astype(np.float32)
    return x, y


@pytest.mark.parametrize("change", MOVES)
def test_a_move_takes_the_mask_along(change):
    x, y = blobs()
    moved_x, moved_y = images.augment({**STILL, change: MOVES[change]})(x, y, (0, 1))
    assert moved_x.shape == x.shape and moved_x.dtype == x.dtype and moved_y.dtype == y.dtype
    assert np.mean(moved_y != y) > 0.02, "nothing moved"
    known = moved_y >= 0
    right = (moved_x[..., 0] > 0.5) == (moved_y == 1)
    assert right[known].mean() > 0.985, "the mask went elsewhere"
    assert set(np.unique(moved_y)) <= {-1, 0, 1}
    assert known.mean() > 0.7


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_leaves_the_mask(change):
    x, y = blobs()
    x = x * np.linspace(0.6, 1.0, 3, dtype=np.float32)
    changed, same = images.augment({**STILL, change: CHANGES[change]})(x, y, (0, 1))
    np.testing.assert_array_equal(same, y)
    assert changed.shape == x.shape and changed.dtype == x.dtype
    assert np.abs(changed - x).max() > 0.05, "nothing changed"
    assert changed.min() >= 0 and changed.max() <= 1


def test_images_of_a_batch_are_drawn_for_themselves():
    x, y = (np.repeat(part[:1], 6, axis=0) for part in blobs())
    x = x * np.linspace(0.4, 1.0, 3, dtype=np.float32)
    for change, size in {**MOVES, **CHANGES}.items():
        changed, _ = images.augment({**STILL, change: size})(x, y, (3,))
        assert len(np.unique(changed.reshape(6, -1).round(3), axis=0)) > 1, change


@pytest.mark.parametrize("fill", ["reflect", "nearest", "wrap", "constant"])
def test_what_comes_in_from_outside(fill):
    x, y = np.full((2, 32, 32, 3), 0.75, np.float32), np.ones((2, 32, 32), np.int16)
    moved, mask = images.augment({**STILL, "shift": 0.4, "fill": fill})(x, y, (0, 0))
    if fill != "constant":
        np.testing.assert_allclose(moved, x, atol=1e-5)
        assert (mask == 1).all()
        return
    value = moved[..., 0]  # interpolated at the edge, where the mask has the nearest one
    assert 0.1 < (value == 0).mean() < 0.8
    assert (mask[value < 0.3] == -1).all() and (mask[value > 0.45] == 1).all()


def test_cutout_sets_a_square_to_zero():
    x = np.ones((50, 20, 30, 1), np.float32)
    holes = 1 - images.cutout(x, 8, np.random.default_rng(0))[..., 0]
    assert (x == 1).all() and holes.sum(axis=(1, 2)).max() == 64
    rows, columns = holes.max(axis=2).sum(axis=1), holes.max(axis=1).sum(axis=1)
    np.testing.assert_array_equal(holes.sum(axis=(1, 2)), rows * columns)
    assert rows.min() >= 4 and columns.min() >= 4  # the centre is inside


def test_cutout_of_whole_images_is_refused():
    info = {"channels": 3}
    assert images.channels(info, {"image_size": 32, "cutout": 31}) == 3
    for sizes in ({"image_size": 32}, {"tile_height": 64, "tile_width": 32}):
        with pytest.raises(ValueError, match="cutout=32 covers whole images of 32 pixels"):
            images.channels(info, {**sizes, "cutout": 32})


def test_nothing_asked_for_is_no_function():
    assert images.augment(STILL) is None


def test_labels_of_whole_images_stay():
    x, _ = blobs()
    y = np.arange(6, dtype=np.int32)
    _, same = images.augment({**STILL, **MOVES, **CHANGES})(x, y, (0,))
    np.testing.assert_array_equal(same, y)


def test_elastic_bends_both_ways():
    x = np.zeros((4, 64, 64, 1), np.float32)
    x[:, 32] = x[:, :, 32] = 1.0
    bent, _ = images.elastic(x, None, 6.0, np.random.default_rng(0))
    down = np.argmax(bent[:, :, 8, 0], axis=1) - 32
    across = np.argmax(bent[:, 8, :, 0], axis=1) - 32
    assert np.abs(down).max() > 1 and np.abs(across).max() > 1 and (down != across).any()


def test_values_come_to_lie_between_0_and_1():
    dark = np.full((4, 4, 1), 100, np.uint16)
    dark[0, 0] = 4100
    x = images.scale(dark, (100, 4100), 3)
    assert x.shape == (4, 4, 3) and x.dtype == np.float32
    assert x.min() == 0 and x[0, 0].tolist() == [1, 1, 1]
    gray = images.scale(np.full((2, 2, 3), 51, np.uint8), (0, 255), 1)
    np.testing.assert_allclose(gray, np.full((2, 2, 1), 0.2), rtol=1e-5)


def test_images_of_8_and_16_bits_in_one_data_set_have_ranges_of_their_own():
    task = tasks.get("image_segmentation")
    deep = np.linspace(0, 4000, 64).reshape(8, 8, 1).astype(np.uint16)
    flat = np.full((8, 8, 1), 51, np.uint8)
    low, high = images.measure([{"image": flat}, {"image": deep}], task.options)["range"]
    assert low < 10 and 3900 < high <= 4000
    assert images.measure([{"image": flat}], task.options)["range"] == [0.0, 255.0]
    info = {"channels": 1, "range": [low, high], "classes": ["a", "b"]}
    for resolution in (1.0, 0.5):
        options = {**task.options, "resolution": resolution}
        [piece] = task.data.cut({"image": flat}, options)
        np.testing.assert_allclose(task.data.prepare(piece, info, options)[0], 0.2, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 48), (20, 100), (75, 131), (9, 7)])
@pytest.mark.parametrize("margin", [0, 4])
def test_every_pixel_counts_once_in_tiles(size, margin):
    mask = np.arange(size[0] * size[1]).reshape(size)
    image = mask[..., None]
    pairs = tiles.cut(image, mask, 32, 48, 8, margin)
    middle = np.s_[margin : 32 - margin, margin : 48 - margin]
    counted = np.concatenate([label[middle][label[middle] >= 0] for _, label in pairs])
    assert sorted(counted) == list(range(mask.size))
    for tile, label in pairs:
        assert tile.shape == (32, 48, 1) and label.shape == (32, 48)
        np.testing.assert_array_equal(tile[..., 0][label >= 0], label[label >= 0])


@pytest.mark.parametrize("size", [(100, 70), (256, 256), (640, 641), (1000, 700), (2000, 33)])
def test_weights_add_up_to_one_and_tiles_begin_on_the_grid(size):
    image = np.random.default_rng(0).normal(size=(*size, 2)).astype(np.float32)
    pieces = tiles.cover(image)
    again = tiles.blend(pieces, (piece["image"] for piece in pieces), size)
    np.testing.assert_allclose(again, image, atol=1e-5)
    for piece in pieces:
        assert all(place.start % tiles.GRID == 0 for place in piece["place"])
        assert max(piece["image"].shape[:2]) <= tiles.COVER


def test_models_that_eat_a_border_still_see_every_pixel():
    image = np.random.default_rng(0).normal(size=(150, 90, 1)).astype(np.float32)
    pieces = tiles.cover(image, border=12, tile=(64, 64))
    assert {piece["image"].shape for piece in pieces} == {(64, 64, 1)}
    eaten = (piece["image"][12:-12, 12:-12] for piece in pieces)
    np.testing.assert_allclose(tiles.blend(pieces, eaten, (150, 90)), image, atol=1e-5)
    with pytest.raises(ValueError, match="--set margin=12"):
        pieces = tiles.cover(image)
        tiles.blend(pieces, (piece["image"][12:-12, 12:-12] for piece in pieces), (150, 90))


def test_tiles_predict_what_the_whole_image_does(monkeypatch):
    """A U-Net of one pooling has a context of 8 pixels around a cell: such tiles are exact."""
    import keras

    import zoo

    keras.utils.set_random_seed(0)
    model = zoo.create("unet", (None, None, 1), 1, depth=2, width=0.125, dropout=0.0)
    image = np.random.default_rng(0).random((352, 320, 1)).astype(np.float32)
    monkeypatch.setattr(tiles, "BLEND", 16)
    pieces = tiles.cover(image, tile=(128, 160), context=32)
    assert len(pieces) > 9
    outputs = (model.predict_on_batch(piece["image"][None])[0] for piece in pieces)
    whole = model.predict_on_batch(image[None])[0]
    blended = tiles.blend(pieces, outputs, (352, 320))
    np.testing.assert_allclose(blended, whole, atol=1e-4 * np.abs(whole).max())


def test_one_logit_is_two_classes():
    task = tasks.get("image_segmentation")
    info = {"classes": ["background", "nucleus"], "channels": 1, "range": [0.0, 255.0]}
    assert task.training.arguments(info, task.options)["num_classes"] == 1
    y = np.array([[[0, 1, 1, -1]]])
    logits = np.array([[[-2.0, 3.0, -1.0, 5.0]]])[..., None]
    scores, _ = task.results.evaluate(y, logits, info)
    assert scores["dice"] == pytest.approx(2 / 3) and scores["recall"] == 0.5
    assert scores["precision"] == 1.0 and scores["accuracy"] == pytest.approx(2 / 3)
    assert task.usage.decode(logits, info)[0]["labels"].tolist() == [[0, 1, 0, 1]]


def test_resolution_is_undone_in_the_prediction(tmp_path):
    batch = toy("image_segmentation", resolution=0.5)
    example = batch.examples[0]
    pieces = batch.task.data.cover(example, batch.options)
    assert pieces[0]["shape"] == (16, 16)
    labels = np.repeat(np.repeat([[1] * 8 + [2] * 8], 32, axis=0), 2, axis=1)[:, :32]
    outputs = 9.0 * np.eye(4)[labels]
    row, files = batch.task.usage.present(example, pieces, iter([outputs]), batch.info)
    assert (row["height"], row["width"]) == (32, 32)
    files["_mask.png"](tmp_path / "mask.png")
    from PIL import Image

    mask = np.array(Image.open(tmp_path / "mask.png"))
    assert mask.shape == (32, 32) and (mask[:, 2] == 1).all()


def test_regions_are_counted():
    task = tasks.get("image_segmentation")
    image = np.zeros((64, 64, 1), np.uint8)
    info = {"classes": ["background", "nucleus"], "channels": 1, "range": [0.0, 255.0]}
    pieces = task.data.cover({"image": image}, task.options)
    logits = np.full((64, 64, 1), -9.0)
    logits[4:20, 4:20] = logits[40:48, 40:48] = 9.0
    row, _ = task.usage.present({"image": image}, pieces, iter([logits]), info)
    assert (row["nucleus area"], row["nucleus parts"]) == ((256 + 64) / 4096, 2)
    assert row["background parts"] == 1


MEMORY = """
import pathlib, resource, sys
import keras
import numpy as np
from PIL import Image
from zoo.__main__ import main

folder, peaks = pathlib.Path(sys.argv[1]), []
for name, size in [("small", (256, 256)), ("large", (2000, 3000))]:
    image = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    Image.fromarray(image).save(folder / f"{name}.png")
    words = ["predict", "unet_dsb2018_bce", str(folder / f"{name}.png")]
    words += ["--out", str(folder / name)]
    assert main(words) == 0
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # Linux counts KiB
print(peaks[1] - peaks[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units there")
def test_a_large_image_takes_less_than_half_a_gigabyte_more_than_a_small_one(tmp_path):
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 5e8
    from PIL import Image

    assert Image.open(tmp_path / "large" / "large_mask.png").size == (3000, 2000)


@pytest.mark.parametrize("name", ["image_classification", "image_segmentation", "image_detection"])
@pytest.mark.parametrize("count", [2, 5])
def test_any_number_of_bands_is_prepared_augmented_and_drawn(name, count):
    task, rng = tasks.get(name), np.random.default_rng(0)
    size = {"tile_height": 32, "tile_width": 32} if "segmentation" in name else {"image_size": 32}
    options = {**task.options, **size, "color_jitter": 0.0, "blur": 0.5, "erasing": 1.0}
    example = {
        "image": rng.integers(0, 5000, (32, 32, count)).astype(np.uint16),
        "label": 1,
        "segmentation_mask": rng.integers(0, 2, (32, 32)),
        "objects": {"bbox": np.float32([[0.1, 0.1, 0.9, 0.9]]), "label": np.array([1])},
    }
    info = {"classes": ["a", "b"], **task.data.measure([example], options)}
    assert task.training.arguments(info, options)["input_shape"][-1] == count
    x, y = task.data.prepare(task.data.cut(example, options)[0], info, options)
    assert x.shape == (32, 32, count)
    bent, _ = task.training.augment({}, options)(np.stack([x, x]), np.stack([y, y]), (0, 0))
    assert bent.shape == (2, 32, 32, count)
    task.training.preview(bent, np.stack([y, y]), {**info, "grid": {"size": [32, 32]}})


def test_bands_are_never_left_out_nor_made_up():
    deep = {"image": np.zeros((4, 4, 5), np.uint8)}
    for channels in (1, 3, 7):
        with pytest.raises(ValueError, match=f"5 channels, and {channels} are expected"):
            images.measure([deep], {"channels": channels})
    with pytest.raises(ValueError, match="3 channels, and 5 are expected"):
        images.measure([deep, {"image": np.zeros((4, 4, 3), np.uint8)}], {"channels": 0})
    with pytest.raises(ValueError, match="5 channels, and 3 are expected"):
        images.scale(deep["image"], (0, 255), 3)
    with pytest.raises(ValueError, match="color_jitter is set, and the images have 5 bands"):
        images.channels({"channels": 5}, {"color_jitter": 0.1})


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(12, 40), (50, 9), (60, 60)])
def test_images_are_resized_as_keras_does_it(interpolation, size):
    image = np.random.default_rng(0).uniform(0, 255, (31, 24, 3)).astype(np.float32)
    options = dict(interpolation=interpolation, antialias=True)
    expected = keras.ops.image.resize(image, size, **options)
    resized = images.resize(image, *size, interpolation)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, rtol=0, atol=255 * 2e-5)


def test_the_nearest_pixel_is_that_of_a_mask():
    image = np.random.default_rng(0).integers(9, size=(7, 11)).astype(np.float32)
    resized = images.resize(image[..., None], 16, 5, "nearest")
    np.testing.assert_array_equal(resized[..., 0], images.resize_mask(image, 16, 5))
