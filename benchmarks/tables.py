"""The generated tables of README.md and docs/, from the sources and the table of results.

python -m benchmarks.pages     # or: make table
"""

import re
import statistics

from benchmarks import contest, records
from zoo import index

RESULTS = records.RESULTS

# What others published of a data set: (score, method, value). Nearest neighbours by dynamic time
# warping over the whole length: Dau et al. 2019, https://doi.org/10.1109/JAS.2019.1911747, and
# Bagnall et al. 2018, https://arxiv.org/abs/1811.00075 (all values of a step together, "DTW_D").
# DLinear: Zeng et al. 2023, https://arxiv.org/abs/2205.13504, Table 2.
PUBLISHED = {
    "ArrowHead": [("accuracy", "1NN-DTW", 0.703)],
    "BasicMotions": [("accuracy", "1NN-DTW", 0.975)],
    "ETTh1": [("mse", "DLinear", 0.375), ("mae", "DLinear", 0.399)],
    "GunPoint": [("accuracy", "1NN-DTW", 0.907)],
    "ItalyPowerDemand": [("accuracy", "1NN-DTW", 0.950)],
    "JapaneseVowels": [("accuracy", "1NN-DTW", 0.949)],
    "OSULeaf": [("accuracy", "1NN-DTW", 0.591)],
}

SCORES = {
    "map50": "mAP50",
    "map75": "mAP75",
    "map": "mAP",
    "ar100": "AR100",
    "mse": "MSE",
    "mae": "MAE",
    "r2": "R²",
    "mase": "MASE",
    "dice": "Dice",
    "mean_iou": "mean IoU",
}


def score_name(key):
    """Return a score's name as its field writes it."""
    return SCORES.get(key, key.replace("_", " "))


def speed():
    """Return the tables of speed beside PyTorch, medians of alternating rounds."""
    tables = [speed_pointnet()]
    if "unet" in records.gather(RESULTS)["speed"]:
        tables.append(speed_unet())
    return "\n\n".join(tables)


def speed_pointnet():
    """Return the table of clouds per second."""
    record = records.gather(RESULTS)["speed"]["pointnet"]
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
    return f"{head}\n\n{where} Share of an epoch that prepares batches: {waits}."


def speed_unet():
    """Return the table of images per second: a row a contestant, two columns a setting."""
    record = records.gather(RESULTS)["speed"]["unet"]
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
    return f"{head}\n\n{where} Channels are those of the first stage; batch sizes: {batches}."


def yolo():
    """Return the table of images per second of tiny YOLOv3: a row a width and kind."""
    record = records.gather(RESULTS)["speed"].get("yolo")
    if not record:
        return ""
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
        dict.fromkeys(f"batches of {x['batch_size']} images of {x['size']}²" for x in settings)
    )
    where = f"`{record['command']}` on {record['machine']}."
    return f"{head}\n\n{where} Tiny YOLOv3 of 80 classes, {batches}."


def bilstm():
    """Return the table of series per second of a BiLSTM: a row a contestant."""
    record = records.gather(RESULTS)["speed"].get("bilstm")
    if not record:
        return ""
    settings = record["settings"]
    columns = [(one, kind) for one in settings for kind in contest.KINDS]
    names = dict.fromkeys(name for one in settings for name in one["series_per_second"])
    rows = [
        (name, *(cell(one["series_per_second"].get(name, {}).get(kind)) for one, kind in columns))
        for name in names
    ]
    rows.append(("best of ours / best of torch", *(cell(x["ratios"].get(k)) for x, k in columns)))
    head = table(
        (
            "series per second",
            *(f"batch size {one['batch_size']}: {kind}" for one, kind in columns),
        ),
        rows,
    )
    where = f"`{record['command']}` on {record['machine']}."
    length = ", ".join(dict.fromkeys(str(one["length"]) for one in settings))
    return f"{head}\n\n{where} Two layers of 16 units each way, {length} time steps of one value."


def cell(value):
    """Return a number of a table as text, or nothing."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def models(names=None):
    """Return the table of models, or of those named."""
    rows = [
        (f"`{row.name}`", ", ".join(map(task_name, row.tasks)), f"{row.parameters:,}", row.idea)
        for row in index.models().values()
        if names is None or row.name in names
    ]
    return table(("model", "task", "parameters", "idea"), rows)


def task_name(task):
    """Return a task's name as words."""
    return task.replace("pointcloud", "point cloud").replace("_", " ")


def presets(names=None):
    """Return the table of presets, or of those of the models named."""
    rows = []
    for name, card in index.presets().items():
        if names is not None and card["model"] not in names:
            continue
        test = card["scores"]["test"]
        scores = "<br>".join(f"{score_name(key)} {test[key]:.3f}" for key in numbers(test))
        data = card["data"]
        licence = data.get("licence") or "-"
        size = f"{card['bytes'] / 1e3:,.0f} kB" if "bytes" in card else "-"
        rows.append((f"`{name}`", f"`{card['model']}`", data["name"], licence, size, scores))
    if not rows:
        return "There is no preset yet."
    return table(("preset", "model", "data", "licence", "size", "test scores"), rows)


def results(names=None):
    """Return the table of results: a row a command, its runs with other seeds or folds together.

    Args:
        names: of models; those of all by default.
    """
    groups = {}
    for run in records.gather(RESULTS)["runs"]:
        if names is not None and run["model"] not in names:
            continue
        command = re.sub(r" --(seed|out) \S+", "", run["command"])
        command = re.sub(r"--fold \d+/", "--fold K/", command)
        groups.setdefault(command, []).append(run)
    rows, old = [], False
    for command, runs in sorted(groups.items(), key=lambda item: item[1][0]["data"]["name"]):
        tests = [run["scores"]["test"] for run in runs]
        several = "folds" if "--fold" in command else "seeds"
        scores = "<br>".join(
            summary(key, [test[key] for test in tests], several) for key in numbers(tests[0])
        )
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        sizes = runs[0]["data"]["sizes"]
        note = "" if all(run["current"] for run in runs) else "\\*"
        old |= bool(note)
        rows.append(
            (
                runs[0]["data"]["name"],
                f"`{runs[0]['model']}`",
                f"{sizes['train']:,} / {sizes['test']:,}",
                scores + note,
                f"{minutes:.1f}",
                runs[0]["machine"],
                f"`{command}`",
            )
        )
    if not rows:
        return "There is no result yet."
    head = ("data", "model", "train / test", "test scores", "minutes", "machine", "command")
    return table(head, rows) + (f"\n\n{OLD}" if old else "")


OLD = (
    "\\* Measured before every example was used in every epoch and before defaults followed the "
    "number of examples: the same command gives other scores now."
)


def published():
    """Return the table beside published results: means over seeds, and ensembles of these."""
    found = records.gather(RESULTS)
    rows = []
    for name, scores in PUBLISHED.items():
        for key, method, value in scores:
            singles, combined = {}, {}
            for run in found["runs"]:
                if run["data"]["name"] == name:
                    singles.setdefault(run["model"], []).append(run["scores"]["test"][key])
            for run in found["ensembles"]:
                if run["data"]["name"] != name:
                    continue
                members = {member["name"] for member in run["members"]}
                whole = " ".join(member["sha256"] for member in run["members"])
                for row in run["rows"]:
                    if row["name"] not in members:
                        sets = combined.setdefault(way(row, run) + mark(row, run), {})
                        sets[whole] = row["scores"][key]
            ours = "<br>".join(summary(model, values, "seeds") for model, values in singles.items())
            also = "<br>".join(
                summary(x, list(sets.values()), "sets") for x, sets in combined.items()
            )
            rows.append((name, score_name(key), ours, also, f"{method} {value:.3f}"))
    text = table(("data", "test", "ours", "ensembles of these", "published"), rows)
    return text + (f"\n\n\\* {OLD_STACKS}" if "\\*" in text else "")


def mark(row, run):
    """Return the mark of a row whose meta-learner older code trained, or nothing."""
    return "\\*" if row["name"] == run["model"] and outdated(run) else ""


def outdated(run):
    """Tell whether a record is of a meta-learner that older code trained."""
    return bool(run.get("meta")) and not run["current"]


def numbers(scores):
    """Return the names of the scores that are one number, of masks and boxes the usual three."""
    if "dice" in scores:
        return ["dice", "mean_iou", "accuracy"]
    if "map50" in scores:
        return ["map50", "map", "map75"]
    return [key for key, value in scores.items() if isinstance(value, float)]


def summary(key, values, several):
    """Return one score as text, with its standard deviation where there are several runs."""
    text = f"{score_name(key)} {statistics.mean(values):.3f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.3f} ({len(values)} {several})"
    return text


def ensembles():
    """Return the tables of ensembles: members and combinations, means over sets of members.

    Those of data in PUBLISHED are in the table of that name.
    """
    found, current = {}, {}  # data, then name of a row, then set of members: the row
    for run in records.gather(RESULTS)["ensembles"]:
        data = run["data"]["name"]
        if data in PUBLISHED:
            continue
        names = dict(zip((member["name"] for member in run["members"]), labels(run), strict=True))
        whole = " ".join(member["sha256"] for member in run["members"])
        for row in run["rows"]:
            label = names.get(row["name"], f"**{way(row, run)}**")
            rows = found.setdefault(data, {}).setdefault(label, {})
            rows[whole] = row
        current[data] = current.get(data, True) and not outdated(run)
    return "\n\n".join(ensemble_table(name, found[name], current[name]) for name in found)


def way(row, run):
    """Return the name of a way of combining, with its meta-learner if it has one."""
    meta = run.get("meta") if row["name"] == run["model"] else None
    return f"{row['name']}, {meta}" if meta else row["name"]


def labels(run):
    """Return what each member's command has of its own; the seed alone only if nothing else."""
    words = [re.sub(r"--seed \S+", "", member["command"]).split() for member in run["members"]]
    shared = set(words[0]).intersection(*words[1:])
    if all(set(each) == shared for each in words):
        seeds = (re.search(r"--seed (\S+)", member["command"]) for member in run["members"])
        return [f"seed {seed[1] if seed else 0}" for seed in seeds]
    return [" ".join(word for word in each if word not in shared) for each in words]


def ensemble_table(name, found, current=True):
    """Return the table of one data set, and what it shows in a sentence."""
    first = next(iter(next(iter(found.values())).values()))
    key = next(iter(first["scores"]))
    count = max(len(rows) for rows in found.values())
    if first.get("nll") is not None:
        also = {"nll": "log-loss", "ece": "calibration error"}
    else:
        also = {score: score_name(score) for score in first["scores"] if score != key}
    rows, means = [], {}
    for label, sets in found.items():
        values = [row["scores"][key] for row in sets.values()]
        means[label] = statistics.mean(values)
        cells = [f"{means[label]:.4f}"]
        if len(sets) > 1:
            cells[0] += f" ± {statistics.stdev(values):.4f}"
        for known in also:
            each = [row["scores"].get(known, row.get(known)) for row in sets.values()]
            cells.append(f"{statistics.mean(each):.4f}")
        rows.append((label, *cells))
    title = f"{name}, {count} sets of members" if count > 1 else name
    best = {
        combined: max((x for x in means if x.startswith("**") == combined), key=means.get)
        for combined in (False, True)
    }
    gain = means[best[True]] - means[best[False]]
    text = (
        f"Best member: {best[False]}; best combination: {best[True].strip('*')}, "
        f"{gain:+.4f} {score_name(key)}."
    )
    if not current:
        text += f" {OLD_STACKS}"
    head = (title, f"test {score_name(key)}", *also.values())
    return f"{table(head, rows)}\n\n{text}"


OLD_STACKS = (
    "Stacks were measured when a meta-learner's epoch was picked on the last rows of the "
    "validation split and it was not fitted again to all of it."
)


def stacking():
    """Return what stacking on cached predictions costs beside training the whole graph."""
    record = records.gather(RESULTS)["speed"].get("stacking")
    if not record:
        return ""
    seconds = {
        name: statistics.median(run["seconds"] for run in runs)
        for name, runs in record["rounds"].items()
    }
    inference = record["inference"]
    return (
        f"Stacking {record['members']} U-Nets of width {record['width']} for {record['epochs']} "
        f"epochs on {record['images']} images of {record['size']}²: {seconds['naive']:.0f} s with "
        f"the members in the graph, {seconds['ours']:.0f} s from cached predictions, everything "
        f"included: {record['ratio']:.1f} x as fast; the last losses differ by "
        f"{record['loss_difference']:.1e}. The combined model takes "
        f"{inference['keras']['ratio']:.2f} x the time of its members one after the other, as one "
        f"ONNX file {inference['onnx']['ratio']:.2f} x. `{record['command']}` on "
        f"{record['machine']}."
    )


def table(head, rows):
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
