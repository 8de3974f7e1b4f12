"""Facts of seasonal_series, sunspots and gunpoint: what is embedded arrives unchanged."""

import configparser
import importlib
import os
import pathlib
import re

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from datasets import builders, gunpoint, seasonal_series, sunspots
from datasets.readers import series

ROOT = pathlib.Path(__file__).parents[2]
NAMES = ["seasonal_series", "sunspots", "gunpoint"]


def builder(name):
    return importlib.import_module(f"datasets.{name}.{name}_dataset_builder").Builder


def folder(module):
    return pathlib.Path(module.__file__).parent


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    return {name: builders.load(name, data_dir=data_dir) for name in NAMES}


def read(source, split="train"):
    return [example.read() for example in source.splits[split]]


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_as_documented(name, sources):
    source, made = sources[name], builder(name)
    assert name in builders.ours() and builders.names().count(name) == 1
    assert source.info["builder"] == f"{name}/1.0.0" and source.options == getattr(
        made, "OPTIONS", {}
    )
    assert {split: len(some) for split, some in source.splits.items()} == made.COUNTS
    text = " ".join((ROOT / "datasets" / name / "README.md").read_text("utf-8").split())
    licence = source.info["licence"]
    assert f"Licence: {licence}".lower() in text.lower()


@pytest.mark.parametrize("name", NAMES)
def test_preparing_again_gives_the_same(name, sources, tmp_path):
    again = builders.load(name, data_dir=tmp_path)
    assert again.fingerprint == sources[name].fingerprint
    for split in again.splits:
        for first, second in zip(read(again, split), read(sources[name], split), strict=True):
            assert first.keys() == second.keys()
            for key in first:
                np.testing.assert_array_equal(first[key], second[key])


def test_seasonal_series_is_its_formula_and_noise(sources):
    (example,) = read(sources["seasonal_series"])
    values = example["values"]
    assert set(example) == {"values"} and values.shape == (10_000, 1)
    assert values.dtype == np.float64
    wanted = [np.sin(x / 50) - np.sin(x / 200) + (2 * x / 10_000) ** 2 for x in range(10_000)]
    noise = values[:, 0] - wanted
    np.testing.assert_allclose(noise, np.random.default_rng(0).normal(size=10_000), atol=1e-12)
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.03
    # seed 0 draws these on every machine
    np.testing.assert_allclose(noise[:3], [0.12573022, -0.13210486, 0.64042265], atol=1e-8)


def test_sunspots_are_those_of_statsmodels(sources):
    from statsmodels.datasets import sunspots as theirs

    (example,) = read(sources["sunspots"])
    assert (example["values"].shape, example["values"].dtype) == ((309, 1), np.float64)
    assert (example["times"].shape, example["times"].dtype) == ((309, 1), np.int64)
    data = theirs.load_pandas().data
    np.testing.assert_array_equal(example["values"][:, 0], data["SUNACTIVITY"])
    years = example["times"][:, 0].astype("datetime64[ns]").astype("datetime64[Y]")
    np.testing.assert_array_equal(years.astype(int) + 1970, data["YEAR"].astype(int))
    assert (years.astype("datetime64[ns]").astype(np.int64) == example["times"][:, 0]).all()
    original = pathlib.Path(theirs.__file__).parent / "sunspots.csv"
    embedded = folder(sunspots) / "sunspots.csv"
    assert embedded.read_text().split() == original.read_text().split()
    text = (folder(sunspots) / "README.md").read_text("utf-8")
    values = example["values"]
    assert f"from {values.min():.0f} to {values.max():.1f} spots, with a mean of" in " ".join(
        text.split()
    )
    assert f"mean of {values.mean():.1f}" in text
    read_by_hand = series.read_example(embedded)
    np.testing.assert_array_equal(read_by_hand["times"], example["times"])
    np.testing.assert_array_equal(read_by_hand["values"], example["values"])


def test_gunpoint_is_what_the_files_say(sources):
    source = sources["gunpoint"]
    assert source.classes == ("gun", "point")
    counts = {"train": (24, 26), "test": (76, 74)}
    text = (folder(gunpoint) / "README.md").read_text("utf-8")
    for split, (guns, points) in counts.items():
        examples = read(source, split)
        assert f"| `{split}` | {guns} | {points} | {guns + points} |" in text
        assert [sum(e["label"] == k for e in examples) for k in (0, 1)] == [guns, points]
        file = folder(gunpoint) / f"GunPoint_{split.upper()}.ts"
        lines = file.read_text().partition("@data\n")[2].split()
        remaining = {}
        for line in lines:
            values, label = line.split(":")
            values = np.array([float(word) for word in values.split(",")], np.float32)
            remaining.setdefault(values.tobytes(), []).append(int(label) - 1)
        for example in examples:
            assert example["series"].shape == (150, 1) and example["series"].dtype == np.float32
            assert remaining[example["series"].tobytes()].pop() == example["label"]
        assert not any(remaining.values())


def test_a_hand_without_a_gun_overshoots(sources):
    """Which of 1 and 2 is the gun: Ye and Keogh, KDD 2009, saw the dip of the other class."""
    examples = [e for split in ("train", "test") for e in read(sources["gunpoint"], split)]
    steps = np.stack([e["series"][:, 0] for e in examples])
    dips = steps[:, -5:].mean(1) - steps[:, 75:].min(1) > 0.2
    labels = np.array([e["label"] for e in examples])
    guns, points = (int(dips[labels == k].sum()) for k in (0, 1))
    assert (guns, points) == (1, 16) and ((labels == 0).sum(), (labels == 1).sum()) == (100, 100)
    text = " ".join((folder(gunpoint) / "README.md").read_text("utf-8").split())
    assert "16 of 100 series of class 2" in text and "one of 100 of class 1" in text
    np.testing.assert_allclose(steps.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(1, ddof=1), 1, atol=1e-5)


@pytest.mark.parametrize("module", [seasonal_series, sunspots, gunpoint])
def test_files_are_packed(module):
    here, config = folder(module), configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packed = config["options.package_data"]["datasets"].split(", ")
    paths = {path for pattern in packed for path in here.parent.glob(pattern)}
    files = [path for path in here.iterdir() if path.is_file() and path.suffix != ".py"]
    assert set(files) <= paths and sum(path.stat().st_size for path in files) < 1e6
    assert {"README.md", "CITATIONS.bib", "TAGS.txt"} <= {path.name for path in files}


def test_licences_are_told():
    text = (folder(gunpoint) / "LICENSE").read_text("utf-8")
    assert "BSD 3-Clause License" in text and "Markus Löning" in text
    notice = (ROOT / "NOTICE").read_text("utf-8")
    assert re.search(r"datasets/gunpoint.*sktime.*BSD", notice, re.DOTALL)
    assert re.search(r"datasets/sunspots.*public\s+domain", notice, re.DOTALL)


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
def test_gunpoint_is_embedded_unchanged():
    for name in ("GunPoint_TRAIN.ts", "GunPoint_TEST.ts"):
        original = pathlib.Path(os.environ["ZOO_DATA"]) / "ucr" / "GunPoint" / name
        assert original.read_bytes() == (folder(gunpoint) / name).read_bytes()
