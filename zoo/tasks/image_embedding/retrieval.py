"""Scores of vectors: is the nearest image of the same class?

Recall@k is the share of images with one of their class among the k nearest other images;
R-precision is the share of their class among the R nearest, where R others are of the class,
averaged over images (Musgrave, Belongie & Lim 2020, https://arxiv.org/abs/2003.08505); one-shot
accuracy is that of the nearest of one image each of 20 classes (Lake et al. 2015). At equal
distances those of other classes count as nearer, so that equal vectors for all images score 0.
"""

import numpy as np

WAYS, EPISODES = 20, 1000  # classes of an episode, and their number
BLOCK = 2**22  # distances at a time, 32 MB
ROUNDING = 1e-12  # of squared distances, relative to squared lengths


def squared_distances(a, b):
    """Return squared Euclidean distances (n, m) float64 of vectors (n, D) and (m, D).

    Those of equal vectors are 0, without the error of rounding.
    """
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    lengths = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    squares = lengths - 2 * a @ b.T
    return np.where(squares > ROUNDING * lengths, squares, 0.0)


def blocks(queries, gallery):
    """Yield (rows, squared distances) of some queries at a time."""
    step = max(1, BLOCK // len(gallery))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        yield rows, squared_distances(queries[rows], gallery)


def matches(vectors, y):
    """Rank the images that each image is compared with.

    Args:
        vectors: (n, D).
        y: labels (n,).

    Returns:
        (first, precision): the number of images of other classes that are nearer than the nearest
        of the class, (n,), and the R-precision (n,); NaN where no other image is of the class.
    """
    first, precision = np.full((2, len(y)), np.nan)
    for rows, squares in blocks(vectors, vectors):
        squares[np.arange(len(rows)), rows] = np.inf  # no image is compared with itself
        same = y[rows, None] == y
        same[np.arange(len(rows)), rows] = False
        others = same.sum(axis=1)
        nearest = np.where(same, squares, np.inf).min(axis=1, keepdims=True)
        before = ((squares <= nearest) & ~same).sum(axis=1)
        most = max(others.max(), 1)
        after = np.where(same, np.nextafter(squares, np.inf), squares)  # at equal distances
        order = np.argpartition(after, most - 1, axis=1)[:, :most]
        order = np.take_along_axis(order, np.take_along_axis(after, order, 1).argsort(axis=1), 1)
        hits = np.take_along_axis(same, order, axis=1) & (np.arange(most) < others[:, None])
        known = others > 0
        first[rows[known]] = before[known]
        precision[rows[known]] = hits[known].sum(axis=1) / others[known]
    return first, precision


def one_shot(vectors, y, ways=WAYS, episodes=EPISODES, seed=0):
    """Classify images by one image of each class.

    In each episode a query is compared with another image of its class, drawn at random as all
    others, and one image of each of `ways` - 1 other classes.

    Args:
        vectors: (n, D).
        y: labels (n,).
        ways: number of classes; all if there are fewer.
        episodes: how many.
        seed: of the draws, which depend on nothing else but y.

    Returns:
        (accuracy, ways, standard error); NaN if no class has two images, or there is only one.
    """
    rng, rows = np.random.default_rng(seed), [np.flatnonzero(y == k) for k in np.unique(y)]
    several = [k for k, of_class in enumerate(rows) if len(of_class) > 1]
    ways, hits = min(ways, len(rows)), 0
    if not several or ways < 2:
        return np.nan, ways, np.nan
    for _ in range(episodes):
        k = several[rng.integers(len(several))]
        others = np.delete(np.arange(len(rows)), k)
        query, match = rng.choice(rows[k], 2, replace=False)
        wrong = [rng.choice(rows[other]) for other in rng.choice(others, ways - 1, replace=False)]
        squares = ((vectors[[match, *wrong]].astype(np.float64) - vectors[query]) ** 2).sum(axis=1)
        hits += squares[0] < squares[1:].min()
    accuracy = hits / episodes
    return accuracy, ways, np.sqrt(accuracy * (1 - accuracy) / episodes)


class Vectors:
    """Labels and vectors of parts of a split, which are concatenated when they are scored.

    Args:
        y: labels (n,) of a part.
        vectors: its vectors (n, D).
    """

    def __init__(self, y, vectors):
        self.parts = [(np.asarray(y), np.asarray(vectors, np.float32))]

    def __add__(self, other):
        total = Vectors.__new__(Vectors)
        total.parts = self.parts + other.parts
        return total

    def arrays(self):
        """Return labels (n,) and vectors (n, D)."""
        return tuple(np.concatenate(arrays) for arrays in zip(*self.parts, strict=True))


def summarize(y, vectors, info):
    """Return labels and vectors of a part of a split."""
    return Vectors(y, vectors)


def score(summary, info):
    """Return recall@1 and 5, R-precision and one-shot accuracy, of all and of each class."""
    y, vectors = summary.arrays()
    first, precision = matches(vectors, y)
    accuracy, ways, error = one_shot(vectors, y)
    known = ~np.isnan(precision)
    scores = {
        "recall_at_1": mean(first[known] < 1),
        "recall_at_5": mean(first[known] < 5),
        "r_precision": mean(precision[known]),
        "one_shot_accuracy": float(accuracy),
        "one_shot": {"ways": ways, "episodes": EPISODES, "standard_error": float(error)},
        "classes": {},
    }
    lines = [f"{'':>16} {'recall@1':>12} {'R-precision':>12} {'support':>9}", ""]
    for k in np.unique(y):
        rows, name = known & (y == k), info["classes"][k]
        if not rows.any():
            lines.append(f"{name:>16} {'alone':>12} {'':>12} {1:9}")
            continue
        values = {"recall_at_1": mean(first[rows] < 1), "r_precision": mean(precision[rows])}
        scores["classes"][name] = {**values, "support": int(rows.sum())}
        recall, share = values.values()
        lines.append(f"{name:>16} {recall:12.3f} {share:12.3f} {rows.sum():9}")
    total = scores["recall_at_1"], scores["r_precision"]
    lines += ["", f"{'all':>16} {total[0]:12.3f} {total[1]:12.3f} {known.sum():9}", ""]
    lines.append(f"recall@5 {scores['recall_at_5']:.3f}")
    spread = f"standard error {error:.3f}, {EPISODES:,} episodes"
    lines.append(f"{ways}-way one-shot accuracy {accuracy:.3f} ({spread})")
    if alone := int((~known).sum()):
        lines.append(f"not scored, the only image of their class: {alone:,}")
    return scores, "\n".join([*lines, ""])


def mean(values):
    """Return the mean as a number; NaN of none."""
    return float(np.mean(values)) if len(values) else float("nan")
