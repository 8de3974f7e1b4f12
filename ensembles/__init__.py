"""Ensembles: saved models combined into one model, which is used like any other.

    import ensembles

    model = ensembles.average(["runs/a", "runs/b", "unet_dsb2018"])
    model = ensembles.stack(["runs/a", "old_model.h5"], x, y, meta="conv")   # x, y: validation

`python -m ensembles` does the same with data sets and files, and keeps, scores and reports what it
makes. What is fitted must be fitted to examples that no member was trained on.
"""

import dataclasses

__all__ = ["average", "stack", "vote"]


def average(sources, weights=None, *, of="probabilities", inputs="shared"):
    """Combine models into their mean.

    Args:
        sources: presets, run folders, `.keras` or `.h5` files.
        weights: one number per model; equal if None.
        of: what the mean is taken of, "probabilities" or "logits".
        inputs: "shared", or "separate" for a list of one input per member.

    Returns:
        A `keras.Model` from (B, ...) to float32 logits (B, ..., K).

    Raises:
        ValueError: if two of them do not fit together; the message names both and what differs.
    """
    return _mixed(sources, inputs, weights, of)


def vote(sources, *, inputs="shared"):
    """Combine models so that each votes for its most probable class; see `average`."""
    return _mixed(sources, inputs, None, "votes")


def stack(
    sources,
    x,
    y,
    meta="linear",
    *,
    passthrough=False,
    inputs="shared",
    groups=None,
    info=None,
    folder=None,
    **more,
):
    """Train a meta-learner on predictions of examples that models have not seen; combine them.

    Args:
        sources: as for `average`.
        x: inputs (n, ...), prepared as the models' were.
        y: labels (n, ...), -1 is void. A part of them, drawn by the seed for each class, picks the
            number of epochs, and then all are fitted to; of forecasts it is the last windows.
        meta: "linear", "dense", "conv", or a function (list of logits, input or None, K, kernel
            size) to logits.
        passthrough: give it x too.
        inputs: as for `average`.
        groups: (n,) numbers of the images, series or files that examples are pieces of, which are
            held out as a whole; None if they have nothing to do with each other.
        info: {"classes": names ...}, if none of the models has a record of them.
        folder: where the models' predictions are cached; None keeps them in memory.
        more: epochs, batch_size, learning_rate, seed; see `ensembles.combining.stacking.fit`.

    Returns:
        As `average`.
    """
    from ensembles.combining import combine, holdout, stacking
    from ensembles.members import cache, checks, opening

    opened = opening.open(sources)
    common = checks.check(opened)
    common = dataclasses.replace(common, info=common.info or info or {})
    data = cache.Examples(x, y, groups)
    key = "" if folder is None else cache.fingerprint(x)
    outputs = cache.outputs(opened, common, data, folder=folder, key=key)
    checks.verify(opened, outputs, common)
    shapes = combine.free([one.shape[1:] for one in outputs])
    head = stacking.meta_learner(meta, shapes, common, passthrough)
    take = combine.taker(outputs, y, data if passthrough else None)
    parts = holdout.split(data, y, common, more.get("seed", 0))
    more = {"least": 0 if meta in stacking.MEANS else 1, **more}
    stacking.fit(head, take, parts, common, **more)
    return combine.join(opened, common, head, inputs=inputs)


def _mixed(sources, inputs, weights, of):
    from ensembles.combining import combine
    from ensembles.members import checks, opening

    opened = opening.open(sources)
    common = checks.check(opened)
    shapes = combine.free([(*one.output_shape[:-1], common.units) for one in opened])
    return combine.join(opened, common, combine.mixture(shapes, weights, of), inputs=inputs)
