"""YOLO's text files: one per image, a line per box, in fractions of the image size.

Redmon's Darknet, https://pjreddie.com/darknet/yolo/: `class x y width height`, where x and y are
the centre of the box; or an outline, `class x1 y1 x2 y2 x3 y3 ...`, which is read as its bounding
box. `images/` and `labels/`, each with or without train, val and test, or these with both in each;
or text files beside their images. `data.yaml`, `classes.txt` or `obj.names` names the classes;
`datasets.readers.boxes.yolo_splits` reads the splits of data.yaml or lists of images.
"""

import dataclasses
import pathlib
import re

from datasets.readers import boxes
from datasets.readers.boxes import yolo_splits
from datasets.readers.files import divide, subfolders, walk
from datasets.readers.images import EXTENSIONS
from datasets.source import BadInput, Source

YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAMES = ("classes.txt", "obj.names", "_darknet.labels")
COLUMNS = "class, centre x and y, width, height"
CORRECT = "Correct the line: fractions of width and height, from 0 to 1"
WRITE = "Write `names:` with a line `  - name` per class, or classes.txt with a line per class"
OUTLINE = "the outline of line "
OUTLINES = "its outlines (polygons) are read as their bounding boxes"
LONG = 4096  # maximum length of a line in data.yaml
QUOTED = r"""'((?:[^'\\]|'')*)'|"([^"\\]*)\""""
INDEX = r"""(?:['"]?(\d{1,6})['"]?\s*:\s+)"""
BLOCK = re.compile(
    rf"""\s*(?:-\s+|{INDEX})(?:{QUOTED}|([^\s'"&*!|>%@`\[\]{{}}#,?:-](?:(?!:\s|:$).)*?))(?:\s+\#.*)?\s*"""
)  # a line of a list or a mapping
FLOW = re.compile(rf"""{INDEX}?(?:{QUOTED}|([^\s'"&*!|>%@`\[\]{{}}#,?:-][^\n,\[\]{{}}#:]*))""")
GAP = re.compile(r"(?:\s|#[^\n]*)*")  # between items in brackets


def match(path: pathlib.Path) -> bool:
    """Return whether a folder contains text files in folders of labels, or beside images."""
    if not path.is_dir():
        return False
    files = walk(path)
    texts = [boxes.place(file, path) for file in label_files(files)]
    images = {boxes.place(file, path)[::2] for file in divide(files, EXTENSIONS)[0]}
    return any(role == "annotation" or (split, key) in images for split, role, key in texts)


def read(path: pathlib.Path) -> Source:
    """Pair images with their text files, by name; folders named train, val or test are splits.

    An image without a text file has no objects, if its split has a folder of labels; otherwise its
    example raises `BadInput`, as do examples whose lines or image cannot be read, and text files in
    such a folder without an image.

    Raises:
        BadInput: the classes have no names, a name occurs twice, or only some files are in a split.
    """
    files = walk(path)
    lists, classes = read_classes(path)
    yaml = next((file for file in lists if file.name.lower() in YAML), None)
    owner, notices, split_lists = yolo_splits.assigned(path, files, yaml, yaml_values)
    by_folders = not owner
    images = boxes.by_place(divide(files, EXTENSIONS)[0], path, "image", by_folders)
    folders = [inner for outer in subfolders(path) for inner in (outer, *subfolders(outer))]
    folders = [boxes.place(folder / "any", path) for folder in folders]
    labelled = {split for split, role, _ in folders if role == "annotation"}
    notes = [file for file in label_files(files) if file not in split_lists]
    if not labelled:  # a readme.txt is not a label file
        notes = [file for file in notes if boxes.place(file, path)[::2] in images]
    notes = boxes.by_place(notes, path, "annotation", by_folders)
    pairs = [
        boxes.Pair(
            split=place[0],
            name=boxes.title(path, images.get(place), notes.get(place)),
            image=images.get(place),
            annotation=notes.get(place),
            what=notes.get(place) or images[place],
        )
        for place in images.keys() | notes.keys()
    ]
    unlabelled = {
        pair.image for pair in pairs if not pair.annotation and pair.split not in labelled
    }
    pairs, more = placed(pairs, owner)
    pairs, others = without_test(pairs, unlabelled)
    used = {file for pair in pairs for file in (pair.image, pair.annotation) if file} | set(lists)
    used |= set(split_lists)
    return boxes.source(
        path,
        classes,
        sorted(pairs, key=lambda pair: pair.name),
        lambda pair: read_pair(pair, len(classes), lists[0].name, pair.image not in unlabelled),
        used=sorted(used),
        ignored=[file for file in files if file not in used],
        notes=[*notices, *more, *others],
        boxed=[
            s for s in {pair.split for pair in pairs} if any(map(has_boxes, of_split(pairs, s)))
        ],
    )


def placed(pairs, owner):
    """Return the pairs in the named splits, {image: split}, without those in no split; and notes.

    A split that is not named may still be a folder; a label without an image is in no split.
    """
    if not owner:
        return pairs, []
    named = set(owner.values())
    result = []
    for pair in pairs:
        folder_split = pair.split if pair.split not in named or not pair.image else None
        if split := owner.get(pair.image, folder_split):
            result.append(dataclasses.replace(pair, split=split))
    dropped = len(pairs) - len(result)
    return result, [f"{dropped:,} images or labels are in no split, and are left out"] * bool(
        dropped
    )


def without_test(pairs, unlabelled):
    """Return pairs without an unlabelled test split, and a note on it."""
    test = of_split(pairs, "test")
    if not test or len(test) == len(pairs) or any(p.image not in unlabelled for p in test):
        return pairs, []
    note = f"the {len(test):,} images of test have no labels: they are left out"
    return [pair for pair in pairs if pair.split != "test"], [note]


def of_split(pairs, split):
    """Return the pairs of a split."""
    return [pair for pair in pairs if pair.split == split]


def has_boxes(pair):
    """Return whether a pair has a line of a box, or a file that cannot be read."""
    try:
        return bool(pair.annotation and boxes.read_text(pair.annotation).strip())
    except BadInput:
        return True


def label_files(files):
    """Return the text files that are not lists of classes."""
    return [f for f in files if f.suffix.lower() == ".txt" and f.name.lower() not in NAMES]


def read_classes(root):
    """Return the files with the names of the classes, and the names.

    Raises:
        BadInput: there is no such file, or files differ.
    """
    folders = [f for f in subfolders(root) if boxes.place(f / "any", root)[2] == "any"]
    readers = {root / name: yaml_names for name in YAML}
    readers |= {folder / name: boxes.read_names for folder in (root, *folders) for name in NAMES}
    readers = {file: read_file(file) for file, read_file in readers.items() if file.is_file()}
    if not readers:
        raise BadInput(
            root, "no file names its classes", "Write classes.txt into it, with a line per class"
        )
    (first, names), *rest = readers.items()
    for file, different in rest:
        if different != names:
            why = f"it names {', '.join(different)}, but {first.name} names {', '.join(names)}"
            raise BadInput(file, why, "Keep the correct one")
    return list(readers), names


def read_pair(pair, count, names_file, labelled):
    """Read an example; `labelled` is whether an image without a text file has no objects."""
    if not pair.image:
        raise BadInput(
            pair.annotation, "there is no image with its name", "Add it, or remove the file"
        )
    if not pair.annotation and not labelled:
        raise BadInput(
            pair.image,
            f"there is no {pair.image.stem}.txt, and no folder of labels for its split",
            "Add it, with a line per box, or empty if there are no objects",
        )
    rows, errors = read_rows(pair.annotation, count, names_file) if pair.annotation else ([], [])
    pair_boxes = boxes.Boxes(
        corners=[corners for _, corners, _ in rows],
        labels=[label for label, *_ in rows],
        descriptions=[text for *_, text in rows],
        fractions=True,
        errors=errors,
        notes=[OUTLINES] if any(OUTLINE in text for *_, text in rows) else [],
    )
    return boxes.example(pair.what, pair.image, pair_boxes, CORRECT)


def read_rows(path, count, names_file):
    """Return (class, corners, description) of each box in a text file, and the errors."""
    rows, errors = [], []
    for line, text in enumerate(boxes.read_text(path).splitlines(), 1):
        try:
            rows += read_row(path, line, text.split(), count, names_file)
        except BadInput as error:
            errors.append(error)
    return rows, errors


def read_row(path, line, words, count, names_file):
    """Return a list of the (class, corners, description) of a line, empty for a blank line.

    Raises:
        BadInput: it has neither five numbers nor an outline, or its class is not below `count`.
    """
    if not words:
        return []
    values = [boxes.number(word) for word in words]
    outline = len(words) >= 7 and len(words) % 2
    if len(words) != 5 and not outline:
        why = f"line {line} has {len(words)} columns, not 5 ({COLUMNS})"
        raise BadInput(path, why, "Export boxes or outlines, without probabilities")
    if None in values:
        word = words[values.index(None)]
        raise BadInput(path, f"line {line}: {word[:40]!r} is not a number", CORRECT)
    label, *places = values
    if not (label.is_integer() and 0 <= label < count):
        why = f"line {line} is of class {words[0]}, but {names_file} names 0 to {count - 1}"
        raise BadInput(path, why, "Correct the line, or name all classes")
    if outline:
        x, y = places[::2], places[1::2]
        corners = min(x), min(y), max(x), max(y)
        return [(int(label), corners, f"{OUTLINE}{line}")]
    x, y, w, h = places
    text = f"the box of line {line} (x {x:g}, y {y:g}, width {w:g}, height {h:g})"
    return [(int(label), (x - w / 2, y - h / 2, x + w / 2, y + h / 2), text)]


def yaml_names(path: pathlib.Path) -> tuple[str, ...]:
    """Read `names` of a .yaml file: a list, or a mapping from 0, in lines or in brackets.

    Only this part of YAML is supported; anything else raises an error.

    Raises:
        BadInput: there are no names, they have another format, or `nc` is not their number.
    """
    text = boxes.read_text(path)
    head = re.search(r"^names[ \t]*:[ \t]*(?:#.*)?", text, re.MULTILINE)
    if not head:
        raise BadInput(path, "it has no names", WRITE)
    first = text.count("\n", 0, head.start()) + 1
    opening = text[head.end() : head.end() + 1] in ("[", "{")
    entries = in_brackets(path, text, head.end()) if opening else in_lines(path, text, first)
    keys = [key for key, _ in entries if key is not None]
    if keys and sorted(keys) != list(range(len(entries))):
        raise BadInput(path, f"its names are not numbered 0 to {len(entries) - 1}", WRITE)
    entries = sorted(entries, key=lambda item: item[0]) if keys else entries
    names = boxes.checked(path, [name for _, name in entries])
    count = re.search(r"^nc[ \t]*:[ \t]*(\d{1,6})", text, re.MULTILINE)
    if count and int(count[1]) != len(names):
        raise BadInput(path, f"nc is {count[1]}, but it names {len(names)}", "Correct it")
    return names


def yaml_values(path: pathlib.Path, key: str) -> list[str]:
    """Return the list of texts of a key of a .yaml file; empty if the key is missing.

    Raises:
        BadInput: a list has another format than in data.yaml.
    """
    text = boxes.read_text(path)
    head = re.search(rf"^{key}[ \t]*:(?=\s|$)[ \t]*([^\n]*)", text, re.MULTILINE)
    if not head:
        return []
    value = re.sub(r"(^|\s)#.*", "", head[1][:LONG]).strip()
    if value.startswith("["):
        return [name for _, name in in_brackets(path, text, head.start(1))]
    if value:
        return [value.strip("'\"")] if value.lower() not in ("null", "~") else []
    first = text.count("\n", 0, head.start()) + 1
    return [name for _, name in in_lines(path, text, first, key)]


def in_lines(path, text, first, key="names"):
    """Return (number or None, name) of the lines that follow line `first`."""
    entries = []
    for number, line in enumerate(text.split("\n")[first - 1 :], first):
        if number == first:
            line = re.sub(rf"^{key}[ \t]*:[ \t]*", "", line)
        elif line.strip() and not re.match(r"[\s#-]", line):
            break  # the next key
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        line = line.rstrip()
        item = BLOCK.fullmatch(line) if number > first and len(line) <= LONG else None
        if not item:
            raise BadInput(path, f"line {number} cannot be parsed: {line.strip()[:60]}", WRITE)
        entries.append(entry(item))
    return entries


def in_brackets(path, text, place):
    """Return (number or None, name) of the items in the brackets that open at a position."""
    entries, closing = [], {"[": "]", "{": "}"}[text[place]]
    place = GAP.match(text, place + 1).end()
    while text[place : place + 1] != closing:
        item = FLOW.match(text, place)
        end = GAP.match(text, item.end()).end() if item else place
        if not item or text[end : end + 1] not in (",", closing):
            line = text.count("\n", 0, place) + 1
            raise BadInput(path, f"its names cannot be parsed in line {line}", WRITE)
        entries.append(entry(item))
        place = GAP.match(text, end + 1).end() if text[end] == "," else end
    return entries


def entry(item):
    """Return (number or None, name) of a match of `BLOCK` or `FLOW`."""
    key, single, double, plain = item.groups()
    name = single.replace("''", "'") if single is not None else double
    return None if key is None else int(key), (plain if name is None else name).strip()
