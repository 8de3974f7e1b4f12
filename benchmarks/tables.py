"""The generated parts of README.md, from the sources and the run.json files.

python -m benchmarks.tables     # or: make table
"""

import json
import pathlib
import re
import statistics

from benchmarks import contest
from zoo import index

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

# What others published of a data set: (score, method, value). Nearest neighbours by dynamic time
# warping over the whole length: Dau et al. 2019, https://doi.org/10.1109/JAS.2019.1911747, and
# Bagnall et al. 2018, https://arxiv.org/abs/1811.00075 (all values of a step together, "DTW_D").
# DLinear: Zeng et al. 2023, https://arxiv.org/abs/2205.13504, Table 2.
PUBLISHED = {
    "BasicMotions": [("accuracy", "1NN-DTW", 0.975)],
    "ETTh1": [("mse", "DLinear", 0.375), ("mae", "DLinear", 0.399)],
    "GunPoint": [("accuracy", "1NN-DTW", 0.907)],
    "ItalyPowerDemand": [("accuracy", "1NN-DTW", 0.950)],
    "JapaneseVowels": [("accuracy", "1NN-DTW", 0.949)],
    "OSULeaf": [("accuracy", "1NN-DTW", 0.591)],
}


def main():
    """Write README.md again."""
    path = ROOT / "README.md"
    path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")


def refreshed(text):
    """Return README's text with each part between `<!-- NAME -->` and `<!-- end -->` made anew."""
    for name, make in PARTS.items():
        block = f"<!-- {name} -->\n{make()}\n<!-- end -->"
        text = re.sub(
            rf"<!-- {name} -->.*?<!-- end -->", lambda _, b=block: b, text, flags=re.DOTALL
        )
    return text


def speed():
    """Return the tables of speed beside PyTorch, medians of alternating rounds."""
    tables = [speed_pointnet()]
    if (RESULTS / "benchmark_unet.json").exists():
        tables.append(speed_unet())
    return "\n\n".join(tables)


def speed_pointnet():
    """Return the table of clouds per second."""
    record = json.loads((RESULTS / "benchmark_pointnet.json").read_text(encoding="utf-8"))
    rows = [
        (name, *(f"{kinds[kind]:.1f}" for kind in contest.KINDS))
        for name, kinds in record["clouds_per_second"].items()
    ]
    rows.append(
        ("best of ours / best plain rival", *(f"{x:.2f}" for x in record["ratios"].values()))
    )
    waits = ", ".join(f"{name}: {found['share']:.1%}" for name, found in record["data"].items())
    head = table(("clouds per second", "training", "inference"), rows)
    where = f"`{record['command']}` on {record['machine']}."
    return f"{head}\n\n{where} Share of an epoch that makes batches: {waits}."


def speed_unet():
    """Return the table of images per second: a row a contestant, two columns a setting."""
    record = json.loads((RESULTS / "benchmark_unet.json").read_text(encoding="utf-8"))
    settings = record["settings"]
    speeds = [setting["images_per_second"] for setting in settings]
    ratios = [setting["ratios"] for setting in settings]

    def row(name, values):
        cells = [found.get(kind) for found in values for kind in contest.KINDS]
        return (name, *("" if cell is None else f"{cell:.2f}" for cell in cells))

    names = dict.fromkeys(name for found in speeds for name in found)
    rows = [row(name, [found.get(name, {}) for found in speeds]) for name in names]
    rows.append(row("best of ours / torch", ratios))
    rows.append(row("onnx / torch", [{"inference": found.get("onnx")} for found in ratios]))
    heads = [
        f"{64 * setting['width']:.0f} channels, {setting['size']}²: {kind}"
        for setting in settings
        for kind in contest.KINDS
    ]
    head = table(("images per second", *heads), rows)
    where = f"`{record['command']}` on {record['machine']}."
    batches = ", ".join(str(setting["batch_size"]) for setting in settings)
    return f"{head}\n\n{where} Channels are those of the first stage; images a step: {batches}."


def yolo():
    """Return the table of images per second of tiny YOLOv3: a row a width and kind."""
    path = RESULTS / "benchmark_yolo.json"
    if not path.exists():
        return ""
    record = json.loads(path.read_text(encoding="utf-8"))
    settings = record["settings"]
    names = list(dict.fromkeys(name for one in settings for name in one["images_per_second"]))
    rows = []
    for one in settings:
        for kind in contest.KINDS:
            found = [one["images_per_second"].get(name, {}).get(kind) for name in names]
            found.append(one["ratios"].get(kind))
            cells = ["" if value is None else f"{value:.2f}" for value in found]
            rows.append((f"width {one['width']}, {kind}", *cells))
    head = table(("images per second", *names, "best of ours / torch"), rows)
    batches = ", ".join(
        dict.fromkeys(f"{x['batch_size']} images of {x['size']}²" for x in settings)
    )
    where = f"`{record['command']}` on {record['machine']}."
    return f"{head}\n\n{where} Tiny YOLOv3 of 80 classes, {batches} a step."


def bilstm():
    """Return the table of series per second of a BiLSTM: a row a contestant."""
    path = RESULTS / "benchmark_bilstm.json"
    if not path.exists():
        return ""
    record = json.loads(path.read_text(encoding="utf-8"))
    settings = record["settings"]
    columns = [(one, kind) for one in settings for kind in contest.KINDS]
    names = dict.fromkeys(name for one in settings for name in one["series_per_second"])
    rows = [
        (name, *(cell(one["series_per_second"].get(name, {}).get(kind)) for one, kind in columns))
        for name in names
    ]
    rows.append(("best of ours / best of torch", *(cell(x["ratios"].get(k)) for x, k in columns)))
    head = table(
        ("series per second", *(f"{one['batch_size']} a step: {kind}" for one, kind in columns)),
        rows,
    )
    where = f"`{record['command']}` on {record['machine']}."
    length = ", ".join(dict.fromkeys(str(one["length"]) for one in settings))
    return f"{head}\n\n{where} Two layers of 16 units each way, {length} steps of one value."


def cell(value):
    """Say a number of a table, or nothing."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def models():
    """Return the table of models."""
    rows = [
        (
            f"[`{row.name}`]({row.file})",
            ", ".join(row.tasks).replace("_", " "),
            f"{row.parameters:,}",
            row.source,
        )
        for row in index.models().values()
    ]
    return table(("model", "task", "parameters", "paper"), rows)


def presets():
    """Return the table of presets."""
    rows = []
    for name, card in index.presets().items():
        test = card["scores"]["test"]
        scores = ", ".join(f"{key.replace('_', ' ')} {test[key]:.3f}" for key in numbers(test))
        rows.append((f"`{name}`", f"`{card['model']}`", card["data"]["name"], scores))
    return table(("preset", "model", "data", "test"), rows)


def results():
    """Return the table of results: a row a command, its runs with other seeds or folds together."""
    groups = {}
    for path in sorted(RESULTS.glob("*/run.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if "rows" in run:
            continue  # an ensemble's
        command = re.sub(r" --(seed|out) \S+", "", run["settings"]["command"])
        command = re.sub(r"--fold \d+/", "--fold K/", command)
        groups.setdefault(command, []).append(run)
    rows = []
    for command, runs in sorted(groups.items(), key=lambda item: item[1][0]["data"]["name"]):
        tests = [run["scores"]["test"] for run in runs]
        several = "folds" if "--fold" in command else "seeds"
        scores = ", ".join(
            summary(key, [test[key] for test in tests], several) for key in numbers(tests[0])
        )
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        sizes = runs[0]["data"]["sizes"]
        rows.append(
            (
                runs[0]["data"]["name"],
                f"{sizes['train']:,} / {sizes['test']:,}",
                scores,
                f"{minutes:.1f}",
                runs[0]["machine"],
                f"`{command}`",
            )
        )
    return table(("data", "train / test", "test score", "minutes", "machine", "command"), rows)


def published():
    """Return the table beside published results: means over seeds, and what ensembles add."""
    runs = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*/run.json"))
    ]
    rows = []
    for name, scores in PUBLISHED.items():
        for key, method, value in scores:
            singles, joined = {}, {}
            for run in runs:
                if run["data"]["name"] != name:
                    continue
                if "rows" not in run:
                    singles.setdefault(run["model"], []).append(run["scores"]["test"][key])
                    continue
                members = {one["name"] for one in run["members"]}
                whole = " ".join(one["sha256"] for one in run["members"])
                for row in run["rows"]:
                    if row["name"] not in members:
                        joined.setdefault(way(row, run), {})[whole] = row["scores"][key]
            ours = ", ".join(summary(model, values, "seeds") for model, values in singles.items())
            also = ", ".join(summary(x, list(sets.values()), "sets") for x, sets in joined.items())
            rows.append((name, key, ours, also, f"{method} {value:.3f}"))
    return table(("data", "test", "ours", "ensembles of these", "published"), rows)


def numbers(scores):
    """Return the names of the scores that are one number, of masks and boxes the usual three."""
    if "dice" in scores:
        return ["dice", "mean_iou", "accuracy"]
    if "map50" in scores:
        return ["map50", "map", "map75"]
    return [key for key, value in scores.items() if isinstance(value, float)]


def summary(key, values, several):
    """Say one score, with its spread where there are several runs."""
    text = f"{key.replace('_', ' ')} {statistics.mean(values):.3f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.3f} ({len(values)} {several})"
    return text


def ensembles():
    """Return the tables of ensembles: members and combinations, means over sets of members.

    Those of data in PUBLISHED are in the table of that name.
    """
    found = {}  # data, then name of a row, then set of members: the row
    for path in sorted(RESULTS.glob("*/run.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if "rows" not in run or run["data"]["name"] in PUBLISHED:
            continue
        names = dict(zip((one["name"] for one in run["members"]), labels(run), strict=True))
        whole = " ".join(member["sha256"] for member in run["members"])
        for row in run["rows"]:
            label = names.get(row["name"], f"**{way(row, run)}**")
            rows = found.setdefault(run["data"]["name"], {}).setdefault(label, {})
            rows[whole] = row
    return "\n\n".join(ensemble_table(name, rows) for name, rows in found.items())


def way(row, run):
    """Name a way of combining, with its meta-learner if it has one."""
    meta = run.get("found", {}).get("meta") if row["name"] == run["model"] else None
    return f"{row['name']}, {meta}" if meta else row["name"]


def labels(run):
    """Name members by what their commands have of their own, but for the seed if there is else."""
    words = [re.sub(r"--seed \S+", "", one["command"]).split() for one in run["members"]]
    shared = set(words[0]).intersection(*words[1:])
    if all(set(each) == shared for each in words):
        seeds = (re.search(r"--seed (\S+)", one["command"]) for one in run["members"])
        return [f"seed {seed[1] if seed else 0}" for seed in seeds]
    return [" ".join(word for word in each if word not in shared) for each in words]


def ensemble_table(name, found):
    """Return the table of one data set."""
    first = next(iter(next(iter(found.values())).values()))
    key = next(iter(first["scores"]))
    count = max(len(rows) for rows in found.values())
    if first.get("nll") is not None:
        also = {"nll": "log-loss", "ece": "calibration error"}
    else:
        also = {one: one for one in first["scores"] if one != key}
    rows = []
    for label, sets in found.items():
        values = [row["scores"][key] for row in sets.values()]
        cells = [f"{statistics.mean(values):.4f}"]
        if len(sets) > 1:
            cells[0] += f" ± {statistics.stdev(values):.4f}"
        for known in also:
            each = [row["scores"].get(known, row.get(known)) for row in sets.values()]
            cells.append(f"{statistics.mean(each):.4f}")
        rows.append((label, *cells))
    title = f"{name}, {count} sets of members" if count > 1 else name
    return table((title, f"test {key}", *also.values()), rows)


def stacking():
    """Return what stacking by kept outputs costs beside training the whole graph."""
    path = RESULTS / "benchmark_stacking.json"
    if not path.exists():
        return ""
    record = json.loads(path.read_text(encoding="utf-8"))
    seconds = {
        way: statistics.median(run["seconds"] for run in runs)
        for way, runs in record["rounds"].items()
    }
    inference = record["inference"]
    return (
        f"Stacking {record['members']} U-Nets of width {record['width']} for {record['epochs']} "
        f"epochs on {record['images']} images of {record['size']}²: {seconds['naive']:.0f} s with "
        f"the members in the graph, {seconds['ours']:.0f} s from kept outputs, all included: "
        f"{record['ratio']:.1f} x; the last losses differ by {record['loss_difference']:.1e}. The "
        f"joined model takes {inference['keras']['ratio']:.2f} x the time of its members one after "
        f"the other, as one ONNX file {inference['onnx']['ratio']:.2f} x. `{record['command']}` "
        f"on {record['machine']}."
    )


PARTS = {
    "models": models,
    "presets": presets,
    "results": results,
    "published": published,
    "ensembles": ensembles,
    "speed": speed,
    "yolo": yolo,
    "bilstm": bilstm,
    "stacking": stacking,
}


def table(head, rows):
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
