"""Classifiers are the published networks: with the same weights they give the same outputs.

The references are the programs of torchvision and timm, which no other test needs. Tests that
compare with them run where Keras' backend is PyTorch (TensorFlow and PyTorch in one process can
crash it), and are skipped otherwise. The test of trained weights needs ZOO_DATA. To run them all:

    pip install ".[torch-bench]"
    KERAS_BACKEND=torch ZOO_DATA=folder \
        python -m pytest tests/models/test_published_classifiers.py
"""

import functools
import math
import os
import pathlib
import re

import keras
import numpy as np
import pytest

import zoo
from tests.published_files import write_safetensors
from zoo.weights.published import converter

LAYOUT = {4: (2, 3, 1, 0), 2: (1, 0)}  # from PyTorch's (out, in, H, W) and (out, in) to Keras'
RESNET = {
    r"(conv|bn)1": r"stem_\1",
    r"layer(\d)\.(\d+)\.(conv|bn)(\d)": r"stage\1_block\2_\4_\3",
    r"layer(\d)\.(\d+)\.downsample\.0": r"stage\1_block\2_skip_conv",
    r"layer(\d)\.(\d+)\.downsample\.1": r"stage\1_block\2_skip_bn",
    r"fc|linear": "logits",
}
FCN = {
    **{rf"backbone\.{pattern}": ours for pattern, ours in RESNET.items() if pattern[0] != "f"},
    r"classifier\.0": "logits_hidden_conv",
    r"classifier\.1": "logits_hidden_norm",
    r"classifier\.4": "logits_score",
    r"aux_classifier\.0": "auxiliary_hidden_conv",
    r"aux_classifier\.1": "auxiliary_hidden_norm",
    r"aux_classifier\.4": "auxiliary_score",
}


@pytest.fixture(autouse=True)
def cleared():
    yield
    keras.backend.clear_session()


def reference_module(name):
    """Import a module of PyTorch programs, or skip the test."""
    if keras.backend.backend() != "torch":
        pytest.skip("needs KERAS_BACKEND=torch")
    return pytest.importorskip(name)


def by_layer(arrays):
    """Return the arrays of each PyTorch layer as a list in Keras' layout.

    Args:
        arrays: a dictionary by PyTorch's names; counters of batches are left out.
    """
    layers = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        if kind != "num_batches_tracked":
            array = array.transpose(LAYOUT.get(array.ndim, range(array.ndim)))
            layers.setdefault(layer, []).append(array)
    return layers


def renamed(layers, patterns):
    """Return the layers by our names; blocks are counted from 1 where the reference has 0."""
    names = {}
    for name in layers:
        (pattern,) = [pattern for pattern in patterns if re.fullmatch(pattern, name)]
        ours = re.sub(rf"^{pattern}$", patterns[pattern], name)
        if "conv" not in name.split(".")[0]:
            ours = re.sub(r"block(\d+)", lambda match: f"block{int(match[1]) + 1}", ours)
        names[name] = re.sub("bn$", "norm", ours)
    assert len(set(names.values())) == len(names)
    return {names[name]: arrays for name, arrays in layers.items()}


def in_order(layers, model):
    """Return the layers by our names, where both programs have the same order of layers."""
    names = [layer.name for layer in model.layers if layer.weights]
    return dict(zip(names, layers.values(), strict=True))


def transplant(layers, model):
    """Set all weights of a model, each exactly once.

    Args:
        layers: a dictionary from our names of layers to lists of arrays.
        model: the model that has these layers and no other ones with weights.
    """
    ours = {layer.name: layer for layer in model.layers if layer.weights}
    assert layers.keys() == ours.keys()
    for name, arrays in layers.items():
        pairs = list(zip(arrays, ours[name].weights, strict=True))
        ours[name].set_weights([array.reshape(weight.shape) for array, weight in pairs])


def flattened_last(kernel, model, flatten="flatten"):
    """Reorder the rows of a dense kernel, from flat maps (C, H, W) to flat maps (H, W, C)."""
    height, width, channels = model.get_layer(flatten).input.shape[1:]
    kernel = kernel.reshape(channels, height, width, -1)
    return kernel.transpose(1, 2, 0, 3).reshape(height * width * channels, -1)


def randomize(reference, gain=2.0):
    """Draw all weights, so that images decide the logits.

    Args:
        reference: a PyTorch module.
        gain: variance of a kernel's weights, times the inputs of an output; 2 suits ReLU.

    Returns:
        A dictionary from PyTorch's names to arrays.
    """
    import torch

    torch.manual_seed(0)
    arrays = reference.state_dict()
    for name, array in arrays.items():
        if array.ndim in LAYOUT:
            array.normal_(0, math.sqrt(gain / array[0].numel()))
        elif array.ndim == 3:
            array.normal_()
        elif name.endswith(("weight", "running_var")):
            array.uniform_(0.5, 1.5)
        elif array.ndim:
            array.normal_(0, 0.1)
    return {name: array.numpy() for name, array in arrays.items()}


def assert_equal_logits(model, reference, size, run=None):
    """Compare the logits of two images with those of the reference.

    Args:
        model: the `keras.Model`.
        reference: a PyTorch module.
        size: height and width of the images.
        run: a function from images to logits in our layout, if it is not the module.
    """
    import torch

    x = np.random.default_rng(0).uniform(size=(2, size, size, 3)).astype(np.float32)
    run = run or reference
    reference.eval()
    with torch.inference_mode():
        expected = run(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    logits = keras.ops.convert_to_numpy(model(x, training=False))
    largest = np.abs(expected).max()
    difference = np.abs(logits - expected).max() / largest
    print(f"{type(reference).__name__}: relative difference {difference:.1e}")
    assert difference <= 1e-5
    assert np.ptp(expected, axis=0).max() > 0.01 * largest, "all images have the same logits"


def converted(folder, name, values, **options):
    """Return the model of a file with these arrays, and its record; the number of classes is 1000.

    Args:
        folder: where the file is written.
        name: of the model.
        values: arrays by PyTorch's names.
        options: of the builder; "pixels" is the size of the images.
    """
    size = {"image_size": options.pop("pixels", 224)}
    path = write_safetensors(folder / "model.safetensors", values)
    return converter.read(path, name, options, task_options=size)


def of_pixels(reference, record):
    """Return a function from images from 0 to 1 to the logits of a reference."""
    import torch

    mean, std = (
        torch.tensor(record["options"][key])[:, None, None] for key in ("pixel_mean", "pixel_std")
    )
    return lambda x: reference((x - mean) / std)


def reference_of(package, name, **options):
    """Return a model of torchvision or timm, or skip the test."""
    if package == "timm":
        return reference_module("timm").create_model(name, **options)
    return getattr(reference_module("torchvision.models"), name)(**options)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_resnet_is_that_of_others(tmp_path, package, depth):
    reference = reference_of(package, f"resnet{depth}")
    values = randomize(reference)
    model, record = converted(tmp_path, "resnet", values, depth=depth, pixels=100)
    assert_equal_logits(model, reference, 100, of_pixels(reference, record))


@pytest.mark.parametrize(
    ("package", "name"), [("timm", "mobilenetv2_100"), ("torchvision", "mobilenet_v2")]
)
def test_mobilenet_is_that_of_others(tmp_path, package, name):
    reference = reference_of(package, name)
    # A third of its convolutions have no ReLU: with 2, values and rounding errors grow.
    model, record = converted(tmp_path, "mobilenet", randomize(reference, gain=1.4), pixels=100)
    assert_equal_logits(model, reference, 100, of_pixels(reference, record))
    interpolation = {"timm": "bicubic", "torchvision": "bilinear"}[package]
    assert record["task_options"]["interpolation"] == interpolation


def test_googlenet_is_that_of_torchvision(tmp_path):
    options = dict(aux_logits=True, transform_input=False, init_weights=False)
    reference = reference_of("torchvision", "googlenet", **options)
    model, record = converted(tmp_path, "googlenet", randomize(reference))
    assert_equal_logits(model, reference, 224, of_pixels(reference, record))


def test_googlenets_auxiliary_heads_are_those_of_torchvision(tmp_path):
    options = dict(aux_logits=True, transform_input=False, init_weights=False)
    reference = reference_of("torchvision", "googlenet", **options)
    model, record = converted(tmp_path, "googlenet", randomize(reference), auxiliary=True)
    assert_equal_logits(model, reference, 224, of_pixels(reference, record))

    def logits(head, module, x):  # PyTorch's program computes them in training alone
        maps = []
        hook = module.register_forward_hook(lambda *call: maps.append(call[-1]))
        of_pixels(reference, record)(x)
        hook.remove()
        return head(maps[0])

    early = functools.partial(logits, reference.aux1, reference.inception4a)
    late = functools.partial(logits, reference.aux2, reference.inception4d)
    assert_equal_logits(model.parts()["auxiliary_4a"], reference, 224, early)
    assert_equal_logits(model.parts()["auxiliary_4d"], reference, 224, late)


@pytest.mark.parametrize("size", [96, 100])
def test_fcn_on_resnet_is_that_of_torchvision(size):
    models = reference_module("torchvision.models.segmentation")
    reference = models.fcn_resnet50(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )
    model = zoo.create("fcn", (None, None, 3), 21, encoder="resnet", auxiliary=True)
    transplant(renamed(by_layer(randomize(reference)), FCN), model)
    heads = {"logits": "out", "auxiliary": "aux"}
    for name, part in model.parts().items():
        images_last = lambda x, key=heads[name]: reference(x)[key].permute(0, 2, 3, 1)  # noqa: E731
        assert_equal_logits(part, reference, size, images_last)


def test_alexnet_of_2014_is_that_of_torchvision():
    reference = reference_module("torchvision.models").alexnet()
    model = zoo.create("alexnet", (224, 224, 3), 1000, form="tower")
    layers = in_order(by_layer(randomize(reference)), model)
    layers["fc6"][0] = flattened_last(layers["fc6"][0], model)
    transplant(layers, model)
    assert_equal_logits(model, reference, 224)


@pytest.mark.parametrize(("size", "pool"), [(224, 0), (96, 7)])
def test_vgg_is_that_of_torchvision(tmp_path, size, pool):
    reference = reference_of("torchvision", "vgg11", init_weights=False)
    values = randomize(reference)
    model, record = converted(tmp_path, "vgg", values, depth=11, pool=pool, pixels=size)
    assert_equal_logits(model, reference, size, of_pixels(reference, record))


@pytest.mark.parametrize(("package", "size"), [("timm", 224), ("torchvision", 64)])
def test_vgg_with_batch_norm_is_that_of_others(tmp_path, package, size):
    reference = reference_of(package, "vgg11_bn")
    options = dict(depth=11, batch_norm=True, pool=0 if size == 224 else 7, pixels=size)
    model, record = converted(tmp_path, "vgg", randomize(reference), **options)
    assert_equal_logits(model, reference, size, of_pixels(reference, record))


def test_vit_is_that_of_timm(tmp_path):
    reference = reference_of("timm", "vit_tiny_patch16_224")
    model, record = converted(tmp_path, "vit", randomize(reference), size="Ti")
    assert_equal_logits(model, reference, 224, of_pixels(reference, record))


def cifar10_errors(depth, count):
    """Count the test images of CIFAR-10, of the first ones, that a preset classifies wrongly.

    Args:
        depth: 20, 32 or 56.
        count: of images, 10,000 at most.
    """
    with np.load(pathlib.Path(os.environ["ZOO_DATA"]) / "cifar10" / "cifar10.npz") as data:
        images, labels = data["x_test"][:count], data["y_test"][:count]
    model = zoo.load(f"resnet{depth}_cifar10")
    logits = model.predict(images / np.float32(255), batch_size=100, verbose=0)
    return int((logits.argmax(axis=-1) != labels.ravel()).sum())


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
def test_trained_resnet_20_makes_its_errors_on_the_first_test_images_of_cifar10():
    # All 10,000 images take 20 s, and give the published 827 errors; depths 32 and 56, 737 and 661.
    assert cifar10_errors(20, 1_000) == 80
