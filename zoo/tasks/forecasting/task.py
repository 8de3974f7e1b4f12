"""Forecasting: what are the next values of this series?"""

import importlib.util

import keras
import numpy as np

from zoo.tasks import series
from zoo.tasks.forecasting import differencing, forecasts
from zoo.tasks.task import Data, Results, Task, Training, Usage

LOSSES = {
    "mse": keras.losses.MeanSquaredError,
    "mae": keras.losses.MeanAbsoluteError,
    "huber": keras.losses.Huber,
}
TESTED = 9  # targets that are tested for a unit root at most


def arguments(info, options):
    """Return what the data decides of the builder's arguments."""
    features, targets = len(info["columns"]), info["targets"]
    steps = options["window"] - options["difference"] - options["season"] * options["seasonal"]
    if steps < 1:
        raise ValueError(f"a window of {options['window']} steps is too short to be differenced")
    return dict(input_shape=(steps, features), output_shape=(options["horizon"], targets))


def whole(model, info, options):
    """Return the model from levels to levels, around one of differences if these are set."""
    return differencing.around(
        model,
        order=options["difference"],
        season=options["season"],
        seasonal=options["seasonal"],
        center=options["center"],
    )


def windows(info, options):
    """Return how windows are cut, see `datasets.windows.split`."""
    keys = ("window", "horizon", "stride")
    return {key: options[key] for key in keys} | {
        "targets": info["targets"],
        "parts": options["split"],
    }


def measure(examples, options):
    """Return the columns, those forecast first, and of their training part scales and error.

    "naive" is the mean absolute error of the seasonal naive forecast, the values of the season
    before, in the unit of each target: the scaled error is relative to it (Hyndman & Koehler 2006,
    https://doi.org/10.1016/j.ijforecast.2006.03.001, Eq. 2.5).
    """
    chosen = [series.selected(example, options) for example in examples]
    parts = [
        piece["values"][: training(len(piece["values"]), options["split"])] for piece in chosen
    ]
    mean, deviation = series.scales(np.concatenate(parts))
    season, targets = max(1, options["season"]), chosen[0]["targets"]
    changes = [np.abs(part[season:, :targets] - part[:-season, :targets]) for part in parts]
    notes = [note for piece in chosen for note in piece["notes"]]
    values = np.concatenate(parts)[:, :targets]
    constant = [
        n for n, column in zip(chosen[0]["columns"], values.T, strict=False) if np.ptp(column) == 0
    ]
    if constant:
        names = ", ".join(constant[:10]) + (", ..." if len(constant) > 10 else "")
        notes.append(f"constant in the training part, and left out of mean R2 and MASE: {names}")
    return {
        "columns": chosen[0]["columns"],
        "targets": targets,
        "mean": mean,
        "deviation": deviation,
        "naive": np.concatenate(changes).mean(axis=0).tolist(),
        "season": season,
        "notes": notes,
    }


def training(steps, parts):
    """Return how many of a series' steps are for training."""
    return round(parts[0] * steps) if max(parts) <= 1 else int(parts[0])


def cut(example, options):
    """Return the series, its columns chosen, as the only piece."""
    return [series.selected(example, options)]


def cover(example, options):
    """Return the end of the series, which is forecast from."""
    piece, window = series.selected(example, options), options["window"]
    if (steps := len(piece["values"])) < window:
        raise ValueError(f"it has {steps} steps, and the model needs {window}")
    times = piece["times"]
    end = {"values": piece["values"][-window:], "times": None if times is None else times[-window:]}
    return [{**piece, **end, "first": steps - window}]


def prepare(piece, info, options):
    """Return the steps (T, F) float32, standardized; there is no y."""
    values = forecasts.columns(piece, info["columns"])
    return ((values - info["mean"]) / info["deviation"]).astype(np.float32), None


def augment(info, options):
    """Return a function (x, y, entropy) to (x, y) that adds noise to the inputs; or None."""

    def apply(x, y, entropy):
        noise = np.random.default_rng(entropy).normal(0, options["jitter"], x.shape)
        return x + noise.astype(x.dtype), y

    return apply if options["jitter"] else None


def notes(arrays, info, options):
    """Test the training part of each target for a unit root, before and after differencing.

    The augmented Dickey-Fuller test of statsmodels; lags are chosen by Akaike's criterion.
    """
    if importlib.util.find_spec("statsmodels") is None or options["stride"] > 1:
        return []
    from statsmodels.tsa.stattools import adfuller

    steps = np.asarray(arrays.y[arrays.rows, 0])[-5000:]  # longer series take long and add little
    layer = differencing.Difference(options["difference"], options["season"], options["seasonal"])
    after = np.asarray(layer(steps[None]))[0] if layer.lags else None
    lines = []
    for i, name in enumerate(info["columns"][: min(info["targets"], TESTED)]):
        results = []
        for when, values in (("", steps), (" after differencing", after)):
            if values is not None and np.ptp(values[:, i]) > 0:
                test = adfuller(values[:, i], result_object=True)
                verdict = "no unit root" if test.pvalue < 0.05 else "it may have a unit root"
                results.append(f"{test.statistic:.2f} (p {test.pvalue:.3f}){when}: {verdict}")
        lines.append(f"Augmented Dickey-Fuller test of {name}: {'; '.join(results)}")
    return lines


def loss(info, options):
    """Return the loss of the option."""
    return LOSSES[options["loss"]]()


def logged(info):
    """Return the metrics of the progress bar."""
    return [
        keras.metrics.MeanAbsoluteError("mae"),
        keras.metrics.MeanSquaredError("mse"),
    ]


TASK = Task(
    name="forecasting",
    dataset="seasonal_series",
    options=dict(
        window=96,  # steps that are known
        horizon=24,  # steps that are forecast
        target="",  # names of the columns that are forecast, separated by commas; all if empty
        inputs="all",  # columns that are seen: "all", or the "targets" alone
        time="",  # name of the column of times; the first with dates if empty
        fill="forward",  # gaps: "forward", "interpolate", "zero" or "none", if there must be none
        split=(0.7, 0.15, 0.15),  # shares, or numbers of steps, of training, validation and test
        stride=1,  # steps between training windows
        season=0,  # steps of a season
        difference=0,  # how often the step before is subtracted
        seasonal=0,  # how often the step a season before is subtracted
        center="none",  # taken from the levels: the window's "last", its "mean", or "none"
        loss="mse",
        jitter=0.0,  # standard deviation of noise on the inputs in training
    ),
    values=True,
    data=Data(
        prepared=("window", "horizon", "target", "inputs", "time", "fill", "split", "season"),
        sizes=("window",),
        fields=("values",),
        series=windows,
        measure=measure,
        cut=cut,
        cover=cover,
        prepare=prepare,
    ),
    training=Training(
        defaults=dict(epochs=20, updates=1000, batch_size=32, learning_rate=0.001, jit=True),
        losses=("mse", "mae", "huber"),
        best=("val_mse", "min"),
        arguments=arguments,
        whole=whole,
        augment=augment,
        loss=loss,
        metrics=logged,
        notes=notes,
        preview=forecasts.preview,
    ),
    results=Results(
        summarize=forecasts.summarize,
        score=forecasts.score,
        curves=lambda pairs, info: {},
        errors=forecasts.errors,
        plot=forecasts.plot,
    ),
    usage=Usage(
        decode=forecasts.decode,
        present=forecasts.present,
    ),
)
