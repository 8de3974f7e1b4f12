"""Images with masks: folders of both, paired by name, with or without splits.

`images/1.png` and `masks/1.png`, `train/images/` and `train/masks/`, `images/train/` and
`masks/train/`, `train/` and `trainannot/`: in all of them the folders say which split a file is in
and whether it is an image or a mask.
"""

import pathlib
import re
from collections import Counter, defaultdict

import numpy as np

from datasets.readers import mask_classes
from datasets.readers.files import (
    SPLIT_FOLDERS,
    divide,
    one_or_no_split,
    safe_name,
    subfolders,
    walk,
)
from datasets.readers.images import EXTENSIONS, read_image, read_mask, read_size
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot")
FOLDER = re.compile(f"({'|'.join(SPLIT_FOLDERS)})?[_-]?({'|'.join(IMAGES + MASKS)})?")
SUFFIX = re.compile("_(mask|labels?|seg|gt|l)$", re.IGNORECASE)  # of a mask's name, not its image's
SHOWN = 3  # files that a message names
TILE = 640  # pixels a side up to which a whole image is one piece
SMALLER = (256, 192)  # pixels a side, of tiles of large images, and where there are few
ENOUGH = 256  # tiles: with fewer an epoch is a few steps, and smaller tiles teach the same
STEP = 32  # what a tile's sides are multiples of: five halvings


def match(path: pathlib.Path) -> bool:
    """Tell whether a folder holds folders of images and folders of masks."""
    if not path.is_dir():
        return False
    folders = [inner for outer in subfolders(path) for inner in (outer, *subfolders(outer))]
    return {"image", "mask"} <= {place(folder / "any", path)[1] for folder in folders}


def read(path: pathlib.Path) -> Source:
    """Pair images with their masks; folders named train, val or test are official splits.

    All masks are read once to know which values there are; `datasets.readers.mask_classes` says
    what they mean. An image or mask that cannot be read, or whose sizes differ, is one example
    that raises `BadInput`.

    Raises:
        BadInput: an image has no mask, a mask no image, a name occurs twice, only some images are
            in a split, or the classes are not clear.
    """
    list_file = mask_classes.find_list(path)
    files, ignored = divide(walk(path), EXTENSIONS)
    ignored = Counter(ignored)
    if list_file:
        ignored[list_file.suffix.lower()] -= 1
    images, masks = defaultdict(list), defaultdict(list)
    for file in files:
        split, role, key = place(file, path)
        if role == "image":
            images[split, key].append(file)
        elif role == "mask":
            masks[split, key].append(file)
        else:
            ignored[file.suffix.lower()] += 1
    pairs = paired(path, images, masks)
    one_or_no_split([(image, split) for split, image, _ in pairs])
    listed = mask_classes.read_list(list_file) if list_file else None
    colours = bool(listed and listed.colours)
    meant = mask_classes.meaning(survey([mask for *_, mask in pairs], listed), listed)

    def read_one(item):
        image, mask = item
        example = {"image": read_image(image)}
        raw = read_mask(mask, colours)
        if raw.shape[:2] != example["image"].shape[:2]:
            raise BadInput(
                mask,
                f"the mask has {size(raw)} pixels and the image {image.name} "
                f"{size(example['image'])}",
                "Give both the same size",
            )
        return {**example, "segmentation_mask": mask_classes.mapped(mask, raw, meant)}

    def title(item):
        return item[0].relative_to(path).as_posix()

    by_split = {
        s: [(image, mask) for split, image, mask in pairs if (split or "train") == s]
        for s in SPLITS
    }
    used = [file for _, *both in pairs for file in both] + ([list_file] if list_file else [])
    info = {"ignored": {suffix: n for suffix, n in sorted(ignored.items()) if n}}
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(used, path),
        classes=meant.classes,
        splits={s: Examples.of(some, read_one, title) for s, some in by_split.items() if some},
        info=info if info["ignored"] else {},
        options=suggested_tiles(pairs),
    )


def place(file, root):
    """Return (split, "image" or "mask", the rest of the path without extension) of a file.

    Split and role are None where no folder says them; an image is what lies in a split otherwise.
    """
    *folders, _ = file.relative_to(root).parts
    split = role = None
    for depth, folder in enumerate(folders[:2]):
        found = FOLDER.fullmatch(folder.lower())
        in_split, in_role = found.groups() if found else (None, None)
        if not (in_split or in_role) or (in_split and split) or (in_role and role):
            folders = folders[depth:]
            break
        split, role = SPLIT_FOLDERS.get(in_split, split), in_role or role
    else:
        folders = folders[2:]
    role = "mask" if role in MASKS else "image" if role or split else None
    return split, role, "/".join([*folders, file.stem])


def paired(root, images, masks):
    """Pair images and masks, both {(split, key): files}, into a list of (split, image, mask).

    Raises:
        BadInput: some have no partner, or several; names the first and counts all.
    """
    partners = defaultdict(list)
    for (split, key), files in masks.items():
        own = (split, key) if (split, key) in images else (split, SUFFIX.sub("", key))
        partners[own] += files
    faults = {
        "images without a mask": [some[0] for key, some in images.items() if key not in partners],
        "masks without an image": [some[0] for key, some in partners.items() if key not in images],
        "files with the name of another": [
            file for some in (*images.values(), *partners.values()) for file in some[1:]
        ],
    }
    said = [f"{what}: {len(some)} ({shown(some, root)})" for what, some in faults.items() if some]
    if said or not images:
        raise BadInput(
            root,
            "; ".join(said) or "its folders hold no images",
            "Give each image one mask of its name, which _mask, _label, _seg, _gt or _L may follow",
        )
    return [(split, files[0], partners[split, key][0]) for (split, key), files in images.items()]


def survey(masks, listed):
    """Return {value: the mask where it occurs first} over all single-channel masks.

    Raises:
        BadInput: no mask can be read, or one is in colours and there is no list of them.
    """
    values, sound, first_error = {}, 0, None
    colours = bool(listed and listed.colours)
    for mask in masks:
        try:
            raw = read_mask(mask, colours)
        except BadInput as error:  # raised again when the example is read
            first_error = first_error or error
            continue
        sound += 1
        if raw.ndim == 2:
            for value in np.unique(raw).tolist():
                values.setdefault(value, mask)
        elif not colours:
            mask_classes.mapped(mask, raw, mask_classes.Meaning((), {}))
    if not sound:
        raise first_error
    return values


def suggested_tiles(pairs):
    """Suggest tiles as large as the images, or smaller ones where there are few images.

    Args:
        pairs: (split or None, image, mask), as `paired` returns them.

    Returns:
        Options "tile_height" and "tile_width", pixels; none where the task's own tiles suit.
    """
    sizes = []
    for split, image, _ in pairs:
        try:
            sizes.append((split in (None, "train"), read_size(image)))
        except BadInput:  # raised again when the example is read
            continue
    distinct, training = {size for _, size in sizes}, [size for known, size in sizes if known]
    whole = len(distinct) == 1 and max(max(distinct)) <= TILE
    longest = [-(-side // STEP) * STEP for side in min(distinct)] if whole else SMALLER[:1] * 2
    tiles = [[min(side, tile) for side in longest] for tile in (TILE, *SMALLER)]
    counts = [sum(pieces(h, tile[0]) * pieces(w, tile[1]) for h, w in training) for tile in tiles]
    enough = [i for i, count in enumerate(counts) if count >= ENOUGH]
    height, width = tiles[enough[0] if enough else counts.index(max(counts))]
    own = not whole and height == width == SMALLER[0]
    return {} if own else {"tile_height": height, "tile_width": width}


def pieces(length, tile):
    """Return how many tiles, which overlap by a step, cover a length."""
    return 1 if length <= tile else -(-(length - STEP) // (tile - STEP))


def size(array):
    """Return width x height of an array (H, W, ...) in words."""
    return f"{array.shape[1]} x {array.shape[0]}"


def shown(files, root):
    """Return the first files in words."""
    names = ", ".join(file.relative_to(root).as_posix() for file in files[:SHOWN])
    return names + (" ..." if len(files) > SHOWN else "")
