"""Class folders: the folder of a file is its class.

`root/<class>/files` has no splits; `root/{train,validation,test}/<class>/files`, and
`root/<class>/{train,test}/files`, have official splits. Files can be of any kind. Folders
with a single folder, as in archives, are looked through: `root/archive/<class>/files`.
"""

import pathlib
from collections.abc import Callable, Sequence

from datasets.readers.files import divide, one_or_no_split, safe_name, split_of, subfolders, walk
from datasets.source import SPLITS, BadInput, Examples, Source, fingerprint, printable

LEVELS = 3  # folders that are looked through


def match(path: pathlib.Path, extensions: Sequence[str]) -> bool:
    """Return whether a path is a folder whose subfolders contain files of these extensions."""
    if not path.is_dir() or not subfolders(path):
        return False
    return any(len(file.relative_to(path).parts) > 1 for file in divide(walk(path), extensions)[0])


def read(
    path: pathlib.Path, extensions: Sequence[str], read_file: Callable, by_class: bool = False
) -> Source:
    """Return the files of class folders as examples.

    Args:
        path: the root folder, or one up to `LEVELS` folders above it, see `root_of`.
        extensions: of the files that are examples (".ply", ...); others are counted in
            info["ignored"].
        read_file: function from a file to a dictionary of arrays; `label`, the class index, is
            added.
        by_class: a split may have classes that others have not.

    Raises:
        BadInput: a class is empty or, unless `by_class`, not in all splits, or there is only one.
    """
    files, ignored = divide(walk(path), extensions)
    loose = [file for file in files if file.parent == path]
    if loose:
        raise BadInput(
            loose[0], "it is beside the class folders, not in one", "Move it into its class folder"
        )
    root = root_of(path, files)
    official = has_splits(root, files)
    placed = [(file, *place(file, root, official)) for file in files]
    one_or_no_split(placed)
    check_filled(root, {(split, name) for _, split, name in placed}, extensions, official)
    known = SPLITS if by_class else ("train",)
    classes = sorted({name for _, split, name in placed if split in (None, *known)})
    check_classes(root, placed, classes)

    index = {name: i for i, name in enumerate(classes)}

    def read_example(item):
        file, _, name = item
        return {**read_file(file), "label": index[name]}

    def title(item):
        return item[0].relative_to(path).as_posix()

    def label(item):
        return index[item[2]]

    by_split = {s: [item for item in placed if (item[1] or "train") == s] for s in SPLITS}
    info = {"ignored": ignored} if ignored else {}
    if root != path:
        inner = printable(root.relative_to(path).as_posix())
        info["notes"] = [f"the class folders are those in {inner}/"]
    return Source(
        name=safe_name(path),
        fingerprint=fingerprint(files, root),
        classes=tuple(map(printable, classes)),
        splits={
            s: Examples.of(items, read_example, title, label)
            for s, items in by_split.items()
            if items
        },
        info=info,
    )


def root_of(path: pathlib.Path, files: Sequence[pathlib.Path]) -> pathlib.Path:
    """Return the folder of the class folders: below folders with no files but in one folder.

    Args:
        path: the folder that the user gives.
        files: the files that are examples.

    Returns:
        The folder, at most `LEVELS` below `path`. A folder that is a class or a split, by its
        files or its name, is not looked through.
    """
    root, filled = path, {file.parent for file in files}
    for _ in range(LEVELS):
        folders = subfolders(root)
        if len(folders) != 1 or split_of(folders[0].name) or {root, folders[0]} & filled:
            break
        if any(split_of(p.name) and p in filled for p in subfolders(folders[0])):
            break  # the splits of a single class
        root = folders[0]
    return root


def has_splits(root, files):
    """Return whether folders named train, val or test are splits; otherwise they are classes.

    "train" is a class if other folders are not splits and it contains files directly.
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
        raise BadInput(file, "it is in a split but in no class", "Move it into its class folder")
    return None, folders[0]


def check_filled(root, filled, extensions, official):
    """Raise if a class folder has no file to read: its class would be dropped silently."""
    for folder in subfolders(root):
        split = split_of(folder.name) if official else None
        for inner in subfolders(folder) if split else [folder]:
            splits = [where for where, name in filled if name == inner.name]
            if not splits or (split and split not in splits):
                raise BadInput(
                    inner,
                    "the class folder is empty: it has no files of " + " ".join(extensions),
                    "Fill it or remove it",
                )


def check_classes(root, placed, classes):
    """Raise unless there are at least two classes, and training has all of them."""
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
            f"a classifier needs at least two classes, but there are {classes}",
            "Give the folder of the class folders",
        )
