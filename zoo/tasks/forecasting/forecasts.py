"""Forecasts: their scores, intervals, figures and files, in the units of the series."""

import csv

import numpy as np

from zoo import plots
from zoo.tasks.forecasting import figures
from zoo.tasks.targets import conformal

LEVEL = 0.9  # nominal coverage of the prediction intervals


def summarize(y, outputs, info):
    """Return pairs of observed values and forecasts, (n, H, K) each, a list."""
    return [(y, outputs)]


def observed_and_forecast(pairs):
    """Return all observed values and all forecasts of a summary, (n, H, K) float64 each."""
    return [np.concatenate(parts).astype(np.float64) for parts in zip(*pairs, strict=True)]


def score(pairs, info):
    """Score forecasts (n, H, K) against observed values, both standardized by the training part.

    mse and mae are of standardized values, as in the literature; r2 and mase are means over
    targets, whose own errors are in their units. A target that is constant in the test part has no
    R2, and one whose naive forecast is exact in the training part no MASE: these are None, and left
    out of the means.
    """
    y, outputs = observed_and_forecast(pairs)
    error = outputs - y
    places, targets = (0, 1), info["columns"][: info["targets"]]
    squares, sizes = (error**2).mean(axis=places), np.abs(error).mean(axis=places)
    units, naive = np.array(info["deviation"][: len(targets)]), np.array(info["naive"])
    r2 = ratios(squares, y.var(axis=places), y)
    r2 = [None if share is None else 1 - share for share in r2]
    mase = ratios(sizes, naive / units, y)
    by_target = {
        name: {
            "mae": float(sizes[k] * units[k]),
            "rmse": float(np.sqrt(squares[k]) * units[k]),
            "r2": r2[k],
            "mase": mase[k],
        }
        for k, name in enumerate(targets)
    }
    scores = {"mse": float(squares.mean()), "mae": float(sizes.mean())}
    for key, values in (("r2", r2), ("mase", mase)):
        known = [value for value in values if value is not None]
        scores |= {key: float(np.mean(known))} if known else {}
    lines = [f"{'':>16} {'MAE':>10} {'RMSE':>10} {'R2':>8} {'MASE':>8}", ""]
    for name, row in by_target.items():
        shares = (f"{'-':>8}" if row[k] is None else f"{row[k]:8.3f}" for k in ("r2", "mase"))
        lines.append(f"{name[:16]:>16} {row['mae']:10.4g} {row['rmse']:10.4g} {' '.join(shares)}")
    lines += ["", f"standardized: MSE {scores['mse']:.4f}, MAE {scores['mae']:.4f}", ""]
    for key, values in (("R2", r2), ("MASE", mase)):
        if missing := [name for name, value in zip(targets, values, strict=True) if value is None]:
            lines[-1:] = [f"mean {key} is without {', '.join(missing[:10])}, which is constant", ""]
    return {**scores, "targets": by_target}, "\n".join(lines)


def ratios(errors, spreads, y):
    """Return each target's error over its spread, None where it has none beyond rounding."""
    least = 1e-12 * np.maximum(np.abs(y).max(axis=(0, 1)), 1)
    return [
        float(error / spread) if spread > small else None
        for error, spread, small in zip(errors, spreads, least, strict=True)
    ]


def columns(piece, names):
    """Return those columns of a piece that a model was trained on, (T, C), in its order.

    Raises:
        ValueError: if one is missing.
    """
    places = {name: i for i, name in enumerate(piece["columns"])}
    if lacks := [name for name in names if name not in places]:
        raise ValueError(
            f"its columns are {piece['columns']}, and {names} are needed: it lacks "
            f"{', '.join(lacks[:10])}. Name them so, or train on this file"
        )
    return piece["values"][:, [places[name] for name in names]]


def errors(pairs, info):
    """Return the quantiles of the errors of each step, (H, K) below and above, standardized."""
    y, outputs = observed_and_forecast(pairs)
    error = y - outputs
    low, high = np.quantile(error, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {"level": LEVEL, "lower": low.tolist(), "upper": high.tolist()}


def in_units(values, info):
    """Return standardized values (..., K) in the units of the targets."""
    count = info["targets"]
    return values * np.array(info["deviation"][:count]) + np.array(info["mean"][:count])


def between(outputs, info):
    """Return forecasts (..., H, K) and the ends of their intervals, in the units of the targets."""
    outputs = np.asarray(outputs, np.float64)
    if not (settings := conformal.stored(info)):
        return in_units(outputs, info), None, None
    steps, horizon = outputs.shape[-2], len(settings["lower"])
    if steps < horizon:  # of a shorter forecast
        keys = ("lower", "upper")
        slopes = {k: np.array(v)[:, :steps] for k, v in settings.get("slopes", {}).items()}
        settings = {key: settings[key][:steps] for key in keys}
        settings |= {"slopes": slopes} if slopes else {}
    low, high = conformal.offsets(outputs[..., :horizon, :], settings)
    low, high = -beyond(-low, steps), beyond(high, steps)
    return in_units(outputs, info), in_units(outputs + low, info), in_units(outputs + high, info)


def beyond(offsets, steps):
    """Return what `reach` does, for offsets (..., H, K), which may differ between forecasts."""
    if offsets.ndim == 2:
        return reach(offsets, steps)
    return np.stack([beyond(part, steps) for part in offsets])


def reach(quantiles, steps):
    """Return how far an interval reaches to one side of a forecast of any number of steps.

    Beyond the horizon, forecasts are made from forecasts: each round begins where the one before
    ended, with the error of its last step, and adds an error of its own. Their variances add up,
    as if rounds were independent; for a series that returns to its mean that is more than needed.
    From the end of the horizon on, no step is more certain than the one before it.

    Args:
        quantiles: (H, K) of the errors of each step within the horizon.
        steps: how many are forecast.

    Returns:
        (steps, K); the quantiles themselves within the horizon.
    """
    horizon = len(quantiles)
    if steps <= horizon:
        return quantiles[:steps]
    bounds = np.maximum(quantiles, 0)  # a biased forecast can have both ends on one side
    rounds = np.arange(1, -(-steps // horizon))[:, None, None]
    later = np.sqrt(rounds * bounds[-1] ** 2 + bounds**2).reshape(-1, bounds.shape[1])
    later = np.maximum.accumulate(np.concatenate([bounds[-1:], later]))[1:]
    return np.concatenate([quantiles, later])[:steps]


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
    """Draw forecasts with observed values, errors by step, and the residuals."""
    forecast, low, high = between(outputs, info)
    return figures.drawn(in_units(y, info), forecast, info, low, high)


def preview(x, y, info):
    """Draw windows as training sees them: inputs and targets."""
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
        known = columns(piece, names)
        drawn = figures.ahead(
            past, known, stamps, forecast, low, high, names, figures.interval(info)
        )
        plots.save(drawn, path)

    return row, {"_forecast.csv": table, ".png": picture}


def calendar(piece):
    """Return the labels of a piece's steps: a range of numbers, or pandas' dates."""
    first, times = piece["first"], piece["times"]
    if times is None:
        return range(first, first + len(piece["values"]))
    import pandas

    return pandas.DatetimeIndex(times)


def ahead(past, steps):
    """Return the labels of the next steps: dates at the same intervals, or numbers."""
    if isinstance(past, range):
        return range(past.stop, past.stop + steps)
    import pandas

    with pandas.option_context("future.infer_freq_returns_offset", True):
        rule = pandas.infer_freq(past) if len(past) > 2 else None
    step = rule or pandas.Timedelta(int(np.median(np.diff(past.asi8))))
    return pandas.date_range(past[-1], periods=steps + 1, freq=step)[1:]
