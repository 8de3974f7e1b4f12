"""What the tasks on series share: selection of columns, filling of gaps, scales."""

import numpy as np

FILLS = ("forward", "interpolate", "zero", "none")
PLAIN = 1e-12  # a column that varies by a smaller share of its size is constant


def selected(example, options):
    """Select columns, the targets first, and fill gaps.

    Returns:
        {"values": (T, F) float64, "columns": names, "targets": how many of them are forecast,
        "times": (T,) int64 nanoseconds since 1970 or None, "notes": sentences}.

    Raises:
        ValueError: if there is no such column.
    """
    values, count = np.asarray(example["values"], np.float64), example["values"].shape[1]
    default = ["value"] if count == 1 else [str(i) for i in range(count)]
    names = [str(name) for name in example.get("columns", default)]
    times, names, values = timed(example, names, values, options["time"])
    wanted = chosen(options["target"], names) or names
    if options["inputs"] not in ("all", "targets"):
        raise ValueError(f"inputs are {options['inputs']!r}: give all or targets")
    places, targets = {name: i for i, name in enumerate(names)}, set(wanted)
    others = [name for name in names if name not in targets] if options["inputs"] == "all" else []
    values = values[:, [places[name] for name in wanted + others]]
    notes, missing = [], int(np.isnan(values).sum())
    if missing:
        share = f"{missing:,} of {values.size:,} values"
        notes.append(f"{share} are missing, filled by {options['fill']}")
    if times is not None and len(times) > 1:
        steps = np.diff(times)
        irregular = np.flatnonzero(steps != np.median(steps))
        # Months and years have no length of their own.
        if len(irregular) and np.median(steps) < 27 * 86400e9:
            usual, first = np.median(steps) / 1e9, steps[irregular[0]] / 1e9
            notes.append(
                f"{len(irregular):,} of {len(steps):,} steps are not {usual:g} s long, the first "
                f"after step {irregular[0]}, {first:g} s: they are treated as regular"
            )
    return {
        "values": filled(values, options["fill"]),
        "columns": wanted + others,
        "targets": len(wanted),
        "times": times,
        "notes": notes,
    }


def chosen(text, names):
    """Return the columns that a text names, separated by commas; the longest name that matches.

    Raises:
        ValueError: if there is no such column.
    """
    known, wanted = set(names), []
    words = text.split(",") if text.strip() else []
    while words:
        ends = [i for i in range(len(words), 0, -1) if ",".join(words[:i]).strip() in known]
        if not ends and words[0].strip():
            shown = f"{names[:20]}" + (f" and {len(names) - 20:,} more" * (len(names) > 20))
            raise ValueError(
                f"there is no column {words[0].strip()} to forecast: there are {shown}"
            )
        count = ends[0] if ends else 1
        wanted += [",".join(words[:count]).strip()] if ends else []
        words = words[count:]
    return list(dict.fromkeys(wanted))


def timed(example, names, values, name):
    """Return the times of the steps, (T,) or None, and the columns and values that are left."""
    unnamed = ["time"] if "times" in example else []
    dates = [str(column) for column in example.get("time_columns", unnamed)]
    if name and name in names:
        place = names.index(name)
        return None, names[:place] + names[place + 1 :], np.delete(values, place, axis=1)
    if name and name not in dates:
        raise ValueError(f"there is no column {name} with times: there are {dates + names}")
    if not dates:
        return None, names, values
    return example["times"][:, dates.index(name) if name else 0], names, values


def scales(values):
    """Return mean and standard deviation of each column of values (n, F), two lists."""
    deviation, size = values.std(axis=0), np.abs(values).max(axis=0)
    varies = deviation > np.maximum(PLAIN * size, np.finfo(np.float64).tiny)
    return values.mean(axis=0).tolist(), np.where(varies, deviation, 1.0).tolist()


def filled(values, rule):
    """Return values (T, F) without gaps.

    Args:
        values: float, NaN where one is missing.
        rule: "forward", the last known value, and before any the first; "interpolate", on a line
            between neighbours, which looks ahead; "zero"; or "none", if there must be no gap.

    Raises:
        ValueError: if a value is missing and must not be, or a column has no values.
    """
    if rule not in FILLS:
        raise ValueError(f"fill is {rule!r}: give one of {', '.join(FILLS)}")
    values = np.asarray(values, np.float64)
    gaps = np.isnan(values)
    if not gaps.any():
        return values
    if gaps.all(axis=0).any():
        raise ValueError(f"column {int(gaps.all(axis=0).argmax())} holds no value at all")
    if rule == "none":
        step, column = np.argwhere(gaps)[0]
        raise ValueError(
            f"{int(gaps.sum())} values are missing, the first at step {step} of column {column}: "
            "fill them, --set fill=forward"
        )
    if rule == "zero":
        return np.where(gaps, 0.0, values)
    values, steps = values.copy(), np.arange(len(values))
    for column, missing in zip(values.T, gaps.T, strict=True):
        known = np.flatnonzero(~missing)
        if rule == "interpolate":
            column[missing] = np.interp(steps[missing], known, column[known])
        else:
            before = np.searchsorted(known, steps[missing], side="right") - 1
            column[missing] = column[known[np.maximum(before, 0)]]
    return values
