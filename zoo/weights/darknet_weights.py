"""Darknet's `.weights` files: read into a model of the zoo, and written from one.

After a header, a file is float32 numbers without names or shapes: for each convolution its bias and
its kernel (out, in, height, width), or, if it is normalised, shift, scale, mean, variance and
kernel. Only their order, that of Darknet's configuration, tells which is whose. It is found in the
model's graph, so a model that was saved and loaded has it too. A dense layer behind global pooling
is what Darknet calls a convolution of size 1.
"""

import math
import os
import pathlib
import re
import struct
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from zoo.weights.records import trouble

# Darknet's axes of a kernel in terms of Keras'.
AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
LARGEST = 1000  # from here on Darknet takes a version for a sign that matrices are transposed


class Header(NamedTuple):
    """What begins a file: the version of the format, and how many images were trained on.

    From version 0.2 on, `seen` takes 8 bytes, before that 4.
    """

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    def pack(self):
        """Return its bytes."""
        return struct.pack(self.form(), *self)

    def form(self):
        """Return its form, for `struct`."""
        return "<3iQ" if self.major * 10 + self.minor >= 2 else "<3ii"


class Section(NamedTuple):
    """A layer with a kernel, and the normalisation that follows it or None."""

    layer: keras.Layer
    norm: keras.Layer | None

    def whole(self):
        """Tell whether the layer has a bias, or normalisation instead."""
        return self.layer.use_bias != (self.norm is not None)

    def variables(self):
        """Return its variables in the order of the file."""
        if self.norm is None:
            return [self.layer.bias, self.layer.kernel]
        norm = self.norm
        return [norm.beta, norm.gamma, norm.moving_mean, norm.moving_variance, self.layer.kernel]

    def size(self):
        """Return how many numbers it takes."""
        return sum(math.prod(variable.shape) for variable in self.variables())


def matches(path):
    """Tell from its name whether a file is Darknet's, as yolov3.weights or darknet53.conv.74."""
    return re.search(r"\.weights$|\.conv\.\d+$", pathlib.Path(path).name) is not None


def header(path):
    """Return the `Header` of a file.

    Raises:
        ValueError: if it is none of Darknet's.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(20)
    except OSError as error:
        raise trouble(path, f"it cannot be read ({error.strerror})", "Give another") from error
    try:
        found = Header(*struct.unpack_from("<3i", start))
        if not all(0 <= number < LARGEST for number in found[:2]):
            raise struct.error
        return Header(*struct.unpack_from(found.form(), start))
    except struct.error:
        raise trouble(path, "it does not begin as Darknet's files do", "Give another") from None


def load(model, path, partial=False):
    """Copy the numbers of a file into a model: all that are meant, or none.

    Args:
        model: a `keras.Model` whose layers with weights are convolutions, normalisation, and dense
            layers behind global pooling.
        path: the file.
        partial: also take a file that ends behind one of the convolutions, such as
            darknet53.conv.74, or that is of another number of classes; then the layers that it
            has nothing for stay as they are.

    Returns:
        (kept, fresh): the paths of the weights that were copied, and of those that were not, as
        of `zoo.training.transfer.transfer`.

    Raises:
        ValueError: if the file does not fit the model, or is damaged; the message names the layer
            at which it runs out, or how many numbers are left over.
    """
    found = sections(model)
    numbers = read(path)
    counts = [section.size() for section in found]
    held, skipped = len(found), {}
    if partial and len(numbers) != sum(counts):
        ends = np.cumsum(counts).tolist()
        if len(numbers) in ends:
            held = ends.index(len(numbers)) + 1
        else:
            skipped = of_other_classes(model, found, len(numbers))
    taken = [skipped.get(i, count) for i, count in enumerate(counts)][:held]
    if len(numbers) != sum(taken):
        raise misfit(path, found, counts, len(numbers))
    values, place = {}, 0
    for i, count in enumerate(taken):
        part = numbers[place : place + count]
        if i not in skipped:
            values.update(assigned(found[i], part))
        place += count
    kept, fresh = [], []
    for variable in model.weights:
        known = variable.path in values
        if known:
            variable.assign(values[variable.path])
        (kept if known else fresh).append(variable.path.removeprefix(f"{model.name}/"))
    return kept, fresh


def save(model, path, header=None):
    """Write a model's weights into a file, whole or not at all.

    Args:
        model: as for `load`.
        path: where.
        header: a `Header`; one of version 0.2 if None.

    Raises:
        ValueError: if the model has a layer that Darknet's files do not hold.
    """
    path, found = pathlib.Path(path), sections(model)
    half = path.with_name(f".{path.name}.half")
    with open(half, "wb") as file:
        file.write((header or Header()).pack())
        for section in found:
            for variable in section.variables():
                value = ops.convert_to_numpy(variable).transpose(AXES[len(variable.shape)])
                file.write(value.astype("<f4").tobytes())
    os.replace(half, path)


def sections(model):
    """Return the `Section`s of a model in the order of Darknet's configuration.

    There every layer stands behind all that it needs and no sooner than it is needed: outputs one
    after another, what is joined from left to right.

    Raises:
        ValueError: if a layer has weights that Darknet's files do not hold.
    """
    found, flat = [], False
    for layer in ordered(model.outputs):
        flat = flat or isinstance(layer, layers.Flatten)
        if not layer.weights:
            continue
        last = found[-1] if found else None
        if isinstance(layer, layers.Conv2D | layers.Dense) and not flat:
            found.append(Section(layer, None))
        elif isinstance(layer, layers.BatchNormalization) and last and not last.whole():
            found[-1] = Section(last.layer, layer)
        else:
            raise foreign(model, layer)
    for section in found:
        if not section.whole():
            raise foreign(model, section.layer)
    return found


def foreign(model, layer):
    """Return the error that says which layer of a model Darknet's files do not hold."""
    return trouble(
        model.name,
        f"Darknet's files do not hold its layer {layer.name}",
        "Take a model of convolutions, each normalised or with a bias",
    )


def ordered(tensors):
    """Return the layers that lead to tensors, each once, behind all that it needs."""
    done = {}

    def visit(tensor):
        layer, node, _ = tensor._keras_history
        if layer not in done:
            for each in layer._inbound_nodes[node].input_tensors:
                visit(each)
            done[layer] = True

    for tensor in tensors:
        visit(tensor)
    return [layer for layer in done if isinstance(layer, keras.Layer)]


def of_other_classes(model, found, total):
    """Return the sizes that the last sections have if a file has so many numbers in all.

    The rows of their kernels are a number for each class, or for each anchor and class, so with
    other classes all have more or fewer in the same proportion.

    Returns:
        {index of the section: how many numbers}; {} if there is no such proportion.
    """
    last = {layer for tensor in model.outputs for layer in behind(tensor)}
    rows = {i: s.layer.kernel.shape[-1] for i, s in enumerate(found) if s.layer in last}
    unit = math.gcd(*rows.values())
    sizes = {i: found[i].size() // unit for i in rows}  # for each unit of rows
    fixed = sum(s.size() for i, s in enumerate(found) if i not in rows)
    units, rest = divmod(total - fixed, sum(sizes.values()))
    if rest or units < 1:
        return {}
    return {i: units * size for i, size in sizes.items()}


def behind(tensor):
    """Return the layers with weights between which and a tensor there is no other."""
    layer, node, _ = tensor._keras_history
    if getattr(layer, "weights", None):
        return [layer]
    inputs = layer._inbound_nodes[node].input_tensors
    return [found for each in inputs for found in behind(each)]


def assigned(section, numbers):
    """Return the values of a section's variables by their paths."""
    values, place = {}, 0
    for variable in section.variables():
        axes = AXES[len(variable.shape)]
        shape = [variable.shape[axis] for axis in axes]
        part = numbers[place : place + math.prod(shape)].reshape(shape)
        values[variable.path] = part.transpose(np.argsort(axes))
        place += part.size
    return values


def read(path):
    """Return the numbers of a file, (n,) float32.

    Raises:
        ValueError: if it is none of Darknet's, or damaged.
    """
    start = len(header(path).pack())
    rest = pathlib.Path(path).stat().st_size - start
    if rest % 4:
        raise trouble(path, "it ends amid a number", "Copy it again")
    numbers = np.fromfile(path, "<f4", offset=start)
    if not np.isfinite(numbers).all():
        raise trouble(path, "it holds numbers that are not finite: it is damaged", "Copy it again")
    return numbers


def misfit(path, found, counts, total):
    """Return the error that says how a file of so many numbers does not fit sections."""
    wanted = sum(counts)
    if total > wanted:
        why = f"{total - wanted:,} of its {total:,} numbers are left over"
    else:
        i = int(np.searchsorted(np.cumsum(counts), total, side="right"))
        why = f"its {total:,} numbers run out in layer {i + 1} of {len(found)}"
        why += f", {found[i].layer.name}; the model has {wanted:,}"
    remedy = "Build the model with the classes, width and depth that the file was made with"
    return trouble(path, why, remedy)
