"""Initial values that nothing needs: zeros of what is loaded, and none of what is only looked at.

Keras draws random values before a file replaces them. On JAX, that compiles a program for each
shape, which takes most of the time of loading.
"""

import concurrent.futures
import contextlib
import threading

import keras
import numpy as np

RANDOM = (
    keras.initializers.Orthogonal,
    keras.initializers.RandomNormal,
    keras.initializers.RandomUniform,
    keras.initializers.TruncatedNormal,
    keras.initializers.VarianceScaling,
)
LOCK = threading.RLock()


def without_weights(function):
    """Return the result of a function that builds models whose weights get shapes and no values.

    It is called in a thread of its own, with which the state ends that Keras keeps of such models.
    """

    def call():
        with keras.StatelessScope(initialize_variables=False):
            return function()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


@contextlib.contextmanager
def zeros():
    """Let random initializers return zeros to this thread; to others they return what they did."""
    with LOCK, contextlib.ExitStack() as stack:
        for initializer in RANDOM:
            stack.callback(setattr, initializer, "__call__", initializer.__call__)
            initializer.__call__ = without_drawing(initializer.__call__, threading.get_ident())
        yield


def without_drawing(draw, thread):
    """Return an initializer's `__call__` that returns zeros to a thread."""

    def call(self, shape, dtype=None, **options):
        if threading.get_ident() == thread:
            return keras.ops.convert_to_tensor(np.zeros(shape, np.float32), dtype)
        return draw(self, shape, dtype, **options)

    return call
