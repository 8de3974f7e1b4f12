"""Files of published weights for tests, in the layouts of others, with random numbers."""

import json
import math

import h5py
import keras
import numpy as np

SMALL = {"depth": 20, "width": 0.25}  # of `resnet_arrays`


def write_safetensors(path, tensors, kinds=None):
    """Write arrays in the format of the package safetensors, which no test needs."""
    names = {"float32": "F32", "float16": "F16", "int64": "I64", "bfloat16": "BF16"}
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        content = np.ascontiguousarray(array).tobytes()
        offsets = [len(body), len(body) + len(content)]
        entry = {"dtype": names[str(array.dtype)], "shape": [*array.shape]}
        header[name] = {**entry, "data_offsets": offsets}
        body += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def write_legacy(model, path):
    """Write weights in the layout of the published files, that of Keras 2."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = keras.ops.convert_to_numpy(weight)
    return path


def resnet_arrays(classes=10, blocks=3):
    """Return random arrays of a small ResNet of 4, 8 and 16 channels, by PyTorch's names."""
    rng, values = np.random.default_rng(0), {}

    def conv_norm(conv, norm, out, channels, size=3):
        kernel = rng.normal(0, (2 / (channels * size**2)) ** 0.5, (out, channels, size, size))
        values[f"{conv}.weight"] = kernel
        values[f"{norm}.weight"], values[f"{norm}.bias"] = rng.uniform(0.5, 1.5, (2, out))
        values[f"{norm}.running_mean"] = rng.normal(0, 0.1, out)
        values[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, out)

    conv_norm("conv1", "bn1", 4, 3)
    for stage, out in enumerate((4, 8, 16), 1):
        for i in range(blocks):
            before = out // 2 if i == 0 and stage > 1 else out
            conv_norm(f"layer{stage}.{i}.conv1", f"layer{stage}.{i}.bn1", out, before)
            conv_norm(f"layer{stage}.{i}.conv2", f"layer{stage}.{i}.bn2", out, out)
    values["linear.weight"] = rng.normal(0, 0.2, (classes, 16))
    values["linear.bias"] = rng.normal(0, 0.2, classes)
    values = {name: array.astype(np.float32) for name, array in values.items()}
    return {**values, "bn1.num_batches_tracked": np.int64(7)}


def randomized(model, gain=None):
    """Draw what an untrained model leaves at zero or one; with a gain, the kernels too.

    Args:
        model: a `keras.Model`.
        gain: variance of a kernel's weights, times the inputs of an output.
    """
    rng = np.random.default_rng(0)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if gain and weight.name == "kernel":
            inputs = math.prod(shape[:2] if shape[-1] == 1 else shape[:-1])  # 1: depthwise
            weight.assign(rng.normal(0, (gain / inputs) ** 0.5, shape))
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(rng.normal(0, 0.2, shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
    return model


def images(*shape):
    return np.random.default_rng(1).uniform(size=shape).astype(np.float32)


def assert_equal_outputs(ours, expected):
    ours, expected = (keras.ops.convert_to_numpy(x) for x in (ours, expected))
    assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 1e-3 * np.abs(expected).max()
