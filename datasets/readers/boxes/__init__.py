"""Bounding boxes: shared functions of the readers of VOC, COCO and YOLO files.

An example is {"image": (H, W, C), "objects": {"bbox": (n, 4) float32, "label": (n,) int64}}, as in
tensorflow-datasets: a box is ymin, xmin, ymax, xmax in fractions of height and width. n may be 0,
and objects may also have `is_difficult` or `is_crowd` (n,) bool.
"""

import dataclasses
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from datasets.readers.files import one_or_no_split, read_bytes, safe_name, shown, split_of
from datasets.readers.images import read_picture
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint, printable

ROLES = dict.fromkeys(("images", "image", "imgs", "img", "jpegimages"), "image") | dict.fromkeys(
    ("annotations", "annotation", "labels", "label", "xmls", "xml"), "annotation"
)
EDGE = 1 + 1e-3  # pixels that a box may extend beyond the image: rounding, or counting from 1
TURNED = (
    "its EXIF data rotate the image, and its boxes, drawn on the stored pixels, are rotated too"
)
UNDECIDED = (
    "its EXIF data rotate the image; its boxes are assumed to be drawn on the rotated image, as "
    "labelling tools show it (if they were not, remove the EXIF orientation)"
)
YEAR = re.compile(r"(19|20)\d\d$")  # of COCO's train2017


@dataclasses.dataclass(frozen=True)
class Boxes:
    """The boxes of one image as stored in a file.

    Attributes:
        corners: n of (left, top, right, bottom).
        labels: n indices of classes.
        descriptions: n texts that describe the boxes in messages.
        fractions: whether corners are fractions of width and height; else they are pixels.
        flags: {name: n of bool} that go into the example's objects.
        size: (width, height) of the image according to the file, or None.
        errors: a `BadInput` for each faulty box, which is not one of these n.
        notes: sentences on what was decided.
    """

    corners: Sequence
    labels: Sequence[int]
    descriptions: Sequence[str]
    fractions: bool = False
    flags: Mapping[str, Sequence[bool]] = dataclasses.field(default_factory=dict)
    size: tuple[int, int] | None = None
    errors: Sequence[BadInput] = ()
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and its annotation, either of which may be missing.

    Attributes:
        split: "train", "validation", "test" or None.
        name: of the example in messages and tables.
        image: a file or None.
        annotation: a file or None.
        what: the file that lists the example, named in errors where both are missing.
    """

    split: str | None
    name: str
    image: pathlib.Path | None
    annotation: pathlib.Path | None
    what: pathlib.Path


def example(what: pathlib.Path, image: pathlib.Path, boxes: Boxes, remedy: str) -> dict:
    """Read an image, and return an example of it and its boxes.

    Boxes that extend beyond the image by a pixel at most are clipped. If EXIF data rotate the
    image, boxes of the stored pixels are rotated too.

    Args:
        what: the file of the boxes.
        image: the file of the image.
        boxes: the boxes of the file.
        remedy: what to do about a faulty box.

    Raises:
        BadInput: the image cannot be read or does not have the annotated size, or a box is not
            finite, has zero size or is outside; `partial` is the example of the valid boxes, if
            any.
    """
    picture = read_picture(image)
    height, width = picture.pixels.shape[:2]
    corners, notes = upright(boxes, picture)
    if boxes.size and boxes.size != (width, height) and TURNED not in notes:
        raise BadInput(
            what,
            f"it is for an image of {boxes.size[0]} x {boxes.size[1]} pixels, but {image.name} has "
            f"{width} x {height}",
            "Use the image that was annotated, or correct the size there",
        )
    sides = np.array([width, height, width, height], np.float64)
    corners = corners if boxes.fractions else corners / sides
    with np.errstate(invalid="ignore"):  # of values that are not finite, which are the first fault
        outside = (corners < -EDGE / sides) | (corners > 1 + EDGE / sides)
        clipped = corners.clip(0, 1).astype(np.float32)
        faults = {
            "is not finite": ~np.isfinite(corners).all(axis=1),
            "has zero size": (corners[:, 2:] <= corners[:, :2]).any(axis=1),
            f"extends beyond {image.name} of {width} x {height} pixels": outside.any(axis=1),
            "has zero size inside the image": (clipped[:, 2:] <= clipped[:, :2]).any(axis=1),
        }
    valid = ~np.any([*faults.values()], axis=0)
    objects = {"bbox": clipped[:, [1, 0, 3, 2]], "label": np.array(boxes.labels, np.int64)}
    objects |= {name: np.array(values, bool) for name, values in boxes.flags.items()}
    objects = {name: values[valid] for name, values in objects.items()}
    notes = [*picture.notes, *boxes.notes, *notes]
    result = {"image": picture.pixels, "objects": objects, **({"notes": notes} if notes else {})}
    errors = [
        BadInput(what, f"{boxes.descriptions[faulty.argmax()]} {fault}", remedy)
        for fault, faulty in faults.items()
        if faulty.any()
    ]
    errors = [*boxes.errors, *errors]
    count = len(boxes.errors) + int((~valid).sum())
    if errors:
        why = errors[0].why + (f", and {count - 1} more boxes are faulty" if count > 1 else "")
        partial = result if valid.any() else None
        raise BadInput(errors[0].what, why, errors[0].remedy, partial=partial)
    return result


def upright(boxes, picture):
    """Return corners (n, 4) in the upright picture, and notes on what was decided.

    Whether boxes are of the stored or the rotated image follows from the annotated size, or from
    the one that contains all boxes; otherwise the rotated image is assumed.
    """
    height, width = picture.pixels.shape[:2]
    orientation, corners = picture.orientation, np.array(boxes.corners, np.float64).reshape(-1, 4)
    if orientation == 1 or not len(corners):
        return corners, []
    stored = (height, width) if orientation > 4 else (width, height)
    if boxes.size == (width, height) != stored:
        return corners, []
    fits = [(corners[:, 2:] <= np.add(size, EDGE)).all() for size in ((width, height), stored)]
    if boxes.size == stored != (width, height) or (
        not boxes.fractions and not boxes.size and fits == [False, True]
    ):
        return turned_boxes(corners, orientation, *stored), [TURNED]
    return corners, [UNDECIDED]


def turned_boxes(corners, orientation, width, height):
    """Return corners (n, 4) of an image stored with an EXIF orientation, upright."""
    x, y = corners[:, [0, 2]], corners[:, [1, 3]]
    x = width - x if orientation in (2, 3, 7, 8) else x
    y = height - y if orientation in (3, 4, 6, 7) else y
    x, y = (y, x) if orientation > 4 else (x, y)
    x, y = np.sort(x, axis=1), np.sort(y, axis=1)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def source(
    path: pathlib.Path,
    classes: Sequence[str],
    items: Sequence,
    read_one: Callable,
    used: Sequence[pathlib.Path],
    ignored: Sequence[pathlib.Path],
    notes: Sequence[str] = (),
    boxed: Sequence | None = None,
) -> Source:
    """Return a source of items, each with a `split` and a `name`; without a split it is "train".

    Args:
        path: the path that the user gave.
        classes: names in the order of their indices.
        items: the arguments of `read_one`.
        read_one: function from an item to an example.
        used: files that the data depend on.
        ignored: other files, which are counted.
        notes: sentences on what was decided.
        boxed: the splits that have a box, None being "train".

    Raises:
        BadInput: there is no box for training.
    """
    by_split = {s: [item for item in items if (item.split or "train") == s] for s in SPLITS}
    counted = Counter(file.suffix.lower() or file.name for file in ignored)
    info = {"ignored": dict(sorted(counted.items()))} if counted else {}
    if boxed is not None:
        empty = [
            s for s, some in by_split.items() if some and s not in {b or "train" for b in boxed}
        ]
        if "train" in empty:
            raise BadInput(
                path,
                "no training image has a box (crowds do not count)",
                "Annotate some images",
            )
        notes = [
            *notes,
            *(f"no image of {split} has a box: its scores mean little" for split in empty),
        ]
    if notes:
        info["notes"] = list(notes)
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(used, path),
        classes=tuple(classes),
        splits={
            s: Examples.of(some, read_one, lambda item: item.name)
            for s, some in by_split.items()
            if some
        },
        info=info,
    )


def place(file: pathlib.Path, root: pathlib.Path) -> tuple[str | None, str | None, str]:
    """Return (split, "image" or "annotation", the rest of the path without extension) of a file.

    Split and role are None if no folder determines them.
    """
    folders, split, role = list(file.relative_to(root).parts[:-1]), None, None
    while folders:
        in_split, in_role = split_of(bare(folders[0])), ROLES.get(folders[0].lower())
        if in_split and not split:
            split = in_split
        elif in_role and role in (None, in_role):
            role = in_role
        else:
            break
        del folders[0]
    return split, role, "/".join([*folders, file.stem])


def bare(name):
    """Return the name of a folder without a year: "train" of "train2017"."""
    return YEAR.sub("", name)


def by_place(
    files: Sequence[pathlib.Path], root: pathlib.Path, role: str, splits: bool = True
) -> dict:
    """Return {(split, key): file} of the files in folders of a role, or of all if none is in one.

    Raises:
        BadInput: names are not unique, or only some are in a split, if folders are `splits`.
    """
    placed = [(file, *place(file, root)) for file in files]
    placed = [item for item in placed if item[2] == role] or placed
    files_by_key, duplicates = {}, []
    for file, split, _, key in placed:
        if files_by_key.setdefault((split, key), file) is not file:
            duplicates.append(file)
    if duplicates:
        raise BadInput(
            root,
            f"files with the name of another: {len(duplicates)} ({shown(duplicates, root)})",
            "Give each image and its annotation the same name, and no other file",
        )
    if splits:
        one_or_no_split([(file, split) for (split, _), file in files_by_key.items()])
    return files_by_key


def title(root: pathlib.Path, *files: pathlib.Path | None) -> str:
    """Return the path, relative to a root, of the first file that is not None."""
    return next(file for file in files if file).relative_to(root).as_posix()


def read_text(path: pathlib.Path) -> str:
    """Read a text file, which may be empty.

    Raises:
        BadInput: it cannot be read, or is not text.
    """
    if path.is_file() and path.stat().st_size == 0:
        return ""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, "it is not a text file", "Save it as UTF-8") from error


def read_names(path: pathlib.Path) -> tuple[str, ...]:
    """Read a list of classes, a line per class in the order of their indices.

    Raises:
        BadInput: it is not text, or a line is empty or a duplicate.
    """
    return checked(path, [line.strip() for line in read_text(path).rstrip().splitlines()])


def checked(what, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes; raises `BadInput` if there are none, or empty or equal ones."""
    if not names:
        raise BadInput(what, "it names no class", "Name the classes")
    if "" in names:
        raise BadInput(what, f"class {names.index('')} has no name", "Name it")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise BadInput(what, f"it names {', '.join(twice)} twice", "Name each class once")
    return tuple(map(printable, names))


def number(word: str) -> float | None:
    """Return a word as a number, which may be infinite or NaN; None if it is not a number."""
    try:
        return None if "_" in word else float(word)
    except ValueError:
        return None
