"""Masks from outlines: the polygons of COCO's and of labelme's .json files, drawn.

COCO: `segmentation` of an annotation is polygons or run lengths, drawn by pycocotools; smaller
objects are drawn over larger ones, and crowds have no class. labelme (https://github.com/wkentaro/labelme):
a .json per image with `shapes`, drawn in their order. Pixels outside all outlines are background.
"""

import dataclasses
import json
import math
import pathlib
import re

import numpy as np
from PIL import Image, ImageDraw

from datasets.readers import boxes
from datasets.readers.boxes import coco
from datasets.readers.files import one_or_no_split, read_bytes, walk
from datasets.readers.images import EXTENSIONS, read_picture
from datasets.readers.masks import image_masks, mask_pairs
from datasets.source import BadInput, Source, printable

BACKGROUND = "background"
IGNORED = "__ignore__"  # labelme's name for pixels of no class
NONE = ("_background_", BACKGROUND)
CORRECT = "Correct or remove it"
DRAWN = "masks are drawn from the outlines in .json files; pixels outside of them are background"


def match_coco(path: pathlib.Path) -> bool:
    """Return whether a folder contains COCO files."""
    return coco.match(path)


def read_coco(path: pathlib.Path) -> Source:
    """Draw the outlines of COCO's annotations; classes are background and then the categories.

    Raises:
        BadInput: as for boxes, see `coco.read`, or if no annotation has an outline.
    """
    listings = coco.listings(path, outlines=True)
    ids, names = coco.categories(listings)
    items = [item for listing in listings for item in coco.annotations(listing)]
    if not any(item.get("segmentation") for item in items):
        why = "its annotations have no outlines (segmentation)"
        raise BadInput(listings[0].file, why, "Boxes are for image_detection: choose a detector")
    classes = (BACKGROUND, *(name for name in names if name not in NONE))
    index = {
        key: classes.index(n) if n in classes else 0 for key, n in zip(ids, names, strict=True)
    }
    entries = [entry for listing in listings for entry in coco.entries_of(listing, path)]
    used = {entry.image for entry in entries if entry.image} | {
        listing.file for listing in listings
    }
    source = boxes.source(
        path,
        classes,
        entries,
        lambda entry: read_entry(entry, index),
        used=sorted(used),
        ignored=[file for file in walk(path) if file not in used],
        notes=[DRAWN],
    )
    placed = [(entry.split, entry.image) for entry in entries if entry.image]
    return dataclasses.replace(source, options=image_masks.suggested_tiles(placed))


def read_entry(entry, index):
    """Read an image of a listing and draw its annotations."""
    name, size = coco.image_of(entry)
    listing, picture = entry.listing, read_picture(entry.image)
    height, width = size[::-1] if size else picture.pixels.shape[:2]
    layers, errors = [], []
    for place, item in listing.annotations.get(entry.key, ()):
        which = f"{coco.called(place, item)} of {name}"
        try:
            coco.check_kind(listing.file, which, item, index)
            inside = drawn(listing.file, which, item.get("segmentation"), height, width)
        except BadInput as error:
            errors.append(error)
            continue
        layers.append((inside, -1 if coco.crowd(item) else index[item["category_id"]]))
    mask = np.zeros((height, width), np.int32)
    for inside, label in sorted(layers, key=lambda layer: -layer[0].sum()):
        mask[inside] = label
    return finished(listing.file, entry.image, picture, mask, errors, bool(layers))


def finished(file, image, picture, mask, errors, any_valid):
    """Return an example; raises the first error, whose `partial` is the example without errors."""
    mask, notes = image_masks.aligned(file, image, picture, mask)
    notes = [*picture.notes, *notes]
    result = {"image": picture.pixels, "segmentation_mask": np.ascontiguousarray(mask)}
    result |= {"notes": notes} if notes else {}
    if errors:
        first = errors[0]
        more = f", and {len(errors) - 1} more outlines are faulty" if len(errors) > 1 else ""
        partial = result if any_valid else None
        raise BadInput(first.what, first.why + more, first.remedy, partial=partial)
    return result


def drawn(file, which, outline, height, width):
    """Return the mask of a COCO object, (H, W) bool, from its polygons or run lengths.

    Raises:
        BadInput: it has none, or they are not in COCO's format.
    """
    from pycocotools import mask as runs

    if isinstance(outline, list) and outline:
        valid = all(isinstance(part, list) and is_polygon(part) for part in outline)
    else:
        valid = isinstance(outline, dict) and outline.get("size") == [height, width]
        counts = outline.get("counts") if valid else None
        counts = decoded_counts(counts) if isinstance(counts, str) else counts
        valid = isinstance(counts, list) and runs_fit(counts, outline)
        outline = {**outline, "counts": counts} if valid else outline
    if not valid:
        text = json.dumps(outline)[:60]
        why = f"{which} has the segmentation {text}: not polygons, nor runs of {height} x {width}"
        raise BadInput(file, why, CORRECT)
    layers = runs.decode(runs.frPyObjects(outline, height, width))
    return (layers.any(axis=-1) if layers.ndim == 3 else layers).astype(bool)


def decoded_counts(text):
    """Return the run lengths of COCO's compressed text; None if it is invalid.

    Numbers are encoded in digits of 5 bits, those after the third as differences to the last but
    one. pycocotools decodes corrupt texts without an error, so they are checked here.
    """
    counts, value, shift = [], 0, 0
    for letter in text:
        digit = ord(letter) - 48
        if not 0 <= digit < 64 or shift > 30:
            return None
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        value -= (digit >> 4 & 1) << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return None if shift else counts


def runs_fit(counts, outline):
    """Return whether run lengths are integers that add up to the size."""
    valid = all(type(count) is int and count >= 0 for count in counts)
    return valid and sum(counts) == math.prod(outline["size"])


def is_polygon(numbers):
    """Return whether a list has x and y of at least three points, all finite."""
    return (
        len(numbers) >= 6
        and len(numbers) % 2 == 0
        and {int, float} >= set(map(type, numbers))
        and all(abs(number) < 1e6 for number in numbers)
    )


@dataclasses.dataclass(frozen=True)
class Sheet:
    """One .json file of labelme.

    Attributes:
        split: "train", "validation", "test" or None.
        name: of the example in messages and tables.
        file: the file.
        image: the image, or None if it is missing.
        shapes: of the file.
        size: (H, W) of the image according to the file, or None.
        error: the error of the file, or None.
    """

    split: str | None
    name: str
    file: pathlib.Path
    image: pathlib.Path | None = None
    shapes: tuple = ()
    size: tuple[int, int] | None = None
    error: BadInput | None = None


def match_labelme(path: pathlib.Path) -> bool:
    """Return whether a folder contains labelme files."""
    if not path.is_dir():
        return False
    return any(b'"shapes"' in content(file) for file in json_files(path)[:3])


def json_files(path):
    """Return the .json files below a folder."""
    return [file for file in walk(path) if file.suffix.lower() == ".json"]


def content(file):
    """Return the content of a file, empty if it cannot be read."""
    try:
        return read_bytes(file)
    except BadInput:
        return b""


def read_labelme(path: pathlib.Path) -> Source:
    """Draw the shapes of labelme's files; classes are background and then the labels, sorted.

    Lines and points have no area and are left out. So are images without a file.

    Raises:
        BadInput: no file can be read, or only some are in a split.
    """
    sheets = [load(file, path) for file in json_files(path)]
    one_or_no_split([(sheet.file, sheet.split) for sheet in sheets])
    labels = {shape["label"] for sheet in sheets for shape in sheet.shapes}
    labels = {printable(label) for label in labels} - {IGNORED, *NONE}
    if not labels:
        raise next((s.error for s in sheets if s.error), None) or BadInput(
            path, "no .json file has a shape", "Draw some"
        )
    classes = (BACKGROUND, *sorted(labels))
    index = {name: i for i, name in enumerate(classes)} | {IGNORED: -1} | dict.fromkeys(NONE, 0)
    used = {file for sheet in sheets for file in (sheet.image, sheet.file) if file}
    ignored = [file for file in walk(path) if file not in used]
    unlabelled = sum(file.suffix.lower() in EXTENSIONS for file in ignored)
    notes = [DRAWN] + [f"{unlabelled:,} images have no .json file, and are left out"] * bool(
        unlabelled
    )
    source = boxes.source(
        path,
        classes,
        sheets,
        lambda sheet: read_sheet(sheet, index),
        used=sorted(used),
        ignored=ignored,
        notes=notes,
    )
    placed = [(sheet.split, sheet.image) for sheet in sheets if sheet.image]
    return dataclasses.replace(source, options=image_masks.suggested_tiles(placed))


def load(file, root):
    """Read a .json file of labelme; an error is stored as its `error`."""
    split, name = mask_pairs.place(file, root).split, file.relative_to(root).as_posix()
    try:
        try:
            raw = json.loads(read_bytes(file))
        except (ValueError, RecursionError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(file, f"it is not valid JSON ({error})", "Save it again") from error
        shapes = raw.get("shapes") if isinstance(raw, dict) else None
        if not isinstance(shapes, list) or not all(
            isinstance(shape, dict) and isinstance(shape.get("label"), str) for shape in shapes
        ):
            raise BadInput(
                file, "it has no shapes with labels", "Remove it, or save it with labelme"
            )
        sides = raw.get("imageHeight"), raw.get("imageWidth")
        size = sides if all(type(side) is int and side > 0 for side in sides) else None
        image = partner(file, raw.get("imagePath"))
        if not image:
            why = f"there is no image {str(raw.get('imagePath'))[:80]!r} or of its name beside it"
            raise BadInput(file, why, "Put the image beside it")
    except BadInput as error:
        return Sheet(split, name, file, error=error)
    return Sheet(split, image.relative_to(root).as_posix(), file, image, tuple(shapes), size)


def partner(file, named):
    """Return the image beside a .json file, by the name in it or its own name; or None."""
    names = [re.split(r"[\\/]", named)[-1]] if isinstance(named, str) else []
    names += [file.stem + ending for ending in EXTENSIONS]
    paths = (file.parent / name for name in names if "\0" not in name)
    return next(
        (path for path in paths if path.suffix.lower() in EXTENSIONS and path.is_file()), None
    )


def read_sheet(sheet, index):
    """Read an image and draw its shapes."""
    if sheet.error:
        raise sheet.error
    picture = read_picture(sheet.image)
    height, width = sheet.size or picture.pixels.shape[:2]
    mask, errors, any_valid = np.zeros((height, width), np.int32), [], False
    for place, shape in enumerate(sheet.shapes):
        layer = Image.new("1", (width, height))
        try:
            draw(sheet.file, place, shape, ImageDraw.Draw(layer))
        except BadInput as error:
            errors.append(error)
            continue
        mask[np.asarray(layer)] = index[printable(shape["label"])]
        any_valid = True
    return finished(sheet.file, sheet.image, picture, mask, errors, any_valid)


def draw(file, place, shape, pen):
    """Fill one shape as labelme does; raises `BadInput` unless it has an area."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    which = f"shapes[{place}] ({kind} {shape['label'][:40]!r})"
    needed = {"polygon": 3, "rectangle": 2, "circle": 2}.get(kind)
    if not needed:
        raise BadInput(file, f"{which} has no area", "Draw a polygon, rectangle or circle")
    flat = [v for pair in points if isinstance(pair, list) and len(pair) == 2 for v in pair] if (
        isinstance(points, list)
    ) else []  # fmt: skip
    if (
        not is_polygon([*flat, 0, 0, 0, 0])
        or len(flat) < 2 * needed
        or len(flat) != 2 * len(points)
    ):
        raise BadInput(file, f"{which} has the points {json.dumps(points)[:60]}", CORRECT)
    xy = list(zip(flat[::2], flat[1::2], strict=True))
    if kind == "polygon":
        pen.polygon(xy, fill=1, outline=1)
    elif kind == "rectangle":
        (left, right), (top, bottom) = sorted(flat[:4:2]), sorted(flat[1:4:2])
        pen.rectangle((left, top, right, bottom), fill=1, outline=1)
    else:
        (x, y), radius = xy[0], math.dist(*xy[:2])
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
