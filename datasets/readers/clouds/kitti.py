"""KITTI's 3-D object benchmark: scans of a spinning sensor with boxes of road users.

Geiger, Lenz & Urtasun, CVPR 2012; formats as in the readme of the object development kit. Boxes
are given in the rectified camera frame (x right, y down, z ahead); points stay in the sensor
frame (x ahead, y left, z up), metres.
"""

import functools
import pathlib

import numpy as np

from datasets.readers.clouds import read_cloud
from datasets.readers.files import read_bytes, safe_name
from datasets.source import BadInput, Examples, Source, fingerprint

TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
MIN_POINTS = 10  # fewer points do not show an object


def match(path: pathlib.Path) -> bool:
    """Return whether a folder contains label_2, or training/label_2."""
    return (root_of(path) / "label_2").is_dir()


def read(path: pathlib.Path, kind: str) -> Source:
    """Read KITTI frames: one example per object (classification) or frame (segmentation).

    Objects are cropped by their boxes, if they have at least 10 points, in the sensor frame. In
    segmentation class 0 is the background and points in a box have the class of the box.
    A frame that cannot be read is one example that raises `BadInput`.

    Raises:
        BadInput: there are no label files, or no object in them.
    """
    read_frame.cache_clear()  # files may have changed since
    root = root_of(path)
    labels = sorted((root / "label_2").glob("*.txt"))
    if not labels:
        raise BadInput(root / "label_2", "it contains no label files (000000.txt)")
    scans = scan_folder(root, [label.stem for label in labels])
    frames, present = [], set()
    for label in labels:
        frame = (root, scans, label.stem)
        try:
            objects = inside(*frame)
        except BadInput:
            objects = None  # reading the example raises the error
        frames.append((frame, objects))
        present |= {name for name, _ in objects or []}
    classes = [t for t in TYPES if t in present] + sorted(present - set(TYPES))
    if not classes:
        read_frame(*frames[0][0])  # raises the error if frames are invalid
        raise BadInput(
            root, f"no box contains at least {MIN_POINTS} points", "Check the calibration"
        )
    if kind == "pointcloud_segmentation":
        classes = ["background", *classes]
        items = [frame for frame, _ in frames]
        examples = Examples.of(items, lambda f: segmentation(f, classes), lambda f: f[2] + ".bin")
    else:
        items = [
            (frame, which)
            for frame, objects in frames
            for which in ([None] if objects is None else range(len(objects)))
        ]
        examples = Examples.of(
            items,
            lambda item: classification(*item, classes),
            lambda item: f"{item[0][2]}.bin" + ("" if item[1] is None else f"#{item[1]}"),
        )
    used = [file for frame, _ in frames for file in frame_files(*frame) if file.is_file()]
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(used, root),
        classes=tuple(classes),
        splits={"train": examples},
        info={"frames": len(frames), "scans": scans},
    )


def root_of(path):
    """Return the folder that contains label_2."""
    return path / "training" if (path / "training").is_dir() else path


def scan_folder(root, names):
    """Return velodyne_reduced or velodyne: the one with more of the labelled frames."""

    def covered(folder):
        return sum((root / folder / f"{name}.bin").is_file() for name in names)

    return max(("velodyne_reduced", "velodyne"), key=covered)  # the first if they are equal


def frame_files(root, scans, name):
    """Return the scan, the boxes and the calibration of a frame."""
    return (
        root / scans / f"{name}.bin",
        root / "label_2" / f"{name}.txt",
        root / "calib" / f"{name}.txt",
    )


@functools.lru_cache(maxsize=2)  # the objects of a frame are read one after another
def read_frame(root, scans, name):
    """Return points (n, 3) and objects [(type, mask (n,))] of a frame, all boxes but DontCare."""
    scan, labels, calibration = frame_files(root, scans, name)
    points = read_cloud(scan)["points"]
    camera = to_camera(calibration)
    rectified = points @ camera[:, :3].T + camera[:, 3]
    return points, [(kind, in_box(rectified, box)) for kind, box in read_boxes(labels)]


def inside(root, scans, name):
    """Return the objects of a frame that have enough points."""
    return [o for o in read_frame(root, scans, name)[1] if o[1].sum() >= MIN_POINTS]


def classification(frame, which, classes):
    """Crop one object from its frame."""
    points, _ = read_frame(*frame)
    kind, mask = inside(*frame)[which]
    return {"points": points[mask], "label": classes.index(kind)}


def segmentation(frame, classes):
    """Label each point of a frame with the class of the box around it, 0 outside all boxes."""
    points, objects = read_frame(*frame)
    labels = np.zeros(len(points), np.int64)
    for kind, mask in objects:
        if kind in classes:
            labels[mask] = classes.index(kind)
    return {"points": points.copy(), "labels": labels}


def in_box(points, box):
    """Return which points (n, 3) are in a box (h, w, l, x, y, z, ry), both in the camera frame.

    x y z is the centre of the bottom of the box, y points down, ry is the rotation about y.
    """
    height, width, length, *bottom, turn = box
    x, y, z = (points - bottom).T
    along = x * np.cos(turn) - z * np.sin(turn)
    across = x * np.sin(turn) + z * np.cos(turn)
    return (abs(along) <= length / 2) & (abs(across) <= width / 2) & (-height <= y) & (y <= 0)


def read_boxes(path):
    """Parse a label file into [(type, (h, w, l, x, y, z, ry))] without its DontCare regions."""
    boxes = []
    for number, line in enumerate(text_lines(path), 1):
        kind, *values = line.split()
        values = floats(path, f"line {number}", values)
        if len(values) not in (14, 15):  # 15 with the score of a detector
            raise BadInput(path, f"line {number} has {len(values) + 1} columns, not 15")
        if kind == "DontCare":
            continue
        if min(values[7:10]) <= 0:
            raise BadInput(path, f"the box in line {number} has zero size", "Correct the line")
        boxes.append((kind, values[7:14]))
    return boxes


def to_camera(path):
    """Parse a calibration file into (3, 4): sensor frame → rectified camera frame."""
    entries = dict(line.split(":", 1) for line in text_lines(path) if ":" in line)
    try:
        rectify = np.reshape(floats(path, "R0_rect", entries["R0_rect"].split()), (3, 3))
        move = np.reshape(floats(path, "Tr", entries["Tr_velo_to_cam"].split()), (3, 4))
    except (KeyError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            path, f"R0_rect or Tr_velo_to_cam is missing or truncated ({error})"
        ) from error
    if abs(np.linalg.det(rectify) - 1) > 0.01 or abs(np.linalg.det(move[:, :3]) - 1) > 0.01:
        raise BadInput(path, "R0_rect or Tr_velo_to_cam is not a rotation", "Copy it again")
    return rectify @ move


def text_lines(path):
    """Return the nonblank lines of a small text file, which may be empty."""
    if path.is_file() and path.stat().st_size == 0:
        return []
    try:
        return [line for line in read_bytes(path).decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(path, "it is not a text file", "Copy it again") from error


def floats(path, what, words):
    """Parse words into finite numbers."""
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise BadInput(path, f"{what}: {error}") from error
    if not np.isfinite(values).all():
        raise BadInput(path, f"{what} has a number that is not finite")
    return values
