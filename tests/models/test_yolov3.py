"""Properties of YOLOv3 and its tiny version (Redmon & Farhadi 2018)."""

import math

import keras
import numpy as np
import pytest
from conftest import trainable
from test_darknet import values

import zoo
from zoo import registry
from zoo.models.detection import yolov3
from zoo.nn.layers import Grid
from zoo.tasks.boxes import coding
from zoo.weights.initial import without_weights

COCO = [10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326]
TINY = [10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319]


@pytest.fixture(autouse=True)
def cleared():
    yield
    keras.backend.clear_session()


def small(name="yolov3", size=64, classes=4, **options):
    """Build a narrow model with a shallow backbone."""
    options = {"width": 0.125, **({"depth": 21} if name == "yolov3" else {}), **options}
    return zoo.create(name, (size, size, 3), classes, **options)


def unit(before, channels, size):
    """Count a normalised convolution: (trainable, with moving statistics)."""
    kernel = before * channels * size**2
    return np.array([kernel + 2 * channels, kernel + 4 * channels])


def plain(before, channels):
    """Count a convolution of size 1 with a bias."""
    return np.array([before * channels + channels] * 2)


def test_count_of_yolov3_is_that_of_its_configuration():
    total, before = unit(3, 32, 3), 32
    for blocks, wide in zip((1, 2, 8, 8, 4), (64, 128, 256, 512, 1024), strict=True):
        total += unit(before, wide, 3)
        total += blocks * (unit(wide, wide // 2, 1) + unit(wide // 2, wide, 3))
        before = wide
    for thin, joined in ((512, 1024), (256, 256 + 512), (128, 128 + 256)):
        if thin < 512:
            total += unit(2 * thin, thin, 1)
        total += unit(joined, thin, 1) + 2 * unit(2 * thin, thin, 1) + 3 * unit(thin, 2 * thin, 3)
        total += plain(2 * thin, 255)
    assert total.tolist() == [61_949_149, 62_001_757]
    assert registry.get("yolov3").parameters == total[0]


def test_count_of_the_tiny_form_with_and_without_moving_statistics():
    total, before = np.zeros(2, int), 3
    for channels in (16, 32, 64, 128, 256, 512, 1024):
        total += unit(before, channels, 3)
        before = channels
    total += unit(1024, 256, 1) + unit(256, 512, 3) + plain(512, 255)
    total += unit(256, 128, 1) + unit(128 + 256, 256, 3) + plain(256, 255)
    assert total.tolist() == [8_852_366, 8_858_734]

    def count():
        model = zoo.create("yolov3_tiny", (416, 416, 3), 80)
        return [trainable(model), sum(math.prod(weight.shape) for weight in model.weights)]

    assert without_weights(count) == total.tolist()


def test_anchors_are_those_of_the_configurations_with_the_largest_on_the_coarsest_map():
    pairs = lambda numbers: np.reshape(numbers, (-1, 3, 2))[::-1].tolist()  # noqa: E731
    assert coding.grid(small())["anchors"] == pairs(COCO)
    assert coding.grid(small("yolov3_tiny"))["anchors"] == pairs(TINY)


@pytest.mark.parametrize(
    ("name", "size", "rows"),
    [
        ("yolov3", 416, 10_647),
        ("yolov3", 320, 6_300),
        ("yolov3_tiny", 416, 2_535),
        ("yolov3_tiny", 320, 1_500),
    ],
)
def test_rows_come_from_coarse_maps_to_fine_ones(name, size, rows):
    model = small(name, size=size, classes=7)
    grid = coding.grid(model)
    assert grid["strides"] == ([32, 16, 8] if name == "yolov3" else [32, 16])
    assert grid["size"] == [size, size]
    assert sum(3 * (size // stride) ** 2 for stride in grid["strides"]) == rows
    assert model.output_shape == (None, rows, 12)
    assert coding.places(grid)[0].shape == (rows, 2)


def test_rows_of_an_image_that_is_no_square():
    model = zoo.create("yolov3_tiny", (64, 96, 3), 2, width=0.125)
    raw = model.predict_on_batch(np.zeros((2, 64, 96, 3), "float32"))
    assert raw.shape == (2, 3 * (2 * 3 + 4 * 6), 7)
    assert raw.dtype == "float32"


@pytest.mark.parametrize("size", [(400, 416), (416, 430), (None, 416)])
def test_sizes_that_do_not_divide_are_refused_with_the_multiple(size):
    for name in ("yolov3", "yolov3_tiny"):
        with pytest.raises(ValueError, match=f"{name} .* multiples of 32.* not (400|430|None)"):
            zoo.create(name, (*size, 3), 4, width=0.125)


@pytest.mark.parametrize("anchors", [(), COCO, [(1, 2)] * 4, [(1, 2, 3)] * 3, [(1, 0)] * 3, {}])
def test_anchors_that_cannot_be_shared_out_are_refused(anchors):
    with pytest.raises(ValueError, match=r"pairs \(width, height\).* 3 maps, for example 9 pairs"):
        small(anchors=anchors)


def test_anchors_may_be_fewer_repeated_or_chosen_by_their_number():
    grid = coding.grid(small(anchors=[(3, 4), (5, 6), (7, 8)]))
    assert grid["anchors"] == [[[7, 8]], [[5, 6]], [[3, 4]]]
    anchors_by_count = {"6": [[i, i] for i in range(1, 7)], "9": [[i, i + 1] for i in range(1, 10)]}
    assert coding.grid(small(anchors=anchors_by_count))["anchors"][2] == [[1, 2], [2, 3], [3, 4]]
    assert coding.grid(small("yolov3_tiny", anchors=anchors_by_count))["anchors"][1] == [
        [1, 1],
        [2, 2],
        [3, 3],
    ]
    published = ((23, 27), (37, 58), (81, 82), (81, 82), (135, 169), (344, 319))
    grid = coding.grid(small("yolov3_tiny", anchors=published))
    assert grid["anchors"][0][0] == grid["anchors"][1][2] == [81, 82]


def test_objects_are_thought_improbable_before_training():
    model = small(classes=3)
    for layer in model.layers:
        if layer.name.endswith("_raw"):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    raw = model.predict_on_batch(np.random.default_rng(0).uniform(size=(2, 64, 64, 3)))
    _, objects, classes = coding.decode(raw, coding.grid(model))
    np.testing.assert_allclose(objects, 0.01, rtol=1e-5)
    np.testing.assert_allclose(classes, 0.5)
    assert not raw[..., :4].any()


@pytest.mark.parametrize(
    ("backbone", "strides", "channels"),
    [("darknet", [32, 16, 8], [128, 64, 32]), ("vgg", [16, 8, 4], [64, 64, 32])],
)
def test_any_classifier_with_features_is_a_backbone(backbone, strides, channels):
    depth = {"darknet": 21, "vgg": 11}[backbone]
    model = small(backbone=backbone, depth=depth)
    assert coding.grid(model)["strides"] == strides
    assert model.output_shape[1] == sum(3 * (64 // stride) ** 2 for stride in strides)
    before = [model.get_layer(f"neck{strides[0]}_1_conv").kernel.shape[2]]
    for i in (1, 2):
        above = model.get_layer(f"neck{strides[i]}_up_conv").kernel.shape[3]
        before.append(model.get_layer(f"neck{strides[i]}_1_conv").kernel.shape[2] - above)
    assert before == channels
    with pytest.raises(ValueError, match=f"multiples of {strides[0]}"):
        small(size=24 + strides[0], backbone=backbone, depth=depth)


def test_backbone_has_the_weights_of_a_classifier_and_other_ones_are_refused(tmp_path):
    classifier = zoo.create("darknet", (32, 32, 3), 5, depth=21, width=0.125)
    classifier.save(tmp_path / "model.keras")
    model = small(backbone_weights=str(tmp_path / "model.keras"))
    weights, expected = values(model), values(classifier)
    shared = weights.keys() & expected.keys()
    assert expected.keys() - shared == {"logits/kernel", "logits/bias"}
    for place in shared:
        np.testing.assert_array_equal(weights[place], expected[place])
    trained = {weight.path for weight in classifier.trainable_weights} & shared
    assert trained <= {weight.path for weight in model.trainable_weights}
    with pytest.raises(ValueError, match="has no weight for"):
        small(width=0.25, backbone_weights=str(tmp_path / "model.keras"))


def test_neck_and_head_attach_to_any_maps():
    maps = {4: keras.Input((12, 8, 5)), 8: keras.Input((6, 4, 9))}
    coarse, fine = yolov3.neck(maps, 16, (2, 3), 1e-5)
    assert (tuple(coarse.shape), tuple(fine.shape)) == ((None, 6, 4, 32), (None, 12, 8, 8))
    raw = yolov3.head(fine, 10, 2, 3, 1e-5, "head")
    assert tuple(raw.shape) == (None, 12, 8, 2 * (5 + 3))


def test_a_box_is_where_the_head_of_its_map_says():
    model = small("yolov3_tiny", classes=2)
    for layer in model.layers:
        if layer.name.endswith("_raw"):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
            layer.bias.assign(np.arange(21) + (100 if layer.name == "head16_raw" else 0))
    raw = model.predict_on_batch(np.zeros((1, 64, 64, 3), "float32"))[0]
    coarse, fine = raw[: 3 * 4].reshape(4, 3, 7), raw[3 * 4 :].reshape(16, 3, 7)
    np.testing.assert_array_equal(coarse, np.tile(np.arange(21.0).reshape(3, 7), (4, 1, 1)))
    np.testing.assert_array_equal(fine, np.tile(100 + np.arange(21.0).reshape(3, 7), (16, 1, 1)))


def test_names_of_layers_are_unique_and_short():
    for name in ("yolov3", "yolov3_tiny"):
        names = [layer.name for layer in small(name).layers]
        assert len(set(names)) == len(names)
        assert max(map(len, names)) <= 24
        assert not any("/" in layer for layer in names)
        assert [layer.name for layer in small(name).layers if isinstance(layer, Grid)] == ["rows"]
