"""The generated tables of README.md and docs/, from the sources and the table of results.

python -m benchmarks.pages     # or: make table
"""

import re
import statistics

from benchmarks import contest, records
from zoo import index

RESULTS = records.RESULTS

# Published results by data set: (score, method, value). 1-nearest-neighbour classification with
# dynamic time warping over the full length: Dau et al. 2019,
# https://doi.org/10.1109/JAS.2019.1911747, and Bagnall et al. 2018,
# https://arxiv.org/abs/1811.00075 (dependent multivariate DTW, "DTW_D").
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
    "recall_at_1": "recall@1",
    "recall_at_5": "recall@5",
    "r_precision": "R-precision",
    "one_shot_accuracy": "one-shot accuracy",
}


def score_name(key):
    """Return the display name of a score."""
    return SCORES.get(key, key.replace("_", " "))


def speed():
    """Return the tables of speed compared with PyTorch, medians of alternating rounds."""
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
        ("best of ours / best plain torch", *(f"{x:.2f}" for x in record["ratios"].values()))
    )
    shares = ", ".join(f"{name}: {data['share']:.1%}" for name, data in record["data"].items())
    head = table(("clouds per second", "training", "inference"), rows)
    where = f"`{record['command']}` on {record['machine']}."
    return f"{head}\n\n{where} Share of an epoch spent on preparing batches: {shares}."


def speed_unet():
    """Return the table of images per second: rows are implementations, columns settings."""
    record = records.gather(RESULTS)["speed"]["unet"]
    settings = record["settings"]
    speeds = [setting["images_per_second"] for setting in settings]
    ratios = [setting["ratios"] for setting in settings]

    def row(name, values):
        cells = [kinds.get(kind) for kinds in values for kind in contest.KINDS]
        return (name, *("" if cell is None else f"{cell:.2f}" for cell in cells))

    names = dict.fromkeys(name for kinds in speeds for name in kinds)
    rows = [row(name, [kinds.get(name, {}) for kinds in speeds]) for name in names]
    rows.append(row("best of ours / torch", ratios))
    rows.append(row("onnx / torch", [{"inference": factors.get("onnx")} for factors in ratios]))
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
    """Return the table of images per second of tiny YOLOv3: one row per width and kind."""
    titles = {"best of ours / torch": "{}"}
    return throughput("yolo", "width {width}", titles, "Tiny YOLOv3 of 80 classes, {batches}.")


def classification():
    """Return the table of images per second of classifiers: one row per model and kind."""
    titles = {"best of ours / best of others": "{}", "best of ours / torch": "{}, plain torch"}
    return throughput("classification", "{model}, {precision}", titles, "1000 classes, {batches}.")


def throughput(name, label, ratios, text):
    """Return the table of images per second of a benchmark: one row per setting and kind.

    Args:
        name: of the benchmark.
        label: of a row, with fields of its setting.
        ratios: title of each column of ratios, and their key with a field for the kind.
        text: below the table, with the field "batches".
    """
    record = records.gather(RESULTS)["speed"].get(name)
    if not record:
        return ""
    settings = record["settings"]
    speeds = [setting["images_per_second"] for setting in settings]
    names = list(dict.fromkeys(name for kinds in speeds for name in kinds))
    rows = []
    for setting in settings:
        for kind in contest.KINDS:
            values = [setting["images_per_second"].get(name, {}).get(kind) for name in names]
            values += [setting["ratios"].get(key.format(kind)) for key in ratios.values()]
            rows.append((f"{label.format(**setting)}, {kind}", *map(cell, values)))
    head = table(("images per second", *names, *ratios), rows)
    batches = ", ".join(
        dict.fromkeys(
            f"batches of {setting['batch_size']} images of {setting['size']}²"
            for setting in settings
        )
    )
    where = f"`{record['command']}` on {record['machine']}."
    return f"{head}\n\n{where} {text.format(batches=batches)}"


def gpu():
    """Return the table of examples per second on a GPU: one row per network and kind."""
    speed = records.gather(RESULTS)["speed"]
    gathered = {name: record for name, record in speed.items() if name.endswith("_gpu")}
    measured = []  # (network, batch, speeds)
    for name, record in gathered.items():
        for setting in record.get("settings", [record]):
            (key,) = (key for key in setting if key.endswith("_per_second"))
            network = setting.get("model", name.removesuffix("_gpu"))
            network += f", {setting.get('precision', 'float32')}"
            batch = f"{setting['batch_size']} {key.removesuffix('_per_second')}"
            measured.append((network, batch, setting[key]))
    names = list(dict.fromkeys(name for _, _, speeds in measured for name in speeds))
    names.sort(key=lambda name: name.startswith("torch"))
    rows = []
    for network, batch, speeds in measured:
        for kind in contest.KINDS:
            values = [speeds.get(name, {}).get(kind) for name in names]
            best = max(kinds[kind] for name, kinds in speeds.items() if name != "ours, jit")
            ratio = f"{speeds['ours, jit'][kind] / best:.2f}"
            rows.append((f"{network}, {kind}", batch, *map(cell, values), ratio))
    head = table(("examples per second", "batch", *names, "ours / best of others"), rows)
    machines = ", ".join(dict.fromkeys(record["machine"] for record in gathered.values()))
    files = ", ".join(f"`benchmark_{name}.json`" for name in gathered)
    return f"{head}\n\nOn {machines}. Commands and rounds: {files} in `benchmarks/results/`."


def bilstm():
    """Return the table of series per second of a BiLSTM: one row per implementation."""
    record = records.gather(RESULTS)["speed"].get("bilstm")
    if not record:
        return ""
    settings = record["settings"]
    columns = [(setting, kind) for setting in settings for kind in contest.KINDS]
    speeds = [(setting["series_per_second"], kind) for setting, kind in columns]
    names = dict.fromkeys(name for kinds, _ in speeds for name in kinds)
    rows = [
        (name, *(cell(kinds.get(name, {}).get(kind)) for kinds, kind in speeds)) for name in names
    ]
    rows.append(
        (
            "best of ours / best of torch",
            *(cell(setting["ratios"].get(kind)) for setting, kind in columns),
        )
    )
    head = table(
        (
            "series per second",
            *(f"batch size {setting['batch_size']}: {kind}" for setting, kind in columns),
        ),
        rows,
    )
    where = f"`{record['command']}` on {record['machine']}."
    length = ", ".join(dict.fromkeys(str(setting["length"]) for setting in settings))
    return (
        f"{head}\n\n{where} Two layers of 16 units per direction, {length} time steps of one value."
    )


def precision():
    """Return the table of models in lower precision: one row per model and precision."""
    rows, machines = [], []
    for name, record in records.gather(RESULTS)["speed"].items():
        kind, _, model = name.partition("_")
        if kind not in ("precision", "quantization"):
            continue
        program = "Keras" if kind == "precision" else "ONNX Runtime"
        first = record["rows"][0]
        for row in record["rows"]:
            keys = [key for key in numbers(row) if key != "milliseconds"][:2]
            scores = ", ".join(f"{score_name(key)} {row[key]:.4f}" for key in keys)
            times = (
                f"{row['milliseconds']:.1f}",
                f"{first['milliseconds'] / row['milliseconds']:.2f}",
            )
            size = f"{row['bytes'] / 1024:,.0f} kB"
            rows.append((f"`{model}`", program, row["name"], size, *times, scores))
        machines.append(record["machine"])
    head = ("model", "program", "precision", "file", "ms", "speed", "test scores")
    where = f"Batches of 8, on {', '.join(dict.fromkeys(machines))}"
    return f"{table(head, rows)}\n\n{where}; speed is relative to float32, measured in turns."


def attacks():
    """Return the table of accuracies under attack: one row per model and kind of attack."""
    rows = []
    for record in records.gather(RESULTS)["attacks"]:
        for name, kind in dict.fromkeys((row["model"], row["kind"]) for row in record["rows"]):
            part = [row for row in record["rows"] if (row["model"], row["kind"]) == (name, kind)]
            values = "<br>".join(f"{row['strength']:g}: {row['accuracy']:.3f}" for row in part)
            what = f"{record['method']}, {record['examples']:,} of {record['data']}"
            rows.append((f"`{name}`", kind, what, values))
    return table(("model", "gradient", "attack", "accuracy by epsilon"), rows)


def cell(value):
    """Return a number as the text of a table cell; "" for None."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def models(names=None):
    """Return the table of all models, or of the named ones."""
    rows = [
        (f"`{row.name}`", ", ".join(map(task_name, row.tasks)), f"{row.parameters:,}", row.idea)
        for row in index.models().values()
        if names is None or row.name in names
    ]
    return table(("model", "task", "parameters", "idea"), rows)


def task_name(task):
    """Return the display name of a task."""
    return task.replace("pointcloud", "point cloud").replace("_", " ")


def presets(names=None):
    """Return the table of all presets, or of the presets of the named models."""
    rows = []
    for name, card in index.presets().items():
        if names is not None and card["model"] not in names:
            continue
        test = card.get("scores", {}).get("test", {})
        scores = "<br>".join(f"{score_name(key)} {test[key]:.3f}" for key in numbers(test))
        data = card["data"]
        licence = data.get("licence") or "-"
        size = f"{card['bytes'] / 1e3:,.0f} kB" if "bytes" in card else "downloaded"
        row = (f"`{name}`", f"`{card['model']}`", data["name"], licence, size, scores or "-")
        rows.append(row)
    if not rows:
        return "There is no preset yet."
    return table(("preset", "model", "data", "licence", "size", "test scores"), rows)


def results(names=None):
    """Return the table of results: one row per command, which summarises its seeds or folds.

    Args:
        names: of models; all by default.
    """
    groups = {}
    for run in records.gather(RESULTS)["runs"]:
        if names is not None and run["model"] not in names:
            continue
        command = re.sub(r" --(seed|out|name) \S+", "", run["command"])
        command = re.sub(r"--fold \d+/", "--fold K/", command)
        groups.setdefault(command, []).append(run)
    rows, old = [], False
    for command, runs in sorted(groups.items(), key=lambda item: item[1][0]["data"]["name"]):
        tests = [run["scores"]["test"] for run in runs]
        several = "folds" if "--fold" in command else "seeds"
        scores = "<br>".join(
            summary(key, [test[key] for test in tests], several) for key in numbers(tests[0])
        )
        if pruned := runs[0].get("pruned"):
            before, after = (f"{pruned[key] / 1e3:,.0f} kB" for key in ("bytes", "compressed"))
            scores += f"<br>{pruned['zeros']:.0%} zeros: {before}, compressed {after}"
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
    "\\* Measured before every example was used in every epoch and before defaults depended on the "
    "number of examples: the same command now gives different scores."
)


def published():
    """Return the table of our and published results: means over seeds, and their ensembles."""
    gathered = records.gather(RESULTS)
    rows = []
    for name, scores in PUBLISHED.items():
        for key, method, value in scores:
            singles, combined = {}, {}
            for run in gathered["runs"]:
                if run["data"]["name"] == name:
                    singles.setdefault(run["model"], []).append(run["scores"]["test"][key])
            for run in gathered["ensembles"]:
                if run["data"]["name"] != name:
                    continue
                members = {member["name"] for member in run["members"]}
                identity = " ".join(member["sha256"] for member in run["members"])
                for row in run["rows"]:
                    if row["name"] not in members:
                        sets = combined.setdefault(method_name(row, run) + mark(row, run), {})
                        sets[identity] = row["scores"][key]
            ours = "<br>".join(summary(model, values, "seeds") for model, values in singles.items())
            ensembles_of_these = "<br>".join(
                summary(label, list(sets.values()), "sets") for label, sets in combined.items()
            )
            others = f"{method} {value:.3f}"
            rows.append((name, score_name(key), ours, ensembles_of_these, others))
    text = table(("data", "test", "ours", "ensembles of these", "published"), rows)
    return text + (f"\n\n\\* {OLD_STACKS}" if "\\*" in text else "")


def mark(row, run):
    """Return the mark of a row whose meta-learner was trained by older code, or ""."""
    return "\\*" if row["name"] == run["model"] and outdated(run) else ""


def outdated(run):
    """Return whether a record's meta-learner was trained by older code."""
    return bool(run.get("meta")) and not run["current"]


def numbers(scores):
    """Return the names of the scalar scores; of segmentation and detection, three of them."""
    if "dice" in scores:
        return ["dice", "mean_iou", "accuracy"]
    if "map50" in scores:
        return ["map50", "map", "map75"]
    return [key for key, value in scores.items() if isinstance(value, float)]


def summary(key, values, several):
    """Return one score as text, with its standard deviation if there are several runs."""
    text = f"{score_name(key)} {statistics.mean(values):.3f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.3f} ({len(values)} {several})"
    return text


def ensembles():
    """Return the tables of ensembles: members and combinations, means over sets of members.

    Sets of one table have members of the same labels. Data sets in PUBLISHED are in the table of
    published results instead.
    """
    groups, current = {}, {}  # groups[data, labels][label][set of members] is a row
    for run in records.gather(RESULTS)["ensembles"]:
        data = run["data"]["name"]
        if data in PUBLISHED:
            continue
        names = dict(zip((member["name"] for member in run["members"]), labels(run), strict=True))
        identity = " ".join(member["sha256"] for member in run["members"])
        key = data, frozenset(names.values())
        for row in run["rows"]:
            label = names.get(row["name"], f"**{method_name(row, run)}**")
            rows = groups.setdefault(key, {}).setdefault(label, {})
            rows[identity] = row
        current[key] = current.get(key, True) and not outdated(run)
    return "\n\n".join(ensemble_table(key[0], groups[key], current[key]) for key in groups)


def method_name(row, run):
    """Return the name of a combination method, with its meta-learner if it has one."""
    meta = run.get("meta") if row["name"] == run["model"] else None
    return f"{row['name']}, {meta}" if meta else row["name"]


def labels(run):
    """Return labels of members: the arguments in which their commands differ, or the seeds."""
    words = [re.sub(r"--seed \S+", "", member["command"]).split() for member in run["members"]]
    shared = set(words[0]).intersection(*words[1:])
    if all(set(command) == shared for command in words):
        seeds = (re.search(r"--seed (\S+)", member["command"]) for member in run["members"])
        return [f"seed {seed[1] if seed else 0}" for seed in seeds]
    own = [[word for word in command if word not in shared] for command in words]
    plain = [[word for word in command if "/" not in word] for command in own]  # without files
    return [" ".join(pair[0] or pair[1]) for pair in zip(plain, own, strict=True)]


def ensemble_table(name, groups, current=True):
    """Return the table of one data set, and a sentence that summarises it."""
    first = next(iter(next(iter(groups.values())).values()))
    key = next(iter(first["scores"]))
    count = max(len(rows) for rows in groups.values())
    if first.get("nll") is not None:
        more = {"nll": "log-loss", "ece": "calibration error"}
    else:
        more = {score: score_name(score) for score in first["scores"] if score != key}
    rows, means = [], {}
    for label, sets in groups.items():
        values = [row["scores"][key] for row in sets.values()]
        means[label] = statistics.mean(values)
        cells = [f"{means[label]:.4f}"]
        if len(sets) > 1:
            cells[0] += f" ± {statistics.stdev(values):.4f}"
        for score in more:
            values = [row["scores"].get(score, row.get(score)) for row in sets.values()]
            cells.append(f"{statistics.mean(values):.4f}")
        rows.append((label, *cells))
    title = f"{name}, {count} sets of members" if count > 1 else name
    best = {
        combined: max(
            (label for label in means if label.startswith("**") == combined), key=means.get
        )
        for combined in (False, True)
    }
    gain = means[best[True]] - means[best[False]]
    text = (
        f"Best member: {best[False]}; best combination: {best[True].strip('*')}, "
        f"{gain:+.4f} {score_name(key)}."
    )
    if not current:
        text += f" {OLD_STACKS}"
    head = (title, f"test {score_name(key)}", *more.values())
    return f"{table(head, rows)}\n\n{text}"


OLD_STACKS = (
    "Stacks were measured when the meta-learner's epoch was chosen on the last rows of the "
    "validation split, without retraining on all of it."
)


def stacking():
    """Return the cost of stacking on cached predictions, compared with training one model."""
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
