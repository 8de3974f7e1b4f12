"""Pages of insight: heat maps over pictures with a colour bar, attacked pictures, layers' maps."""

import numpy as np
from matplotlib import cm, colormaps, colors
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from zoo import plots
from zoo.tasks.targets import report

AMPLIFIED = 50  # factor by which the change of an attack is shown, less if that would saturate
MAPS = "magma"  # colours from 0 upwards
SIGNED = "RdBu_r"  # colours from negative to positive
SIZE = 2.5  # inches of a panel
BRIGHTEST = 99.7  # percentile of gradients from which colours do not change any more
BRIGHTEST_POINTS = 98.0  # the same of clouds: they have hundreds of points, not thousands of pixels


def most_telling(examples, count):
    """Return the examples to show: those whose right prediction an attack made wrong come first.

    Args:
        examples: list of (x, attacked x, label, logits before, logits after).
        count: how many to return at most; of several classes if possible.
    """

    def rank(example):
        _, _, label, before, after = example
        right = np.argmax(before) == label
        return not (right and np.argmax(after) != label), not right

    order = sorted(range(len(examples)), key=lambda i: rank(examples[i]))
    seen, first, rest = set(), [], []
    for i in order:
        label = int(examples[i][2])
        (rest if label in seen else first).append(i)
        seen.add(label)
    order = sorted([*first, *rest], key=lambda i: (rank(examples[i]), i not in first))
    return [examples[i] for i in order[:count]]


def caption(logits, classes):
    """Return the predicted class of logits (K,) with its probability, and its index."""
    probabilities = report.softmax(logits)
    k = int(np.argmax(probabilities))
    return f"{classes[k]}  {probabilities[k]:.0%}", k


def attacked(examples, classes, attack, strength):
    """Draw images, what an attack changed, and the attacked images, with both predictions.

    Args:
        examples: of `most_telling`.
        classes: their names.
        attack: a `zoo.insight.attack.robustness.Attack`.
        strength: of it.
    """
    factor = 1 if attack.method == "patch" else int(min(AMPLIFIED, max(1, 0.5 / strength)))
    panels = []
    for x, changed, label, before, after in examples:
        for image, logits, what in ((x, before, "original"), (changed, after, "attacked")):
            text, k = caption(logits, classes)
            ink = report.WRONG if k != label else plots.INK
            title = f"{what}{f', true {classes[label]}' if k != label else ''}\n{text}"
            panels.append((np.clip(plots.rgb(image), 0, 1), title, ink))
        change = np.clip(0.5 + factor * (changed - x), 0, 1)
        title = "change\n" if factor == 1 else f"change x {factor}\n"
        panels.insert(-1, (plots.rgb(change), title, plots.QUIET))
    figure = plots.images(panels, columns=3, size=SIZE)
    figure.suptitle(plots.plain(attack.sentence(strength)), fontsize=10, color=plots.INK)
    return figure


def patches(canvases, sizes):
    """Draw trained patches (S, S, C) on white."""
    panels = []
    for canvas, size in zip(canvases, sizes, strict=True):
        side = canvas.shape[0]
        inside = np.hypot(*(np.indices((side, side)) - (side - 1) / 2)) <= size * side / 2
        image = np.where(inside[..., None], plots.rgb(canvas), 1.0)
        panels.append((image, f"{size:.0%} of the side", plots.INK))
    return plots.images(panels, columns=len(panels), size=SIZE)


def heat(image, values, titles, label, *, signed=False, brightest=100.0, box=None):
    """Draw an image beside the same with a heat map over it, and a colour bar.

    Args:
        image: (H, W, C) from 0 to 1.
        values: (H, W); with `signed` around 0, else from 0 upwards.
        titles: of both panels.
        label: of the colour bar.
        signed: whether negative values have a meaning.
        brightest: percentile of the values from which colours do not change any more.
        box: (4,) x1, y1, x2, y2, drawn into both; or None.
    """
    image = np.clip(plots.rgb(np.float32(image)), 0, 1)
    ratio = min(max(image.shape[0] / image.shape[1], 0.4), 2.5)
    figure = Figure(figsize=(7.6, 3.4 * ratio + 0.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(image, vmin=0, vmax=1)
    gray = image.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    right.imshow(0.35 + 0.65 * gray if signed else 0.6 * gray, vmin=0, vmax=1)
    high = max(float(np.percentile(np.abs(values), brightest)), 1e-12)
    share = np.clip(np.abs(values) / high, 0, 1)
    drawn = right.imshow(
        values,
        cmap=SIGNED if signed else MAPS,
        vmin=-high if signed else 0,
        vmax=high,
        alpha=np.clip(0.25 + 0.75 * share, 0, 1) * 0.85,
        interpolation="nearest",
    )
    for axes, title in zip((left, right), titles, strict=True):
        axes.set_axis_off()
        axes.set_title(plots.plain(title), fontsize=9, color=plots.INK)
        if box is not None:
            x1, y1, x2, y2 = (float(value) - 0.5 for value in box)
            style = dict(fill=False, edgecolor="#2ec4b6", linewidth=1.5)
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
    bar(figure, drawn, right, label, "neither" if brightest == 100 else "max")
    return figure


def bar(figure, drawn, axes, label, extend="neither", shrink=0.85):
    """Add a colour bar, which is opaque even if what was drawn is not."""
    colours = figure.colorbar(drawn, ax=axes, shrink=shrink, extend=extend)
    colours.set_label(plots.plain(label), fontsize=8, color=plots.INK)
    colours.solids.set_alpha(1)
    colours.ax.tick_params(labelsize=7)
    colours.outline.set_visible(False)


def maps(panels, label, columns=8, signed=False):
    """Draw maps, one panel each, with one colour bar.

    Args:
        panels: pairs of (map (h, w), title).
        label: of the colour bar.
        columns: panels in a row.
        signed: whether values are around 0, not from 0 upwards.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.25 * columns + 1.1, 1.4 * rows + 0.2), layout="constrained")
    high = max(max(float(np.abs(values).max()) for values, _ in panels), 1e-12)
    low = -high if signed else min(0.0, min(float(values.min()) for values, _ in panels))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (values, title) in zip(grid.flat, panels, strict=False):
        colours = SIGNED if signed else "viridis"
        drawn = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(plots.plain(title), fontsize=7, color=plots.INK, pad=2)
    bar(figure, drawn, grid, label)
    return figure


def layers(rows):
    """Draw some maps of several layers, a row each with a colour bar of its own.

    Args:
        rows: list of (title, list of (map (h, w), number of its channel)).
    """
    columns = max(len(maps) for _, maps in rows)
    figure = Figure(figsize=(1.25 * columns + 1.2, 1.55 * len(rows)), layout="constrained")
    for part, (title, shown) in zip(
        figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True
    ):
        part.suptitle(plots.plain(title), fontsize=8, color=plots.INK, x=0.01, ha="left")
        grid = part.subplots(1, columns, squeeze=False)
        low = min(0.0, min(float(values.min()) for values, _ in shown))
        high = max(max(float(values.max()) for values, _ in shown), low + 1e-12)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (values, channel) in zip(grid.flat, shown, strict=False):
            drawn = axes.imshow(values, cmap="viridis", vmin=low, vmax=high)
            axes.set_title(str(channel), fontsize=6, color=plots.QUIET, pad=1)
        bar(part, drawn, grid, "output")
    return figure


def series(values, weights, title, label):
    """Draw a series (T, F), each step over a strip coloured by its weight (T,)."""
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    axes = figure.add_subplot()
    steps = np.arange(len(values))
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * max(high - low, 1e-6)
    extent = (-0.5, len(values) - 0.5, low - margin, high + margin)
    drawn = axes.imshow(
        weights[None], cmap="YlOrRd", vmin=0, aspect="auto", extent=extent, interpolation="nearest"
    )
    for column in range(values.shape[1]):
        alpha = 0.9 - 0.5 * column / values.shape[1]
        axes.plot(steps, values[:, column], linewidth=1.2, color=plots.INK, alpha=alpha)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(extent[:2])
    axes.set_xlabel("step")
    axes.set_ylabel("standardized")
    axes.set_title(plots.plain(title), fontsize=9, color=plots.INK)
    bar(figure, drawn, axes, label)
    return figure


def cloud(points, weights, title, label):
    """Draw a cloud (n, 3) whose points are coloured by their weights (n,), and a colour bar.

    Colours do not change above a percentile, as in `heat`: else one point would set the scale.
    """
    high = max(float(np.percentile(weights, BRIGHTEST_POINTS)), 1e-12)
    scale = colors.Normalize(0, high, clip=True)
    panel = (points, colormaps["viridis"](scale(weights))[:, :3], title, plots.INK)
    figure = plots.clouds([panel], size=5)
    extend = "max" if weights.max() > high else "neither"
    bar(figure, cm.ScalarMappable(scale, "viridis"), figure.axes[0], label, extend, 0.5)
    return figure


def kernels(panels, name):
    """Draw kernels of colours, and the bar of weights that a channel's brightness stands for.

    Args:
        panels: pairs of (kernel (h, w, 3) from 0 to 1, 0.5 for a weight of 0; title).
        name: of the layer.
    """
    columns = min(8, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.15 * columns + 1.1, 1.35 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (image, title) in zip(grid.flat, panels, strict=False):
        axes.imshow(image, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=7, color=plots.INK, pad=2)
    drawn = cm.ScalarMappable(colors.Normalize(-1, 1), "gray")
    bar(figure, drawn, grid, "of each colour")
    text = f"{name}: number of each kernel, and its largest weight, which the bar's ends stand for"
    figure.suptitle(plots.plain(text), fontsize=8, color=plots.INK)
    return figure


def pictures(images, titles):
    """Draw images (H, W, C) from 0 to 1 on a page."""
    panels = [
        (np.clip(plots.rgb(np.float32(image)), 0, 1), title, plots.INK)
        for image, title in zip(images, titles, strict=True)
    ]
    return plots.images(panels, columns=4 if len(panels) > 2 else len(panels), size=2.6)
