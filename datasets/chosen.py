"""A choice of a data set's classes: what a task's option `classes` leaves of a source.

Examples of one class each are kept if it is chosen; of several labels, and of boxes, the chosen
ones are kept; pixels and points of other classes become background where the data have a class of
that name, else void.
"""

import csv
import dataclasses
import difflib
import functools
import itertools

import numpy as np

from datasets.source import BadInput, Example

BACKGROUND = "background"


def choose(source, text, field):
    """Return a source with those of its classes that a text names, in the order of the data.

    Args:
        source: a `datasets.source.Source`.
        text: names or indices, separated by commas; names with commas are in double quotes.
        field: the name of an example's target: "objects" for boxes.

    Raises:
        BadInput: the data have no classes or no such class, or too few are chosen.
    """
    places = indices(source.classes, text)
    dense = field in ("segmentation_mask", "labels")
    if dense and BACKGROUND in source.classes:
        places = sorted({*places, source.classes.index(BACKGROUND)})
    several = source.constants.get("target") == "labels" or field == "objects"
    if len(places) < (1 if several else 2):
        why = f"{source.classes[places[0]]} is one class, and there must be two"
        raise BadInput(f"classes={text}", why, "Choose another one, too")
    new = np.full(len(source.classes) + 1, -1)  # its last entry is that of void, -1
    new[places] = np.arange(len(places))
    if dense and BACKGROUND in source.classes:
        new[:-1][new[:-1] < 0] = new[source.classes.index(BACKGROUND)]
    names = tuple(source.classes[k] for k in places)
    change = functools.partial(changed, field=field, new=new, several=several, dense=dense)
    whole = not several and not dense
    splits = {
        split: Chosen(examples, new if whole else None, change)
        for split, examples in source.splits.items()
    }
    notes = [f"{len(names)} of {len(source.classes)} classes are chosen: {', '.join(names)}"]
    for split in [split for split in splits if not splits[split]]:
        del splits[split]
        notes.append(f"the {split} split has no example of the chosen classes, and is left out")
    info = {**source.info, "notes": [*source.info.get("notes", ()), *notes]}
    return dataclasses.replace(source, classes=names, splits=splits, info=info)


def indices(classes, text):
    """Return the indices of the classes that a text names, ascending.

    Raises:
        BadInput: there is no such class; the message has the nearest.
    """
    if not classes:
        why = "the data have no classes to choose from"
        raise BadInput(f"classes={text}", why, "Leave the option out")
    words = [word.strip() for word in next(csv.reader([text], skipinitialspace=True), [])]
    places = set()
    for word in filter(None, words):
        if word in classes:
            places.add(classes.index(word))
        elif word.isdecimal() and int(word) < len(classes):
            places.add(int(word))
        else:
            nearest = difflib.get_close_matches(word, classes, 1, cutoff=0.5)
            known = f"did you mean {nearest[0]}" if nearest else f"they are {shown(classes)}"
            why = f"the data have no class {word}"
            end = "?" if nearest else "" if known.endswith(".") else "."
            remedy = f"{known[0].upper()}{known[1:]}{end}"
            raise BadInput(f"classes={text}", why, f"{remedy} Indices are 0 to {len(classes) - 1}")
    if not places:
        raise BadInput(f"classes={text}", "no class is named", f"They are {shown(classes)}")
    return sorted(places)


def shown(names):
    """Return the first names, as a text."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


class Chosen:
    """Those of some examples whose class is chosen, with changed targets; used as `Examples`.

    Labels that are not known without reading are read once, when they are first needed. Examples
    that cannot be read stay, so that they are reported as always.

    Args:
        examples: `Examples`.
        new: index of each class among those chosen, -1 for others; None to keep all examples.
        change: function from an example's dictionary to that with changed targets.
    """

    def __init__(self, examples, new, change):
        self.examples, self.new, self.change = examples, new, change

    @functools.cached_property
    def mask(self):
        """Whether each example stays, a list."""
        return [self.new is None or self.new[self.label(each)] >= 0 for each in self.examples]

    def __bool__(self):
        return self.new is None or any(self.new[self.label(each)] >= 0 for each in self.examples)

    def label(self, example):
        """Return the class of an example; of one that cannot be read, a class that stays."""
        if example.label is not None:
            return example.label
        try:
            return int(example.read()["label"])
        except (BadInput, OSError, KeyError):
            return int(np.argmax(self.new >= 0))

    def __len__(self):
        return sum(self.mask)

    def __iter__(self):
        for example in itertools.compress(self.examples, self.mask):
            yield Example(example.name, functools.partial(self.read, example))

    def read(self, example):
        """Return the dictionary of an example with changed targets."""
        try:
            return self.change(example.read())
        except BadInput as error:
            if error.partial is not None:
                error.partial = self.change(error.partial)
            raise


def changed(example, field, new, several, dense):
    """Return an example with the targets of the classes that are chosen.

    Args:
        example: a dictionary, as readers return it.
        field: the name of the target.
        new: index of each class among those chosen, -1 for others; the last entry is for -1.
        several: whether there may be several labels or boxes.
        dense: whether each pixel or point has a class.
    """
    target = example.get(field)
    if target is None:  # the pipeline reports it
        return example
    if field == "objects":
        labels = new[np.asarray(target["label"], int)]
        chosen = {name: np.asarray(array)[labels >= 0] for name, array in target.items()}
        return {**example, field: {**chosen, "label": labels[labels >= 0]}}
    if several:
        return {**example, field: np.asarray(target)[np.flatnonzero(new[:-1] >= 0)]}
    if dense:
        return {**example, field: new[target].astype(np.int32)}
    return {**example, field: int(new[int(target)])}
