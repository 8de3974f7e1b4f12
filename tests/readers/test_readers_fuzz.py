"""Damaged files of every format: `BadInput` or sound data, never a crash, hang or garbage.

Each format is read in a process of its own, in little memory, so that a crash in Rust, a hang or a
huge allocation fails the test instead of ending pytest.
"""

import os
import pathlib
import random
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.readers import test_readers_clouds, test_readers_images

ROOT = pathlib.Path(__file__).parents[2]
CASES = int(os.environ.get("ZOO_FUZZ_CASES", 150))
SECONDS = 5  # that one file may take
MEMORY = 1 << 30  # bytes that reading a file of a few kB may take
# Where a line or a point ends, a cut file is a shorter sound one.
OPEN_ENDED = ("plain.xyz", "labels.csv", "semicolons.txt", "kitti.bin")


def damage(raw, rng):
    """Cut a file or flip up to ten bits, half of the time in its first 700 bytes: the header."""
    if rng.random() < 0.4:
        return raw[: rng.randrange(len(raw))], True
    flipped = bytearray(raw)
    reach = min(len(raw), rng.choice([700, len(raw)]))
    for _ in range(rng.choice([1, 1, 3, 10])):
        flipped[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(flipped), False


def read_cloud(path):
    """Read a cloud and check it."""
    from datasets.readers import clouds

    cloud = clouds.read_cloud(path)
    points, labels = cloud["points"], cloud.get("labels")
    assert points.ndim == 2 and points.shape[1] == 3 and points.dtype == np.float32
    assert len(points) and np.isfinite(points).all() and np.abs(points).max() <= 1e7
    assert labels is None or (labels.shape == points.shape[:1] and labels.dtype == np.int64)
    return points


def check_cut_cloud(name, points, valid):
    """Check what was read of a file that was cut."""
    if name in OPEN_ENDED:
        np.testing.assert_array_equal(points[:-1], valid[: len(points) - 1])
    else:  # only a last line that lost its end can go unnoticed
        assert name.startswith("ascii") and len(points) == len(valid)
        np.testing.assert_array_equal(points[:-1], valid[:-1])


def read_image(path):
    """Read an image, and as a mask, and check both."""
    from datasets.readers import images
    from datasets.source import BadInput

    image = images.read_image(path)
    assert image.ndim == 3 and image.size
    assert image.dtype in (np.uint8, np.uint16, np.float32) and np.isfinite(image).all()
    assert images.read_size(path) == image.shape[:2]
    for colours in (False, True):
        try:
            mask = images.read_mask(path, colours)
        except BadInput as error:
            reasons = ("not integers", "not black and white", "truncated", "bands")
            assert any(reason in str(error) for reason in reasons), error
        else:
            assert mask.shape in (image.shape[:2], (*image.shape[:2], 3))
            assert mask.dtype.kind in "iu"
    return image


def check_cut_image(name, image, valid):
    """Check that only what follows the pixels was lost, or the last rows of a JPEG."""
    if name.endswith(".jpg"):
        assert image.shape == valid.shape
        missing = (image == 128).all(axis=(1, 2)).sum()
        assert missing <= 0.05 * len(image) + (valid == 128).all(axis=(1, 2)).sum()
    else:
        np.testing.assert_array_equal(image, valid)


def fuzz(path):
    """Read a file damaged in many ways; print a line and exit with an error where that fails."""
    from datasets.readers.images import EXTENSIONS
    from datasets.source import BadInput

    is_image = path.suffix in EXTENSIONS
    read, check_cut = (read_image, check_cut_image) if is_image else (read_cloud, check_cut_cloud)
    valid = read(path)
    raw, rng = path.read_bytes(), random.Random(path.name)
    in_use = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, in_use + MEMORY))
    refused = 0
    for case in range(CASES):
        content, cut = damage(raw, rng)
        path.write_bytes(content)
        print(f"case {case}", flush=True)  # the last line tells which case killed the process
        signal.alarm(SECONDS)
        try:
            example = read(path)
        except BadInput as error:
            assert path.name in str(error), error
            refused += 1
            continue
        if cut:
            check_cut(path.name, example, valid)
    print(f"{refused} of {CASES} refused")


FORMATS = [
    "binary.ply", "ascii.ply", "binary.pcd", "ascii.pcd", "compressed.pcd", "plain.xyz",
    "labels.csv", "named.npz", "wide.npy", "kitti.bin", "old.las", "old.laz", "new.las", "new.laz",
    *test_readers_images.WRITERS,
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process as Linux does")
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_or_read_soundly(name, tmp_path):
    (test_readers_clouds.WRITERS | test_readers_images.WRITERS)[name](tmp_path / name)
    if name == "kitti.bin":  # its neighbour would give the damage away
        (tmp_path / "kitti.label").unlink()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.readers.test_readers_fuzz", str(tmp_path / name)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    last = "\n".join((ended.stdout + ended.stderr).splitlines()[-15:])
    assert ended.returncode == 0, f"exit status {ended.returncode}: {last}"


if __name__ == "__main__":
    fuzz(pathlib.Path(sys.argv[1]))
