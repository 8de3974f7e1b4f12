"""Meaning of mask values: from a list of classes beside them, or inferred from the values.

A list is a text file with a line per class in the order of the values: `road`, or `road 128 64 128`
for masks in colours, or the same with commas. Classes named void, unlabelled or ignore are not
classes: their pixels become -1, which is ignored.
"""

import dataclasses
import pathlib
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

from datasets.readers.files import read_bytes
from datasets.source import BadInput, printable

LISTS = ("classes.txt", "labels.txt", "codes.txt", "class_dict.csv")
NO_CLASS = re.compile("void|unlabell?ed|ignored?", re.IGNORECASE)
LINE = re.compile(r"(.+?)(?:[\s,;]+(\d+)[\s,;]+(\d+)[\s,;]+(\d+))?")
HEADER = re.compile(r".+[,;]\s*r(ed)?\s*[,;]\s*g(reen)?\s*[,;]\s*b(lue)?", re.IGNORECASE)
VOID = 255  # pixels of no class in Pascal VOC
LONG = 1000  # maximum length of a line; the time to match LINE is quadratic
MAX_CLASSES = 256
SPARSE = 8  # class numbers up to this many times the number of values; larger ones are grays
SMOOTH = range(240, 255)  # values just below white at smoothed edges


@dataclasses.dataclass(frozen=True)
class ClassList:
    """A list of classes.

    Attributes:
        what: the file that it comes from.
        names: the names in the order of the values, including void.
        colours: (r, g, b) of each, or empty.
    """

    what: object
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Meaning:
    """The meaning of the values of masks.

    Attributes:
        classes: names of the classes in the order of their indices.
        values: {value: index}, -1 for no class.
        colours: {r << 16 | g << 8 | b: index}; empty if not specified.
        origin: the file that defines it, for messages.
    """

    classes: tuple[str, ...]
    values: Mapping[int, int]
    colours: Mapping[int, int] = dataclasses.field(default_factory=dict)
    origin: str = "the masks"


def find_list(root: pathlib.Path) -> pathlib.Path | None:
    """Return the list of classes in a folder, None if there is none.

    Raises:
        BadInput: there are several.
    """
    paths = [root / name for name in LISTS if (root / name).is_file()]
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise BadInput(root, f"it contains several lists of classes, {names}", "Keep only one")
    return paths[0] if paths else None


def read_list(path: pathlib.Path) -> ClassList:
    """Read a list of classes.

    Raises:
        BadInput: it is not text, has a name or a colour twice, or colours of some classes only.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, "it is not a text file", "Write a line per class") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    for line in lines:
        if len(line) > LONG:
            raise BadInput(path, f"a line has {len(line):,} characters", "Write a line per class")
    if lines and HEADER.fullmatch(lines[0]):
        del lines[0]
    rows = [LINE.fullmatch(line).groups() for line in lines]
    names = tuple(printable(name.strip(" \t,;\"'")) for name, *_ in rows)
    colours = tuple(tuple(map(int, colour)) for _, *colour in rows if colour[0])
    for what, some in (("names", names), ("colours", colours)):
        if twice := sorted(str(item) for item, count in Counter(some).items() if count > 1):
            raise BadInput(path, f"its {what} {', '.join(twice)} occur twice", "Name each once")
    if colours and len(colours) < len(names):
        raise BadInput(
            path, f"{len(colours)} of {len(names)} classes have a colour", "Add the rest"
        )
    if max(map(max, colours), default=0) > 255:
        raise BadInput(path, "a colour exceeds 255", "Write colours as 0 to 255")
    return ClassList(path, names, colours)


def meaning(values: Mapping, listed: ClassList | None) -> Meaning:
    """Return the meaning of the values of single-channel masks.

    Args:
        values: {value: the first file with it}, over all masks.
        listed: the list of classes; None infers them: two values are background and foreground;
            more are class numbers, and then 255 is no class.

    Raises:
        BadInput: there are fewer than two classes, or the values are not class numbers.
    """
    return named(values, listed) if listed else inferred(values)


def named(values, listed):
    """Return the meaning of values by a list: an index in it, or a gray among its colours."""
    classes = tuple(name for name in listed.names if not NO_CLASS.fullmatch(name))
    if len(classes) < 2:
        raise BadInput(listed.what, f"it names {len(classes)} classes", "Name the background too")
    index = {name: i for i, name in enumerate(classes)}
    places = [index.get(name, -1) for name in listed.names]
    colours = {code(colour): i for colour, i in zip(listed.colours, places, strict=False)}
    grays = {value: colours.get(code((value, value, value))) for value in values}
    if colours and None not in grays.values():
        index = grays
    elif set(values) == {0, VOID} and len(places) == 2:
        index = dict(zip((0, VOID), places, strict=True))
    else:
        index = {VOID: -1, -1: -1} | dict(enumerate(places))
    seen = {index[value] for value in values if value in index} - {-1}
    if values and not colours and len(seen) < 2:
        raise BadInput(
            next(iter(values.values())),
            f"the masks have the values {shown(values)}: {len(seen)} of the classes in "
            f"{listed.what}",
            "Use the positions in the list as class numbers, from 0",
        )
    return Meaning(classes, index, colours, str(listed.what))


def inferred(values):
    """Return the meaning of values without a list."""
    present = sorted(set(values) - {-1})
    void = {-1: -1} | ({VOID: -1} if VOID in present and len(present) > 2 else {})
    labels = [value for value in present if value not in void]
    if len(labels) < 2:
        raise BadInput(
            next(iter(values.values()), "The masks"),
            f"all masks have only {shown(values)}",
            "Label two classes, one of which is the background",
        )
    if len(labels) == 2 and (VOID not in void or labels == [0, 1]):
        return Meaning(("background", "foreground"), {labels[0]: 0, labels[1]: 1} | void)
    largest = labels[-1]
    if VOID in void and (smooth := [value for value in labels if value in SMOOTH]):
        raise BadInput(
            values[smooth[0]],
            f"the masks have {len(present)} values between 0 and 255 ({shown(values)}): their "
            "edges were smoothed, or JPEG changed them, but a mask must be exact",
            "Save them as PNG, with a threshold: "
            "PIL.Image.open(file).convert('L').point(lambda v: 255 * (v > 127))",
        )
    if labels[0] < 0 or largest >= MAX_CLASSES:
        raise BadInput(
            values[labels[0] if labels[0] < 0 else largest],
            f"the masks have values from {labels[0]} to {largest}: instance ids, or grays?",
            f"Number the classes from 0, at most {MAX_CLASSES}",
        )
    if largest >= SPARSE * len(labels):
        raise BadInput(
            values[largest],
            f"the masks have the values {shown(values)}, too far apart for class numbers",
            f"Write {LISTS[0]} beside the folders, with a line per class: "
            f"`name {largest} {largest} {largest}`",
        )
    return Meaning(
        tuple(str(i) for i in range(largest + 1)), {i: i for i in range(largest + 1)} | void
    )


def mapped(what, raw: np.ndarray, meaning: Meaning) -> np.ndarray:
    """Map the values (H, W), or colours (H, W, 3), of a mask to class indices.

    Returns:
        (H, W) int32; -1 is no class.

    Raises:
        BadInput: a value or colour is not in the list.
    """
    index = meaning.values
    if raw.ndim == 3:
        index = meaning.colours
        if not index:
            raise BadInput(
                what,
                "the mask is in colours, but no list defines their classes",
                f"Write {LISTS[0]} beside the folders, with a line per class: `name R G B`",
            )
        raw = code(np.moveaxis(raw.astype(np.int64), -1, 0))
    keys = np.array(sorted(index))
    place = np.searchsorted(keys, raw).clip(max=len(keys) - 1)
    unknown = np.unique(raw[keys[place] != raw])
    if len(unknown):
        colours = [(v >> 16, v >> 8 & 255, v & 255) for v in unknown.tolist()]
        names = colours if index is meaning.colours else unknown
        raise BadInput(
            what,
            f"the mask has {shown(names)}, which is not in {meaning.origin}",
            "Add a line for each, or correct the mask",
        )
    return np.array([index[key] for key in keys.tolist()], np.int32)[place]


def code(colour):
    """Return one number for a colour (r, g, b), or an array of them for arrays."""
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def shown(values):
    """Return the first values as text."""
    words = [str(value) for value in sorted(values)]
    return ", ".join(words[:8]) + (" ..." if len(words) > 8 else "")
