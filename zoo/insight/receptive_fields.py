"""Receptive fields: how much of the input a value of a layer has seen.

Araujo, Norris & Sim, Distill 2019, https://distill.pub/2019/computing-receptive-fields: the
receptive field of layer k is l_k = l_{k-1} + (f_k - 1) j_{k-1}, where f_k is the size of its kernel
and j_{k-1} the product of the strides before it. Where branches meet, the largest counts.
"""

import dataclasses
import math

from keras import layers

ALL = math.inf  # the receptive field of what sees the whole input
RECURRENT = (layers.RNN, layers.Bidirectional)
ATTENTION = (layers.MultiHeadAttention, layers.GroupQueryAttention, layers.Attention)
MOVING = ("Permute", "Transpose", "Moveaxis", "Swapaxes")  # the last axis may hold places then
REDUCING = ("Max", "Min", "Mean", "Sum", "Prod", "Var", "Std", "Logsumexp", "Any", "All")


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a value of a tensor has seen of the input.

    Attributes:
        field: the receptive field, values along an axis; ALL for the whole input.
        stride: values of the input between neighbours.
        flat: whether the last axis holds places too, as after a flatten layer.
    """

    field: float = 1
    stride: float = 1
    flat: bool = False


def after(operation, inputs, seen, output, options):
    """Return what the output of an operation has seen.

    Args:
        operation: a layer or an operation of `keras.ops`.
        inputs: its symbolic inputs.
        seen: what they have seen.
        output: its first symbolic output.
        options: keyword arguments of the call.
    """
    field = max((state.field for state in seen), default=1)
    stride = max((state.stride for state in seen), default=1)
    flat = any(state.flat for state in seen)
    kind = type(operation).__name__
    whole = Seen(ALL, stride, False)
    if isinstance(operation, layers.TimeDistributed):
        return after(operation.layer, inputs, seen, output, options)
    if isinstance(operation, (*RECURRENT, *ATTENTION)) or kind.startswith("Global"):
        return whole
    if isinstance(operation, layers.Dense | layers.EinsumDense):
        return whole if flat else Seen(field, stride)
    if kind in REDUCING and output.shape[1:-1] != inputs[0].shape[1:-1]:
        return whole
    if kind in ("Matmul", "Einsum", "Dot"):
        return whole
    if kind == "Conv2DTranspose" or kind == "Conv1DTranspose":
        step = operation.strides[0]
        reach = math.ceil(operation.kernel_size[0] / step) - 1
        return Seen(field + reach * stride, stride / step, flat)
    if (step := ratio(inputs, output)) and kind.startswith(("UpSampling", "BilinearUp", "Resiz")):
        smooth = 0 if getattr(operation, "interpolation", "") == "nearest" else 1
        return Seen(field + smooth * stride, stride / step, flat)
    size, step, dilation = kernel(operation)
    if size > 1 or step > 1:
        return Seen(field + (size - 1) * dilation * stride, stride * step, flat)
    if kind in MOVING and output.shape[-1] != inputs[0].shape[-1]:
        return Seen(field, stride, flat=True)
    if kind in ("Flatten", "Reshape") and len(output.shape) == 2 and len(inputs[0].shape) > 2:
        return Seen(field, stride, flat=math.prod(inputs[0].shape[1:-1]) > 1)
    return Seen(field, stride, flat)


def kernel(operation):
    """Return the size of a layer's kernel or pooling window, its stride and its dilation."""
    for name in ("kernel_size", "pool_size"):
        if hasattr(operation, name):
            sizes = (getattr(operation, key, 1) for key in (name, "strides", "dilation_rate"))
            return [max(size) if isinstance(size, tuple | list) else size for size in sizes]
    return 1, 1, 1


def ratio(inputs, output):
    """Return by how much an output is larger than the input along the first axis of places."""
    if not inputs or len(inputs[0].shape) < 3 or len(output.shape) < 3:
        return 0
    return output.shape[1] / inputs[0].shape[1]
