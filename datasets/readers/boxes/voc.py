"""Pascal VOC: an .xml file per image, with the corners of its boxes in pixels.

Everingham et al., IJCV 2010, https://doi.org/10.1007/s11263-009-0275-4. `JPEGImages/`,
`Annotations/` and `ImageSets/Main/{train,val,trainval,test}.txt`; or `images/` and `annotations/`,
or images and annotations in one folder, with or without folders train, val and test.

Corners are read unchanged, as edges counted from 0. The challenge itself counts pixels from 1 and
includes the last one, so that its edges are xmin - 1 and xmax; but many tools write edges, the
files do not specify which, and tensorflow-datasets reads them unchanged too. Boxes of the challenge
lose a pixel at the left and the top.
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
DEPTH = 4  # of the elements that are read: annotation/object/bndbox/xmin
CORRECT = "Correct the file, or export it again as Pascal VOC"


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object of an annotation.

    Attributes:
        line: the line where it begins.
        name: its class.
        corners: xmin, ymin, xmax, ymax in pixels.
        difficult: whether the challenge ignores it.
    """

    line: int
    name: str
    corners: tuple[float, ...]
    difficult: bool


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The content of an .xml file.

    Attributes:
        filename: of the image, or "".
        size: its (width, height), or None if the file does not have it.
        things: the objects.
    """

    filename: str
    size: tuple[int, int] | None
    things: tuple[Thing, ...]


NOTHING = Annotation("", None, ())


def match(path: pathlib.Path) -> bool:
    """Return whether a folder contains .xml files."""
    return path.is_dir() and any(file.suffix.lower() == ".xml" for file in walk(path))


def read(path: pathlib.Path) -> Source:
    """Pair images with their .xml files, by name, else by the file name in the .xml file.

    Lists in ImageSets/Main determine the images and their splits; without them folders named train,
    val or test do. All files are read once to determine the classes, which are sorted unless
    `classes.txt` lists them. An image or .xml file that cannot be read or has no partner is one
    example that raises `BadInput`.

    Raises:
        BadInput: a name occurs twice, only some files are in a split, or no file has an object.
    """
    files = walk(path)
    images, others = divide(files, EXTENSIONS)[0], [f for f in files if f.suffix.lower() == ".xml"]
    images = boxes.by_place(images, path, "image")
    notes = boxes.by_place(others, path, "annotation")
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
        raise first_error or BadInput(path, "no .xml file has an object", "Annotate some images")
    check_pixels(parsed)
    index = {name: i for i, name in enumerate(classes)}
    pairs = chosen(path, listed, images, notes) if listed else all_pairs(path, images, notes)
    boxed = {file for place, file in notes.items() if parsed.get(place, NOTHING).things}
    used = {file for pair in pairs for file in (pair.image, pair.annotation) if file} | set(listed)
    used |= {list_file} & set(files)
    return boxes.source(
        path,
        classes,
        pairs,
        lambda pair: read_pair(pair, index),
        used=sorted(used),
        ignored=[file for file in files if file not in used],
        boxed=[pair.split for pair in pairs if pair.annotation in boxed],
    )


def check_pixels(parsed):
    """Raise if all boxes of all files are below one pixel: they are fractions of the image size."""
    corners = [c for note in parsed.values() for thing in note.things for c in thing.corners]
    if corners and all(0 <= corner <= 1 for corner in corners):
        raise BadInput(
            "The .xml files",
            "all their boxes are below one pixel: they seem to be fractions of the image's size",
            "Write xmin, ymin, xmax and ymax in pixels",
        )


def lists(root, folder="Main"):
    """Return {file: (split, names with their lines)} of the lists in a folder of ImageSets.

    Without train.txt, the names of trainval.txt that are not in val.txt are for training.

    Raises:
        BadInput: two splits share an image.
    """
    folder, lists_by_file = root / "ImageSets" / folder, {}
    for stem, split in {**LISTS, "trainval": "train"}.items():
        file = folder / f"{stem}.txt"
        if file.is_file() and not (stem == "trainval" and folder / "train.txt" in lists_by_file):
            lines = enumerate(boxes.read_text(file).splitlines(), 1)
            lists_by_file[file] = (
                split,
                {line.strip(): number for number, line in lines if line.strip()},
            )
    validation = {
        name for split, names in lists_by_file.values() if split == "validation" for name in names
    }
    if (file := folder / "trainval.txt") in lists_by_file:
        lists_by_file[file] = (
            "train",
            {n: line for n, line in lists_by_file[file][1].items() if n not in validation},
        )
    seen = {}
    for file, (_, names) in lists_by_file.items():
        for name, line in names.items():
            if seen.setdefault(name, file) is not file:
                raise BadInput(
                    file,
                    f"line {line} names {name}, which is also in {seen[name].name}",
                    "Keep each image in one split",
                )
    return lists_by_file


def chosen(root, listed, images, notes):
    """Return the pairs that are named in lists."""
    return [
        boxes.Pair(split, f"{name} (line {line})", images.get(key), notes.get(key), file)
        if key not in images and key not in notes
        else pair(root, split, images.get(key), notes.get(key))
        for file, (split, names) in listed.items()
        for name, line in names.items()
        for key in [(None, without_extension(name))]
    ]


def without_extension(name):
    """Return a name in a list without the extension of an image."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot + extension.lower() in EXTENSIONS else name


def all_pairs(root, images, notes):
    """Return the pairs of all images and all .xml files."""
    pairs = [pair(root, split, images.get((split, k)), file) for (split, k), file in notes.items()]
    paired = {item.image for item in pairs}
    unpaired = [pair(root, s, file, None) for (s, _), file in images.items() if file not in paired]
    return sorted(pairs + unpaired, key=lambda item: item.name)


def pair(root, split, image, note):
    """Return a pair named after its image, if there is one."""
    return boxes.Pair(split, boxes.title(root, image, note), image, note, note or image)


def read_pair(pair, index):
    """Read an example; `index` is {name of a class: its index}."""
    if not pair.image and not pair.annotation:
        why = f"it names {pair.name}, but there is neither an image nor an .xml file of this name"
        raise BadInput(pair.what, why, "Add them, or remove the line")
    if not pair.annotation:
        raise BadInput(
            pair.image,
            f"there is no {pair.image.stem}.xml",
            "Annotate the image (with an empty file if it shows no objects), or remove it",
        )
    if not pair.image:
        why = "there is no image with its name, or the filename in it"
        raise BadInput(pair.annotation, why, "Add the image, or remove the file")
    parsed = parse(pair.annotation)
    things = [thing for thing in parsed.things if printable(thing.name) in index]
    errors = [
        BadInput(
            pair.annotation,
            f"the object of line {thing.line} has the class {thing.name!r}, which is not listed",
            "Add it to classes.txt, or correct the file",
        )
        for thing in parsed.things
        if printable(thing.name) not in index
    ]
    return boxes.example(
        pair.annotation,
        pair.image,
        boxes.Boxes(
            corners=[thing.corners for thing in things],
            labels=[index[printable(thing.name)] for thing in things],
            descriptions=[description(thing) for thing in things],
            flags={"is_difficult": [thing.difficult for thing in things]},
            size=parsed.size,
            errors=errors,
        ),
        "Correct or remove it",
    )


def description(thing):
    """Return the description of the box of an object."""
    sides = ", ".join(f"{side} {v:g}" for side, v in zip(SIDES, thing.corners, strict=True))
    return f"the box of the object of line {thing.line} ({sides})"


def parse(path: pathlib.Path) -> Annotation:
    """Read an .xml file; entities and external documents are never resolved.

    Raises:
        BadInput: it is not valid XML, declares a document type, is not a VOC annotation, or an
            object lacks its name or a side.
    """
    parser, stack, text, facts, things = expat.ParserCreate(), [], [], {}, []

    def start(tag, _):
        stack.append(tag)
        text.clear()
        if len(stack) == 1 and tag != "annotation":
            why = f"it is not a Pascal VOC annotation: it begins with <{tag[:40]}>"
            raise BadInput(path, why, "Remove it, or export it as Pascal VOC")
        if stack == ["annotation", "object"]:
            things.append({"line": parser.CurrentLineNumber})

    def end(_):
        if len(stack) <= DEPTH:  # names of all depths would make deep files slow
            value = "".join(text).strip(), parser.CurrentLineNumber
            inner = stack[1:2] == ["object"]
            (things[-1] if inner else facts).setdefault("/".join(stack[1 + inner :]), value)
        stack.pop()
        text.clear()

    def doctype(*_):
        why = f"line {parser.CurrentLineNumber} declares a document type, which is not supported"
        raise BadInput(path, why, "Remove the <!DOCTYPE ...>")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text.append, doctype
    raw = read_bytes(path)
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        why = f"it is not valid XML ({expat.ErrorString(error.code)}, line {error.lineno})"
        raise BadInput(path, why, "Copy or export it again") from error
    except (LookupError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(path, f"it is not valid XML ({error})", "Save it as UTF-8") from error
    sides = [boxes.number(facts.get(f"size/{side}", ("",))[0]) for side in ("width", "height")]
    valid = all(side and side > 0 and side.is_integer() for side in sides)
    return Annotation(
        filename=facts.get("filename", ("",))[0],
        size=tuple(map(int, sides)) if valid else None,
        things=tuple(thing_of(path, values) for values in things),
    )


def thing_of(path, values):
    """Return an object from the texts of its elements, {path: (text, line)}."""
    line, corners = values["line"], []
    if not values.get("name", ("",))[0]:
        raise BadInput(path, f"the object of line {line} has no name", CORRECT)
    for side in SIDES:
        if f"bndbox/{side}" not in values:
            raise BadInput(path, f"the object of line {line} has no bndbox with {side}", CORRECT)
        text, number = values[f"bndbox/{side}"]
        corners.append(boxes.number(text))
        if corners[-1] is None:
            raise BadInput(path, f"{side} in line {number} is not a number: {text[:40]!r}", CORRECT)
    difficult = values.get("difficult", ("",))[0].lower() in ("1", "true", "yes")
    return Thing(line, values["name"][0], tuple(corners), difficult)
