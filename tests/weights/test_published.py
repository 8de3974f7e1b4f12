import gc
import json
import re

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest

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
from zoo.weights.initial import without_weights
from zoo.weights.published import applications, arrays, converter, filling, preparation


def test_safetensors_of_every_type_are_read(tmp_path):
    wanted = np.float32([[1, -2, 0.5]])
    values = {str(kind): wanted.astype(kind) for kind in ("f4", "f2", ml_dtypes.bfloat16)}
    values["count"] = np.int64([3])
    stored = arrays.read(write_safetensors(tmp_path / "a.safetensors", values))
    assert stored.keys() == values.keys() and stored.pop("count").dtype == np.int64
    for array in stored.values():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.safetensors", b"", "damaged .its header is not complete"),
        ("a.safetensors", (2**40).to_bytes(8, "little") + b"{}", "damaged .its header is not"),
        ("a.safetensors", (2).to_bytes(8, "little") + b"[]", "damaged .its header is no JSON"),
        ("a.safetensors", (9).to_bytes(8, "little") + b'{"a": {}}', "damaged .'dtype'"),
        ("a.npz", b"PK", "not a zip archive, or truncated"),
        ("a.pth", b"", "a pickle can run any code"),
        ("a.txt", b"", "no file of named arrays"),
    ],
)
def test_a_file_that_holds_no_arrays_is_refused_in_one_line(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(name)}: .*{reason}") as error:
        arrays.read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_truncated_and_pickled_arrays_are_refused(tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", {"a": np.float32([1, 2])})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="a is not completely in it"):
        arrays.read(path)
    np.savez(tmp_path / "a.npz", a=np.array([{}]))
    with pytest.raises(ValueError, match="damaged"):
        arrays.read(tmp_path / "a.npz")


def test_every_array_of_a_file_has_its_place(tmp_path):
    path, values = tmp_path / "r.npz", resnet_arrays()
    np.savez(path, **values)
    model, record = converter.read(path, "resnet", SMALL)
    assert record["info"]["classes"] == [*"0123456789"]
    assert record["options"]["pixel_mean"] == [0.485, 0.456, 0.406]
    got = {w.path.removeprefix("resnet/"): w.numpy() for w in model.weights}
    np.testing.assert_array_equal(got["logits/kernel"], values["linear.weight"].T)
    name = "stage2_block1_1_conv/kernel"
    np.testing.assert_array_equal(got[name], values["layer2.0.conv1.weight"].transpose(2, 3, 1, 0))
    for ours, theirs in filling.NORM.items():
        np.testing.assert_array_equal(
            got[f"stage3_block3_2_norm/{ours}"], values[f"layer3.2.bn2.{theirs}"]
        )
    assert len(got) == len(values) - 1


def broken(change):
    values = resnet_arrays()
    change(values)
    return values


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (
            lambda v: v.pop("layer2.1.bn2.bias"),
            {},
            "it lacks layer2.1.bn2.bias. Check --set",
        ),
        (lambda v: v.update(more=v["bn1.bias"]), {}, "resnet has no place for more. Check"),
        (
            lambda v: v.update({"conv1.weight": v["conv1.weight"][:, :, :2]}),
            {},
            r"\(4, 3, 2, 3\), \(2, 3, 3, 4\) in Keras' order, and the model has \(3, 3, 3, 4\)",
        ),
        (
            lambda v: v.update({"conv1.weight": v["conv1.weight"][0]}),
            {},
            r"its conv1.weight has the shape \(3, 3, 3\)",
        ),
        (lambda v: v["bn1.bias"].fill(np.inf), {}, "its bn1.bias has values that are not finite"),
        (lambda v: None, {"depth": 32}, "it lacks layer1.3.bn1.bias, .* and 57 more. Check"),
        (lambda v: None, {"width": 0.5}, "has the shape .* in Keras' order, and the model has"),
        (lambda v: None, {"depth": 18}, "it lacks .*; resnet has no place for|it lacks "),
        (lambda v: None, {"depth": 21}, "resnet: ResNet has depth 18, 20"),
        (lambda v: None, {"version": 2}, "version 2 has other names"),
        (lambda v: v.pop("linear.weight"), {}, "it has no fc.weight or linear.weight"),
        (
            lambda v: v.update({"conv1.bias": np.float32([1, 2])}),
            {},
            r"its conv1.bias has the shape \(2,\)",
        ),
    ],
)
def test_a_file_that_does_not_fit_gets_one_clear_line(tmp_path, change, options, reason):
    path = write_safetensors(tmp_path / "r.safetensors", broken(change))
    with pytest.raises(ValueError, match=reason) as error:
        converter.read(path, "resnet", {**SMALL, **options})
    assert "\n" not in str(error.value)


def test_a_bias_in_front_of_a_normalisation_is_subtracted_from_its_mean(tmp_path):
    values, bias = resnet_arrays(), np.float32([0.3, -0.2, 0.1, 0.5])
    path, size = tmp_path / "a.safetensors", {"image_size": 32}
    plain, _ = converter.read(write_safetensors(path, values), "resnet", SMALL, task_options=size)
    values["bn1.running_mean"] = values["bn1.running_mean"] + bias
    write_safetensors(path, {**values, "conv1.bias": bias})
    folded, _ = converter.read(path, "resnet", SMALL, task_options=size)
    x = images(2, 32, 32, 3)
    assert_equal_outputs(folded(x), plain(x))


@pytest.mark.parametrize(
    ("name", "interpolation"),
    [("conv_stem.weight", "bicubic"), ("features.0.0.weight", "bilinear")],
)
def test_images_of_a_mobilenet_are_resized_as_its_program_does(name, interpolation):
    _, task_options, _ = preparation.of("mobilenet", "a.safetensors", {name: None})
    assert task_options["interpolation"] == interpolation


def test_without_options_the_remedy_names_some():
    assert filling.remedy({}).endswith("such as --set depth=18")
    assert filling.remedy({"depth": 18}) == "Check --set depth=18, and that the file is complete"


def test_timms_config_beside_the_file_says_how_images_are_prepared(tmp_path):
    path = write_safetensors(tmp_path / "model.safetensors", resnet_arrays(2))
    labels = ["cat", "dog"]
    config = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.95}
    config |= {"input_size": [3, 32, 32], "interpolation": "bicubic", "test_crop_pct": None}
    (tmp_path / "config.json").write_text(
        json.dumps({"pretrained_cfg": config, "label_names": labels})
    )
    model, record = converter.read(path, "resnet", SMALL)
    assert model.input_shape == (None, 32, 32, 3)
    assert record["info"]["classes"] == labels
    assert record["options"]["pixel_std"] == [0.4, 0.5, 0.6]
    chosen = record["task_options"]
    assert (chosen["image_size"], chosen["crop"], chosen["interpolation"]) == (32, 0.95, "bicubic")
    x = images(2, 32, 32, 3)
    by_hand = zoo.create("resnet", (32, 32, 3), 2, **SMALL)
    by_hand.set_weights(model.get_weights())
    assert_equal_outputs(model(x), by_hand((x - np.float32([0.1, 0.2, 0.3])) / [0.4, 0.5, 0.6]))
    for wrong in ({"crop_pct": 2}, {"mean": 0.5}, {"interpolation": "magic"}, {"input_size": [3]}):
        (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {**config, **wrong}}))
        with pytest.raises(ValueError, match=f"config.json: its {next(iter(wrong))} is"):
            converter.read(path, "resnet", SMALL)


CASES = {
    "resnet50": ("ResNet50", "resnet", {}, "resnet"),
    "resnet50v2": ("ResNet50V2", "resnet", {"version": 2}, "resnet_v2"),
    "mobilenetv2": ("MobileNetV2", "mobilenet", {"width": 0.35}, "mobilenet_v2"),
    "vgg16": ("VGG16", "vgg", {}, "vgg16"),
}


@pytest.mark.parametrize("case", CASES)
def test_weights_of_keras_applications_give_its_outputs(tmp_path, case):
    builder, name, options, module = CASES[case]
    alpha = {"alpha": 0.35} if name == "mobilenet" else {}
    shape = dict(input_shape=(64, 64, 3), classes=7, weights=None, **alpha)
    reference = getattr(keras.applications, builder)(**shape, classifier_activation=None)
    randomized(reference, 1.4 if alpha else None)  # a third of its convolutions have no ReLU
    if case == "resnet50":
        reference.save_weights(path := tmp_path / "a.weights.h5")
    else:
        path = write_legacy(reference, tmp_path / "a.h5")
    x = images(2, 64, 64, 3)
    prepare = getattr(keras.applications, module).preprocess_input
    expected = reference(prepare(255 * x))
    del reference
    gc.collect()  # or else two models and the file's arrays are in memory together
    size = {"image_size": 64}
    model, record = converter.read(path, name, options, task_options=size)
    assert_equal_outputs(model(x), expected)
    assert record["task_options"]["crop"] == 0.875


@pytest.mark.parametrize(
    ("builder", "name", "options"),
    [
        ("ResNet152", "resnet", {"depth": 152, "form": "keras"}),
        ("ResNet101V2", "resnet", {"depth": 101, "version": 2, "form": "keras"}),
        ("VGG19", "vgg", {"depth": 19}),
    ],
)
def test_every_layer_of_a_deep_model_of_keras_has_its_place(builder, name, options):
    def shapes():
        theirs = getattr(keras.applications, builder)(weights=None)
        ours = zoo.create(name, (224, 224, 3), 1000, **options)
        places = filling.from_keras(ours, applications.names(ours, name))
        known = {
            f"{layer.name}/{variable.name}": variable.shape
            for layer in theirs.layers
            for variable in layer.weights
        }
        return known, {place.name: place.variable.shape for place in places}

    known, placed = without_weights(shapes)
    assert placed.items() <= known.items()
    assert all(rest.endswith("_conv/bias") for rest in known.keys() - placed.keys())


def test_biases_of_blocks_are_summed_in_their_order_until_a_projection():
    values = {"post_bn/moving_mean": np.float32([100])}
    for i, block in enumerate(("conv2_block1", "conv2_block2", "conv2_block10", "conv3_block1")):
        values[f"{block}_preact_bn/moving_mean"] = np.float32([0])
        values[f"{block}_3_conv/bias"] = np.float32([10**i])
    values["conv2_block1_0_conv/bias"] = np.float32([7])
    values["conv3_block1_0_conv/bias"] = np.float32([5])
    applications.fold_residual_biases(values)
    assert {name.removesuffix("_bn/moving_mean"): -float(x[0]) for name, x in values.items()} == {
        "conv2_block1_preact": 0,
        "conv2_block2_preact": 7 + 1,
        "conv2_block10_preact": 7 + 1 + 10,
        "conv3_block1_preact": 7 + 1 + 10 + 100,
        "post": 5 + 1000 - 100,
    }


def test_a_file_of_keras_that_does_not_fit_gets_one_clear_line(tmp_path):
    shape = dict(input_shape=(32, 32, 3), classes=3, weights=None, alpha=0.35)
    path = write_legacy(keras.applications.MobileNetV2(**shape), tmp_path / "a.h5")
    size = {"image_size": 32}

    def refused(name, options, reason):
        with pytest.raises(ValueError, match=f"a.h5: {reason}|^{reason}") as error:
            converter.read(path, name, options, task_options=size)
        assert "\n" not in str(error.value)

    refused("mobilenet", {"width": 0.5}, "it does not fit MobileNetV2 .Shape mismatch in layer #")
    refused("resnet", {"depth": 18}, "resnet: keras.applications has no such model")
    refused("googlenet", {}, "googlenet: keras.applications has no such model")
    with h5py.File(path, "a") as file:
        layers = file.attrs["layer_names"].tolist()
        del file.attrs["layer_names"]
        file.attrs["layer_names"] = [name for name in layers if name != "Conv_1"]
    refused("mobilenet", {"width": 0.35}, "it does not fit MobileNetV2 .Layer count mismatch")
    with h5py.File(path, "a") as file:
        del file.attrs["layer_names"]
        file.attrs["layer_names"] = [name for name in layers if name != "predictions"]
    refused("mobilenet", {"width": 0.35}, "it has no layer of classes at its end")
    path.write_bytes(path.read_bytes()[:1000])
    refused("mobilenet", {"width": 0.35}, "it is not an HDF5 file, or damaged")
