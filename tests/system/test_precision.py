"""The precision that a machine computes natively."""

import subprocess

import pytest

import train
from zoo.system import precision


@pytest.mark.parametrize(
    ("capability", "flags", "policy"),
    [
        (None, {"avx2"}, "float32"),
        (None, {"avx512f", "avx512_bf16"}, "mixed_bfloat16"),
        (None, {"amx_bf16"}, "mixed_bfloat16"),
        (7.5, {"amx_bf16"}, "float32"),
        (9.0, set(), "mixed_bfloat16"),
    ],
)
def test_bfloat16_is_taken_where_it_is_native(monkeypatch, capsys, capability, flags, policy):
    monkeypatch.setattr(precision, "gpu", lambda: capability)
    monkeypatch.setattr(precision, "flags", lambda: flags)
    settings = train.parse(["--model", "pointnet", "--precision", "auto"])
    assert settings["precision"] == policy
    assert capsys.readouterr().out.startswith(f"Precision {policy}: ")
    assert train.parse(["--model", "pointnet"])["precision"] == "float32"


def test_a_gpu_is_asked_for_its_capability(monkeypatch):
    done = subprocess.CompletedProcess([], 0, stdout="8.6\n8.6\n")
    monkeypatch.setattr(precision.subprocess, "run", lambda *words, **options: done)
    assert precision.gpu() == 8.6


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    def missing(*words, **options):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(precision.subprocess, "run", missing)
    assert precision.gpu() is None
