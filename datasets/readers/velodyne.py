"""KITTI's binary scans: four float32 a point (.bin), and SemanticKITTI's label a point (.label)."""

import pathlib

import numpy as np

from datasets.readers.files import read_bytes
from datasets.source import BadInput


def read_scan(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read x y z reflectance records, and the labels of the scan's .label file if there is one.

    The .label file stands beside the scan, or in `labels/` beside the folder `velodyne/`.

    Returns:
        Coordinates (n, 3) float32, metres, and labels (n,) uint32 or None.
    """
    raw = read_bytes(path)
    if len(raw) % 16:
        raise BadInput(
            path,
            f"{len(raw)} bytes are no whole number of points of 16 bytes (x y z reflectance)",
            "Copy it again; a scan with other columns can be saved as .npz",
        )
    points = np.frombuffer(raw, "<f4").reshape(-1, 4)
    if not np.isfinite(points[:, 3]).all():
        raise BadInput(path, "the reflectance of a point is not a number", "Copy it again")
    label_file = label_path(path)
    return points[:, :3], None if label_file is None else read_labels(label_file)


def label_path(path: pathlib.Path) -> pathlib.Path | None:
    """Return the .label file that belongs to a scan, None if there is none."""
    path = pathlib.Path(path)
    places = [path.with_suffix(".label"), path.parent.parent / "labels" / f"{path.stem}.label"]
    return next((place for place in places if place.is_file()), None)


def read_labels(path: pathlib.Path) -> np.ndarray:
    """Read a .label file: of each uint32 the lower half is the class, the upper the instance."""
    raw = read_bytes(path)
    if len(raw) % 4:
        raise BadInput(path, f"{len(raw)} bytes are no whole number of labels of 4 bytes")
    return np.frombuffer(raw, "<u4") & 0xFFFF
