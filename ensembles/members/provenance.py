"""Provenance: the data that members were trained on, and whether they have seen the examples."""

import json

from zoo.weights import provenance

COPIES = 0.05  # share of the examples to fit to that may be copies of the data's own training


def source(members):
    """Return the name or path of the data that the members were trained on.

    Raises:
        ValueError: if no member says, or two differ.
    """
    known = [(one, one.record["data"]) for one in members if "data" in one.record]
    if not known:
        raise ValueError(
            "no member says what it was trained on. Say what to combine them on: --data"
        )
    first, data = known[0]
    for other, theirs in known[1:]:
        if theirs["fingerprint"] != data["fingerprint"]:
            raise ValueError(
                f"{first.name} and {other.name} were trained on different data, {data['source']} "
                f"and {theirs['source']}. Say what to combine them on: --data"
            )
    return data["source"]


def cut(members):
    """Return how the members' data are read and split, where they agree."""
    settings = [one.record["settings"] for one in members if "settings" in one.record]
    agreed = {}
    for key in ("fold", "validate", "hints", "skip_bad"):
        values = [each.get(key) or None for each in settings]
        agreed[key] = values[0] if values and all(v == values[0] for v in values) else None
    return {**agreed, "skip_bad": bool(agreed["skip_bad"])}


def leakage(members, about, cut, examples=None):
    """Find out which members were trained on what the ensemble would be fitted to or judged by.

    Examples are compared one by one, so it does not matter how their files are called now. Of
    members without a record of their examples only the data and their splits are known: the
    validation split is cut the same way for all who cut the same data alike; so whoever was
    trained on the same data, cut otherwise, has seen some of it.

    Args:
        members: list of `Member`.
        about: the record of the data, with its fingerprint.
        cut: {"fold": ..., "validate": ..., "skip_bad": ...}, how they are split.
        examples: {split: (m, 2) uint64} of the data, see `zoo.weights.provenance`.

    Returns:
        (refusals, warnings): two lists of sentences; the first is of what would be fitted.
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
                    f"{name}: nobody can tell which examples {', '.join(unknown)} has seen, "
                    "which it was made of"
                )
        elif "fingerprint" not in data:
            warnings.append(
                f"{name}: it has no record of its training, so nobody can tell whether it "
                "has seen the data that it is combined on"
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
    own = provenance.overlap(held, examples["train"])
    sentences = provenance.warnings(name, rows, examples, ["validation"])
    few = not (seen & ~own).any() and seen.mean() <= COPIES if len(held) else True
    judged = provenance.warnings(name, rows, examples, ["test"])
    if few:
        return [], sentences + judged
    return [text.removesuffix(provenance.EFFECT) for text in sentences], judged
