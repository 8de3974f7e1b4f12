"""Pascal VOC: an .xml file an image, with the corners of its boxes in pixels.

Everingham et al., IJCV 2010, https://doi.org/10.1007/s11263-009-0275-4. `JPEGImages/`,
`Annotations/` and `ImageSets/Main/{train,val,trainval,test}.txt`; or `images/` and `annotations/`,
or both kinds of files in one folder, with or without folders train, val and test.

Corners are taken as they stand, as edges counted from 0. The challenge itself counts pixels from 1
and includes the last one, so that its edges are xmin - 1 and xmax; but many tools that write these
files give edges, no file says which, and tensorflow-datasets takes them as they stand too. What is
lost is a pixel at the left and the top of boxes of the challenge.
"""

import dataclasses
import pathlib
import re
from xml.parsers import expat

from datasets.readers import boxes
from datasets.readers.files import divide, read_bytes, walk
from datasets.readers.images import EXTENSIONS
from datasets.source import BadInput, Source, printable

LISTS = {"train": "train", "val": "validation", "test": "test"}  # of ImageSets/Main
SIDES = ("xmin", "ymin", "xmax", "ymax")
DEPTH = 4  # of what is read: annotation/object/bndbox/xmin
CORRECT = "Correct the file, or export it again as Pascal VOC"


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object of an annotation.

    Attributes:
        line: where it begins.
        name: its class.
        corners: xmin, ymin, xmax, ymax in pixels.
        difficult: whether the challenge does not count it.
    """

    line: int
    name: str
    corners: tuple[float, ...]
    difficult: bool


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What an .xml file says.

    Attributes:
        filename: of the image, or "".
        size: its (width, height), or None where the file does not know it.
        things: the objects.
    """

    filename: str
    size: tuple[int, int] | None
    things: tuple[Thing, ...]


NOTHING = Annotation("", None, ())


def match(path: pathlib.Path) -> bool:
    """Tell whether a folder holds .xml files."""
    return path.is_dir() and any(file.suffix.lower() == ".xml" for file in walk(path))


def read(path: pathlib.Path) -> Source:
    """Pair images with their .xml files, by name, else by the name that the .xml file gives.

    Where there are lists in ImageSets/Main, these say which images there are and in which split;
    else folders named train, val or test do. All files are read once to know the classes, which
    are sorted unless `classes.txt` lists them. An image or .xml file that cannot be read or has no
    partner is one example that raises `BadInput`.

    Raises:
        BadInput: a name occurs twice, only some files are in a split, or no file holds an object.
    """
    files = walk(path)
    images, others = divide(files, EXTENSIONS)[0], [f for f in files if f.suffix.lower() == ".xml"]
    images = boxes.by_place(images, path, "image")
    notes = boxes.by_place(others, path, "note")
    parsed, first_error = {}, None
    for place, note in notes.items():
        try:
            parsed[place] = parse(note)
        except BadInput as error:  # raised again when the example is read
            first_error = first_error or error
    by_name = {(split, file.name): file for (split, _), file in images.items()}
    for place, annotation in parsed.items():
        named = (place[0], re.split(r"[\\/]", annotation.filename)[-1])
        if place not in images and named in by_name:
            images[place] = by_name[named]
    listed = lists(path)
    list_file = path / "classes.txt"
    if list_file.is_file():
        classes = boxes.read_names(list_file)
    else:
        names = {printable(thing.name) for note in parsed.values() for thing in note.things}
        classes = sorted(names)
    if not classes:
        raise first_error or BadInput(path, "no .xml file holds an object", "Annotate some images")
    check_pixels(parsed)
    index = {name: i for i, name in enumerate(classes)}
    pairs = chosen(path, listed, images, notes) if listed else joined(path, images, notes)
    boxed = {file for place, file in notes.items() if parsed.get(place, NOTHING).things}
    used = {file for pair in pairs for file in (pair.image, pair.note) if file} | set(listed)
    used |= {list_file} & set(files)
    return boxes.source(
        path,
        classes,
        pairs,
        lambda pair: read_pair(pair, index),
        used=sorted(used),
        ignored=[file for file in files if file not in used],
        boxed=[pair.split for pair in pairs if pair.note in boxed],
    )


def check_pixels(parsed):
    """Raise if all boxes of all files are below one pixel: fractions of the image's size."""
    corners = [c for note in parsed.values() for thing in note.things for c in thing.corners]
    if corners and all(0 <= corner <= 1 for corner in corners):
        raise BadInput(
            "The .xml files",
            "all their boxes are below one pixel: they seem to be fractions of the image's size",
            "Write xmin, ymin, xmax and ymax in pixels",
        )


def lists(root, folder="Main"):
    """Return {file: (split, names with their lines)} of the lists in a folder of ImageSets.

    Where there is no train.txt, what trainval.txt has beyond val.txt is for training.

    Raises:
        BadInput: two splits share an image.
    """
    folder, found = root / "ImageSets" / folder, {}
    for stem, split in {**LISTS, "trainval": "train"}.items():
        file = folder / f"{stem}.txt"
        if file.is_file() and not (stem == "trainval" and folder / "train.txt" in found):
            lines = enumerate(boxes.read_text(file).splitlines(), 1)
            found[file] = split, {line.strip(): number for number, line in lines if line.strip()}
    held = {name for split, names in found.values() if split == "validation" for name in names}
    if (file := folder / "trainval.txt") in found:
        found[file] = "train", {n: line for n, line in found[file][1].items() if n not in held}
    owner = {}
    for file, (_, names) in found.items():
        for name, line in names.items():
            if owner.setdefault(name, file) is not file:
                raise BadInput(
                    file,
                    f"line {line} names {name}, which is in {owner[name].name} as well",
                    "Let each image be in one split",
                )
    return found


def chosen(root, listed, images, notes):
    """Return the pairs that lists name."""
    return [
        boxes.Pair(split, f"{name} (line {line})", images.get(key), notes.get(key), file)
        if key not in images and key not in notes
        else pair(root, split, images.get(key), notes.get(key))
        for file, (split, names) in listed.items()
        for name, line in names.items()
        for key in [(None, without_ending(name))]
    ]


def without_ending(name):
    """Return a name in a list without the ending of an image."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot + ending.lower() in EXTENSIONS else name


def joined(root, images, notes):
    """Return the pairs of all images and all .xml files."""
    found = [pair(root, split, images.get((split, k)), file) for (split, k), file in notes.items()]
    paired = {one.image for one in found}
    lone = [pair(root, s, file, None) for (s, _), file in images.items() if file not in paired]
    return sorted(found + lone, key=lambda one: one.name)


def pair(root, split, image, note):
    """Return a pair named after its image, if it has one."""
    return boxes.Pair(split, boxes.title(root, image, note), image, note, note or image)


def read_pair(pair, index):
    """Read an example; `index` is {name of a class: its index}."""
    if not pair.image and not pair.note:
        why = f"it names {pair.name}, and there is neither image nor .xml file of this name"
        raise BadInput(pair.what, why, "Add them, or remove the line")
    if not pair.note:
        raise BadInput(
            pair.image,
            f"there is no {pair.image.stem}.xml",
            "Annotate the image (a file without objects says that it shows none), or remove it",
        )
    if not pair.image:
        why = "there is no image of its name, or of the filename in it"
        raise BadInput(pair.note, why, "Add the image, or remove the file")
    found = parse(pair.note)
    things = [thing for thing in found.things if printable(thing.name) in index]
    faults = [
        BadInput(
            pair.note,
            f"the object of line {thing.line} is of class {thing.name!r}, which is not listed",
            "Add it to classes.txt, or correct the file",
        )
        for thing in found.things
        if printable(thing.name) not in index
    ]
    return boxes.example(
        pair.note,
        pair.image,
        boxes.Boxes(
            corners=[thing.corners for thing in things],
            labels=[index[printable(thing.name)] for thing in things],
            said=[said(thing) for thing in things],
            flags={"is_difficult": [thing.difficult for thing in things]},
            size=found.size,
            faults=faults,
        ),
        "Correct or remove it",
    )


def said(thing):
    """Return an object's box in words."""
    sides = ", ".join(f"{side} {v:g}" for side, v in zip(SIDES, thing.corners, strict=True))
    return f"the box of the object of line {thing.line} ({sides})"


def parse(path: pathlib.Path) -> Annotation:
    """Read an .xml file; entities of its own and other documents are never followed.

    Raises:
        BadInput: it is no sound XML, declares a document type, is no VOC annotation, or an object
            lacks its name or a side.
    """
    parser, stack, text, facts, things = expat.ParserCreate(), [], [], {}, []

    def start(tag, _):
        stack.append(tag)
        text.clear()
        if len(stack) == 1 and tag != "annotation":
            why = f"it is no annotation of Pascal VOC: it begins with <{tag[:40]}>"
            raise BadInput(path, why, "Remove it, or export it as Pascal VOC")
        if stack == ["annotation", "object"]:
            things.append({"line": parser.CurrentLineNumber})

    def end(_):
        if len(stack) <= DEPTH:  # a name joined at any depth would make deep files slow
            value = "".join(text).strip(), parser.CurrentLineNumber
            inner = stack[1:2] == ["object"]
            (things[-1] if inner else facts).setdefault("/".join(stack[1 + inner :]), value)
        stack.pop()
        text.clear()

    def doctype(*_):
        why = f"line {parser.CurrentLineNumber} declares a document type, which is not read"
        raise BadInput(path, why, "Remove the <!DOCTYPE ...>")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text.append, doctype
    raw = read_bytes(path)
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        why = f"it is no sound XML ({expat.ErrorString(error.code)}, line {error.lineno})"
        raise BadInput(path, why, "Copy or export it again") from error
    except (LookupError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(path, f"it is no sound XML ({error})", "Save it as UTF-8") from error
    sides = [boxes.number(facts.get(f"size/{side}", ("",))[0]) for side in ("width", "height")]
    sound = all(side and side > 0 and side.is_integer() for side in sides)
    return Annotation(
        filename=facts.get("filename", ("",))[0],
        size=tuple(map(int, sides)) if sound else None,
        things=tuple(thing_of(path, found) for found in things),
    )


def thing_of(path, found):
    """Return an object of what was found between its tags, {path: (text, line)}."""
    line, corners = found["line"], []
    if not found.get("name", ("",))[0]:
        raise BadInput(path, f"the object of line {line} has no name", CORRECT)
    for side in SIDES:
        if f"bndbox/{side}" not in found:
            raise BadInput(path, f"the object of line {line} has no bndbox with {side}", CORRECT)
        text, where = found[f"bndbox/{side}"]
        corners.append(boxes.number(text))
        if corners[-1] is None:
            raise BadInput(path, f"{side} in line {where} is no number: {text[:40]!r}", CORRECT)
    difficult = found.get("difficult", ("",))[0].lower() in ("1", "true", "yes")
    return Thing(line, found["name"][0], tuple(corners), difficult)
