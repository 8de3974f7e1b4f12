"""Choosing members, and searching weights, by what they say of examples they were not trained on.

Both take the members' logits, a list of M arrays (n, ..., K), and labels (n, ...), -1 for void, and
return weights (M,) that are not below 0 and sum to 1, of the mean of probabilities.
"""

import numpy as np

from ensembles import chances


def select(outputs, y, *, rounds=25, metric="log_loss"):
    """Choose members one by one, with replacement: the one that improves the mean the most.

    Caruana et al., ICML 2004, "Ensemble selection from libraries of models", Sec. 2.1. Of equal
    members the first is taken; of the rounds, those up to the best score, the first of equals.

    Args:
        outputs: logits.
        y: labels.
        rounds: members that are chosen at most, counted as often as they are.
        metric: "log_loss", or a function (y, probabilities (n, ..., C)) to a number that is better
            when higher.

    Returns:
        (weights, history): a list of {"added": index, "score": of the mean so far}.
    """
    if metric == "log_loss":
        p, score = truths(outputs, y), log_likelihood
    else:
        p, score = [chances.probabilities(one) for one in outputs], metric
    total, history = np.zeros_like(p[0]), []
    for size in range(1, rounds + 1):
        scores = [score(y, (total + one) / size) for one in p]
        added = int(np.argmax(scores))
        total += p[added]
        history.append({"added": added, "score": float(scores[added])})
    best = int(np.argmax([step["score"] for step in history]))
    chosen = [step["added"] for step in history[: best + 1]]
    return np.bincount(chosen, minlength=len(p)) / len(chosen), history


def search(outputs, y, *, metric="log_loss", steps=2000, tolerance=1e-9):
    """Search the weights of the mean.

    The log-likelihood of a mixture is concave in its weights, and expectation maximisation, whose
    every step makes it higher, finds its maximum: a weight becomes the mean share that its member
    has in the probability of the truth. Any other metric is climbed from there, and from equal
    weights, by moving ever smaller shares from one member to another.

    Args:
        outputs: logits.
        y: labels.
        metric: as for `select`.
        steps: of expectation maximisation at most.
        tolerance: of the weights; smaller changes end it.

    Returns:
        Weights (M,).
    """
    truth = np.maximum(truths(outputs, y), chances.SMALLEST)
    weights = np.full(len(truth), 1 / len(truth))
    for _ in range(steps):
        parts = weights[:, None] * truth
        new = np.mean(parts / parts.sum(axis=0), axis=1)
        moved, weights = np.abs(new - weights).max(), new
        if moved < tolerance:
            break
    if metric == "log_loss":
        return weights
    p = [chances.probabilities(one) for one in outputs]
    climbed = [climb(p, y, metric, start) for start in (weights, np.full(len(p), 1 / len(p)))]
    return max(climbed, key=lambda pair: pair[0])[1]


def climb(p, y, metric, weights):
    """Move shares between members as long as the metric rises; return (score, weights)."""

    def score(weights):
        return metric(y, sum(w * one for w, one in zip(weights, p, strict=True) if w))

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
    found = [
        [chances.of_truth(chances.probabilities(part), labels) for part, labels in pairs]
        for pairs in (chances.blocks(one, y) for one in outputs)
    ]
    return np.stack([np.concatenate(parts) for parts in found])


def log_likelihood(y, truth):
    """Return the mean logarithm of the probabilities of the truth, nats."""
    return float(np.mean(np.log(np.maximum(truth, chances.SMALLEST)), dtype=np.float64))
