"""COCO: one .json file per split, with the boxes of all its images in pixels.

Lin et al., ECCV 2014, https://arxiv.org/abs/1405.0312; https://cocodataset.org/#format-data.
`annotations/instances_train2017.json` and `train2017/`, which may be in `images/`; or, as exported
by Roboflow, `train/_annotations.coco.json` beside its images.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections import defaultdict

from datasets.readers import boxes
from datasets.readers.files import (
    SPLIT_FOLDERS,
    one_or_no_split,
    read_bytes,
    split_of,
    subfolders,
    walk,
)
from datasets.source import BadInput, Source

NAME = re.compile(
    rf"_annotations\.coco|annotations?|instances\w*|({'|'.join(SPLIT_FOLDERS)})\d*",
    re.IGNORECASE,
)  # of a file, without its extension
LISTS = ("images", "annotations", "categories")
EXPORT = "Export it again as COCO detection"
CORRECT = "Correct or remove it"


@dataclasses.dataclass(frozen=True)
class Listing:
    """The content of a .json file.

    Attributes:
        file: the file.
        split: its split or None.
        images: {id: (file name, size or None)}; a size is (width, height).
        annotations: {id of an image: [(position in the list, annotation)]}.
        strays: [(position in the list, annotation)] of images that are not listed.
        categories: {id: (name, name of the supercategory)}.
    """

    file: pathlib.Path
    split: str | None
    images: dict
    annotations: dict
    strays: list
    categories: dict


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image of a listing, or, where `key` is None, its annotations that have no image.

    Attributes:
        split: "train", "validation", "test" or None.
        name: of the example in messages and tables.
        listing: the listing.
        key: the image's id.
        image: its file, or None if it is missing.
    """

    split: str | None
    name: str
    listing: Listing
    key: object
    image: pathlib.Path | None


def match(path: pathlib.Path) -> bool:
    """Return whether a folder, or its folder of annotations or of a split, has such files."""
    return path.is_dir() and bool(find(path))


def read(path: pathlib.Path) -> Source:
    """Return the images of the .json files; classes are the categories, in the order of their ids.

    A category without annotations that is a supercategory of others is not a class: Roboflow adds
    one. An invalid image or box makes one example that raises `BadInput`; an invalid .json file
    raises immediately.

    Raises:
        BadInput: a .json file is not in COCO's format, two are for one split, or their categories
            differ.
    """
    files = listings(path)
    ids, classes = categories(files)
    index = {key: i for i, key in enumerate(ids)}
    entries = [entry for listing in files for entry in entries_of(listing, path)]
    check_pixels(files)
    used = {entry.image for entry in entries if entry.image}
    used |= {listing.file for listing in files}
    return boxes.source(
        path,
        classes,
        entries,
        lambda entry: read_entry(entry, index),
        used=sorted(used),
        ignored=[file for file in walk(path) if file not in used],
        boxed=[listing.split for listing in files if any(map(counts, annotations(listing)))],
    )


def listings(path, outlines=False):
    """Return the `Listing` of each .json file below a path, one per split.

    Raises:
        BadInput: a file is not in COCO's format, or two are for one split.
    """
    files = [load(file, split_name(file, path), outlines) for file in find(path)]
    one_or_no_split([(listing.file, listing.split) for listing in files])
    for i, listing in enumerate(files):
        for previous in files[:i]:
            if previous.split == listing.split:
                why = f"{previous.file.name} is also for {listing.split or 'the same images'}"
                raise BadInput(listing.file, why, "Keep one of them")
    return files


def annotations(listing):
    """Return the annotations of a listing's images."""
    return [item for items in listing.annotations.values() for _, item in items]


def counts(item):
    """Return whether an annotation is of one object: crowds are not used for training."""
    return not crowd(item)


def crowd(item):
    """Return whether an annotation is of a crowd of objects."""
    return item.get("iscrowd") in (1, "1")


def check_pixels(listings):
    """Raise if all boxes of a file are below one pixel: they are fractions of the image size.

    Their format is not guessed: x and y may be a corner or the centre.
    """
    for listing in listings:
        sizes = [item.get("bbox") for item in annotations(listing)]
        sizes = [box[2:] for box in sizes if isinstance(box, list) and len(box) == 4]
        sizes = [size for size in sizes if {int, float} >= set(map(type, size))]
        if sizes and all(0 <= side <= 1 for size in sizes for side in size):
            raise BadInput(
                listing.file,
                "all its boxes are below one pixel: they seem to be fractions of the image's size",
                "Write bbox as x, y (of the top left corner), width and height in pixels",
            )


def find(path):
    """Return the files of annotations: those named instances, if there are any."""
    folders = [
        folder
        for folder in subfolders(path)
        if boxes.ROLES.get(folder.name.lower()) == "annotation"
    ]
    folders += [folder for folder in subfolders(path) if split_of(boxes.bare(folder.name))]
    files = [
        file
        for folder in (path, *folders)
        for file in sorted(folder.glob("*.json"))
        if NAME.fullmatch(file.stem)
    ]
    return [f for f in files if f.stem.lower().startswith("instances")] or files


def split_name(file, root):
    """Return the split of a file, from its folder or a word of its name; or None."""
    folder = split_of(boxes.bare(file.parent.name)) if file.parent != root else None
    words = map(split_of, re.findall("[a-z]+", file.stem.lower()))
    return folder or next(filter(None, words), None)


def load(file: pathlib.Path, split: str | None, outlines: bool = False) -> Listing:
    """Read a .json file, with or without the outlines of objects.

    Raises:
        BadInput: it is not valid JSON, lacks a list, or an image or category is invalid.
    """
    try:
        raw = json.loads(read_bytes(file), object_hook=None if outlines else slim)
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            file, f"it is not valid JSON ({error})", "Copy or export it again"
        ) from error
    for key in LISTS:
        items = raw.get(key) if isinstance(raw, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise BadInput(file, f"it has no list of {key}", EXPORT)
    images, kinds = {}, {}
    for place, item in enumerate(raw["images"]):
        key, name = item.get("id"), item.get("file_name")
        if not isinstance(key, int | str) or not isinstance(name, str) or key in images:
            what = f"images[{place}] has id {key!r:.40} and file_name {name!r:.80}"
            raise BadInput(file, f"{what}: one is missing, or another has this id", EXPORT)
        size = item.get("width"), item.get("height")
        images[key] = name, size if all(isinstance(s, int) and s > 0 for s in size) else None
    for place, item in enumerate(raw["categories"]):
        key, name = item.get("id"), item.get("name")
        if not isinstance(key, int) or not isinstance(name, str) or key in kinds:
            what = f"categories[{place}] has id {key!r:.40} and name {name!r:.80}"
            raise BadInput(file, f"{what}: one is missing, or another has this id", EXPORT)
        kinds[key] = name.strip(), item.get("supercategory")
    notes, strays = defaultdict(list), []
    for place, item in enumerate(raw["annotations"]):
        key = item.get("image_id")
        known = isinstance(key, int | str) and key in images
        (notes[key] if known else strays).append((place, item))
    return Listing(file, split, images, notes, strays, kinds)


def slim(item):
    """Return a JSON object without its outline, which is most of the file."""
    item.pop("segmentation", None)
    return item


def categories(listings):
    """Return the sorted ids and the class names of all files.

    Raises:
        BadInput: files differ in the name of an id, a name occurs twice, or there are none.
    """
    kinds, origin = {}, {}
    for listing in listings:
        for key, kind in listing.categories.items():
            if kinds.setdefault(key, kind)[0] != kind[0]:
                raise BadInput(
                    listing.file,
                    f"category {key} is {kind[0]!r}, but {kinds[key][0]!r} in {origin[key].name}",
                    "Use the same categories in all splits",
                )
            origin.setdefault(key, listing.file)
    items = [item for file in listings for some in file.annotations.values() for _, item in some]
    in_use = {item["category_id"] for item in items if known_kind(item, kinds)}
    parents = {key: parent for key, (_, parent) in kinds.items()}
    ids = [
        key
        for key in sorted(kinds)
        if key in in_use
        or not any(parent == kinds[key][0] for child, parent in parents.items() if child != key)
    ]
    return ids, boxes.checked(listings[0].file, [kinds[key][0] for key in ids])


def known_kind(item, kinds):
    """Return whether an annotation has a category that is listed."""
    return isinstance(item.get("category_id"), int) and item["category_id"] in kinds


def entries_of(listing, root):
    """Return the entries of a listing, with the files of its images."""
    folders, entries, owner = image_folders(listing, root), [], {}
    for key, (name, _) in listing.images.items():
        image = locate(name, folders)
        if image and owner.setdefault(image, name) != name:
            image = None  # "b/1.jpg" where only "a/1.jpg" exists
        title = boxes.title(root, image) if image else f"{listing.file.name}#{name}"
        entries.append(Entry(listing.split, title, listing, key, image))
    if listing.strays:
        entries.append(Entry(listing.split, f"{listing.file.name}#strays", listing, None, None))
    return entries


def image_folders(listing, root):
    """Return the folders where the images of a listing may be, the most probable first."""
    tag = listing.file.stem.lower().removeprefix("instances_")
    outer = [root, *(f for f in subfolders(root) if boxes.ROLES.get(f.name.lower()) == "image")]
    inner = [folder for parent in outer for folder in subfolders(parent)]
    same_name = [folder for folder in inner if folder.name.lower() == tag]
    same_split = [
        f for f in inner if listing.split and split_of(boxes.bare(f.name)) == listing.split
    ]
    nested = [
        folder
        for parent in same_split
        for folder in subfolders(parent)
        if boxes.ROLES.get(folder.name.lower()) == "image"
    ]
    return [*same_name, listing.file.parent, *same_split, *nested, *reversed(outer)]


def locate(name, folders):
    """Return the file of an image: by its path below a folder, else by its name alone; or None."""
    parts = re.split(r"[\\/]+", name)
    below = parts[0] and ":" not in parts[0] and ".." not in parts  # never above the folder
    for tail in ([parts] if below else []) + [parts[-1:]]:
        for folder in folders:
            file = folder.joinpath(*tail)
            if tail[-1] not in ("", ".", "..") and os.path.isfile(file):  # accepts any name
                return file
    return None


def image_of(entry):
    """Return name and size of an entry's image; raises `BadInput` if it has none."""
    listing = entry.listing
    if entry.key is None:
        place, item = listing.strays[0]
        raise BadInput(
            listing.file,
            f"{len(listing.strays)} annotations are of images that are not listed (the first: "
            f"{called(place, item)}, image_id {item.get('image_id')!r:.40})",
            "List the images, or remove the annotations",
        )
    name, size = listing.images[entry.key]
    if not entry.image:
        why = (
            f"the image {name!r} (id {entry.key!r}) is not in any of the folders that are searched"
        )
        raise BadInput(
            listing.file, why, "Move it beside the file, or to images/ or the folder of its split"
        )
    return name, size


def read_entry(entry, index):
    """Read an example; `index` is {id of a category: index of its class}."""
    name, size = image_of(entry)
    listing, corners, labels, descriptions, crowds, errors = entry.listing, [], [], [], [], []
    for place, item in listing.annotations.get(entry.key, ()):
        which = f"{called(place, item)} of {name}"
        try:
            check_kind(listing.file, which, item, index)
            x, y, width, height = box_of(listing.file, which, item.get("bbox"))
        except BadInput as error:
            errors.append(error)
            continue
        corners.append((x, y, x + width, y + height))
        labels.append(index[item["category_id"]])
        descriptions.append(f"{which} (bbox {x:g}, {y:g}, {width:g}, {height:g})")
        crowds.append(crowd(item))
    entry_boxes = boxes.Boxes(
        corners, labels, descriptions, flags={"is_crowd": crowds}, size=size, errors=errors
    )
    return boxes.example(listing.file, entry.image, entry_boxes, CORRECT)


def check_kind(file, which, item, kinds):
    """Raise `BadInput` unless an annotation's category is listed."""
    if not known_kind(item, kinds):
        why = f"{which} is has the category {item.get('category_id')!r:.40}, which is not listed"
        raise BadInput(file, why, "List it in categories, or correct the annotation")


def called(place, item):
    """Return the name of an annotation in messages."""
    return f"annotation {item['id']!r:.40}" if "id" in item else f"annotations[{place}]"


def box_of(file, which, bbox):
    """Return the four numbers of a box.

    Raises:
        BadInput: there are not four numbers.
    """
    if not isinstance(bbox, list) or len(bbox) != 4 or not {int, float} >= set(map(type, bbox)):
        text = json.dumps(bbox)[:60]
        raise BadInput(file, f"{which} has the bbox {text}, not x, y, width, height", CORRECT)
    try:
        return [float(value) for value in bbox]
    except OverflowError as error:
        raise BadInput(file, f"{which} has a bbox that is too large", CORRECT) from error
