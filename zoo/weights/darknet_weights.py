"""Darknet's `.weights` files: load them into a model of the zoo, and write them.

After a header, a file is float32 numbers without names or shapes: for each convolution its bias and
its kernel (out, in, height, width), or, with batch normalisation, beta, gamma, mean, variance and
kernel. They are identified only by their order, that of the layers in Darknet's configuration. The
order is derived from the graph of the model, so it also works for a loaded model. Darknet writes a
dense layer after global pooling as a convolution of size 1.
"""

import math
import os
import pathlib
import struct
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from zoo.weights.inspection import DARKNET
from zoo.weights.records import trouble

# Darknet's axes of a kernel in terms of Keras'.
AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
LARGEST = 1000  # Darknet uses versions from 1000 on as a flag for transposed matrices


class Header(NamedTuple):
    """The header of a file: the version of the format, and the number of training images seen.

    `seen` has 8 bytes from version 0.2 on, 4 bytes before.
    """

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    def pack(self):
        """Return the bytes of the header."""
        return struct.pack(self.form(), *self)

    def form(self):
        """Return the format for `struct`."""
        return "<3iQ" if self.major * 10 + self.minor >= 2 else "<3ii"


class Section(NamedTuple):
    """A layer with a kernel, and the batch normalisation that follows it, or None."""

    layer: keras.Layer
    norm: keras.Layer | None

    def is_complete(self):
        """Return whether the layer has either a bias or batch normalisation."""
        return self.layer.use_bias != (self.norm is not None)

    def variables(self):
        """Return the variables in the order of the file."""
        if self.norm is None:
            return [self.layer.bias, self.layer.kernel]
        norm = self.norm
        return [norm.beta, norm.gamma, norm.moving_mean, norm.moving_variance, self.layer.kernel]

    def size(self):
        """Return the number of values in the file."""
        return sum(math.prod(variable.shape) for variable in self.variables())


def matches(path):
    """Return whether a file name is Darknet's, such as yolov3.weights or darknet53.conv.74."""
    return DARKNET.search(pathlib.Path(path).name) is not None


def header(path):
    """Return the `Header` of a file.

    Raises:
        ValueError: if it is not a Darknet file.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(20)
    except OSError as error:
        raise trouble(path, f"it cannot be read ({error.strerror})", "Use another") from error
    try:
        version = Header(*struct.unpack_from("<3i", start))
        if not all(0 <= number < LARGEST for number in version[:2]):
            raise struct.error
        return Header(*struct.unpack_from(version.form(), start))
    except struct.error:
        raise trouble(path, "it lacks the header of a Darknet file", "Use another") from None


def load(model, path, partial=False):
    """Load the weights of a file into a model: all of them, or none.

    Args:
        model: a `keras.Model` whose layers with weights are convolutions, batch normalisation,
            and dense layers after global pooling.
        path: path of the file.
        partial: accept a file that ends after one of the convolutions, such as
            darknet53.conv.74, or that has another number of classes; layers without weights in
            the file are unchanged.

    Returns:
        (loaded, missing): the paths of the weights that were loaded, and of those that were not,
        as returned by `zoo.training.finetuning.transfer.transfer`.

    Raises:
        ValueError: if the file does not fit the model, or is damaged; the message has the layer at
            which the file ends, or how many values are left over.
    """
    parts = sections(model)
    numbers = read(path)
    counts = [section.size() for section in parts]
    available, skipped = len(parts), {}
    if partial and len(numbers) != sum(counts):
        ends = np.cumsum(counts).tolist()
        if len(numbers) in ends:
            available = ends.index(len(numbers)) + 1
        else:
            skipped = other_class_sizes(model, parts, len(numbers))
    sizes = [skipped.get(i, count) for i, count in enumerate(counts)][:available]
    if len(numbers) != sum(sizes):
        raise misfit(path, parts, counts, len(numbers))
    values, offset = {}, 0
    for i, count in enumerate(sizes):
        if i not in skipped:
            values.update(split(parts[i], numbers[offset : offset + count]))
        offset += count
    loaded, missing = [], []
    for variable in model.weights:
        stored = variable.path in values
        if stored:
            variable.assign(values[variable.path])
        (loaded if stored else missing).append(variable.path.removeprefix(f"{model.name}/"))
    return loaded, missing


def save(model, path, header=None):
    """Write a model's weights into a file, atomically.

    Args:
        model: as for `load`.
        path: path of the file.
        header: a `Header`; default: version 0.2.

    Raises:
        ValueError: if Darknet files do not support a layer of the model.
    """
    path, parts = pathlib.Path(path), sections(model)
    temporary = path.with_name(f".{path.name}.half")
    with open(temporary, "wb") as file:
        file.write((header or Header()).pack())
        for section in parts:
            for variable in section.variables():
                value = ops.convert_to_numpy(variable).transpose(AXES[len(variable.shape)])
                file.write(value.astype("<f4").tobytes())
    os.replace(temporary, path)


def sections(model):
    """Return the `Section`s of a model in the order of Darknet's configuration.

    Every layer follows its inputs and directly precedes the first layer that uses it: depth-first
    from the outputs in order, with concatenated inputs from left to right.

    Raises:
        ValueError: if Darknet files do not support a layer with weights.
    """
    parts, flat = [], False
    for layer in ordered(model.outputs):
        flat = flat or isinstance(layer, layers.Flatten)
        if not layer.weights:
            continue
        last = parts[-1] if parts else None
        if isinstance(layer, layers.Conv2D | layers.Dense) and not flat:
            parts.append(Section(layer, None))
        elif isinstance(layer, layers.BatchNormalization) and last and not last.is_complete():
            parts[-1] = Section(last.layer, layer)
        else:
            raise unsupported(model, layer)
    for section in parts:
        if not section.is_complete():
            raise unsupported(model, section.layer)
    return parts


def unsupported(model, layer):
    """Return the error for a layer that Darknet files do not support."""
    return trouble(
        model.name,
        f"Darknet files do not support its layer {layer.name}",
        "Use a model of convolutions, each with batch normalisation or a bias",
    )


def ordered(tensors):
    """Return the layers that lead to tensors in topological order, depth-first."""
    visited = {}

    def visit(tensor):
        layer, node, _ = tensor._keras_history
        if layer not in visited:
            for inputs in layer._inbound_nodes[node].input_tensors:
                visit(inputs)
            visited[layer] = True

    for tensor in tensors:
        visit(tensor)
    return [layer for layer in visited if isinstance(layer, keras.Layer)]


def other_class_sizes(model, parts, total):
    """Return the sizes of the last sections in a file of `total` values with other classes.

    The output channels of their kernels are proportional to the number of classes, or of anchors
    times classes plus 5, so all sizes change in the same proportion.

    Returns:
        {index of the section: number of values}; {} if no proportion fits.
    """
    last = {layer for tensor in model.outputs for layer in last_layers(tensor)}
    rows = {i: s.layer.kernel.shape[-1] for i, s in enumerate(parts) if s.layer in last}
    unit = math.gcd(*rows.values())
    sizes = {i: parts[i].size() // unit for i in rows}  # per unit of rows
    fixed = sum(s.size() for i, s in enumerate(parts) if i not in rows)
    units, rest = divmod(total - fixed, sum(sizes.values()))
    if rest or units < 1:
        return {}
    return {i: units * size for i, size in sizes.items()}


def last_layers(tensor):
    """Return the last layers with weights on the paths to a tensor."""
    layer, node, _ = tensor._keras_history
    if getattr(layer, "weights", None):
        return [layer]
    inputs = layer._inbound_nodes[node].input_tensors
    return [result for item in inputs for result in last_layers(item)]


def split(section, numbers):
    """Split the numbers of a section; return the values of its variables by their paths."""
    values, offset = {}, 0
    for variable in section.variables():
        axes = AXES[len(variable.shape)]
        shape = [variable.shape[axis] for axis in axes]
        part = numbers[offset : offset + math.prod(shape)].reshape(shape)
        values[variable.path] = part.transpose(np.argsort(axes))
        offset += part.size
    return values


def read(path):
    """Return the values of a file, (n,) float32.

    Raises:
        ValueError: if it is not a Darknet file, or damaged.
    """
    start = len(header(path).pack())
    rest = pathlib.Path(path).stat().st_size - start
    if rest % 4:
        raise trouble(path, "it ends in the middle of a number", "Copy it again")
    numbers = np.fromfile(path, "<f4", offset=start)
    if not np.isfinite(numbers).all():
        raise trouble(path, "it is damaged: not all of its values are finite", "Copy it again")
    return numbers


def misfit(path, parts, counts, total):
    """Return the error for a file of `total` values that do not fit the sections."""
    expected = sum(counts)
    if total > expected:
        why = f"{total - expected:,} of its {total:,} values are left over"
    else:
        i = int(np.searchsorted(np.cumsum(counts), total, side="right"))
        why = f"its {total:,} values end in layer {i + 1} of {len(parts)}"
        why += f", {parts[i].layer.name}; the model has {expected:,}"
    remedy = "Build the model with the classes, width and depth of the file"
    return trouble(path, why, remedy)
