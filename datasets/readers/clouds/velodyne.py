"""Scans of float32 records (.bin), as of KITTI and nuScenes, and SemanticKITTI's .label files."""

import functools
import os
import pathlib

import numpy as np

from datasets.readers.clouds.units import RawCloud
from datasets.readers.files import read_bytes
from datasets.source import BadInput

COLUMNS = (4, 5)  # x y z reflectance (KITTI), and ring, the number of the laser (nuScenes)
RINGS = 1024  # more than any sensor has
FIVE = "its points have five columns, x y z intensity ring (nuScenes), of which x y z are used"


def read_scan(path: pathlib.Path) -> RawCloud:
    """Read records of four or five float32, x y z first, and the labels of the scan if it has any.

    The .label file is beside the scan, or in `labels/` beside the folder `velodyne/`. The number of
    columns is determined from the name (nuScenes' .pcd.bin has five), the number of labels, the
    sizes of all scans of the folder, or the values.

    Returns:
        Coordinates (n, 3) float32, metres, and labels (n,) uint32 or None.

    Raises:
        BadInput: the file size is not a whole number of points, or the number of columns is
            ambiguous.
    """
    raw = read_bytes(path)
    label_file = label_path(path)
    labels = None if label_file is None else read_labels(label_file)
    columns = columns_of(path, raw, labels)
    if len(raw) % (4 * columns):
        kind = "x y z reflectance" if columns == 4 else "x y z intensity ring"
        raise BadInput(
            path,
            f"{len(raw)} bytes are not a whole number of points of {4 * columns} bytes ({kind})",
            "Copy it again; a scan with other columns can be saved as .npz",
        )
    points = np.frombuffer(raw, "<f4").reshape(-1, columns)
    if not np.isfinite(points[:, 3]).all():
        raise BadInput(path, "the reflectance of a point is not a number", "Copy it again")
    return RawCloud(points[:, :3], labels, (FIVE,) if columns == 5 else ())


def columns_of(path, raw, labels):
    """Return how many columns the points of a scan have: 4 or 5."""
    if path.name.lower().endswith(".pcd.bin"):
        return 5
    if labels is not None:  # one label per point
        return 5 if len(labels) * 20 == len(raw) else 4
    folder = path.parent
    try:
        fitting = fitting_files(folder, folder.stat().st_mtime_ns)
    except OSError:
        fitting = [len(raw) % (4 * columns) == 0 for columns in COLUMNS]
    if fitting[0] != fitting[1] and max(fitting) > 1:
        return COLUMNS[fitting[1] > fitting[0]]
    if len(raw) % 20:
        return 4
    values = np.frombuffer(raw, "<f4")
    ring = values.reshape(-1, 5)[:, 4]
    with np.errstate(invalid="ignore"):
        rings = bool(((ring == np.round(ring)) & (ring >= 0) & (ring < RINGS)).all())
    if not rings:
        return 4
    if len(raw) % 16 == 0 and (values == np.round(values)).all():
        why = "its points may have four columns (x y z reflectance) or five (and ring)"
        remedy = "Name it .pcd.bin if they have five, else save x y z as .npz"
        raise BadInput(path, why, remedy)
    return 5


@functools.lru_cache(maxsize=8)
def fitting_files(folder, _):
    """Return the number of scans in a folder that fit four columns, and five columns."""
    with os.scandir(folder) as entries:
        sizes = [e.stat().st_size for e in entries if e.name.lower().endswith(".bin")]
    return [sum(size > 0 and size % (4 * c) == 0 for size in sizes) for c in COLUMNS]


def label_path(path: pathlib.Path) -> pathlib.Path | None:
    """Return the .label file that belongs to a scan, None if there is none."""
    path = pathlib.Path(path)
    places = [path.with_suffix(".label"), path.parent.parent / "labels" / f"{path.stem}.label"]
    return next((place for place in places if os.path.isfile(place)), None)  # False if no access


def read_labels(path: pathlib.Path) -> np.ndarray:
    """Read a .label file: the lower half of each uint32 is the class, the upper the instance."""
    raw = read_bytes(path)
    if len(raw) % 4:
        raise BadInput(path, f"{len(raw)} bytes are not a whole number of labels of 4 bytes")
    return np.frombuffer(raw, "<u4") & 0xFFFF
