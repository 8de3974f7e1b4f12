"""Labelled scans: point clouds whose files have a class for each point.

Airborne surveys have ASPRS classification codes; .ply, .pcd, .npz and text files a label column;
.bin scans a .label file.
"""

import functools
import pathlib

import numpy as np

from datasets.readers.clouds import EXTENSIONS, extension, read_cloud, semantic_kitti
from datasets.readers.clouds.las import CLASS_NAMES
from datasets.readers.clouds.semantic_kitti import mapped
from datasets.readers.clouds.units import check_hints
from datasets.readers.clouds.velodyne import label_path
from datasets.readers.files import divide, one_or_no_split, safe_name, split_of, walk
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint

BLOCK = 10.0  # metres, the size of a block of a survey: about a house
BLOCK_POINTS = 512  # wanted number of points per block
FEWEST_BLOCKS = 32  # minimum number of blocks: a block is an example
LARGEST_BLOCK = 160.0  # metres
MAX_CLASSES = 256  # more are probably instances, or intensities
SURVEYS = (".las", ".laz")


def match(path: pathlib.Path, **hints) -> bool:
    """Return whether a path is a cloud, or a folder with clouds."""
    if path.is_file():
        return extension(path) is not None
    return path.is_dir() and bool(divide(walk(path), EXTENSIONS)[0])


def read(path: pathlib.Path, **hints) -> Source:
    """Return labelled scans as examples; folders named train, val or test are official splits.

    All labels are read once to determine the classes, which get indices 0 to K - 1 in the order of
    their codes. -1 means no class: code 0 of surveys and .label files, negative labels elsewhere. A
    survey is cut into blocks, whose size depends on its density.
    A scan that cannot be read is one example that raises `BadInput`.

    Args:
        path: the file or folder.
        **hints: hints on the files, see `read_cloud`.

    Raises:
        BadInput: no file has labels, only some files are in a split, or a hint is invalid.
    """
    check_hints(**hints)
    root = path if path.is_dir() else path.parent
    files, ignored = divide(walk(path), EXTENSIONS) if path.is_dir() else ([path], {})
    placed = [(file, split_of(file.relative_to(root).parts[0])) for file in files]
    one_or_no_split(placed)

    load.cache_clear()  # files may have changed since
    codes, blocks, first_error = set(), [], None
    for file, _ in placed:
        try:
            cloud = load(file, **hints)
            codes |= set(np.unique(cloud["labels"]).tolist())
            blocks.append(block_of(cloud["points"]) if meaning(file) == "survey" else BLOCK)
        except BadInput as error:  # raised again when the example is read
            first_error = first_error or error
    if not codes and first_error:
        raise first_error
    index, classes = name_classes(path, codes, {meaning(file) for file in files})

    def read_scan(file):
        cloud = load(file, **hints)
        labels = mapped(file, cloud["labels"], index)
        notes = {"notes": cloud["notes"]} if "notes" in cloud else {}
        return {"points": cloud["points"], "labels": labels, **notes}

    by_split = {s: [file for file, split in placed if (split or "train") == s] for s in SPLITS}
    examples_of = functools.partial(
        Examples.of, read=read_scan, name=lambda f: f.relative_to(root).as_posix()
    )
    labels = [label for file in files if file.suffix == ".bin" and (label := label_path(file))]
    survey, info = any(meaning(file) == "survey" for file in files), {}
    block = float(np.median(blocks))
    if survey and block > BLOCK:
        why = f"blocks of {BLOCK:g} m have fewer than {BLOCK_POINTS} points"
        info["notes"] = [f"cut into blocks of {block:g} m: {why} (--set block=METRES)"]
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(files + labels, root),
        classes=classes,
        splits={
            s: examples_of(files_of_split)
            for s, files_of_split in by_split.items()
            if files_of_split
        },
        info=info | ({"ignored": ignored} if ignored else {}),
        options={"block": block} if survey else {},
    )


@functools.lru_cache(maxsize=1)  # a single scan is read first for its classes, then for its points
def load(file: pathlib.Path, **hints) -> dict:
    """Read a labelled cloud."""
    cloud = read_cloud(file, **hints)
    if "labels" not in cloud:
        raise BadInput(
            file,
            "it has no labels for its points",
            "Add a column label (.ply .pcd .csv), an array labels (.npz), a .label file (.bin) "
            "or classification codes (.las)",
        )
    return cloud


def block_of(points):
    """Return the side in metres of the blocks of a survey, from its density.

    It is doubled until the median block has `BLOCK_POINTS` points: with fewer points than the input
    size of a model, points are repeated and there is little context.
    """
    block = BLOCK
    while block < LARGEST_BLOCK:
        cells = np.floor((points[:, :2] - points[:, :2].min(axis=0)) / block).astype(np.int64)
        keys = cells[:, 0] * (int(cells[:, 1].max()) + 1) + cells[:, 1]
        counts = np.unique(keys, return_counts=True)[1]
        if np.median(counts) >= BLOCK_POINTS or len(counts) < FEWEST_BLOCKS:
            break
        block *= 2
    return block


def meaning(file):
    """Return the kind of the codes: of ASPRS (survey), of SemanticKITTI (scan) or other (table)."""
    suffix = file.suffix.lower()
    return "survey" if suffix in SURVEYS else "scan" if suffix == ".bin" else "table"


def name_classes(path, codes, meanings):
    """Return {code: index} and the classes' names.

    Raises:
        BadInput: codes of different meaning are mixed, or there are too few or too many.
    """
    if len(meanings) > 1:
        raise BadInput(
            path,
            "surveys, .bin scans and other clouds are in one folder, but their labels have "
            "different meanings",
            "Put each kind into its own folder",
        )
    if meanings == {"scan"} and codes <= set(semantic_kitti.INDEX):
        return semantic_kitti.INDEX, tuple(semantic_kitti.CODES)
    ignored = {c for c in codes if c < 0 or (c == 0 and meanings != {"table"})}
    labelled = sorted(codes - ignored)
    if not 2 <= len(labelled) <= MAX_CLASSES:
        raise BadInput(
            path,
            f"its labels have {len(labelled)} classes ({labelled[:5]})",
            f"Label the points with 2 to {MAX_CLASSES} classes",
        )
    names = CLASS_NAMES if meanings == {"survey"} else {}
    index = {code: i for i, code in enumerate(labelled)} | dict.fromkeys(ignored, -1)
    return index, tuple(names.get(code, f"class {code}") for code in labelled)
