"""The results of a command: a run folder with the model, manifest, scores and report."""

import time

import numpy as np

from ensembles.combining import combine
from ensembles.evaluation import calibration, outliers, probabilities, selective, uncertainty
from ensembles.reporting import report, tables
from zoo.tasks.image_segmentation import masks
from zoo.tasks.targets import conformal
from zoo.tasks.targets import report as task_report
from zoo.training import runs
from zoo.weights import provenance, saving

EXAMPLES = 16  # number of test examples in a figure
LEAST_CERTAIN = 8  # of which each is a figure


def record(ensemble, args, facts, fitted, of=None):
    """Return the metadata that is saved with an ensemble.

    `of` is the record of the model whose architecture it has, for a model soup.
    """
    of = of or {}
    common, data = ensemble.common, ensemble.data
    members = [(member.name, member.record) for member in ensemble.members]
    examples = data.examples["validation"] if fitted else provenance.NONE
    return {
        "model": of.get("model", args.command),
        "arguments": of.get("arguments", {}),
        "options": of.get("options", {}),
        "found": {key: value for key, value in facts.items() if key not in ("history", "info")},
        "task": common.task.name,
        "task_options": common.options,
        "info": {**common.info, **facts.get("info", {})},
        "data": data.about,
        "seed": args.seed,
        "settings": {**ensemble.cut, "command": args.command_line},
        "members": [member.manifest() for member in ensemble.members],
        **({"fitted": "validation" if fitted is True else fitted} if fitted else {}),
        **({"warnings": ensemble.warnings} if ensemble.warnings else {}),
        **provenance.merged(examples, members, data.examples, data.about, ensemble.cut),
        **runs.environment(),
    }


def finish(ensemble, args, run, model, logits, weights=None, extra=(), figures=None):
    """Save an ensemble model, score it and its members, and write the report.

    Args:
        ensemble: the `Ensemble`.
        args: settings of the command.
        run: the `zoo.training.runs.Run`.
        model: the ensemble as one `keras.Model`.
        logits: its logits (n, ..., K) of the test split.
        weights: of the members, or None.
        extra: further rows of the report.
        figures: dictionary of further figures by name.

    Returns:
        The text of the report.
    """
    path = run.folder / "model.keras"
    manifest = with_digests(run.record["members"], model)
    run.record["members"] = manifest
    if (task := ensemble.common.task).values:
        y, outputs = ensemble.labels("validation"), ensemble.predict(model, "validation")
        info, results = run.record["info"], task.results
        errors = results.errors(results.summary([(y, outputs)], info), info)
        run.record["info"] = {**info, "found": errors}
    saving.save(model, path, run.record)
    facts = dict(parameters=model.count_params(), **ensemble.timed(model))
    facts["info"] = run.record["info"]
    row, diagram = ensemble.row(args.command, "ensemble", logits, **facts)
    rows = [*ensemble.member_rows(weights), *extra, row]
    figures = {**figures_of(ensemble, logits, diagram), **(figures or {})}
    for entry, member in zip(manifest, rows, strict=False):
        entry["test"] = member["scores"]
    sha = saving.sha256(path)
    runs.write_json(
        run.folder / "manifest.json",
        {"sha256": sha, "members": manifest, "found": run.record["found"], "test": row},
    )
    shown = tables.of_calibration(ensemble, run.record["info"], run.record["found"], logits)
    if ensemble.others is not None:
        shown |= others(ensemble, run, logits, ensemble.predict(model, ensemble.others), figures)
    text = write_report(
        ensemble,
        args,
        run,
        rows,
        figures,
        shown,
        least_certain(ensemble, logits, run.record["info"]),
    )
    calibration_scores = {key: row[key] for key in ("nll", "ece") if row[key] is not None}
    scores = {"test": {**row["scores"], **calibration_scores}}
    run.note(status="finished", scores=scores, rows=rows, sha256=sha)
    return text


def with_digests(manifest, model):
    """Return the manifest with the digest of each member's weights in the ensemble model."""
    guard = next((layer for layer in model.layers if layer.name == "members"), None)
    digests = guard.digests if guard else {}
    return [{**entry, "digest": digests.get(entry["layer"])} for entry in manifest]


def write_report(ensemble, args, run, rows, figures, shown=None, gallery=()):
    """Write the report into the run folder and return its table."""
    about, common = ensemble.data.about, ensemble.common
    ensemble.add_intervals(rows)
    sizes = ", ".join(f"{count:,} {split}" for split, count in about["sizes"].items())
    facts = {
        "task": common.task.name.replace("_", " "),
        "data": f"{about['name']} ({about['fingerprint']}): {sizes}",
        "scored on": f"the test split, {len(ensemble.data.splits['test']):,} examples",
        "command": args.command_line,
        "fitted on": run.record.get("fitted", "none"),
        **settings(run.record["found"]),
        **{
            f"member {i}": f"{member.name}, sha256 {member.sha256[:12]}"
            for i, member in enumerate(ensemble.members, 1)
        },
        **{f"warning {i}": text for i, text in enumerate(ensemble.warnings, 1)},
        **{f"size {i}": text for i, text in enumerate(size_notes(ensemble), 1)},
    }
    agreement = None
    if not common.task.values:
        decisions = [*map(ensemble.decisions, ensemble.outputs("test"))]
        agreement = probabilities.agreement(decisions, ensemble.labels("test"))
    title = f"{args.command}: {about['name']}"
    report.write(
        run.folder,
        title,
        rows,
        facts=facts,
        agreement=agreement,
        figures=figures,
        tables=shown,
        gallery=gallery,
    )
    return "\n\n".join([report.table(rows), *report.plain_tables(shown or {})])


def size_notes(ensemble):
    """Return sentences on members whose inputs have another size than in their own runs."""
    options, texts = ensemble.common.options, []
    for member in ensemble.members:
        recorded = member.record.get("task_options", {})
        sizes = {key: recorded[key] for key in ensemble.common.task.data.sizes if key in recorded}
        if different := [key for key in sizes if sizes[key] != options[key]]:
            pairs = ", ".join(f"{key} {sizes[key]} there, {options[key]} here" for key in different)
            texts.append(f"{member.name} has a different score in its own run: {pairs}")
    return texts


NAMES = {"of": "averaged", "chosen": "selected members", "tta": "test-time augmentation"}


def settings(values):
    """Return the settings and results of a method as texts for the report."""
    return {
        NAMES.get(key, key): as_text(value)
        for key, value in values.items()
        if not isinstance(value, dict)  # they are tables of their own
    }


def as_text(value):
    """Return a value as text: yes or no, "equal" for None, three significant digits, or lists."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(as_text, value))
    return "equal" if value is None else str(value)


def figures_of(ensemble, logits, diagram):
    """Plot examples, reliability diagrams of ensemble and best member, and the uncertainty."""
    task, info, test = ensemble.common.task, ensemble.common.info, ensemble.data.splits["test"]
    if task.values:
        x, y = test.take()
        figures = task.results.plot(x, y, logits, info)
        if len(ensemble.members) > 1:
            risks = selective.of_values(ensemble.outputs("test"), logits, y)
            figures["risk_coverage"] = selective.figure({"combined": risks}, "squared error")
        return figures
    y, decide = ensemble.labels("test"), ensemble.decisions
    outputs = [*map(decide, ensemble.outputs("test"))]
    rows = drawn_examples(y, logits)
    x, _ = test.take(rows)
    figures = task.results.plot(x, y[rows], logits[rows], info)
    losses = [
        probabilities.negative_log_likelihood(probabilities.of_logits(member), y)
        for member in outputs
    ]
    best = int(np.argmin(losses))
    member_diagram = probabilities.calibration(probabilities.of_logits(outputs[best]), y)
    diagrams = {ensemble.members[best].name: member_diagram}
    if len(outputs) > 1 or not np.isclose(member_diagram["error"], diagram["error"]):
        diagrams["combined"] = diagram
    figures["reliability"] = calibration.reliability_diagram(diagrams)
    curves = {ensemble.members[best].name: selective.of_classes(outputs[best], y)}
    if "combined" in diagrams:
        curves["combined"] = selective.of_classes(decide(logits), y)
    figures["risk_coverage"] = selective.figure(curves)
    if len(outputs) > 1:
        maps, rows = logits.ndim == 4, np.arange(len(y))
        if logits.ndim > 2:
            rows = uncertainty.least_certain(logits, y) if maps else drawn_examples(y, logits)
        figures["uncertainty"] = uncertainty.picture(
            test.take(rows)[0] if maps else None,
            y[rows],
            decide(logits[rows]),
            [np.asarray(member[rows]) for member in outputs],
            info,
        )
    return figures


def least_certain(ensemble, logits, info):
    """Return pictures of the least certain test examples, with captions: pairs."""
    task, y = ensemble.common.task, ensemble.labels("test")
    decisions, pairs = ensemble.decisions(logits), []
    if not task.values:
        rows = uncertainty.least_certain(decisions, y, LEAST_CERTAIN)
    elif len(ensemble.members) > 1:
        spread = np.sqrt(selective.variance(ensemble.outputs("test")))
        rows = np.argsort(-spread, kind="stable")[:LEAST_CERTAIN]
    else:
        return []
    for i in rows:
        x, truth = ensemble.data.splits["test"].take(np.array([i]))
        own = slice(i, i + 1)
        if task.values:
            caption = f"standard deviation of the members {spread[i]:.3f}, standardized"
        else:
            truth, p = y[own], probabilities.of_logits(decisions[own])
            caption = f"entropy {uncertainty.entropy(p)[np.asarray(truth) >= 0].mean():.3f} nats"
            if "conformal" in info and np.ndim(y) == 1:
                inside = conformal.sets(p[0], info["conformal"])
                caption += f"; set: {', '.join(np.array(info['classes'])[inside])}"
        figures = task.results.plot(x, truth, logits[own], info)
        if "examples" in figures:
            pairs.append((figures["examples"], caption))
    return pairs


def drawn_examples(y, logits):
    """Return the indices of test examples to plot: of all classes, or evenly spaced for maps."""
    if y.ndim == 1:
        return np.sort(task_report.examples(y, masks.labels(np.asarray(logits)), EXAMPLES))
    return np.unique(np.linspace(0, len(y) - 1, EXAMPLES).round().astype(int))


def compared(ensemble, args, run, logits, extra=()):
    """Report the scores of members and their mean, without a model; return the table.

    With test-time augmentation, the rows without it come first; `extra` are further rows.
    """
    _, diagram = ensemble.row("average", "ensemble", logits)
    rows = [*ensemble.member_rows(), *baselines(ensemble)]
    rows += extra
    if ensemble.tta:
        rows = [*ensemble.without_views(), *rows]
    figures, shown = figures_of(ensemble, logits, diagram), {}
    if ensemble.others is not None:
        members = outliers.outputs(ensemble)
        mean = combine.apply(ensemble.mixture(), members, batch_size=ensemble.batch_size)
        shown = others(ensemble, run, logits, mean, figures)
    gallery = least_certain(ensemble, logits, ensemble.common.info)
    text = write_report(ensemble, args, run, rows, figures, shown, gallery)
    run.note(status="finished", rows=rows)
    return text


def others(ensemble, run, logits, other_logits, figures):
    """Compare the test split with other data: add a figure and a record, return the table."""
    known, table, figure = tables.of_others(ensemble, logits, other_logits)
    if known:
        figures["other_data"] = figure
        run.note(ood=known)
    return table if known else {}


def distilled(ensemble, args, folder):
    """Write a report on a teacher and its student to the student's run folder; return the table."""
    rows = ensemble.member_rows()
    for row, kind in zip(rows, ("ensemble", "student"), strict=True):
        row["kind"] = kind
    about = ensemble.data.about
    facts = {"data": f"{about['name']} ({about['fingerprint']})", "command": args.command_line}
    facts |= {f"warning {i}": text for i, text in enumerate(ensemble.warnings, 1)}
    report.write(
        folder / "distilled", f"{rows[0]['name']} teaches {rows[1]['name']}", rows, facts=facts
    )
    runs.write_json(folder / "distilled" / "report.json", {**facts, "rows": rows})
    return report.table(rows)


def started(ensemble, args, facts, fitted, of=None):
    """Create the run folder of a command, with the training history of its method, if any."""
    name = f"{args.command}-{ensemble.data.about['name']}"
    metadata = record(ensemble, args, facts, fitted, of)
    run = runs.Run.created(args.out, name, metadata, time.time())
    if "history" in facts:
        runs.write_json(run.folder / "history.json", facts["history"])
    return run


def baselines(ensemble):
    """Return rows of the members' unweighted mean and majority vote, on the test split."""
    rows = []
    if len(ensemble.members) == 1:
        return rows
    methods = (("average", "probabilities"), ("vote", "votes"))
    for name, of in methods[:1] if ensemble.common.task.values else methods:
        logits = ensemble.apply(ensemble.mixture(of=of), "test")
        name += " with TTA" * ensemble.tta
        count = sum(member.parameters for member in ensemble.members)
        rows.append(ensemble.row(name, "ensemble", logits, parameters=count)[0])
    return rows
