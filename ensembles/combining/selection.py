"""Ensemble selection, and fitting of weights, on examples that members were not trained on.

Both take the members' logits, a list of M arrays (n, ..., K), and labels (n, ...), -1 for void, and
return weights (M,) for the mean of probabilities, which are non-negative and sum to 1.
"""

import numpy as np
from scipy.optimize import minimize

from ensembles.evaluation import probabilities

DECIMALS = 6  # scores are rounded before comparison, unless the first one
NOTHING = 1e-4  # is closer to 0 than this


def select(outputs, y, *, rounds=25, metric="log_loss"):
    """Select members greedily, with replacement: in each round the one that improves the mean most.

    Caruana et al., ICML 2004, "Ensemble selection from libraries of models", Sec. 2.1-2.2. The
    result is the mean after the first round with the best score. Selection follows AutoGluon's
    `EnsembleSelection`: after the first round, scores are compared to six decimals, and ties are
    resolved in favour of a member that is already selected. Differences: other ties are resolved in
    favour of the first member, not at random; probabilities are clipped at 1e-7.

    If the metric is a function, the probabilities of all members are held in memory.

    Args:
        outputs: logits.
        y: labels.
        rounds: maximum number of selections, repetitions included.
        metric: "log_loss", or a function (y, probabilities (n, ..., C)) to a score, higher is
            better; it must not store or modify the array.

    Returns:
        (weights, history): history is a list of {"added": index, "score": of the mean so far}.

    Raises:
        ValueError: if rounds is below 1 or, for the log-loss, all labels are void.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds select no member. Give 1 or more")
    if metric == "log_loss":
        p, score = true_class_probabilities(outputs, y), log_likelihood
        total = np.zeros(p.shape[1])
    else:
        p, score = [probabilities.of_logits(logits) for logits in outputs], metric
        total = np.zeros_like(p[0])
    tried, history = np.empty_like(total), []
    for size in range(1, rounds + 1):
        scores = [
            score(y, np.divide(np.add(total, member, out=tried), size, out=tried)) for member in p
        ]
        added, best = best_of(scores, history)
        total += p[added]
        history.append({"added": added, "score": best})
    best = int(np.argmax([step["score"] for step in history]))
    chosen = [step["added"] for step in history[: best + 1]]
    return np.bincount(chosen, minlength=len(p)) / len(chosen), history


def best_of(scores, history):
    """Return the index of a round's best score, and this score as rounded for comparison."""
    scores = np.asarray(scores, np.float64)
    first = history[0]["score"] if history else np.nanmax(scores)
    compared = scores.round(DECIMALS) if abs(first) > NOTHING else scores
    if not history:
        added = int(np.nanargmax(scores))
    else:
        equal = np.flatnonzero(compared == np.nanmax(compared)).tolist()
        chosen = {step["added"] for step in history}
        added = next((i for i in equal if i in chosen), equal[0])
    return added, float(compared[added])


def search(outputs, y, *, metric="log_loss"):
    """Fit the weights of the mean.

    The log-likelihood of a mixture is concave in its weights, so it has a global maximum; see
    `maximum_likelihood`. Any other metric is optimised by hill climbing from these weights and from
    equal weights, which moves smaller and smaller shares from one member to another.

    Args:
        outputs: logits.
        y: labels.
        metric: as for `select`.

    Returns:
        Weights (M,).

    Raises:
        ValueError: if all labels are void.
    """
    weights = maximum_likelihood(true_class_probabilities(outputs, y))
    if metric == "log_loss":
        return weights
    p = [probabilities.of_logits(logits) for logits in outputs]
    results = [climb(p, y, metric, start) for start in (weights, np.full(len(p), 1 / len(p)))]
    return max(results, key=lambda pair: pair[0])[1]


def maximum_likelihood(truth):
    """Return the maximum-likelihood weights (M,) of the mixture of members.

    Sequential quadratic programming needs about ten passes over the labels. Expectation
    maximisation needs no solver but converges slowly: after 400 passes over 3.3 million pixels it
    was still further from the maximum.

    Args:
        truth: probability of the true class by each member, (M, v).
    """
    truth = truth.T  # (v, M)

    def loss(weights):
        weights = np.maximum(weights, 0) + 1e-12  # rounding in the solver may leave the bounds
        value, gradient = 0.0, np.zeros(len(weights))
        for (part,) in probabilities.blocks(truth):
            part = np.maximum(part, probabilities.SMALLEST, dtype=np.float64)
            mean = part @ weights
            value -= np.log(mean).sum()
            gradient -= (1 / mean) @ part
        return value / len(truth), gradient / len(truth)

    count = truth.shape[1]
    sums_to_1 = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    result = minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints=sums_to_1,
        options={"ftol": 1e-12, "maxiter": 200},
    )
    weights = np.maximum(result.x, 0)
    return weights / weights.sum()


def climb(p, y, metric, weights):
    """Move shares between members while the metric improves; return (score, weights)."""

    def score(weights):
        # Python floats keep the arrays' float32 dtype.
        pairs = zip(weights.tolist(), p, strict=True)
        return metric(y, sum(weight * member for weight, member in pairs if weight))

    best = score(weights)
    for share in (0.2, 0.1, 0.05):
        improved = True
        while improved:
            improved = False
            for source, target in np.argwhere(~np.eye(len(p), dtype=bool)):
                amount = min(share, weights[source])
                if amount <= 0:
                    continue
                tried = weights.copy()
                tried[source] -= amount
                tried[target] += amount
                if (tried_score := score(tried)) > best:
                    best, weights, improved = tried_score, tried, True
    return best, weights


def true_class_probabilities(outputs, y):
    """Return the probability of the true class by each member, (M, v), for the log-loss."""
    if not np.any(np.asarray(y) >= 0):
        raise ValueError("there is no label to fit weights to: all are void")
    members = [
        [probabilities.of_truth(probabilities.of_logits(part), labels) for part, labels in pairs]
        for pairs in (probabilities.blocks(logits, y) for logits in outputs)
    ]
    return np.stack([np.concatenate(parts) for parts in members])


def log_likelihood(y, truth):
    """Return the mean logarithm of the probabilities of the true class, in nats."""
    return float(np.mean(np.log(np.maximum(truth, probabilities.SMALLEST)), dtype=np.float64))
