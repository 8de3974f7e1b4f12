"""One point cloud from one file of any format, checked while it is read."""

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from datasets.readers.arrayfiles import read_npy, read_npz
from datasets.readers.clouds import las, meshes
from datasets.readers.clouds.las import read_las
from datasets.readers.clouds.pcd import read_pcd
from datasets.readers.clouds.ply import read_ply
from datasets.readers.clouds.tables import chosen, read_table
from datasets.readers.clouds.units import METRES, RawCloud, check_hints, unit
from datasets.readers.clouds.velodyne import read_scan
from datasets.readers.files import check_regular, divide, walk
from datasets.readers.images import class_folders
from datasets.source import BadInput, Source, flag

WORLD_METRES = 1e4  # beyond it float32 is coarser than a millimetre: world coordinates
EXTENT_METRES = 1e7  # larger than any scan: about the radius of the earth


def read_array(path: pathlib.Path, columns: str | None = None) -> RawCloud:
    """Read a .npy array (n, 3 or more columns): x y z are the first, or the numbered columns."""
    array = first_three(path, read_npy(path), columns)
    return RawCloud(array[:, :3], array[:, 3] if columns and array.shape[1] > 3 else None)


def read_arrays(path: pathlib.Path) -> RawCloud:
    """Read an .npz: `points`, or the only array of shape (n, >= 3), and `labels` if present."""
    arrays = dict(read_npz(path))
    labels = arrays.pop("labels", None)
    if "points" in arrays:
        return RawCloud(first_three(path, arrays["points"]), labels)
    tables = [a for a in arrays.values() if a.ndim == 2 and a.shape[1] >= 3]
    if len(tables) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise BadInput(
            path,
            f"it has no array 'points' and not exactly one of shape (n, 3), but {shapes or None}",
            "Name the cloud points: numpy.savez(file, points=...)",
        )
    return RawCloud(first_three(path, tables[0]), labels)


def first_three(path, array, columns=None):
    """Return the first three columns of a numeric array, or those of `columns`, numbers from 1."""
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise BadInput(
            path,
            f"its array has shape {array.shape} and type {array.dtype}, not (n, 3) and numeric",
            "Save x y z as columns",
        )
    if columns is None:
        return array[:, :3]
    return array[:, chosen(path, columns, [], array.shape[1])]


FORMATS = {
    ".ply": read_ply,
    ".pcd": read_pcd,
    ".xyz": read_table,
    ".txt": read_table,
    ".csv": read_table,
    ".xyz.gz": read_table,
    ".txt.gz": read_table,
    ".csv.gz": read_table,
    ".npz": read_arrays,
    ".npy": read_array,
    ".bin": read_scan,
    ".las": read_las,
    ".laz": read_las,
    ".off": meshes.read_off,
    ".obj": meshes.read_obj,
    ".stl": meshes.read_stl,
}
EXTENSIONS = tuple(FORMATS)
HINTS = ("columns", "up", "units")  # of `datasets.source.HINTS`, that `read_cloud` takes
NO_EXTENT = "all its points are equal: the cloud has no shape"
NO_UP = "an .obj file does not define the up axis: z is assumed (--up y)"
NO_UNIT = "the header has no unit of length: metres are assumed (--units)"


def extension(path: pathlib.Path) -> str | None:
    """Return which of `EXTENSIONS` a file has, or None."""
    return next((e for e in EXTENSIONS if path.name.lower().endswith(e)), None)


def read_cloud(
    path: pathlib.Path,
    columns: str | None = None,
    up: str | None = None,
    units: str | None = None,
) -> dict:
    """Read a point cloud in any of `EXTENSIONS`.

    Args:
        path: of the file.
        columns: which columns of a text or .npy file are x, y and z, see `tables.read_table`.
        up: the up axis of the file, "y" or "z" (None); y is rotated to z.
        units: the unit of length of the file, see `units.METRES`; None: as in the file, else
            metres.

    Returns:
        A dictionary of `points`, float32 (n, 3), metres, z up, n >= 1, finite; `offset`, float64
        (3,), which was subtracted because world coordinates are too large for float32; `labels`,
        int64 (n,), the codes in the file, if it has any; and `notes`, sentences on what was
        decided, if there are any.

    Raises:
        BadInput: the file is missing, empty, truncated, corrupt, or not a cloud of finite points.
    """
    path = pathlib.Path(path)
    check_hints(columns, up, units)
    reader = FORMATS.get(extension(path))
    if reader is None:
        raise BadInput(
            path, f"{path.suffix or 'no extension'} is not a point cloud format", f"Use {formats()}"
        )
    if not os.path.lexists(path):
        raise BadInput(path, "there is no such file")
    check_regular(path)
    if columns and reader not in (read_table, read_array):
        why = f"{path} is read by the names in it, but the option is for text and .npy files"
        raise BadInput(flag("columns"), why, "Remove the option")
    try:
        raw = reader(path, columns) if columns else reader(path)
        xyz, notes = converted(path, raw, units)
        xyz = oriented(xyz, up)
        points, offset = metres(path, xyz, always=reader is read_las)
    except MemoryError as error:
        raise BadInput(path, "it does not fit in memory", "Split it into tiles") from error
    except OSError as error:
        raise BadInput(path, f"it cannot be read ({error.strerror or error})") from error
    if len(points) > 1 and (points == points[0]).all():
        notes.append(NO_EXTENT)
    if reader is read_las and raw.metres is None and not units:
        notes.append(NO_UNIT)
    if reader is meshes.read_obj and up is None:
        notes.append(NO_UP)
    cloud = {"points": points, "offset": offset} | ({"notes": notes} if notes else {})
    if raw.labels is not None:
        cloud["labels"] = checked_labels(path, raw.labels, len(points))
    return cloud


def converted(path, raw, units):
    """Return coordinates (n, 3) in metres, and the notes of the reader with one on the unit."""
    if units:
        factors = METRES[unit(units)]
    else:
        factors = 1.0 if raw.metres is None else raw.metres
        if not np.all(np.asarray(factors) > 0) or not np.all(np.isfinite(factors)):
            raise BadInput(
                path,
                "according to its header, its coordinates are degrees, or of a unit of zero length",
                f"Project it to metres, or give the unit if the header is wrong: {flag('units')} m",
            )
    if np.all(np.asarray(factors) == 1):
        return raw.xyz, [*raw.notes]
    numbers = np.unique(np.round(factors, 7)).tolist()
    shown = " and ".join(f"{number:.7g}" for number in numbers)
    origin = f"according to {flag('units')}" if units else "according to the file"
    note = f"its unit is {shown} m, {origin}: coordinates are converted to metres"
    return np.asarray(raw.xyz, np.float64) * factors, [*raw.notes, note]


def read_points(path: pathlib.Path, **hints) -> dict:
    """Return the points and the notes of `read_cloud`, for an example of an object."""
    cloud = read_cloud(path, **hints)
    return {name: cloud[name] for name in ("points", "notes") if name in cloud}


def oriented(xyz, up=None, units=None):
    """Return coordinates (n, 3) with z up and in metres, from their up axis and unit."""
    if up == "y":
        xyz = np.asarray(xyz, np.float64)[:, [0, 2, 1]] * (1, -1, 1)
    return np.asarray(xyz, np.float64) * METRES[unit(units)] if units else xyz


def read_example(path: pathlib.Path, recorded: Mapping | None = None, **hints) -> dict:
    """Read a cloud to predict, without its labels, which need not be those of the model.

    Args:
        path: of the file.
        recorded: the hints of the model's own data, which are used as defaults.
        **hints: the hints of this file, see `read_cloud`.

    Returns:
        `points` and `offset` as of `read_cloud`, and for a survey `labelled`: a function of labels
        (n,) and the names of classes, see `las.labelled`.
    """
    path = pathlib.Path(path)
    reader = FORMATS.get(extension(path))
    defaults = {name: value for name, value in (recorded or {}).items() if name in HINTS}
    if reader not in (read_table, read_array):
        defaults.pop("columns", None)
    cloud = read_cloud(path, **{**defaults, **hints})
    example = {"points": cloud["points"], "offset": cloud["offset"]}
    if reader is read_las:
        example["labelled"] = functools.partial(las.labelled, path)
    return example


def match_folders(path: pathlib.Path, **hints) -> bool:
    """Return whether a path is a folder of class folders with clouds."""
    return class_folders.match(path, EXTENSIONS)


def read_folders(path: pathlib.Path, **hints) -> Source:
    """Read class folders of clouds, with the hints of `read_cloud`.

    Raises:
        BadInput: as `class_folders.read`, or a hint is invalid.
    """
    check_hints(**hints)
    return class_folders.read(path, EXTENSIONS, functools.partial(read_points, **hints))


def metres(what, xyz, always=False):
    """Check coordinates (n, 3) and return them as float32 without their offset, and the offset.

    Args:
        what: the file's name, for messages.
        xyz: (n, 3) numbers.
        always: subtract the offset from small coordinates too.
    """
    xyz = np.asarray(xyz, np.float64)
    if not len(xyz):
        raise BadInput(what, "it contains no points", "Remove it")
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
            "The file is corrupt, or its unit is not the metre",
        )
    far = max(-lowest.min(), highest.max()) > WORLD_METRES
    offset = np.floor(lowest) if always or far else np.zeros(3)
    return (xyz - offset).astype(np.float32), offset


def checked_labels(what, labels, count):
    """Check labels, (count,) integers; return them as int64."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise BadInput(
            what, f"{count} points have labels of shape {labels.shape}", "Save one label per point"
        )
    if labels.dtype.kind not in "iuf" or (
        labels.dtype.kind == "f"
        and not (np.isfinite(labels).all() and (labels == np.round(labels)).all())
    ):
        raise BadInput(what, f"its labels ({labels.dtype}) are not integers", "Round them")
    if len(labels) and np.abs(labels.astype(np.float64)).max() > 1e9:
        raise BadInput(what, "its labels exceed 1e9", "The file is corrupt")
    return labels.astype(np.int64)


def find_clouds(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """Return the clouds of files and folders given on a command line, in order.

    Raises:
        BadInput: a path does not exist, is not a cloud, or is a folder without clouds.
    """
    files = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            clouds, _ = divide(walk(path), EXTENSIONS)
            if not clouds:
                raise BadInput(path, "the folder contains no point clouds", f"Use {formats()}")
            files += clouds
        elif not os.path.lexists(path):
            raise BadInput(path, "there is no such file or folder")
        elif extension(path) is None:
            raise BadInput(path, "it is not a point cloud format", f"Use {formats()}")
        else:
            files.append(path)
    return files


def formats() -> str:
    """Return the formats as text for a message."""
    return ", ".join(EXTENSIONS)
