"""Combine saved models into an ensemble, and report how much better it scores.

python -m ensembles average runs/unet-dsb2018-1 runs/unet-dsb2018-2 unet_dsb2018
python -m ensembles stack runs/a runs/b old_model.h5 --meta conv --data my_images
python -m ensembles folds --model unet --data my_images --folds 5
python -m ensembles calibrate runs/stack-dsb2018-1

Members are presets, run folders, .keras or .h5 files, or .onnx or .skops files of other libraries.
Weights and meta-learners are fitted to the validation split, which the members were not trained on;
the report has scores of the test split. The result is a run folder with one model, which can
predict, be exported and be combined again.
"""

import shlex
import sys
import time

from ensembles import options
from zoo import index
from zoo.system import disk, terminal

print = terminal.say  # escapes control characters in file and class names


def main(arguments=None):
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    terminal.accept_any_name()
    args = options.parse(arguments)
    args.command_line = shlex.join(["python", "-m", "ensembles", *arguments])
    try:
        return RUN[args.command](args)
    except OSError as error:
        print(f"ensembles: {disk.sentence(error)}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"ensembles: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nensembles: interrupted. Run the same command again to continue", file=sys.stderr)
        return 130


def gather(args, sources=None, **cut):
    """Open the members and the data of a command; return an `Ensemble`."""
    terminal.import_keras()
    from datasets import pipeline, prepared
    from ensembles.ensemble import Ensemble
    from ensembles.members import checks, opening, provenance
    from zoo import tasks

    members = opening.open(args.members if sources is None else sources)
    common = checks.check(members, args.task)
    cut = {**provenance.cut(members), **cut}
    source, key = args.data or provenance.source(members), tasks.fingerprint()
    data = prepared.prepare(source, common.task, key, options=common.options, **cut)
    if common.info and data.info != common.info:
        task, key = checks.fixed(common, data.info), f"{key} {common.info}"
        data = prepared.prepare(source, task, key, options=common.options, **cut)
    settings = dict(batch_size=args.batch_size, dtype=args.cache, tta=getattr(args, "tta", False))
    folder = pipeline.cache_folder()
    ensemble = Ensemble(members, common, data, cut, folder=folder, **settings)
    if source := getattr(args, "ood", None):
        ensemble.others = other_data(source, ensemble)
    return ensemble


def other_data(source, ensemble):
    """Return the test split of other data, of any classes, or files without labels."""
    from datasets import prepared
    from datasets.source import BadInput
    from ensembles.evaluation import outliers
    from ensembles.members import checks
    from zoo import tasks
    from zoo.inference import files

    common = ensemble.common
    if common.task.values and len(ensemble.members) == 1:
        why = "values have no probabilities, and one member has nothing to disagree with"
        raise ValueError(f"--ood: {why}. Give several members")
    task, key = checks.with_constants(common), f"{tasks.fingerprint()} {common.info}"
    try:
        return prepared.prepare(source, task, key, options=dict(common.options)).splits["test"]
    except BadInput:
        if not prepared.expand(source).exists():
            raise
    record = {"task": common.task.name, "task_options": common.options, "info": common.info}
    names, read = files.gather(str(prepared.expand(source)), record)
    return outliers.from_files(names, read, common)


def run_calibrate(args):
    """Calibrate a model of any task; detectors have no probabilities to average."""
    terminal.import_keras()
    from zoo.weights import presets, saving

    if saving.record(presets.locate(args.members[0])).get("task") != "image_detection":
        return run_combine(args)
    from ensembles.combining import presence
    from ensembles.members import opening

    if args.coverage is None or args.method or args.threshold or args.ood:
        why = "a detector is calibrated to a coverage of objects"
        raise ValueError(f"{why}: give --coverage 0.9, without --method, --threshold and --ood")
    began = time.time()
    members = opening.open(args.members, detectors=True)
    data, cut, warnings = detection_data(args, members, fitted=True)
    folder, text = presence.calibrate(members[0], data[0], args, cut, warnings, began)
    print(f"\n{text}\n\nRun folder: {folder}  (report.html shows it with pictures)")
    print(f"Use it: python -m zoo predict {folder} FILE...")
    return 0


def run_combine(args):
    """Fit a head, build the ensemble model, score it and write the report."""
    ensemble = gather(args)
    from ensembles.combining import combine, methods, stacking
    from ensembles.reporting import results

    fitted = args.command in methods.FITTED
    ensemble.permit(fitted, args.allow_leakage)
    warn(ensemble)
    ensemble.outputs("test")  # raises before a run folder is created if outputs are not finite
    head, facts, weights = methods.METHODS[args.command](ensemble, args)
    run = results.started(ensemble, args, facts, fitted)
    models = [member.load(ensemble.common) for member in ensemble.members]
    inputs = getattr(args, "inputs", "shared")
    model = combine.build_model(
        ensemble.members, ensemble.common, head, models=models, inputs=inputs
    )
    if epochs := getattr(args, "fine_tune", 0):
        run.record["found"]["fine_tuned"] = stacking.fine_tune(
            model, models, ensemble, args, epochs
        )
        model = combine.build_model(
            ensemble.members, ensemble.common, head, models=models, inputs=inputs
        )
        logits = ensemble.predict(model, "test")
    else:
        logits = ensemble.apply(head, "test")
    extra = [row for row in results.baselines(ensemble) if row["name"] != args.command]
    return report_run(run, results.finish(ensemble, args, run, model, logits, weights, extra))


def warn(ensemble):
    """Print the warnings of the report before the computation begins."""
    for text in ensemble.warnings:
        print(f"ensembles: warning: {text}", file=sys.stderr)


def report_run(run, text):
    """Print the table and the run folder of a finished command; return the exit status."""
    print(f"\n{text}\n\nRun folder: {run.folder}  (report.html shows it with pictures)")
    print(f"Use it: python -m zoo predict {run.folder} FILE...")
    return 0


def run_evaluate(args):
    """Compare members, their mean and their vote, and write a report; no model is saved."""
    ensemble = gather(args)
    from ensembles.reporting import results

    ensemble.permit(False, args.allow_leakage)
    warn(ensemble)
    ensemble.outputs("test")
    extra = ensemble.dropout_rows(args.mc_dropout) if args.mc_dropout else []
    facts = {"tta": args.tta, **({"mc dropout": args.mc_dropout} if args.mc_dropout else {})}
    run = results.started(ensemble, args, facts, False)
    logits = ensemble.apply(ensemble.mixture(), "test")
    text = results.compared(ensemble, args, run, logits, extra)
    print(f"\n{text}\n\nRun folder: {run.folder}")
    return 0


def run_soup(args):
    """Merge the weights of members by a recipe, greedy ones by their validation score."""
    ensemble = gather(args)
    from ensembles.combining import methods
    from ensembles.reporting import results

    ensemble.permit(args.recipe == "greedy", args.allow_leakage)
    warn(ensemble)
    ensemble.outputs("test")
    model, facts = methods.soup(ensemble, args)
    for text in facts.get("warnings", ()):
        print(f"ensembles: warning: {text}", file=sys.stderr)
    names = facts.get("chosen", [member.name for member in ensemble.members])
    print(f"Selected members: {', '.join(names)}")
    first = ensemble.members[0].record
    run = results.started(ensemble, args, facts, args.recipe == "greedy", first)
    logits = ensemble.predict(model, "test")
    extra = results.baselines(ensemble)
    return report_run(run, results.finish(ensemble, args, run, model, logits, extra=extra))


def run_fuse(args):
    """Combine detectors whose boxes are fused, score the combination and report."""
    terminal.import_keras()
    from ensembles.combining import fusion
    from ensembles.members import opening

    opened = opening.open(args.members, detectors=True)
    fusion.check(opened, args.weights)
    data, cut, warnings = detection_data(args, opened, args.fit)
    folder, text = fusion.fuse(opened, data, args, cut, warnings)
    print(f"\n{text}\n\nRun folder: {folder}  (report.html shows it with pictures)")
    print(f"Use it: python -m zoo predict {folder} FILE...")
    return 0


def detection_data(args, opened, fitted):
    """Return the data of each detector, how they are split, and warnings, which are printed."""
    from datasets import prepared
    from ensembles.members import provenance
    from zoo import tasks

    cut, source = provenance.cut(opened), args.data or provenance.source(opened)
    data = []
    for member in opened:
        task, settings = tasks.get(member.record["task"]), member.record["task_options"]
        data.append(prepared.prepare(source, task, tasks.fingerprint(), options=settings, **cut))
        if data[-1].info["classes"] != member.record["info"]["classes"]:
            names = (", ".join(info["classes"]) for info in (member.record["info"], data[-1].info))
            raise ValueError(
                "{} knows the classes {}, the data have {}".format(member.name, *names)
            )
    known = [
        provenance.leakage([member], own.about, cut, own.examples)
        for member, own in zip(opened, data, strict=True)
    ]
    refusals = [text for pair in known for text in pair[0]]
    warnings = list(dict.fromkeys(text for pair in known for text in pair[1]))
    if fitted and refusals and not args.allow_leakage:
        remedy = "Fuse without --fit, or" if args.command == "fuse" else "Give other data, or"
        raise ValueError(f"{'; '.join(refusals)}. {remedy} insist: --allow-leakage")
    warnings += [f"leakage: {text}" for text in refusals]
    for text in warnings:
        print(f"ensembles: warning: {text}", file=sys.stderr)
    return data, cut, warnings


def run_distill(args):
    """Train a student with train.py and an ensemble as its teacher, and compare both."""
    teacher = gather(args)
    from ensembles import trainings
    from ensembles.reporting import results

    teacher.permit(False, args.allow_leakage)
    warn(teacher)

    words = ["--model", args.model, "--teacher", *args.members]
    words += ["--data", args.data or teacher.data.about["source"], "--out", args.out, *args.more]
    words += ["--seed", str(args.seed)]
    folder = trainings.train(words, args.out, teacher.data.about["fingerprint"])
    ensemble = gather(args, [*args.members, folder])
    ensemble.permit(False, args.allow_leakage)
    print(f"\n{results.distilled(ensemble, args, folder)}\n\nStudent: {folder}")
    return 0


def run_folds(args):
    """Train members on K folds, and a meta-learner on their out-of-fold predictions."""
    from ensembles import trainings

    refuse_uncombinable(args.model)
    models, losses = words("--model", args.model), words("--loss", args.loss) if args.loss else [[]]
    variants = [[*model, *loss] for model in models for loss in losses]
    values = [
        (option, getattr(args, f"member_{option}".replace("-", "_")))
        for option, *_ in options.MEMBERS
    ]
    member_words = [
        word for option, value in values if value for word in (f"--{option}", str(value))
    ]
    print(f"{len(variants)} x {args.folds} trainings; finished ones are reused")
    data = ["--data", args.data] if args.data else []
    folders = [
        trainings.train(
            [*variant, *data, "--validate", f"{k}/{args.folds}", "--seed", str(args.seed)]
            + ["--out", args.out, *member_words, *args.more],
            args.out,
        )
        for variant in variants
        for k in range(1, args.folds + 1)
    ]
    cuts = [[k, args.folds] for k in range(1, args.folds + 1)]
    parts = [gather(args, folders[i :: args.folds], validate=cut) for i, cut in enumerate(cuts)]
    ensemble = gather(args, folders, validate=cuts[0])
    ensemble.outputs("test")
    from ensembles.combining import combine, methods
    from ensembles.reporting import results

    head, facts = methods.out_of_fold(parts, ensemble, args)
    run = results.started(ensemble, args, {"folds": args.folds, **facts}, "out-of-fold")
    model = combine.build_model(ensemble.members, ensemble.common, head)
    extra = results.baselines(ensemble)
    text = results.finish(ensemble, args, run, model, ensemble.apply(head, "test"), extra=extra)
    return report_run(run, text)


def refuse_uncombinable(names):
    """Raise a `ValueError` if a model is a detector or returns vectors, before any is trained."""
    rows = index.models()
    for name in names:
        if name in rows and all(index.tasks()[task].get("vectors") for task in rows[name].tasks):
            raise ValueError(
                f"{name} returns vectors to compare, which cannot be stacked. Use a classifier"
            )
        if name in rows and rows[name].tasks == ("image_detection",):
            raise ValueError(
                f"{name} is a detector, and boxes cannot be stacked. Train detectors with train.py "
                "--validate K/N, and combine them with python -m ensembles fuse"
            )


def words(option, values):
    """Return the command line words of an option for each of its values."""
    return [[option, value] for value in values]


def run_cache(args):
    """Show or clear the cache of predictions."""
    terminal.import_keras()
    from datasets import pipeline
    from ensembles.members import cache

    folder = pipeline.cache_folder()
    count, size = cache.clear(folder) if args.clear else cache.size(folder)
    what = "removed from" if args.clear else "in"
    print(f"{count} arrays of predictions, {size / 2**20:.1f} MiB, {what} {folder / cache.FOLDER}")
    return 0


RUN = {
    **dict.fromkeys(("average", "vote", "weights", "select", "stack"), run_combine),
    "calibrate": run_calibrate,
    "evaluate": run_evaluate,
    "soup": run_soup,
    "fuse": run_fuse,
    "distill": run_distill,
    "folds": run_folds,
    "cache": run_cache,
}

if __name__ == "__main__":
    terminal.leave(main())
