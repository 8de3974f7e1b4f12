"""The rows of a report as columns: texts, the best of each, and a sentence that sums them up."""

import itertools
import math
import re

from zoo import plots

COLOURS = {"member": plots.QUIET, "ensemble": "#1f5fae", "student": "#b3541e"}
COLOURS |= {"member with TTA": "#4d7a4d", "member with MC dropout": "#7a4d7a"}
ERRORS = ("mse", "mae", "mase")  # scores of which lower is better
BEST = "best of its column: highest score; lowest error, NLL, Brier, ECE, AURC and time"
INTERVAL = "95% interval: bootstrap over the test examples"


def columns(rows):
    """Return the columns, scores first; the first score is followed by its interval."""
    first, *others = rows[0]["scores"]
    numbers = [("nll", ".4f", -1), ("brier", ".4f", -1), ("ece", ".4f", -1)]
    numbers += [("adaptive_ece", ".4f", -1), ("aurc", ".4f", -1), ("accuracy_at_80", ".4f", 1)]
    numbers += [("parameters", ",", 0)]
    numbers += [("milliseconds", ",.2f", -1), ("weight", ".3f", 0)]
    scores = [column(rows, key, ".4f", -1 if key in ERRORS else 1) for key in (first, *others)]
    return [
        scores[0],
        interval_column(rows),
        *scores[1:],
        *(column(rows, *arguments) for arguments in numbers),
    ]


def column(rows, key, form, sign):
    """Return a column: key, title, arrow, values, texts, whether it is empty, and its best rows.

    Args:
        rows: as `report.write` takes them.
        key: of the value in a row, or in its scores.
        form: format of a number.
        sign: 1 if higher is better, -1 if lower is, 0 if neither.
    """
    values = [row["scores"].get(key, row.get(key)) for row in rows]
    texts = ["–" if value is None else format(value, form) for value in values]
    known = [i for i, value in enumerate(values) if value is not None and math.isfinite(value)]
    ranked = sorted(
        known, key=lambda i: (-sign or 1) * round(values[i], 4)
    )  # ties keep their order
    differ = sign and len({texts[i] for i in known}) > 1
    best = {i for i in known if differ and texts[i] == texts[ranked[0]]}  # as displayed
    if key == "milliseconds":
        others = {*known} - best
        best = {i for i in best if not any(overlap(rows[i], rows[j]) for j in others)}
    return {
        "key": key,
        "title": plots.label(key),
        "arrow": {1: "\N{NO-BREAK SPACE}↑", -1: "\N{NO-BREAK SPACE}↓", 0: ""}[sign],
        "values": values,
        "texts": texts,
        "empty": all(value is None for value in values),
        "ranked": ranked,
        "best": best,
    }


def overlap(row, other):
    """Return whether the measured times of two rows overlap, so that neither is clearly faster."""
    a, b = row.get("milliseconds_range"), other.get("milliseconds_range")
    return bool(a and b) and a[0] <= b[1] and b[0] <= a[1]


def interval_column(rows):
    """Return the column of the first score's intervals."""
    pairs = [row.get("interval") for row in rows]
    texts = ["–" if pair is None else "{:.3f}–{:.3f}".format(*pair) for pair in pairs]
    constants = {"arrow": "", "ranked": [], "best": set(), "empty": not any(pairs)}
    return {
        "key": "interval",
        "title": "95% interval",
        "values": pairs,
        "texts": texts,
        **constants,
    }


def groups(rows):
    """Return groups of consecutive rows of one kind: pairs (title, indices of the rows)."""
    runs = itertools.groupby(range(len(rows)), key=lambda i: rows[i]["kind"])
    titles = {kind: re.sub(r"^\w+", r"\g<0>s", kind) for kind in COLOURS}  # "members with TTA"
    return [(titles[kind], [*indices]) for kind, indices in runs]


def summary(rows):
    """Return a sentence on the row with the best first score, compared with the best member."""
    first = columns(rows)[0]
    if not first["ranked"]:
        return f"No row has a {first['title']}."
    top = first["ranked"][0]
    best = next((i for i in first["ranked"] if rows[i]["kind"] == "member"), top)
    highest, beyond = ("Lowest", "below") if first["key"] in ERRORS else ("Highest", "above")
    text = f"{highest} {first['title']}: {rows[top]['name']}, {first['texts'][top]}"
    if top != best:
        member = f"{rows[best]['name']} ({first['texts'][best]})"
        gain = rows[top].get("gain")
        if gain and gain["interval"][0] <= 0 <= gain["interval"][1]:
            low, high = (f"{value:+.4f}" for value in gain["interval"])
            return (
                f"No row is significantly better than the best member, {member}: "
                f"{rows[top]['name']} gains {gain['value']:+.4f}, with a 95% interval from {low} "
                f"to {high}."
            )
        difference = abs(first["values"][top] - first["values"][best])
        return f"{text}, which is {difference:.4f} {beyond} the best member, {member}."
    alone = all(row["kind"] == "member" for row in rows) or rows[top]["kind"] != "member"
    return f"{text}." if alone else f"{text}, a member; no combination is {beyond} it."
