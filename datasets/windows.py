"""Windows of series: views of one array, split by time, so that training never uses the future."""

import itertools

import numpy as np

from datasets.source import SPLITS, BadInput
from datasets.splits import Arrays


def split(stored, *, window, horizon, targets, parts, stride):
    """Split the windows of prepared series into training, validation and test.

    Of three parts of each series the first is for training, the next for validation and the last
    for the test. The steps to forecast lie entirely in their part; the input steps before them may
    reach back into the part before. A source's own splits are used as they are.

    Args:
        stored: {split: ({"x": steps (n, F) of all series}, groups (n, 3), whose first two columns
            identify the series)}.
        window: W, input steps.
        horizon: H, steps after them to forecast.
        targets: K, how many of the features are forecast: the first ones.
        parts: three numbers of steps, or fractions of the steps if none is above 1.
        stride: steps from one training window to the next.

    Returns:
        {split: `Arrays` of x (n, W, F) and y (n, H, K)}: views of the steps, without copies.

    Raises:
        BadInput: if a part contains no window.
    """
    missing = [name for name in SPLITS[1:] if name not in stored]
    rows = {name: [] for name in SPLITS}
    for name, (_, groups) in stored.items():
        for first, last in series(groups):
            ends = bounds(last - first, parts, missing) if name == "train" else {name: (0, None)}
            for part, (start, end) in ends.items():
                end = last if end is None else min(first + end, last)
                begin = first + max(0, start - window)
                rows[part].append(np.arange(begin, end - window - horizon + 1))
    splits = {}
    for name in SPLITS:
        chosen = np.concatenate(rows[name]) if rows[name] else np.array([], int)
        if not len(chosen):
            why = f"its {name} part holds no window of {window} known and {horizon} forecast steps"
            raise BadInput("The data", why, "Take a smaller window or horizon, or another split")
        x, y = views(stored[name if name in stored else "train"][0]["x"], window, horizon, targets)
        splits[name] = Arrays(x, y, chosen[::stride] if name == "train" else chosen)
    return splits


def series(groups):
    """Return (first row, last row + 1) of each series of prepared steps."""
    edges = np.flatnonzero((groups[1:, :2] != groups[:-1, :2]).any(axis=1)) + 1
    ends = [0, *edges.tolist(), len(groups)]
    return list(zip(ends[:-1], ends[1:], strict=True))


def bounds(steps, parts, missing=("validation", "test")):
    """Return the part of each split of a series of `steps` steps: {split: (first, last + 1)}.

    The parts of splits that are not missing are added to training, which comes first.
    """
    scale = steps if max(parts) <= 1 else 1
    given = [part for name, part in zip(SPLITS[1:], parts[1:], strict=True) if name not in missing]
    sizes = {"train": parts[0] + sum(given)}
    sizes |= {name: part for name, part in zip(SPLITS, parts, strict=True) if name in missing}
    ends = [min(steps, round(end * scale)) for end in itertools.accumulate(sizes.values())]
    return dict(zip(sizes, zip([0, *ends], ends, strict=False), strict=True))


def views(steps, window, horizon, targets):
    """Return all windows (m, W, F) of steps (n, F) and the steps after them, (m, H, K): views."""
    if len(steps) < window + horizon:
        return np.empty((0, window, steps.shape[1])), np.empty((0, horizon, targets))
    cut = np.lib.stride_tricks.sliding_window_view
    x = cut(steps[: len(steps) - horizon], window, axis=0)
    y = cut(steps[window:, :targets], horizon, axis=0)
    return x.swapaxes(1, 2), y.swapaxes(1, 2)
