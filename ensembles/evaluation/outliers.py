"""Out-of-distribution detection: how well scores tell other data from the test split.

- The highest probability: Hendrycks & Gimpel, ICLR 2017, https://arxiv.org/abs/1610.02136.
- The energy, -log Σ exp of the logits: Liu et al., NeurIPS 2020, https://arxiv.org/abs/2010.03759.
- The mutual information of label and member, see `ensembles.evaluation.uncertainty`; of values the
  variance of the members.

Each is higher for examples that look less like the training data. A map has the mean of its labels.
"""

import numpy as np

from ensembles.evaluation import probabilities, uncertainty
from ensembles.members import cache
from zoo import plots

FOUND = 0.95  # share of the test split that is accepted, of FPR95
LEAST = 1e-6  # spread below which a score is constant, as the energy of logarithms of probabilities


def from_files(names, read, common):
    """Return files as examples that the members take, with `len` and `take`.

    Args:
        names: what `zoo.inference.files.gather` returns.
        read: likewise, from a name to an example.
        common: what the members share.

    Raises:
        ValueError: if their pieces have several sizes.
    """
    inputs = []
    for name in names:
        for piece in common.task.data.cut(read(name), common.options):
            inputs.append(common.task.data.prepare(piece, common.info, common.options)[0])
    if len({array.shape for array in inputs}) != 1:
        raise ValueError("the files of --ood have several sizes: give files of one size")
    return cache.Examples(np.stack(inputs), np.zeros(len(inputs)))


def outputs(ensemble):
    """Return the members' logits for the other data, a list of arrays (n, ..., K)."""
    return cache.outputs(
        ensemble.members,
        ensemble.common,
        ensemble.others,
        batch_size=ensemble.batch_size,
        wrap=ensemble.views if ensemble.tta else None,
    )


def scores(logits, members, values=False):
    """Return the scores of examples, {name: (n,)}, without those that are constant.

    Args:
        logits: of the combination, (n, ..., K), of decisions.
        members: list of M arrays of the members' logits.
        values: whether these are values.
    """
    results = {}
    if values:
        if len(members) > 1:
            results["variance of members"] = by_example(np.var(members, axis=0))
        return results
    parts = [probabilities.of_logits(part).max(axis=-1) for (part,) in probabilities.blocks(logits)]
    results["highest probability"] = 1 - by_example(np.concatenate(parts))
    results["energy"] = np.mean([energy(array) for array in members], axis=0)
    if len(members) > 1:
        disagreement = uncertainty.uncertainty(members)["mutual_information"]
        results["mutual information"] = by_example(disagreement)
    return {name: array for name, array in results.items() if np.ptp(array) > LEAST}


def energy(logits):
    """Return the mean energy of each example, (n,), of logits (n, ..., K)."""
    parts = []
    for (part,) in probabilities.blocks(logits):
        part = np.asarray(part, np.float64)
        if part.shape[-1] == 1:
            part = np.concatenate([np.zeros_like(part), part], axis=-1)
        highest = part.max(axis=-1)
        total = highest + np.log(np.exp(part - highest[..., None]).sum(axis=-1))
        parts.append(by_example(-total))
    return np.concatenate(parts)


def by_example(values):
    """Return the mean of each example, (n,), of an array (n, ...)."""
    return np.asarray(values, np.float64).reshape(len(values), -1).mean(axis=1)


def detection(inside, outside):
    """Score how well a score tells data apart.

    Args:
        inside: scores (n,) of the test split.
        outside: scores (m,) of other data; they should be higher.

    Returns:
        {"auroc": the area under the ROC curve, "fpr95": the share of the other data that is taken
        for the test split where 95 % of that is}.
    """
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    limit = np.quantile(inside, FOUND, method="higher")
    area = roc_auc_score(truth, np.concatenate([inside, outside]))
    return {"auroc": float(area), "fpr95": float(np.mean(outside <= limit))}


def figure(inside, outside):
    """Plot histograms of each score, of the test split and of other data.

    Args:
        inside: {name: scores (n,)}.
        outside: {name: scores (m,)}, of the same names.

    Returns:
        A Matplotlib figure.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(3.6 * len(inside), 3.2), layout="constrained")
    for i, (name, own) in enumerate(inside.items(), 1):
        axes, others = drawing.add_subplot(1, len(inside), i), outside[name]
        both = np.concatenate([own, others])
        edges = np.linspace(*np.quantile(both, [0.002, 0.998]), 31)
        for array, label, colour in (
            (own, "test split", "#3566a8"),
            (others, "other data", "#b3541e"),
        ):
            weights = np.full(len(array), 1 / len(array))
            axes.hist(
                array.clip(edges[0], edges[-1]),
                edges,
                weights=weights,
                alpha=0.6,
                color=colour,
                label=f"{label} ({len(array):,})",
            )
        known = detection(own, others)
        axes.set_title(f"{name}: AUROC {known['auroc']:.3f}", color=plots.INK, fontsize=10, y=1.0)
        axes.spines[["top", "right"]].set_visible(False)
        if i == 1:
            axes.set_ylabel("share")
            axes.legend(frameon=False, fontsize=8)
    return drawing
