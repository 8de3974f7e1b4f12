"""Pairs of images and masks, and their splits, from the names of folders and files.

- `images/1.png` and `masks/1.png`, `train/images/` and `train/masks/`, `images/train/` and
  `masks/train/`, `train/` and `trainannot/`, `JPEGImages/` and `SegmentationClass/` (VOC, with
  lists of the splits in `ImageSets/Segmentation/`);
- a folder per image, with a mask per object: `7/images/7.png` and `7/masks/*.png`;
- both in one folder, the mask named after the image: `a.jpg` and `a_mask.png`.

Names in two folders need not be equal: `21_training.tif` and `21_manual1.gif` are paired if the
names are still unique without the part that all of them share. If several folders or suffixes are
possible for the masks, the user must choose.
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
INPUTS = ("input", "inputs", "data")  # images, in a name with a split: "Training_Data"
OBJECTS = "segmentationobject"  # VOC's instance masks
FOLDER = re.compile(f"({'|'.join(SPLIT_FOLDERS)})?[_-]?({'|'.join(IMAGES + MASKS)})?")
SUFFIX = re.compile("_(mask|labels?|seg|segmentation|gt|l)$", re.IGNORECASE)  # of a mask's name
BETWEEN = "_-. "  # between an image's name and the suffix of its mask's
FEW = 64  # maximum number of values of a mask, if it has no other indication


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and its masks: one, or several of one object each."""

    split: str | None
    image: pathlib.Path
    masks: tuple[pathlib.Path, ...]


@dataclasses.dataclass(frozen=True)
class Place:
    """The location of a file.

    Attributes:
        file: the file.
        split: "train", "validation", "test" or None.
        role: the name of its folder's role, one of `IMAGES` or `MASKS`; or None.
        folders: the other folders.
    """

    file: pathlib.Path
    split: str | None
    role: str | None
    folders: tuple[str, ...]

    @property
    def key(self):
        """The key that an image and its mask have in common."""
        return self.split, "/".join([*self.folders, self.file.stem])


def match(path: pathlib.Path, masks: str | None = None, mask_suffix: str | None = None) -> bool:
    """Return whether a folder contains images and masks, judging by names."""
    if not path.is_dir():
        return False
    placed = [place(file, path) for file in candidates(path)]
    if masks or mask_suffix:
        return bool(placed)
    if not placed:  # an empty data set raises an error, if its folders exist
        placed = [place(folder / "any", path) for folder in subfolders(path)]
    roles = {kind(item) for item in placed}
    return "image" in roles and bool(choices(placed)) or bool(suffixes(placed))


def find(
    root: pathlib.Path,
    files: Sequence[pathlib.Path],
    masks: str | None = None,
    mask_suffix: str | None = None,
) -> tuple[list[Pair], list[str], list[pathlib.Path]]:
    """Pair images with their masks.

    Args:
        root: the folder of the files.
        files: images and masks, of any of `mask_files.EXTENSIONS`.
        masks: the folder of the masks, if the user named it.
        mask_suffix: the suffix of the mask's name after the image's name, if the user named it.

    Returns:
        (pairs, notes on what was decided, files of lists that were used).

    Raises:
        BadInput: several folders or suffixes are possible for the masks, an image has no mask, a
            mask has no image, a name occurs twice, or only some images are in a split.
    """
    placed = [place(file, root) for file in files]
    if masks:
        placed, named = chosen(root, placed, masks)
        notes = []
    else:
        named, notes = groups(root, placed)
    pictures = [item for item in placed if kind(item) == "image" and is_image(item.file)]
    pictures = [item for item in pictures if item.role] or pictures
    if named:
        masked = {item.file for item in named}
        pictures = [item for item in pictures if item.file not in masked]
    elif placed:
        pictures, named = in_one_folder(root, placed, mask_suffix)
        mask_suffix = None
    if mask_suffix:
        named = [item for item in named if item.file.stem.endswith(mask_suffix)]
        named = [shortened(item, mask_suffix) for item in named]
    listed = lists(root, "Segmentation")
    if listed:
        pictures, named = by_lists(listed, pictures, named)
    elif any(item.role == "segmentationclass" for item in named):  # VOC labels some images
        keys = {item.key for item in named}
        labelled = [item for item in pictures if item.key in keys]
        dropped = len(pictures) - len(labelled)
        notes += [f"{dropped:,} images have no mask, and are left out"] * bool(dropped)
        pictures = labelled
    pairs, pair_notes = paired(root, pictures, named)
    one_or_no_split([(pair.image, pair.split) for pair in pairs])
    return pairs, notes + pair_notes, list(listed)


def candidates(root):
    """Return the files below a folder that may be images or masks."""
    return divide(walk(root), mask_files.EXTENSIONS)[0]


def is_image(file):
    """Return whether a file has an image format."""
    return file.suffix.lower() in images.EXTENSIONS


def place(file: pathlib.Path, root: pathlib.Path) -> Place:
    """Return the `Place` of a file, by the first folders that name a split and a role."""
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
    """Return the split and the role in the name of a folder, each None if it is missing.

    "train", "trainannot", "train_masks", and "ISIC2018_Task1_Training_GroundTruth".
    """
    if result := FOLDER.fullmatch(folder):
        return result.groups()
    parts = re.split(r"[_\-. ]+", folder)
    split = next((part for part in parts if part in SPLIT_FOLDERS), None)
    role = parts[-1] if parts[-1] in IMAGES + MASKS else None
    if split and parts[-1] in INPUTS:
        role = IMAGES[0]
    return (split, role) if len(parts) > 1 else (None, None)


def kind(placed):
    """Return "image" or "mask", or None; in a split the default is an image."""
    if placed.role in MASKS:
        return "mask"
    return "image" if placed.role or placed.split else None


def choices(placed):
    """Return {name: places} of the folders that may be those of the masks.

    Besides folders that are named so, these are folders of neither images nor masks with as many
    files of few values as there are images: DRIVE has `mask/`, the field of view, and
    `1st_manual/`. Their files get the role of masks.
    """
    by_name, unnamed = defaultdict(list), defaultdict(list)
    counts = Counter(e.split for e in placed if e.role in IMAGES and is_image(e.file))
    for item in placed:
        if item.role in MASKS:
            by_name[item.role].append(item)
        elif item.role is None and item.folders and item.folders[-1].lower() != OBJECTS:
            unnamed[item.folders].append(item)
    for folders, some in unnamed.items():
        sizes = Counter(item.split for item in some)
        if any(sizes[split] == count for split, count in counts.items()) and plausible(some[0]):
            name = "/".join(folders)
            by_name[name] += [dataclasses.replace(item, role="masks", folders=()) for item in some]
    return by_name


def groups(root, placed):
    """Return the masks, and notes on their folder, after checking that there is only one.

    Raises:
        BadInput: there are several, see `choices`.
    """
    by_name = choices(placed)
    if len(by_name) > 1:
        folders = [*dict.fromkeys(folder_of(root, some[0], name) for name, some in by_name.items())]
        raise BadInput(
            root,
            f"several folders are possible for the masks: {', '.join(folders)}",
            f"Choose one: --masks {folders[-1]}",
        )
    notes = [f"masks are read from {name}/" for name in by_name if name not in MASKS]
    return [item for some in by_name.values() for item in some], notes


def folder_of(root, placed, name):
    """Return the name of a folder of masks as it is on disk."""
    parts = placed.file.relative_to(root).parts[:-1]
    return next((part for part in parts if words(part.lower())[1] == name), name)


def plausible(placed):
    """Return whether a file can be a mask, that is, has few values."""
    try:
        raw = mask_files.read(placed.file)
    except BadInput:
        return False
    return raw.ndim == 2 and len(set(raw.ravel().tolist())) <= FEW


def chosen(root, placed, folder):
    """Return all places, and those in the folder that the user named: a name or a path.

    Raises:
        BadInput: there is no such folder, or it is empty.
    """
    parts = pathlib.PurePath(folder).parts
    outside = pathlib.Path(folder)
    within = [(item, after(item.file.relative_to(root).parts[:-1], parts)) for item in placed]
    named = [
        dataclasses.replace(
            place(root.joinpath(*rest, item.file.name), root), file=item.file, split=item.split
        )
        for item, rest in within
        if rest is not None
    ]
    if not named and outside.is_dir():
        named = [place(file, outside) for file in candidates(outside)]
    if not named:
        raise BadInput(
            "--masks", f"{folder} is not a folder of masks in {root}", "Check the spelling"
        )
    named = [dataclasses.replace(item, role="masks") for item in named]
    masked = {item.file for item in named}
    if not any(item.role in IMAGES for item in placed):
        placed = [
            item if item.role or item.file in masked else dataclasses.replace(item, role="images")
            for item in placed
        ]
    return placed, named


def after(folders, parts):
    """Return folders without the consecutive parts; None if they do not contain them."""
    for i in range(len(folders) - len(parts) + 1):
        if folders[i : i + len(parts)] == parts:
            return folders[:i] + folders[i + len(parts) :]
    return None


def suffixes(placed, suffix=None):
    """Return {suffix: {(folder, image's name)}} of files named after an image in their folder.

    Suffixes of few images are ignored: there may be a `cell_2.png` beside a `cell.png`.
    """
    stems = defaultdict(set)
    for item in placed:
        if is_image(item.file):
            stems[item.file.parent].add(item.file.stem)
    by_suffix = defaultdict(set)
    for item in placed:
        stem, siblings = item.file.stem, stems[item.file.parent]
        if suffix:
            cuts = [len(stem) - len(suffix)] if stem.endswith(suffix) else []
        else:
            cuts = [i for i, letter in enumerate(stem) if letter in BETWEEN]
        for cut in reversed(cuts):
            if stem[:cut] in siblings:
                by_suffix[stem[cut:]].add((item.file.parent, stem[:cut]))
                break
    largest = max(map(len, by_suffix.values()), default=0)
    return {name: some for name, some in by_suffix.items() if 2 * len(some) >= max(largest, 2)}


def in_one_folder(root, placed, suffix):
    """Return images and masks of one folder, distinguished by the suffix of the masks' names.

    Raises:
        BadInput: there are several suffixes, or none.
    """
    all_suffixes = suffixes(placed)
    by_suffix = suffixes(placed, suffix) if suffix else all_suffixes
    if len(by_suffix) > 1:
        names = sorted(by_suffix)
        raise BadInput(
            root,
            f"each image has masks with several suffixes: {', '.join(names)}",
            f"Choose one: --mask-suffix {names[0]}",
        )
    if not by_suffix:
        what = f"--mask-suffix {suffix}" if suffix else root
        raise BadInput(what, "no image has a mask with its name beside it", "Check the names")
    (suffix, _), derived = *by_suffix.items(), {**all_suffixes, **by_suffix}
    pictures = [
        item
        for item in placed
        if is_image(item.file)
        and not any(
            item.file.stem.endswith(name)
            and (item.file.parent, item.file.stem.removesuffix(name)) in some
            for name, some in derived.items()
        )
    ]
    named = [item for item in placed if item.file.stem.endswith(suffix)]
    return pictures, [shortened(item, suffix) for item in named]


@dataclasses.dataclass(frozen=True)
class Shortened(Place):
    """A mask whose name is that of its image with a suffix."""

    suffix: str = ""

    @property
    def key(self):
        """The key that an image and its mask have in common."""
        return self.split, "/".join([*self.folders, self.file.stem.removesuffix(self.suffix)])


def shortened(placed, suffix):
    """Return the place of a mask with a suffix."""
    return Shortened(placed.file, placed.split, placed.role, placed.folders, suffix)


def by_lists(listed, pictures, masks):
    """Return the files in VOC's lists with their splits; raises `BadInput` if one is missing."""
    available = {item.key[1]: item for item in pictures}, {item.key[1]: item for item in masks}
    selected = [], []
    for file, (split, names) in listed.items():
        for name, line in names.items():
            for some, result, what in zip(available, selected, ("image", "mask"), strict=True):
                if name not in some:
                    raise BadInput(file, f"line {line} names {name}, which has no {what}")
                result.append(dataclasses.replace(some[name], split=split))
    return selected


def paired(root, pictures, masks):
    """Return a list of `Pair`, and a note if they are not paired by equal names.

    Raises:
        BadInput: some have no partner, or several; the message has their number and the first.
    """
    images_by_key, masks_by_key = defaultdict(list), defaultdict(list)
    for item in pictures:
        images_by_key[item.key].append(item.file)
    for item in masks:
        split, name = item.key
        image_key = item.key if item.key in images_by_key else (split, SUFFIX.sub("", name))
        masks_by_key[image_key].append(item.file)
    faults = {
        "images without a mask": [
            some[0] for key, some in images_by_key.items() if key not in masks_by_key
        ],
        "masks without an image": [
            some[0] for key, some in masks_by_key.items() if key not in images_by_key
        ],
        "files with the name of another": [
            file for some in (*images_by_key.values(), *masks_by_key.values()) for file in some[1:]
        ],
    }
    errors = [f"{what}: {len(some)} ({shown(some, root)})" for what, some in faults.items() if some]
    if not errors and images_by_key:
        pairs = [
            Pair(key[0], some[0], (masks_by_key[key][0],)) for key, some in images_by_key.items()
        ]
        return pairs, []
    if errors and (alternative := objects(pictures, masks) or by_difference(pictures, masks)):
        return alternative
    raise BadInput(
        root,
        "; ".join(errors) or "its folders contain no images",
        "Give each image one mask with its name, optionally with _mask, _label, _seg, _gt or _L",
    )


def objects(pictures, masks):
    """Pair the only image of each folder with all masks in it; None if that is not possible."""
    images_of, masks_of = defaultdict(list), defaultdict(list)
    for by_folder, some in ((images_of, pictures), (masks_of, masks)):
        for item in some:
            by_folder[item.split, item.folders].append(item.file)
    if images_of.keys() != masks_of.keys() or any(
        len(some) > 1 or not folders for (_, folders), some in images_of.items()
    ):
        return None
    pairs = [Pair(key[0], some[0], tuple(masks_of[key])) for key, some in images_of.items()]
    several = sum(len(pair.masks) > 1 for pair in pairs)
    note = f"{several:,} images have several masks each, whose union is the foreground"
    return pairs, [note] * bool(several)


def by_difference(pictures, masks):
    """Pair images and masks by the distinct parts of their names; None if these differ."""
    pairs = []
    splits = {item.split for item in (*pictures, *masks)}
    for split in sorted(splits, key=str):
        left, right = (
            distinct_parts([e for e in some if e.split == split]) for some in (pictures, masks)
        )
        if not left or not right or left.keys() != right.keys():
            return None
        pairs += [Pair(split, file, (right[name],)) for name, file in left.items()]
    if not pairs:
        return None
    first = pairs[0]
    names = f"{first.image.name} with {first.masks[0].name}"
    return pairs, [f"images and masks are paired by where their names differ: {names}"]


def distinct_parts(placed):
    """Return {distinct part of the name: file}; None if two parts are equal.

    Numbers are not split: 21 and 22 have no digit in common.
    """
    names = [item.key[1] for item in placed]
    if len(names) < 2:
        return dict(zip("1", (item.file for item in placed), strict=False))
    start = os.path.commonprefix(names).rstrip("0123456789")
    end = os.path.commonprefix([name[len(start) :][::-1] for name in names])[::-1]
    end = end.lstrip("0123456789")
    files = {
        name[len(start) : len(name) - len(end)]: item.file
        for name, item in zip(names, placed, strict=True)
    }
    return files if len(files) == len(names) else None
