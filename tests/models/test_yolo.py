"""Properties of YOLO (Redmon et al. 2016)."""

import keras
import numpy as np
import pytest
from test_darknet import values

import zoo
from zoo import registry
from zoo.tasks.boxes import coding


@pytest.fixture(autouse=True)
def cleared():
    yield
    keras.backend.clear_session()


# Fig. 3, row by row: (kernel, channels), halved where a pooling follows.
FIGURE_3 = """
7x64-s-2 / 3x192 / 1x128 3x256 1x256 3x512 /
1x256 3x512 1x256 3x512 1x256 3x512 1x256 3x512 1x512 3x1024 /
1x512 3x1024 1x512 3x1024 3x1024 3x1024-s-2
3x1024 3x1024
"""


def test_count_is_that_of_figure_3():
    count, before, layers, side = 0, 3, 0, 448
    for word in FIGURE_3.split():
        side //= 2 if word == "/" or word.endswith("-s-2") else 1
        if word != "/":
            size, channels = map(int, word.removesuffix("-s-2").split("x"))
            count += size**2 * before * channels + channels
            before, layers = channels, layers + 1
    assert (layers, side, before) == (24, 7, 1024)
    count += side**2 * before * 4096 + 4096
    count += 4096 * 7 * 7 * 30 + 7 * 7 * 30
    assert registry.get("yolo").parameters == count


def small(size=(64, 64), classes=3, **options):
    """Build a narrow model."""
    return zoo.create("yolo", (*size, 3), classes, **{"width": 0.0625, **options})


def test_convolutions_are_those_of_figure_3_in_their_order():
    model = small(width=1 / 16)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    names = [f"{layer.kernel_size[0]}x{16 * layer.filters}" for layer in convolutions]
    assert names == FIGURE_3.replace("/", "").replace("-s-2", "").split()
    strides = [i for i, layer in enumerate(convolutions) if layer.strides == (2, 2)]
    assert strides == [0, 21]
    pools = [layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert len(pools) == 4
    assert all(layer.use_bias for layer in convolutions)


def test_the_papers_grid_has_49_cells_of_two_boxes():
    model = small((448, 448), classes=20, width=0.015625)
    assert model.output_shape == (None, 98, 25)
    assert model.get_layer("raw").units == 7 * 7 * 30
    grid = coding.grid(model)
    assert grid == {
        "form": "yolo",
        "anchors": [[[448, 448], [448, 448]]],
        "strides": [64],
        "size": [448, 448],
    }


def test_numbers_of_a_cell_are_its_boxes_then_its_classes():
    model = small((64, 64), classes=3, grid=4, boxes=2)
    raw = model.get_layer("raw")
    numbers = np.arange(16 * 13, dtype="float32")
    raw.set_weights([np.zeros(raw.kernel.shape), numbers])
    rows = model.predict_on_batch(np.zeros((1, 64, 64, 3), "float32"))[0].reshape(16, 2, 8)
    cells = numbers.reshape(16, 13)
    np.testing.assert_array_equal(rows[:, 0, :5], cells[:, :5])
    np.testing.assert_array_equal(rows[:, 1, :5], cells[:, 5:10])
    for box in (0, 1):
        np.testing.assert_array_equal(rows[:, box, 5:], cells[:, 10:])


def test_a_box_is_decoded_as_a_share_of_the_image():
    model = small((64, 64), grid=4, boxes=1)
    raw = model.get_layer("raw")
    cells = np.tile([0.5, 0.25, 0.5, -1.0, 0.9, 0, 0, 1], (16, 1))
    raw.set_weights([np.zeros(raw.kernel.shape), cells.ravel()])
    rows = model.predict_on_batch(np.zeros((1, 64, 64, 3), "float32"))
    corners, objects, classes = coding.decode(rows, coding.grid(model))
    center, sides = (1 * 16 + 8, 2 * 16 + 4), (64 / 4, 64)  # of row 2, column 1
    expected = [center[0] - sides[0] / 2, center[1] - sides[1] / 2]
    expected += [center[0] + sides[0] / 2, center[1] + sides[1] / 2]
    np.testing.assert_allclose(np.array(corners)[0, 2 * 4 + 1], expected, rtol=1e-6)
    np.testing.assert_allclose(np.array(objects), 0.9, rtol=1e-6)
    np.testing.assert_allclose(np.array(classes)[0, 3], [0, 0, 1])


@pytest.mark.parametrize(
    ("size", "grid", "stride", "cells"),
    [((416, 416), 7, 60, (7, 7)), ((64, 64), 7, 10, (7, 7)), ((64, 96), 6, 16, (4, 6))],
)
def test_cells_cover_images_of_other_sizes(size, grid, stride, cells):
    model = small(size, grid=grid, boxes=3, width=0.015625)
    coded_grid = coding.grid(model)
    assert coded_grid["strides"] == [stride]
    assert coded_grid["anchors"] == [[[size[1], size[0]]] * 3]
    assert model.output_shape == (None, cells[0] * cells[1] * 3, 8)
    assert len(coding.places(coded_grid)[0]) == cells[0] * cells[1] * 3


def test_grids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="7 cells .* do not fit 8 pixels: choose a grid of 4"):
        small((8, 8))
    with pytest.raises(ValueError, match="0 cells"):
        small(grid=0)
    with pytest.raises(ValueError, match="fixed height and width"):
        small((None, 64))


def test_batch_norm_takes_the_biases_of_convolutions():
    plain, normed = (small(batch_norm=on) for on in (False, True))
    kinds = keras.layers.BatchNormalization
    assert sum(isinstance(layer, kinds) for layer in plain.layers) == 0
    assert sum(isinstance(layer, kinds) for layer in normed.layers) == 24


def test_a_classifier_replaces_the_first_twenty_convolutions(tmp_path):
    options = dict(depth=21, width=0.0625)
    classifier = zoo.create("darknet", (32, 32, 3), 5, **options)
    classifier.save(tmp_path / "model.keras")
    weights = str(tmp_path / "model.keras")
    model = small(backbone="darknet", backbone_weights=weights, **options)
    copied, expected = values(model), values(classifier)
    shared = copied.keys() & expected.keys()
    assert expected.keys() - shared == {"logits/kernel", "logits/bias"}
    for place in shared:
        np.testing.assert_array_equal(copied[place], expected[place])
    names = [layer.name for layer in model.layers]
    assert not [name for name in names if name.startswith("block")]
    assert [name for name in names if name.startswith("top") and name.endswith("conv")] == [
        f"top_{i}_conv" for i in range(1, 5)
    ]
    with pytest.raises(ValueError, match="name the backbone"):
        small(depth=21)
