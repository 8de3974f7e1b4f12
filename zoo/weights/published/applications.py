"""Weights of keras.applications: VGG, ResNet of both versions, MobileNetV2, ImageNet's or others.

Keras itself reads the file into its model, in whatever layout of HDF5 it is; the arrays of that
model are then placed by the names of its layers. Its networks differ from PyTorch's programs in
strides and padding, which the option `form` states, and in biases: those of version 2, which are
added to the sum of all blocks, are subtracted from the means of the normalisations that see it.
"""

import re

import h5py
import keras

from zoo.weights import inspection
from zoo.weights.published import filling
from zoo.weights.records import trouble

VGG = {16: "VGG16", 19: "VGG19"}
RESNET = {
    (depth, version): f"ResNet{depth}{'V2' * (version == 2)}"
    for depth in (50, 101, 152)
    for version in (1, 2)
}
EPSILON = 1.001e-5  # of their ResNets
MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # "caffe": of values to 255, blue first
CAFFE = {"pixel_mean": [*MEAN], "pixel_std": [1 / 255] * 3}
SIGNED = {"pixel_mean": [0.5] * 3, "pixel_std": [0.5] * 3}  # "tf": from -1 to 1
PREPARED = {"image_size": 224, "crop": 0.875, "interpolation": "bilinear"}


def read(path, name, options, task_options):
    """Return the `filling.Content` of a file for a model.

    Args:
        path: of an `.h5` file.
        name: of the model.
        options: of its builder, that are given: depth, version, width.
        task_options: of image classification, that are given: image_size.

    Raises:
        ValueError: if the file is damaged, or does not fit the model.
    """
    builder, arguments = reference(name, options)
    inspection.read_hdf5(path)  # in a process with limits
    count, size = classes(path), task_options.get("image_size", PREPARED["image_size"])
    first = name == "vgg" or (name == "resnet" and options.get("version", 1) == 1)
    arguments |= dict(input_shape=(size, size, 3), classes=count, weights=None)
    try:
        model = builder(**arguments, classifier_activation=None)
        model.load_weights(path)
    except Exception as error:  # of any type, for a damaged file or one of another model
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise trouble(
            path, f"it does not fit {builder.__name__} ({why})", filling.remedy(options)
        ) from error
    values = {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.weights
    }
    if first:  # blue comes first there, red here
        kernel = f"{next(layer.name for layer in model.layers if layer.weights)}/kernel"
        values[kernel] = values[kernel][:, :, ::-1]
    elif name == "resnet":
        fold_residual_biases(values)
    form = {} if name == "vgg" else {"form": "keras"}
    epsilon = {"epsilon": EPSILON} if name == "resnet" else {}
    return filling.Content(
        arrays=values,
        count=count,
        options={**form, **epsilon, **(CAFFE if first else SIGNED)},
        task_options=PREPARED,
        labels=None,
        places=lambda ours: filling.from_keras(ours, names(ours, name)),
        unused=lambda ours: (),
    )


def reference(name, options):
    """Return the function of keras.applications that builds a model, and arguments for it.

    Raises:
        ValueError: if there is none.
    """
    if name == "vgg":
        known = VGG.get(options.get("depth", 16))
    elif name == "resnet":
        known = RESNET.get((options.get("depth", 50), options.get("version", 1)))
    else:
        known = {"mobilenet": "MobileNetV2"}.get(name)
    if known is None:
        why = "keras.applications has no such model"
        raise trouble(name, why, "Use vgg of depth 16 or 19, resnet 50, 101 or 152, or mobilenet")
    alpha = {"alpha": options.get("width", 1.0)} if name == "mobilenet" else {}
    return getattr(keras.applications, known), alpha


def classes(path):
    """Return the number of classes of the last layer in an HDF5 file.

    Raises:
        ValueError: if its last layer is not dense, as in files without the classifier.
    """
    with h5py.File(path) as file:
        file = file.get("model_weights", file)
        if "layer_names" in file.attrs:
            groups = [file[name] for name in file.attrs["layer_names"]]
            shapes = [[group[w].shape for w in group.attrs["weight_names"]] for group in groups]
            last = next((shape for shape in reversed(shapes) if shape), [])
        else:
            dense = [key for key in file.get("layers", ()) if re.fullmatch(r"dense(_\d+)?", key)]
            dense.sort(key=lambda key: int(key.partition("_")[2] or 0))
            arrays = file["layers"][dense[-1]]["vars"].values() if dense else ()
            last = [array.shape for array in arrays]
    if not last or len(last[0]) != 2:
        why = "it has no layer of classes at its end"
        raise trouble(path, why, "Use the file with the classifier, without notop in its name")
    return last[0][1]


def fold_residual_biases(values):
    """Subtract the biases that version 2 adds to the sum of its blocks from the means behind them.

    Args:
        values: arrays by name; changed in place.
    """
    total = 0.0
    blocks = {re.match(r"conv\d_block\d+", name)[0] for name in values if "_block" in name}
    for block in sorted(blocks, key=lambda name: [*map(int, re.findall(r"\d+", name))]):
        mean, skip = f"{block}_preact_bn/moving_mean", values.pop(f"{block}_0_conv/bias", None)
        values[mean] = values[mean] - total
        total = (total if skip is None else skip) + values.pop(f"{block}_3_conv/bias")
    values["post_bn/moving_mean"] = values["post_bn/moving_mean"] - total


def names(model, name):
    """Return the name in keras.applications of each layer with weights of our model."""
    version = 2 if any(layer.name == "last_norm" for layer in model.layers) else 1
    return {layer.name: named(layer.name, name, version) for layer in model.layers if layer.weights}


def named(layer, name, version):
    """Return the name of one layer."""
    if layer == "logits" or name == "vgg":
        return "predictions" if layer == "logits" else layer
    part, _, kind = layer.rpartition("_")
    if name == "mobilenet":
        if part in ("stem", "last"):
            own = "Conv1" if part == "stem" else "Conv_1"
            tail = {"stem": f"bn_{own}", "last": f"{own}_bn"}[part]
            return own if kind == "conv" else tail
        number, role = re.fullmatch(r"block(\d+)_(\w+)", part).groups()
        place = "expanded_conv" if number == "1" else f"block_{int(number) - 1}"
        return f"{place}_{role}" + "_BN" * (kind == "norm")
    kind = "bn" if kind == "norm" else kind
    if part == "stem":
        return f"conv1_{kind}"
    if part == "last":
        return "post_bn"
    stage, block, place = re.fullmatch(r"stage(\d)_block(\d+)_(\w+)", part).groups()
    if place == "skip":
        place = "0"
    elif kind == "bn" and version == 2:  # each is in front of its convolution here
        place = {"1": "preact", "2": "1", "3": "2"}[place]
    return f"conv{int(stage) + 1}_block{block}_{place}_{kind}"
