"""The length of a training: batch size and epochs by the number of examples."""

import math

from zoo.system.terminal import counted

BATCHES = 10  # per epoch at least, as Wang et al. 2017, https://arxiv.org/abs/1611.06455, on UCR
SMALLEST = 4  # examples per batch; fewer make batch statistics too noisy
LONGER = 10  # largest factor on a task's default epochs
FEW = 200  # updates below which networks hardly learn


def complete(settings, defaults, count):
    """Return settings with default batch size and epochs.

    A large data set gets the task's defaults. A small one gets smaller batches, a tenth of the
    examples, and enough epochs for the task's minimum number of updates. With snapshots, the epochs
    are rounded up to complete cycles.

    Args:
        settings: with "batch_size" and "epochs", None for the default, and maybe "snapshots".
        defaults: the task's `training`: "batch_size", "epochs" and "updates".
        count: number of training examples.

    Returns:
        A new dictionary.
    """
    size, epochs = settings["batch_size"], settings["epochs"]
    if size is None:
        size = min(defaults["batch_size"], max(SMALLEST, count // BATCHES))
    if epochs is None:
        needed = math.ceil(defaults["updates"] / math.ceil(count / size))
        epochs = max(defaults["epochs"], min(needed, LONGER * defaults["epochs"]))
        cycles = settings.get("snapshots") or 1
        epochs = math.ceil(epochs / cycles) * cycles
    return {**settings, "batch_size": size, "epochs": epochs}


def described(steps, epochs, size):
    """Return lines on the length of a training: steps per epoch, epochs, updates."""
    updates = steps * epochs
    lines = [
        f"{counted(steps, 'step')} an epoch, batches of {size:,}; {counted(epochs, 'epoch')}; "
        f"{counted(updates, 'update')}"
    ]
    if updates < FEW:
        lines.append(
            f"Warning: {counted(updates, 'update')} {'is' if updates == 1 else 'are'} too few for "
            "most networks. "
            "Use more --epochs, or a smaller --batch-size"
        )
    return lines


def duration(seconds):
    """Return seconds in a suitable unit: "40 s", "12 minutes", "3.5 hours"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
