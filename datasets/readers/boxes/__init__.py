"""Boxes around objects: what the readers of VOC, COCO and YOLO files share.

An example is {"image": (H, W, C), "objects": {"bbox": (n, 4) float32, "label": (n,) int64}}, as
tensorflow-datasets has it: a box is ymin, xmin, ymax, xmax in fractions of height and width. n may
be 0, and objects may hold `is_difficult` or `is_crowd` (n,) bool as well.
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
    ("annotations", "annotation", "labels", "label", "xmls", "xml"), "note"
)
EDGE = 1 + 1e-3  # pixels that a box may reach beyond the image: rounding, or counting from 1
TURNED = (
    "its EXIF data turn the image, and its boxes, drawn on the pixels as stored, are turned too"
)
UNDECIDED = (
    "its EXIF data turn the image; its boxes are taken as drawn on the turned image, as labelling "
    "tools show it (if they were not, remove the EXIF orientation)"
)
YEAR = re.compile(r"(19|20)\d\d$")  # of COCO's train2017


@dataclasses.dataclass(frozen=True)
class Boxes:
    """The boxes of one image as a file gives them.

    Attributes:
        corners: n of (left, top, right, bottom).
        labels: n indices of classes.
        said: n texts that say which box and what it is, for messages.
        fractions: whether corners are fractions of width and height; else they are pixels.
        flags: {name: n of bool} that go into the example's objects.
        size: (width, height) of the image as the file has it, or None.
        faults: what is wrong with boxes that are none of these n, a `BadInput` each.
        notes: sentences on what was decided.
    """

    corners: Sequence
    labels: Sequence[int]
    said: Sequence[str]
    fractions: bool = False
    flags: Mapping[str, Sequence[bool]] = dataclasses.field(default_factory=dict)
    size: tuple[int, int] | None = None
    faults: Sequence[BadInput] = ()
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and its annotation, either of which may be missing.

    Attributes:
        split: "train", "validation", "test" or None.
        name: how messages and tables call the example.
        image: a file or None.
        note: likewise.
        what: the file that asks for the example, blamed where both are missing.
    """

    split: str | None
    name: str
    image: pathlib.Path | None
    note: pathlib.Path | None
    what: pathlib.Path


def example(what: pathlib.Path, image: pathlib.Path, found: Boxes, remedy: str) -> dict:
    """Read an image, and make an example of it and its boxes.

    A box that reaches beyond the image by a pixel at most is cut off at the border. Where EXIF data
    turn the image, boxes of its size as stored are turned too.

    Args:
        what: the file of the boxes.
        image: the file of the image.
        found: the boxes.
        remedy: what to do about a box that is broken.

    Raises:
        BadInput: the image cannot be read or has not the size that was annotated, or a box is not
            finite, has no size or lies outside; the example of the sound boxes, if there are any,
            is kept in it.
    """
    picture = read_picture(image)
    height, width = picture.pixels.shape[:2]
    corners, notes = upright(found, picture)
    if found.size and found.size != (width, height) and TURNED not in notes:
        raise BadInput(
            what,
            f"it is for an image of {found.size[0]} x {found.size[1]} pixels, and {image.name} has "
            f"{width} x {height}",
            "Use the image that was annotated, or correct the size there",
        )
    sides = np.array([width, height, width, height], np.float64)
    corners = corners if found.fractions else corners / sides
    with np.errstate(invalid="ignore"):  # of what is not finite, which the first fault names
        beyond = (corners < -EDGE / sides) | (corners > 1 + EDGE / sides)
        clipped = corners.clip(0, 1).astype(np.float32)
        faults = {
            "is not finite": ~np.isfinite(corners).all(axis=1),
            "has no size": (corners[:, 2:] <= corners[:, :2]).any(axis=1),
            f"reaches beyond {image.name} of {width} x {height} pixels": beyond.any(axis=1),
            "has no size in the image": (clipped[:, 2:] <= clipped[:, :2]).any(axis=1),
        }
    sound = ~np.any([*faults.values()], axis=0)
    objects = {"bbox": clipped[:, [1, 0, 3, 2]], "label": np.array(found.labels, np.int64)}
    objects |= {name: np.array(some, bool) for name, some in found.flags.items()}
    objects = {name: some[sound] for name, some in objects.items()}
    notes = [*picture.notes, *found.notes, *notes]
    made = {"image": picture.pixels, "objects": objects, **({"notes": notes} if notes else {})}
    errors = [
        BadInput(what, f"{found.said[bad.argmax()]} {fault}", remedy)
        for fault, bad in faults.items()
        if bad.any()
    ]
    errors = [*found.faults, *errors]
    count = len(found.faults) + int((~sound).sum())
    if errors:
        why = errors[0].why + (f", and {count - 1} more boxes are faulty" if count > 1 else "")
        kept = made if sound.any() else None
        raise BadInput(errors[0].what, why, errors[0].remedy, kept=kept)
    return made


def upright(found, picture):
    """Return corners (n, 4) as they lie in the upright picture, and notes on what was decided.

    The size that was annotated tells whether boxes are of the image as stored or as it is shown, or
    else whether they fit; what neither tells is taken as drawn on the picture that was shown.
    """
    height, width = picture.pixels.shape[:2]
    turn, corners = picture.orientation, np.array(found.corners, np.float64).reshape(-1, 4)
    if turn == 1 or not len(corners):
        return corners, []
    stored = (height, width) if turn > 4 else (width, height)
    if found.size == (width, height) != stored:
        return corners, []
    fits = [(corners[:, 2:] <= np.add(size, EDGE)).all() for size in ((width, height), stored)]
    if found.size == stored != (width, height) or (
        not found.fractions and not found.size and fits == [False, True]
    ):
        return turned_boxes(corners, turn, *stored), [TURNED]
    return corners, [UNDECIDED]


def turned_boxes(corners, orientation, width, height):
    """Return corners (n, 4) of an image, stored by one of EXIF's orientations, upright."""
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
    """Make a source of items, each with a `split` and a `name`; no split becomes "train".

    Args:
        path: what the person gave.
        classes: names in the order of their indices.
        items: what `read_one` turns into examples.
        read_one: the function.
        used: files that the data depend on.
        ignored: files beside them that are not used; they are counted.
        notes: sentences on what was decided.
        boxed: the splits that hold a box, None being "train".

    Raises:
        BadInput: there is no box to learn from.
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
                "no image for training has a box (crowds do not count)",
                "Annotate some images",
            )
        notes = [
            *notes,
            *(f"no image of {split} has a box: its scores say little" for split in empty),
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
    """Return (split, "image" or "note", the rest of the path without extension) of a file.

    Split and role are None where no folder says them.
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
        BadInput: some have one name, or only some are in a split, where folders say the `splits`.
    """
    placed = [(file, *place(file, root)) for file in files]
    placed = [item for item in placed if item[2] == role] or placed
    found, twins = {}, []
    for file, split, _, key in placed:
        if found.setdefault((split, key), file) is not file:
            twins.append(file)
    if twins:
        raise BadInput(
            root,
            f"files with the name of another: {len(twins)} ({shown(twins, root)})",
            "Name each image and its annotation alike, and like no other",
        )
    if splits:
        one_or_no_split([(file, split) for (split, _), file in found.items()])
    return found


def title(root: pathlib.Path, *files: pathlib.Path | None) -> str:
    """Return the path, below a root, of the first file there is."""
    return next(file for file in files if file).relative_to(root).as_posix()


def read_text(path: pathlib.Path) -> str:
    """Read a file of text, which may be empty.

    Raises:
        BadInput: it cannot be read, or is no text.
    """
    if path.is_file() and path.stat().st_size == 0:
        return ""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, "it is not a text file", "Save it as UTF-8") from error


def read_names(path: pathlib.Path) -> tuple[str, ...]:
    """Read a list of classes, a line a class in the order of their indices.

    Raises:
        BadInput: it is no text, or a line is empty or says what another one says.
    """
    return checked(path, [line.strip() for line in read_text(path).rstrip().splitlines()])


def checked(what, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes; raises `BadInput` unless there are any, all told and unlike."""
    if not names:
        raise BadInput(what, "it names no class", "Name the classes")
    if "" in names:
        raise BadInput(what, f"class {names.index('')} has no name", "Name it")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise BadInput(what, f"it names {', '.join(twice)} twice", "Name each class once")
    return tuple(map(printable, names))


def number(word: str) -> float | None:
    """Return the number that a word is, which may be infinite or NaN; None if it is none."""
    try:
        return None if "_" in word else float(word)
    except ValueError:
        return None
