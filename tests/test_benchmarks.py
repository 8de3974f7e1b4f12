import numpy as np
import pytest

from benchmarks import pointnet

SIZE = (4, 32, 0.125)  # clouds, points, width


def test_our_steps_run_and_are_timed():
    assert pointnet.prepare("ours", *SIZE) > 0
    for kind in pointnet.KINDS:
        assert pointnet.measure(kind, seconds=0.01) > 0


@pytest.mark.parametrize("layout", ["conv", "linear"])
def test_rival_is_as_large_as_ours_and_learns(layout):
    pytest.importorskip("torch", reason="of the extra [torch-bench]")
    from benchmarks import torch_pointnet

    x = np.random.default_rng(0).normal(size=(4, 32, 3)).astype(np.float32)
    y = np.arange(4)
    rival, training, inference = torch_pointnet.steps(x, y, pointnet.CLASSES, 0.125, layout)
    assert rival == pointnet.ours(x, y, 0.125, jit=False)[0]
    assert inference().shape == (4, pointnet.CLASSES)
    first = training()
    assert min(training() for _ in range(3)) < first


def test_who_cannot_run_here_is_left_out(capsys):
    assert pointnet.compare(["nobody"], SIZE, rounds=1, seconds=0.01) == {}
    assert "nobody does not run here" in capsys.readouterr().err


def test_table_and_ratio_compare_the_best_with_the_best():
    speeds = dict.fromkeys(pointnet.CONTESTANTS, {"training": 10.0, "inference": 30.0})
    speeds["ours, jit"] = {"training": 20.0, "inference": 90.0}
    speeds["torch.compile"] = {"training": 99.0, "inference": 99.0}
    ratios = {kind: pointnet.ratio(speeds, kind) for kind in pointnet.KINDS}
    assert ratios == {"training": 2.0, "inference": 3.0}
    assert "2.00 x" in pointnet.table(speeds, ratios)


def test_waiting_is_a_share_of_the_epoch():
    found = pointnet.waiting(0.125, clouds=32, points=32, jit=False)
    assert 0 < found["preparing"] < found["epoch"]
    assert 0 < found["share"] < 1
