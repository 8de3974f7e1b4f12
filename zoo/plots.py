"""Figures shared by several tasks. Functions return a Matplotlib Figure and do not show it."""

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image, ImageDraw, ImageFont

PAD = 0.1  # inches around a figure
INK, QUIET = "#1b1f24", "#8a939e"
WORDS = {"nll": "NLL", "ece": "ECE", "iou": "IoU", "tta": "TTA", "mse": "MSE", "mae": "MAE"}
WORDS |= {"mase": "MASE", "r2": "R²", "map": "mAP", "map50": "mAP50", "map75": "mAP75", "f1": "F1"}
WORDS |= {"ar100": "AR100", "ap": "AP", "ap50": "AP50", "milliseconds": "time (ms)"}
WORDS |= {"recall_at_1": "recall@1", "recall_at_5": "recall@5", "r_precision": "R-precision"}
WORDS |= {"accuracy_at_80": "accuracy at 80% coverage", "adaptive_ece": "adaptive ECE"}
WORDS |= {"aurc": "AURC", "brier": "Brier score"}
WORDS |= {"one_shot_accuracy": "one-shot accuracy"}


def label(key):
    """Return the display name of a metric: "mean_iou" is "mean IoU"."""
    return WORDS.get(key) or " ".join(WORDS.get(word, word) for word in key.split("_"))


def plain(text):
    """Return a text that Matplotlib draws literally: no mathematics, no invalid characters."""
    return str(text).encode("utf-8", "replace").decode().replace("$", r"\$")


def palette(count):
    """Return `count` distinct colours (count, 3), 0 to 1."""
    if count <= 10:
        return np.array([colormaps["tab10"](i)[:3] for i in range(count)])
    if count <= 20:
        return np.array([colormaps["tab20"](i)[:3] for i in range(count)])
    return np.array([colormaps["turbo"](i / (count - 1))[:3] for i in range(count)])


def learning_curves(history):
    """Draw each logged value over the epochs, for training and validation.

    Args:
        history: dictionary of lists, one number per epoch; "val_" marks validation.
    """
    names = [*dict.fromkeys(name.removeprefix("val_") for name in history if name != "epoch")]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    count = max(map(len, history.values()), default=0)
    size = 4 if count > 1 else 12  # one epoch has no line, only a point
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    for i, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, i)
        for key, split in [(name, "training"), (f"val_{name}", "validation")]:
            if key in history:
                epochs = np.arange(1, len(history[key]) + 1)
                axes.plot(epochs, history[key], label=split, marker=".", markersize=size)
        axes.set_title(label(name), color=INK, y=1.0)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, max(count, 1) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.25)
        if f"val_{name}" in history:
            axes.legend(frameon=False)
    return figure


def confusion_matrix(matrix, classes):
    """Draw a (K, K) confusion matrix of counts, rows true and columns predicted classes."""
    recall = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = 2.6 + 0.55 * len(classes)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(recall, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix):
        count = int(matrix[row, column])
        axes.text(
            column,
            row,
            f"{count}" if count < 10_000 else f"{count / 1000:.0f}k",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if recall[row, column] > 0.5 else INK,
        )
    names = [plain(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.colorbar(image, ax=axes, shrink=0.7, label="row-normalized")
    return figure


def clouds(panels, legend=(), columns=4, size=3.0):
    """Draw a page of point clouds in 3-D with equal axes.

    Args:
        panels: list of (points (n, 3), colours (n, 3), title, colour of the title).
        legend: pairs (name, colour), drawn once below.
        columns: number of panels per row.
        size: size of a panel in inches.
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
        axes.set_title(plain(title), fontsize=9, color=ink, y=1.0)
    if legend:
        handles = [
            figure.axes[0].plot([], [], [], "o", color=colour, label=plain(name))[0]
            for name, colour in legend
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
    return figure


def frame(points):
    """Return the corners (3,), (3,) of the box to show, without distant outliers of a scan."""
    if len(points) < 2000:
        return points.min(axis=0), points.max(axis=0)
    low, high = np.percentile(points, [2, 98], axis=0)
    low[2], high[2] = points[:, 2].min(), points[:, 2].max()
    return low, high


def by_height(points):
    """Return colours (n, 3) by z, from violet to yellow."""
    z = points[:, 2]
    return colormaps["viridis"]((z - z.min()) / max(np.ptp(z), 1e-6))[:, :3]


def images(panels, legend=(), columns=4, size=2.6):
    """Draw a page of images.

    Args:
        panels: list of (image (H, W, 3) from 0 to 1, title, colour of the title).
        legend: pairs (name, colour), drawn once below.
        columns: number of panels per row.
        size: width of a panel in inches.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    height = size * max(image.shape[0] / image.shape[1] for image, *_ in panels)
    height += 0.25 * max(title.count("\n") + 1 if title else 0 for _, title, _ in panels)
    figure = Figure(figsize=(size * columns, height * rows + 0.4 * bool(legend)))
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
    for i, (image, title, ink) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, i)
        axes.imshow(image, vmin=0, vmax=1)
        axes.set_axis_off()
        axes.set_title(plain(title), fontsize=9, color=ink, y=1.0)
    add_legend(figure, legend)
    return figure


def add_legend(figure, legend):
    """Draw a legend below a figure: pairs (name, colour), or none."""
    handles = [Patch(color=colour, label=plain(name)) for name, colour in legend]
    if handles:
        longest = max(len(str(name)) for name, _ in legend)
        columns = min(6, max(1, int(figure.get_figwidth() / (0.7 + 0.085 * longest))))  # inches
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def rgb(image):
    """Return an image (H, W, C) as RGB (H, W, 3): grayscale repeated, or the first three bands.

    With two bands, the second is shown as green and blue.
    """
    if image.shape[-1] == 2:
        image = image[..., [0, 1, 1]]
    return np.broadcast_to(image[..., :3], (*image.shape[:2], 3))


def overlay(image, labels, colours, shown, void=False):
    """Draw a mask into an image: regions tinted, with borders in full colour and a dark outline.

    The dark outline keeps borders visible where the image has the same colour.

    Args:
        image: (H, W, C) from 0 to 1, see `rgb`.
        labels: (H, W) class indices; -1 is void.
        colours: (K, 3) of the classes, 0 to 1.
        shown: whether each class is drawn.
        void: whether void pixels are drawn gray.

    Returns:
        (H, W, 3) float32.
    """
    drawn = np.append(np.asarray(shown, bool), False)[labels]  # -1 indexes the last entry
    edge = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    out = np.array(rgb(image), np.float32)
    tint = np.asarray(colours, np.float32)
    outline, line = drawn & edge, np.zeros(labels.shape, bool)
    line[:, 1:] |= outline[:, :-1]
    line[:, :-1] |= outline[:, 1:]
    line[1:] |= outline[:-1]
    line[:-1] |= outline[1:]
    out[line & ~drawn] *= np.float32(0.2)
    for inside, share in [(drawn & ~edge, np.float32(0.35)), (drawn & edge, np.float32(1.0))]:
        out[inside] += share * (tint[labels[inside]] - out[inside])
    if void:
        out[labels < 0] = 0.5
    return out


def boxes(image, corners, colours, words=None):
    """Draw boxes into an image, each with its label.

    Args:
        image: (H, W, 1 or 3) from 0 to 1.
        corners: (n, 4) x1, y1, x2, y2 in pixels; the last ones are drawn on top.
        colours: (n, 3) from 0 to 1.
        words: n labels, or None.

    Returns:
        (H, W, 3) float32.
    """
    picture = Image.fromarray((rgb(image) * 255).round().astype(np.uint8))
    pen, side = ImageDraw.Draw(picture), min(picture.size)
    line, font = max(1, round(side / 240)), ImageFont.load_default(max(9, side / 32))
    for i, (box, colour) in enumerate(zip(corners, colours, strict=True)):
        ink = tuple(int(round(255 * value)) for value in colour)
        x1, y1, x2, y2 = (float(value) for value in box)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=ink, width=line)
        if words and words[i]:
            left, top, right, bottom = font.getbbox(words[i])
            y = max(0.0, y1 - bottom - line)
            pen.rectangle((x1, y, x1 + right + 2 * line, y + bottom + line), fill=ink)
            pen.text((x1 + line, y), words[i], fill="white", font=font)
    return np.asarray(picture, np.float32) / 255


def precision_recall(curves, classes, areas=None, title="average precision at IoU 0.5"):
    """Draw precision-recall curves, one line per class.

    Args:
        curves: for each class (recall (n,), precision (n,)), or None without objects.
        classes: names of the classes.
        areas: the average precision of each class; by default the mean of its precision, where the
            points of recall are equally spaced.
        title: of the legend.
    """
    if areas is None:
        areas = [None if curve is None else np.mean(curve[1]) for curve in curves]
    figure = Figure(figsize=(5.0, 4.2), layout="constrained")
    axes = figure.add_subplot()
    colours = palette(len(classes))
    for name, curve, area, colour in zip(classes, curves, areas, colours, strict=True):
        if curve is not None:
            axes.plot(*curve, color=colour, label=plain(f"{name}  {area:.3f}"))
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid(alpha=0.25)
    if len(classes) <= 20:
        axes.legend(frameon=False, title=title)
    return figure


def save(figure, path, dpi=120):
    """Write a figure as PNG, without the white around it; path may be a file object.

    As Matplotlib's bbox_inches="tight", which lays out and draws the figure twice.

    Args:
        figure: a Matplotlib Figure.
        path: where to.
        dpi: pixels an inch.
    """
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    inked = (pixels != 255).any(axis=-1)
    if inked.any():
        rows, columns = (np.flatnonzero(inked.any(axis=axis)) for axis in (1, 0))
        pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pad = round(PAD * dpi)
    pixels = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), constant_values=255)
    Image.fromarray(pixels).save(path, "PNG")


def save_image(path, image):
    """Write an image (H, W, 3) from 0 to 1 as an 8-bit PNG; path may be a file object."""
    picture = Image.fromarray((image * np.float32(255) + np.float32(0.5)).astype(np.uint8))
    picture.save(path, "PNG")


def save_sizes(path, sizes, count):
    """Write numbers of possible classes (H, W), 1 to `count`, as a gray PNG: black where one is."""
    gray = (sizes - 1) * (255 // max(1, count - 1))
    Image.fromarray(gray.clip(0, 255).astype(np.uint8)).save(path, "PNG")


def save_mask(path, labels, colours, shown):
    """Write class indices (H, W) as a palette image, shown in colour, with indices as values."""
    picture = Image.fromarray(labels.astype(np.uint8), mode="P")
    ink = np.asarray(colours) * np.asarray(shown)[:, None]  # classes that are not drawn are black
    picture.putpalette((ink * 255).round().astype(np.uint8).tobytes())
    picture.save(path)
