"""Model soups: the averaged weights of several training runs of one architecture.

Wortsman et al., ICML 2022, https://arxiv.org/abs/2203.05482. It works for members with a shared
initialization (fine-tuned from one model, or snapshots of one training run); the mean of runs with
different initial weights is no better than a random guess.
"""

import numpy as np


def uniform(weights, names=None):
    """Return the mean of the members' weights.

    Args:
        weights: for each member, the list of arrays that `get_weights` returns.
        names: of the members, for error messages.

    Returns:
        A list of arrays; integer arrays, such as seeds and counters, are the first member's.

    Raises:
        ValueError: see `check`.
    """
    check(weights, names)
    columns = zip(*weights, strict=True)
    return [mean(column) for column in columns]


def check(weights, names=None):
    """Raise a `ValueError` if members' weights differ in number or shape; it names two of them."""
    names = names or [f"member {i}" for i in range(1, len(weights) + 1)]
    shapes = [[np.shape(array) for array in arrays] for arrays in weights]
    for name, member_shapes in zip(names[1:], shapes[1:], strict=True):
        if member_shapes != shapes[0]:
            raise ValueError(
                f"{names[0]} and {name} cannot be averaged: "
                f"{difference(shapes[0], member_shapes)}. Use members of one architecture "
                "with the same options, or use average"
            )


def difference(shapes, others):
    """Return a description of how two lists of shapes differ."""
    if len(shapes) != len(others):
        return f"one has {len(shapes)} arrays of weights, the other {len(others)}"
    pairs = enumerate(zip(shapes, others, strict=True), start=1)
    unequal = [f"{i} is {a} and {b}" for i, (a, b) in pairs if a != b]
    more = f", and {len(unequal) - 3} more differ" if len(unequal) > 3 else ""
    return f"of their arrays of weights, {', '.join(unequal[:3])}{more}"


def mean(arrays):
    """Return the mean of arrays of one shape, in their dtype."""
    if not np.issubdtype(np.asarray(arrays[0]).dtype, np.floating):
        return arrays[0]
    return np.mean(arrays, axis=0, dtype=np.float64).astype(np.asarray(arrays[0]).dtype)


def greedy(weights, scores, evaluate, names=None):
    """Add members from best to worst, and keep those that do not make the soup worse.

    Recipe 1 of the paper.

    Args:
        weights: as for `uniform`.
        scores: of each member alone, better when higher.
        evaluate: function from weights to the score of a model with these weights.
        names: of the members.

    Returns:
        (weights, chosen, history): the soup, the indices of its members, and for each member
        {"tried": index, "score": of the soup with it, "kept": bool}.
    """
    check(weights, names)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist()
    chosen, best = order[:1], scores[order[0]]
    soup, history = weights[order[0]], [{"tried": order[0], "score": float(best), "kept": True}]
    for i in order[1:]:
        tried = uniform([weights[j] for j in [*chosen, i]])
        score = evaluate(tried)
        history.append({"tried": i, "score": float(score), "kept": bool(score >= best)})
        if score >= best:
            chosen, best, soup = [*chosen, i], score, tried
    return soup, chosen, history
