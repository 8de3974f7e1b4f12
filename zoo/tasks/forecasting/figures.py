"""Figures of forecasts. Each function returns Matplotlib Figures; nothing is shown."""

import numpy as np
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from zoo.plots import INK, QUIET
from zoo.tasks.targets import conformal

TRUTH, FORECAST = INK, "#1f77b4"
PANELS = 9  # targets that are drawn at most
SHOWN = 600  # steps of the test part that are drawn at most
LAGS = 40


def interval(info):
    """Return what the legends call the intervals of a model."""
    known = conformal.stored(info)
    level = known.get("coverage", known.get("level", 0.9))
    return f"{100 * level:g} % prediction interval"


def panels(count, width=9.0, height=2.4):
    """Return a figure and the axes of as many panels below each other."""
    figure = Figure(figsize=(width, height * count + 0.3), layout="constrained")
    return figure, [figure.add_subplot(count, 1, i) for i in range(1, count + 1)]


def drawn(observed, forecast, info, low=None, high=None):
    """Draw the figures of the test part.

    Args:
        observed: (n, H, K) in the units of the targets, of windows one step apart.
        forecast: likewise.
        info: with "columns" and "targets".
        low: likewise, the lower ends of the prediction intervals, if known.
        high: likewise, the upper ends.
    """
    names = info["columns"][: info["targets"]]
    residual = observed - forecast
    figures = {
        "examples": beside(observed, forecast, names, low, high, interval(info)),
        "residuals": residuals(residual, names),
        "autocorrelation": autocorrelation(residual, names),
    }
    if observed.shape[1] > 1:
        figures["error_by_step"] = by_step(residual, info)
    return figures


def beside(observed, forecast, names, low=None, high=None, band_label=""):
    """Draw observed values, and forecasts that each begin where the one before ends."""
    horizon, count = observed.shape[1], min(len(names), PANELS)
    last = min(len(observed), max(SHOWN - horizon, 1))
    figure, axes = panels(count)
    for k, axis in enumerate(axes):
        values = np.concatenate([observed[:last, 0, k], observed[last - 1, 1:, k]])
        axis.plot(values, color=TRUTH, linewidth=1.0, label="observed")
        band = dict(color=FORECAST, alpha=0.2, linewidth=0)
        if horizon == 1:
            if low is not None:
                ends = low[:last, 0, k], high[:last, 0, k]
                axis.fill_between(np.arange(last), *ends, label=band_label, **band)
            axis.plot(forecast[:last, 0, k], color=FORECAST, linewidth=1.2, label="forecast")
        else:
            for start in range(0, last, horizon):
                steps = np.arange(start, start + horizon)
                label = f"forecasts of {horizon} steps" if not start else None
                if low is not None:
                    ends = low[start, :, k], high[start, :, k]
                    axis.fill_between(steps, *ends, label=None if start else band_label, **band)
                axis.plot(steps, forecast[start, :, k], color=FORECAST, linewidth=1.4, label=label)
                axis.plot(start, forecast[start, 0, k], color=FORECAST, marker="o", markersize=3)
        axis.set_title(names[k], color=INK, loc="left", fontsize=10, y=1.0)
        axis.grid(alpha=0.25)
        axis.margins(x=0.01)
    axes[0].legend(frameon=False, ncols=3, loc="upper right", bbox_to_anchor=(1.0, 1.16))
    axes[-1].set_xlabel("step of the test part")
    return figure


def by_step(error, info):
    """Draw the mean absolute error of each step ahead, standardized, the targets' mean in bold."""
    names = info["columns"][: info["targets"]]
    errors = np.abs(error).mean(axis=0) / np.array(info["deviation"][: len(names)])  # (H, K)
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes, steps = figure.add_subplot(), np.arange(1, len(errors) + 1)
    if len(names) > 1:
        for k, name in enumerate(names[:10]):
            axes.plot(steps, errors[:, k], linewidth=1.0, alpha=0.7, label=name)
    mean = errors.mean(axis=1)
    label = "mean" if len(names) > 1 else names[0]
    axes.plot(steps, mean, color=INK, linewidth=2.2, label=label)
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("mean absolute error (standardized)")
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, ncols=2, fontsize=8, loc="lower right")
    return figure


def residuals(error, names):
    """Draw the density of the residuals, and the normal one of the same mean and spread."""
    count = min(len(names), PANELS)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.4 * columns, 3.0 * rows), layout="constrained")
    for k in range(count):
        axes, values = figure.add_subplot(rows, columns, k + 1), error[..., k].ravel()
        low, high = np.quantile(values, [0.001, 0.999])
        if not high > low:  # all equal, as of a constant target
            axes.axvline(low, color=FORECAST, linewidth=2.0)
            axes.set_title(f"{names[k][:40]}\n{low:.3g} always", color=INK, fontsize=9, y=1.0)
            axes.set_yticks([])
            continue
        bins = int(np.clip(np.sqrt(values.size), 10, 60))  # fewer bins for few residuals
        style = dict(density=True, color=FORECAST, alpha=0.55, label="residuals")
        axes.hist(values, bins=bins, range=(low, high), **style)
        x, deviation = np.linspace(low, high, 300), max(values.std(), 1e-12)
        bell = (
            np.exp(-(((x - values.mean()) / deviation) ** 2) / 2) / deviation / np.sqrt(2 * np.pi)
        )
        axes.plot(x, bell, color=INK, linewidth=1.2, label="normal")
        axes.axvline(0, color=QUIET, linewidth=0.8)
        title = f"{names[k][:40]}\nmean {values.mean():.3g}, standard deviation {values.std():.3g}"
        axes.set_title(title, color=INK, fontsize=9, y=1.0)
        axes.set_yticks([])
        axes.legend(frameon=False, fontsize=8)
    figure.supxlabel("observed - forecast (residual)", fontsize=9)
    return figure


def autocorrelation(error, names):
    """Draw the autocorrelation of residuals one step ahead, with the 95 % band of white noise."""
    count = min(len(names), PANELS)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.4 * columns, 2.8 * rows), layout="constrained")
    for k in range(count):
        axes, values = figure.add_subplot(rows, columns, k + 1), error[:, 0, k]
        values = values - values.mean()
        lags = np.arange(1, min(LAGS, len(values) - 1) + 1)
        power = max(float(values @ values), 1e-12)
        correlations = [float(values[lag:] @ values[:-lag]) / power for lag in lags]
        axes.vlines(lags, 0, correlations, color=FORECAST, linewidth=2.0)
        bound = 1.96 / np.sqrt(max(len(values), 1))
        axes.axhspan(-bound, bound, color=QUIET, alpha=0.25, linewidth=0)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_title(names[k], color=INK, fontsize=9, y=1.0)
        axes.set_ylim(min([-0.3, *correlations]) - 0.05, max([0.3, *correlations]) + 0.05)
        axes.grid(alpha=0.25)
    figure.supxlabel("lag, steps", fontsize=9)
    figure.supylabel("autocorrelation", fontsize=9)
    return figure


def windows(x, y, info):
    """Draw windows (n, W, F) and what follows them, (n, H, K), as training sees them.

    A single target is drawn in its own unit, several side by side are standardized.
    """
    count, columns = len(x), min(3, len(x))
    rows, names = -(-count // columns), info["columns"][: min(info["targets"], PANELS)]
    lone = len(names) == 1 and "mean" in info
    scale, shift = (info["deviation"][0], info["mean"][0]) if lone else (1.0, 0.0)
    figure = Figure(figsize=(3.6 * columns, 1.8 * rows + 0.5), layout="constrained")
    for i in range(count):
        axes = figure.add_subplot(rows, columns, i + 1)
        steps = np.arange(len(x[i]), len(x[i]) + len(y[i]))
        for k, name in enumerate(names):
            (line,) = axes.plot(scale * x[i][:, k] + shift, linewidth=0.9, alpha=0.8, label=name)
            marker = "." if len(y[i]) < 12 else None
            style = dict(color=line.get_color(), linewidth=2.2, marker=marker)
            axes.plot(steps, scale * y[i][:, k] + shift, **style)
        axes.axvline(len(x[i]) - 0.5, color=QUIET, linewidth=0.8, linestyle="--")
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    handles = figure.axes[0].get_legend_handles_labels()[0]
    handles += [
        Line2D([], [], color=INK, linewidth=width, label=label, linestyle=dashes)
        for width, label, dashes in (
            (0.9, "known", "-"),
            (2.2, "to be forecast", "-"),
            (0.8, "forecast begins", "--"),
        )
    ]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside upper center", ncols=6)
    figure.supxlabel("step", fontsize=9)
    figure.supylabel(names[0] if lone else "standardized", fontsize=9)
    return figure


def ahead(past, known, steps, forecast, low, high, names, band_label=""):
    """Draw the forecast of a series.

    Args:
        past: T dates or numbers of steps.
        known: (T, K), the values then.
        steps: H dates or numbers of steps, those that follow.
        forecast: (H, K), the values then.
        low: (H, K), the lower end of the interval; or None.
        high: likewise, the upper end.
        names: of the K targets.
        band_label: what the legend calls the interval.
    """
    count, steps = min(len(names), PANELS), np.asarray(steps)
    figure, axes = panels(count, height=2.8)
    dates = np.issubdtype(steps.dtype, np.datetime64)
    for k, axis in enumerate(axes):
        axis.plot(past, known[:, k], color=TRUTH, linewidth=1.0, label="known")
        if low is not None:
            band = dict(color=FORECAST, alpha=0.2, linewidth=0, label=band_label)
            axis.fill_between(steps, low[:, k], high[:, k], **band)
        marker = "." if len(steps) < 12 else None
        axis.plot(steps, forecast[:, k], color=FORECAST, marker=marker, label="forecast")
        axis.set_title(names[k], color=INK, loc="left", fontsize=10, y=1.0)
        axis.grid(alpha=0.25)
        axis.margins(x=0.01)
        if dates:
            axis.xaxis.set_major_formatter(ConciseDateFormatter(axis.xaxis.get_major_locator()))
    axes[0].legend(frameon=False, ncols=3, loc="upper right", bbox_to_anchor=(1.0, 1.16))
    axes[-1].set_xlabel("" if dates else "step")
    return figure
