"""The options of the commands that combine models, parsed without importing Keras."""

import argparse

from zoo.system import terminal

DESCRIPTION = "Combine saved models into an ensemble, and report how much better it scores."
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


def parse(arguments):
    """Parse the command line; exit with a message if it is invalid."""
    parser = terminal.Parser("python -m ensembles", description=DESCRIPTION, allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name, text):
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(command=name)
        return sub.add_argument

    def combining(name, text, least="+"):
        add = command(name, text)
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
    add = combining("calibrate", "calibrate a model, and promise coverage", 1)
    add("--coverage", type=share, metavar="P", help=COVERAGE)
    methods = ("lac", "aps", "raps", "split", "quantile")
    add("--method", choices=methods, help="of conformal prediction (lac, or split of values)")
    add("--scaling", choices=SCALINGS, default="auto", help="of the probabilities (auto)")
    add("--threshold", action="store_true", help="fit the threshold of two classes, too")
    add = command("evaluate", "compare members and their mean; saves no model")
    add("members", metavar="MEMBER", nargs="+", help=MEMBER)
    add("--tta", action="store_true", help="average over flips and rotations")
    add("--mc-dropout", type=positive, metavar="N", help="also with dropout, of N passes each")
    common(add)
    add("--ood", metavar="SOURCE", help=OTHERS)
    add = command("soup", "merge the weights of members of one architecture")
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
    add = command("fuse", "fuse the boxes of detectors")
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
        "distil an ensemble into one model; further options are passed to train.py",
    )
    add("members", metavar="TEACHER", nargs=1, help=MEMBER)
    add("--model", required=True, metavar="NAME", help="architecture of the student")
    common(add)
    add = command("folds", FOLDS)
    add("--model", required=True, action="append", metavar="NAME", help="may be given repeatedly")
    add("--loss", action="append", metavar="NAME", help="may be given repeatedly")
    add("--folds", type=positive, default=5, metavar="K", help="number of folds (5)")
    for option, kind, letter in MEMBERS:
        text = f"of each member, passed to train.py as --{option} (train.py's default)"
        add(f"--member-{option}", type=kind, metavar=letter, help=text)
    stacking(add)
    common(add)
    add = command("cache", "show or clear the cached predictions of members")
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
