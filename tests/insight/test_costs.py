"""Receptive fields by hand, and multiply-adds that others have published."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import zoo
from zoo import registry
from zoo.insight import costs
from zoo.insight.receptive_fields import ALL
from zoo.weights.initial import without_weights


def seen(model, **record):
    """Return {name: (field, stride)} of a model's operations."""
    rows = costs.rows(model, record)
    return {row.operation.name: (row.seen.field, row.seen.stride) for row in rows}


def total(model):
    """Return the multiply-adds of a model."""
    return sum(row.multiply_adds for row in costs.rows(model, {}))


def test_two_3x3_convolutions_of_stride_2_see_7_pixels():
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, 2, name="one")(image)
    x = layers.Conv2D(4, 3, 2, name="two")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(4, 3, dilation_rate=2, padding="same", name="dilated")(x)
    fields = seen(keras.Model(image, x))
    assert fields["one"] == (3, 2) and fields["two"] == fields["relu"] == (7, 4)
    assert fields["pool"] == (7 + 1 * 4, 8) and fields["dilated"] == (11 + 2 * 2 * 8, 8)


def measured(model, size):
    """Return the receptive field of the middle of a model's output, from its gradient."""
    from zoo.nn import gradients

    for weight in model.weights:
        weight.assign(np.ones(weight.shape))  # no effect is cancelled by another
    x = np.random.default_rng(0).uniform(size=(1, size, size, 1)).astype("float32")
    middle = model.output_shape[1] // 2
    _, slope = gradients.of(lambda x: ops.sum(model(x)[:, middle, middle]))(x)
    rows = np.flatnonzero(np.abs(np.asarray(slope)[0]).max(axis=(1, 2)))
    return rows[-1] - rows[0] + 1


@pytest.mark.parametrize("kind", ["branches", "transposed", "bilinear", "nearest"])
def test_fields_are_those_that_the_gradient_shows(kind):
    image = keras.Input((64, 64, 1))
    x = layers.Conv2D(2, 3, 2, padding="same")(image)
    if kind == "branches":
        a, b = (layers.Conv2D(2, size, padding="same")(x) for size in (1, 5))
        x = layers.Add(name="last")([a, layers.Conv2D(2, 3, padding="same")(b)])
    elif kind == "transposed":
        x = layers.Conv2DTranspose(2, 4, 2, padding="same", name="last")(x)
    else:
        x = layers.UpSampling2D(2, interpolation=kind, name="last")(x)
    model = keras.Model(image, x)
    field, stride = seen(model)["last"]
    assert field == measured(model, 64) and stride == (2 if kind == "branches" else 1)


def test_some_layers_see_everything():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(image)
    flat = layers.Flatten(name="flatten")(x)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(x)
    places = layers.Dense(5, name="places")(x)  # of each pixel alone
    dense = layers.Dense(5, name="dense")(flat)
    fields = seen(keras.Model(image, [pooled, places, dense]))
    assert fields["places"] == (3, 1) == fields["flatten"]
    assert fields["pooled"][0] == fields["dense"][0] == ALL
    steps = keras.Input((7, 2))
    x = layers.Dense(3, name="steps")(layers.Permute((2, 1), name="moved")(steps))
    fields = seen(keras.Model(steps, x))
    assert fields["moved"][0] == 1 and fields["steps"][0] == ALL, "all steps of a variable"


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("resnet", dict(depth=50), 4.09e9),  # torchvision's documentation, at 224 pixels
        ("resnet", dict(depth=18), 1.81e9),
        ("vgg", dict(depth=16), 15.47e9),
        ("mobilenet", {}, 0.30e9),
        ("vit", {}, 17.56e9),
        ("yolov3_tiny", {}, 5.571e9 / 2),  # Darknet's program, at 416 pixels; it counts both
    ],
)
def test_multiply_adds_are_the_published_ones(name, options, published):
    row = registry.get(name)
    model = without_weights(lambda: row.builder(**{**row.paper, **options}))
    assert total(model) == pytest.approx(published, rel=0.01)


def test_multiply_adds_of_series_and_sums_of_products():
    steps = keras.Input((7, 3))
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(steps)
    model = keras.Model(steps, layers.Dense(2)(x))
    assert total(model) == 7 * 2 * (3 + 5) * 4 * 5 + 7 * 10 * 2
    product = ops.einsum("bti,bsi->bts", steps, steps)
    assert total(keras.Model(steps, product)) == 7 * 7 * 3
    assert total(keras.Model(steps, ops.matmul(steps, ops.transpose(steps, (0, 2, 1))))) == 147


def test_free_sizes_are_those_of_the_record_and_nested_models_are_entered():
    inner = zoo.create("unet", (None, None, 1), 1, depth=1, width=0.0625)
    record = {
        "task": "image_segmentation",
        "task_options": {"tile_height": 48, "tile_width": 32},
    }
    shapes = {row.operation.name: row.shape for row in costs.rows(inner, record)}
    assert (48, 32, 1) in shapes.values()
    image = keras.Input((48, 32, 1))
    outer = keras.Model(image, inner(image))
    assert total(outer) == sum(row.multiply_adds for row in costs.rows(inner, record)) > 0


def test_the_table_says_what_is_counted(capsys):
    from zoo.__main__ import main

    assert main(["show", "lenet", "--layers"]) == 0
    printed = capsys.readouterr().out
    assert "field" in printed and "mult-adds" in printed and "(32, 32, 1)" in printed
    assert max(map(len, printed.splitlines())) <= 120
    for name, kind in (
        ("gru_gunpoint", "Bidirectional"),
        ("resnet20_cifar10", "BatchNormalization"),
    ):
        assert main(["show", name, "--layers"]) == 0
        printed = capsys.readouterr().out
        assert "mult-adds" in printed and f"{kind}  " in printed, "types are never shortened"
        assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.parametrize(
    "number, text", [(0, "0 "), (999, "999 "), (4.089e9, "4.09 G"), (15e3, "15 k")]
)
def test_units(number, text):
    assert costs.unit(number) == text
