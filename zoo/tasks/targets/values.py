"""Targets that are numbers (regression): standardized in training, scored in their units.

y and outputs are (n, K), standardized by the constants of the data: "columns", the names of the K
values, "mean" and "deviation". A value that is constant in training has the deviation 1.
"""

import functools

import keras
import numpy as np

from zoo import plots
from zoo.tasks.targets import conformal, figures, report
from zoo.tasks.targets.target import Target

LONGEST = 44  # characters of a title
RESERVED = ("file", "written", "arrays")  # columns of the table of predictions


def standardized(label, info):
    """Return the values of an example, (K,) float32, standardized."""
    return np.float32((np.asarray(label, np.float64) - info["mean"]) / info["deviation"])


def in_units(values, info):
    """Return standardized values (n, K) in their units, float64."""
    return np.float64(values) * info["deviation"] + info["mean"]


def summarize(y, outputs, info):
    """Return sums over examples, (1 + 4 K,): of 1, and of each value y, y², error² and |error|.

    All are of standardized values, so that y² and the square of the mean of y are of similar size.
    """
    y, error = np.float64(y), np.float64(outputs) - y
    parts = (y, y**2, error**2, np.abs(error))
    return np.concatenate([[len(y)], *(part.sum(axis=0) for part in parts)])


def score(sums, info):
    """Score the sums of `summarize`.

    Returns:
        A dictionary: mse, of standardized values, which picks the epoch; mae and r2, in the units
        of the values, the means over them. A value that is constant has no R², and is left out
        of its mean; "targets" has mae, rmse and r2 of each. And a table.
    """
    count, (total, squares, squared, absolute) = sums[0], np.split(np.asarray(sums[1:]), 4)
    deviation = np.array(info["deviation"])
    spread = squares - total**2 / count
    rows = {}
    for k, name in enumerate(info["columns"]):
        varies = spread[k] > 1e-9 * max(squares[k], 1e-9)
        rows[name] = {
            "mae": float(absolute[k] / count * deviation[k]),
            "rmse": float(np.sqrt(squared[k] / count) * deviation[k]),
            "r2": float(1 - squared[k] / spread[k]) if varies else None,
        }
    known = [row["r2"] for row in rows.values() if row["r2"] is not None]
    scores = {
        "mse": float(squared.sum() / (count * len(rows))),
        "mae": float(np.mean([row["mae"] for row in rows.values()])),
        **({"r2": float(np.mean(known))} if known else {}),
    }
    lines = [f"{'':>16} {'MAE':>10} {'RMSE':>10} {'R2':>8}", ""]
    for name, row in rows.items():
        r2 = f"{'-':>8}" if row["r2"] is None else f"{row['r2']:8.3f}"
        lines.append(f"{name[:16]:>16} {row['mae']:10.4g} {row['rmse']:10.4g} {r2}")
    lines += ["", f"standardized: MSE {scores['mse']:.4f}", ""]
    return {**scores, "targets": rows}, "\n".join(lines)


def text(values, info):
    """Return values in their units as a text, with their names if there are several."""
    if len(values) == 1:
        return f"{values[0]:.4g}"
    words = ", ".join(f"{n} {v:.4g}" for n, v in zip(info["columns"], values, strict=True))
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 3]}..."


def shown(y, outputs, info, count):
    """Return the examples of a figure: the largest errors in the first half, then others."""
    errors = np.abs(np.asarray(outputs) - y).mean(axis=1)
    order = np.argsort(-errors, kind="stable")
    rest = order[count // 2 :]
    places = np.unique(np.linspace(0, len(rest) - 1, count - count // 2).round().astype(int))
    chosen = [*order[: count // 2], *(rest[places] if len(rest) else ())]
    truth, predicted = in_units(y, info), in_units(outputs, info)
    worst = set(order[: min(count // 2, len(order) // 4)].tolist())
    return [
        (
            i,
            f"true {text(truth[i], info)}\npredicted {text(predicted[i], info)}",
            report.WRONG if int(i) in worst else plots.INK,
        )
        for i in chosen
    ]


def drawn(y, outputs, info):
    """Draw predicted values over true ones, and the residuals."""
    truth, predicted = in_units(y, info), in_units(outputs, info)
    return figures.drawn(truth, predicted, info["columns"])


def decode(outputs, info):
    """Turn outputs (n, K) into values in their units, by name, and the ends of their intervals."""
    known = {"values": in_units(outputs, info)}
    if "conformal" in info:
        low, high = conformal.offsets(np.float64(outputs), info["conformal"])
        known |= {"lower": in_units(outputs + low, info), "upper": in_units(outputs + high, info)}
    return [
        {
            key: dict(zip(info["columns"], array[i].tolist(), strict=True))
            for key, array in known.items()
        }
        for i in range(len(outputs))
    ]


def row(decoded, info):
    """Return a row with a column for each value, and all of them as an array for Python."""
    columns = {f"{n} value" if n in RESERVED else n: v for n, v in decoded["values"].items()}
    for key in ("lower", "upper"):
        columns |= {f"{n} {key}": value for n, value in decoded.get(key, {}).items()}
    arrays = {key: np.array([*values.values()]) for key, values in decoded.items()}
    return {**columns, "arrays": arrays}


def caption(decoded, info):
    """Return the values, and the ends of the interval of a single one."""
    title = text([*decoded["values"].values()], info)
    if "lower" not in decoded or len(decoded["values"]) > 1:
        return title
    low, high = ([*decoded[key].values()][0] for key in ("lower", "upper"))
    return f"{title}  ({low:.4g} to {high:.4g})"


def loss(kind, info, options):
    """Return a loss of Keras; raise `ValueError` for options that are for classes."""
    if options.get("label_smoothing"):
        raise ValueError("label_smoothing is for classes, and the data have values: leave it out")
    return kind()


TARGET = Target(
    what="values",
    units=lambda info: info["targets"],
    label=standardized,
    losses={
        "mse": functools.partial(loss, keras.losses.MeanSquaredError),
        "mae": functools.partial(loss, keras.losses.MeanAbsoluteError),
        "huber": functools.partial(loss, keras.losses.Huber),
    },
    metrics=lambda info: [keras.metrics.MeanSquaredError("mse")],
    best=("val_mse", "min"),
    summarize=summarize,
    score=score,
    curves=lambda sums, info: {},
    figures=drawn,
    shown=shown,
    titles=lambda y, info: [text(values, info) for values in in_units(y, info)],
    decode=decode,
    row=row,
    caption=caption,
    values=True,
)
