"""Choosing and weighing forecasters by their errors on examples they were not trained on.

The squared error of any weighted mean of members follows from the M x M mean products of their
errors, so the outputs are gone through once. Weights (M,) are not below 0 and sum to 1, and the
mean is of values.
"""

import numpy as np
from scipy.optimize import minimize


def products(outputs, y, block=256):
    """Return the mean products of members' errors, (M, M) float64.

    Args:
        outputs: list of M arrays (n, ...), what members say.
        y: observed values (n, ...).
        block: examples that are worked on at a time.
    """
    total, count = np.zeros((len(outputs), len(outputs))), 0
    for start in range(0, len(y), block):
        some = slice(start, start + block)
        truth = np.asarray(y[some], np.float64)
        error = np.stack([(np.asarray(one[some], np.float64) - truth).ravel() for one in outputs])
        total, count = total + error @ error.T, count + truth.size
    return total / count


def search(matrix):
    """Return the weights (M,) of the mean that has the least squared error: a convex problem."""
    count, scale = len(matrix), np.trace(matrix) / len(matrix)
    found = minimize(
        lambda w: w @ matrix @ w / scale,
        np.full(count, 1 / count),
        jac=lambda w: 2 * matrix @ w / scale,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    weights = np.maximum(found.x, 0)
    return weights / weights.sum()


def select(matrix, rounds=25):
    """Choose members one by one, with replacement: the one that improves the mean the most.

    Caruana et al., ICML 2004, "Ensemble selection from libraries of models", Sec. 2.1-2.2.

    Returns:
        (weights, history): a list of {"added": index, "score": the squared error of the mean}.

    Raises:
        ValueError: if there is no round.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds choose no member. Give 1 or more")
    counts, history, best = np.zeros(len(matrix)), [], None
    for size in range(1, rounds + 1):
        tried = (counts + np.eye(len(matrix))) / size
        scores = np.einsum("im,mn,in->i", tried, matrix, tried)
        added = int(np.argmin(scores))
        counts[added] += 1
        history.append({"added": added, "score": float(scores[added])})
        if best is None or scores[added] < best[0]:
            best = float(scores[added]), counts / size
    return best[1], history
