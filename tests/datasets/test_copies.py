"""Offline augmentation: copies beside the originals, written once."""

import numpy as np
import pytest

from datasets import copies
from datasets.splits import Arrays


@pytest.fixture
def arrays():
    """Return a split of five of eight examples."""
    x = np.arange(8, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    return Arrays(x, np.arange(8), np.array([0, 2, 3, 5, 7]), np.arange(24).reshape(8, 3))


def test_originals_come_first_and_copies_are_changed_each_in_its_way(arrays):
    calls = []

    def augment(x, y, entropy):
        calls.append(entropy)
        return x + np.float32(100 * entropy[1]), y

    more = copies.augmented(arrays, augment, 2, 7, "key")
    assert len(more) == 15
    x, y = more.take()
    np.testing.assert_array_equal(y, np.tile(arrays.rows, 3))
    wanted = np.concatenate([arrays.rows + 100 * copy for copy in range(3)])
    np.testing.assert_array_equal(x, wanted[:, None] * np.ones(3))
    np.testing.assert_array_equal(more.places, np.tile(arrays.places[arrays.rows], (3, 1)))
    assert calls == [(7, 1, 0), (7, 2, 0)]
    again = copies.augmented(arrays, augment, 2, 7, "key")
    assert len(calls) == 2, "written once"
    np.testing.assert_array_equal(again.take()[0], x)
    copies.augmented(arrays, augment, 2, 7, "another key")
    assert len(calls) == 4
