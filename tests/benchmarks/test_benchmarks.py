import importlib.util
import json
import types

import numpy as np
import pytest
from conftest import trainable

from benchmarks import (
    bilstm,
    cifar10,
    classification,
    contest,
    pointnet,
    precision,
    stacking,
    tables,
    unet,
    yolo,
)
from zoo.weights.initial import without_weights

CLOUDS = (4, 32, 0.125)  # clouds, points, width
IMAGES = (2, 32, 0.0625)  # images, height and width, width
SERIES = (4, 10)  # series, steps
LABELLED = (1, 32, "vit", "float32")  # images, height and width, model, precision
ALL = [
    (bilstm, SERIES),
    (classification, LABELLED),
    (pointnet, CLOUDS),
    (unet, IMAGES),
    (yolo, IMAGES),
]


@pytest.mark.parametrize(("benchmark", "size"), ALL)
def test_our_steps_run_and_are_timed(benchmark, size, monkeypatch):
    monkeypatch.setattr(contest, "STEPS", {})
    monkeypatch.setitem(classification.MODELS, "vit", {"size": "Ti", "depth": 1})  # traced faster
    parameters, kinds = contest.start(benchmark.build, "ours", size)
    assert parameters > 0
    assert tuple(kinds) == contest.KINDS
    for kind in kinds:
        assert contest.measure(kind, seconds=0.01) > 0


@pytest.mark.parametrize(
    ("seconds", "times", "speed"),
    [(5.0, [0.0, 5.0], 1 / 5), (3.0, [0.0, 2.0, 2.0, 2.0, 3.0, 5.0], 2 / 3)],
)
def test_first_step_counts_only_where_it_takes_the_whole_time(seconds, times, speed, monkeypatch):
    clock = types.SimpleNamespace(perf_counter=iter(times).__next__)
    monkeypatch.setattr(contest, "time", clock)
    monkeypatch.setattr(contest, "STEPS", {"training": lambda: None})
    assert contest.measure("training", seconds) == speed


# PyTorch runs in its own process: its compiler and TensorFlow abort in a shared process.
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="of the extra [torch-bench]"
)


def apart(function, *arguments):
    """Call a function of this file in a process without TensorFlow."""
    with contest.worker() as submit:
        return submit(function, *arguments).result()


def train(parameters, steps, count):
    """Return a model's number of parameters, the shape of its output, and its losses."""
    shape = tuple(steps["inference"]().shape)
    return parameters, shape, [float(steps["training"]()) for _ in range(count)]


def some_clouds():
    """Return clouds and labels."""
    return np.random.default_rng(0).normal(size=(4, 32, 3)).astype(np.float32), np.arange(4)


def some_images():
    """Return images and masks."""
    x = np.random.default_rng(0).uniform(size=(2, 32, 32, 1)).astype(np.float32)
    return x, (x[..., 0] > 0.7).astype(np.int32)


def train_pointnet(layout):
    """Train the PyTorch PointNet for some steps."""
    from benchmarks import torch_pointnet

    return train(*torch_pointnet.steps(*some_clouds(), pointnet.CLASSES, 0.125, layout), 4)


def some_series():
    """Return series and the value after each."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 10, 1)).astype(np.float32), np.ones((4, 1, 1), np.float32)


def train_bilstm(threads):
    """Train the PyTorch BiLSTM for some steps."""
    import torch

    from benchmarks import torch_bilstm

    result = train(*torch_bilstm.steps(*some_series(), 16, 2, 0.0, threads), 6)
    return *result, torch.get_num_threads()


def train_unet():
    """Train the PyTorch U-Net for some steps."""
    from benchmarks import torch_unet

    return train(*torch_unet.steps(*some_images(), 0.0625), 6)


def count_unet(width):
    """Count the parameters of the PyTorch U-Net."""
    from benchmarks import torch_unet

    return sum(weight.numel() for weight in torch_unet.UNet(width).parameters())


@needs_torch
@pytest.mark.parametrize("layout", ["conv", "linear"])
def test_torch_pointnet_is_as_large_as_ours_and_learns(layout):
    parameters, shape, losses = apart(train_pointnet, layout)
    assert parameters == pointnet.ours(*some_clouds(), 0.125, jit=False)[0]
    assert shape == (4, pointnet.CLASSES)
    assert min(losses[1:]) < losses[0]


@needs_torch
def test_torch_bilstm_is_as_large_as_ours_and_learns():
    parameters, shape, losses, threads = apart(train_bilstm, 1)
    assert parameters == bilstm.ours(*some_series(), jit=True)[0] == 8_609
    assert shape == (4, 1, 1) and threads == 1
    assert losses[-1] < losses[0]


def test_stock_layers_compute_what_ours_do():
    x, y = some_series()
    ours, stock = (bilstm.ours(x, y, jit=None, stock=stock) for stock in (False, True))
    assert ours[0] == stock[0]
    result, expected = ours[1]["inference"](), stock[1]["inference"]()
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(result, expected, atol=1e-6)


@needs_torch
def test_torch_unet_is_as_large_as_ours_and_learns():
    parameters, shape, losses = apart(train_unet)
    expected, ours = unet.ours(*some_images(), 0.0625, jit=False)
    assert parameters == expected
    assert shape == (2, 1, 32, 32)
    assert ours["inference"]().shape == (2, 32, 32, 1)
    assert min(losses[1:]) < losses[0]


@needs_torch
@pytest.mark.parametrize("width", [0.25, 1.0])
def test_torch_unet_is_as_large_as_the_paper_of_one_class(width):
    count = apart(count_unet, width)
    assert count == unet.create(width).count_params()
    assert width < 1 or count == 31_030_593  # the paper's 31,030,658 with one class less


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("resnet", 25_557_032), ("mobilenet", 3_504_872), ("vit", 5_717_416)],
)
def test_classifiers_are_as_large_as_their_rivals(model, parameters):
    assert without_weights(lambda: trainable(classification.create(model, 224))) == parameters
    if model in classification.APPLICATIONS:
        counts = without_weights(lambda: counts_of(classification.stock(model, 224)))
        assert counts[0] - counts[1] == parameters


def counts_of(network):
    """Return the number of trainable parameters, and of those without effect."""
    return trainable(network), classification.idle(network)


def train_classifier(model, bfloat16):
    """Train a PyTorch classifier for some steps."""
    from benchmarks import torch_classification

    x = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    return train(*torch_classification.steps(x, np.arange(2), model, bfloat16=bfloat16), 3)


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="of the extra [torch-bench]"
)
@pytest.mark.parametrize(("model", "bfloat16"), [("mobilenet", False), ("resnet", True)])
def test_torchvisions_classifiers_are_as_large_as_ours_and_learn(model, bfloat16):
    parameters, shape, losses = apart(train_classifier, model, bfloat16)
    ours = without_weights(lambda: trainable(classification.create(model, 32)))
    assert parameters == ours and shape == (2, classification.CLASSES)
    assert min(losses[1:]) < losses[0]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx2", ["float32"]), ("fpu avx512_bf16 avx2", ["float32", "bfloat16"])],
)
def test_bfloat16_is_measured_where_the_cpu_computes_it(flags, expected, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    assert contest.precisions(tmp_path / "cpuinfo") == expected
    assert contest.precisions(tmp_path / "none") == ["float32"]


def test_exported_unet_predicts_and_does_not_train():
    parameters, steps = unet.build("ours, onnx", *IMAGES)
    assert parameters == unet.create(0.0625).count_params()
    assert list(steps) == ["inference"]
    logits = steps["inference"]()
    assert logits.shape == (2, 32, 32, 1)
    assert np.ptp(logits) > 0


@pytest.mark.parametrize(("benchmark", "size"), ALL)
def test_who_cannot_run_here_is_left_out(benchmark, size, capsys):
    assert contest.compare(benchmark.build, ["nobody"], size, rounds=1, seconds=0.01) == {}
    assert "nobody does not run here: none of ours" in capsys.readouterr().err


def build(name, images, parameters):
    """Build an implementation that does nothing, and cannot train if it is called so."""
    kinds = contest.KINDS[1:] if name == "onnx" else contest.KINDS
    return parameters + (name == "larger"), dict.fromkeys(kinds, int)


def test_implementations_are_measured_in_what_they_can():
    speeds = contest.compare(build, ["ours", "onnx"], (3, 10), rounds=2, seconds=0.01)
    assert [len(values) for values in speeds["ours"].values()] == [2, 2]
    assert list(speeds["onnx"]) == ["inference"]


def test_implementations_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="different sizes"):
        contest.compare(build, ["ours", "larger"], (3, 10), rounds=1, seconds=0.01)


def test_table_and_ratios_compare_the_best_with_the_best():
    speeds = {name: {"training": 10.0, "inference": 30.0} for name in pointnet.IMPLEMENTATIONS}
    speeds["ours, jit"] = {"training": 20.0, "inference": 90.0}
    speeds["torch.compile"] = {"training": 99.0, "inference": 99.0}
    ratios = contest.ratios(speeds, pointnet.PAIRS)
    assert ratios == {"training": 2.0, "inference": 3.0}
    assert "training: 2.00 x" in contest.table("clouds", speeds, ratios)


def test_ratios_of_who_is_not_there_are_left_out():
    speeds = {"ours": {"training": 2.0, "inference": 6.0}, "ours, onnx": {"inference": 9.0}}
    assert contest.ratios(speeds, unet.PAIRS) == {}
    speeds["torch"] = {"training": 2.0, "inference": 3.0}
    ratios = contest.ratios(speeds, unet.PAIRS)
    assert ratios == {"training": 1.0, "inference": 2.0, "onnx": 3.0}
    assert "ours, onnx                            9.00" in contest.table("images", speeds, ratios)


def test_waiting_is_a_share_of_the_epoch():
    times = pointnet.waiting(0.125, clouds=32, points=32, jit=False)
    assert 0 < times["preparing"] < times["epoch"]
    assert 0 < times["share"] < 1


def test_record_of_unet_becomes_a_table(tmp_path, monkeypatch, capsys):
    both = {"training": [2.0, 4.0], "inference": [6.0, 6.0]}
    rounds = {"ours": both, "ours, onnx": {"inference": [9.0, 9.0]}, "torch": both}
    monkeypatch.setattr(contest, "compare", lambda *_: rounds)
    unet.main(["--size", "128", "--out", str(tmp_path / "benchmark_unet.json")])
    assert "onnx: 1.50 x" in capsys.readouterr().out
    record = json.loads((tmp_path / "benchmark_unet.json").read_text())
    assert record["command"].startswith("python -m benchmarks.unet --size 128")
    assert [(part["width"], part["batch_size"]) for part in record["settings"]] == [
        (0.25, 8),
        (1, 4),
    ]
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    lines = tables.speed_unet().splitlines()
    assert lines[0].startswith("| images per second | 16 channels, 128²: training | 16 channels")
    assert lines[2:7] == [
        "| ours | 3.00 | 6.00 | 3.00 | 6.00 |",
        "| ours, onnx |  | 9.00 |  | 9.00 |",
        "| torch | 3.00 | 6.00 | 3.00 | 6.00 |",
        "| best of ours / torch | 1.00 | 1.00 | 1.00 | 1.00 |",
        "| onnx / torch |  | 1.50 |  | 1.50 |",
    ]


def test_record_of_yolo_becomes_a_table(tmp_path, monkeypatch, capsys):
    ours = {"training": [2.0, 4.0], "inference": [6.0, 6.0]}
    rounds = {"ours": ours, "torch": {"training": [2.0, 2.0], "inference": [12.0, 12.0]}}
    monkeypatch.setattr(contest, "compare", lambda *_: rounds)
    yolo.main(["--size", "64", "--batch", "3", "--out", str(tmp_path / "benchmark_yolo.json")])
    assert "training: 1.50 x" in capsys.readouterr().out
    record = json.loads((tmp_path / "benchmark_yolo.json").read_text())
    assert record["command"].startswith("python -m benchmarks.yolo --size 64 --batch 3")
    assert [part["width"] for part in record["settings"]] == [0.5, 1.0]
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    lines = tables.yolo().splitlines()
    assert lines[0] == "| images per second | ours | torch | best of ours / torch |"
    assert lines[2:6] == [
        "| width 0.5, training | 3.00 | 2.00 | 1.50 |",
        "| width 0.5, inference | 6.00 | 12.00 | 0.50 |",
        "| width 1.0, training | 3.00 | 2.00 | 1.50 |",
        "| width 1.0, inference | 6.00 | 12.00 | 0.50 |",
    ]
    assert "batches of 3 images of 64²" in lines[-1]


def test_record_of_classification_becomes_a_table(tmp_path, monkeypatch, capsys):
    ours = {"training": [2.0, 4.0], "inference": [60.0, 60.0]}
    torch = {"training": [2.0, 2.0], "inference": [12.0, 12.0]}
    rounds = {"ours": ours, "torch": torch, "torch.compile": {**torch, "training": [4.0, 4.0]}}
    sizes = []
    monkeypatch.setattr(contest, "compare", lambda *given: sizes.append(given[1:3]) or rounds)
    monkeypatch.setattr(contest, "precisions", lambda: ["float32"])
    path = str(tmp_path / "benchmark_classification.json")
    classification.main(["--size", "64", "--batch", "3", "--out", path])
    assert "training: 0.75 x" in capsys.readouterr().out
    assert [size[1] for size in sizes] == [
        (3, 64, model, "float32") for model in ("resnet", "mobilenet", "vit")
    ]
    assert ["keras" in size[0] for size in sizes] == [True, True, False]
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    lines = tables.classification().splitlines()
    assert lines[0] == (
        "| images per second | ours | torch | torch.compile | best of ours / best of others | "
        "best of ours / torch |"
    )
    assert lines[2:4] == [
        "| resnet, float32, training | 3.00 | 2.00 | 4.00 | 0.75 | 1.50 |",
        "| resnet, float32, inference | 60.00 | 12.00 | 12.00 | 5.00 | 5.00 |",
    ]
    assert "batches of 3 images of 64²" in lines[-1]
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "none")
    assert tables.classification() == ""


def test_table_of_yolo_is_empty_without_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.yolo() == ""


def test_record_of_bilstm_becomes_a_table(tmp_path, monkeypatch, capsys):
    ours = {"training": [2000.0, 4000.0], "inference": [60.0, 60.0]}
    rounds = {"ours": ours, "torch": {"training": [2000.0, 2000.0], "inference": [80.0, 80.0]}}
    monkeypatch.setattr(contest, "compare", lambda *_: rounds)
    bilstm.main(["--length", "50", "--out", str(tmp_path / "benchmark_bilstm.json")])
    assert "training: 1.50 x" in capsys.readouterr().out
    record = json.loads((tmp_path / "benchmark_bilstm.json").read_text())
    assert [(part["batch_size"], part["length"]) for part in record["settings"]] == [
        (32, 50),
        (128, 50),
    ]
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    lines = tables.bilstm().splitlines()
    assert lines[0].startswith(
        "| series per second | batch size 32: training | batch size 32: inference |"
    )
    assert lines[2:5] == [
        "| ours | 3,000 | 60.00 | 3,000 | 60.00 |",
        "| torch | 2,000 | 80.00 | 2,000 | 80.00 |",
        "| best of ours / best of torch | 1.50 | 0.75 | 1.50 | 0.75 |",
    ]
    assert "50 time steps" in lines[-1]
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "none")
    assert tables.bilstm() == ""


def test_results_stand_beside_published_ones(tmp_path, monkeypatch):
    def write(folder, **run):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text(json.dumps(run))

    data = {"name": "GunPoint"}
    for seed, accuracy in enumerate([0.96, 0.98]):
        write(f"gru_{seed}", data=data, model="gru", scores={"test": {"accuracy": accuracy}})
    rows = [{"name": name, "scores": {"accuracy": 0.99}} for name in ("gru-1", "average")]
    for number in (1, 2):  # the same members twice are one set
        members = [{"name": "gru-1", "sha256": "1"}]
        write(f"ensemble_{number}", data=data, model="average", members=members, rows=rows)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    row = "| GunPoint | accuracy | gru 0.970 ± 0.014 (2 seeds) | average 0.990 | 1NN-DTW 0.907 |"
    assert row in tables.published().splitlines()
    assert "GunPoint" not in tables.ensembles()


def test_speed_holds_the_tables_whose_records_there_are(tmp_path, monkeypatch):
    (tmp_path / "benchmark_pointnet.json").write_bytes(
        (tables.RESULTS / "benchmark_pointnet.json").read_bytes()
    )
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    alone = tables.speed()
    assert alone == tables.speed_pointnet()
    (tmp_path / "benchmark_unet.json").write_text(
        json.dumps({"command": "", "machine": "", "settings": []})
    )
    assert tables.speed() == f"{alone}\n\n{tables.speed_unet()}"


def test_both_methods_of_stacking_end_with_the_same_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(stacking, "COUNT", 2)
    paths = stacking.make(tmp_path, 0.0625)
    assert len(paths) == 2
    naive, ours = (stacking.stack(method, paths, 32, 12, 2) for method in ("naive", "ours"))
    assert naive["loss"] == pytest.approx(ours["loss"], abs=1e-3)
    assert naive["seconds"] > 0 < ours["seconds"]
    speeds = stacking.inference(paths, 32, tmp_path, onnx=False, repeats=1)
    assert speeds["ratio"] == pytest.approx(speeds["joined"] / speeds["members"], rel=0.05)


def test_ensembles_of_several_sets_become_one_table(tmp_path, monkeypatch):
    for number, dice in enumerate([0.90, 0.92], 1):
        rows = [
            {"name": "unet-1", "scores": {"dice": dice - 0.02}, "nll": 0.1, "ece": 0.02},
            {"name": "unet-2", "scores": {"dice": dice - 0.01}, "nll": 0.1, "ece": 0.02},
            {"name": "stack", "scores": {"dice": dice}, "nll": 0.05, "ece": 0.01},
        ]
        members = [
            {
                "name": f"unet-{i}",
                "sha256": f"{number}{i}",
                "command": f"python train.py --model unet --loss {loss} --seed {number}",
            }
            for i, loss in enumerate(["bce", "dice"], 1)
        ]
        run = {"rows": rows, "members": members, "model": "stack", "found": {"meta": "conv"}}
        folder = tmp_path / f"ensemble_{number}"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({**run, "data": {"name": "toy"}}))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    text = tables.ensembles()
    assert "| toy, 2 sets of members | test Dice | log-loss | calibration error |" in text
    assert "| bce | 0.8900 ± 0.0141 | 0.1000 | 0.0200 |" in text
    assert "| **stack, conv** | 0.9100 ± 0.0141 | 0.0500 | 0.0100 |" in text


def test_each_half_of_cifar10_has_half_of_every_class(tmp_path):
    y = np.arange(40) % 4
    train = dict(x_train=np.zeros((4, 2, 2, 3), np.uint8), y_train=np.arange(4))
    x = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(2, axis=1)
    np.savez(tmp_path / "cifar10.npz", **train, x_test=x, y_test=y[:, None])
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\n")
    cifar10.main([str(tmp_path), str(tmp_path / "out")])
    one, two = (np.load(tmp_path / "out" / f"cifar10_half_{n}.npz") for n in (1, 2))
    np.testing.assert_array_equal(one["x_val"], two["x_test"])
    np.testing.assert_array_equal(one["y_test"], two["y_val"])
    for half in (one["y_val"], one["y_test"]):
        assert np.bincount(half).tolist() == [5, 5, 5, 5]
    seen = np.concatenate([one["x_val"], one["x_test"]])[:, 0, 0, 0]
    assert sorted(seen.tolist()) == [*range(40)]
    assert [*one["classes"]] == ["a", "b", "c", "d"]


def test_precisions_are_compared_on_the_test_split(tmp_path, capsys):
    precision.main(["gru_gunpoint", "--out", str(tmp_path / "record.json")])
    assert "mixed_bfloat16" in capsys.readouterr().out
    record = json.loads((tmp_path / "record.json").read_text())
    assert [row["name"] for row in record["rows"]] == [*precision.POLICIES]
    plain, half = (row["accuracy"] for row in record["rows"])
    assert plain > 0.9 and abs(plain - half) < 0.03
    assert record["command"].startswith("python -m benchmarks.precision gru_gunpoint")
