"""What a command leaves behind: the run folder with model, manifest, scores and report."""

import time

import numpy as np

from ensembles import calibration, chances, combine, report, uncertainty
from zoo import provenance, runs, saving

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
        run: the `zoo.runs.Run`.
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
        y, said = assembly.labels("validation"), assembly.predict(model, "validation")
        info = run.record["info"]
        run.record["info"] = {**info, "found": task.found(y, said, info)}
    saving.save(model, path, run.record)
    facts = dict(parameters=model.count_params(), milliseconds=assembly.milliseconds(model))
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
    sizes = ", ".join(f"{count:,} {split}" for split, count in about["sizes"].items())
    facts = {
        "task": common.task.name.replace("_", " "),
        "data": f"{about['name']} ({about['fingerprint']}): {sizes}",
        "command": args.command_line,
        "fitted to": run.record.get("fitted", "nothing"),
        **{key: str(value) for key, value in run.record["found"].items()},
        **{
            f"member {i}": f"{member.name}, sha256 {member.sha256[:12]}"
            for i, member in enumerate(assembly.members, 1)
        },
        **{f"warning {i}": text for i, text in enumerate(assembly.warnings, 1)},
    }
    agreement = None
    if not common.task.values:
        agreement = chances.agreement(assembly.outputs("test"), assembly.labels("test"))
    title = f"{args.command}: {about['name']}"
    report.write(run.folder, title, rows, facts=facts, agreement=agreement, figures=figures)
    return report.table(rows)


def pictures(assembly, logits, after):
    """Draw examples, the reliability of the best member and of the ensemble, and the doubt."""
    if assembly.common.task.values:
        x, y = assembly.data.splits["test"].take()
        return assembly.common.task.plot(x, y, logits, assembly.common.info)
    x, _ = assembly.data.splits["test"].take(slice(0, EXAMPLES))
    y, said = assembly.labels("test"), assembly.outputs("test")
    likely = [chances.negative_log_likelihood(chances.probabilities(one), y) for one in said]
    likeliest = int(np.argmin(likely))
    best = chances.probabilities(said[likeliest])
    drawn = assembly.common.task.plot(x, y[: len(x)], logits[: len(x)], assembly.common.info)
    drawn = {"examples": drawn["examples"]} if "examples" in drawn else {}
    before, names = chances.calibration(best, y), (assembly.members[likeliest].name, "combined")
    drawn["reliability"] = calibration.reliability_diagram(before, after, names)
    if len(said) > 1:
        some = [np.asarray(one[:EXAMPLES] if one.ndim > 2 else one) for one in said]
        shown = x if said[0].ndim > 2 else None
        drawn["uncertainty"] = uncertainty.picture(
            shown, y[: len(some[0])], some, assembly.common.info
        )
    return drawn


def compared(assembly, args, run, logits):
    """Report members and their mean, without a model; return the table."""
    row, after = assembly.row("average", "ensemble", logits)
    rows = [*assembly.member_rows(), *baselines(assembly)]
    text = written(assembly, args, run, rows, pictures(assembly, logits, after))
    run.note(status="finished", rows=rows)
    return text


def taught(assembly, args, folder):
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
        count = sum(member.parameters for member in assembly.members)
        rows.append(assembly.row(name, "ensemble", logits, parameters=count)[0])
    return rows
