"""Temperature scaling, thresholds and reliability diagrams.

Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, Sec. 4.2.
"""

import numpy as np
from scipy.optimize import minimize_scalar

from ensembles.evaluation import probabilities
from zoo import plots

MAX_LABELS = 2**20  # of more labels, a random sample of this size is used


def temperature(outputs, y):
    """Return the temperature that minimises the log-loss of the labels.

    Of more than 2**20 labels, a fixed random sample of 2**20 is used.

    Args:
        outputs: logits (n, ..., K).
        y: labels (n, ...), -1 is void.

    Returns:
        A number between exp(-3) and exp(3), above 1 if the model is overconfident.

    Raises:
        ValueError: if all labels are void.
    """
    y = np.ravel(y)
    valid = np.flatnonzero(y >= 0)
    if not len(valid):
        raise ValueError("there is no label to fit a temperature to: all are void")
    if len(valid) > MAX_LABELS:
        valid = np.random.default_rng(0).choice(valid, MAX_LABELS, replace=False)
        valid.sort()  # for sequential reads from disk
    logits = outputs.reshape(-1, outputs.shape[-1])[valid].astype(np.float64)
    y = y[valid]

    def loss(logarithm):
        p = probabilities.of_logits(logits / np.exp(logarithm))
        return probabilities.negative_log_likelihood(p, y)

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def threshold(logits, y, score):
    """Return the probability above which the second of two classes is best predicted.

    Args:
        logits: (n, ..., 1 or 2).
        y: labels (n, ...), -1 is void.
        score: function from a confusion matrix (2, 2) to a number, higher is better.

    Returns:
        The candidate from 0.01 to 0.99 with the highest score; of equal ones, the one next to 0.5.
    """
    counts = np.zeros((2, 100), np.int64)  # of the labels of each class, by their probability
    for part, truth in probabilities.blocks(logits, y):
        valid = np.asarray(truth) >= 0
        p = probabilities.of_logits(part)[..., 1][valid]
        place = np.minimum(np.ceil(100 * p.astype(np.float64) - 1e-6).astype(int) - 1, 99)
        pairs = np.asarray(truth)[valid].astype(int) * 100 + np.maximum(place, 0)
        counts += np.bincount(pairs, minlength=200).reshape(2, 100)
    below = np.cumsum(counts, axis=1)[:, :-1]
    scores = [
        score(np.stack([negative, counts.sum(axis=1) - negative], axis=1)) for negative in below.T
    ]
    candidates = np.arange(1, 100) / 100
    best = np.flatnonzero(np.isclose(scores, np.max(scores), atol=1e-9))
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])


def reliability_diagram(diagrams):
    """Plot accuracy over confidence, with one panel per model.

    Args:
        diagrams: {title: what `probabilities.calibration` returns}.

    Returns:
        A Matplotlib figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(diagrams), 4), layout="constrained")
    axes = figure.subplots(1, len(diagrams), sharey=True, squeeze=False)[0]
    for ax, (title, bins) in zip(axes, diagrams.items(), strict=True):
        count = len(bins["share"])
        centres = (np.arange(count) + 0.5) / count
        filled = bins["share"] > 0
        weight = np.sqrt(
            bins["share"][filled] / bins["share"].max()
        )  # bars of few labels are paler
        colours = [(0.21, 0.4, 0.66, 0.25 + 0.75 * value) for value in weight]
        ax.bar(centres[filled], bins["accuracy"][filled], width=0.92 / count, color=colours)
        ax.plot([0, 1], [0, 1], color=plots.INK, linewidth=1, linestyle=(0, (4, 3)))
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", aspect="equal")
        ax.set_title(plots.plain(f"{title}: ECE {bins['error']:.4f}"), color=plots.INK, y=1.0)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy")
    return figure
