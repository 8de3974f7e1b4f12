"""Which split an image is in, as YOLO's files say: `data.yaml`, or Darknet's lists of images.

`train`, `val` and `test` of a `data.yaml` are folders or lists of images, or several of them, below
its `path`; Darknet's `train.txt` and `valid.txt` name an image a line. Their paths are those of the
machine that wrote them, so that what precedes a folder of the data is left away.
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
    """Return the splits that files beside the images name.

    Args:
        root: the folder of the data.
        files: all files below it.
        yaml: its data.yaml, or None.
        values: (yaml, key) to the list of texts that stand there.

    Returns:
        ({image: split}, notes on what was decided, the lists of images). All are empty where
        nothing is named.

    Raises:
        BadInput: a list names an image that is not there, or one that is in another split.
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
                notes.append(f"{yaml.name}: {text}, named for {split}, is not there")
    if not places:
        for file, split in lists.items():
            places.setdefault(split, []).append(file)
    known, owner = set(files), {}
    for split, some in places.items():
        found = {file: place for place in some for file in held(root, place, files, known)}
        twice = [file for file in found if file in owner]
        if twice and len(twice) == len(found):
            same = owner[twice[0]]
            notes.append(
                f"the images of {split} are those of {same}: they are used for {same} alone"
            )
            continue
        if twice:
            what = f"{len(twice)} images for {split} are for {owner[twice[0]]} as well"
            raise BadInput(found[twice[0]], f"{what} ({shown(twice, root)})", "Let each be in one")
        owner |= dict.fromkeys(found, split)
        used += [place for place in some if place.suffix.lower() == ".txt"]
    if owner:
        what = yaml.name if yaml and not set(used) & set(lists) else "lists of images"
        counts = {split: sum(s == split for s in owner.values()) for split in places}
        counts = ", ".join(f"{count:,} {split}" for split, count in counts.items() if count)
        notes.insert(0, f"splits are those of {what}: {counts}")
    return owner, notes, [*used, *lists]


def list_split(root, file):
    """Return the split of which a file is a list of images, None if it is none."""
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
    """Return the folder or list below a root that a path means, None if it is not there.

    Of a path that begins elsewhere the longest end that is there counts.
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
    """Return the steps of a path of any system, without those that go up."""
    return [part for part in re.split(r"[\\/]+", text) if part not in ("", ".", "..")]


def held(root, place, files, known):
    """Return the images in a folder, or those that a list names.

    Raises:
        BadInput: an image of a list is not there.
    """
    if place.is_dir():
        return [f for f in files if f.suffix.lower() in EXTENSIONS and f.is_relative_to(place)]
    found = []
    for number, line in lines_of(place):
        beside = place.parent.joinpath(*steps(line))
        file = beside if beside in known else ending(root, line, known)
        if not file:
            why = f"line {number} names {line[:80]}, which is not there"
            raise BadInput(place, why, "Add the image, or remove the line")
        found.append(file)
    return found


def ending(root, line, known):
    """Return the file below a root that the longest end of a path names, None if there is none."""
    parts = steps(line)
    files = (root.joinpath(*parts[i:]) for i in range(len(parts)))
    return next((file for file in files if file in known), None)
