"""Figures that several tasks share. Each function returns a Matplotlib Figure; nothing is shown."""

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

INK, QUIET = "#1b1f24", "#8a939e"


def palette(count):
    """Return `count` colours (count, 3), 0 to 1, that differ as much as may be."""
    if count <= 10:
        return np.array([colormaps["tab10"](i)[:3] for i in range(count)])
    if count <= 20:
        return np.array([colormaps["tab20"](i)[:3] for i in range(count)])
    return np.array([colormaps["turbo"](i / (count - 1))[:3] for i in range(count)])


def learning_curves(history):
    """Draw each logged value over the epochs, training beside validation.

    Args:
        history: dictionary of lists, one number an epoch; "val_" marks validation.
    """
    names = [name for name in history if name != "epoch" and not name.startswith("val_")]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    for i, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, i)
        for key, label in [(name, "training"), (f"val_{name}", "validation")]:
            if key in history:
                epochs = np.arange(1, len(history[key]) + 1)
                axes.plot(epochs, history[key], label=label, marker=".", markersize=4)
        axes.set_title(name.replace("_", " "), color=INK)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        if f"val_{name}" in history:
            axes.legend(frameon=False)
    return figure


def confusion_matrix(matrix, classes):
    """Draw a (K, K) matrix of counts, truth down and prediction across, shaded by row share."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = 2.6 + 0.55 * len(classes)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix):
        count = int(matrix[row, column])
        axes.text(
            column,
            row,
            f"{count}" if count < 10_000 else f"{count / 1000:.0f}k",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share[row, column] > 0.5 else INK,
        )
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    return figure


def clouds(panels, legend=(), columns=4, size=3.0):
    """Draw a page of point clouds in 3-D with equal axes.

    Args:
        panels: list of (points (n, 3), colours (n, 3), title, colour of the title).
        legend: pairs (name, colour), drawn once below.
        columns: panels in a row.
        size: inches of a panel.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    corners = [frame(points) for points, *_ in panels]
    sizes = [np.maximum(high - low, 0.05 * (high - low).max() + 1e-6) for low, high in corners]
    flat = all(box[2] < 0.3 * box[:2].max() for box in sizes)  # scans need less height
    height = (0.6 if flat else 1.0) * size * rows + 0.5 * bool(legend)
    figure = Figure(figsize=(size * columns, height), layout="constrained")
    for i, (points, colours, title, ink) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1, projection="3d")
        low, high = corners[i]
        inside = np.all((points >= low) & (points <= high), axis=1)
        dot = np.clip(4000 / max(inside.sum(), 1), 0.6, 8.0) * (size / 3.0) ** 2
        style = dict(s=dot, linewidths=0, depthshade=False, clip_on=False)
        axes.scatter(*points[inside].T, c=colours[inside], **style)
        axes.set_box_aspect(sizes[i], zoom=1.4 if flat else 1.15)
        axes.view_init(elev=25, azim=-60)
        axes.set_axis_off()
        axes.set_title(title, fontsize=9, color=ink)
    if legend:
        handles = [
            figure.axes[0].plot([], [], [], marker="o", linestyle="", color=colour, label=name)[0]
            for name, colour in legend
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    return figure


def frame(points):
    """Return the corners (3,), (3,) of the box to show: a scan's few far returns are left out."""
    if len(points) < 2000:
        return points.min(axis=0), points.max(axis=0)
    low, high = np.percentile(points, [2, 98], axis=0)
    low[2], high[2] = points[:, 2].min(), points[:, 2].max()
    return low, high


def by_height(points):
    """Return colours (n, 3) that rise with z from violet to yellow."""
    z = points[:, 2]
    return colormaps["viridis"]((z - z.min()) / max(np.ptp(z), 1e-6))[:, :3]
