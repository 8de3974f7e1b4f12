"""Images with masks: `mask_pairs` pairs them, `mask_classes` interprets the mask values."""

import os
import pathlib
from collections import Counter

import numpy as np

from datasets.readers.files import divide, safe_name, walk
from datasets.readers.images import read_picture, read_size, turned
from datasets.readers.masks import mask_classes, mask_files, mask_pairs
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint

match = mask_pairs.match
TILE = 640  # pixels, the largest side of an image that is not cut
SMALLER = (256, 192)  # pixels, sides of tiles of large images, and of small data sets
ENOUGH = 256  # tiles: with fewer an epoch has too few steps, so smaller tiles are used
STEP = 32  # the sides of a tile are multiples of it: five downsampling steps
RARE = 0.01  # fraction of the pixels below which a class is reported as rare
TURNED = "its EXIF data rotate the image, and its mask, drawn on the stored pixels, is rotated too"
UNDECIDED = (
    "its EXIF data rotate the image; its mask is assumed to be drawn on the rotated image, as "
    "labelling tools show it (if it was not, remove the EXIF orientation)"
)


def read(path: pathlib.Path, masks: str | None = None, mask_suffix: str | None = None) -> Source:
    """Pair images with their masks; folders named train, val or test are official splits.

    All masks are read once to collect their values, which `datasets.readers.masks.mask_classes`
    interprets. An image or mask that cannot be read, or whose sizes differ, is one example that
    raises `BadInput`.

    Args:
        path: the folder.
        masks: the folder of the masks, a name or a path, if it is ambiguous.
        mask_suffix: the suffix of the mask's name after the image's name, if it is ambiguous.

    Raises:
        BadInput: the pairs are ambiguous, see `mask_pairs.find`, or the classes are.
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
    statistics = Statistics([pair.masks for pair in pairs], listed)
    meaning = mask_classes.meaning(statistics.values, listed)

    def read_one(pair):
        picture = read_picture(pair.image)
        raw = mask_files.union(pair.masks, colours)
        raw, mask_notes = aligned(pair.masks[0], pair.image, picture, raw)
        example = {
            "image": picture.pixels,
            "segmentation_mask": mask_classes.mapped(pair.masks[0], raw, meaning),
        }
        all_notes = (*picture.notes, *mask_notes)
        return {**example, "notes": all_notes} if all_notes else example

    def title(pair):
        return pair.image.relative_to(path).as_posix()

    by_split = {s: [pair for pair in pairs if (pair.split or "train") == s] for s in SPLITS}
    notes += statistics.notes(meaning)
    root = pathlib.Path(os.path.commonpath([path.resolve(), *(f.resolve() for f in used)]))
    inside = all(file.is_relative_to(path) for file in used)
    info = {"ignored": dict(sorted(ignored.items()))} if ignored else {}
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(used, path) if inside else fingerprint(absolute(used), root),
        classes=meaning.classes,
        splits={s: Examples.of(some, read_one, title) for s, some in by_split.items() if some},
        info={**info, **({"notes": notes} if notes else {})},
        options=suggested_tiles([(pair.split, pair.image) for pair in pairs]),
    )


def absolute(files):
    """Return the absolute paths of files."""
    return [file.resolve() for file in files]


def aligned(file, image, picture, raw):
    """Return the mask of the upright image, and notes on what was decided.

    Labelling tools show an image upright, programs without EXIF support do not. The size of the
    mask determines which it was, unless it is the same for both.

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
        f"the mask has {size(raw)} pixels, but the image {image.name} has {size(picture.pixels)}",
        "Use the same size for both",
    )


class Statistics:
    """The values of all single-channel masks.

    Args:
        masks: the mask files of each image.
        listed: the list of classes, or None.

    Attributes:
        values: {value: the first mask with it}.
        pixels: {value: number of pixels}.
        constant: {value: number of masks that have only this value}.
        count: number of masks that could be read.

    Raises:
        BadInput: no mask can be read, or one is in colours and there is no list of the colours.
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
        values, counts = np.unique(raw, return_counts=True)
        values = values.tolist()
        self.pixels.update(dict(zip(values, counts.tolist(), strict=True)))
        if len(values) == 1:
            self.constant[values[0]] += 1
        for value in values:
            self.values.setdefault(value, file)

    def notes(self, meaning):
        """Return sentences on rare classes, and on masks of a single class."""
        pixels, single = Counter(), Counter()
        for value, count in self.pixels.items():
            pixels[meaning.values.get(value, -1)] += count
        for value, count in self.constant.items():
            single[meaning.values.get(value, -1)] += count
        known = sum(count for index, count in pixels.items() if index >= 0)
        out = [
            f"class {meaning.classes[index]} is rare: {pixels[index] / known:.2%} of the pixels"
            for index in sorted(pixels)
            if index >= 0 and pixels[index] < RARE * known
        ]
        return out + [
            f"{count:,} of {self.count:,} masks have only {meaning.classes[index]}"
            for index, count in sorted(single.items())
            if index >= 0
        ]


def suggested_tiles(placed):
    """Return tiles as large as the images, or smaller ones if there are few images.

    Args:
        placed: (split or None, image) of each image.

    Returns:
        Options "tile_height" and "tile_width", pixels; empty if the task's defaults are suitable.
    """
    sizes = []
    for split, image in placed:
        try:
            sizes.append((split in (None, "train"), read_size(image)))
        except BadInput:  # raised again when the example is read
            continue
    distinct, training = {size for _, size in sizes}, [size for known, size in sizes if known]
    uncut = len(distinct) == 1 and max(max(distinct)) <= TILE
    longest = [-(-side // STEP) * STEP for side in min(distinct)] if uncut else SMALLER[:1] * 2
    tiles = [[min(side, tile) for side in longest] for tile in (TILE, *SMALLER)]
    counts = [sum(pieces(h, tile[0]) * pieces(w, tile[1]) for h, w in training) for tile in tiles]
    sufficient = [i for i, count in enumerate(counts) if count >= ENOUGH]
    height, width = tiles[sufficient[0] if sufficient else counts.index(max(counts))]
    default = not uncut and height == width == SMALLER[0]
    return {} if default else {"tile_height": height, "tile_width": width}


def pieces(length, tile):
    """Return the number of tiles, overlapping by a step, that cover a length."""
    return 1 if length <= tile else -(-(length - STEP) // (tile - STEP))


def size(array):
    """Return width x height of an array (H, W, ...) as text."""
    return f"{array.shape[1]} x {array.shape[0]}"
