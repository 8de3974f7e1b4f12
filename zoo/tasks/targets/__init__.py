"""Kinds of targets, an option of the data: one class an example, several labels, or values.

`info["target"]` is "labels" or "values"; without it, targets are classes. A task that takes all
kinds has these functions in its record, and its own pictures, see `image_classification`.
"""

from zoo.tasks.targets import classes, labels, values

KINDS = {"labels": labels.TARGET, "values": values.TARGET}


def of(info):
    """Return the `Target` of data with these constants."""
    return KINDS.get(info.get("target"), classes.TARGET)


def loss(info, options):
    """Return the loss of the option; "auto" is the first one of the kind of target.

    Raises:
        ValueError: the loss is for another kind of target.
    """
    target, name = of(info), options["loss"]
    if name == "auto":
        name = next(iter(target.losses))
    if name not in target.losses:
        why = f"the loss {name} is not for {target.what}, which the data have"
        raise ValueError(f"{why}. Leave it out, or give --loss {' or '.join(target.losses)}")
    return target.losses[name](info, options)


def metrics(info):
    """Return the metrics in the progress bar."""
    return of(info).metrics(info)


def summarize(y, outputs, info):
    """Return the summary of a part of a split, see `Results.summarize` of a task."""
    return of(info).summarize(y, outputs, info)


def score(summary, info):
    """Return the scores of a summary, and a report."""
    return of(info).score(summary, info)


def curves(summary, info):
    """Return the figures of a summary by file name."""
    return of(info).curves(summary, info)


def decode(outputs, info):
    """Return decoded predictions, a dictionary each."""
    return of(info).decode(outputs, info)
