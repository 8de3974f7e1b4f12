"""Forecasts: how good they are, how sure, and how they are shown, in the units of the series."""

import csv

import numpy as np

from zoo.tasks import forecast_figures as figures

LEVEL = 0.9  # share of the values that the interval of a forecast is to hold


def score(y, outputs, info):
    """Score forecasts (n, H, K) against what came, both in deviations of the training part.

    mse and mae are in these deviations, as in the literature; r2 and mase are means over targets,
    whose own errors are told in their units.
    """
    y, error = np.asarray(y, np.float64), np.asarray(outputs, np.float64) - y
    places, targets = (0, 1), info["columns"][: info["targets"]]
    squares, sizes = (error**2).mean(axis=places), np.abs(error).mean(axis=places)
    r2 = 1 - squares / np.maximum(y.var(axis=places), 1e-12)
    units = np.array(info["deviation"][: len(targets)])
    mase = sizes * units / np.maximum(info["naive"], 1e-12)
    each = {
        name: {
            "mae": float(sizes[k] * units[k]),
            "rmse": float(np.sqrt(squares[k]) * units[k]),
            "r2": float(r2[k]),
            "mase": float(mase[k]),
        }
        for k, name in enumerate(targets)
    }
    scores = {
        "mse": float(squares.mean()),
        "mae": float(sizes.mean()),
        "r2": float(r2.mean()),
        "mase": float(mase.mean()),
    }
    lines = [f"{'':>16} {'MAE':>10} {'RMSE':>10} {'R2':>8} {'MASE':>8}", ""]
    for name, row in each.items():
        lines.append(
            f"{name[:16]:>16} {row['mae']:10.4g} {row['rmse']:10.4g} {row['r2']:8.3f} "
            f"{row['mase']:8.3f}"
        )
    ends = f"in deviations: MSE {scores['mse']:.4f}, MAE {scores['mae']:.4f}"
    return {**scores, "targets": each}, "\n".join([*lines, "", ends, ""])


def found(y, outputs, info):
    """Return the quantiles of the errors of each step, (H, K) below and above, in deviations."""
    error = np.asarray(y, np.float64) - outputs
    low, high = np.quantile(error, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {"level": LEVEL, "lower": low.tolist(), "upper": high.tolist()}


def in_units(values, info):
    """Return deviations (..., K) in the units of the targets."""
    count = info["targets"]
    return values * np.array(info["deviation"][:count]) + np.array(info["mean"][:count])


def between(outputs, info):
    """Return forecasts (..., H, K) and the ends of their intervals, in the units of the targets.

    Beyond the horizon, where forecasts are made from forecasts, the interval grows with the root
    of how often, as the errors of rounds do that know nothing of one another.
    """
    outputs = np.asarray(outputs, np.float64)
    if "found" not in info:
        return in_units(outputs, info), None, None
    steps, ends = outputs.shape[-2], []
    for key in ("lower", "upper"):
        reach = np.array(info["found"][key])
        rounds = -(-steps // len(reach))
        grown = np.concatenate([reach * np.sqrt(i) for i in range(1, rounds + 1)])[:steps]
        ends.append(in_units(outputs + grown, info))
    return in_units(outputs, info), *ends


def decode(outputs, info):
    """Turn outputs (n, H, K) into forecasts and their intervals, in the units of the targets."""
    names = info["columns"][: info["targets"]]
    parts = zip(("forecast", "lower", "upper"), between(outputs, info), strict=True)
    known = {key: values for key, values in parts if values is not None}
    return [
        {key: dict(zip(names, values[i].T.tolist(), strict=True)) for key, values in known.items()}
        for i in range(len(outputs))
    ]


def plot(x, y, outputs, info):
    """Draw forecasts beside what came, errors by step, and the residuals."""
    return figures.drawn(in_units(y, info), in_units(outputs, info), info)


def preview(x, y, info):
    """Draw windows as training sees them: what is known, and what is to be forecast."""
    return figures.windows(x[:12], y[:12], info)


def present(example, pieces, outputs, info):
    """Return the table's row of one series, its picture, and its forecast as CSV."""
    piece, names = pieces[0], info["columns"][: info["targets"]]
    forecast, low, high = between(next(iter(outputs)), info)
    past = calendar(piece)
    stamps = ahead(past, len(forecast))
    known = {"forecast": forecast, "lower": low, "upper": high, "times": np.asarray(stamps)}
    known = {key: values for key, values in known.items() if values is not None}
    row = {"steps": len(forecast), "arrays": known}
    for k, name in enumerate(names):
        row |= {f"{name} first": float(forecast[0, k]), f"{name} last": float(forecast[-1, k])}

    def table(path):
        ends = [("", forecast)] + [("_lower", low), ("_upper", high)] * (low is not None)
        titles = [name + end for name in names for end, _ in ends]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["time" if piece["times"] is not None else "step", *titles])
            for i, stamp in enumerate(stamps):
                cells = (values[i, k] for k in range(len(names)) for _, values in ends)
                writer.writerow([stamp, *(f"{value:.6g}" for value in cells)])

    def picture(path):
        known = piece["values"][:, : len(names)]
        drawn = figures.ahead(past, known, stamps, forecast, low, high, names)
        drawn.savefig(path, dpi=120, bbox_inches="tight")

    return row, {"_forecast.csv": table, ".png": picture}


def calendar(piece):
    """Return what the steps of a piece are called: a range of numbers, or pandas' dates."""
    first, times = piece["first"], piece["times"]
    if times is None:
        return range(first, first + len(piece["values"]))
    import pandas

    return pandas.DatetimeIndex(times)


def ahead(past, steps):
    """Return what the next steps are called: dates that go on as they did, or numbers."""
    if isinstance(past, range):
        return range(past.stop, past.stop + steps)
    import pandas

    with pandas.option_context("future.infer_freq_returns_offset", True):
        rule = pandas.infer_freq(past) if len(past) > 2 else None
    step = rule or pandas.Timedelta(int(np.median(np.diff(past.asi8))))
    return pandas.date_range(past[-1], periods=steps + 1, freq=step)[1:]
