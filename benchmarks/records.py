"""All results in one table, `benchmarks/results.json`, gathered from the records of single runs.

python -m benchmarks.records    # or: make table, which also generates the pages

A record is the run.json of a training run or an ensemble, the benchmark_*.json of a benchmark, or
the attack_*.json of an attack, in `benchmarks/results`. README.md and docs/ get all results from
this table.
"""

import json
import pathlib

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLE = ROOT / "benchmarks" / "results.json"

RUN = ("model", "task", "seed", "options", "epochs", "best_epoch", "seconds", "machine", "backend")
RUN += ("pruned",)  # of runs with --prune
ROW = ("name", "kind", "parameters", "nll", "ece", "interval", "milliseconds")


def main():
    """Write the table."""
    TABLE.write_text(dumps(gather(RESULTS)), encoding="utf-8")


def gather(folder):
    """Return the table of the records in a folder.

    Returns:
        A dictionary: "runs" and "ensembles", lists of records by name, and "speed", the records of
        benchmarks by name, and "attacks", the attack.json of `python -m zoo attack`.
    """
    table = {"runs": [], "ensembles": [], "speed": {}, "attacks": []}
    for path in sorted(folder.glob("*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        kind = "ensembles" if "rows" in record else "runs"
        table[kind].append({"record": path.parent.name, **shortened(record)})
    for path in sorted(folder.glob("benchmark_*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        record.pop("versions", None)
        if "inference" not in record:  # drop the rounds: the record has their medians
            record.pop("rounds", None)
            for setting in record.get("settings", ()):
                setting.pop("rounds", None)
        table["speed"][path.stem.removeprefix("benchmark_")] = record
    for path in sorted(folder.glob("attack_*.json")):
        table["attacks"].append(json.loads(path.read_text(encoding="utf-8")))
    return table


def shortened(record):
    """Return the fields of a run.json that the pages need, without histories and per-class scores.

    "current" is whether the run was made by the code that uses every example in every epoch or, for
    ensembles, that fits the meta-learner to the complete validation split. The former has "hints"
    in its settings, the latter has intervals in its rows.
    """
    data = record.get("data", {})
    short = {key: record[key] for key in RUN if key in record}
    short["data"] = {key: data[key] for key in ("name", "licence", "sizes") if data.get(key)}
    short["command"] = record.get("settings", {}).get("command", "")
    short["keras"] = record.get("versions", {}).get("keras", "")
    if "rows" in record:
        short["fitted"] = record.get("fitted")
        short["meta"] = record.get("found", {}).get("meta")
        short["current"] = all(row.get("interval") for row in record["rows"])
        short["members"] = [
            {key: member[key] for key in ("name", "sha256", "command") if key in member}
            for member in record["members"]
        ]
        short["rows"] = [
            {**{key: row[key] for key in ROW if key in row}, "scores": plain(row["scores"])}
            for row in record["rows"]
        ]
    else:
        short["current"] = "hints" in record.get("settings", {})
        short["scores"] = {split: plain(scores) for split, scores in record["scores"].items()}
    return short


def plain(scores):
    """Return the scores that are single numbers."""
    return {key: value for key, value in scores.items() if isinstance(value, int | float)}


def dumps(table):
    """Return the table as JSON with one line per record, for readable diffs."""
    parts = []
    for kind in ("runs", "ensembles", "attacks"):
        lines = ",\n".join("  " + json.dumps(record) for record in table[kind])
        parts.append(f' "{kind}": [\n{lines}\n ]')
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in table["speed"].items())
    parts.append(f' "speed": {{\n{lines}\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
