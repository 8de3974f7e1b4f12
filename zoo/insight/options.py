"""Options of the commands attack and explain, checked before anything heavy is imported."""

import argparse
import pathlib

ATTACKS = ("fgsm", "pgd", "patch")
EXPLANATIONS = ("gradcam", "saliency", "occlusion", "filters", "features", "maximise", "dream")
WITHOUT_FILES = ("filters", "maximise")  # they are of the model alone
PAPER = 0.007  # epsilon of Goodfellow et al., Fig. 1: less than two levels of 8 bits
EPSILONS = (0.001, 0.003, PAPER, 0.015, 0.03)
SIZES = (0.1, 0.2, 0.3, 0.4)  # of a patch
STEPS = 10  # of PGD


def number(text):
    """Convert to a number above 0, up to 1."""
    if not 0 < float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0, and 1 at most")
    return float(text)


def count(text):
    """Convert to an integer above 0."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return int(text)


def attack(add, trained):
    """Add the options of `attack`.

    Args:
        add: `add_argument` of the command's parser.
        trained: what a trained model can be, for the help.
    """
    add("models", metavar="MODEL", nargs="+", help=f"one, or several to compare: {trained}")
    add(
        "--data", metavar="SOURCE", help="name or path of data of its classes (its own, their test)"
    )
    add("--method", choices=ATTACKS, default="fgsm", help="(fgsm)")
    text = "of fgsm and pgd: largest change, in units of the input (0.001 0.003 0.007 0.015 0.03)"
    add("--epsilon", type=number, nargs="+", metavar="E", help=text)
    text = "of patch: its diameter, a share of the image's side (0.1 0.2 0.3 0.4)"
    add("--size", type=number, nargs="+", metavar="S", help=text)
    add("--target", metavar="CLASS", help="make the model predict this class, not any wrong one")
    add("--steps", type=count, metavar="N", help="of pgd (10)")
    add("--examples", type=count, default=500, metavar="N", help="of the test split (500)")
    add("--batch-size", type=count, default=32, metavar="B", help="batch size (32)")
    add("--out", metavar="DIR", help="a new folder (attack-1, -2, ...)")


def strengths(args):
    """Return the strengths of an attack, ascending.

    Raises:
        ValueError: if an option is of another method.
    """
    if args.epsilon and args.method == "patch":
        raise ValueError("--epsilon: a patch may have any colours, and has a --size instead")
    if args.size and args.method != "patch":
        raise ValueError(f"--size: it is of a patch, and {args.method} has an --epsilon instead")
    if args.steps and args.method != "pgd":
        raise ValueError(f"--steps: they are of pgd, and the method is {args.method}")
    given = args.size or args.epsilon or (SIZES if args.method == "patch" else EPSILONS)
    return tuple(sorted(set(given)))


def explain(add, trained):
    """Add the options of `explain`; see `attack`."""
    add("model", metavar="MODEL", help=trained)
    add("files", metavar="FILE", nargs="*", help="files, or folders of them")
    text = "gradcam (images), saliency (any), occlusion (images), filters and features of layers"
    text += ", maximise: the image that a class or a layer responds to most, dream"
    add("--method", choices=EXPLANATIONS, default="gradcam", help=f"{text} (gradcam)")
    add("--target", metavar="CLASS", help="the class to explain (the predicted one)")
    add("--layer", metavar="NAME", help="of gradcam, filters, features, maximise and dream")
    add("--out", metavar="DIR", help="a new folder (METHOD-1, -2, ...)")


def check_files(args):
    """Raise a `ValueError` if a method lacks files, or takes none or no layer."""
    if args.files and args.method in WITHOUT_FILES:
        raise ValueError(f"{args.files[0]}: {args.method} shows the model alone. Leave the files")
    if not args.files and args.method not in WITHOUT_FILES:
        raise ValueError(f"{args.model}: {args.method} needs files to explain. Give some")
    if args.layer and args.method in ("saliency", "occlusion"):
        raise ValueError(f"--layer: {args.method} is of the whole model. Leave it out")
    if args.target and args.method in ("filters", "features", "dream"):
        raise ValueError(f"--target: {args.method} is not of a class. Leave it out")


def named(path):
    """Return the name of a model's file for titles: of its run, or its own."""
    path = pathlib.Path(path)
    return path.parent.name if path.name == "model.keras" else path.stem
