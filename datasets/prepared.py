"""A data set as a task needs it: loaded, prepared, split, with all that a record stores of it.

    data = prepare("my_scans", task, key, fold=(2, 5))
    data.splits["train"], data.info["classes"], data.about["fingerprint"]

The same data, task and options always give the same examples in the same splits.
"""

import dataclasses
import json
import os
import pathlib

from datasets import chosen, open_source
from datasets.source import BadInput, legible


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set that is ready for training.

    Attributes:
        splits: `datasets.splits.Arrays` by split: "train", "validation", "test".
        options: of the task: its defaults, those that the data suggest, and those that were given.
        info: "classes", and the constants that the reader knows or that were computed.
        about: what a record stores of the data: source, name, fingerprint, sizes, skipped, and
            further facts of the source, like its licence; "duplicates", if there are any; "notes",
            sentences on what was decided or left out, which are printed before training.
        examples: {split: (m, 2) uint64}, see `datasets.examples.units`.
    """

    splits: dict
    options: dict
    info: dict
    about: dict
    examples: dict


def prepare(
    data,
    task,
    key,
    *,
    source=None,
    options=None,
    skip_bad=False,
    fold=None,
    validate=None,
    fingerprint=None,
    hints=None,
):
    """Load a data set and prepare it for a task, or load it from the cache.

    Args:
        data: the name of a data set, or the path of the user's own files, see `expand`.
        task: a record with the fields of the zoo's tasks.
        key: text that changes when the task's functions do.
        source: the data set, if it is open already.
        options: of the task, those that are given.
        skip_bad: leave unreadable examples out instead of raising.
        fold: (k, n), see `datasets.pipeline.prepare`.
        validate: (k, n), see `datasets.pipeline.prepare`.
        fingerprint: the expected fingerprint of the data, or None.
        hints: what no reader can infer from own files, see `datasets.source.HINTS`.

    Returns:
        A `Prepared`.

    Raises:
        BadInput: if there is no such data set, it does not fit the task or its options, or its
            fingerprint is another one.
    """
    from datasets import pipeline

    path = expand(data)
    source = source or open_source(
        path if path.exists() else data, task.name, hints, task.data.layouts
    )
    if fingerprint not in (None, source.fingerprint):
        why = f"it changed: its fingerprint was {fingerprint} and is {source.fingerprint} now"
        raise BadInput(data, why, "Start a new run")
    suggested = {name: source.options[name] for name in source.options if name in task.options}
    own = {name: value for name, value in suggested.items() if value != task.options[name]}
    own = [f"--set {name}={own[name]}" for name in own.keys() - (options or {}).keys()]
    own = (
        [f"Defaults of {source.name}: {' '.join(sorted(own))}, unless set otherwise"] if own else []
    )
    options = {**task.options, **suggested, **(options or {})}
    read = {name: options[name] for name in task.data.prepared}
    key = f"{task.name} {json.dumps(read, sort_keys=True)} {key}"
    if text := options.get("classes"):
        source = chosen.choose(source, text, task.data.fields[1])
        key += f" classes {text}"
    info = {"classes": [legible(name) for name in source.classes], **source.constants}

    try:
        splits, facts = pipeline.prepare(
            source,
            measure=lambda examples: task.data.measure(examples, options),
            cut=lambda example: task.data.cut(example, options),
            prepare=lambda piece, constants: task.data.prepare(
                piece, {**info, **constants}, completed(task, options, constants)
            ),
            fields=task.data.fields,
            measured=None if task.data.measures_all else pipeline.MEASURED,
            key=key,
            skip_bad=skip_bad,
            fold=fold,
            validate=validate,
            by_class=task.data.by_class,
            series=task.data.series and (lambda constants: task.data.series(constants, options)),
        )
    except BadInput as error:
        if error.what != "The data":  # of the splits, which do not know the name
            raise
        raise BadInput(data, error.why, error.remedy) from error
    except ValueError as error:
        raise BadInput(source.name, str(error), "Change the option: --set") from error
    about = {
        "source": data,
        "name": legible(source.name),
        "fingerprint": source.fingerprint,
        "sizes": {split: len(arrays) for split, arrays in splits.items()},
        "skipped": facts["skipped"],
        **({"duplicates": facts["duplicates"]} if facts["duplicates"] else {}),
        **source.info,
        "notes": [*own, *source.info.get("notes", ()), *facts.get("notes", ())],
    }
    constants = facts["constants"]
    options = completed(task, options, constants)
    info |= {name: constants[name] for name in constants if name not in task.data.sizes}
    return Prepared(splits, options, info, about, facts["examples"])


def completed(task, options, constants):
    """Return a task's options, sizes of 0 replaced by those that were measured."""
    sizes = (name for name in task.data.sizes if not options[name] and name in constants)
    return {**options, **{name: constants[name] for name in sizes}}


def expand(text):
    """Return the path of a text, with $VARIABLES and ~ expanded."""
    return pathlib.Path(os.path.expandvars(text)).expanduser()
