"""Properties of Darknet-53 (Redmon & Farhadi 2018), and weight files in Darknet's format."""

import itertools
import struct

import keras
import numpy as np
import pytest
from conftest import trainable

import zoo
from zoo import registry
from zoo.models.classification import darknet
from zoo.weights import darknet_weights
from zoo.weights.initial import without_weights


def values(model):
    """Return the weights of a model by their paths."""
    paths = [weight.path for weight in model.weights]
    return dict(zip(paths, model.get_weights(), strict=True))


@pytest.fixture(autouse=True)
def cleared():
    yield
    keras.backend.clear_session()


TABLE_1 = [  # (residual blocks, channels) of each stage
    (1, 64),
    (2, 128),
    (8, 256),
    (8, 512),
    (4, 1024),
]


def by_hand(table, classes):
    """Count the parameters of Table 1; each channel has a scale and a shift."""
    count = 9 * 3 * 32 + 2 * 32
    for before, (blocks, channels) in zip([32, *(c for _, c in table)], table, strict=False):
        thin = channels // 2
        count += 9 * before * channels + 2 * channels
        count += blocks * (channels * thin + 2 * thin + 9 * thin * channels + 2 * channels)
    return count + table[-1][1] * classes + classes


def test_count_of_table_1():
    assert registry.get("darknet").parameters == by_hand(TABLE_1, 1000)


@pytest.mark.parametrize(("depth", "blocks"), [(53, (1, 2, 8, 8, 4)), (21, (1, 1, 2, 2, 1))])
def test_depth_counts_layers_with_weights_and_unknown_ones_are_refused(depth, blocks):
    model = without_weights(lambda: zoo.create("darknet", (32, 32, 3), 4, depth=depth, width=0.25))
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    assert sum(isinstance(layer, kinds) for layer in model.layers) == depth
    added = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Add)]
    names = [f"stage{s}_block{i + 1}" for s, n in enumerate(blocks, start=1) for i in range(n)]
    assert added == names
    with pytest.raises(ValueError, match="21, 53, not 19"):
        zoo.create("darknet", (32, 32, 3), 4, depth=19)


def test_count_of_depth_21():
    table = [(n, c) for n, (_, c) in zip((1, 1, 2, 2, 1), TABLE_1, strict=True)]
    build = lambda: trainable(zoo.create("darknet", (32, 32, 3), 10, depth=21))  # noqa: E731
    assert without_weights(build) == by_hand(table, 10)


def test_without_batch_norm_convolutions_have_a_bias_instead():
    normed, plain = (
        zoo.create("darknet", (32, 32, 3), 4, depth=21, width=0.125, batch_norm=on)
        for on in (True, False)
    )
    channels = sum(layer.filters for layer in plain.layers if hasattr(layer, "filters"))
    assert trainable(normed) - trainable(plain) == channels


def test_features_are_the_last_maps_before_each_halving_which_rounds_up():
    image = keras.Input((37, 53, 3))
    maps = darknet.features(image, width=0.125)
    assert {stride: tuple(tensor.shape[1:]) for stride, tensor in maps.items()} == {
        1: (37, 53, 4),
        2: (19, 27, 8),
        4: (10, 14, 16),
        8: (5, 7, 32),
        16: (3, 4, 64),
        32: (2, 2, 128),
    }
    layers = [keras.Model(image, tensor).layers[-1].name for tensor in maps.values()]
    stages = zip(range(1, 6), (1, 2, 8, 8, 4), strict=True)
    assert layers == ["stem", *(f"stage{stage}_block{count}" for stage, count in stages)]


def test_unet_takes_it_as_its_encoder():
    options = dict(encoder="darknet", encoder_depth=21, width=0.125)
    model = zoo.create("unet", (64, 96, 3), 4, **options, batch_norm=True)
    assert model.output_shape == (None, 64, 96, 4)
    assert "stage5_block1" in [layer.name for layer in model.layers]


# An interpreter of Darknet's configurations, in NumPy and channels first: conv (filters, size,
# stride, normalised), max (size, stride), shortcut (from), route (layers), upsample, average, yolo.


def conv(filters, size, stride=1, normed=True):
    """Return a section of a configuration."""
    return ("conv", filters, size, stride, normed)


def darknet_cfg(width):
    """Return the first 75 sections of darknet53.cfg and yolov3.cfg."""
    sections = [conv(int(32 * width), 3)]
    for blocks, channels in TABLE_1:
        thin, wide = int(channels // 2 * width), int(channels * width)
        sections += [conv(wide, 3, 2)]
        sections += [conv(thin, 1), conv(wide, 3), ("shortcut", -3)] * blocks
    return sections


def classifier_cfg(width, classes):
    """Return darknet53.cfg without its softmax."""
    return [*darknet_cfg(width), ("average",), conv(classes, 1, normed=False), ("yolo",)]


def yolov3_cfg(width, classes):
    """Return yolov3.cfg."""
    sections = darknet_cfg(width)
    for i, earlier in enumerate([None, 61, 36]):
        thin, wide = int(512 // 2**i * width), int(1024 // 2**i * width)
        if earlier:
            sections += [("route", -4), conv(thin, 1), ("upsample",), ("route", -1, earlier)]
        sections += [conv(thin, 1), conv(wide, 3)] * 3
        sections += [conv(3 * (5 + classes), 1, normed=False), ("yolo",)]
    return sections


def tiny_cfg(width, classes):
    """Return yolov3-tiny.cfg."""
    sections, last = [], conv(3 * (5 + classes), 1, normed=False)
    for i in range(6):
        sections += [conv(int(16 * 2**i * width), 3), ("max", 2, 1 if i == 5 else 2)]
    sections += [conv(int(n * width), k) for n, k in ((1024, 3), (256, 1), (512, 3))]
    sections += [last, ("yolo",), ("route", -4), conv(int(128 * width), 1), ("upsample",)]
    return [*sections, ("route", -1, 8), conv(int(256 * width), 3), last, ("yolo",)]


def windows(x, size, stride):
    """Return the windows (B, C, h, w, size, size) of maps (B, C, H, W)."""
    view = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def run(sections, numbers, x):
    """Apply a configuration to images (B, C, H, W): what reaches each yolo section.

    `numbers` is called with the shape of what comes next in the file.
    """
    outputs, detections = [], []
    for kind, *options in sections:
        if kind == "conv":
            filters, size, stride, normed = options
            shift, normal = numbers("shift", filters), []
            if normed:
                normal = [numbers(name, filters) for name in ("scale", "mean", "variance")]
            kernel = numbers("kernel", filters, x.shape[1], size, size)
            pad = size // 2
            x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
            x = np.tensordot(windows(x, size, stride), kernel, ((1, 4, 5), (1, 2, 3)))
            if normed:
                scale, mean, variance = normal
                x = scale * (x - mean) / np.sqrt(variance + 0.00001)
            x = np.moveaxis(x + shift, -1, 1)
            x = np.where(x > 0, x, 0.1 * x) if normed else x
        elif kind == "max":
            size, stride = options
            after = (0, size - 1)
            x = np.pad(x, ((0, 0), (0, 0), after, after), constant_values=-np.inf)
            x = windows(x, size, stride).max(axis=(4, 5))
        elif kind == "shortcut":
            x = x + outputs[options[0]]
        elif kind == "route":
            x = np.concatenate([outputs[i] for i in options], axis=1)
        elif kind == "upsample":
            x = x.repeat(2, axis=2).repeat(2, axis=3)
        elif kind == "average":
            x = x.mean(axis=(2, 3), keepdims=True)
        elif kind == "yolo":
            detections.append(x)
        outputs.append(x)
    return detections


def written(path, sections, version=(0, 2, 0), seed=0, convolutions=None):
    """Write a file for a configuration, or its first convolutions; return the numbers drawn."""
    rng, drawn, ends = np.random.default_rng(seed), [], [0]
    limits = {
        "shift": (-0.3, 0.3),
        "scale": (0.7, 1.3),
        "mean": (-0.3, 0.3),
        "variance": (0.5, 1.5),
    }
    pairs = itertools.pairwise(sections)
    added = iter([after[0] == "shortcut" for section, after in pairs if section[0] == "conv"])

    def numbers(kind, *shape):
        if kind == "kernel":
            value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            value = rng.uniform(*limits[kind], shape)
        if kind == "scale" and next(added):
            value *= 0.3  # otherwise sums grow with every block
        drawn.append(value.astype("<f4").ravel())
        if kind == "kernel":
            ends.append(len(drawn))
        return value

    run(sections, numbers, np.zeros((1, 3, 64, 64), np.float32))
    new = 10 * version[0] + version[1] >= 2
    start = struct.pack("<3iq" if new else "<3ii", *version, 32_013_312)
    numbers = np.concatenate(drawn[: ends[convolutions]] if convolutions else drawn)
    path.write_bytes(start + numbers.tobytes())
    return numbers


def reader(numbers):
    """Return a function that splits numbers into arrays of given shapes, for `run`."""
    left = iter(numbers.astype(np.float64))

    def give(_, *shape):
        return np.fromiter(itertools.islice(left, int(np.prod(shape))), float).reshape(shape)

    return give


FORMS = {
    "darknet": (classifier_cfg, 1 / 16),
    "yolov3": (yolov3_cfg, 1 / 16),
    "yolov3_tiny": (tiny_cfg, 1 / 8),
}


def made(name, classes=4):
    """Return a model, and the sections of its configuration."""
    sections, width = FORMS[name]
    return zoo.create(name, (64, 64, 3), classes, width=width), sections(width, classes)


@pytest.mark.parametrize("name", FORMS)
def test_a_file_gives_the_outputs_that_its_configuration_says(name, tmp_path):
    model, sections = made(name)
    numbers = written(tmp_path / "a.weights", sections)
    loaded, missing = darknet_weights.load(model, tmp_path / "a.weights")
    assert (len(loaded), missing) == (len(model.weights), [])
    x = np.random.default_rng(1).uniform(size=(2, 8, 8, 3)).astype("float32")
    x = x.repeat(8, axis=1).repeat(8, axis=2)
    maps = run(sections, reader(numbers), np.moveaxis(x.astype(np.float64), -1, 1))
    rows = []
    for features in maps:
        batch, channels, height, width = features.shape
        anchors = 1 if name == "darknet" else 3
        features = features.reshape(batch, anchors, channels // anchors, height, width)
        rows.append(features.transpose(0, 3, 4, 1, 2).reshape(batch, -1, channels // anchors))
    expected = np.concatenate(rows, axis=1)
    expected = expected[:, 0] if name == "darknet" else expected
    assert np.ptp(expected, axis=0).max() > 0.02, "both predictions are equal"
    assert 1 < np.abs(expected).max() < 30
    np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5)])
@pytest.mark.parametrize("name", FORMS)
def test_what_is_loaded_is_saved_byte_for_byte(name, version, tmp_path):
    model, sections = made(name)
    source, copy = tmp_path / "a.weights", tmp_path / "b.weights"
    written(source, sections, version)
    header = darknet_weights.header(source)
    assert header == (*version, 32_013_312)
    darknet_weights.load(model, source)
    darknet_weights.save(model, copy, header)
    assert copy.read_bytes() == source.read_bytes()
    assert sorted(tmp_path.iterdir()) == [source, copy]


def test_the_order_survives_saving_and_loading(tmp_path):
    model, sections = made("yolov3_tiny")
    written(tmp_path / "a.weights", sections)
    darknet_weights.load(model, tmp_path / "a.weights")
    model.save(tmp_path / "model.keras")
    again = zoo.load(tmp_path / "model.keras")
    header = darknet_weights.header(tmp_path / "a.weights")
    darknet_weights.save(again, tmp_path / "b.weights", header)
    assert (tmp_path / "b.weights").read_bytes() == (tmp_path / "a.weights").read_bytes()


PUBLISHED = {"darknet53.conv.74": 162_482_580, "yolov3-tiny.weights": 35_434_956}


def test_sizes_are_those_of_the_published_files():
    model = zoo.create("yolov3_tiny", (416, 416, 3), 80)
    sizes = [section.size() for section in darknet_weights.sections(model)]
    assert 20 + 4 * sum(sizes) == PUBLISHED["yolov3-tiny.weights"]
    model = zoo.create("darknet", (32, 32, 3), 1)
    sizes = [section.size() for section in darknet_weights.sections(model)]
    assert len(sizes) == 53
    assert 20 + 4 * sum(sizes[:52]) == PUBLISHED["darknet53.conv.74"]


def test_a_file_of_the_backbone_alone_is_taken_if_asked(tmp_path):
    sections, width = FORMS["yolov3"]
    path = tmp_path / "darknet53.conv.74"
    written(path, sections(width, 4), convolutions=52)
    model, source = made("yolov3")[0], zoo.create("darknet", (64, 64, 3), 1, width=width)
    before = values(model)
    with pytest.raises(ValueError, match="conv.74: .* end in layer 53 of 75, neck32_1_conv"):
        darknet_weights.load(model, path)
    for place, value in values(model).items():
        np.testing.assert_array_equal(value, before[place])
    loaded, missing = darknet_weights.load(model, path, partial=True)
    assert {place.split("_")[0][:5] for place in loaded} == {"stem", "stage"}
    assert {place.split("_")[0][:4] for place in missing} == {"neck", "head"}
    assert len(loaded) + len(missing) == len(model.weights)
    darknet_weights.load(source, path, partial=True)
    expected = values(source)
    for place, value in values(model).items():
        known = expected[place] if place in loaded else before[place]
        np.testing.assert_array_equal(value, known)


@pytest.mark.parametrize("name", FORMS)
def test_a_file_of_other_classes_is_taken_but_for_the_last_layers_if_asked(name, tmp_path):
    model, _ = made(name, classes=4)
    source, sections = made(name, classes=7)
    path = tmp_path / "seven.weights"
    written(path, sections)
    with pytest.raises(ValueError, match="values are left over"):
        darknet_weights.load(model, path)
    loaded, missing = darknet_weights.load(model, path, partial=True)
    assert {place.split("/")[0].split("_")[-1] for place in missing} <= {"raw", "logits"}
    assert len(missing) == {"darknet": 2, "yolov3": 6, "yolov3_tiny": 4}[name]
    darknet_weights.load(source, path)
    expected = values(source)
    weights = values(model)
    for place in loaded:
        np.testing.assert_array_equal(weights[place], expected[place])


def test_files_that_do_not_fit_are_refused_with_what_is_wrong(tmp_path):
    model, sections = made("yolov3_tiny")
    path = tmp_path / "a.weights"
    written(path, sections)
    content = path.read_bytes()
    cases = [
        (b"", "header of a Darknet"),
        (b"\x89HDF\r\n\x1a\n" + content, "header of a Darknet"),
        (content[:18], "header of a Darknet"),
        (content[:-1], "middle of a number"),
        (content[:-4], r"end in layer 13 of 13, head16_raw; the model has [\d,]+"),
        (content[:20], r"its 0 values end in layer 1 of 13, block1_conv"),
        (content + bytes(8), r"2 of its [\d,]+ values are left over"),
        (content[:-4] + struct.pack("<f", np.nan), "values are finite"),
    ]
    before = values(model)
    for changed, reason in cases:
        path.write_bytes(changed)
        for partial in (False, True):
            with pytest.raises(ValueError, match=f"a.weights: .*{reason}"):
                darknet_weights.load(model, path, partial=partial)
    with pytest.raises(ValueError, match="none.weights: it cannot be read"):
        darknet_weights.load(model, tmp_path / "none.weights")
    for place, value in values(model).items():
        np.testing.assert_array_equal(value, before[place])


def test_models_with_other_layers_are_refused(tmp_path):
    vgg = zoo.create("vgg", (32, 32, 3), 4, depth=11, width=0.0625)
    with pytest.raises(ValueError, match="vgg: .* its layer fc1"):
        darknet_weights.save(vgg, tmp_path / "a.weights")
    image = keras.Input((8, 8, 3))
    bare = keras.Model(image, keras.layers.Conv2D(2, 3, use_bias=False, name="bare")(image))
    with pytest.raises(ValueError, match="its layer bare"):
        darknet_weights.save(bare, tmp_path / "a.weights")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["yolov3.weights", "darknet53.conv.74", "yolov3-tiny.conv.15"])
def test_darknets_files_are_known_by_their_names(name):
    assert darknet_weights.matches(f"some/folder/{name}")
    assert not darknet_weights.matches(f"{name}.h5")
