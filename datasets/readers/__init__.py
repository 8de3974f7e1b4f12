"""Readers of the user's own files: the first layout that matches the path returns a `Source`."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from datasets.readers import arrays, clouds, images, series
from datasets.readers.boxes import coco, voc, yolo_labels
from datasets.readers.clouds import kitti, scans, semantic_kitti
from datasets.readers.images import cifar, class_folders, idx, image_table
from datasets.readers.masks import image_masks, outlines
from datasets.readers.series import sequences, ucr
from datasets.source import BadInput, Source, flag

FILES = {
    "pointcloud": f"clouds as {' '.join(clouds.EXTENSIONS)}",
    "image": f"images as {' '.join(images.EXTENSIONS)}",
    "forecasting": f"series as {' '.join(series.EXTENSIONS)}",
    "sequence": f"series as .ts .npz {' '.join(sequences.EXTENSIONS)}",
}  # by the first word of the kind


@dataclasses.dataclass(frozen=True)
class Layout:
    """One layout of files.

    Attributes:
        drawing: the layout as a tree, for the message when no layout matches.
        match: returns whether a path looks like this layout; it is fast.
        read: reads the path as a `Source`, or raises `BadInput`.
        hints: the names of `datasets.source.HINTS` that `match` and `read` take as keywords.
    """

    drawing: str
    match: Callable[[pathlib.Path], bool]
    read: Callable[[pathlib.Path], Source]
    hints: tuple[str, ...] = ()

    def fits(self, path, hints):
        """Return whether a path looks like this layout, and the layout takes all of the hints."""
        return hints.keys() <= set(self.hints) and self.match(path, **hints)


def array_layout(kind, x, y):
    """Return the layout of an .npz of arrays, whose shapes depend on the kind."""
    drawing = f"data.npz              arrays x_train {x}, y_train {y}, x_test, y_test; "
    drawing += "or train.npz and test.npz, x and y in each"
    hints = ("up", "units") if kind.startswith("pointcloud") else ()
    hints = ("target",) if kind == "image_classification" else hints
    return Layout(drawing, arrays.match, partial(arrays.read, kind=kind), hints)


def kitti_layout(kind):
    """Return the layout of KITTI's folders, read as objects or as scenes."""
    drawing = "training/             velodyne/*.bin  label_2/*.txt  calib/*.txt"
    return Layout(drawing, kitti.match, partial(kitti.read, kind=kind))


def labelled_images(kind, by_class=False):
    """Return the layouts of images with a label each; of classes alone, if split `by_class`."""
    files = dict(extensions=images.EXTENSIONS)
    return (
        array_layout(kind, "(n, H, W, C)", "(n,)" if by_class else "(n,) or (n, K)"),
        Layout(
            "labels.csv            columns filename, label (or labels, or value) and optionally "
            "split, with the images beside it or in one folder",
            image_table.match,
            partial(image_table.read, by_class=by_class),
            hints=() if by_class else ("target",),
        ),
        Layout(
            "train/cat/1.png       class folders, with or without train/, val/ and test/, or in "
            "folders of a single folder",
            partial(class_folders.match, **files),
            partial(class_folders.read, read_file=images.read_example, by_class=by_class, **files),
        ),
        Layout(
            "train-images-idx3-ubyte  and train-labels-idx1-ubyte, and of t10k, test or val; or "
            ".gz (MNIST)",
            idx.match,
            idx.read,
        ),
        Layout(
            "data_batch_1.bin      and test_batch.bin, or train.bin and test.bin; or without .bin, "
            "pickled (CIFAR)",
            cifar.match,
            cifar.read,
        ),
    )


LAYOUTS = {
    "pointcloud_classification": (
        array_layout("pointcloud_classification", "(n, N, 3)", "(n,)"),
        kitti_layout("pointcloud_classification"),
        Layout(
            "train/car/1.ply       class folders, with or without train/, val/ and test/",
            clouds.match_folders,
            clouds.read_folders,
            clouds.HINTS,
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
            clouds.HINTS,
        ),
    ),
    "image_classification": labelled_images("image_classification"),
    "image_embedding": labelled_images("image_embedding", by_class=True),
    "image_segmentation": (
        array_layout("image_segmentation", "(n, H, W, C)", "(n, H, W)"),
        Layout(
            "images/1.jpg          and masks/1.png, with or without train/, val/ and test/, and "
            "classes.txt\n"
            "  train/1.jpg           and trainannot/1.png, and likewise for val and test\n"
            "  JPEGImages/1.jpg      and SegmentationClass/1.png (VOC)\n"
            "  1/images/1.png        and 1/masks/*.png, a folder an image, a mask an object\n"
            "  1.jpg                 and 1_mask.png beside it; masks may also be .npy or .mat",
            image_masks.match,
            image_masks.read,
            hints=("masks", "mask_suffix"),
        ),
        Layout(
            "train/1.jpg           and annotations/instances_train.json with outlines (COCO)",
            outlines.match_coco,
            outlines.read_coco,
        ),
        Layout(
            "1.jpg                 and 1.json with shapes (labelme)",
            outlines.match_labelme,
            outlines.read_labelme,
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
            "X_TRAIN.ts            and X_TEST.ts (UCR, UEA); or .tsv, a series a row, class first",
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


def read(
    path: pathlib.Path,
    kind: str,
    hints: Mapping | None = None,
    layouts: Sequence[Layout] = (),
) -> Source:
    """Read the user's own files.

    Args:
        path: a file or folder.
        kind: the name of the task, "pointcloud_classification" for instance.
        hints: what no reader can infer, by the names of `datasets.source.HINTS`.
        layouts: those of a task that is not in LAYOUTS.

    Returns:
        The source; "layout" of its info is the description of the matching layout.

    Raises:
        BadInput: the path does not exist, no layout matches, the files do not have the layout, or
            no layout takes a hint.
    """
    path, hints = pathlib.Path(path), dict(hints or {})
    layouts = LAYOUTS.get(kind, layouts)
    if not layouts:
        raise BadInput(path, f"own files cannot be read for {kind}", f"Known: {', '.join(LAYOUTS)}")
    if not path.exists():
        raise BadInput(path, "there is no such file or folder", "Check the spelling")
    accepted = {hint for layout in layouts for hint in layout.hints}
    for hint in hints.keys() - accepted:
        raise BadInput(flag(hint), f"it does not apply to files for {kind}", "Remove the option")
    for layout in layouts:
        if layout.fits(path, hints):
            source = layout.read(path, **hints)
            description = " ".join(layout.drawing.split("\n")[0].split())
            source = dataclasses.replace(source, info={**source.info, "layout": description})
            return hinted(source, hints) if hints else source
    drawings = "\n".join(
        f"  {layout.drawing}" for layout in layouts if hints.keys() <= set(layout.hints)
    )
    with_hints = "".join(f" with {flag(hint)} {value}" for hint, value in hints.items())
    others = [k for k in LAYOUTS if any(layout.fits(path, hints) for layout in LAYOUTS[k])]
    fits = f"; it can be read for {' or '.join(others)}" if others else ""
    if inner := alone(path, layouts, hints):
        fits = f"; give the file in it: {inner}"
    raise BadInput(
        path,
        f"it has none of the layouts that {kind} reads{with_hints}{fits}",
        f"Use one of these, {FILES[kind.partition('_')[0]]}:\n{drawings}",
    )


def alone(path, layouts, hints):
    """Return the only file in a folder if it has one of some layouts, else None."""
    files = [file for file in path.iterdir() if file.name[:1] != "."] if path.is_dir() else []
    fits = len(files) == 1 and any(layout.fits(files[0], hints) for layout in layouts)
    return files[0] if fits else None


def hinted(source, hints):
    """Return a source with a fingerprint that also depends on the hints."""
    facts = f"{source.fingerprint} {json.dumps(hints, sort_keys=True)}"
    digest = hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()
    return dataclasses.replace(source, fingerprint=digest)


def suited(path: pathlib.Path, kinds, hints: Mapping | None = None) -> str:
    """Return the first of some kinds with a layout that matches a path, else the first kind."""
    hints = hints or {}
    fits = (k for k in kinds if any(layout.fits(path, hints) for layout in LAYOUTS.get(k, ())))
    return next(fits, kinds[0])
