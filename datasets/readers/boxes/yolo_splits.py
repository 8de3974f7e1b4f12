"""The split of each image from YOLO's files: `data.yaml`, or Darknet's lists of images.

`train`, `val` and `test` of a `data.yaml` are folders or lists of images, or several of them, below
its `path`; Darknet's `train.txt` and `valid.txt` name an image per line. Their paths may be those
of another machine, so the part before a folder of the data is dropped.
"""

import pathlib
import re
from collections.abc import Callable, Sequence

from datasets.readers import boxes
from datasets.readers.files import shown, split_of
from datasets.readers.images import EXTENSIONS
from datasets.source import BadInput

KEYS = {"train": "train", "val": "validation", "test": "test"}  # of data.yaml


def assigned(
    root: pathlib.Path,
    files: Sequence[pathlib.Path],
    yaml: pathlib.Path | None,
    values: Callable,
) -> tuple[dict, list[str], list[pathlib.Path]]:
    """Return the splits that are named by files beside the images.

    Args:
        root: the folder of the data.
        files: all files below it.
        yaml: its data.yaml, or None.
        values: function (yaml, key) to the list of its texts.

    Returns:
        ({image: split}, notes on what was decided, the lists of images). All are empty if no
        file names splits.

    Raises:
        BadInput: a list names an image that does not exist, or one of another split.
    """
    lists = {file: split for file in files if (split := list_split(root, file))}
    entries, path = {}, ""
    if yaml:
        path = "".join(values(yaml, "path")[:1])
        entries = {split: values(yaml, key) for key, split in KEYS.items()}
        entries = {split: some for split, some in entries.items() if some}
    notes, places, used = [], {}, []
    for split, texts in entries.items():
        for text in texts:
            place = located(root, text, path)
            if place:
                places.setdefault(split, []).append(place)
            else:
                notes.append(f"{yaml.name}: {text}, named for {split}, does not exist")
    if not places:
        for file, split in lists.items():
            places.setdefault(split, []).append(file)
    known, owner = set(files), {}
    for split, some in places.items():
        images = {file: place for place in some for file in images_of(root, place, files, known)}
        duplicates = [file for file in images if file in owner]
        if duplicates and len(duplicates) == len(images):
            other = owner[duplicates[0]]
            notes.append(
                f"the images of {split} are those of {other}: they are used for {other} only"
            )
            continue
        if duplicates:
            what = f"{len(duplicates)} images for {split} are also for {owner[duplicates[0]]}"
            raise BadInput(
                images[duplicates[0]],
                f"{what} ({shown(duplicates, root)})",
                "Keep each in one split",
            )
        owner |= dict.fromkeys(images, split)
        used += [place for place in some if place.suffix.lower() == ".txt"]
    if owner:
        what = yaml.name if yaml and not set(used) & set(lists) else "lists of images"
        counts = {split: sum(s == split for s in owner.values()) for split in places}
        counts = ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)
        notes.insert(0, f"splits are those of {what}: {counts}")
    return owner, notes, [*used, *lists]


def list_split(root, file):
    """Return the split of a list of images, None if the file is not such a list."""
    depth = len(file.relative_to(root).parts)
    split = split_of(file.stem) if file.suffix.lower() == ".txt" and depth <= 2 else None
    if not split:
        return None
    lines = lines_of(file)
    return split if lines and lines[0][1].lower().endswith(EXTENSIONS) else None


def lines_of(file):
    """Return (number, text) of the lines of a list that are not blank."""
    lines = enumerate(boxes.read_text(file).splitlines(), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def located(root, text, path=""):
    """Return the folder or list below a root that a path refers to, None if it does not exist.

    Of a path with another root the longest existing suffix is used.
    """
    parts = steps(text)
    tries = [steps(path) + parts, parts]
    absolute = text.startswith(("/", "\\")) or path.startswith(("/", "\\")) or ":" in text + path
    if parts[:1] == [root.resolve().name]:
        tries.append(parts[1:])
    if absolute:
        tries += [parts[i:] for i in range(1, len(parts))]
    places = (root.joinpath(*some) for some in tries if some)
    return next((p for p in places if p.is_dir() or p.is_file()), None)


def steps(text):
    """Return the parts of a path of any operating system, without those that go up."""
    return [part for part in re.split(r"[\\/]+", text) if part not in ("", ".", "..")]


def images_of(root, place, files, known):
    """Return the images in a folder, or those of a list.

    Raises:
        BadInput: an image of a list does not exist.
    """
    if place.is_dir():
        return [f for f in files if f.suffix.lower() in EXTENSIONS and f.is_relative_to(place)]
    images = []
    for number, line in lines_of(place):
        beside = place.parent.joinpath(*steps(line))
        file = beside if beside in known else by_suffix(root, line, known)
        if not file:
            why = f"line {number} names {line[:80]}, which does not exist"
            raise BadInput(place, why, "Add the image, or remove the line")
        images.append(file)
    return images


def by_suffix(root, line, known):
    """Return the file below a root with the longest suffix of a path, None if there is none."""
    parts = steps(line)
    files = (root.joinpath(*parts[i:]) for i in range(len(parts)))
    return next((file for file in files if file in known), None)
