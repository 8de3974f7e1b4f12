"""Gradients of a scalar with respect to a tensor, on every backend.

Keras computes gradients of weights in `fit`, and has no function for those of an input. This is the
only file that asks which backend is used; the backend is imported when it is needed.

    value, slope = gradients.of(lambda x: ops.sum(model(x, training=False)[:, 3]))(images)
"""

import keras
from keras import ops


def of(function):
    """Return the function that computes a scalar function and its gradient.

    Args:
        function: (x, *rest) to a scalar tensor. It may call models, and must not change their
            state: in training mode, batch normalization does.

    Returns:
        A function (x, *rest), tensors or arrays, to the scalar and its gradient with respect to x,
        a tensor of the shape of x; where nothing depends on x it is 0.
    """
    backend = keras.config.backend()
    differentiated = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend](function)

    def gradient(x, *rest):
        return differentiated(ops.convert_to_tensor(x), *rest)

    return gradient


def compiled(function):
    """Return a function of arrays or tensors, compiled where the backend does that: not by PyTorch.

    It is compiled for each combination of shapes, so batches should have one shape.
    """
    backend, run = keras.config.backend(), function
    if backend == "tensorflow":
        import tensorflow

        run = tensorflow.function(function)
    elif backend == "jax":
        import jax

        run = jax.jit(function)
    return lambda *arrays: run(*map(ops.convert_to_tensor, arrays))


def _tensorflow(function):
    import tensorflow

    def gradient(x, *rest):
        with tensorflow.GradientTape() as tape:
            tape.watch(x)
            value = function(x, *rest)
        return value, tape.gradient(value, x, unconnected_gradients="zero")

    return gradient


def _jax(function):
    import jax

    return jax.value_and_grad(function)


def _torch(function):
    import torch

    def gradient(x, *rest):
        with torch.enable_grad():  # Keras' predictions turn it off
            x = x.detach().requires_grad_(True)
            value = function(x, *rest)
            (slope,) = torch.autograd.grad(value, x, allow_unused=True)
        return value.detach(), ops.zeros_like(x) if slope is None else slope

    return gradient
