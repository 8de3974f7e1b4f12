"""SemanticKITTI: sequences of KITTI scans with a class for each point.

Behley et al., ICCV 2019, https://www.semantic-kitti.org. The table below is the published mapping
of raw codes to the 19 classes of the single-scan benchmark, which ignores a few codes.
"""

import pathlib

import numpy as np

from datasets.readers.clouds import read_cloud
from datasets.readers.clouds.velodyne import label_path
from datasets.readers.files import safe_name, subfolders
from datasets.source import BadInput, Examples, Source, fingerprint

CODES = {
    "car": (10, 252),
    "bicycle": (11,),
    "motorcycle": (15,),
    "truck": (18, 258),
    "other-vehicle": (13, 16, 20, 256, 257, 259),
    "person": (30, 254),
    "bicyclist": (31, 253),
    "motorcyclist": (32, 255),
    "road": (40, 60),
    "parking": (44,),
    "sidewalk": (48,),
    "other-ground": (49,),
    "building": (50,),
    "fence": (51,),
    "vegetation": (70,),
    "trunk": (71,),
    "terrain": (72,),
    "pole": (80,),
    "traffic-sign": (81,),
}
IGNORED = (0, 1, 52, 99)  # unlabeled, outlier, other-structure, other-object
VALIDATION = ("08",)
INDEX = {code: i for i, codes in enumerate(CODES.values()) for code in codes}
INDEX |= dict.fromkeys(IGNORED, -1)


def match(path: pathlib.Path) -> bool:
    """Return whether a folder contains sequences/<nn>/velodyne."""
    return any((path / "sequences").glob("*/velodyne"))


def read(path: pathlib.Path) -> Source:
    """Read the labelled sequences: 08 is for validation, the others are for training.

    The benchmark's test sequences 11 to 21 have no public labels; without a .label file beside its
    `velodyne` folder a sequence is left out.

    Raises:
        BadInput: no sequence is labelled.
    """
    root = path / "sequences"
    scans = {"train": [], "validation": []}
    unlabelled = []
    for sequence in subfolders(root):
        paths = sorted((sequence / "velodyne").glob("*.bin"))
        if not any(label_path(scan) for scan in paths):
            unlabelled.append(sequence.name)
            continue
        scans["validation" if sequence.name in VALIDATION else "train"] += paths
    if not scans["train"]:
        raise BadInput(root, "no training sequence has labels/*.label", "Add the labels")
    files = [scan for paths in scans.values() for scan in paths]
    used = files + [label for scan in files if (label := label_path(scan))]
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(used, root),
        classes=tuple(CODES),
        splits={
            split: Examples.of(paths, read_scan, lambda scan: scan.relative_to(root).as_posix())
            for split, paths in scans.items()
            if paths
        },
        info={"unlabelled sequences": unlabelled} if unlabelled else {},
    )


def read_scan(path: pathlib.Path) -> dict:
    """Read a scan and its labels mapped to the 19 classes, -1 where they are ignored."""
    cloud = read_cloud(path)
    if "labels" not in cloud:
        raise BadInput(path, "it has no .label file", "Add it to labels/ or remove the scan")
    return {"points": cloud["points"], "labels": mapped(path, cloud["labels"], INDEX)}


def mapped(what, labels, index):
    """Map codes (n,) to class indices by a table; -1 means ignored.

    Raises:
        BadInput: a code is not in the table.
    """
    codes, where = np.unique(labels, return_inverse=True)
    unknown = [int(code) for code in codes if int(code) not in index]
    if unknown:
        raise BadInput(
            what, f"its labels have unknown codes {unknown[:5]}", "Check whether it is corrupt"
        )
    return np.array([index[int(code)] for code in codes], np.int64)[where]
