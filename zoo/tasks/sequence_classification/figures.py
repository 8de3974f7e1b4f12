"""Pages of series. Each function returns a Matplotlib Figure; nothing is shown."""

import numpy as np
from matplotlib.figure import Figure

from zoo.nn.layers import PADDING


def series(panels, columns=3, size=3.4):
    """Draw a page of series, a line for each value of a step.

    Args:
        panels: list of (series (T, F), padding at its end left out; title; colour of the title).
        columns: panels in a row.
        size: inches of a panel's width.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(size * columns, 0.6 * size * rows), layout="constrained")
    for i, (values, title, ink) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, i)
        axes.plot(np.asarray(values)[values[:, 0] != PADDING], linewidth=1.0)
        axes.set_title(title, fontsize=9, color=ink, y=1.0)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
        axes.margins(x=0.01)
    return figure
