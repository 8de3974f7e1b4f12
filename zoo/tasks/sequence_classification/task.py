"""Sequence classification: what is this series of measurements?"""

import numpy as np

from zoo import plots
from zoo.nn.layers import PADDING
from zoo.tasks import series
from zoo.tasks.sequence_classification import figures
from zoo.tasks.targets import report
from zoo.tasks.task import Data, Results, Task, Training, Usage

STEPS = 32  # that a network reads at least; gradients hardly reach through hundreds of them
NORMALIZE = ("dataset", "series", "none")


def arguments(info, options):
    """Return what the data decides of the builder's arguments."""
    shape = info["length"], len(info["mean"])
    masked = {"masked": True} if info["ragged"] else {}
    return dict(input_shape=shape, output_shape=(len(info["classes"]),), **masked)


def suggestions(info, options):
    """Return options that suit series which are classified as a whole.

    The class may show anywhere in a series, so both directions and the mean of all steps are read;
    long series several steps at once.
    """
    patch = {"patch": size} if (size := info["length"] // STEPS) > 1 else {}
    return dict(units=64, bidirectional=True, steps="mean", **patch)


def measure(examples, options):
    """Return the length of the series, whether it varies, and their scale."""
    values = [series.filled(example["series"], options["fill"]) for example in examples]
    lengths = [len(steps) for steps in values]
    mean, deviation = series.scales(np.concatenate(values))
    length = options["length"] or max(lengths)
    return {
        "length": length,
        "ragged": min(lengths) < length,
        "mean": mean,
        "deviation": deviation,
    }


def prepare(piece, info, options):
    """Return the series (T, F) float32, normalised and padded at its end, and the label."""
    values = series.filled(piece["series"], options["fill"])
    if values.shape[1] != len(info["mean"]):
        raise ValueError(f"it has {values.shape[1]} values a step, not {len(info['mean'])}")
    if options["normalize"] not in NORMALIZE:
        names = ", ".join(NORMALIZE)
        raise ValueError(f"normalize is {options['normalize']!r}: give one of {names}")
    if options["normalize"] == "dataset":
        values = (values - info["mean"]) / info["deviation"]
    elif options["normalize"] == "series":
        mean, deviation = series.scales(values)
        values = (values - mean) / deviation
    values = values[: info["length"]]
    rest = info["length"] - len(values)
    if rest and not info["ragged"]:
        raise ValueError(f"it has {len(values)} steps, and the model takes {info['length']}")
    x = np.pad(values, ((0, rest), (0, 0)), constant_values=PADDING).astype(np.float32)
    return x, np.int32(piece["label"]) if "label" in piece else None


def augment(info, options):
    """Return the augmentation that the options set, deterministic for a given entropy.

    Args:
        info: constants of the data, not needed.
        options: jitter (standard deviation of noise on each value), scale (each series is
            multiplied by a factor of 1 +- scale), roll (share of the length by which a series may
            be rolled, as an outline that begins anywhere), warp (share by which its middle may be
            moved in time).

    Returns:
        A function (x, y, entropy) to (x, y), which leaves padding as it is; or None.
    """
    if not any(options[key] for key in ("jitter", "scale", "roll", "warp")):
        return None

    def apply(x, y, entropy):
        rng, out = np.random.default_rng(entropy), x.copy()
        for row in out:
            steps = int((row[:, 0] != PADDING).sum())
            values = row[:steps]
            if options["warp"]:
                values = warped(values, rng.uniform(-options["warp"], options["warp"]))
            if options["roll"]:
                reach = options["roll"] * steps / 2
                values = np.roll(values, round(rng.uniform(-reach, reach)), axis=0)
            values = values * (1 + rng.uniform(-options["scale"], options["scale"]))
            row[:steps] = values + rng.normal(0, options["jitter"], values.shape)
        return out, y

    return apply


def warped(values, share):
    """Return values (T, F) with time warped: slower before its middle, or after it."""
    steps = np.linspace(0, 1, len(values))
    source = np.interp(steps, [0, 0.5 + share / 2, 1], [0, 0.5, 1]) * (len(values) - 1)
    low = np.floor(source).astype(int)
    high, part = np.minimum(low + 1, len(values) - 1), (source - low)[:, None]
    return values[low] * (1 - part) + values[high] * part


def plot(x, y, outputs, info):
    """Draw a page of series, misclassified ones first."""
    predicted = report.predicted(outputs, info)
    panels = []
    for i in report.examples(y, predicted, 12):
        panels.append((x[i], *report.verdict(info["classes"], y[i], predicted[i])))
    return {"examples": figures.series(panels)}


def preview(x, y, info):
    """Draw series as training sees them."""
    shown = zip(x[:12], y[:12], strict=True)
    return figures.series([(values, info["classes"][k], plots.INK) for values, k in shown])


def present(example, pieces, outputs, info):
    """Return the table's row of one series, and its picture."""
    result = report.decode(np.stack([*outputs]), info)[0]

    def picture(path):
        title = report.caption(result)
        values = np.asarray(example["series"], np.float32)
        drawn = figures.series([(values, title, plots.INK)], size=5.0)
        plots.save(drawn, path)

    return report.row(result, info), {".png": picture}


TASK = Task(
    name="sequence_classification",
    dataset="gunpoint",
    options=dict(
        length=0,  # steps, at which longer series are cut; 0: the longest of the training
        normalize="dataset",  # each value a step: over the "dataset", over the "series", or "none"
        fill="forward",  # gaps: "forward", "interpolate", "zero" or "none", if there must be none
        classes="",  # names or indices of those chosen, separated by commas; all if empty
        loss="cross_entropy",
        label_smoothing=0.0,  # share of each target that is spread evenly over the classes
        class_weights="none",  # "none", or "balanced": a class counts inversely to its frequency
        jitter=0.03,  # standard deviation of noise on each value
        scale=0.1,  # each series is grown or shrunk by this share at most
        roll=0.0,  # share of the length by which a series is turned at most, as an outline
        warp=0.0,  # share by which its middle is moved in time at most
    ),
    data=Data(
        prepared=("length", "normalize", "fill"),
        fields=("series", "label"),
        measure=measure,
        prepare=prepare,
        measures_all=True,
    ),
    training=Training(
        defaults=dict(epochs=100, updates=1500, batch_size=16, learning_rate=0.003, jit=True),
        arguments=arguments,
        augment=augment,
        suggestions=suggestions,
        preview=preview,
    ),
    results=Results(
        plot=plot,
    ),
    usage=Usage(
        present=present,
    ),
)
