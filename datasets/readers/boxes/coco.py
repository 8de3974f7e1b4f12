"""COCO: one .json file a split, with the boxes of all its images in pixels.

Lin et al., ECCV 2014, https://arxiv.org/abs/1405.0312; https://cocodataset.org/#format-data.
`annotations/instances_train2017.json` and `train2017/`, which `images/` may hold; or, as Roboflow
exports it, `train/_annotations.coco.json` beside its images.
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
)  # of a file, without its ending
LISTS = ("images", "annotations", "categories")
EXPORT = "Export it again as COCO detection"
CORRECT = "Correct or remove it"


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a .json file says.

    Attributes:
        file: the file.
        split: its split or None.
        images: {id: (file name, size or None)}; a size is (width, height).
        notes: {id of an image: [(place in the list, annotation)]}.
        strays: annotations of images that are not listed, likewise.
        categories: {id: (name, name of the supercategory)}.
    """

    file: pathlib.Path
    split: str | None
    images: dict
    notes: dict
    strays: list
    categories: dict


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image of a listing, or, where `key` is None, its annotations that have no image.

    Attributes:
        split: "train", "validation", "test" or None.
        name: how messages and tables call the example.
        listing: the listing.
        key: the image's id.
        image: its file, None if it was not found.
    """

    split: str | None
    name: str
    listing: Listing
    key: object
    image: pathlib.Path | None


def match(path: pathlib.Path) -> bool:
    """Tell whether a folder, or one in it for annotations or a split, holds files named so."""
    return path.is_dir() and bool(find(path))


def read(path: pathlib.Path) -> Source:
    """List the images of the .json files; categories become classes in the order of their ids.

    A category without annotations that others name as their supercategory is no class: Roboflow
    adds one. What is wrong with an image or a box is one example that raises `BadInput`; what is
    wrong with a .json file as a whole is said at once.

    Raises:
        BadInput: a .json file is not as COCO's, two are for one split, or their categories differ.
    """
    found = listings(path)
    ids, classes = categories(found)
    index = {key: i for i, key in enumerate(ids)}
    entries = [entry for listing in found for entry in entries_of(listing, path)]
    check_pixels(found)
    used = {entry.image for entry in entries if entry.image}
    used |= {listing.file for listing in found}
    return boxes.source(
        path,
        classes,
        entries,
        lambda entry: read_entry(entry, index),
        used=sorted(used),
        ignored=[file for file in walk(path) if file not in used],
        boxed=[listing.split for listing in found if any(map(counts, annotations(listing)))],
    )


def listings(path, outlines=False):
    """Return the `Listing` of each .json file below a path, one a split.

    Raises:
        BadInput: a file is not as COCO's, or two are for one split.
    """
    found = [load(file, split_name(file, path), outlines) for file in find(path)]
    one_or_no_split([(listing.file, listing.split) for listing in found])
    for i, listing in enumerate(found):
        for other in found[:i]:
            if other.split == listing.split:
                why = f"{other.file.name} is for {listing.split or 'the same images'} as well"
                raise BadInput(listing.file, why, "Keep one of them")
    return found


def annotations(listing):
    """Return the annotations of a listing's images."""
    return [item for some in listing.notes.values() for _, item in some]


def counts(item):
    """Tell whether an annotation is of one object: crowds are not learnt from."""
    return not crowd(item)


def crowd(item):
    """Tell whether an annotation is of a crowd of objects."""
    return item.get("iscrowd") in (1, "1")


def check_pixels(listings):
    """Raise if all boxes of a file are below one pixel: they are fractions of the image's size.

    Which fractions is not guessed: x and y may be a corner or the middle.
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
    """Return the files of annotations: those named instances, where there are any."""
    folders = [
        folder for folder in subfolders(path) if boxes.ROLES.get(folder.name.lower()) == "note"
    ]
    folders += [folder for folder in subfolders(path) if split_of(boxes.bare(folder.name))]
    found = [
        file
        for folder in (path, *folders)
        for file in sorted(folder.glob("*.json"))
        if NAME.fullmatch(file.stem)
    ]
    return [f for f in found if f.stem.lower().startswith("instances")] or found


def split_name(file, root):
    """Return the split that the folder of a file, or a word of its name, stands for; or None."""
    folder = split_of(boxes.bare(file.parent.name)) if file.parent != root else None
    words = map(split_of, re.findall("[a-z]+", file.stem.lower()))
    return folder or next(filter(None, words), None)


def load(file: pathlib.Path, split: str | None, outlines: bool = False) -> Listing:
    """Read a .json file; outlines of objects are left out while it is read, if so wished.

    Raises:
        BadInput: it is no sound JSON, lacks a list, or an entry of images or categories is broken.
    """
    try:
        raw = json.loads(read_bytes(file), object_hook=None if outlines else slim)
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(file, f"it is no sound JSON ({error})", "Copy or export it again") from error
    for key in LISTS:
        some = raw.get(key) if isinstance(raw, dict) else None
        if not isinstance(some, list) or not all(isinstance(item, dict) for item in some):
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
    """Return an object of JSON without its outline, which is most of the file."""
    item.pop("segmentation", None)
    return item


def categories(listings):
    """Return ids in order and the names of the classes over all files.

    Raises:
        BadInput: files differ on an id, a name occurs twice, or there are none.
    """
    found, origin = {}, {}
    for listing in listings:
        for key, kind in listing.categories.items():
            if found.setdefault(key, kind)[0] != kind[0]:
                raise BadInput(
                    listing.file,
                    f"category {key} is {kind[0]!r}, and {found[key][0]!r} in {origin[key].name}",
                    "Give all splits the same categories",
                )
            origin.setdefault(key, listing.file)
    noted = [item for one in listings for some in one.notes.values() for _, item in some]
    in_use = {item["category_id"] for item in noted if known_kind(item, found)}
    groups = {key: above for key, (_, above) in found.items()}
    ids = [
        key
        for key in sorted(found)
        if key in in_use
        or not any(above == found[key][0] for other, above in groups.items() if other != key)
    ]
    return ids, boxes.checked(listings[0].file, [found[key][0] for key in ids])


def known_kind(item, kinds):
    """Tell whether an annotation has a category that is listed."""
    return isinstance(item.get("category_id"), int) and item["category_id"] in kinds


def entries_of(listing, root):
    """Return the entries of a listing, with the files of its images."""
    folders, found, owner = image_folders(listing, root), [], {}
    for key, (name, _) in listing.images.items():
        image = locate(name, folders)
        if image and owner.setdefault(image, name) != name:
            image = None  # "b/1.jpg" where only an "a/1.jpg" is
        title = boxes.title(root, image) if image else f"{listing.file.name}#{name}"
        found.append(Entry(listing.split, title, listing, key, image))
    if listing.strays:
        found.append(Entry(listing.split, f"{listing.file.name}#strays", listing, None, None))
    return found


def image_folders(listing, root):
    """Return the folders where the images of a listing may lie, the likeliest first."""
    tag = listing.file.stem.lower().removeprefix("instances_")
    outer = [root, *(f for f in subfolders(root) if boxes.ROLES.get(f.name.lower()) == "image")]
    inner = [folder for one in outer for folder in subfolders(one)]
    exact = [folder for folder in inner if folder.name.lower() == tag]
    alike = [f for f in inner if listing.split and split_of(boxes.bare(f.name)) == listing.split]
    deep = [
        folder
        for one in alike
        for folder in subfolders(one)
        if boxes.ROLES.get(folder.name.lower()) == "image"
    ]
    return [*exact, listing.file.parent, *alike, *deep, *reversed(outer)]


def locate(name, folders):
    """Return the file of an image: by its path below a folder, else by its name alone; or None."""
    parts = re.split(r"[\\/]+", name)
    below = parts[0] and ":" not in parts[0] and ".." not in parts  # never above the folder
    for tail in ([parts] if below else []) + [parts[-1:]]:
        for folder in folders:
            file = folder.joinpath(*tail)
            if tail[-1] not in ("", ".", "..") and os.path.isfile(file):  # takes any name
                return file
    return None


def image_of(entry):
    """Return name and size of an entry's image; raises `BadInput` if it has none."""
    listing = entry.listing
    if entry.key is None:
        place, item = listing.strays[0]
        raise BadInput(
            listing.file,
            f"{len(listing.strays)} annotations are for images that are not listed (the first: "
            f"{called(place, item)}, image_id {item.get('image_id')!r:.40})",
            "List the images, or remove the annotations",
        )
    name, size = listing.images[entry.key]
    if not entry.image:
        why = f"the image {name!r} (id {entry.key!r}) is in none of the folders that are searched"
        raise BadInput(listing.file, why, "Put it beside the file, or into images/ or its split")
    return name, size


def read_entry(entry, index):
    """Read an example; `index` is {id of a category: index of its class}."""
    name, size = image_of(entry)
    listing, corners, labels, said, crowds, faults = entry.listing, [], [], [], [], []
    for place, item in listing.notes.get(entry.key, ()):
        which = f"{called(place, item)} of {name}"
        try:
            check_kind(listing.file, which, item, index)
            x, y, width, height = box_of(listing.file, which, item.get("bbox"))
        except BadInput as error:
            faults.append(error)
            continue
        corners.append((x, y, x + width, y + height))
        labels.append(index[item["category_id"]])
        said.append(f"{which} (bbox {x:g}, {y:g}, {width:g}, {height:g})")
        crowds.append(crowd(item))
    found = boxes.Boxes(corners, labels, said, flags={"is_crowd": crowds}, size=size, faults=faults)
    return boxes.example(listing.file, entry.image, found, CORRECT)


def check_kind(file, which, item, kinds):
    """Raise `BadInput` unless an annotation's category is listed."""
    if not known_kind(item, kinds):
        why = f"{which} is of category {item.get('category_id')!r:.40}, which is not listed"
        raise BadInput(file, why, "List it in categories, or correct the annotation")


def called(place, item):
    """Return what to call an annotation."""
    return f"annotation {item['id']!r:.40}" if "id" in item else f"annotations[{place}]"


def box_of(file, which, bbox):
    """Return the four numbers of a box.

    Raises:
        BadInput: there are not four of them.
    """
    if not isinstance(bbox, list) or len(bbox) != 4 or not {int, float} >= set(map(type, bbox)):
        text = json.dumps(bbox)[:60]
        raise BadInput(file, f"{which} has the bbox {text}, not x, y, width, height", CORRECT)
    try:
        return [float(value) for value in bbox]
    except OverflowError as error:
        raise BadInput(file, f"{which} has a bbox beyond all numbers", CORRECT) from error
