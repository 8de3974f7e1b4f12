"""Which files are images, which are their masks, and which split they are in: by folders and names.

- `images/1.png` and `masks/1.png`, `train/images/` and `train/masks/`, `images/train/` and
  `masks/train/`, `train/` and `trainannot/`, `JPEGImages/` and `SegmentationClass/` (VOC, whose
  lists in `ImageSets/Segmentation/` say the splits);
- a folder an image, whose masks each mark one object: `7/images/7.png` and `7/masks/*.png`;
- both in one folder, the mask named after the image: `a.jpg` and `a_mask.png`.

Names in two folders need not be equal: `21_training.tif` and `21_manual1.gif` are paired where all
are different once what all of them share is left out. Where several folders or suffixes could be
those of the masks, the person is asked.
"""

import dataclasses
import os
import pathlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from datasets.readers import images
from datasets.readers.boxes.voc import lists
from datasets.readers.files import SPLIT_FOLDERS, divide, one_or_no_split, shown, subfolders, walk
from datasets.readers.masks import mask_files
from datasets.source import BadInput

IMAGES = ("images", "image", "imgs", "img", "jpegimages")
MASKS = ("masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot")
MASKS += ("groundtruth", "groundtruths", "gt", "segmentationclass")
INPUTS = ("input", "inputs", "data")  # images, in a name that has a split in it: "Training_Data"
OBJECTS = "segmentationobject"  # VOC's numbers of single objects
FOLDER = re.compile(f"({'|'.join(SPLIT_FOLDERS)})?[_-]?({'|'.join(IMAGES + MASKS)})?")
SUFFIX = re.compile("_(mask|labels?|seg|segmentation|gt|l)$", re.IGNORECASE)  # of a mask's name
BETWEEN = "_-. "  # what stands between an image's name and the suffix of its mask's
FEW = 64  # values that a mask has at most, where nothing else says that it is one


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and its masks: one, or several that each mark one object."""

    split: str | None
    image: pathlib.Path
    masks: tuple[pathlib.Path, ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a file lies.

    Attributes:
        file: the file.
        split: "train", "validation", "test" or None.
        role: the folder's word for what is in it, one of `IMAGES` or `MASKS`; or None.
        folders: those that say neither.
    """

    file: pathlib.Path
    split: str | None
    role: str | None
    folders: tuple[str, ...]

    @property
    def key(self):
        """What an image and its mask have in common."""
        return self.split, "/".join([*self.folders, self.file.stem])


def match(path: pathlib.Path, masks: str | None = None, mask_suffix: str | None = None) -> bool:
    """Tell whether a folder holds images and masks, so far as names tell."""
    if not path.is_dir():
        return False
    placed = [place(file, path) for file in candidates(path)]
    if masks or mask_suffix:
        return bool(placed)
    if not placed:  # which is said, if folders are there
        placed = [place(folder / "any", path) for folder in subfolders(path)]
    roles = {kind(each) for each in placed}
    return "image" in roles and bool(choices(placed)) or bool(suffixes(placed))


def find(
    root: pathlib.Path,
    files: Sequence[pathlib.Path],
    masks: str | None = None,
    mask_suffix: str | None = None,
) -> tuple[list[Pair], list[str], list[pathlib.Path]]:
    """Pair the images among files with their masks.

    Args:
        root: the folder that holds them.
        files: images and masks, of any of `mask_files.EXTENSIONS`.
        masks: the folder of the masks, if the person named it.
        mask_suffix: what follows the image's name in the mask's, likewise.

    Returns:
        (pairs, notes on what was decided, files of lists that decided it).

    Raises:
        BadInput: several folders or suffixes could be those of the masks, an image has no mask, a
            mask no image, a name occurs twice, or only some images are in a split.
    """
    placed = [place(file, root) for file in files]
    if masks:
        placed, named = chosen(root, placed, masks)
        notes = []
    else:
        named, notes = groups(root, placed)
    pictures = [each for each in placed if kind(each) == "image" and is_image(each.file)]
    pictures = [each for each in pictures if each.role] or pictures
    if named:
        own = {each.file for each in named}
        pictures = [each for each in pictures if each.file not in own]
    elif placed:
        pictures, named = in_one_folder(root, placed, mask_suffix)
        mask_suffix = None
    if mask_suffix:
        named = [each for each in named if each.file.stem.endswith(mask_suffix)]
        named = [shortened(each, mask_suffix) for each in named]
    listed = lists(root, "Segmentation")
    if listed:
        pictures, named = by_lists(listed, pictures, named)
    elif any(each.role == "segmentationclass" for each in named):  # VOC labels some images
        keys = {each.key for each in named}
        some = [each for each in pictures if each.key in keys]
        left = len(pictures) - len(some)
        notes += [f"{left:,} images have no mask, and are left out"] * bool(left)
        pictures = some
    pairs, more = paired(root, pictures, named)
    one_or_no_split([(pair.image, pair.split) for pair in pairs])
    return pairs, notes + more, list(listed)


def candidates(root):
    """Return the files below a folder that could be images or masks."""
    return divide(walk(root), mask_files.EXTENSIONS)[0]


def is_image(file):
    """Tell whether a file is of a format of images."""
    return file.suffix.lower() in images.EXTENSIONS


def place(file: pathlib.Path, root: pathlib.Path) -> Place:
    """Return where a file lies, by the first folders that name a split and a role."""
    split = role = None
    rest = []
    for folder in file.relative_to(root).parts[:-1]:
        in_split, in_role = words(folder.lower())
        if not (in_split or in_role) or (in_split and split) or (in_role and role):
            rest.append(folder)
        else:
            split, role = SPLIT_FOLDERS.get(in_split, split), in_role or role
    return Place(file, split, role, tuple(rest))


def words(folder):
    """Return the split and the role that the name of a folder holds, None for either it does not.

    "train", "trainannot", "train_masks", and "ISIC2018_Task1_Training_GroundTruth".
    """
    if found := FOLDER.fullmatch(folder):
        return found.groups()
    parts = re.split(r"[_\-. ]+", folder)
    split = next((part for part in parts if part in SPLIT_FOLDERS), None)
    role = parts[-1] if parts[-1] in IMAGES + MASKS else None
    if split and parts[-1] in INPUTS:
        role = IMAGES[0]
    return (split, role) if len(parts) > 1 else (None, None)


def kind(placed):
    """Return "image" or "mask", None if no folder tells: in a split it is an image otherwise."""
    if placed.role in MASKS:
        return "mask"
    return "image" if placed.role or placed.split else None


def choices(placed):
    """Return {name: places} of the folders that could be those of the masks.

    Beside folders for masks by name, these are folders that are no images' and hold as many
    pictures of few values as there are images: DRIVE has `mask/`, the field of view, and
    `1st_manual/`. Their files are placed as masks.
    """
    found, others = defaultdict(list), defaultdict(list)
    counts = Counter(e.split for e in placed if e.role in IMAGES and is_image(e.file))
    for each in placed:
        if each.role in MASKS:
            found[each.role].append(each)
        elif each.role is None and each.folders and each.folders[-1].lower() != OBJECTS:
            others[each.folders].append(each)
    for folders, some in others.items():
        held = Counter(each.split for each in some)
        if any(held[split] == count for split, count in counts.items()) and plausible(some[0]):
            name = "/".join(folders)
            found[name] += [dataclasses.replace(each, role="masks", folders=()) for each in some]
    return found


def groups(root, placed):
    """Return the masks, and notes on where they are, once there is only one folder for them.

    Raises:
        BadInput: there are several, see `choices`.
    """
    found = choices(placed)
    if len(found) > 1:
        where = [*dict.fromkeys(folder_of(root, some[0], name) for name, some in found.items())]
        raise BadInput(
            root,
            f"several folders could be those of the masks: {', '.join(where)}",
            f"Say which one: --masks {where[-1]}",
        )
    notes = [f"masks are taken from {name}/" for name in found if name not in MASKS]
    return [each for some in found.values() for each in some], notes


def folder_of(root, placed, name):
    """Return the name of a folder of masks as it is written."""
    parts = placed.file.relative_to(root).parts[:-1]
    return next((part for part in parts if words(part.lower())[1] == name), name)


def plausible(placed):
    """Tell whether a file can be a mask: of few values."""
    try:
        raw = mask_files.read(placed.file)
    except BadInput:
        return False
    return raw.ndim == 2 and len(set(raw.ravel().tolist())) <= FEW


def chosen(root, placed, folder):
    """Return all places, and those in the folder that the person named: a name or a path.

    Raises:
        BadInput: there is no such folder, or there is nothing in it.
    """
    parts = pathlib.PurePath(folder).parts
    outside = pathlib.Path(folder)
    within = [(each, after(each.file.relative_to(root).parts[:-1], parts)) for each in placed]
    named = [
        dataclasses.replace(
            place(root.joinpath(*rest, each.file.name), root), file=each.file, split=each.split
        )
        for each, rest in within
        if rest is not None
    ]
    if not named and outside.is_dir():
        named = [place(file, outside) for file in candidates(outside)]
    if not named:
        raise BadInput("--masks", f"{folder} is no folder of masks in {root}", "Check the spelling")
    named = [dataclasses.replace(each, role="masks") for each in named]
    own = {each.file for each in named}
    if not any(each.role in IMAGES for each in placed):
        placed = [
            each if each.role or each.file in own else dataclasses.replace(each, role="images")
            for each in placed
        ]
    return placed, named


def after(folders, parts):
    """Return folders without the parts that stand in them in a row; None if they do not."""
    for i in range(len(folders) - len(parts) + 1):
        if folders[i : i + len(parts)] == parts:
            return folders[:i] + folders[i + len(parts) :]
    return None


def suffixes(placed, suffix=None):
    """Return {suffix: {(folder, image's name)}} of files named after an image in their folder.

    Those that few images have are none: there may be a `cell_2.png` beside a `cell.png`.
    """
    stems = defaultdict(set)
    for each in placed:
        if is_image(each.file):
            stems[each.file.parent].add(each.file.stem)
    found = defaultdict(set)
    for each in placed:
        stem, others = each.file.stem, stems[each.file.parent]
        if suffix:
            cuts = [len(stem) - len(suffix)] if stem.endswith(suffix) else []
        else:
            cuts = [i for i, letter in enumerate(stem) if letter in BETWEEN]
        for cut in reversed(cuts):
            if stem[:cut] in others:
                found[stem[cut:]].add((each.file.parent, stem[:cut]))
                break
    most = max(map(len, found.values()), default=0)
    return {name: some for name, some in found.items() if 2 * len(some) >= max(most, 2)}


def in_one_folder(root, placed, suffix):
    """Return images and masks that lie together, told by the suffix of the masks' names.

    Raises:
        BadInput: there are several suffixes, or none.
    """
    all_found = suffixes(placed)
    found = suffixes(placed, suffix) if suffix else all_found
    if len(found) > 1:
        names = sorted(found)
        raise BadInput(
            root,
            f"several masks follow the name of each image: {', '.join(names)}",
            f"Say which: --mask-suffix {names[0]}",
        )
    if not found:
        what = f"--mask-suffix {suffix}" if suffix else root
        raise BadInput(what, "no image has a mask of its name beside it", "Check the names")
    (suffix, _), derived = *found.items(), {**all_found, **found}
    pictures = [
        each
        for each in placed
        if is_image(each.file)
        and not any(
            each.file.stem.endswith(name)
            and (each.file.parent, each.file.stem.removesuffix(name)) in some
            for name, some in derived.items()
        )
    ]
    named = [each for each in placed if each.file.stem.endswith(suffix)]
    return pictures, [shortened(each, suffix) for each in named]


@dataclasses.dataclass(frozen=True)
class Shortened(Place):
    """A mask whose image's name is shorter than its own by a suffix."""

    suffix: str = ""

    @property
    def key(self):
        """What an image and its mask have in common."""
        return self.split, "/".join([*self.folders, self.file.stem.removesuffix(self.suffix)])


def shortened(placed, suffix):
    """Return where a mask lies, as one with a suffix."""
    return Shortened(placed.file, placed.split, placed.role, placed.folders, suffix)


def by_lists(listed, pictures, masks):
    """Return those that VOC's lists name, in their splits; raises `BadInput` if one is missing."""
    found = {each.key[1]: each for each in pictures}, {each.key[1]: each for each in masks}
    out = [], []
    for file, (split, names) in listed.items():
        for name, line in names.items():
            for some, chosen_ones, what in zip(found, out, ("image", "mask"), strict=True):
                if name not in some:
                    raise BadInput(file, f"line {line} names {name}, of which there is no {what}")
                chosen_ones.append(dataclasses.replace(some[name], split=split))
    return out


def paired(root, pictures, masks):
    """Pair images and masks into a list of `Pair`, and say how if not by equal names.

    Raises:
        BadInput: some have no partner, or several; names the first and counts all.
    """
    first, partners = defaultdict(list), defaultdict(list)
    for each in pictures:
        first[each.key].append(each.file)
    for each in masks:
        split, name = each.key
        own = each.key if each.key in first else (split, SUFFIX.sub("", name))
        partners[own].append(each.file)
    faults = {
        "images without a mask": [some[0] for key, some in first.items() if key not in partners],
        "masks without an image": [some[0] for key, some in partners.items() if key not in first],
        "files with the name of another": [
            file for some in (*first.values(), *partners.values()) for file in some[1:]
        ],
    }
    said = [f"{what}: {len(some)} ({shown(some, root)})" for what, some in faults.items() if some]
    if not said and first:
        pairs = [Pair(key[0], some[0], (partners[key][0],)) for key, some in first.items()]
        return pairs, []
    if said and (found := objects(pictures, masks) or by_difference(pictures, masks)):
        return found
    raise BadInput(
        root,
        "; ".join(said) or "its folders hold no images",
        "Give each image one mask of its name, which _mask, _label, _seg, _gt or _L may follow",
    )


def objects(pictures, masks):
    """Pair the only image of each folder with all masks of it; None if there is no such order."""
    owners, marked = defaultdict(list), defaultdict(list)
    for found, some in ((owners, pictures), (marked, masks)):
        for each in some:
            found[each.split, each.folders].append(each.file)
    if owners.keys() != marked.keys() or any(
        len(some) > 1 or not folders for (_, folders), some in owners.items()
    ):
        return None
    pairs = [Pair(key[0], some[0], tuple(marked[key])) for key, some in owners.items()]
    several = sum(len(pair.masks) > 1 for pair in pairs)
    note = f"{several:,} images have several masks each, whose union is the foreground"
    return pairs, [note] * bool(several)


def by_difference(pictures, masks):
    """Pair images and masks whose names are equal without what all share; None if they are not."""
    pairs = []
    splits = {each.split for each in (*pictures, *masks)}
    for split in sorted(splits, key=str):
        left, right = (rests([e for e in some if e.split == split]) for some in (pictures, masks))
        if not left or not right or left.keys() != right.keys():
            return None
        pairs += [Pair(split, file, (right[name],)) for name, file in left.items()]
    if not pairs:
        return None
    first = pairs[0]
    names = f"{first.image.name} with {first.masks[0].name}"
    return pairs, [f"images and masks are paired by where their names differ: {names}"]


def rests(placed):
    """Return {what names do not share: file}; None if two are alike in that.

    What is shared ends before a number begins, and begins behind it: 21 and 22 share no 2.
    """
    names = [each.key[1] for each in placed]
    if len(names) < 2:
        return dict(zip("1", (each.file for each in placed), strict=False))
    start = os.path.commonprefix(names).rstrip("0123456789")
    end = os.path.commonprefix([name[len(start) :][::-1] for name in names])[::-1]
    end = end.lstrip("0123456789")
    found = {
        name[len(start) : len(name) - len(end)]: each.file
        for name, each in zip(names, placed, strict=True)
    }
    return found if len(found) == len(names) else None
