"""One point cloud from one file, whatever its format, checked before anyone computes with it."""

import pathlib
from collections.abc import Sequence

import numpy as np

from datasets.readers.arrayfiles import read_npy, read_npz
from datasets.readers.files import divide, walk
from datasets.readers.las import read_las
from datasets.readers.pcd import read_pcd
from datasets.readers.ply import read_ply
from datasets.readers.tables import read_table
from datasets.readers.velodyne import read_scan
from datasets.source import BadInput

WORLD_METRES = 1e4  # beyond it float32 is coarser than a millimetre: world coordinates
EXTENT_METRES = 1e7  # nobody scans farther: an earth's radius


def read_array(path: pathlib.Path) -> tuple[np.ndarray, None]:
    """Read a .npy array (n, 3 or more columns): x y z come first."""
    return columns(path, read_npy(path)), None


def read_arrays(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an .npz: `points`, or the only array of shape (n, >= 3), and `labels` if it is there."""
    arrays = dict(read_npz(path))
    labels = arrays.pop("labels", None)
    if "points" in arrays:
        return columns(path, arrays["points"]), labels
    tables = [a for a in arrays.values() if a.ndim == 2 and a.shape[1] >= 3]
    if len(tables) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise BadInput(
            path,
            f"it holds no array 'points' and not exactly one of shape (n, 3), but {shapes or None}",
            "Name the cloud points: numpy.savez(file, points=...)",
        )
    return columns(path, tables[0]), labels


def columns(path, array):
    """Return the first three columns of an array of numbers."""
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise BadInput(
            path,
            f"its array has shape {array.shape} and type {array.dtype}, not (n, 3) numbers",
            "Save x y z as columns",
        )
    return array[:, :3]


FORMATS = {
    ".ply": read_ply,
    ".pcd": read_pcd,
    ".xyz": read_table,
    ".txt": read_table,
    ".csv": read_table,
    ".npz": read_arrays,
    ".npy": read_array,
    ".bin": read_scan,
    ".las": read_las,
    ".laz": read_las,
}
EXTENSIONS = tuple(FORMATS)


def read_cloud(path: pathlib.Path) -> dict:
    """Read a point cloud in any of `EXTENSIONS`.

    Returns:
        A dictionary of `points`, float32 (n, 3), metres, n >= 1, finite; `offset`, float64 (3,),
        what was subtracted from the file's coordinates, as world coordinates do not fit in
        float32; and `labels`, int64 (n,), the file's own codes, where it has them.

    Raises:
        BadInput: the file is missing, empty, truncated, damaged, or not a cloud of finite points.
    """
    path = pathlib.Path(path)
    reader = FORMATS.get(path.suffix.lower())
    if reader is None:
        raise BadInput(
            path, f"{path.suffix or 'no extension'} is no format of clouds", f"Use {formats()}"
        )
    if not path.is_file():
        raise BadInput(path, "there is no such file")
    try:
        xyz, labels = reader(path)
        points, offset = metres(path, xyz, always=reader is read_las)
    except MemoryError as error:
        raise BadInput(path, "it does not fit in memory", "Cut it into tiles") from error
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror or error})") from error
    cloud = {"points": points, "offset": offset}
    if labels is not None:
        cloud["labels"] = whole(path, labels, len(points))
    return cloud


def read_points(path: pathlib.Path) -> dict:
    """Read a cloud's `points` alone, as `read_cloud` does: what an example of an object holds."""
    return {"points": read_cloud(path)["points"]}


def metres(what, xyz, always=False):
    """Check coordinates (n, 3) and return them as float32 with the float64 offset taken off.

    Args:
        what: the file's name, for messages.
        xyz: (n, 3) numbers.
        always: take the offset off small coordinates too.
    """
    xyz = np.asarray(xyz, np.float64)
    if not len(xyz):
        raise BadInput(what, "it holds no points", "Remove it")
    bad = ~np.isfinite(xyz).all(axis=1)
    if bad.any():
        raise BadInput(
            what,
            f"{bad.sum()} of {len(xyz)} points are NaN or infinite, "
            f"the first is point {bad.argmax()}",
            "Remove those points",
        )
    lowest, highest = xyz.min(axis=0), xyz.max(axis=0)
    with np.errstate(over="ignore"):
        extent = (highest - lowest).max()
    if extent > EXTENT_METRES:
        raise BadInput(
            what,
            f"its points are {extent:.3g} m apart",
            "The file is damaged, or its unit is not the metre",
        )
    far = max(-lowest.min(), highest.max()) > WORLD_METRES
    offset = np.floor(lowest) if always or far else np.zeros(3)
    return (xyz - offset).astype(np.float32), offset


def whole(what, labels, count):
    """Check labels: (count,) whole numbers; return them as int64."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise BadInput(what, f"{count} points have labels of shape {labels.shape}", "Label each")
    if labels.dtype.kind not in "iuf" or (
        labels.dtype.kind == "f"
        and not (np.isfinite(labels).all() and (labels == np.round(labels)).all())
    ):
        raise BadInput(what, f"its labels ({labels.dtype}) are not whole numbers", "Round them")
    if len(labels) and np.abs(labels.astype(np.float64)).max() > 1e9:
        raise BadInput(what, "its labels exceed 1e9", "The file is damaged")
    return labels.astype(np.int64)


def find_clouds(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Expand files and folders, as given on a command line, to the clouds they hold, in order.

    Raises:
        BadInput: a path does not exist, is no cloud, or is a folder without any.
    """
    found = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            clouds, _ = divide(walk(path), EXTENSIONS)
            if not clouds:
                raise BadInput(path, "the folder holds no point clouds", f"Use {formats()}")
            found += clouds
        elif not path.exists():
            raise BadInput(path, "there is no such file or folder")
        elif path.suffix.lower() not in EXTENSIONS:
            raise BadInput(path, "it is no format of clouds", f"Use {formats()}")
        else:
            found.append(path)
    return found


def formats() -> str:
    """Return the formats as words for a message."""
    return ", ".join(EXTENSIONS)
