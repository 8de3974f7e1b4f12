"""Classifiers are the published networks: with the same weights they give the same outputs.

The references are the programs of torchvision and timm, which no other test needs. Tests that
compare with them run where Keras' backend is PyTorch (TensorFlow and PyTorch in one process can
crash it), and are skipped otherwise. The test of trained weights needs ZOO_DATA. To run them all:

    pip install torch torchvision timm
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

LAYOUT = {4: (2, 3, 1, 0), 2: (1, 0)}  # from PyTorch's (out, in, H, W) and (out, in) to Keras'
RESNET = {
    r"(conv|bn)1": r"stem_\1",
    r"layer(\d)\.(\d+)\.(conv|bn)(\d)": r"stage\1_block\2_\4_\3",
    r"layer(\d)\.(\d+)\.downsample\.0": r"stage\1_block\2_skip_conv",
    r"layer(\d)\.(\d+)\.downsample\.1": r"stage\1_block\2_skip_bn",
    r"fc|linear": "logits",
}
GOOGLENET = {
    r"conv1\.(conv|bn)": r"conv1_\1",
    r"conv2\.(conv|bn)": r"conv2_reduce_\1",
    r"conv3\.(conv|bn)": r"conv2_\1",
    r"inception(..)\.branch1\.(conv|bn)": r"\1_1x1_\2",
    r"inception(..)\.branch2\.0\.(conv|bn)": r"\1_3x3_reduce_\2",
    r"inception(..)\.branch2\.1\.(conv|bn)": r"\1_3x3_\2",
    r"inception(..)\.branch3\.0\.(conv|bn)": r"\1_5x5_reduce_\2",
    r"inception(..)\.branch3\.1\.(conv|bn)": r"\1_5x5_\2",
    r"inception(..)\.branch4\.1\.(conv|bn)": r"\1_pool_project_\2",
    r"fc": "logits",
    r"aux1\.conv\.(conv|bn)": r"auxiliary_4a_reduce_\1",
    r"aux2\.conv\.(conv|bn)": r"auxiliary_4d_reduce_\1",
    r"aux1\.fc1": "auxiliary_4a_hidden",
    r"aux2\.fc1": "auxiliary_4d_hidden",
    r"aux1\.fc2": "auxiliary_4a",
    r"aux2\.fc2": "auxiliary_4d",
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
VIT = {
    r"": "tokens",  # the class token and the positions
    r"patch_embed\.proj": "patches",
    r"blocks\.(\d+)\.(norm\d)": r"block\1_\2",
    r"blocks\.(\d+)\.attn": r"block\1_attention",
    r"blocks\.(\d+)\.mlp\.fc1": r"block\1_expand",
    r"blocks\.(\d+)\.mlp\.fc2": r"block\1_project",
    r"norm": "norm",
    r"head": "logits",
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


@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_is_that_of_torchvision(depth):
    models = reference_module("torchvision.models")
    reference = getattr(models, f"resnet{depth}")()
    model = zoo.create("resnet", (100, 100, 3), 1000, depth=depth)
    transplant(renamed(by_layer(randomize(reference)), RESNET), model)
    assert_equal_logits(model, reference, 100)


def test_mobilenet_is_that_of_torchvision():
    reference = reference_module("torchvision.models").mobilenet_v2()
    model = zoo.create("mobilenet", (100, 100, 3), 1000, epsilon=1e-5)
    # A third of its convolutions have no ReLU: with 2, values and rounding errors grow.
    transplant(in_order(by_layer(randomize(reference, gain=1.4)), model), model)
    assert_equal_logits(model, reference, 100)


def test_googlenet_is_that_of_torchvision():
    models = reference_module("torchvision.models")
    reference = models.googlenet(aux_logits=False, transform_input=False, init_weights=False)
    model = zoo.create("googlenet", (224, 224, 3), 1000)
    transplant(renamed(by_layer(randomize(reference)), GOOGLENET), model)
    assert_equal_logits(model, reference, 224)


def test_googlenets_auxiliary_heads_are_those_of_torchvision():
    models = reference_module("torchvision.models")
    reference = models.googlenet(aux_logits=True, transform_input=False, init_weights=False)
    model = zoo.create("googlenet", (224, 224, 3), 1000, auxiliary=True)
    layers = renamed(by_layer(randomize(reference)), GOOGLENET)
    for name in ("auxiliary_4a", "auxiliary_4d"):
        hidden = layers[f"{name}_hidden"]
        hidden[0] = flattened_last(hidden[0], model, f"{name}_flatten")
    transplant(layers, model)
    assert_equal_logits(model, reference, 224)

    def logits(head, module, x):  # PyTorch's program computes them in training alone
        maps = []
        hook = module.register_forward_hook(lambda *call: maps.append(call[-1]))
        reference(x)
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
def test_vgg_is_that_of_torchvision(size, pool):
    reference = reference_module("torchvision.models").vgg11(init_weights=False)
    model = zoo.create("vgg", (size, size, 3), 1000, depth=11, pool=pool)
    layers = in_order(by_layer(randomize(reference)), model)
    layers["fc1"][0] = flattened_last(layers["fc1"][0], model)
    transplant(layers, model)
    assert_equal_logits(model, reference, size)


def test_vgg_with_batch_norm_is_that_of_torchvision():
    reference = reference_module("torchvision.models").vgg11_bn(init_weights=False)
    model = zoo.create("vgg", (64, 64, 3), 1000, depth=11, batch_norm=True, pool=7)
    layers = in_order(by_layer(randomize(reference)), model)
    layers["fc1"][0] = flattened_last(layers["fc1"][0], model)
    for name in [name for name in layers if name.startswith("block") and "norm" not in name]:
        bias = layers[name].pop()  # the mean is subtracted behind it, so one of them is enough
        layers[f"{name}_norm"][2] = layers[f"{name}_norm"][2] - bias
    transplant(layers, model)
    assert_equal_logits(model, reference, 64)


def test_vit_is_that_of_timm():
    reference = reference_module("timm").create_model("vit_tiny_patch16_224")
    model = zoo.create("vit", (224, 224, 3), 1000, size="Ti")
    layers = by_layer(randomize(reference))
    for name in [name.removesuffix(".qkv") for name in layers if name.endswith(".qkv")]:
        kernels, biases = (np.split(part, 3, axis=-1) for part in layers.pop(f"{name}.qkv"))
        parts = [part for pair in zip(kernels, biases, strict=True) for part in pair]
        layers[name] = parts + layers.pop(f"{name}.proj")
    transplant(renamed(layers, VIT), model)
    assert_equal_logits(model, reference, 224)


def cifar10_errors(depth, count):
    """Count the test images of CIFAR-10, of the first ones, that trained weights classify wrongly.

    Args:
        depth: 20, 32 or 56.
        count: of images, 10,000 at most.
    """
    folder = pathlib.Path(os.environ["ZOO_DATA"])
    model = zoo.create("resnet", (32, 32, 3), 10, depth=depth)
    with np.load(folder / "resnet_cifar10" / f"resnet{depth}.npz") as arrays:
        transplant(renamed(by_layer(arrays), RESNET), model)
    with np.load(folder / "cifar10" / "cifar10.npz") as data:
        images, labels = data["x_test"][:count], data["y_test"][:count]
    x = (images / np.float32(255) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    logits = model.predict(x.astype(np.float32), batch_size=100, verbose=0)
    return int((logits.argmax(axis=-1) != labels.ravel()).sum())


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
def test_trained_resnet_20_makes_its_errors_on_the_first_test_images_of_cifar10():
    # All 10,000 images take 20 s, and give the published 827 errors; depths 32 and 56, 737 and 661.
    assert cifar10_errors(20, 1_000) == 80
