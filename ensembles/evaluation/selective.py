"""Selective prediction: the risk of a model that answers only where it is most certain.

Geifman & El-Yaniv, NeurIPS 2017, https://arxiv.org/abs/1705.08500: examples are accepted in the
order of their confidence; the risk at a coverage is the mean error of those accepted.
"""

import numpy as np

from ensembles.evaluation import probabilities
from zoo import plots

SHARE = 0.8  # coverage at which the accuracy is reported
MOST = 2**20  # labels of maps that are used at most
POINTS = 400  # of a curve that is drawn


def curve(confidence, errors):
    """Return the risk at each coverage.

    Args:
        confidence: (m,), higher for more certain predictions; of equal ones the order is unknown,
            so each of them has their mean error.
        errors: (m,), 1 where a prediction is wrong, or any loss.

    Returns:
        (coverage, risk): arrays (m,), 1/m to 1.
    """
    _, ties = np.unique(-np.asarray(confidence), return_inverse=True)
    means = np.bincount(ties, errors) / np.bincount(ties)
    ordered = means[np.sort(ties)]
    count = np.arange(1, len(ordered) + 1)
    return count / len(ordered), np.cumsum(ordered) / count


def area(risk):
    """Return the area under the risk-coverage curve (AURC), the mean risk over all coverages."""
    return float(np.mean(risk))


def at(coverage, risk, share=SHARE):
    """Return the risk at the least coverage that is not below a share."""
    return float(risk[np.searchsorted(coverage, share - 1e-9)])


def of_classes(logits, y):
    """Return the curve of decisions (n, ..., K), by their highest probability; see `curve`."""
    logits, y, _ = probabilities.labelled(logits, y, None, MOST)
    p = probabilities.of_logits(logits)
    return curve(p.max(axis=-1), p.argmax(axis=-1) != y)


def of_values(outputs, mean, y):
    """Return the curve of the mean of several members' values, by their variance; squared errors.

    Args:
        outputs: list of M arrays (n, ..., K), standardized.
        mean: the combination's, (n, ..., K).
        y: likewise.
    """
    squares = (np.asarray(mean, np.float64) - y) ** 2
    return curve(-variance(outputs), squares.mean(axis=tuple(range(1, np.ndim(y)))))


def variance(outputs):
    """Return the mean variance (n,) of M members' values, a list of arrays (n, ..., K)."""
    spread = np.var([np.asarray(array, np.float64) for array in outputs], axis=0)
    return spread.reshape(len(spread), -1).mean(axis=1)


def figure(curves, what="error rate"):
    """Plot risk over coverage.

    Args:
        curves: {name: (coverage, risk)}; the last one is drawn in colour.
        what: the risk, for the axis.

    Returns:
        A Matplotlib figure.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = drawing.add_subplot()
    for i, (name, (coverage, risk)) in enumerate(curves.items()):
        last = i == len(curves) - 1
        rows = np.unique(np.linspace(0, len(risk) - 1, POINTS).round().astype(int))
        style = dict(color="#1f5fae", linewidth=2.0) if last else dict(color=plots.QUIET, alpha=0.7)
        label = plots.plain(f"{name}: AURC {area(risk):.4f}")
        axes.plot(coverage[rows], risk[rows], label=label, zorder=2 + last, **style)
    axes.axvline(SHARE, color=plots.INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, 1), xlabel="coverage: share of the examples that are predicted", ylabel=what)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return drawing
