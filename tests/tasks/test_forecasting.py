"""Forecasting from series to intervals: no window sees the future, differences are undone."""

import csv
import json
import tracemalloc

import keras
import numpy as np
import pandas
import pytest
from matplotlib.dates import date2num
from statsmodels.tsa.ar_model import AutoReg

from datasets import pipeline, prepared, windows
from datasets.source import BadInput, Examples, Source
from train import main as train
from zoo import tasks
from zoo.__main__ import main as zoo_command
from zoo.inference import prediction, predictors
from zoo.models.sequence.autoregression import Autoregression
from zoo.tasks import series
from zoo.tasks.forecasting import differencing, figures, forecasts
from zoo.tasks.forecasting import task as forecasting
from zoo.weights import saving

TASK = tasks.get("forecasting")


def stored(*lengths):
    """Return prepared steps of series whose values are their positions."""
    x = np.concatenate([1000 * i + np.arange(n) for i, n in enumerate(lengths)])
    groups = np.repeat([[i, i, 0] for i in range(len(lengths))], lengths, axis=0)
    return {"train": ({"x": np.stack([x, -x], axis=1).astype(np.float32)}, groups)}


def cut(lengths=(100,), **changes):
    settings = dict(window=8, horizon=4, targets=1, parts=(0.7, 0.15, 0.15), stride=1)
    return windows.split(stored(*lengths), **{**settings, **changes})


@pytest.mark.parametrize("lengths", [(100,), (100, 60, 83)])
@pytest.mark.parametrize("parts", [(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (30, 14, 13)])
def test_no_window_sees_the_future_and_none_is_lost(lengths, parts):
    splits = cut(lengths, parts=parts)
    for i, steps in enumerate(lengths):
        scale = steps if max(parts) <= 1 else 1
        ends = [round(part * scale) for part in np.cumsum(parts)]
        start = 0
        for split, end in zip(("train", "validation", "test"), ends, strict=True):
            x, y = (a[..., 0] for a in splits[split].take())
            mine = x[:, 0] // 1000 == i
            x, y = x[mine] - 1000 * i, y[mine] - 1000 * i
            whole = np.concatenate([x, y], axis=1)
            np.testing.assert_array_equal(np.diff(whole, axis=1), 1)  # of one series, in order
            assert y.min() >= start and y.max() < end, "what is forecast lies in its own part"
            assert x.min() >= 0 and x.max() < y.max()
            first = max(start, 8)
            assert y[:, 0].tolist() == list(range(first, end - 3)), "every forecast that fits"
            start = end


def test_training_ends_where_validation_begins_whatever_is_forecast():
    splits = cut(parts=(60, 20, 20))
    known = splits["train"].take()
    assert max(part.max() for part in known) == 59
    assert splits["validation"].take()[1].min() == 60
    assert len(cut(parts=(60, 20, 20), stride=3)["train"]) == -(-len(splits["train"]) // 3)
    assert len(cut(parts=(60, 20, 20), stride=3)["test"]) == len(splits["test"])


def test_splits_that_a_source_brings_are_kept():
    brought = {**stored(100), "test": stored(50)["train"]}
    splits = windows.split(
        brought, window=8, horizon=4, targets=2, parts=(0.7, 0.15, 0.15), stride=1
    )
    assert splits["test"].take()[1][:, 0, 0].tolist() == list(range(8, 47))
    assert splits["train"].take()[1][..., 0].max() == 84
    assert splits["validation"].take()[1][..., 0].tolist()[0][0] == 85
    with pytest.raises(BadInput, match="validation part holds no window of 8 known and 20"):
        cut(horizon=20)


def test_windows_are_views_so_the_series_is_held_once():
    steps = np.random.default_rng(0).normal(size=(20_000, 7)).astype(np.float32)
    groups = np.zeros((len(steps), 3), np.int64)
    tracemalloc.start()
    splits = windows.split(
        {"train": ({"x": steps}, groups)},
        window=336,
        horizon=96,
        targets=7,
        parts=(0.7, 0.15, 0.15),
        stride=1,
    )
    batches = pipeline.Batches(splits["train"], 32, training=True)
    for i in range(20):
        x, y = batches[i]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x.shape == (32, 336, 7) and y.shape == (32, 96, 7)
    assert np.shares_memory(splits["train"].x, steps) and np.shares_memory(splits["test"].y, steps)
    copies = len(splits["train"]) * 336 * 7 * 4
    assert peak < 2 * steps.nbytes + 5e6 < copies / 10


def settings(**changes):
    return {**TASK.options, **changes}


def test_scales_are_those_of_the_training_part_alone():
    values = np.concatenate([np.zeros(35) + np.tile([1.0, -1.0, 1, -1, 1], 7), np.full(15, 99.0)])
    options = settings(split=(0.7, 0.15, 0.15), window=4, horizon=2, season=5)
    info = TASK.data.measure([{"values": values[:, None]}], options)
    assert info["mean"] == pytest.approx([0.2]) and info["naive"] == [0.0]
    assert info["deviation"] == pytest.approx([np.std(values[:35])])
    x, _ = TASK.data.prepare(TASK.data.cut({"values": values[:, None]}, options)[0], info, options)
    np.testing.assert_allclose(forecasts.in_units(x, info), values[:, None], rtol=1e-5)


def test_columns_are_chosen_and_gaps_are_told():
    values = np.arange(12.0).reshape(4, 3)
    values[1, 2] = np.nan
    hours = np.array([[0], [1], [2], [4]]) * 3_600_000_000_000
    example = {
        "values": values,
        "columns": np.array(["a", "b", "c"]),
        "times": hours,
        "time_columns": np.array(["when"]),
    }
    selected = series.selected(example, settings(target="c, a"))
    assert selected["columns"] == ["c", "a", "b"] and selected["targets"] == 2
    assert selected["values"][:, 0].tolist() == [2, 2, 8, 11]
    assert "1 of 12 values are missing, filled by forward" in selected["notes"][0]
    assert (
        "1 of 3 steps are not 3600 s long, the first after step 2, 7200 s" in selected["notes"][1]
    )
    example["columns"] = np.array(["a", "Load, kW", "Load"])
    for text, wanted in [
        ("Load, kW", ["Load, kW"]),
        ("Load, kW,a", ["Load, kW", "a"]),
        ("a , Load,Load", ["a", "Load"]),
        ("Load,a", ["Load", "a"]),
    ]:
        selected = series.selected(example, settings(target=text, inputs="targets"))
        assert selected["columns"] == wanted
    with pytest.raises(ValueError, match="there is no column kW to forecast"):
        series.selected(example, settings(target="a,kW"))
    example["columns"] = np.array(["a", "b", "c"])
    lone = series.selected(example, settings(target="b", inputs="targets"))
    assert lone["values"].shape == (4, 1)
    line = series.selected(example, settings(fill="interpolate"))["values"][:, 2]
    assert line.tolist() == [2, 5, 8, 11]
    for changes, message in [
        (dict(target="z"), "there is no column z to forecast"),
        (dict(fill="none"), "1 values are missing, the first at step 1 of column 2"),
        (dict(fill="guess"), "fill is 'guess'"),
        (dict(time="noon"), "there is no column noon with times"),
        (dict(inputs="some"), "inputs are 'some'"),
    ]:
        with pytest.raises(ValueError, match=message):
            series.selected(example, settings(**changes))


@pytest.mark.parametrize(
    "how",
    [
        dict(order=1),
        dict(order=2),
        dict(season=4, seasonal=1),
        dict(order=1, season=4, seasonal=2),
        dict(center="last"),
        dict(order=1, center="mean"),
    ],
)
def test_differences_are_undone_exactly(how):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 25, 2)), rng.normal(size=(3, 7, 1))
    integrate, difference = differencing.Integrate(**how), differencing.Difference(**how)
    np.testing.assert_allclose(integrate([integrate.undo(y, x), x]), y, atol=1e-5)
    actual, expected = np.asarray(difference(x)), x
    for lag in [how.get("season")] * how.get("seasonal", 0) + [1] * how.get("order", 0):
        expected = expected[:, lag:] - expected[:, :-lag]
    if how.get("center") == "last":
        expected = expected - expected[:, -1:]
    if how.get("center") == "mean":
        expected = expected - expected.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_differencing_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="give a season"):
        differencing.Difference(seasonal=1)
    with pytest.raises(ValueError, match="center is 'middle'"):
        differencing.Difference(center="middle")


def walk(count=600, seed=0):
    """Return a series of two lags."""
    rng, values = np.random.default_rng(seed), np.zeros(count)
    for t in range(2, count):
        values[t] = 0.5 + 0.6 * values[t - 1] - 0.3 * values[t - 2] + rng.normal()
    return values


@pytest.mark.parametrize("order", [0, 1])
def test_least_squares_are_those_of_statsmodels(order):
    values, lags = np.cumsum(walk()) if order else walk(), 5
    x, y = windows.views(values[:, None].astype(np.float32), lags + order, 1, 1)
    core = Autoregression((lags, 1), (1, 1))
    model = differencing.around(core, order=order)
    model.compile(loss="mse")
    history = model.fit(x, y, validation_data=(x, y))
    kernel, bias = core.get_layer("coefficients").get_weights()
    expected = AutoReg(np.diff(values, n=order), lags=lags).fit()
    actual = np.concatenate([bias, kernel[::-1, 0]])
    np.testing.assert_allclose(actual, expected.params, atol=2e-3 if order else 1e-5)
    squares = np.mean(expected.resid**2)
    assert history.history["val_loss"][0] == pytest.approx(squares, rel=1e-3)


def test_scores_by_hand():
    info = {"columns": ["a", "b"], "targets": 1, "deviation": [2.0, 1.0], "naive": [4.0]}
    y = np.array([[[0.0], [2.0]], [[4.0], [6.0]]])
    scores, text = TASK.results.evaluate(y, y + [[[1.0], [-1.0]], [[3.0], [1.0]]], info)
    assert scores["mse"] == 3.0 and scores["mae"] == 1.5
    assert scores["r2"] == pytest.approx(1 - 12 / 20) and scores["mase"] == 3.0 / 4.0
    assert scores["targets"]["a"]["mae"] == 3.0
    assert scores["targets"]["a"]["rmse"] == pytest.approx(2 * np.sqrt(3))
    assert "a" in text and "b" not in text.split("\n")[2]


def test_constant_targets_are_left_out_of_means_and_it_is_said():
    rng = np.random.default_rng(0)
    wave = np.stack([rng.normal(size=50), np.full(50, 7.3), 1e-10 * rng.normal(size=50)], axis=1)
    info = TASK.data.measure([{"values": wave}], settings(window=4, horizon=2))
    assert info["notes"] == ["constant in the training part, and left out of mean R2 and MASE: 1"]
    assert info["deviation"][1] == 1.0 and info["deviation"][2] < 2e-10
    x, _ = TASK.data.prepare(TASK.data.cut({"values": wave}, settings())[0], info, settings())
    y = np.stack([x[i : i + 2] for i in range(40)])
    scores, text = TASK.results.evaluate(y, y + 0.1, info)
    assert scores["targets"]["1"]["r2"] is None and scores["targets"]["1"]["mase"] is None
    rest = [scores["targets"][name]["r2"] for name in "02"]
    assert scores["r2"] == pytest.approx(np.mean(rest)) and scores["r2"] > 0.9
    assert "mean R2 is without 1" in text and "mean MASE is without 1" in text
    scores, _ = TASK.results.evaluate(np.zeros((3, 2, 3)), np.ones((3, 2, 3)), info)
    assert "r2" not in scores and scores["mse"] == 1.0


def test_series_of_any_size_are_scaled():
    values = np.array([[1e37, 1e-30], [-1e37, 2e-30], [3e37, 0]])
    mean, deviation = series.scales(values)
    scaled = (values - mean) / deviation
    np.testing.assert_allclose(scaled.std(axis=0), 1) and np.isfinite(scaled).all()


def test_more_columns_than_a_model_knows_are_ignored_and_told(tmp_path):
    values = np.arange(40.0).reshape(20, 2)
    options = settings(window=4, horizon=2)
    info = TASK.data.measure([{"values": values, "columns": np.array(["a", "b"])}], options)
    info["found"] = {"lower": [[-1.0, -1]] * 2, "upper": [[1.0, 1]] * 2}

    class Twice:
        outputs = inputs = [np.zeros((1, 2, 2))]

        def predict_on_batch(self, x):
            return x[:, -2:]

    record = {"task": "forecasting", "task_options": options, "info": info}
    examples = {
        "more.csv": (["extra", "b", "a"], np.hstack([values[:, :1] * 0 - 9, values[:, ::-1]])),
        "less.csv": (["b"], values[:, 1:]),
    }

    def read(path):
        names, values = examples[path.name]
        return {"values": values, "columns": np.array(names), "notes": ["a note"]}

    remarks, complaints = [], []
    paths = [tmp_path / name for name in examples]
    predictor = predictors.Predictor(Twice(), record, batch_size=1)
    (result,) = prediction.predict(paths, read, complaints.append, predictor, remarks.append)
    assert result[1]["a last"] == pytest.approx(38) and result[1]["b last"] == pytest.approx(39)
    assert "lacks a" in complaints[0] and len(complaints) == 1
    assert remarks[0].endswith("a note") and "ignores them" in remarks[1]
    assert "'extra'" in remarks[1]
    result[2][".png"](tmp_path / "a.png")


@pytest.mark.parametrize("level", [0.0, 3e3, 1e5])
def test_least_squares_keep_their_intercept_far_from_zero(level):
    values = walk(2000) + level
    x, y = windows.views(values[:, None], 2, 1, 1)
    model = Autoregression((2, 1), (1, 1))
    model.solve([(x[i : i + 100], y[i : i + 100]) for i in range(0, len(x), 100)])
    kernel, bias = (a.astype(np.float64).ravel() for a in model.layers[-2].get_weights())
    expected = AutoReg(values - level, lags=2).fit().params
    np.testing.assert_allclose(kernel[::-1], expected[1:], atol=1e-4)
    error = (x[..., 0] @ kernel + bias) - y[:, 0, 0]
    assert abs(error.mean()) < 1e-2 and error.std() < 1.05


def test_intervals_hold_as_many_as_they_say_and_grow_beyond_the_horizon():
    rng = np.random.default_rng(0)
    info = {"columns": ["a"], "targets": 1, "mean": [10.0], "deviation": [2.0]}
    error = rng.normal(size=(20_000, 3, 1)) * np.array([1.0, 2.0, 3.0])[:, None]
    info["found"] = forecasts.errors([(error, np.zeros_like(error))], info)
    middle, low, high = forecasts.between(np.zeros((9, 1)), info)
    inside = (10 + 2 * error >= low[:3]) & (10 + 2 * error <= high[:3])
    np.testing.assert_allclose(inside.mean(axis=0), 0.9, atol=0.002)
    assert (middle == 10).all()
    assert forecasts.between(np.zeros((2, 1)), info)[2].shape == (2, 1)
    # The recursion of a random walk forecast by its last value: errors of all rounds add up.
    walks = np.cumsum(rng.normal(size=(20_000, 9)), axis=1)
    info["found"] = forecasts.errors([(walks[:, :3, None], np.zeros((1, 3, 1)))], info)
    _, low, high = forecasts.between(np.zeros((9, 1)), info)
    inside = (10 + 2 * walks >= low[:, 0]) & (10 + 2 * walks <= high[:, 0])
    np.testing.assert_allclose(inside.mean(axis=0), 0.9, atol=0.006)


def test_no_interval_beyond_the_horizon_is_narrower_than_the_step_before():
    rng = np.random.default_rng(0)
    info = {"columns": ["a", "b"], "targets": 2, "mean": [0.0, 5.0], "deviation": [1.0, 3.0]}
    for bias in (0.0, 4.0, -4.0):  # one end may lie on the other side of the forecast
        error = bias + rng.normal(size=(200, 96, 2)) * rng.uniform(0.5, 2, (96, 1))
        info["found"] = forecasts.errors([(error, np.zeros_like(error))], info)
        _, low, high = forecasts.between(np.zeros((300, 2)), info)
        assert (np.diff((high - low)[95:], axis=0) >= -1e-9).all()
        assert (np.diff(high[95:], axis=0) >= 0).all() and (np.diff(low[95:], axis=0) <= 0).all()
        np.testing.assert_allclose(
            low[:96], info["mean"] + np.quantile(error, 0.05, axis=0) * info["deviation"]
        )


def test_a_recursion_goes_on_from_what_it_said():
    series_in, out = keras.Input((4, 1)), None
    out = keras.layers.Lambda(lambda x: x[:, -2:] + 2, output_shape=(2, 1))(series_in)
    model = keras.Model(series_in, out)
    x = np.arange(4.0, dtype=np.float32)[None, :, None]
    forecast = predictors.predict(predictors.Recursive(model, 7), x, 2)
    assert forecast[0, :, 0].tolist() == [4, 5, 6, 7, 8, 9, 10]
    assert predictors.Recursive(model, 1).predict_on_batch(x).shape == (1, 1, 1)
    wide = keras.Input((4, 2))
    two = keras.Model(wide, keras.layers.Lambda(lambda x: x[:, -2:, :1])(wide))
    with pytest.raises(
        ValueError, match="3 steps are .* horizon of 2, .* forecasts 1 of the 2 values"
    ):
        predictors.Recursive(two, 3)


def test_folds_are_refused():
    source = Source("walk", "0" * 16, (), {"train": Examples.of([0], lambda _: {})})
    with pytest.raises(BadInput, match="series are split by time"):
        prepared_from(source, fold=(1, 5))


def prepared_from(source, **changes):
    values = {"values": walk(200)[:, None]}
    source = Source(
        source.name, source.fingerprint, (), {"train": Examples.of([0], lambda _: values)}
    )
    options = settings(window=8, horizon=4)
    return pipeline.prepare(
        source,
        measure=lambda examples: TASK.data.measure(examples, options),
        cut=lambda example: TASK.data.cut(example, options),
        prepare=lambda piece, info: TASK.data.prepare(piece, info, options),
        fields=TASK.data.fields,
        key="test",
        series=lambda info: TASK.data.series(info, options),
        **changes,
    )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Return a folder with a CSV of measurements, and three forecasters that were trained on it."""
    folder = tmp_path_factory.mktemp("series")
    rng, hours = np.random.default_rng(0), np.arange(900)
    values = 20 + 5 * np.sin(hours * 2 * np.pi / 24) + rng.normal(0, 0.5, 900)
    with open(folder / "plant.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "load", "heat"])
        stamps = np.datetime64("2024-01-01T00:00") + hours.astype("timedelta64[h]")
        for stamp, value in zip(stamps, values, strict=True):
            writer.writerow([str(stamp).replace("T", " "), f"{value:.3f}", f"{30 - value:.3f}"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(folder / "cache"))
        small = "--set season=24 --set window=48 --set horizon=12"
        for words in (
            f"--model autoregression {small} --set center=last",
            f"--model lstm --set units=8 --epochs 2 {small} --set difference=1",
            "--model gru --set units=8 --epochs 2 --set season=24 --set window=30 --set horizon=12",
        ):
            where = ["--data", str(folder / "plant.csv"), "--out", str(folder / "runs")]
            assert train([*words.split(), *where]) == 0
    return folder


@pytest.fixture
def at(workshop, monkeypatch):
    """Work in the workshop with its cache; return its run folders."""
    monkeypatch.setenv("ZOO_CACHE", str(workshop / "cache"))
    return [
        str(workshop / "runs" / f"{name}-plant-1") for name in ("autoregression", "lstm", "gru")
    ]


def test_a_csv_is_forecast_by_one_command(at, workshop, capsys):
    run = json.loads((workshop / "runs/autoregression-plant-1/run.json").read_text())
    assert run["status"] == "finished" and run["epochs"] == 1
    assert run["scores"]["test"]["r2"] > 0.9 and run["scores"]["test"]["mase"] < 1.0
    assert run["info"]["found"]["level"] == 0.9
    assert any("Dickey-Fuller test of load" in note for note in run["notes"])
    lstm = json.loads((workshop / "runs/lstm-plant-1/run.json").read_text())
    assert any("after differencing" in note for note in lstm["notes"])
    names = {path.stem for path in (workshop / "runs/lstm-plant-1/plots").glob("*.png")}
    assert {"examples", "residuals", "autocorrelation", "error_by_step", "preview"} <= names


@pytest.mark.parametrize("steps", [5, 12, 30])
def test_predict_writes_forecast_and_interval_in_units(at, workshop, tmp_path, steps):
    words = ["predict", at[0], str(workshop / "plant.csv"), "--steps", str(steps)]
    assert zoo_command([*words, "--out", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out/plant_forecast.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == steps
    assert [*rows[0]][:4] == ["time", "load", "load_lower", "load_upper"]
    assert rows[0]["time"] == "2024-02-07 12:00:00" and rows[1]["time"] == "2024-02-07 13:00:00"
    hours = 900 + np.arange(steps)
    truth = 20 + 5 * np.sin(hours * 2 * np.pi / 24)
    load = np.array([float(row["load"]) for row in rows])
    assert np.abs(load - truth).max() < 1.5
    assert all(float(r["load_lower"]) < float(r["load"]) < float(r["load_upper"]) for r in rows)
    assert (tmp_path / "out/plant.png").stat().st_size > 1000


def test_steps_without_dates_go_on_counting(at, workshop, tmp_path):
    with open(workshop / "plant.csv", newline="") as file:
        rows = [[row["load"], row["heat"]] for row in csv.DictReader(file)]
    with open(tmp_path / "bare.csv", "w", newline="") as file:
        csv.writer(file).writerows([["load", "heat"], *rows])
    words = ["predict", at[0], str(tmp_path / "bare.csv"), "--out", str(tmp_path / "out")]
    assert zoo_command(words) == 0
    with open(tmp_path / "out/bare_forecast.csv", newline="") as file:
        steps = [row["step"] for row in csv.DictReader(file)]
    assert steps[:2] == [str(len(rows)), str(len(rows) + 1)]


@pytest.mark.parametrize("start", [None, "2024-01-01"])
def test_a_forecast_is_drawn_behind_what_is_known_at_its_dates(start):
    hours = pandas.date_range(start or "1970-01-01", periods=48, freq="h", unit="ns")
    times = None if start is None else hours.asi8
    piece = {"first": 10, "times": times, "values": np.zeros((48, 1))}
    past = forecasts.calendar(piece)
    steps, ones = forecasts.ahead(past, 5), np.ones((5, 1))
    axis = figures.ahead(past, piece["values"], steps, ones, None, None, ["load"]).axes[0]
    known, forecast = (line.get_xdata(orig=False) for line in axis.lines)
    step = 1 if start is None else 1 / 24  # Matplotlib counts days
    assert np.allclose(np.diff(np.concatenate([known, forecast])), step)
    assert axis.get_xlabel() == ("step" if start is None else "")
    assert forecast[0] == (58 if start is None else date2num(np.datetime64("2024-01-03")))


def test_predict_refuses_what_does_not_fit(at, workshop, tmp_path, capsys):
    (tmp_path / "short.csv").write_text("load,heat\n" + "1,2\n" * 10)
    (tmp_path / "other.csv").write_text("wind,heat\n" + "1,2\n" * 100)
    for name, message in [("short", "it has 10 steps"), ("other", "its columns are")]:
        words = ["predict", at[0], str(tmp_path / f"{name}.csv"), "--out", str(tmp_path / name)]
        assert zoo_command(words) == 2
        printed = capsys.readouterr().err
        assert message in printed and f"{name}.csv: " in printed


@pytest.mark.parametrize("method", ["average", "weights", "select", "stack"])
def test_forecasters_are_combined_like_images(at, tmp_path, capsys, method):
    from ensembles.__main__ import main as ensembles

    assert ensembles([method, *at, "--out", str(tmp_path / "runs")]) == 0
    folder = next((tmp_path / "runs").iterdir())
    run = json.loads((folder / "run.json").read_text())
    members = [row["scores"]["mse"] for row in run["rows"] if row["kind"] == "member"]
    assert run["scores"]["test"]["mse"] <= max(members)
    if method == "weights":
        assert run["scores"]["test"]["mse"] <= 1.02 * min(members)
    data = prepared.prepare(
        run["data"]["source"], TASK, tasks.fingerprint(), options=run["task_options"]
    )
    x, y = data.splits["test"].take()
    outputs = predictors.predict(saving.load(folder / "model.keras"), x, 16)
    scores, _ = TASK.results.evaluate(y, outputs, data.info)
    assert scores["mse"] == pytest.approx(run["scores"]["test"]["mse"], rel=1e-4)
    assert "found" in saving.record(folder / "model.keras")["info"]
    assert (folder / "plots/examples.png").exists()


def test_forecasters_neither_vote_nor_have_probabilities(at, tmp_path, capsys):
    from ensembles.__main__ import main as ensembles

    for words in (["vote", *at], ["calibrate", at[0]]):
        assert ensembles([*words, "--out", str(tmp_path / "runs")]) == 2
        assert "is for classes, but these members return values" in capsys.readouterr().err


def test_members_of_another_horizon_are_refused(at, tmp_path, workshop, capsys):
    from ensembles.__main__ import main as ensembles

    words = "--model autoregression --set season=24 --set window=48 --set horizon=6"
    where = ["--data", str(workshop / "plant.csv"), "--out", str(tmp_path / "runs")]
    assert train([*words.split(), *where]) == 0
    assert ensembles(["average", at[0], str(tmp_path / "runs/autoregression-plant-1")]) == 2
    assert "horizon" in capsys.readouterr().err


def test_training_part():
    assert forecasting.training(100, (0.7, 0.1, 0.2)) == 70
    assert forecasting.training(100, (60, 20, 20)) == 60
