"""Ensembles: saved models combined into one model, which is used like any other model.

    import ensembles

    model = ensembles.average(["runs/a", "runs/b", "unet_dsb2018"])
    model = ensembles.stack(["runs/a", "old_model.h5"], x, y, meta="conv")   # x, y: validation

`python -m ensembles` does the same with data sets and files, saves the model, scores it and writes
a report. Weights and meta-learners must be fitted to examples that no member was trained on.
"""

import dataclasses

__all__ = ["average", "soup", "stack", "vote"]


def average(sources, weights=None, *, of="probabilities", inputs="shared"):
    """Combine models by averaging their predictions.

    Args:
        sources: presets, run folders, `.keras` or `.h5` files, `.onnx` or `.skops` files.
        weights: one number per model; equal if None.
        of: what is averaged, "probabilities" or "logits".
        inputs: "shared", or "separate" for a list of one input per member.

    Returns:
        A `keras.Model` from (B, ...) to float32 logits (B, ..., K).

    Raises:
        ValueError: if two models are incompatible; the message names both and what differs.
    """
    return _mixture(sources, inputs, weights, of)


def vote(sources, *, inputs="shared"):
    """Combine models by majority vote over their most probable classes; see `average`."""
    return _mixture(sources, inputs, None, "votes")


def soup(
    sources,
    recipe="uniform",
    x=None,
    y=None,
    *,
    base=None,
    fraction=0.5,
    density=None,
    scale=1.0,
    seed=0,
    info=None,
    batch_size=16,
):
    """Merge the weights of models of one architecture, which share their initial weights.

    Args:
        sources: as for `average`.
        recipe: "uniform", the mean; "greedy", the mean of those that improve the score on x and y;
            "slerp", spherical interpolation of two; "ties", "dare" or "model_stock", which combine
            the changes of a base.
        x: inputs (n, ...) that no model was trained on, preprocessed; for "greedy".
        y: their labels (n, ...).
        base: preset, run folder or file of the model that all were tuned from; None for the one
            that their records name.
        fraction: of "slerp", the way from the first model (0) to the second (1).
        density: of "ties" and "dare", the share of the changes that is kept; by default 0.2, 0.5.
        scale: of "ties" and "dare", the factor on the merged changes.
        seed: of the changes that "dare" drops.
        info: {"classes": names ...}, if none of the models has a record of them.
        batch_size: batch size.

    Returns:
        A `keras.Model` of their architecture, from (B, ...) to logits (B, ..., K).

    Raises:
        ValueError: if the models differ in their architecture, or a setting is out of its range.
    """
    from ensembles.combining import soup_model
    from ensembles.members import checks, opening
    from zoo.inference import predictors

    members = opening.open(sources)
    common = checks.check(members)
    info = common.info or info or {}
    common = dataclasses.replace(common, info=info, task=common.task.of(info))

    def score(model):
        return soup_model.score(common, y, predictors.predict(model, x, batch_size))

    settings = dict(base=base, fraction=fraction, density=density, scale=scale, seed=seed)
    return soup_model.build(members, common, recipe, None if x is None else score, **settings)[0]


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
    """Combine models by a meta-learner, trained on predictions for examples they have not seen.

    Args:
        sources: as for `average`.
        x: inputs (n, ...), preprocessed as the models' training data were.
        y: labels (n, ...), -1 is void. A stratified random part of them is held out to choose the
            number of epochs (of forecasts, the last windows); the final fit uses all examples.
        meta: "linear", "dense", "conv", or a function (list of logits, input or None, K, kernel
            size) to logits.
        passthrough: whether the meta-learner gets x too.
        inputs: as for `average`.
        groups: (n,) integers, the image, series or file of each example; all examples of a group
            are held out together. None if the examples are independent.
        info: {"classes": names ...}, if none of the models has a record of them.
        folder: where the models' predictions are cached; None holds them in memory.
        more: epochs, batch_size, learning_rate, seed; see `ensembles.combining.stacking.fit`.

    Returns:
        As of `average`.
    """
    from ensembles.combining import combine, holdout, stacking
    from ensembles.members import cache, checks, opening

    members = opening.open(sources)
    common = checks.check(members)
    info = common.info or info or {}
    common = dataclasses.replace(common, info=info, task=common.task.of(info))
    data = cache.Examples(x, y, groups)
    key = "" if folder is None else cache.fingerprint(x)
    outputs = cache.outputs(members, common, data, folder=folder, key=key)
    checks.verify(members, outputs, common)
    shapes = combine.any_size([logits.shape[1:] for logits in outputs])
    head = stacking.meta_learner(meta, shapes, common, passthrough)
    take = combine.batch_function(outputs, y, data if passthrough else None)
    parts = holdout.split(data, y, common, more.get("seed", 0))
    more = {"least": 0 if meta in stacking.MEANS else 1, **more}
    stacking.fit(head, take, parts, common, **more)
    return combine.build_model(members, common, head, inputs=inputs)


def _mixture(sources, inputs, weights, of):
    from ensembles.combining import combine
    from ensembles.members import checks, opening

    members = opening.open(sources)
    common = checks.check(members)
    shapes = combine.any_size([(*member.output_shape[:-1], common.units) for member in members])
    if common.task.values and of == "votes":
        raise ValueError("vote is for classes, but these members return values. Use average")
    of = "logits" if common.task.values else of
    head = combine.mixture(shapes, weights, of, common.task.multilabel)
    return combine.build_model(members, common, head, inputs=inputs)
