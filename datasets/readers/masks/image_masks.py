"""Images with masks: `mask_pairs` finds them, `mask_classes` knows what their values mean."""

import os
import pathlib
from collections import Counter

import numpy as np

from datasets.readers.files import divide, safe_name, walk
from datasets.readers.images import read_picture, read_size, turned
from datasets.readers.masks import mask_classes, mask_files, mask_pairs
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint

match = mask_pairs.match
TILE = 640  # pixels a side up to which a whole image is one piece
SMALLER = (256, 192)  # pixels a side, of tiles of large images, and where there are few
ENOUGH = 256  # tiles: with fewer an epoch is a few steps, and smaller tiles teach the same
STEP = 32  # what a tile's sides are multiples of: five halvings
RARE = 0.01  # share of the pixels below which a class is told to be rare
TURNED = "its EXIF data turn the image, and its mask, drawn on the pixels as stored, is turned too"
UNDECIDED = (
    "its EXIF data turn the image; its mask is taken as drawn on the turned image, as labelling "
    "tools show it (if it was not, remove the EXIF orientation)"
)


def read(path: pathlib.Path, masks: str | None = None, mask_suffix: str | None = None) -> Source:
    """Pair images with their masks; folders named train, val or test are official splits.

    All masks are read once to know which values there are; `datasets.readers.masks.mask_classes`
    says what they mean. An image or mask that cannot be read, or whose sizes differ, is one example
    that raises `BadInput`.

    Args:
        path: the folder.
        masks: the folder of the masks, a name or a path, where several could be.
        mask_suffix: what follows the image's name in the mask's, likewise.

    Raises:
        BadInput: what is paired is not clear, see `mask_pairs.find`, or the classes are not.
    """
    list_file = mask_classes.find_list(path)
    files, ignored = divide(walk(path), mask_files.EXTENSIONS)
    pairs, notes, lists = mask_pairs.find(path, files, masks, mask_suffix)
    lists += [list_file] if list_file else []
    used = [file for pair in pairs for file in (pair.image, *pair.masks)] + lists
    ignored = Counter(ignored) + Counter(file.suffix.lower() for file in set(files) - set(used))
    ignored -= Counter(file.suffix.lower() for file in lists)
    listed = mask_classes.read_list(list_file) if list_file else None
    colours = bool(listed and listed.colours)
    survey = Survey([pair.masks for pair in pairs], listed)
    meant = mask_classes.meaning(survey.values, listed)

    def read_one(pair):
        picture = read_picture(pair.image)
        raw = mask_files.union(pair.masks, colours)
        raw, more = aligned(pair.masks[0], pair.image, picture, raw)
        example = {
            "image": picture.pixels,
            "segmentation_mask": mask_classes.mapped(pair.masks[0], raw, meant),
        }
        found = (*picture.notes, *more)
        return {**example, "notes": found} if found else example

    def title(pair):
        return pair.image.relative_to(path).as_posix()

    by_split = {s: [pair for pair in pairs if (pair.split or "train") == s] for s in SPLITS}
    notes += survey.notes(meant)
    root = pathlib.Path(os.path.commonpath([path.resolve(), *(f.resolve() for f in used)]))
    inside = all(file.is_relative_to(path) for file in used)
    info = {"ignored": dict(sorted(ignored.items()))} if ignored else {}
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(used, path) if inside else fingerprint(absolute(used), root),
        classes=meant.classes,
        splits={s: Examples.of(some, read_one, title) for s, some in by_split.items() if some},
        info={**info, **({"notes": notes} if notes else {})},
        options=suggested_tiles([(pair.split, pair.image) for pair in pairs]),
    )


def absolute(files):
    """Return files by their whole paths."""
    return [file.resolve() for file in files]


def aligned(file, image, picture, raw):
    """Return the mask as the upright image lies, and notes on what was decided.

    Labelling tools show a picture upright, and programs that know nothing of EXIF data do not. The
    size tells which it was, unless a half turn or a square has the same.

    Raises:
        BadInput: the mask has another size than the image.
    """
    shape, orientation = picture.pixels.shape[:2], picture.orientation
    if raw.shape[:2] == shape:
        undecided = orientation != 1 and turned(raw, orientation).shape[:2] == shape
        return raw, [UNDECIDED] * undecided
    if orientation != 1 and turned(raw, orientation).shape[:2] == shape:
        return turned(raw, orientation), [TURNED]
    raise BadInput(
        file,
        f"the mask has {size(raw)} pixels and the image {image.name} {size(picture.pixels)}",
        "Give both the same size",
    )


class Survey:
    """What the values of all single-channel masks are.

    Args:
        masks: for each image the files of its masks.
        listed: the list of classes, or None.

    Attributes:
        values: {value: the mask where it occurs first}.
        pixels: {value: how many pixels have it}.
        constant: {value: how many masks hold it alone}.
        count: how many masks could be read.

    Raises:
        BadInput: no mask can be read, or one is in colours and there is no list of them.
    """

    def __init__(self, masks, listed):
        self.values, self.pixels, self.constant, self.count = {}, Counter(), Counter(), 0
        colours, first_error = bool(listed and listed.colours), None
        for files in masks:
            try:
                raw = mask_files.union(files, colours)
            except BadInput as error:  # raised again when the example is read
                first_error = first_error or error
                continue
            self.count += 1
            if raw.ndim == 2:
                self.add(files[0], raw)
            elif not colours:
                mask_classes.mapped(files[0], raw, mask_classes.Meaning((), {}))
        if not self.count:
            raise first_error

    def add(self, file, raw):
        """Count the values of a mask."""
        found, counts = np.unique(raw, return_counts=True)
        found = found.tolist()
        self.pixels.update(dict(zip(found, counts.tolist(), strict=True)))
        if len(found) == 1:
            self.constant[found[0]] += 1
        for value in found:
            self.values.setdefault(value, file)

    def notes(self, meant):
        """Return sentences on classes that are rare, and on masks of one class alone."""
        shares, alone = Counter(), Counter()
        for value, count in self.pixels.items():
            shares[meant.values.get(value, -1)] += count
        for value, count in self.constant.items():
            alone[meant.values.get(value, -1)] += count
        known = sum(count for index, count in shares.items() if index >= 0)
        out = [
            f"class {meant.classes[index]} is rare: {shares[index] / known:.2%} of the pixels"
            for index in sorted(shares)
            if index >= 0 and shares[index] < RARE * known
        ]
        return out + [
            f"{count:,} of {self.count:,} masks hold {meant.classes[index]} alone"
            for index, count in sorted(alone.items())
            if index >= 0
        ]


def suggested_tiles(placed):
    """Suggest tiles as large as the images, or smaller ones where there are few images.

    Args:
        placed: (split or None, image) of each image.

    Returns:
        Options "tile_height" and "tile_width", pixels; none where the task's own tiles suit.
    """
    sizes = []
    for split, image in placed:
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
