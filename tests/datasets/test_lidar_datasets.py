"""Facts of the simulated sensor, of lidar_objects and lidar_scenes, and of data sets by name."""

import importlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("open3d")

from datasets import builders
from datasets.lidar import example_rng, ground, objects, sensor, shapes, street
from datasets.source import BadInput

ROOT = pathlib.Path(__file__).parents[2]
LICENCES = {
    "bccd": "MIT",
    "characters": "MIT",
    "clothing": "CC0-1.0",
    "dsb2018": "CC0-1.0",
    "gunpoint": "BSD-3-Clause",
    "lidar_objects": "Apache-2.0",
    "lidar_scenes": "Apache-2.0",
    "seasonal_series": "Apache-2.0",
    "sunspots": "public domain",
}
COUNTS_OF_1_0_0 = [14430, 153, 2291, 115, 357, 326, 56, 487, 5170, 102]
SCENE_OF_1_0_0 = [16713, 3820, 5328, 514, 762, 375, 346, 189, 2511]
FLAT = ground.Ground(np.zeros((1, 4))).mesh(np.arange(-60, 61, 10), np.arange(-60, 61, 10))
ORIGIN = np.array((0, 0, sensor.HEIGHT))


@pytest.fixture(scope="module")
def seen():
    """Three objects of every class, as {class: [Seen, ...]}."""
    return {
        kind: [objects.seen_object(np.random.default_rng([9, i]), kind) for i in range(3)]
        for kind in objects.CLASSES
    }


@pytest.fixture(scope="module")
def scenes():
    return [street.street_scan(np.random.default_rng([9, i])) for i in range(3)]


def look_at(*things, reach=0.5):
    """Scan things, in order, on flat ground, towards +x: points and the thing each belongs to."""
    rng = np.random.default_rng(3)
    rays = sensor.directions(np.arange(-reach, reach, sensor.AZIMUTH_STEP))
    scan = sensor.scan(rng, shapes.combine([*things, FLAT]), ORIGIN, rays)
    ends = np.cumsum([len(thing.triangles) for thing in things])
    return scan.points, np.searchsorted(ends, scan.triangles, side="right")


def box_at(x, height=1.5, half=1.0, y=0.0):
    return shapes.box((x, y - half, 0), (x + 2, y + half, height), 0.6)


# The sensor


def test_beams_are_those_of_the_sensor():
    degrees = np.rad2deg(sensor.ELEVATIONS)
    assert len(degrees) == 64
    assert degrees[0] == 2 and degrees[-1] == pytest.approx(-24.33)
    assert np.all(np.diff(degrees) < 0)
    rays = sensor.directions([0, 1])
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1, rtol=1e-6)


def test_range_noise_has_the_stated_sigma():
    wall = shapes.box((10, -6, -1), (10.1, 6, 6), 0.8)
    points, which = look_at(wall)
    beams = points[which == 0] - ORIGIN
    exact = 10 * np.linalg.norm(beams, axis=1) / beams[:, 0]
    error = np.linalg.norm(beams, axis=1) - exact
    assert len(error) > 10_000
    assert np.std(error) == pytest.approx(sensor.RANGE_NOISE, rel=0.05)
    assert abs(np.mean(error)) < 0.001


def test_echoes_fade_with_range_grazing_incidence_and_dark_surfaces():
    chance = sensor.echo_probability
    assert np.all(np.diff(chance(np.arange(5.0, 120), 1.0, 0.5)) < 0)
    assert chance(30.0, 0.05, 0.2) < chance(30.0, 1.0, 0.2)
    assert chance(10.0, 1.0, 0.03) < chance(10.0, 1.0, 0.8)
    assert chance(sensor.FARTHEST, 1.0, 0.8) == pytest.approx((1 - sensor.BASE_DROP_OUT) / 2)


def test_only_the_near_side_is_seen():
    points, which = look_at(box_at(10))
    mine = points[which == 0]
    assert len(mine) > 500
    far = (mine[:, 0] > 10.2) & (mine[:, 2] < 1.4)
    assert not far.any()


def test_density_falls_with_the_square_of_the_distance():
    counts = [np.count_nonzero(look_at(box_at(x))[1] == 0) for x in (10, 20, 40)]
    assert counts[0] > counts[1] > counts[2] > 0
    # A beam every 0.172 x 0.333 degrees at best: four times fewer points at twice the distance.
    assert 2.5 < counts[0] / counts[1] < 5.5
    assert 2.5 < counts[1] / counts[2] < 5.5


def test_what_stands_in_front_hides_what_is_behind():
    free = np.count_nonzero(look_at(box_at(20))[1] == 0)
    half = np.count_nonzero(look_at(box_at(20), box_at(8, height=3, y=1.2))[1] == 0)
    none = np.count_nonzero(look_at(box_at(20), box_at(8, height=3, half=2))[1] == 0)
    assert none == 0
    assert 0.1 * free < half < 0.9 * free


# What is made


@pytest.mark.parametrize("kind", objects.CLASSES)
def test_meshes_are_sound_and_stand_on_the_ground(kind):
    for seed in range(4):
        body = objects.MAKERS[kind](np.random.default_rng([1, seed]))
        assert body.vertices.dtype == np.float32 and body.triangles.dtype == np.uint32
        assert np.isfinite(body.vertices).all()
        assert body.triangles.max() < len(body.vertices)
        assert len(body.reflectivity) == len(body.triangles)
        assert 0 < body.reflectivity.min() and body.reflectivity.max() <= 1
        # Some have a foot in the ground; a shrub's or conifer's lowest leaves may hang free of it.
        assert -0.45 <= body.vertices[:, 2].min() < 0.3


@pytest.mark.parametrize(
    ("kind", "lengths", "widths", "heights"),
    [
        ("car", (3.6, 4.9), (1.6, 2.25), (1.38, 1.85)),  # widths with mirrors
        ("van", (4.6, 6.0), (1.85, 2.6), (1.95, 2.7)),
        ("truck", (6.5, 12), (2.3, 2.6), (2.4, 4.0)),
        ("cyclist", (1.5, 1.9), (0.4, 1.0), (1.25, 2.3)),
        ("pedestrian", (0.2, 1.6), (0.3, 0.9), (1.0, 2.1)),
    ],
)
def test_sizes_are_the_documented_ones(kind, lengths, widths, heights):
    for seed in range(12):
        size = np.ptp(objects.MAKERS[kind](np.random.default_rng([2, seed])).vertices, axis=0)
        for value, (low, high) in zip(size, (lengths, widths, heights), strict=True):
            assert low - 0.01 <= value <= high + 0.01, (kind, seed, size)


# lidar_objects


def test_same_seed_same_bytes_other_index_other_object():
    for i, kind in enumerate(objects.CLASSES):
        first, again = (objects.seen_object(example_rng(0, "train", i), kind) for _ in range(2))
        assert first.points.tobytes() == again.points.tobytes()
    another = objects.seen_object(example_rng(0, "test", i), kind)
    assert another.points.tobytes() != first.points.tobytes()


@pytest.mark.parametrize("kind", objects.CLASSES)
def test_objects_are_as_documented(seen, kind):
    for points, place, share in seen[kind]:
        assert points.dtype == np.float32 and points.shape[1] == 3
        assert len(points) >= objects.FEWEST_POINTS and np.isfinite(points).all()
        middle = (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
        np.testing.assert_allclose(middle, 0, atol=1e-3)
        assert -0.5 < points[:, 2].min() < 2.0 and points[:, 2].max() < 4
        assert objects.LEAST_SEEN <= share <= 1
        assert 2 < np.linalg.norm(place[:2]) < objects.FARTHEST + 10


@pytest.mark.parametrize(
    ("kind", "longest"), [("car", 5.2), ("cyclist", 2.1), ("pedestrian", 1.8), ("van", 6.4)]
)
def test_objects_hold_no_points_of_ground_or_neighbours(kind, longest):
    for seed in range(15):
        points = objects.seen_object(np.random.default_rng([5, seed]), kind).points
        assert np.linalg.norm(np.ptp(points[:, :2], axis=0)) < longest * 1.2


@pytest.mark.parametrize("kind", objects.CLASSES)
def test_each_ray_of_the_sensor_brings_one_point_at_most(seen, kind):
    """Seen from the sensor, no two points of an object lie in one direction: one side only."""
    for points, place, _ in seen[kind]:
        x, y, z = (points - place).astype("float64").T
        elevation = np.arctan2(z, np.hypot(x, y))
        beam = np.abs(elevation[:, None] - sensor.ELEVATIONS).argmin(axis=1)
        assert np.abs(elevation - sensor.ELEVATIONS[beam]).max() < 1e-4
        azimuth = np.arctan2(y, x)
        column = np.angle(np.exp(1j * (azimuth - azimuth[0]))) / sensor.AZIMUTH_STEP
        assert np.abs(column - column.round()).max() < 0.02
        rays = np.stack([beam, column.round()], axis=1)
        assert len(np.unique(rays, axis=0)) == len(points)


def test_some_objects_are_partly_hidden():
    shares = [objects.seen_object(np.random.default_rng([4, i]), "car").share for i in range(20)]
    assert 2 <= sum(share < 0.98 for share in shares) <= 16


def test_a_changed_simulator_needs_a_new_version():
    """The first examples of version 1.0.0: raise VERSION with any change that fails this."""
    counts = [
        len(objects.seen_object(example_rng(0, "train", i), kind).points)
        for i, kind in enumerate(objects.CLASSES)
    ]
    np.testing.assert_allclose(counts, COUNTS_OF_1_0_0, rtol=0.02, atol=2)
    scan = street.street_scan(example_rng(0, "train", 0))
    per_class = np.bincount(scan.labels, minlength=len(street.CLASSES))
    np.testing.assert_allclose(per_class, SCENE_OF_1_0_0, rtol=0.02, atol=3)


# lidar_scenes


def test_scenes_are_as_documented(scenes):
    for points, labels in scenes:
        assert points.dtype == np.float32 and labels.dtype == np.int32
        assert points.shape == (len(labels), 3) and 20_000 < len(points) < 64 * street.COLUMNS
        assert np.isfinite(points).all() and np.linalg.norm(points, axis=1).max() < sensor.FARTHEST
        near = np.linalg.norm(points[:, :2], axis=1) < 8
        level = points[near & (labels == street.CLASSES.index("ground")), 2]
        assert np.median(level) == pytest.approx(-sensor.HEIGHT, abs=0.1)


def test_scenes_hold_every_class(scenes):
    counts = sum(np.bincount(s.labels, minlength=len(street.CLASSES)) for s in scenes)
    assert counts.min() >= 100, dict(zip(street.CLASSES, counts, strict=True))
    assert counts.argmax() == street.CLASSES.index("ground")


def test_scenes_repeat_and_differ(scenes):
    again = street.street_scan(np.random.default_rng([9, 0]))
    assert again.points.tobytes() == scenes[0].points.tobytes()
    assert again.labels.tobytes() == scenes[0].labels.tobytes()
    assert scenes[1].points.tobytes() != again.points.tobytes()


# The builders


@pytest.mark.parametrize("name", builders.ours())
def test_builder_folders_are_laid_out_as_tfds_expects(name):
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.core import dataset_metadata

    folder = ROOT / "datasets" / name
    for file in ("__init__.py", "README.md", "CITATIONS.bib", "TAGS.txt"):
        assert (folder / file).read_text().strip(), file
    metadata = dataset_metadata.load(folder)
    known = dataset_metadata.valid_tags()
    assert metadata.tags and set(metadata.tags) <= set(known)
    assert f"Licence: {LICENCES[name]}" in metadata.description and "@" in metadata.citation


@pytest.fixture
def small(monkeypatch):
    """Make our builders small."""
    pytest.importorskip("tensorflow_datasets")
    for name, counts in (("lidar_objects", (20, 10)), ("lidar_scenes", (2, 1))):
        module = importlib.import_module(f"datasets.{name}.{name}_dataset_builder")
        monkeypatch.setattr(
            module.Builder, "COUNTS", dict(zip(("train", "test"), counts, strict=True))
        )
    return module


def test_load_gives_back_what_the_simulator_made(small, tmp_path, capfd):
    source = builders.load("lidar_objects", data_dir=tmp_path)
    captured = capfd.readouterr()
    assert "Generating lidar_objects (once" in captured.err and captured.out == ""
    assert source.classes == objects.CLASSES
    assert {split: len(examples) for split, examples in source.splits.items()} == {
        "train": 20,
        "test": 10,
    }
    train = [example.read() for example in source.splits["train"]]
    assert sorted(int(x["label"]) for x in train) == sorted(list(range(10)) * 2)
    made = objects.seen_object(example_rng(0, "train", 3), objects.CLASSES[3]).points
    assert made.tobytes() in {x["points"].tobytes() for x in train}

    builders.load("lidar_objects", data_dir=tmp_path)
    assert "Generating" not in capfd.readouterr().err


def test_load_scenes(small, tmp_path):
    source = builders.load("lidar_scenes", data_dir=tmp_path)
    (example,) = source.splits["test"]
    read, made = example.read(), street.street_scan(example_rng(0, "test", 0))
    assert example.name == "lidar_scenes/test#0"
    np.testing.assert_array_equal(read["points"], made.points)
    np.testing.assert_array_equal(read["labels"], made.labels)
    assert source.classes == street.CLASSES


def test_fingerprint_is_the_datas_not_the_places(small, tmp_path, monkeypatch):
    first = builders.load("lidar_scenes", data_dir=tmp_path / "a").fingerprint
    assert first == builders.load("lidar_scenes", data_dir=tmp_path / "b").fingerprint
    monkeypatch.setattr(small.Builder, "COUNTS", {"train": 1, "test": 1})
    assert first != builders.load("lidar_scenes", data_dir=tmp_path / "c").fingerprint
    assert len(first) == 16 and int(first, 16) >= 0


def test_any_tfds_builder_becomes_a_source(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.testing.DummyMnist(data_dir=tmp_path)
    builder.download_and_prepare()
    source = builders._source(tfds, builder)
    assert source.classes == tuple("0123456789")
    assert set(source.splits) == {"train", "test"}
    assert next(iter(source.splits["train"])).read()["image"].shape == (28, 28, 1)


def test_names_are_those_of_tfds():
    tfds = pytest.importorskip("tensorflow_datasets")
    expected = set(tfds.list_builders(with_community_datasets=False))
    expected = {name for name in expected - set(builders.ours()) if not name.startswith("dummy")}
    assert len(expected) > 300
    assert len(expected - set(builders.tfds_names())) <= 0.01 * len(expected)
    assert len(set(builders.tfds_names()) - expected) <= 0.02 * len(expected)
    assert builders.known("mnist") and builders.known("mnist:3.0.1") and builders.known("glue/cola")


def test_unknown_and_unpreparable_data_sets_are_named(monkeypatch, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(BadInput, match="lidar_objets.*Did you mean lidar_objects"):
        builders.load("lidar_objets")

    def no_network(*_):
        raise OSError("no route to host")

    monkeypatch.setattr(builders, "_prepare", no_network)
    with pytest.raises(BadInput, match="mnist.*OSError: no route to host"):
        builders.load("mnist", data_dir=tmp_path)


def test_names_and_modules_import_nothing_heavy():
    code = (
        "import sys; from datasets import builders; from datasets.lidar import objects, street;"
        f"assert builders.ours() == {tuple(LICENCES)};"
        "assert builders.known('cifar10') and not builders.known('cifar11');"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'open3d', 'keras'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
