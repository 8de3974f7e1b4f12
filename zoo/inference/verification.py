"""Verification: checks that a trained model's file, structure, outputs and scores match its card.

A preset stores an input and the model's output for it, see `zoo.inference.stored_example`, so that
any machine and backend can check that the model computes the same as where it was published.

    for check in verify("pointnet_lidar_objects"):
        print(check.name, check.passed, check.text)

The caller provides the data: `prepare` is a function (record, task, key) to a record
with "splits", as `datasets.recorded.prepare` is. This module imports Keras only when needed.
"""

import dataclasses
import math
import pathlib

from zoo import index
from zoo.system import disk
from zoo.weights import inspection, presets, records
from zoo.weights.inspection import sha256
from zoo.weights.presets import EXAMPLE

TOLERANCE = 1e-4  # of an output
MIXED = 0.02  # of models of mixed precision, times the largest output: bfloat16 has 8 bits
SCORES = 1e-3  # of a score: rounding may change predictions near a decision boundary


@dataclasses.dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        name: "bytes", "structure", "output" or "score".
        passed: True, False, or None if it was not made.
        text: what was compared; of a check that failed, file, value and remedy in a sentence.
    """

    name: str
    passed: bool | None
    text: str


@dataclasses.dataclass(frozen=True)
class Place:
    """The location of a preset or a run.

    Attributes:
        name: in messages.
        folder: of its record.
        file: of its record: card.json or run.json.
        record: its content.
    """

    name: str
    folder: pathlib.Path
    file: pathlib.Path
    record: dict

    @property
    def preset(self):
        """Whether it is a preset, not a run."""
        return self.file.name == presets.CARD

    @property
    def again(self):
        """Return the advice how to restore its files."""
        return "Check it out again" if self.preset else "Train again"

    @property
    def store(self):
        """Return the command that stores an example."""
        return f"python -m zoo example {self.name}"

    def model(self):
        """Return the path of the model's file, fetched if the card names an address."""
        if "published" in self.record:
            return presets.searched(self.folder.name, ())
        path = self.folder / presets.MODEL
        if not path.is_file() and "url" in self.record:
            return presets.fetched(self.folder.name, self.record)
        return path


def record_file(source):
    """Find the file of the record of a preset or a run.

    Args:
        source: the name of a preset, or a folder with a card.json or a run.json.

    Raises:
        ValueError: if there is none.
    """
    for folder in (index.HERE / "presets" / str(source), pathlib.Path(source)):
        for name in (presets.CARD, records.RUN):
            if (folder / name).is_file():
                return folder / name
    if folder.is_dir():
        why = f"there is no {presets.CARD} and no {records.RUN} in it"
        raise records.trouble(source, why, "Give a preset or the folder of a training run")
    presets.searched(source, ())  # its message suggests similar names
    raise records.trouble(
        source, "it is neither a preset nor a run", "Give the folder that it is in"
    )


def place(source):
    """Find a preset or a run, see `record_file`, and read its record.

    Raises:
        ValueError: if there is none, or its record is damaged.
    """
    path = record_file(source)
    record = records.read_json(path)
    if reason := records.objection(record):
        raise records.trouble(path, reason, "Restore it from a copy")
    if path.name == records.RUN and record.get("status", "finished") != "finished":
        why = f"the run is {record['status']}"
        raise records.trouble(path, why, f"Finish it with --resume {path.parent}")
    if path.name == presets.CARD and "published" in record:  # the converted file has no card
        file = presets.searched(path.parent.name, ())
        record |= {**inspection.record(file), "sha256": sha256(file)}
    records.require(path, record, ("model", "sha256"))
    return Place(str(source), path.parent, path, record)


def verify(source, prepare=None, scores=False):
    """Check that a preset or a run matches its card.

    Args:
        source: the name of a preset, or a folder with a card.json or a run.json.
        prepare: function that prepares the data of the record, see above; needed for scores.
        scores: whether to score the test split again.

    Returns:
        Four `Check`: "bytes", "structure", "output", "score". A file whose bytes are not those of
        the card is not opened.

    Raises:
        ValueError: if there is no such preset or run.
    """
    path = record_file(source)
    try:
        where = place(source)
    except ValueError as error:
        return [Check("bytes", False, str(error)), *unmade(f"{path.name} cannot be used")]
    checks = [check_bytes(where)]
    try:
        path = where.model()
        if sha256(path) != where.record["sha256"]:
            return [*checks, *unmade("the model's file is not the one of the card")]
        from zoo.weights import saving

        model, record = saving.load(path), {**inspection.record(path), **where.record}
    except (OSError, ValueError) as error:
        if checks[0].passed:
            checks[0] = Check("bytes", False, str(error))
        return [*checks, *unmade("the model's file cannot be opened")]
    checks.append(check_structure(where, record, model))
    checks.append(check_output(where, model))
    if scores:
        return [*checks, check_score(where, record, model, prepare)]
    return [*checks, Check("score", None, "not checked, add --scores")]


def unmade(why):
    """Return the three other checks for a model file that cannot be used."""
    return [Check(name, None, f"not checked: {why}") for name in ("structure", "output", "score")]


def check_bytes(where):
    """Compare the SHA-256 of the model's file and of the example with those of the card."""
    expected, parts, wrong = {presets.MODEL: where.record["sha256"]}, [], []
    if stored := stored_sha256(where):
        expected[EXAMPLE] = stored
    for name, digest in expected.items():
        try:
            path = where.model() if name == presets.MODEL else where.folder / name
            actual = sha256(path)
        except OSError as error:
            wrong.append(f"{where.folder / name}: it cannot be read ({error.strerror})")
            continue
        except ValueError as error:
            wrong.append(str(error).rstrip("."))
            continue
        if actual != digest:
            wrong.append(f"{path}: its SHA-256 is {actual[:12]}..., not {digest[:12]}...")
        parts.append(f"{name} {actual[:12]}")
    if wrong:
        return Check("bytes", False, f"{'; '.join(wrong)}, as {where.file} says. {where.again}")
    return Check("bytes", True, ", ".join(parts))


def check_structure(where, record, model):
    """Compare a model with the one that the registered builder makes of the card's options."""
    name = record["model"]
    if name not in index.models() and "members" in record:
        return Check("structure", None, f"not checked: {name} combines models and has no builder")
    from zoo.inference import structure

    what = f"{where.file}: the model {name} of its arguments and options"
    try:
        layers, info = built(record)
    except Exception as error:  # builders raise exceptions of any type for wrong options
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Check("structure", False, f"{what} cannot be built ({why}). {where.again}")
    actual = structure.described(model)
    known = {key: record.get("info", {}).get(key) for key in info}
    of_info = next(structure.differences(known, info, "info"), None)
    difference = structure.difference(actual, layers) or of_info
    if difference is None:
        count = sum(math.prod(weight.shape) for weight in model.weights)
        text = f"{name} builds it: {len(actual)} layers, {count:,} numbers in weights"
        return Check("structure", True, text)
    path, there, here = difference
    why = (
        f"differs from that in {presets.MODEL}: {path} is {records.shown(there)} in the file and "
        f"{records.shown(here)} as built"
    )
    return Check("structure", False, f"{what} {why}. {where.again}")


def check_output(where, model):
    """Compare the model's output for the stored input with the stored output."""
    import keras
    import numpy as np

    from zoo.inference import stored_example

    path, wanted = where.folder / EXAMPLE, stored_sha256(where)
    if wanted is None:
        remedy = f"Store one: {where.store}"
        needed = where.preset and "published" not in where.record
        return Check("output", False if needed else None, f"no stored example. {remedy}")
    if not path.is_file() or sha256(path) != wanted:
        return Check("output", None, f"not checked: {path} is not the file of the card")
    remedy = f"{where.again}, or if the difference is intended, {where.store} --replace"
    try:
        arrays = stored_example.read(path)
        x, expected, step = arrays["input"], arrays["output"], int(arrays.get("step", 1))
        outputs = stored_example.predicted(model, x, step)
        keras.tree.assert_same_structure(expected, outputs)
        pairs = list(zip(*map(keras.tree.flatten, (expected, outputs)), strict=True))
    except Exception as error:  # of a file that is not an example, or of another model
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Check("output", False, f"{path}: its input cannot be used ({why}). {remedy}")
    if odd := next(((a.shape, b.shape) for a, b in pairs if a.shape != b.shape), None):
        why = f"its output has shape {odd[0]}, the model's has {odd[1]}"
        return Check("output", False, f"{path}: {why}. {remedy}")
    difference = max(float(np.max(np.abs(a - b), initial=0)) for a, b in pairs)
    scale = max(float(np.max(np.abs(a), initial=0)) for a, _ in pairs)
    limit = MIXED * max(1.0, scale) if is_mixed(model) else TOLERANCE
    backend = keras.backend.backend()
    if not difference <= limit:
        why = f"on {backend} the output differs from the one that is stored by {difference:.2g}"
        return Check("output", False, f"{path}: {why}, more than {limit:.2g}. {remedy}")
    text = f"differs by {difference:.1e} at most on {backend}, outputs up to {scale:.3g}"
    return Check("output", True, text)


def check_score(where, record, model, prepare):
    """Score the test split again and compare with the numbers of the card."""
    from zoo import tasks
    from zoo.inference import predictors, stored_example

    known = record.get("scores", {}).get("test", {})
    known = {key: value for key, value in known.items() if isinstance(value, float)}
    try:
        data = stored_example.prepared(record, prepare)
    except ValueError as error:
        return Check("score", None, f"not checked: {error}")
    results, size = tasks.of(record).results, record.get("settings", {}).get("batch_size")
    parts = predictors.parts(model, data.splits["test"], size or 16)
    scores, _ = results.score(results.summary(parts, record["info"]), record["info"])
    pairs = {key: (known[key], scores[key]) for key in known if key in scores}
    if not pairs:
        return Check("score", None, f"not checked: {where.file} has no score of the test split")
    wrong = {k: p for k, p in pairs.items() if not abs(p[0] - p[1]) <= SCORES * max(1, abs(p[0]))}
    count = f"{len(data.splits['test']):,} examples of {data.about['name']}"
    if wrong:
        name, (wanted, actual) = next(iter(wrong.items()))
        why = f"its {name} is {wanted:.4f}, and scoring the {count} again gives {actual:.4f}"
        return Check("score", False, f"{where.file}: {why}. {where.again}")
    name, (wanted, actual) = next(iter(pairs.items()))
    return Check("score", True, f"{name} {actual:.4f} and {len(pairs) - 1} more, on {count}")


def stored_sha256(where):
    """Return the SHA-256 of a stored example in the card, or None."""
    entry = where.record.get("example")
    value = entry.get("sha256") if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None


def built(record):
    """Return the layers of the model that a record's builder makes, and its info.

    No weights are made: a card may specify any number of them.
    """
    from zoo.inference import rebuilding, structure
    from zoo.weights import initial

    def build():
        precision = record.get("settings", {}).get("precision", "float32")
        model, info = rebuilding.build(record, precision)
        return structure.described(model), info

    return initial.without_weights(build)


def is_mixed(model):
    """Return whether a layer of a model computes in less than float32."""
    layers = model._flatten_layers()
    return any(layer.compute_dtype in ("float16", "bfloat16") for layer in layers)


def store(source, prepare=None, replace=False):
    """Store an input and its output with a preset or a run that has none.

    Args:
        source: the name of a preset, or a folder with a card.json or a run.json.
        prepare: function that prepares the data of the record, see above.
        replace: overwrite an example that is stored already.

    Returns:
        (path, entry): of the example's file, and its entry in the card.

    Raises:
        ValueError: if there is no such preset or run, it has an example, or the model's file is not
            that of the card.
    """
    from zoo.inference import stored_example
    from zoo.weights import saving

    where = place(source)
    target = where.folder / EXAMPLE
    if stored_sha256(where) and not replace:
        raise records.trouble(target, "an example is stored already", "To replace it: --replace")
    path = where.model()
    if not path.is_file() or sha256(path) != where.record["sha256"]:
        why = f"it is not the file whose SHA-256 is in {where.file}"
        raise records.trouble(path, why, where.again)
    record = {**inspection.record(path), **where.record}
    content, entry = stored_example.make(saving.load(path), record, prepare)
    with disk.whole(target) as half:
        half.write_bytes(content)
    with disk.whole(where.file) as half:
        half.write_text(presets.text({**where.record, "example": entry}), encoding="utf-8")
    index.presets.cache_clear()
    return target, entry
