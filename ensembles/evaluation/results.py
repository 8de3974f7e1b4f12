"""What a command leaves behind: the run folder with model, manifest, scores and report."""

import time

import numpy as np

from ensembles.combining import combine
from ensembles.evaluation import calibration, probabilities, report, uncertainty
from zoo.tasks import report as task_report
from zoo.tasks.image_segmentation import masks
from zoo.training import runs
from zoo.weights import provenance, saving

EXAMPLES = 16  # of the test split that are drawn


def record(assembly, args, facts, fitted, of=None):
    """Return what is saved with an ensemble, so that everything knows what it is.

    `of` is the record of the model whose architecture it has, if that is one of the zoo's.
    """
    of = of or {}
    common, data = assembly.common, assembly.data
    members = [(member.name, member.record) for member in assembly.members]
    own = data.examples["validation"] if fitted else provenance.NONE
    return {
        "model": of.get("model", args.command),
        "arguments": of.get("arguments", {}),
        "options": of.get("options", {}),
        "found": {key: value for key, value in facts.items() if key != "history"},
        "task": common.task.name,
        "task_options": common.options,
        "info": common.info,
        "data": data.about,
        "seed": args.seed,
        "settings": {**assembly.cut, "command": args.command_line},
        "members": [member.manifest() for member in assembly.members],
        **({"fitted": "validation" if fitted is True else fitted} if fitted else {}),
        **({"warnings": assembly.warnings} if assembly.warnings else {}),
        **provenance.merged(own, members, data.examples, data.about, assembly.cut),
        **runs.environment(),
    }


def finish(assembly, args, run, model, logits, weights=None, extra=(), figures=None):
    """Save a joined model, score it beside its members, and write the report.

    Args:
        assembly: the `Assembly`.
        args: settings of the command.
        run: the `zoo.training.runs.Run`.
        model: the ensemble, a `keras.Model`.
        logits: its logits (n, ..., K) of the test split.
        weights: of the members, if it has any.
        extra: further rows of the report.
        figures: further figures, a dictionary by name.

    Returns:
        The text of the report.
    """
    path = run.folder / "model.keras"
    manifest = with_digests(run.record["members"], model)
    run.record["members"] = manifest
    if (task := assembly.common.task).values:
        y, outputs = assembly.labels("validation"), assembly.predict(model, "validation")
        info, results = run.record["info"], task.results
        errors = results.errors(results.summary([(y, outputs)], info), info)
        run.record["info"] = {**info, "found": errors}
    saving.save(model, path, run.record)
    facts = dict(parameters=model.count_params(), **assembly.timed(model))
    row, after = assembly.row(args.command, "ensemble", logits, **facts)
    rows = [*assembly.member_rows(weights), *extra, row]
    figures = {**pictures(assembly, logits, after), **(figures or {})}
    for entry, member in zip(manifest, rows, strict=False):
        entry["test"] = member["scores"]
    sha = saving.sha256(path)
    runs.write_json(
        run.folder / "manifest.json",
        {"sha256": sha, "members": manifest, "found": run.record["found"], "test": row},
    )
    text = written(assembly, args, run, rows, figures)
    chance = {key: row[key] for key in ("nll", "ece") if row[key] is not None}
    scores = {"test": {**row["scores"], **chance}}
    run.note(status="finished", scores=scores, rows=rows, sha256=sha)
    return text


def with_digests(manifest, model):
    """Return the manifest with the digest of each member's weights inside the ensemble."""
    guard = next((layer for layer in model.layers if layer.name == "members"), None)
    digests = guard.digests if guard else {}
    return [{**entry, "digest": digests.get(entry["layer"])} for entry in manifest]


def written(assembly, args, run, rows, figures):
    """Write the report into the run folder and return its table."""
    about, common = assembly.data.about, assembly.common
    assembly.add_intervals(rows)
    sizes = ", ".join(f"{count:,} {split}" for split, count in about["sizes"].items())
    facts = {
        "task": common.task.name.replace("_", " "),
        "data": f"{about['name']} ({about['fingerprint']}): {sizes}",
        "scored on": f"the test split, {len(assembly.data.splits['test']):,} examples",
        "command": args.command_line,
        "fitted on": run.record.get("fitted", "none"),
        **settings(run.record["found"]),
        **{
            f"member {i}": f"{member.name}, sha256 {member.sha256[:12]}"
            for i, member in enumerate(assembly.members, 1)
        },
        **{f"warning {i}": text for i, text in enumerate(assembly.warnings, 1)},
        **{f"size {i}": text for i, text in enumerate(resized(assembly), 1)},
    }
    agreement = None
    if not common.task.values:
        agreement = probabilities.agreement(assembly.outputs("test"), assembly.labels("test"))
    title = f"{args.command}: {about['name']}"
    report.write(run.folder, title, rows, facts=facts, agreement=agreement, figures=figures)
    return report.table(rows)


def resized(assembly):
    """Return sentences on members that are scored on inputs of another size than in their runs."""
    options, texts = assembly.common.options, []
    for member in assembly.members:
        own = member.record.get("task_options", {})
        sizes = {key: own[key] for key in assembly.common.task.data.sizes if key in own}
        if different := [key for key in sizes if sizes[key] != options[key]]:
            pairs = ", ".join(f"{key} {sizes[key]} there, {options[key]} here" for key in different)
            texts.append(f"{member.name} has another score in its own run: {pairs}")
    return texts


NAMES = {"of": "averaged", "chosen": "members taken", "tta": "test-time augmentation"}


def settings(values):
    """Return what a method was set to and what it chose, as the report words it."""
    return {NAMES.get(key, key): worded(value) for key, value in values.items()}


def worded(value):
    """Return a value as text: yes or no, equal weights, numbers of three digits, lists of those."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(worded, value))
    return "equal" if value is None else str(value)


def pictures(assembly, logits, after):
    """Draw examples, reliability beside the best member's, and the combination's uncertainty."""
    task, info, test = assembly.common.task, assembly.common.info, assembly.data.splits["test"]
    if task.values:
        x, y = test.take()
        return task.results.plot(x, y, logits, info)
    y, outputs = assembly.labels("test"), assembly.outputs("test")
    rows = shown(y, logits)
    x, _ = test.take(rows)
    drawn = task.results.plot(x, y[rows], logits[rows], info)
    likelihoods = [
        probabilities.negative_log_likelihood(probabilities.of_logits(member), y)
        for member in outputs
    ]
    best = int(np.argmin(likelihoods))
    before = probabilities.calibration(probabilities.of_logits(outputs[best]), y)
    diagrams = {assembly.members[best].name: before}
    if len(outputs) > 1 or not np.isclose(before["error"], after["error"]):
        diagrams["combined"] = after
    drawn["reliability"] = calibration.reliability_diagram(diagrams)
    if len(outputs) > 1:
        maps, rows = logits.ndim == 4, np.arange(len(y))
        if logits.ndim > 2:
            rows = uncertainty.least_certain(logits, y) if maps else shown(y, logits)
        drawn["uncertainty"] = uncertainty.picture(
            test.take(rows)[0] if maps else None,
            y[rows],
            logits[rows],
            [np.asarray(member[rows]) for member in outputs],
            info,
        )
    return drawn


def shown(y, logits):
    """Return which test examples are drawn: of all classes, or evenly spread where y is a map."""
    if y.ndim == 1:
        return np.sort(task_report.examples(y, masks.labels(np.asarray(logits)), EXAMPLES))
    return np.unique(np.linspace(0, len(y) - 1, EXAMPLES).round().astype(int))


def compared(assembly, args, run, logits):
    """Report members and their mean, without a model; return the table.

    With test-time augmentation the same rows without it stand in front.
    """
    _, after = assembly.row("average", "ensemble", logits)
    rows = [*assembly.member_rows(), *baselines(assembly)]
    if assembly.tta:
        rows = [*assembly.without_views(), *rows]
    text = written(assembly, args, run, rows, pictures(assembly, logits, after))
    run.note(status="finished", rows=rows)
    return text


def distilled(assembly, args, folder):
    """Report a teacher and its student, into the student's run folder; return the table."""
    rows = assembly.member_rows()
    for row, kind in zip(rows, ("ensemble", "student"), strict=True):
        row["kind"] = kind
    about = assembly.data.about
    facts = {"data": f"{about['name']} ({about['fingerprint']})", "command": args.command_line}
    facts |= {f"warning {i}": text for i, text in enumerate(assembly.warnings, 1)}
    report.write(
        folder / "distilled", f"{rows[0]['name']} teaches {rows[1]['name']}", rows, facts=facts
    )
    runs.write_json(folder / "distilled" / "report.json", {**facts, "rows": rows})
    return report.table(rows)


def started(assembly, args, facts, fitted, of=None):
    """Make the run folder of a command, with the history that its method may have left."""
    name = f"{args.command}-{assembly.data.about['name']}"
    kept = record(assembly, args, facts, fitted, of)
    run = runs.Run.created(args.out, name, kept, time.time())
    if "history" in facts:
        runs.write_json(run.folder / "history.json", facts["history"])
    return run


def baselines(assembly):
    """Return rows of the plain mean and of the vote of several members, on the test split."""
    rows = []
    if len(assembly.members) == 1:
        return rows
    ways = (("average", "probabilities"), ("vote", "votes"))
    for name, of in (("average", "logits"),) if assembly.common.task.values else ways:
        logits = assembly.apply(combine.mixture(assembly.shapes, of=of), "test")
        name += " with TTA" * assembly.tta
        count = sum(member.parameters for member in assembly.members)
        rows.append(assembly.row(name, "ensemble", logits, parameters=count)[0])
    return rows
