"""Tables of the report besides its scores: what a calibration was chosen from, and its coverage."""

import numpy as np

from ensembles.evaluation import conformal, outliers
from zoo import plots


def of_calibration(ensemble, info, facts, logits):
    """Return the tables of a calibrated model, {title: list of rows, dictionaries of texts}.

    Args:
        ensemble: the `Ensemble`.
        info: of the calibrated model.
        facts: what the record stores of the method.
        logits: of the model on the test split, (n, ..., K).
    """
    tables = {}
    if losses := facts.get("log-loss"):
        chosen = facts["scaling"]
        tables["Calibration methods, by their log-loss on folds of the validation split"] = [
            {"method": f"{name}, chosen" if name == chosen else name, "log-loss": f"{loss:.4f}"}
            for name, loss in losses.items()
        ]
    if "conformal" not in info:
        return tables
    settings, y = info["conformal"], ensemble.labels("test")
    promise = f"{settings['method']}, promised coverage {settings['coverage']:g}"
    if ensemble.common.task.values:
        tables[f"Intervals on the test split: {promise}"] = of_intervals(logits, y, settings, info)
        return tables
    known = conformal.of_classes(ensemble.decisions(logits), y, settings, ensemble.names())
    rows = [{"true class": "all", "coverage": f"{known['coverage']:.4f}"}]
    for name, share in known["classes"].items():
        rows.append({"true class": name, "coverage": "–" if share is None else f"{share:.4f}"})
    tables[f"Sets on the test split: {promise}"] = rows
    tables[f"Classes in a set: {known['size']:.2f} on average"] = [
        {"classes": str(size), "share of the sets": f"{share:.4f}"}
        for size, share in known["sizes"].items()
    ]
    return tables


def of_others(ensemble, logits, others):
    """Return how well scores tell other data from the test split.

    Args:
        ensemble: the `Ensemble`, with other examples.
        logits: of the combination on the test split, (n, ..., K).
        others: likewise, on the other data.

    Returns:
        ({name: {"auroc", "fpr95"}}, the table {title: rows}, a figure).
    """
    values = ensemble.common.task.values
    pairs = (logits, ensemble.outputs("test")), (others, outliers.outputs(ensemble))
    inside, outside = (
        outliers.scores(ensemble.decisions(own), [*map(ensemble.decisions, members)], values)
        for own, members in pairs
    )
    names = [name for name in inside if name in outside]
    known = {name: outliers.detection(inside[name], outside[name]) for name in names}
    rows = [
        {"score": name, "AUROC ↑": f"{of['auroc']:.4f}", "FPR95 ↓": f"{of['fpr95']:.4f}"}
        for name, of in known.items()
    ]
    title = f"Other data, {len(others):,} examples, told from the test split"
    inside, outside = ({name: array[name] for name in names} for array in (inside, outside))
    return known, {title: rows}, outliers.figure(inside, outside)


def of_intervals(outputs, y, settings, info):
    """Return the coverage and the mean width of each value, in its units."""
    known = conformal.of_values(outputs, y, settings)
    names, units = info["columns"][: y.shape[-1]], np.array(info["deviation"][: y.shape[-1]])
    widths = known["width"] * units
    return [
        {"value": plots.plain(name), "coverage": f"{share:.4f}", "mean width": f"{width:.4g}"}
        for name, share, width in zip(names, known["coverage"], widths, strict=True)
    ]
