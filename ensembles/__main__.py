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

import argparse
import shlex
import sys
import time

from zoo import index
from zoo.system import disk, terminal

print = terminal.say  # escapes control characters in file and class names

MEMBER = "preset, run folder, or .keras, .h5, .onnx or .skops file"
BATCH = "batch size of predictions and of the meta-learner (4)"
CACHE = "dtype of cached predictions (float32)"
LEAKY = "fit even if members were trained on these examples"
METAS = "linear, dense, conv, or FILE.py:FUNCTION (by the task)"
FOLDS = (
    "train members on K folds and stack their out-of-fold predictions; further options, such as "
    "--set, are passed to train.py"
)
COVERAGE = "predict sets or intervals that hold the truth with this probability"
OTHERS = "other data or files, which are to be told from the test split by their uncertainty"
SCALINGS = ("auto", "none", "temperature", "vector", "dirichlet", "isotonic")
INPUTS = "one shared input, or one per member (shared)"


def positive(text):
    """Convert text to an integer above 0."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return int(text)


def share(text):
    """Convert text to a number between 0 and 1."""
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return float(text)


def rate(text):
    """Convert text to a finite number above 0."""
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


MEMBERS = (("epochs", positive, "N"), ("batch-size", positive, "B"), ("learning-rate", rate, "R"))


def main(arguments=None):
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    terminal.accept_any_name()
    args = parse(arguments)
    args.command_line = shlex.join(["python", "-m", "ensembles", *arguments])
    try:
        return args.run(args)
    except OSError as error:
        print(f"ensembles: {disk.sentence(error)}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"ensembles: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nensembles: interrupted. Run the same command again to continue", file=sys.stderr)
        return 130


def parse(arguments):
    """Parse the command line; exit with a message if it is invalid."""
    parser = terminal.Parser(
        "python -m ensembles", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name, run, text):
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run, command=name)
        return sub.add_argument

    def combining(name, text, least="+", run=run_combine):
        add = command(name, run, text)
        add("members", metavar="MEMBER", nargs=least, help=MEMBER)
        common(add)
        add("--ood", metavar="SOURCE", help=OTHERS)
        return add

    def common(add):
        add("--data", metavar="SOURCE", help="data set or path (the members' own)")
        add("--out", metavar="DIR", default="runs", help="where the run folder is created (runs)")
        add("--task", metavar="NAME", help="needed if no member has a record of it")
        add("--batch-size", type=positive, default=4, metavar="B", help=BATCH)
        add("--cache", choices=("float32", "float16"), default="float32", help=CACHE)
        add("--allow-leakage", action="store_true", help=LEAKY)
        add("--seed", type=int, default=0, metavar="S")

    def ensemble_inputs(add):
        add("--inputs", choices=("shared", "separate"), default="shared", help=INPUTS)

    metrics = dict(
        choices=("log_loss", "score"), default="log_loss", help="metric to optimise (log_loss)"
    )
    add = combining("average", "average predicted probabilities")
    add("--of", choices=("probabilities", "logits"), default="probabilities")
    add("--weights", type=float, nargs="+", metavar="W", help="one per member (equal)")
    ensemble_inputs(add)
    ensemble_inputs(combining("vote", "let each member vote for a class"))
    add = combining("weights", "weighted average, with weights fitted on validation")
    add("--metric", **metrics)
    ensemble_inputs(add)
    add = combining("select", "greedy ensemble selection, with replacement, on validation")
    add("--metric", **metrics)
    add("--rounds", type=positive, default=25, metavar="N", help="maximum number of rounds (25)")
    ensemble_inputs(add)
    add = combining("stack", "train a meta-learner on the members' validation predictions")
    stacking(add)
    ensemble_inputs(add)
    add = combining("calibrate", "calibrate a model, and promise coverage", 1, run_calibrate)
    add("--coverage", type=share, metavar="P", help=COVERAGE)
    methods = ("lac", "aps", "raps", "split", "quantile")
    add("--method", choices=methods, help="of conformal prediction (lac, or split of values)")
    add("--scaling", choices=SCALINGS, default="auto", help="of the probabilities (auto)")
    add("--threshold", action="store_true", help="fit the threshold of two classes, too")
    add = command("evaluate", run_evaluate, "compare members and their mean; saves no model")
    add("members", metavar="MEMBER", nargs="+", help=MEMBER)
    add("--tta", action="store_true", help="average over flips and rotations")
    add("--mc-dropout", type=positive, metavar="N", help="also with dropout, of N passes each")
    common(add)
    add("--ood", metavar="SOURCE", help=OTHERS)
    add = command("soup", run_soup, "merge the weights of members of one architecture")
    add("members", metavar="MEMBER", nargs="+", help=MEMBER)
    recipes = ("greedy", "uniform", "slerp", "ties", "dare", "model_stock")
    add("--recipe", choices=recipes, default="greedy", help="how weights are merged (greedy)")
    text = "of ties, dare, model_stock: what all members were tuned from (their --init)"
    add("--base", metavar="MEMBER", help=text)
    text = "of slerp: the way from the first member to the second (0.5)"
    add("--fraction", type=float, default=0.5, metavar="R", help=text)
    text = "of ties, dare: the share of the changes that is kept (0.2, 0.5)"
    add("--density", type=float, metavar="R", help=text)
    text = "of ties, dare: factor on the merged changes (1)"
    add("--scale", type=rate, default=1.0, metavar="R", help=text)
    common(add)
    add = command("fuse", run_fuse, "fuse the boxes of detectors")
    add("members", metavar="MEMBER", nargs="+", help=MEMBER)
    methods = dict(choices=("wbf", "nms", "soft_nms"), default="wbf")
    add("--method", **methods, help="weighted boxes fusion, or non-maximum suppression (wbf)")
    add(
        "--iou",
        type=float,
        default=0.55,
        metavar="R",
        help="IoU above which boxes are combined (0.55)",
    )
    add("--skip", type=float, default=0.0, metavar="P", help="ignore boxes of a lower score (0)")
    add("--weights", type=float, nargs="+", metavar="W", help="one per member, or 0 (equal)")
    scores = ("box_and_model_avg", "avg", "max", "absent_model_aware_avg")
    text = "how wbf combines scores (box_and_model_avg)"
    add("--confidence", choices=scores, default=scores[0], help=text)
    text = "clip boxes to the image (yes)"
    add("--clip", action=argparse.BooleanOptionalAction, default=True, help=text)
    add("--fit", action="store_true", help="fit weights and IoU on the validation split")
    common(add)
    add = command(
        "distill",
        run_distill,
        "distil an ensemble into one model; further options are passed to train.py",
    )
    add("members", metavar="TEACHER", nargs=1, help=MEMBER)
    add("--model", required=True, metavar="NAME", help="architecture of the student")
    common(add)
    add = command("folds", run_folds, FOLDS)
    add("--model", required=True, action="append", metavar="NAME", help="may be given repeatedly")
    add("--loss", action="append", metavar="NAME", help="may be given repeatedly")
    add("--folds", type=positive, default=5, metavar="K", help="number of folds (5)")
    for option, kind, letter in MEMBERS:
        text = f"of each member, passed to train.py as --{option} (train.py's default)"
        add(f"--member-{option}", type=kind, metavar=letter, help=text)
    stacking(add)
    common(add)
    add = command("cache", run_cache, "show or clear the cached predictions of members")
    add("--clear", action="store_true", help="clear them")
    args, more = parser.parse_known_args(arguments)
    if more and args.command not in ("distill", "folds"):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    args.more = more
    return args


def stacking(add):
    """Add the options of a meta-learner."""
    add("--meta", default=None, metavar="NAME", help=METAS)
    add("--passthrough", action="store_true", help="the meta-learner gets the input too")
    add(
        "--epochs",
        type=positive,
        default=20,
        metavar="N",
        help="maximum epochs of the meta-learner (20)",
    )
    add(
        "--learning-rate",
        type=rate,
        default=0.01,
        metavar="R",
        help="learning rate of the meta-learner (0.01)",
    )
    add(
        "--fine-tune",
        type=positive,
        default=0,
        metavar="N",
        help="then fine-tune the members too, for N epochs",
    )


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
    from ensembles.evaluation import results

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
    from ensembles.evaluation import results

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
    from ensembles.evaluation import results

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
        task, options = tasks.get(member.record["task"]), member.record["task_options"]
        data.append(prepared.prepare(source, task, tasks.fingerprint(), options=options, **cut))
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
    from ensembles.evaluation import results

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
        (option, getattr(args, f"member_{option}".replace("-", "_"))) for option, *_ in MEMBERS
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
    from ensembles.evaluation import results

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


if __name__ == "__main__":
    terminal.leave(main())
