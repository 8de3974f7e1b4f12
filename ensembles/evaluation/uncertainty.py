"""Predictive uncertainty of deep ensembles: entropy and mutual information.

Lakshminarayanan, Pritzel & Blundell 2017, https://arxiv.org/abs/1612.01474; decomposed as in
Depeweg et al. 2018, https://arxiv.org/abs/1710.07283, Sec. 3: the entropy of the mean (total
uncertainty) is the sum of the members' mean entropy (aleatoric uncertainty) and the mutual
information of label and member (epistemic uncertainty, the members' disagreement).
"""

import numpy as np

from ensembles.evaluation import probabilities
from zoo import plots
from zoo.nn import losses
from zoo.tasks.image_segmentation.masks import mostly_counted

SHOWN = 4  # number of images in a figure


def entropy(p):
    """Return the entropy of probabilities (..., C), in nats."""
    return -np.sum(p * np.log(np.maximum(p, 1e-12)), axis=-1)


def uncertainty(outputs):
    """Return the entropy of the members' mean, and its part from their disagreement.

    Args:
        outputs: list of M arrays of logits (n, ..., K).

    Returns:
        {"entropy": of the mean, "mutual_information": ...}, arrays (n, ...), in nats.
    """
    total, disagreement = [], []
    for parts in probabilities.blocks(*outputs):
        mean, member_entropy = 0.0, 0.0
        for part in parts:
            p = probabilities.of_logits(part)
            mean = mean + p / len(outputs)
            member_entropy = member_entropy + entropy(p) / len(outputs)
        total.append(entropy(mean))
        disagreement.append(np.maximum(total[-1] - member_entropy, 0))  # below 0 by rounding only
    return {
        "entropy": np.concatenate(total),
        "mutual_information": np.concatenate(disagreement),
    }


def least_certain(logits, y, count=SHOWN):
    """Return the indices of the examples with the highest mean entropy over valid labels.

    Args:
        logits: (n, ..., K).
        y: labels (n, ...), -1 is void; maps that are mostly void are excluded.
        count: number of examples.
    """
    rows = mostly_counted(y) if np.ndim(y) == 3 else np.arange(len(y))
    means = [
        entropy(probabilities.of_logits(logits[i]))[np.asarray(y[i]) >= 0].mean() for i in rows
    ]
    return rows[np.argsort(np.negative(means), kind="stable")[:count]]


def picture(x, y, logits, outputs, info):
    """Plot the uncertainty of an ensemble and the disagreement of its members.

    Args:
        x: images (n, H, W, C) in [0, 1], for segmentation; ignored otherwise.
        y: labels (n, ...).
        logits: of the ensemble (n, ..., K); maps may cover only the centre of the images.
        outputs: list of M arrays of the members' logits (n, ..., K).
        info: of the task, with its classes.

    Returns:
        A Matplotlib figure: images with maps, or histograms for correct and wrong predictions.
    """
    p = probabilities.of_logits(logits)
    disagreement = uncertainty(outputs)["mutual_information"]
    values = {"entropy": entropy(p), "mutual_information": disagreement}
    if outputs[0].ndim == 4:
        x, y = (np.asarray(losses.middle(array, logits)) for array in (x, y))
        return maps(x, y, p.argmax(axis=-1), values, info)
    valid = np.asarray(y) >= 0
    correct = p.argmax(axis=-1)[valid] == np.asarray(y)[valid]
    return histograms({key: array[valid] for key, array in values.items()}, correct)


TITLES = {"entropy": "entropy of the ensemble", "mutual_information": "disagreement of members"}


def maps(x, y, labels, values, info):
    """Plot ground truth, prediction, entropy and mutual information of uncertain images."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    order = np.argsort(-values["entropy"].mean(axis=(1, 2)), kind="stable")[:SHOWN]
    colours = plots.palette(len(info["classes"]))
    shown = [name != "background" for name in info["classes"]]
    height = 2.35 * x.shape[1] / x.shape[2] + 0.05
    legend = [
        Patch(color=colours[k], label=plots.plain(info["classes"][k]))
        for k in np.flatnonzero(shown)
    ]
    show_legend = len(legend) > 1
    figure = Figure(figsize=(10.5, height * len(order) + 0.3 + 0.4 * show_legend))
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
    axes = figure.subplots(len(order), 4, squeeze=False)
    highest = max(1e-6, *(float(values[key][order].max()) for key in TITLES))
    for row, i in zip(axes, order, strict=True):
        for ax, mask in zip(row[:2], (y[i], np.where(y[i] < 0, -1, labels[i])), strict=True):
            ax.imshow(plots.overlay(x[i], mask, colours, shown, void=True))
        for ax, key in zip(row[2:], TITLES, strict=True):
            map_ = ax.imshow(values[key][i], cmap="magma", vmin=0, vmax=highest)
    for ax, title in zip(axes[0], ["ground truth", "prediction", *TITLES.values()], strict=True):
        ax.set_title(title, color=plots.INK, y=1.0)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.colorbar(map_, ax=axes[:, 2:], label="nats", shrink=0.9 if len(order) < 2 else 0.5)
    if show_legend:
        figure.legend(handles=legend, loc="outside lower center", ncols=6, frameon=False)
    return figure


def histograms(values, correct):
    """Plot histograms of the uncertainty of correct and of wrong predictions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, (key, title) in zip(axes, TITLES.items(), strict=True):
        edges = np.linspace(0, max(float(values[key].max(initial=0.0)), 1e-6), 21)
        for selected, name, colour in (
            (correct, "correct", "#3566a8"),
            (~correct, "wrong", "#b3261e"),
        ):
            weights = np.full(selected.sum(), 1 / max(selected.sum(), 1))
            label = f"{name} ({selected.sum():,})"
            ax.hist(
                values[key][selected], edges, weights=weights, alpha=0.6, color=colour, label=label
            )
        ax.set_title(title, color=plots.INK, y=1.0)
        ax.set_xlabel("nats")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share")
    axes[0].legend(frameon=False)
    return figure
