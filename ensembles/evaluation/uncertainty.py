"""Predictive uncertainty: the entropy of the mean, and how far members disagree.

Lakshminarayanan, Pritzel & Blundell 2017, https://arxiv.org/abs/1612.01474; divided as by Depeweg
et al. 2018, https://arxiv.org/abs/1710.07283, Sec. 3: the entropy of the mean is the mean entropy
of the members (noise in the data) and the mutual information of label and member (what more data
cures).
"""

import numpy as np

from ensembles.evaluation import probabilities
from zoo import plots
from zoo.nn import losses
from zoo.tasks.image_segmentation.masks import mostly_counted

SHOWN = 4  # images on a page


def entropy(p):
    """Return the entropy of probabilities (..., C), nats."""
    return -np.sum(p * np.log(np.maximum(p, 1e-12)), axis=-1)


def uncertainty(outputs):
    """Return the entropy of the members' mean, and how much of it is their disagreement.

    Args:
        outputs: list of M arrays of logits (n, ..., K).

    Returns:
        {"entropy": of the mean, "mutual_information": ...}, arrays (n, ...), nats.
    """
    total, disagreement = [], []
    for parts in probabilities.blocks(*outputs):
        mean, each = 0.0, 0.0
        for part in parts:
            p = probabilities.of_logits(part)
            mean, each = mean + p / len(outputs), each + entropy(p) / len(outputs)
        total.append(entropy(mean))
        disagreement.append(np.maximum(total[-1] - each, 0))  # it is never below but by rounding
    return {
        "entropy": np.concatenate(total),
        "mutual_information": np.concatenate(disagreement),
    }


def least_certain(logits, y, count=SHOWN):
    """Return which examples have the highest mean entropy where labels count.

    Args:
        logits: (n, ..., K).
        y: labels (n, ...), -1 is void; maps that are mostly void are left out.
        count: how many.
    """
    rows = mostly_counted(y) if np.ndim(y) == 3 else np.arange(len(y))
    means = [
        entropy(probabilities.of_logits(logits[i]))[np.asarray(y[i]) >= 0].mean() for i in rows
    ]
    return rows[np.argsort(np.negative(means), kind="stable")[:count]]


def picture(x, y, logits, outputs, info):
    """Draw where an ensemble is uncertain, and where its members disagree.

    Args:
        x: images (n, H, W, C), 0 to 1, if the task labels pixels; else anything.
        y: labels (n, ...).
        logits: of the ensemble (n, ..., K); of images, the middle may be labelled.
        outputs: list of M arrays of logits (n, ..., K), those of the members.
        info: of the task, with its classes.

    Returns:
        A Matplotlib figure: images with maps, or histograms of right and wrong predictions.
    """
    p = probabilities.of_logits(logits)
    disagreement = uncertainty(outputs)["mutual_information"]
    values = {"entropy": entropy(p), "mutual_information": disagreement}
    if outputs[0].ndim == 4:
        x, y = (np.asarray(losses.middle(array, logits)) for array in (x, y))
        return maps(x, y, p.argmax(axis=-1), values, info)
    valid = np.asarray(y) >= 0
    right = p.argmax(axis=-1)[valid] == np.asarray(y)[valid]
    return histograms({key: array[valid] for key, array in values.items()}, right)


TITLES = {"entropy": "entropy of the ensemble", "mutual_information": "disagreement of members"}


def maps(x, y, labels, found, info):
    """Draw truth, prediction, entropy and mutual information of the least sure images."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    order = np.argsort(-found["entropy"].mean(axis=(1, 2)), kind="stable")[:SHOWN]
    colours = plots.palette(len(info["classes"]))
    shown = [name != "background" for name in info["classes"]]
    height = 2.35 * x.shape[1] / x.shape[2] + 0.05
    legend = [
        Patch(color=colours[k], label=plots.plain(info["classes"][k]))
        for k in np.flatnonzero(shown)
    ]
    named = len(legend) > 1
    figure = Figure(figsize=(10.5, height * len(order) + 0.3 + 0.4 * named))
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
    axes = figure.subplots(len(order), 4, squeeze=False)
    highest = max(1e-6, *(float(found[key][order].max()) for key in TITLES))
    for row, i in zip(axes, order, strict=True):
        for ax, mask in zip(row[:2], (y[i], np.where(y[i] < 0, -1, labels[i])), strict=True):
            ax.imshow(plots.overlay(x[i], mask, colours, shown, void=True))
        for ax, key in zip(row[2:], TITLES, strict=True):
            map_ = ax.imshow(found[key][i], cmap="magma", vmin=0, vmax=highest)
    for ax, title in zip(axes[0], ["ground truth", "prediction", *TITLES.values()], strict=True):
        ax.set_title(title, color=plots.INK)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.colorbar(map_, ax=axes[:, 2:], label="nats", shrink=0.9 if len(order) < 2 else 0.5)
    if named:
        figure.legend(handles=legend, loc="outside lower center", ncols=6, frameon=False)
    return figure


def histograms(found, right):
    """Draw how unsure the ensemble is where it is right, and where it is wrong."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, (key, title) in zip(axes, TITLES.items(), strict=True):
        edges = np.linspace(0, max(float(found[key].max(initial=0.0)), 1e-6), 21)
        for inside, name, colour in ((right, "right", "#3566a8"), (~right, "wrong", "#b3261e")):
            weights = np.full(inside.sum(), 1 / max(inside.sum(), 1))
            label = f"{name} ({inside.sum():,})"
            ax.hist(
                found[key][inside], edges, weights=weights, alpha=0.6, color=colour, label=label
            )
        ax.set_title(title, color=plots.INK)
        ax.set_xlabel("nats")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share")
    axes[0].legend(frameon=False)
    return figure
