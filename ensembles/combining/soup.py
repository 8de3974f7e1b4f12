"""Model soups: the weights of several trainings of one architecture, averaged into one model.

Wortsman et al., ICML 2022, https://arxiv.org/abs/2203.05482. It works for members that began alike
(fine-tuned from one model, snapshots of one training); the mean of trainings that began apart is
no better than chance.
"""

import numpy as np


def uniform(weights, names=None):
    """Return the mean of the members' weights.

    Args:
        weights: a list for each member, of arrays as `get_weights` returns them.
        names: of the members, for messages.

    Returns:
        A list of arrays; integers, which are states and counts, are the first member's.

    Raises:
        ValueError: if two members' weights differ in number or shape; it names both, and where.
    """
    names = names or [f"member {i}" for i in range(1, len(weights) + 1)]
    shapes = [[np.shape(array) for array in one] for one in weights]
    for name, other in zip(names[1:], shapes[1:], strict=True):
        if other != shapes[0]:
            raise ValueError(
                f"{names[0]} and {name} make no soup: {difference(shapes[0], other)}. "
                "Take members of one architecture and the same options, or use average"
            )
    columns = zip(*weights, strict=True)
    return [mean(column) for column in columns]


def difference(shapes, others):
    """Say how two lists of shapes differ."""
    if len(shapes) != len(others):
        return f"one has {len(shapes)} arrays of weights, the other {len(others)}"
    pairs = enumerate(zip(shapes, others, strict=True), start=1)
    unlike = [f"{i} is {a} and {b}" for i, (a, b) in pairs if a != b]
    more = f", and {len(unlike) - 3} more differ" if len(unlike) > 3 else ""
    return f"of their arrays of weights, {', '.join(unlike[:3])}{more}"


def mean(arrays):
    """Return the mean of arrays of one shape, in their type."""
    if not np.issubdtype(np.asarray(arrays[0]).dtype, np.floating):
        return arrays[0]
    return np.mean(arrays, axis=0, dtype=np.float64).astype(np.asarray(arrays[0]).dtype)


def greedy(weights, scores, evaluate, names=None):
    """Add members from the best to the worst, each kept if the soup does not get worse by it.

    Recipe 1 of the paper.

    Args:
        weights: as for `uniform`.
        scores: of each member alone, better when higher.
        evaluate: function from weights to the score of a model that has them.
        names: of the members.

    Returns:
        (weights, chosen, history): the soup, the indices of its members, and for each member that
        was tried {"tried": index, "score": of the soup with it, "kept": bool}.
    """
    uniform(weights, names)  # raises
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist()
    chosen, best = order[:1], scores[order[0]]
    soup, history = weights[order[0]], [{"tried": order[0], "score": float(best), "kept": True}]
    for i in order[1:]:
        tried = uniform([weights[j] for j in [*chosen, i]])
        found = evaluate(tried)
        history.append({"tried": i, "score": float(found), "kept": bool(found >= best)})
        if found >= best:
            chosen, best, soup = [*chosen, i], found, tried
    return soup, chosen, history
