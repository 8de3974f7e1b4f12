"""Digests of examples: stretches of a series that are hashed together have their own digests."""

import numpy as np
import pytest

from datasets import examples

KINDS = {
    "numbers": lambda x: x,
    "whole numbers": lambda x: np.abs(np.round(x)),
    "constant": lambda x: np.full_like(x, 3),
    "gaps": lambda x: np.where(x > 40, np.nan, x),
    "infinite": lambda x: np.where(x > 40, np.inf, x),
    "steps": lambda x: np.repeat(x[::40], 40, axis=0)[: len(x)],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5,), (33, 1), (100, 7), (48, 2, 5), (40, 600), (17, 1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16"])
def test_stretches_have_the_digests_that_they_have_alone(dtype, shape, kind):
    x = np.random.default_rng(0).normal(scale=50, size=shape)
    with np.errstate(invalid="ignore"):
        values = KINDS[kind](x).astype(dtype)
    starts = range(0, len(values), examples.STEPS)
    parts = [values[start : start + examples.STEPS] for start in starts]
    alone = [
        examples.digest(part, number) if (part != part[:1]).any() else 0
        for number, part in enumerate(parts)
    ]
    assert examples.of_steps(values) == alone


def test_a_digest_knows_values_shape_and_place():
    x = np.arange(12.0)
    assert examples.digest(x) == examples.digest(x.astype("uint8")) == examples.digest(x[None])
    others = [x[::-1], x.reshape(3, 4), x + 0.5, np.append(x, 0)]
    assert len({examples.digest(x), *map(examples.digest, others), examples.digest(x, 1)}) == 6
