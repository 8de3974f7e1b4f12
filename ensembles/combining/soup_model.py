"""Soups as models: members' weights merged by a recipe, and set into their architecture."""

from ensembles.combining import merging, soup
from ensembles.members import graph
from zoo.weights import presets, saving

RECIPES = ("greedy", "uniform", *merging.RECIPES)


def build(members, common, recipe, score=None, *, scores=None, base=None, **settings):
    """Build the model of a soup.

    Args:
        members: list of `ensembles.members.opening.Member`.
        common: what they share.
        recipe: one of RECIPES.
        score: function from a model to its score, better when higher; needed for "greedy".
        scores: of each member alone, if they are known.
        base: for `merging.ON_BASE`, a preset, run folder or file of the model that the members
            were tuned from; by default the one that the records of all of them name.
        settings: fraction, density, scale and seed; see `merging.merge`.

    Returns:
        (model, facts): a model of the members' architecture, and a dictionary for the record.

    Raises:
        ValueError: if two members' weights differ in number or shape, a setting is out of its
            range, or there is no base.
    """
    names, weights, trained = [member.name for member in members], [], []
    base, warnings = chosen_base(members, recipe, base)
    for member in members:
        model = saving.load(member.path)
        if not common.task.values:
            model = graph.in_logits(model, member.path, common.task.multilabel)
        weights.append(model.get_weights())
        trained.append([variable.trainable for variable in model.weights])
    facts = {"recipe": recipe}
    if recipe == "greedy":
        if score is None:
            raise ValueError("greedy selects members by their scores: give x and y")

        def evaluate(averaged):
            model.set_weights(averaged)
            return score(model)

        soup.check(weights, names)
        scores = [evaluate(arrays) for arrays in weights] if scores is None else scores
        merged, chosen, history = soup.greedy(weights, scores, evaluate, names=names)
        facts |= {"chosen": [names[i] for i in chosen], "history": history}
    elif recipe == "uniform":
        merged = soup.uniform(weights, names=names)
    elif recipe in merging.RECIPES:
        soup.check(weights, names)
        arrays = None if base is None else saving.load(presets.locate(base)).get_weights()
        trained = [any(column) for column in zip(*trained, strict=True)]
        given = dict(trained=trained, names=names, **settings)
        merged, averaged = merging.merge(recipe, weights, arrays, **given)
        facts |= described(recipe, settings)
        if base is not None:
            facts |= {"base": str(base), "arrays_averaged": averaged}
        facts |= {"warnings": warnings} if warnings else {}
    else:
        raise ValueError(f"there is no recipe {recipe!r}: give {', '.join(RECIPES)}")
    model.set_weights(merged)
    return model, facts


def score(common, y, outputs):
    """Return the score of outputs that picks the best epoch of a training, better when higher."""
    best, mode = common.task.training.best
    scores, _ = common.task.results.evaluate(y, outputs, common.info)
    return scores.get(best.removeprefix("val_"), 0.0) * (1 if mode == "max" else -1)


def described(recipe, settings):
    """Return those of the settings that a recipe uses, for the record."""
    if recipe == "slerp":
        return {"fraction": settings.get("fraction", 0.5)}
    if recipe == "model_stock":
        return {}
    density = settings.get("density")
    density = merging.DENSITY[recipe] if density is None else density
    return {"density": density, "scale": settings.get("scale", 1.0)}


def chosen_base(members, recipe, base):
    """Return the base of a recipe, None if it needs none, and a list of warnings.

    Raises:
        ValueError: if none is given and the members' records name none, or several.
    """
    if recipe not in merging.ON_BASE:
        if base is not None:
            raise ValueError(f"{recipe} has no base: leave it out, or use ties, dare, model_stock")
        return None, []
    initial = {m.name: m.record.get("settings", {}).get("init") for m in members}
    if base is not None:
        other = [name for name, init in initial.items() if init not in (None, str(base))]
        return base, [f"{', '.join(other)}: not tuned from {base}, by its record"] if other else []
    known = set(initial.values())
    if len(known) == 1 and None not in known:
        return known.pop(), []
    values = ", ".join(f"{name}: {init or 'unknown'}" for name, init in initial.items())
    raise ValueError(
        f"{recipe} needs the model that all members were tuned from, and their records do not "
        f"name one ({values}). Give it: --base, or base="
    )
