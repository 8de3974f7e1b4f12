"""What the values of masks mean: from a list of classes beside them, or from the values themselves.

A list is a text file, a line a class in the order of the values: `road`, or `road 128 64 128` for
masks in colours, or the same with commas. The classes called void, unlabelled or ignore are none:
their pixels become -1, which counts nowhere.
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
VOID = 255  # as Pascal VOC marks what has no class
LONG = 1000  # characters of a line; what LINE matches takes their square
MAX_CLASSES = 256
SPARSE = 8  # class numbers up to this many times what occurs; farther apart they are grays
SMOOTH = range(240, 255)  # what lies just below white where an edge was smoothed


@dataclasses.dataclass(frozen=True)
class ClassList:
    """A list of classes as it was written.

    Attributes:
        what: the file that it comes from.
        names: the names in the order of the values, those of no class included.
        colours: (r, g, b) of each, or nothing.
    """

    what: object
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What the values of masks mean.

    Attributes:
        classes: names of the classes in the order of their indices.
        values: {value: index}, -1 for what has no class.
        colours: {r << 16 | g << 8 | b: index}; empty where nobody said.
        said: where that is said, for messages.
    """

    classes: tuple[str, ...]
    values: Mapping[int, int]
    colours: Mapping[int, int] = dataclasses.field(default_factory=dict)
    said: str = "the masks"


def find_list(root: pathlib.Path) -> pathlib.Path | None:
    """Return the list of classes in a folder, None if there is none.

    Raises:
        BadInput: there are several.
    """
    found = [root / name for name in LISTS if (root / name).is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise BadInput(root, f"it holds several lists of classes, {names}", "Keep one")
    return found[0] if found else None


def read_list(path: pathlib.Path) -> ClassList:
    """Read a list of classes.

    Raises:
        BadInput: it is no text, holds a name or a colour twice, or colours of some classes only.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, "it is not a text file", "Write a line a class") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    for line in lines:
        if len(line) > LONG:
            raise BadInput(path, f"a line has {len(line):,} characters", "Write a line a class")
    if lines and HEADER.fullmatch(lines[0]):
        del lines[0]
    found = [LINE.fullmatch(line).groups() for line in lines]
    names = tuple(printable(name.strip(" \t,;\"'")) for name, *_ in found)
    colours = tuple(tuple(map(int, colour)) for _, *colour in found if colour[0])
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
    """Say what the values of single-channel masks mean.

    Args:
        values: {value: the file where it occurs first}, over all masks.
        listed: the classes as somebody named them; None infers them: two values are background and
            foreground; more are the numbers of the classes, and 255 beside them is no class.

    Raises:
        BadInput: there are not two classes, or the values are no numbers of classes.
    """
    return named(values, listed) if listed else inferred(values)


def named(values, listed):
    """Say what values mean by a list: the place in it, or the gray that it gives as a colour."""
    classes = tuple(name for name in listed.names if not NO_CLASS.fullmatch(name))
    if len(classes) < 2:
        raise BadInput(
            listed.what, f"it names {len(classes)} classes", "Name the background as well"
        )
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
            f"the masks hold the values {shown(values)}: {len(seen)} of the classes in "
            f"{listed.what}",
            "Number the pixels by the order of the list, from 0",
        )
    return Meaning(classes, index, colours, str(listed.what))


def inferred(values):
    """Say what values mean that nobody named."""
    found = sorted(set(values) - {-1})
    void = {-1: -1} | ({VOID: -1} if VOID in found and len(found) > 2 else {})
    kept = [value for value in found if value not in void]
    if len(kept) < 2:
        raise BadInput(
            next(iter(values.values()), "The masks"),
            f"all masks hold {shown(values)} alone",
            "Mark two classes, the background being one",
        )
    if len(kept) == 2 and (VOID not in void or kept == [0, 1]):
        return Meaning(("background", "foreground"), {kept[0]: 0, kept[1]: 1} | void)
    top = kept[-1]
    if VOID in void and (smooth := [value for value in kept if value in SMOOTH]):
        raise BadInput(
            values[smooth[0]],
            f"the masks hold {len(found)} values between 0 and 255 ({shown(values)}): their edges "
            "were smoothed, or JPEG changed them, and a mask must be exact",
            "Save them as PNG, with a threshold: "
            "PIL.Image.open(file).convert('L').point(lambda v: 255 * (v > 127))",
        )
    if kept[0] < 0 or top >= MAX_CLASSES:
        raise BadInput(
            values[kept[0] if kept[0] < 0 else top],
            f"the masks hold values from {kept[0]} to {top}: ids of single objects, or grays?",
            f"Number the classes from 0, at most {MAX_CLASSES}",
        )
    if top >= SPARSE * len(kept):
        raise BadInput(
            values[top],
            f"the masks hold the values {shown(values)}, too far apart for numbers of classes",
            f"Write {LISTS[0]} beside the folders, with a line `name {top} {top} {top}` a class",
        )
    return Meaning(tuple(str(i) for i in range(top + 1)), {i: i for i in range(top + 1)} | void)


def mapped(what, raw: np.ndarray, meant: Meaning) -> np.ndarray:
    """Turn the values (H, W), or colours (H, W, 3), of a mask into class indices.

    Returns:
        (H, W) int32; -1 has no class.

    Raises:
        BadInput: a value or colour is not in the list.
    """
    index = meant.values
    if raw.ndim == 3:
        index = meant.colours
        if not index:
            raise BadInput(
                what,
                "the mask is in colours, and nothing says what they mean",
                f"Write {LISTS[0]} beside the folders, with a line `name R G B` a class",
            )
        raw = code(np.moveaxis(raw.astype(np.int64), -1, 0))
    keys = np.array(sorted(index))
    place = np.searchsorted(keys, raw).clip(max=len(keys) - 1)
    unknown = np.unique(raw[keys[place] != raw])
    if len(unknown):
        colours = [(v >> 16, v >> 8 & 255, v & 255) for v in unknown.tolist()]
        names = colours if index is meant.colours else unknown
        raise BadInput(
            what,
            f"the mask holds {shown(names)}, which {meant.said} does not name",
            "Add a line for each, or correct the mask",
        )
    return np.array([index[key] for key in keys.tolist()], np.int32)[place]


def code(colour):
    """Return one number for a colour (r, g, b), or an array of them for arrays."""
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def shown(values):
    """Return the first values in words."""
    words = [str(value) for value in sorted(values)]
    return ", ".join(words[:8]) + (" ..." if len(words) > 8 else "")
