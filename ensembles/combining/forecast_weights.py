"""Selection and weighting of forecasters by their errors on examples they were not trained on.

The mean squared error of any weighted mean of members follows from the (M, M) matrix of mean
products of their errors, so one pass over the outputs is enough. Weights (M,) are non-negative and
sum to 1.
"""

import numpy as np
from scipy.optimize import minimize


def products(outputs, y, block=256):
    """Return the mean products of members' errors, (M, M) float64.

    Args:
        outputs: list of M arrays (n, ...), the members' forecasts.
        y: observed values (n, ...).
        block: number of examples per step.
    """
    total, count = np.zeros((len(outputs), len(outputs))), 0
    for start in range(0, len(y), block):
        rows = slice(start, start + block)
        observed = np.asarray(y[rows], np.float64)
        forecasts = [np.asarray(array[rows], np.float64) for array in outputs]
        errors = np.stack([(forecast - observed).ravel() for forecast in forecasts])
        total, count = total + errors @ errors.T, count + observed.size
    return total / count


def search(matrix):
    """Return the weights (M,) that minimise the mean squared error, a convex problem."""
    count, scale = len(matrix), np.trace(matrix) / len(matrix)
    result = minimize(
        lambda w: w @ matrix @ w / scale,
        np.full(count, 1 / count),
        jac=lambda w: 2 * matrix @ w / scale,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    weights = np.maximum(result.x, 0)
    return weights / weights.sum()


def select(matrix, rounds=25):
    """Select members greedily, with replacement: in each round the one that improves the mean most.

    Caruana et al., ICML 2004, "Ensemble selection from libraries of models", Sec. 2.1-2.2.

    Returns:
        (weights, history): a list of {"added": index, "score": mean squared error of the mean}.

    Raises:
        ValueError: if rounds is below 1.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds select no member. Give 1 or more")
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
