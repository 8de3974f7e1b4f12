"""Titles and colours of files on pages: paths from their common folder, colours of folders."""

import os
import pathlib

from zoo import describe, plots

LETTERS = 22  # of a line above an image
NAMED = 20  # folders at most in a legend


def shortened(names):
    """Return paths of files from the folder that has all of them, in two lines if they are long."""
    absolute = [pathlib.Path(os.path.abspath(name)) for name in names]
    root = os.path.commonpath([path.parent for path in absolute])
    texts = []
    for path in absolute:
        path = path.relative_to(root)
        folder = "" if path.parent == pathlib.Path() else f"{path.parent}{os.sep}"
        parts = [describe.one_line(part) for part in (folder, path.name) if part]
        if sum(map(len, parts)) <= LETTERS:
            parts = ["".join(parts)]
        short = [part if len(part) <= LETTERS else f"...{part[3 - LETTERS :]}" for part in parts]
        texts.append("\n".join(short))
    return texts


def folders(names):
    """Return the colours (n, 3) of files by the names of their folders, and a legend.

    Returns:
        (colours, legend): of `figures.plane`; None and none if all are in one folder. No legend of
        more folders than it has room for.
    """
    parents = [pathlib.Path(os.path.abspath(name)).parent.name for name in names]
    known = sorted(set(parents))
    if len(known) == 1:
        return None, ()
    palette = plots.palette(len(known))
    legend = [*zip(map(describe.one_line, known), palette, strict=True)]
    colours = palette[[known.index(folder) for folder in parents]]
    return colours, legend if len(known) <= NAMED else ()
