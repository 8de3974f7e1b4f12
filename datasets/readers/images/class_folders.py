"""Class folders: the folder that a file lies in says what the file shows.

`root/<class>/files` has no splits; `root/{train,validation,test}/<class>/files`, and the other way
round `root/<class>/{train,test}/files`, are official ones. Any kind of file can be kept like this.
"""

import pathlib
from collections.abc import Callable, Sequence

from datasets.readers.files import divide, one_or_no_split, safe_name, split_of, subfolders, walk
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint, printable


def match(path: pathlib.Path, extensions: Sequence[str]) -> bool:
    """Tell whether a path is a folder with folders in it that hold files of these extensions."""
    if not path.is_dir() or not subfolders(path):
        return False
    return any(len(file.relative_to(path).parts) > 1 for file in divide(walk(path), extensions)[0])


def read(path: pathlib.Path, extensions: Sequence[str], read_file: Callable) -> Source:
    """List the files of class folders as examples.

    Args:
        path: the root folder.
        extensions: what counts as an example (".ply", ...); others are counted in info["ignored"].
        read_file: turns a file into a dictionary of arrays; `label`, the class' index, is added.

    Raises:
        BadInput: a class is empty, stands in one split only, or is alone.
    """
    files, ignored = divide(walk(path), extensions)
    loose = [file for file in files if file.parent == path]
    if loose:
        raise BadInput(
            loose[0], "it lies beside the class folders, not in one", "Move it into its class"
        )
    official = has_splits(path, files)
    placed = [(file, *place(file, path, official)) for file in files]
    one_or_no_split(placed)
    check_filled(path, {(split, name) for _, split, name in placed}, extensions, official)
    classes = sorted({name for _, split, name in placed if split in (None, "train")})
    check_classes(path, placed, classes)

    index = {name: i for i, name in enumerate(classes)}

    def read_one(item):
        file, _, name = item
        return {**read_file(file), "label": index[name]}

    def title(item):
        return item[0].relative_to(path).as_posix()

    by_split = {s: [item for item in placed if (item[1] or "train") == s] for s in SPLITS}
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(files, path),
        classes=tuple(map(printable, classes)),
        splits={s: Examples.of(some, read_one, title) for s, some in by_split.items() if some},
        info={"ignored": ignored} if ignored else {},
    )


def has_splits(root, files):
    """Tell whether folders named train, val or test are splits: else "train" is a class of trains.

    It is where other folders are no splits and files lie in it directly.
    """
    folders = {file.relative_to(root).parts[:-1] for file in files}
    return all(split_of(top) for top, *_ in folders) or not any(
        split_of(top) and not inner for top, *inner in folders
    )


def place(file, root, official):
    """Return (split or None, class) of a file from the folders that lead to it."""
    folders = file.relative_to(root).parts[:-1]
    if not official:
        return None, folders[0]
    if split_of(folders[0]) and len(folders) > 1:
        return split_of(folders[0]), folders[1]
    if len(folders) > 1 and split_of(folders[1]):
        return split_of(folders[1]), folders[0]
    if split_of(folders[0]):
        raise BadInput(file, "it lies in a split but in no class", "Move it into its class' folder")
    return None, folders[0]


def check_filled(root, filled, extensions, official):
    """Raise if a class folder holds no file that counts: its class would silently not exist."""
    for folder in subfolders(root):
        split = split_of(folder.name) if official else None
        for inner in subfolders(folder) if split else [folder]:
            found = [where for where, name in filled if name == inner.name]
            if not found or (split and split not in found):
                raise BadInput(
                    inner,
                    "the class folder is empty: it holds none of " + " ".join(extensions),
                    "Fill it or remove it",
                )


def check_classes(root, placed, classes):
    """Raise unless there are two classes or more, and training has all of them."""
    known = set(classes)
    for file, split, name in placed:
        if name not in known:
            raise BadInput(
                file.parent,
                f"class {name!r} is in {split} but not in train ({', '.join(classes)})",
                "Use the same class folders in all splits",
            )
    if len(classes) < 2:
        raise BadInput(
            root,
            f"a classifier needs two classes and this has {classes}",
            "Give the folder that holds the class folders",
        )
