"""Keras' LSTM and GRU where no cuDNN is: equal weights and answers, faster programs.

On a GPU, and wherever a case is not the usual one, the layers do what Keras' own do.
"""

import keras
import numpy as np
from keras import ops


def cudnn():
    """Return what Keras' layers take as `use_cudnn`: False, so that XLA compiles them, without GPU.

    With "auto" Keras never compiles a model of such layers on TensorFlow, GPU or not.
    """
    devices = keras.distribution.list_devices()
    return "auto" if any(name.startswith(("gpu", "cuda")) for name in devices) else False


@keras.saving.register_keras_serializable("zoo")
class GRU(keras.layers.GRU):
    """Keras' layer, compiled by XLA where there is no GPU."""

    def __init__(self, units, **options):
        super().__init__(units, **{"use_cudnn": cudnn()} | options)


@keras.saving.register_keras_serializable("zoo")
class LSTM(keras.layers.LSTM):
    """Keras' layer, computed by `lstm` where there is no GPU.

    Padding, dropout inside the layer, kept states and activations of choice are left to Keras.
    """

    def __init__(self, units, **options):
        super().__init__(units, **{"use_cudnn": cudnn()} | options)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Return the last output, those of all steps, and states, which only Keras' way keeps."""
        kept = self.stateful or self.return_state or self.unroll
        functions = self.activation, self.recurrent_activation
        usual = functions == (keras.activations.tanh, keras.activations.sigmoid) and self.use_bias
        dropped = self.dropout or self.recurrent_dropout
        if self.use_cudnn or mask is not None or kept or dropped or not usual:
            return super().inner_loop(sequences, initial_state, mask, training)
        cell = self.cell
        x = ops.swapaxes(sequences, 0, 1)
        if self.go_backwards:
            x = ops.flip(x, axis=0)
        z = ops.matmul(flat(x), cell.kernel) + cell.bias
        z = ops.reshape(z, (*ops.shape(x)[:2], z.shape[-1]))
        u = ops.copy(cell.recurrent_kernel)  # own gradients are for tensors, not for variables
        outputs = ops.swapaxes(lstm(z, u, *initial_state), 0, 1)
        return outputs[:, -1], outputs, initial_state


@ops.custom_gradient
def lstm(z, u, h, c):
    """Run an LSTM over inputs already multiplied by their weights, in a form that suits XLA.

    Time comes first, so that a step is one slice. All gates are one tanh, as σ(a) is
    (1 + tanh(a / 2)) / 2: XLA computes it once, and each sigmoid anew for every use. Backwards, the
    loop makes only the gradients of z; those of the weights are one product behind it, and all that
    needs no loop is done for all steps at once.

    Args:
        z: (T, B, 4 U), input, forget, memory and output gate side by side, as Keras orders them.
        u: (U, 4 U), the weights of the last output.
        h: (B, U), the output before the first step.
        c: (B, U), the memory before the first step.

    Returns:
        The outputs (T, B, U); first derivatives only.
    """

    def forward(state, z):
        h, c = state
        i, f, g, o = gates(z + ops.matmul(h, u))
        c = f * c + i * g
        h = o * ops.tanh(c)
        return (h, c), (h, c)

    _, (hs, cs) = ops.scan(forward, (h, c), z)

    def gradient(*arguments, upstream=None):
        given = arguments[0] if upstream is None else upstream
        h_before = ops.concatenate([h[None], hs[:-1]])
        c_before = ops.concatenate([c[None], cs[:-1]])
        i, f, g, o = gates(z + ops.matmul(h_before, u))
        y = ops.tanh(cs)
        # How z acts on the memory, by its first three gates, and on the output, by the fourth.
        slopes = [g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g), y * o * (1 - o)]

        def backward(state, step):
            dz, dc = state
            given, f, slope, through = step
            dh = given + ops.matmul(dz, ops.transpose(u))
            dc = dc + dh * through
            dz = ops.concatenate([dc, dc, dc, dh], axis=-1) * slope
            return (dz, dc * f), (dz, dc)

        steps = given, f, ops.concatenate(slopes, axis=-1), o * (1 - y * y)
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
    """Make one axis of steps and series: (T, B, N) to (T B, N)."""
    return ops.reshape(x, (-1, x.shape[-1]))
