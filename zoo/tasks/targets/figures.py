"""Figures of predicted values: against the true ones, and their residuals."""

import numpy as np
from matplotlib.figure import Figure

from zoo.plots import INK, QUIET, plain

POINTS = "#1f77b4"
PANELS = 9  # values that are drawn at most
COLUMNS = 3


def drawn(truth, predicted, names):
    """Draw predicted against true values, and residuals.

    Args:
        truth: (n, K) in the units of the values.
        predicted: likewise.
        names: of the K values.
    """
    return {
        "predicted_and_true": panels(truth, predicted, names, against_true),
        "residuals": panels(truth, predicted, names, residuals),
    }


def panels(truth, predicted, names, draw):
    """Return a figure with a panel for each value.

    It is drawn by `draw` (axes, truth, predicted), which returns what is added to its title.
    """
    count = min(len(names), PANELS)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.8 * rows), layout="constrained")
    for k in range(count):
        axes = figure.add_subplot(rows, columns, k + 1)
        title = plain(names[k][:40]) + draw(axes, truth[:, k], predicted[:, k])
        axes.set_title(title, color=INK, fontsize=10, y=1.0)
        axes.grid(alpha=0.25)
    return figure


def dots(axes, x, y):
    """Draw points, smaller and paler where there are many."""
    few = len(x) <= 500
    axes.scatter(x, y, s=14 if few else 5, alpha=0.7 if few else 0.3, color=POINTS, linewidths=0)


def against_true(axes, truth, predicted):
    """Draw predicted over true values, and the line on which they are equal."""
    dots(axes, truth, predicted)
    limits = np.array([min(truth.min(), predicted.min()), max(truth.max(), predicted.max())])
    axes.plot(limits, limits, color=QUIET, linewidth=1.0, linestyle="--")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    return ""


def residuals(axes, truth, predicted):
    """Draw residuals over predicted values, and their mean and standard deviation."""
    error = truth - predicted
    dots(axes, predicted, error)
    axes.axhline(0, color=QUIET, linewidth=1.0, linestyle="--")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true - predicted (residual)")
    return f"\nmean {error.mean():.3g}, standard deviation {error.std():.3g}"
