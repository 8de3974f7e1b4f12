"""Temperature scaling: confidence made to match accuracy.

Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, Sec. 4.2.
"""

import numpy as np
from scipy.optimize import minimize_scalar

from ensembles.evaluation import probabilities
from zoo import plots

MOST = 2**20  # labels that a temperature is fitted to; of more, so many are drawn


def temperature(outputs, y):
    """Return the number that logits are divided by to make the labels the most likely.

    Of more than 2**20 labels, so many are drawn, always the same.

    Args:
        outputs: logits (n, ..., K).
        y: labels (n, ...), -1 is void.

    Returns:
        A number between exp(-3) and exp(3), above 1 if the model is too sure.

    Raises:
        ValueError: if all labels are void.
    """
    y = np.ravel(y)
    counted = np.flatnonzero(y >= 0)
    if not len(counted):
        raise ValueError("there is no label to fit a temperature to: all are void")
    if len(counted) > MOST:
        counted = np.random.default_rng(0).choice(counted, MOST, replace=False)
        counted.sort()  # a file is read in order
    logits = outputs.reshape(-1, outputs.shape[-1])[counted].astype(np.float64)
    y = y[counted]

    def loss(logarithm):
        p = probabilities.of_logits(logits / np.exp(logarithm))
        return probabilities.negative_log_likelihood(p, y)

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def reliability_diagram(diagrams):
    """Draw the accuracy of predictions over their confidence, a panel for each model.

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
        middles = (np.arange(count) + 0.5) / count
        filled = bins["share"] > 0
        weight = np.sqrt(bins["share"][filled] / bins["share"].max())  # few labels, pale bar
        colours = [(0.21, 0.4, 0.66, 0.25 + 0.75 * value) for value in weight]
        ax.bar(middles[filled], bins["accuracy"][filled], width=0.92 / count, color=colours)
        ax.plot([0, 1], [0, 1], color=plots.INK, linewidth=1, linestyle=(0, (4, 3)))
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", aspect="equal")
        ax.set_title(plots.plain(f"{title}: ECE {bins['error']:.4f}"), color=plots.INK)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy")
    return figure
