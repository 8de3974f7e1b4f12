"""Figures of a report: the first score of each row, and the agreement of members."""

import io

import numpy as np
from matplotlib.figure import Figure

from ensembles.reporting.columns import COLOURS, ERRORS, columns
from zoo import plots


def scores_figure(rows):
    """Plot the first score of every row as a dot, the best on top."""
    first = columns(rows)[0]
    ranked, values = first["ranked"][::-1], first["values"]
    figure = Figure(figsize=(5.5, 1.2 + 0.29 * len(ranked)), layout="constrained")
    axes = figure.add_subplot()
    for kind, colour in COLOURS.items():
        places = [place for place, i in enumerate(ranked) if rows[i]["kind"] == kind]
        dots = [values[ranked[place]] for place in places]
        if dots:
            axes.plot(dots, places, "o", color=colour, markersize=7, label=kind, zorder=3)
        if dots and kind == "member" and len(dots) < len(ranked):
            style = dict(color=colour, linewidth=1, linestyle="--", label="best member")
            axes.axvline(min(dots) if first["key"] in ERRORS else max(dots), **style)
    for place, i in enumerate(ranked):
        if rows[i].get("interval"):
            style = dict(color=COLOURS[rows[i]["kind"]], linewidth=1.2, alpha=0.5)
            axes.plot(rows[i]["interval"], [place, place], **style)
        settings = dict(textcoords="offset points", va="center", fontsize=8, color=plots.INK)
        settings["bbox"] = dict(facecolor="white", edgecolor="none", pad=1)
        axes.annotate(first["texts"][i], (values[i], place), (8, 0), **settings)
    ticks = [short(rows[i]["name"]) for i in ranked]
    axes.set_yticks(range(len(ranked)), ticks, parse_math=False)
    axes.set_xlabel(first["title"], parse_math=False)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.margins(x=0.15)
    axes.set_ylim(-0.7, len(ranked) - 0.3)
    axes.grid(axis="y", alpha=0.35)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if ranked:
        figure.legend(loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    return figure


def pairwise(names, matrix):
    """Return the agreement of M members as an array (M, M).

    Raises:
        ValueError: if it does not have this shape.
    """
    matrix, count = np.array(matrix, float), len(names)
    if matrix.shape != (count, count):
        raise ValueError(
            f"agreement is {matrix.shape}: give {count, count}, one number per pair of members"
        )
    return matrix


def agreement_figure(names, matrix):
    """Plot the agreement of each pair of members as a heat map, without the diagonal.

    Args:
        names: of the M members.
        matrix: (M, M) numbers.
    """
    matrix, count = np.array(matrix, float), len(names)
    np.fill_diagonal(matrix, np.nan)
    pairs = np.argwhere(np.isfinite(matrix))
    known = matrix[tuple(pairs.T)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    low -= 0.3 * (high - low) + 1e-6  # keeps a tint for the lowest value
    size = 0.75 if count <= 10 else 0.42
    figure = Figure(figsize=(3 + size * count, 1.5 + size * count), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix, cmap="Blues", vmin=low, vmax=high)
    for row, across in pairs:
        number = matrix[row, across]
        ink = "white" if number > low + 0.6 * (high - low) else plots.INK
        text = f"{number:.3f}" if count <= 10 else f"{number:.2f}"
        axes.text(across, row, text, ha="center", va="center", fontsize=8, color=ink)
    ticks = [short(name) for name in names]
    axes.set_xticks(range(count), ticks, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(count), ticks, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, shrink=0.7, label="agreement")
    return figure


def short(name, length=28):
    """Return a name that fits a figure; long names are shortened in the middle."""
    half = length // 2
    return name if len(name) <= length else f"{name[: half - 1]}…{name[-half:]}"


def png(figure):
    """Return a figure as the bytes of a PNG file."""
    file = io.BytesIO()
    plots.save(figure, file)
    return file.getvalue()
