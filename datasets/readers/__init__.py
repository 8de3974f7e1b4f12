"""A person's own files become a `Source`: the first layout that fits the path reads it."""

import dataclasses
import pathlib
from collections.abc import Callable
from functools import partial

from datasets.readers import (
    arrays,
    class_folders,
    clouds,
    coco,
    image_masks,
    images,
    kitti,
    scans,
    semantic_kitti,
    sequences,
    series,
    ucr,
    voc,
    yolo_labels,
)
from datasets.source import BadInput, Source

FILES = {
    "pointcloud": f"clouds as {' '.join(clouds.EXTENSIONS)}",
    "image": f"images as {' '.join(images.EXTENSIONS)}",
    "forecasting": f"series as {' '.join(series.EXTENSIONS)}",
    "sequence": f"series as .ts .npz {' '.join(sequences.EXTENSIONS)}",
}  # by the first word of the kind


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way in which files are kept.

    Attributes:
        drawing: the layout as a tree, for the message when nothing fits.
        match: tells quickly whether a path looks like this layout.
        read: turns the path into a `Source`, or raises `BadInput`.
    """

    drawing: str
    match: Callable[[pathlib.Path], bool]
    read: Callable[[pathlib.Path], Source]


def array_layout(kind, x, y):
    """The .npz of arrays, whose shapes depend on the kind."""
    drawing = f"data.npz              arrays x_train {x}, y_train {y}, x_test, y_test"
    return Layout(drawing, arrays.match, partial(arrays.read, kind=kind))


def kitti_layout(kind):
    """KITTI's folders, read as objects or as scenes."""
    drawing = "training/             velodyne/*.bin  label_2/*.txt  calib/*.txt"
    return Layout(drawing, kitti.match, partial(kitti.read, kind=kind))


LAYOUTS = {
    "pointcloud_classification": (
        array_layout("pointcloud_classification", "(n, N, 3)", "(n,)"),
        kitti_layout("pointcloud_classification"),
        Layout(
            "train/car/1.ply       class folders, with or without train/, val/ and test/",
            partial(class_folders.match, extensions=clouds.EXTENSIONS),
            partial(class_folders.read, extensions=clouds.EXTENSIONS, read_file=clouds.read_points),
        ),
    ),
    "pointcloud_segmentation": (
        array_layout("pointcloud_segmentation", "(n, N, 3)", "(n, N)"),
        kitti_layout("pointcloud_segmentation"),
        Layout(
            "sequences/00/         velodyne/*.bin  labels/*.label",
            semantic_kitti.match,
            semantic_kitti.read,
        ),
        Layout(
            "train/1.laz           scans with a label for each point, with or without train/, "
            "val/ and test/",
            scans.match,
            scans.read,
        ),
    ),
    "image_classification": (
        array_layout("image_classification", "(n, H, W, C)", "(n,)"),
        Layout(
            "train/cat/1.png       class folders, with or without train/, val/ and test/",
            partial(class_folders.match, extensions=images.EXTENSIONS),
            partial(
                class_folders.read, extensions=images.EXTENSIONS, read_file=images.read_example
            ),
        ),
    ),
    "image_segmentation": (
        array_layout("image_segmentation", "(n, H, W, C)", "(n, H, W)"),
        Layout(
            "images/1.jpg          and masks/1.png, with or without train/, val/ and test/, and "
            "classes.txt\n"
            "  train/1.jpg           and trainannot/1.png, and likewise for val and test",
            image_masks.match,
            image_masks.read,
        ),
    ),
    "image_detection": (
        Layout(
            "train/1.jpg           and annotations/instances_train.json, or train/_annotations."
            "coco.json (COCO)",
            coco.match,
            coco.read,
        ),
        Layout(
            "JPEGImages/1.jpg      and Annotations/1.xml, with or without ImageSets/Main/train.txt "
            "or train/ (VOC)",
            voc.match,
            voc.read,
        ),
        Layout(
            "images/train/1.jpg    and labels/train/1.txt, with or without train/, and data.yaml "
            "or classes.txt (YOLO)",
            yolo_labels.match,
            yolo_labels.read,
        ),
    ),
    "forecasting": (
        Layout(
            "data.csv              a row a step: dates, and a column a variable\n"
            "  1.csv                 and others with the same columns, a series each, with or "
            "without train/, val/ and test/\n"
            "  data.npz              arrays values (T, C) or (n, T, C), columns (C,), times (T,)",
            series.match,
            series.read,
        ),
    ),
    "sequence_classification": (
        Layout(
            "X_TRAIN.ts            and X_TEST.ts (UCR, UEA)",
            ucr.match,
            ucr.read,
        ),
        array_layout("sequence_classification", "(n, T, F)", "(n,)"),
        Layout(
            "train/walking/1.csv   class folders, with or without train/, val/ and test/",
            sequences.match,
            sequences.read,
        ),
    ),
}


def read(path: pathlib.Path, kind: str) -> Source:
    """Read a person's own files.

    Args:
        path: a file or folder.
        kind: the task that they are for, "pointcloud_classification" for instance.

    Raises:
        BadInput: the path does not exist, no layout fits, or the files are not as the layout says.
    """
    path = pathlib.Path(path)
    if kind not in LAYOUTS:
        raise BadInput(path, f"own files cannot be read for {kind}", f"Known: {', '.join(LAYOUTS)}")
    if not path.exists():
        raise BadInput(path, "there is no such file or folder", "Check the spelling")
    for layout in LAYOUTS[kind]:
        if layout.match(path):
            return layout.read(path)
    drawings = "\n".join(f"  {layout.drawing}" for layout in LAYOUTS[kind])
    raise BadInput(
        path,
        f"it has none of the layouts that {kind} reads",
        f"Use one of these, {FILES[kind.partition('_')[0]]}:\n{drawings}",
    )


def suited(path: pathlib.Path, kinds) -> str:
    """Return the first of some kinds that a layout of which fits a path; the first if none does."""
    fits = (kind for kind in kinds if any(layout.match(path) for layout in LAYOUTS.get(kind, ())))
    return next(fits, kinds[0])
