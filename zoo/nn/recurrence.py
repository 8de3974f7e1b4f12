"""Keras' LSTM and GRU without cuDNN: the same weights and outputs, computed faster.

On a GPU, and for options other than the defaults, the layers fall back to those of Keras.
"""

import re

import keras
import numpy as np
from keras import ops


def cudnn():
    """Return `use_cudnn` for Keras' layers: "auto" with a GPU, else False, so that XLA is used.

    With "auto" Keras never compiles a model of such layers on TensorFlow, with or without GPU.
    """
    devices = keras.distribution.list_devices()
    return "auto" if any(name.startswith(("gpu", "cuda")) for name in devices) else False


def keeps_masks(version):
    """Return whether recurrent layers of a version of Keras do not propagate masks.

    They do not since 3.16. Only functional models store in their configuration which layers get a
    mask.

    Args:
        version: a string, "" if unknown.
    """
    number = re.match(r"(\d+)\.(\d+)", version)
    return bool(number) and tuple(map(int, number.groups())) >= (3, 16)


def recurrent_layers(model):
    """Return the recurrent and time-distributed layers of a model, at any depth."""
    kinds = keras.layers.RNN, keras.layers.Bidirectional, keras.layers.TimeDistributed
    return [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]


@keras.saving.register_keras_serializable("zoo")
class GRU(keras.layers.GRU):
    """Keras' layer, compiled by XLA if there is no GPU."""

    def __init__(self, units, **options):
        super().__init__(units, **{"use_cudnn": cudnn()} | options)


@keras.saving.register_keras_serializable("zoo")
class LSTM(keras.layers.LSTM):
    """Keras' layer, computed by `lstm` if there is no GPU.

    With masks, dropout, returned or persistent states or other activations, Keras computes it.
    """

    def __init__(self, units, **options):
        super().__init__(units, **{"use_cudnn": cudnn()} | options)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Return the last output, the outputs of all steps, and states (valid only from Keras)."""
        states = self.stateful or self.return_state or self.unroll
        functions = self.activation, self.recurrent_activation
        default = functions == (keras.activations.tanh, keras.activations.sigmoid) and self.use_bias
        dropped = self.dropout or self.recurrent_dropout
        if self.use_cudnn or mask is not None or states or dropped or not default:
            return super().inner_loop(sequences, initial_state, mask, training)
        cell = self.cell
        x = ops.swapaxes(sequences, 0, 1)
        if self.go_backwards:
            x = ops.flip(x, axis=0)
        z = ops.matmul(flat(x), cell.kernel) + cell.bias
        z = ops.reshape(z, (*ops.shape(x)[:2], z.shape[-1]))
        u = ops.copy(cell.recurrent_kernel)  # custom gradients take tensors, not variables
        outputs = ops.swapaxes(lstm(z, u, *initial_state), 0, 1)
        return outputs[:, -1], outputs, initial_state


@ops.custom_gradient
def lstm(z, u, h, c):
    """Run an LSTM over inputs already multiplied by their weights, efficiently under XLA.

    Time is the first axis, so that a step is one slice. All gates use one tanh, since σ(a) is
    (1 + tanh(a / 2)) / 2: XLA computes it once, but recomputes a sigmoid for every use. In the
    backward pass, the loop computes only the gradients of z; those of the weights are one product
    after it, and everything that needs no loop is computed for all steps at once.

    Args:
        z: (T, B, 4 U), input, forget, cell and output gate concatenated in Keras' order.
        u: (U, 4 U), the recurrent weights.
        h: (B, U), the initial hidden state.
        c: (B, U), the initial cell state.

    Returns:
        The outputs (T, B, U), with first derivatives only.
    """

    def forward(state, z):
        h, c = state
        i, f, g, o = gates(z + ops.matmul(h, u))
        c = f * c + i * g
        h = o * ops.tanh(c)
        return (h, c), (h, c)

    _, (hs, cs) = ops.scan(forward, (h, c), z)

    def gradient(*arguments, upstream=None):
        dys = arguments[0] if upstream is None else upstream
        h_before = ops.concatenate([h[None], hs[:-1]])
        c_before = ops.concatenate([c[None], cs[:-1]])
        i, f, g, o = gates(z + ops.matmul(h_before, u))
        y = ops.tanh(cs)
        # Derivatives of the cell state by z of three gates, and of the output by z of the fourth.
        slopes = [g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g), y * o * (1 - o)]

        def backward(state, step):
            dz, dc = state
            dy, f, slope, dh_dc = step
            dh = dy + ops.matmul(dz, ops.transpose(u))
            dc = dc + dh * dh_dc
            dz = ops.concatenate([dc, dc, dc, dh], axis=-1) * slope
            return (dz, dc * f), (dz, dc)

        steps = dys, f, ops.concatenate(slopes, axis=-1), o * (1 - y * y)
        zeros = ops.zeros_like(z[0]), ops.zeros_like(c)
        (first, dc), (dz, _) = ops.scan(backward, zeros, steps, reverse=True)
        du = ops.matmul(ops.transpose(flat(h_before)), flat(dz))
        return dz, du, ops.matmul(first, ops.transpose(u)), dc

    return hs, gradient


def gates(z):
    """Return the four gates (..., U) of z (..., 4 U): σ, σ, tanh, σ."""
    scale = np.repeat([0.5, 0.5, 1.0, 0.5], z.shape[-1] // 4)
    scale = ops.cast(scale, z.dtype)
    return ops.split(ops.tanh(z * scale) * scale + (1 - scale), 4, axis=-1)


def flat(x):
    """Merge the axes of steps and series: (T, B, N) to (T B, N)."""
    return ops.reshape(x, (-1, x.shape[-1]))
