"""Provenance: the members' training data, and leakage of validation or test examples into it."""

import json

from zoo.weights import provenance

COPIES = 0.05  # tolerated share of validation examples that duplicate training examples


def source(members):
    """Return the name or path of the data that the members were trained on.

    Raises:
        ValueError: if no member has a record of its data, or two differ.
    """
    known = [(member, member.record["data"]) for member in members if "data" in member.record]
    if not known:
        raise ValueError(
            "no member has a record of its training data. Give the data to combine them on: --data"
        )
    first, data = known[0]
    for member, member_data in known[1:]:
        if member_data["fingerprint"] != data["fingerprint"]:
            raise ValueError(
                f"{first.name} and {member.name} were trained on different data, {data['source']} "
                f"and {member_data['source']}. Give the data to combine them on: --data"
            )
    return data["source"]


def cut(members):
    """Return the settings by which the members' data are read and split, where they agree."""
    settings = [member.record["settings"] for member in members if "settings" in member.record]
    agreed = {}
    for key in ("fold", "validate", "hints", "skip_bad"):
        values = [record.get(key) or None for record in settings]
        agreed[key] = values[0] if values and all(v == values[0] for v in values) else None
    return {**agreed, "skip_bad": bool(agreed["skip_bad"])}


def leakage(members, about, cut, examples=None):
    """Return which members were trained on examples that the ensemble is fitted to or tested on.

    Examples are compared by content, whatever their files are called. For members without a record
    of their examples, only the data and the split settings are compared: the same data and settings
    give the same validation split, so a member that was trained on the same data with other
    settings has seen some of its examples.

    Args:
        members: list of `Member`.
        about: the record of the data, with its fingerprint.
        cut: {"fold": ..., "validate": ..., "skip_bad": ...}, how the data are split.
        examples: {split: (m, 2) uint64} of the data, see `zoo.weights.provenance`.

    Returns:
        (refusals, warnings): two lists of sentences; the first is about the examples to fit to.
    """
    refusals, warnings = [], list(about.get("duplicates", ()))
    for member in members:
        name, record = member.name, member.record
        data, settings = record.get("data", {}), record.get("settings", {})
        if examples is not None and provenance.decode(record) is not None:
            known = known_examples(name, record, examples)
            refusals += known[0]
            warnings += known[1]
            if unknown := record.get("unknown"):
                warnings.append(
                    f"{name}: the training examples of {', '.join(unknown)}, which it was made of, "
                    "are unknown"
                )
        elif "fingerprint" not in data:
            warnings.append(
                f"{name}: it has no record of its training, so it may have been trained on the "
                "data that it is combined on"
            )
        elif data["fingerprint"] != about["fingerprint"]:
            continue
        elif "fitted" in record:
            refusals.append(f"{name} is an ensemble that was fitted to the same examples")
        elif different := [key for key in cut if (settings.get(key) or None) != (cut[key] or None)]:
            ways = ", ".join(f"{key} {json.dumps(settings.get(key))}" for key in different)
            refusals.append(f"{name} was trained on some of the same examples ({ways})")
    return refusals, warnings


def known_examples(name, record, examples):
    """Return (refusals, warnings) of a member that has a record of its examples."""
    held, rows = examples["validation"], provenance.decode(record)
    seen = provenance.overlap(held, rows)
    duplicated = provenance.overlap(held, examples["train"])
    sentences = provenance.warnings(name, rows, examples, ["validation"])
    few = not (seen & ~duplicated).any() and seen.mean() <= COPIES if len(held) else True
    test_warnings = provenance.warnings(name, rows, examples, ["test"])
    if few:
        return [], sentences + test_warnings
    return [text.removesuffix(provenance.EFFECT) for text in sentences], test_warnings
