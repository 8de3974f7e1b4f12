"""Initial values of what is loaded are not drawn, and those of everything else are."""

import threading

import keras
import numpy as np
import pytest

from zoo.weights import initial

NAMES = ["glorot_uniform", "he_normal", "orthogonal", "random_normal", "random_uniform"]


def drawn(name):
    """Return a value of an initializer (3, 4)."""
    return np.asarray(keras.initializers.get(name)((3, 4)))


@pytest.mark.parametrize("name", [*NAMES, "lecun_normal", "truncated_normal"])
def test_zeros_stand_for_random_values_until_the_end(name):
    with initial.zeros():
        inside = drawn(name)
    assert inside.shape == (3, 4) and inside.dtype == np.float32
    assert not inside.any() and drawn(name).any()


def test_what_is_not_random_stays():
    with initial.zeros():
        assert (drawn("ones") == 1).all() and (drawn("identity").sum() == 3)


def test_another_thread_draws_as_ever():
    values = []
    thread = threading.Thread(target=lambda: values.append(drawn("glorot_uniform")))
    with initial.zeros():
        thread.start()
        thread.join()
    assert values[0].any()


def test_an_error_ends_it():
    with pytest.raises(KeyError), initial.zeros():
        raise KeyError
    assert drawn("glorot_uniform").any()
