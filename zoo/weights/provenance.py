"""Which examples a model depends on: kept in its record, handed on, and compared.

A record's "examples" holds for each split 64-bit hashes of the examples, in base64. "train" is all
that weights were fitted to: by the training itself, by that of the model it began with, of its
teacher, or of the members of an ensemble. "unknown" lists those of them that have no such record.
"""

import base64
import binascii

import numpy as np

EFFECT = ", so scores on it look better than they are"
NONE = np.zeros((0, 2), np.uint64)
SPLITS = ("train", "validation", "test")
CUT = ("fold", "validate", "skip_bad")  # settings that decide what is in which split


def encode(examples):
    """Return what a record holds of examples.

    Args:
        examples: {split: (m, 2) uint64}: the hash of an example, and 0 or which piece of it; see
            `datasets.examples.units`.
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
    """Return the examples (m, 2) of a record's split; None if it does not hold them."""
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
    """Return the examples (m, 2) that a model depends on; None if that is not known.

    A model without a record of its examples is known if it was trained on the same data, cut alike.

    Args:
        record: of the model.
        examples: {split: (m, 2)} of some data.
        about: the record of these data, with their fingerprint.
        cut: how they are split: fold, validate, skip_bad; further settings do not count.
    """
    rows = decode(record)
    if rows is not None:
        return rows
    data, settings = record.get("data", {}), record.get("settings", {})
    alike = all((settings.get(key) or None) == (cut.get(key) or None) for key in CUT)
    if "fingerprint" not in data or data["fingerprint"] != about["fingerprint"] or not alike:
        return None
    held = [examples["validation"]] if "fitted" in record else []
    return np.concatenate([examples["train"], *held])


def merged(fitted, sources, examples, about, cut):
    """Return the fields of a record of a model that was made of others.

    Args:
        fitted: (m, 2), what itself was fitted to.
        sources: [(name, record)] of the models that it was made of or distilled from.
        examples: as for `seen`, like the next two.
        about: see there.
        cut: see there.

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
        unknown += [f"{other} in {name}" for other in record.get("unknown", ())]
    fields = {"examples": encode({**examples, "train": np.unique(np.concatenate(parts), axis=0)})}
    return {**fields, "unknown": unknown} if unknown else fields


def inherit(record, name, other):
    """Add to a training's record what a model has seen that it starts from or is distilled from.

    Args:
        record: of the training, with "examples", "data" and "settings"; it is changed.
        name: of the other model, as sentences call it.
        other: its record; {} if it has none.

    Returns:
        Sentences on what it knows of the validation and the test split; they are noted in the
        record, too.
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
            f"Nobody can tell which examples {', '.join(fields['unknown'])} has seen. If some are "
            "of the validation or test split, scores look better than they are"
        )
    if sentences:
        record["notes"] = [*record.get("notes", []), *sentences]
    return sentences


def overlap(rows, others):
    """Say of each of some examples (m, 2) whether it, or some of it, is among others (n, 2).

    Pieces of one example that were cut in two ways, as tiles of two sizes are, may share something.

    Returns:
        Truth values (m,).
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
    """Return both columns as one number."""
    return rows[:, 0] + rows[:, 1] * np.uint64(0x9E3779B97F4A7C15)


def warnings(name, rows, examples, splits=("validation", "test")):
    """Return sentences on the examples that a model knows though they are to judge another one.

    Args:
        name: of the model, as the sentences call it.
        rows: what it has seen, (n, 2); None if that is not known.
        examples: {split: (m, 2)} of the data that it is used with.
        splits: those that are to be looked at.
    """
    sentences = []
    for split in splits if rows is not None else ():
        if count := int(overlap(examples[split], rows).sum()):
            sentences.append(
                f"{name} was trained on {count:,} of the {len(examples[split]):,} examples of the "
                f"{split} split{EFFECT}"
            )
    return sentences
