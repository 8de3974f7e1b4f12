"""Which examples a model was trained on: recorded, inherited, and compared.

A record's "examples" has for each split 64-bit hashes of the examples, in base64. "train" are all
examples that weights were fitted to: in the training itself, and in that of the initial model, of
the teacher, or of the members of an ensemble. "unknown" lists those models without such a record.
"""

import base64
import binascii

import numpy as np

EFFECT = ", so scores on it look better than they are"
NONE = np.zeros((0, 2), np.uint64)
SPLITS = ("train", "validation", "test")
CUT = ("fold", "validate", "skip_bad")  # settings that define the splits


def encode(examples):
    """Return the entry of a record for examples.

    Args:
        examples: {split: (m, 2) uint64}: the hash of an example, and 0 or the index of its piece;
            see `datasets.examples.units`.
    """
    encoded = {}
    for split, rows in examples.items():
        whole = rows[:, 1] == 0
        encoded[split] = _text(rows[whole, 0])
        if not whole.all():
            encoded[f"{split}_pieces"] = _text(rows[~whole])
    return encoded


def _text(array):
    return base64.b64encode(array.astype("<u8").tobytes()).decode()


def decode(record, split="train"):
    """Return the examples (m, 2) of a record's split; None if they are not recorded."""
    encoded = record.get("examples")
    if not isinstance(encoded, dict) or not isinstance(encoded.get(split), str):
        return None
    try:
        whole, pieces = (
            np.frombuffer(base64.b64decode(encoded.get(key, ""), validate=True), "<u8")
            for key in (split, f"{split}_pieces")
        )
        pieces = pieces.reshape(-1, 2)
    except (ValueError, TypeError, binascii.Error):
        return None
    whole = np.stack([whole, np.zeros_like(whole)], axis=1)
    return np.concatenate([whole, pieces]).astype(np.uint64)


def seen(record, examples, about, cut):
    """Return the examples (m, 2) that a model was trained on; None if they are not known.

    Without a record, they are known if the model was trained on the same data with the same splits.

    Args:
        record: of the model.
        examples: {split: (m, 2)} of some data.
        about: the record of these data, with their fingerprint.
        cut: settings of their splits: fold, validate, skip_bad; others are ignored.
    """
    rows = decode(record)
    if rows is not None:
        return rows
    data, settings = record.get("data", {}), record.get("settings", {})
    alike = all((settings.get(key) or None) == (cut.get(key) or None) for key in CUT)
    if "fingerprint" not in data or data["fingerprint"] != about["fingerprint"] or not alike:
        return None
    validation = [examples["validation"]] if "fitted" in record else []
    return np.concatenate([examples["train"], *validation])


def merged(fitted, sources, examples, about, cut):
    """Return the fields of a record of a model that is based on others.

    Args:
        fitted: (m, 2), the examples that the model itself was fitted to.
        sources: [(name, record)] of the models that it is made of or distilled from.
        examples: as for `seen`.
        about: as for `seen`.
        cut: as for `seen`.

    Returns:
        {"examples": ..., "unknown": names}, the second only if there are any.
    """
    parts, unknown = [fitted], []
    for name, record in sources:
        rows = seen(record, examples, about, cut)
        if rows is None:
            unknown.append(name)
        else:
            parts.append(rows)
        unknown += [f"{source} in {name}" for source in record.get("unknown", ())]
    fields = {"examples": encode({**examples, "train": np.unique(np.concatenate(parts), axis=0)})}
    return {**fields, "unknown": unknown} if unknown else fields


def inherit(record, name, other):
    """Add to a training's record the examples of its initial model or teacher.

    Args:
        record: of the training, with "examples", "data" and "settings"; changed in place.
        name: of the initial model or teacher, for the messages.
        other: its record; {} if it has none.

    Returns:
        Warnings on overlap with the validation and test split; they are added to the record,
        too.
    """
    examples = {split: decode(record, split) for split in SPLITS}
    unknown, about, cut = record.get("unknown", []), record["data"], record["settings"]
    fields = merged(examples["train"], [(name, other)], examples, about, cut)
    record |= fields
    if unknown:
        record["unknown"] = [*unknown, *fields.get("unknown", [])]
    sentences = warnings(name, seen(other, examples, about, cut), examples)
    if fields.get("unknown"):
        sentences.append(
            f"Nobody can tell which examples {', '.join(fields['unknown'])} was trained "
            "on. If some are of the validation or test split, scores look better than they are"
        )
    if sentences:
        record["notes"] = [*record.get("notes", []), *sentences]
    return sentences


def overlap(rows, others):
    """Return whether each example (m, 2), or a part of it, is among others (n, 2).

    Pieces of one example that were cut in two ways, such as tiles of two sizes, may overlap.

    Returns:
        (m,) bool.
    """
    cut = np.uint64(32)
    whole = others[:, 1] == 0
    shared = np.isin(rows[:, 0], others[whole, 0])
    shared |= (rows[:, 1] == 0) & np.isin(rows[:, 0], others[:, 0])
    shared |= np.isin(_mixed(rows), _mixed(others))
    for way in np.unique(rows[rows[:, 1] != 0, 1] >> cut):
        unlike = ~whole & (others[:, 1] >> cut != way)
        shared |= (rows[:, 1] >> cut == way) & np.isin(rows[:, 0], others[unlike, 0])
    return shared


def _mixed(rows):
    """Return a hash of both columns."""
    return rows[:, 0] + rows[:, 1] * np.uint64(0x9E3779B97F4A7C15)


def warnings(name, rows, examples, splits=("validation", "test")):
    """Return warnings if a model was trained on examples of splits that are used to score.

    Args:
        name: of the model, for the messages.
        rows: examples that it was trained on, (n, 2); None if they are not known.
        examples: {split: (m, 2)} of the data that it is scored on.
        splits: the splits to check.
    """
    sentences = []
    for split in splits if rows is not None else ():
        if count := int(overlap(examples[split], rows).sum()):
            sentences.append(
                f"{name} was trained on {count:,} of the {len(examples[split]):,} examples of the "
                f"{split} split{EFFECT}"
            )
    return sentences
