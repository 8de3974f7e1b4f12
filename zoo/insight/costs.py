"""What each layer sees and costs: receptive field, stride, multiply-adds and memory.

A multiply-add is one weight times one value. Biases, normalization, activations and pooling are
left out, as usual. Memory is that of the layer's output for one example in float32.
"""

import dataclasses
import math

import keras
from keras import layers

from zoo.describe import COLUMNS, one_line
from zoo.insight.receptive_fields import ALL, RECURRENT, Seen, after

FREE = 224  # size of axes that the model leaves free, unless its record has one
SIZES = {  # of a task's options, those of the free axes of its input
    "image_segmentation": ("tile_height", "tile_width"),
    "image_detection": ("image_size", "image_size"),
    "image_classification": ("image_size", "image_size"),
    "pointcloud_classification": ("points",),
    "pointcloud_segmentation": ("points",),
    "forecasting": ("window",),
}
NAME = 24  # characters of a layer's name that are shown at least


@dataclasses.dataclass(frozen=True)
class Row:
    """The line of one operation: its layer, what it has seen, and its costs."""

    operation: object
    shape: tuple
    seen: Seen
    multiply_adds: int

    @property
    def memory(self):
        """Bytes of the output for one example."""
        return 4 * math.prod(self.shape)


def strides(model):
    """Return the stride of each layer of a functional model, by its name."""
    return {row.operation.name: row.seen.stride for row in rows(model, {})}


def rows(model, record):
    """Return the `Row` of every operation of a functional model, in order.

    Args:
        model: a functional `keras.Model`.
        record: what was saved with it, for the sizes of free axes; {} for FREE.
    """
    inputs = [sized(tensor, record) for tensor in model.inputs]
    entries = []
    walk(model, inputs, [Seen() for _ in inputs], entries)
    return entries


def sized(tensor, record):
    """Return a symbolic tensor of one example, without free axes."""
    names = SIZES.get(record.get("task"), ())
    options = record.get("task_options", {})
    shape, free = [1, *tensor.shape[1:]], iter([options.get(name) for name in names])
    for axis in range(1, len(shape)):
        size = next(free, None)
        shape[axis] = shape[axis] or size or FREE
    return keras.KerasTensor(shape, tensor.dtype)


def walk(model, inputs, seen, entries):
    """Follow a model's graph from inputs of known shapes; append a `Row` for each operation.

    Returns:
        (outputs, what they have seen): lists.
    """
    known = dict(zip(map(id, model.inputs), zip(inputs, seen, strict=True), strict=True))
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                if (tensor := node.outputs[0]) is not None and id(tensor) in known:
                    spec, state = known[id(tensor)]
                    entries.append(Row(node.operation, tuple(spec.shape[1:]), state, 0))
                continue
            tensors = {key: spec for key, (spec, _) in known.items()}
            arguments, options = node.arguments.fill_in(tensors)
            before = [known[id(tensor)] for tensor in node.input_tensors]
            operation = node.operation
            if isinstance(operation, keras.Model) and hasattr(operation, "_nodes_by_depth"):
                specs, states = map(list, zip(*before, strict=True))
                specs = specs if len(specs) == len(operation.inputs) else specs[:1]
                outputs, states = walk(operation, specs, states, entries)
            else:
                outputs = operation.compute_output_spec(*arguments, **options)
                outputs = keras.tree.flatten(outputs)
                specs = [spec for spec, _ in before]
                state = after(operation, specs, [state for _, state in before], outputs[0], options)
                states = [state] * len(outputs)
                cost = multiply_adds(operation, specs, outputs[0])
                entries.append(Row(operation, tuple(outputs[0].shape[1:]), state, cost))
            for tensor, spec, state in zip(node.outputs, outputs, states, strict=True):
                known[id(tensor)] = spec, state
    pairs = [known[id(tensor)] for tensor in model.outputs]
    return [spec for spec, _ in pairs], [state for _, state in pairs]


def multiply_adds(operation, inputs, output):
    """Return the multiply-adds of an operation for one example.

    Each weight of a kernel is used once at every place of the output: of a transposed convolution
    at every place of the input, of a recurrent layer at every step.
    """
    kind = type(operation).__name__
    if kind in ("Matmul", "Dot"):
        return math.prod(output.shape[1:]) * inputs[0].shape[-1]
    if kind == "Einsum":
        return einsum(operation.subscripts, [tensor.shape for tensor in inputs])
    if not isinstance(operation, layers.Layer) or isinstance(operation, layers.Embedding):
        return 0
    count = sum(math.prod(weight.shape) for weight in operation.weights if len(weight.shape) > 1)
    places = output.shape[1:-1]
    if "Transpose" in kind or isinstance(operation, RECURRENT):
        places = inputs[0].shape[1:-1]
    elif isinstance(operation, layers.EinsumDense):
        places = inputs[0].shape[1 : 1 + len(inputs[0].shape) - 2]
    total = count * math.prod(places)
    if isinstance(operation, layers.MultiHeadAttention):
        queries, keys = inputs[0].shape[1], inputs[-1].shape[1]
        width = operation.num_heads * (operation.key_dim + operation.value_dim)
        total += queries * keys * width
    return total


def einsum(subscripts, shapes):
    """Return the multiply-adds of a sum of products: the product of all its axes' sizes."""
    terms, sizes = subscripts.replace(" ", "").split("->")[0].split(","), {}
    for term, shape in zip(terms, shapes, strict=True):
        sizes |= dict(zip(term, shape, strict=True))
    return math.prod(sizes.values())


def table(model, record):
    """Return the costs of a functional model's layers as text.

    Args:
        model: a `keras.Model`.
        record: as of `rows`.

    Raises:
        ValueError: if the model is not functional.
    """
    if not hasattr(model, "_nodes_by_depth"):
        raise ValueError(f"{model.name}: it is no graph of layers. Use show without --layers")
    lines = [("layer", "type", "output", "parameters", "field", "stride", "mult-adds", "memory")]
    entries = rows(model, record)
    for row in entries:
        count = getattr(row.operation, "count_params", int)()
        seen = row.seen
        lines.append(
            (
                one_line(row.operation.name),
                type(row.operation).__name__,
                str(row.shape),
                f"{count:,}" if count else "",
                "all" if seen.field == ALL else f"{seen.field:g}",
                f"{seen.stride:g}",
                unit(row.multiply_adds) if row.multiply_adds else "",
                f"{unit(row.memory)}B",
            )
        )
    count = sum(math.prod(weight.shape) for weight in model.weights)
    cost, memory = (
        sum(getattr(row, key) for row in entries) for key in ("multiply_adds", "memory")
    )
    lines.append(("all", "", "", f"{count:,}", "", "", unit(cost), f"{unit(memory)}B"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rest = COLUMNS - 2 - sum(widths) - 2 * (len(widths) - 1)
    widths[0] = max(NAME, widths[0] + min(rest, 0))  # shorter names if the table is too wide
    text = []
    for line in lines:
        cells = [
            f"{cell[:width]:{'<' if i < 3 else '>'}{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append(f"  {'  '.join(cells)}".rstrip())
    rule = "  " + "-" * (max(map(len, text)) - 2)
    sizes = ", ".join(str(tuple(sized(tensor, record).shape[1:])) for tensor in model.inputs)
    return "\n".join(
        [
            f"  of one example {sizes}: receptive field and stride in its pixels, points or steps;",
            "  multiply-adds of weights and products; memory of outputs in float32",
            "",
            text[0],
            rule,
            *text[1:-1],
            rule,
            text[-1],
        ]
    )


def unit(number):
    """Return a number with a prefix: 4,089,184,256 is "4.09 G"."""
    for factor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return (
                f"{number / factor:.3g}{prefix}"
                if number < 1000 * factor
                else f"{number / factor:,.0f}{prefix}"
            )
    return f"{number:g} "
