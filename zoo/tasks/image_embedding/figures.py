"""Figures of vectors: images with their nearest ones, and the plane of the principal components."""

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from zoo import plots
from zoo.tasks import images
from zoo.tasks.image_embedding.retrieval import squared_distances
from zoo.tasks.targets import report

COLUMNS, ROWS = 6, 8  # of a page: a query and its nearest images; queries
RIGHT, WRONG, FRAME = "#2e7d32", "#b3261e", "#5b6570"  # of images, by whether the class is known
DRAWN = 400  # images of a plane that are drawn at most; others are dots
THUMBNAIL = 96  # pixels a side of a drawn image at most
SIDE = 0.045  # of an image on the plane, share of its width


def thumbnail(image, info):
    """Return an image (H, W, C) in the units of the data as a small RGB image from 0 to 1."""
    image = images.scale(image, images.bits(image) or info["range"], image.shape[-1])
    step = max(max(image.shape[:2]) / THUMBNAIL, 1.0)
    height, width = (max(1, round(size / step)) for size in image.shape[:2])
    return plots.rgb(images.resize(image, height, width))


def framed(image, colour):
    """Return an RGB image in a frame of a colour such as "#2e7d32"."""
    width = max(1, round(0.05 * max(image.shape[:2])))
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255
    frame = np.tile(rgb, (image.shape[0] + 2 * width, image.shape[1] + 2 * width, 1))
    frame[width:-width, width:-width] = image
    return frame


def page(rows):
    """Draw a page of images, each row an image and its nearest ones.

    Args:
        rows: lists of (RGB image, title, colour of its frame or None), the query first, all of
            the same length.
    """
    panels = []
    for row in rows:
        for image, title, colour in row:
            shown = framed(image, colour) if colour else image
            panels.append((shown, title, colour or plots.INK))
    return plots.images(panels, columns=len(rows[0]), size=1.7)


def nearest(x, y, vectors, info):
    """Draw some images of a split with their nearest others, wrong ones in red."""
    squares = squared_distances(vectors, vectors)
    np.fill_diagonal(squares, np.inf)
    order = np.argsort(squares, axis=1, kind="stable")[:, : COLUMNS - 1]
    rows = []
    for i in report.examples(y, y[order[:, 0]], ROWS):
        row = [(plots.rgb(x[i]), info["classes"][y[i]], None)]
        for j in order[i]:
            right, distance = y[j] == y[i], np.sqrt(squares[i, j])
            name = f"{distance:.2f}" if right else f"{info['classes'][y[j]]}  {distance:.2f}"
            row.append((plots.rgb(x[j]), name, RIGHT if right else WRONG))
        rows.append(row)
    return page(rows)


def plane(vectors, thumbnails, colours=None, legend=()):
    """Draw vectors in the plane of their first two principal components, with their images.

    An image that is drawn replaces its dot; the dots of others are drawn over the images.

    Args:
        vectors: (n, D).
        thumbnails: a function from the index of an image to the RGB image from 0 to 1.
        colours: of the dots and frames of images, (n, 3); None for one colour.
        legend: pairs (name, colour), drawn below.
    """
    places, shares = components(vectors)
    figure = Figure(figsize=(9, 9), layout="constrained")
    axes = figure.add_subplot()
    low, high = places.min(axis=0), places.max(axis=0)
    span = (high - low).max()
    span = span if span > 1e-6 * np.abs(vectors).max() else 1.0  # of equal vectors
    half = SIDE * span / 2
    drawn = apart(places, 2.2 * half)[:DRAWN]
    for i in drawn:
        colour = FRAME if colours is None else to_hex(colours[i])
        image, (x, y) = framed(thumbnails(i), colour), places[i]
        height, width = image.shape[:2] / np.float64(max(image.shape[:2])) * half
        axes.imshow(
            image, extent=(x - width, x + width, y - height, y + height), zorder=1, aspect="auto"
        )
    dots = np.setdiff1d(np.arange(len(places)), drawn)
    inks = [plots.QUIET] if colours is None else colours[dots]
    axes.scatter(*places[dots].T, s=12, c=inks, edgecolors="white", linewidths=0.5, zorder=2)
    middle = (low + high) / 2
    for set_limits, center in zip((axes.set_xlim, axes.set_ylim), middle, strict=True):
        set_limits(center - 0.55 * span, center + 0.55 * span)
    axes.set_aspect("equal")
    known = bool(np.any(shares > 0))
    axes.set_xlabel("first principal component" + known * f" ({shares[0]:.0%} of the variance)")
    axes.set_ylabel("second" + known * f" ({shares[1]:.0%})")
    plots.add_legend(figure, legend)
    return figure


def components(vectors):
    """Return coordinates (n, 2) on the first two principal components, and their variances' shares.

    The sign of a component is such that its largest coefficient is positive.
    """
    centered = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    _, values, axes = np.linalg.svd(centered, full_matrices=False)
    missing = max(0, 2 - len(axes))  # of a single vector, or one of a single value
    axes = np.pad(axes[:2], [(0, missing), (0, 0)])
    values = np.pad(values[:2], (0, missing))
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return centered @ (axes * np.sign(largest)).T, values**2 / max((centered**2).sum(), 1e-30)


def apart(places, least):
    """Return indices of places (n, 2), in random order, none nearer to another than `least`."""
    chosen = []
    for i in np.random.default_rng(0).permutation(len(places)):
        if not chosen or np.abs(places[chosen] - places[i]).max(axis=1).min() >= least:
            chosen.append(i)
    return chosen


def preview(x, y, info):
    """Draw images as training sees them, those of a class side by side."""
    shown = zip(x[:16], y[:16], strict=True)
    return plots.images([(plots.rgb(image), info["classes"][k], plots.INK) for image, k in shown])


def plot(x, y, vectors, info):
    """Draw images with their nearest ones, and the plane of some images of a split."""
    labels, colours = np.unique(y, return_inverse=True)[1], plots.palette(len(np.unique(y)))
    figures = {"plane": plane(vectors, lambda i: plots.rgb(x[i]), colours[labels])}
    return {"examples": nearest(x, y, vectors, info), **figures} if len(y) > 1 else figures
