"""Selecting members, and searching weights, on examples that they were not trained on.

Both take the members' logits, a list of M arrays (n, ..., K), and labels (n, ...), -1 for void, and
return weights (M,) that are not below 0 and sum to 1, of the mean of probabilities.
"""

import numpy as np
from scipy.optimize import minimize

from ensembles.evaluation import probabilities

DECIMALS = 6  # of the scores that are compared, unless
NOTHING = 1e-4  # the first is nearer to 0


def select(outputs, y, *, rounds=25, metric="log_loss"):
    """Choose members one by one, with replacement: the one that improves the mean the most.

    Caruana et al., ICML 2004, "Ensemble selection from libraries of models", Sec. 2.1-2.2. Rounds
    count up to the one of the best score, the first of equals. It chooses as AutoGluon's
    `EnsembleSelection` does: after the first round scores are compared to six decimals, and of
    equal members one that is chosen already goes before others. Departures from that: where it
    draws among equals, the first is taken; probabilities below 1e-7 count as that.

    A metric that is a function needs the probabilities of all members in memory.

    Args:
        outputs: logits.
        y: labels.
        rounds: members that are chosen at most, counted as often as they are.
        metric: "log_loss", or a function (y, probabilities (n, ..., C)) to a number that is better
            when higher; it may not keep or change the array.

    Returns:
        (weights, history): a list of {"added": index, "score": of the mean so far}.

    Raises:
        ValueError: if there is no round or, for the log-loss, no label that is not void.
    """
    if rounds < 1:
        raise ValueError(f"{rounds} rounds choose no member. Give 1 or more")
    if metric == "log_loss":
        p, score = truths(outputs, y), log_likelihood
        total = np.zeros(p.shape[1])
    else:
        p, score = [probabilities.of_logits(one) for one in outputs], metric
        total = np.zeros_like(p[0])
    tried, history = np.empty_like(total), []
    for size in range(1, rounds + 1):
        scores = [score(y, np.divide(np.add(total, one, out=tried), size, out=tried)) for one in p]
        added, best = best_of(scores, history)
        total += p[added]
        history.append({"added": added, "score": best})
    best = int(np.argmax([step["score"] for step in history]))
    chosen = [step["added"] for step in history[: best + 1]]
    return np.bincount(chosen, minlength=len(p)) / len(chosen), history


def best_of(scores, history):
    """Return the index of the best of a round's scores, and this score as it is compared."""
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
    """Search the weights of the mean.

    The log-likelihood of a mixture is concave in its weights, so its maximum is found; see
    `likeliest`. Any other metric is climbed from there, and from equal weights, by moving ever
    smaller shares from one member to another.

    Args:
        outputs: logits.
        y: labels.
        metric: as for `select`.

    Returns:
        Weights (M,).

    Raises:
        ValueError: if no label is not void.
    """
    weights = likeliest(truths(outputs, y))
    if metric == "log_loss":
        return weights
    p = [probabilities.of_logits(one) for one in outputs]
    climbed = [climb(p, y, metric, start) for start in (weights, np.full(len(p), 1 / len(p)))]
    return max(climbed, key=lambda pair: pair[0])[1]


def likeliest(truth):
    """Return the weights (M,) of the mixture by which the truth is the most likely.

    Sequential quadratic programming needs some ten passes over the labels. Expectation
    maximisation needs no solver, but its steps shrink with what is left to gain: after 400 passes
    over 3.3 million pixels it was still further from the maximum.

    Args:
        truth: each member's probability of the true class, (M, v).
    """
    truth = truth.T  # (v, M)

    def loss(weights):
        weights = np.maximum(weights, 0) + 1e-12  # the solver steps outside by its rounding
        value, slope = 0.0, np.zeros(len(weights))
        for (part,) in probabilities.blocks(truth):
            part = np.maximum(part, probabilities.SMALLEST, dtype=np.float64)
            mean = part @ weights
            value -= np.log(mean).sum()
            slope -= (1 / mean) @ part
        return value / len(truth), slope / len(truth)

    count = truth.shape[1]
    sums_to_1 = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
    found = minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints=sums_to_1,
        options={"ftol": 1e-12, "maxiter": 200},
    )
    weights = np.maximum(found.x, 0)
    return weights / weights.sum()


def climb(p, y, metric, weights):
    """Move shares between members as long as the metric rises; return (score, weights)."""

    def score(weights):
        # Of Python's numbers arrays keep their type.
        return metric(y, sum(w * one for w, one in zip(weights.tolist(), p, strict=True) if w))

    best = score(weights)
    for share in (0.2, 0.1, 0.05):
        risen = True
        while risen:
            risen = False
            for source, target in np.argwhere(~np.eye(len(p), dtype=bool)):
                amount = min(share, weights[source])
                if amount <= 0:
                    continue
                tried = weights.copy()
                tried[source] -= amount
                tried[target] += amount
                if (found := score(tried)) > best:
                    best, weights, risen = found, tried, True
    return best, weights


def truths(outputs, y):
    """Return the probability of the truth by each member, (M, v): all that the log-loss needs."""
    if not np.any(np.asarray(y) >= 0):
        raise ValueError("there is no label to fit weights to: all are void")
    found = [
        [probabilities.of_truth(probabilities.of_logits(part), labels) for part, labels in pairs]
        for pairs in (probabilities.blocks(one, y) for one in outputs)
    ]
    return np.stack([np.concatenate(parts) for parts in found])


def log_likelihood(y, truth):
    """Return the mean logarithm of the probabilities of the truth, nats."""
    return float(np.mean(np.log(np.maximum(truth, probabilities.SMALLEST)), dtype=np.float64))
