"""Use the zoo: list and show models, predict, export them, publish and verify presets.

python -m zoo list
python -m zoo show pointnet
python -m zoo predict runs/pointnet-lidar_objects-1 my_scans/
python -m zoo export runs/pointnet-lidar_objects-1 --format onnx --out pointnet.onnx
python -m zoo export runs/yolov3-bccd-1 --format onnx --out yolov3.onnx --boxes
python -m zoo card runs/pointnet-lidar_objects-1 --name pointnet_lidar_objects
python -m zoo verify pointnet_lidar_objects

Nothing heavy is imported before the command line has been understood.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import sys

from datasets.source import HINTS, BadInput, flag
from zoo import describe, index
from zoo.inference import formats
from zoo.registry import unknown
from zoo.system import disk, terminal
from zoo.weights import presets, records

print = terminal.say  # names of files and classes command no terminal


def main(arguments=None):
    """Run the command; return its exit status."""
    terminal.accept_any_name()
    args = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return args.run(args)
    except ValueError as error:
        return complain(str(error))
    except BrokenPipeError:  # "| head" has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        return complain(disk.sentence(error))


def complain(message):
    """Print a message about something wrong; return the exit status it leads to."""
    print(f"zoo: {message}", file=sys.stderr)
    return 2


def parse(arguments):
    """Turn the command line into settings, or leave with a message."""
    parser = terminal.Parser(
        "python -m zoo", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name, run, text):
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        return sub.add_argument

    trained = "preset, run folder, or .keras or .h5 file"
    add = command("list", run_list, "list the models")
    add("--task", metavar="NAME", help="those of one task only")
    add("--json", action="store_true", help="for programs")
    add = command("show", run_show, "describe a model: idea, paper, options, layers")
    add("name", metavar="NAME", help=f"a model, or a {trained}")
    add = command("predict", run_predict, "predict files with a trained model")
    add("model", metavar="MODEL", help=trained)
    add("files", metavar="FILE", nargs="+", help="files, or folders of them")
    add("--out", metavar="DIR", help="a new folder (predictions-1, -2, ...)")
    add("--tta", action="store_true", help="average over flips or turns; 2 to 8 times slower")
    text = "of a forecast; more than the model says at once are forecast from forecasts"
    add("--steps", type=count(1), metavar="N", help=text)
    text = "of a detector: boxes of lower scores are left out (0.25)"
    add("--confidence", type=share, metavar="SCORE", help=text)
    text = "of a detector: of two boxes that overlap by more, the lower score is dropped"
    add("--iou", type=share, metavar="SHARE", help=text)
    add("--batch-size", type=count(1), default=16, metavar="B", help="batch size (16)")
    for hint in ("columns", "up", "units"):  # of clouds, see `zoo.inference.files`
        add(flag(hint), metavar=HINTS[hint][0], help=HINTS[hint][1])
    add("--pictures", type=count(0), default=100, metavar="N", help="draw at most so many (100)")
    add = command("export", run_export, "write a trained model for other programs")
    add("model", metavar="MODEL", help=trained)
    add("--format", choices=formats.FORMATS, required=True)
    add("--out", metavar="FILE", required=True, type=pathlib.Path, help="must not exist yet")
    text = (
        "let a detector end in boxes of scores above this (0.25), not in raw outputs: 100 rows an "
        "image of x1, y1, x2, y2 in pixels of its input, score, class (-1: none)"
    )
    add("--boxes", nargs="?", const=0.25, type=share, metavar="SCORE", help=text)
    text = (
        "take what a user has (images from 0 to 255, metres, series in their own units) and return "
        "probabilities, boxes, or forecasts in these units"
    )
    add("--with-preprocessing", action="store_true", help=text)
    add = command("card", run_card, "make a finished run a preset of the zoo")
    add("folder", metavar="RUN", help="the run folder")
    add("--name", required=True, help="of the preset: <model>_<data>")
    add("--source", default="", help="where the data come from")
    add("--licence", default="", help="of the data")
    add("--url", default="", help="where the file can be fetched, if it is not to be copied")
    add("--replace", action="store_true", help="write over the preset of that name")
    add = command("verify", run_verify, "check that presets are what their cards say")
    text = "presets or run folders; all presets if none is named"
    add("names", metavar="PRESET_OR_RUN", nargs="*", help=text)
    add("--scores", action="store_true", help="score the test split again, too: seconds to minutes")
    add = command("example", run_example, "store an input and its output, for verify")
    add("names", metavar="PRESET_OR_RUN", nargs="+", help="what has none yet")
    add("--replace", action="store_true", help="write over the example that is stored")
    return parser.parse_args(arguments)


def count(least):
    """Return a converter to an integer that is not below `least`."""

    def convert(text):
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    convert.__name__ = "int"
    return convert


def share(text):
    """Convert to a number from 0 to 1."""
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return float(text)


def run_list(args):
    """Print the models."""
    if args.task is not None and args.task not in index.tasks():
        raise ValueError(unknown("task", args.task, index.tasks()))
    rows = describe.listing(args.task)
    print(json.dumps(rows, indent=1) if args.json else describe.listed(rows))
    return 0


def run_show(args):
    """Print a model's page."""
    if args.name in index.models():
        terminal.import_keras()
        from zoo import registry

        model = registry.get(args.name)
        print(describe.model_page(args.name, model.builder(**model.paper)))
        return 0
    path = presets.locate(args.name, also=index.models())
    terminal.import_keras()
    from zoo.weights import saving

    model, run = saving.load(path), path.parent / "run.json"
    record = index.presets().get(args.name) or saving.record(path)
    if run.is_file():
        record = {**record, **records.read_run(run.parent)}
    print(describe.trained_page(args.name, record, model))
    return 0


def run_predict(args):
    """Predict files: print a table, and write it with what belongs to each file into a folder."""
    path = presets.locate(args.model)
    bad, given = [], []

    def note(message):
        bad.append(message)
        complain(message)

    from zoo.inference import files

    for name in args.files:
        try:
            given += files.matches(name)
        except BadInput as error:
            note(str(error))
    if not given:
        return 2
    if text := disk.unfinished(path):
        complain(f"warning: {text}")
    with new_folder(args.out) as folder:
        done = predict(args, path, given, folder, note)
        if done:
            print(f"\n{done} of {done + len(bad)} files predicted; see {folder}/")
    return 2 if bad else 0


def predict(args, path, given, folder, note):
    """Predict the files given into a folder; return how many could be.

    Args:
        args: of the command.
        path: of the model.
        given: paths of files and folders, which exist.
        folder: an empty one.
        note: called with the message about a file that is left out.
    """
    from zoo.inference import files
    from zoo.weights import inspection

    record = inspection.record(path)
    if record.get("task") not in index.tasks():
        why = "it does not say what it was trained for"
        raise ValueError(f"{path}: {why}. Use a model that was trained by train.py")
    moving = record["task"].startswith("image")
    videos = [p for p in given if moving and p.suffix.lower() in formats.VIDEOS]
    rest = [p for p in given if p not in videos]
    hints = {name: value for name in files.HINTS if (value := getattr(args, name)) is not None}
    names, read = files.gather(rest, record, note, hints) if rest else ([], None)
    if not names and not videos:
        return 0
    terminal.import_keras()
    from zoo.inference import prediction

    asked = dict(tta=args.tta, steps=args.steps, confidence=args.confidence, iou=args.iou)
    prediction.check(path, record, **asked)
    predictor = prediction.opened(path, record, batch_size=args.batch_size, **asked)
    results = prediction.predict(names, read, note, predictor)
    rows = []
    try:
        for row in prediction.write_all(results, folder, args.pictures):
            rows.append(row)
            if sys.stderr.isatty():
                print(f"\r{len(rows)} of {len(names)} ", end="", file=sys.stderr)
    finally:  # what is done by then is kept
        if rows:
            prediction.save_tables(rows, folder)
            print(describe.rows_table(rows))
    return len(rows) + watch(videos, folder, note, predictor)


def watch(videos, folder, note, predictor):
    """Predict videos, with a count of frames on a terminal; return how many could be."""
    from zoo.inference import prediction, video

    taken, done = set(), 0
    for path in videos:
        target, frames = prediction.free(folder, path, ".mp4", taken), 0
        try:
            for _ in video.predict(path, target, predictor):
                frames += 1
                if sys.stderr.isatty():
                    print(f"\r{path}: {frames} frames ", end="", file=sys.stderr)
        except ValueError as error:
            note(str(error))
            continue
        print(f"{path}: {frames} frames, drawn into {target}")
        done += 1
    return done


@contextlib.contextmanager
def new_folder(out):
    """Make the folder that predictions go into, and remove it if nothing has come into it.

    Args:
        out: its name; None for the next predictions-N.

    Raises:
        ValueError: if the folder holds something already, or is a file.
        OSError: if it cannot be made.
    """
    if out is None:
        folder = numbered()
    else:
        folder = pathlib.Path(out)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            why = "it exists already and is not empty" if folder.is_dir() else "it is a file"
            raise ValueError(f"{folder}: {why}. Name another folder")
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def numbered():
    """Make the next folder predictions-N, that of no command that runs beside this one."""
    for number in itertools.count(1):
        folder = pathlib.Path(f"predictions-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder


def run_export(args):
    """Export a model, that ends in boxes if wished, and say by how much its outputs differ."""
    path = presets.locate(args.model)
    formats.check(args.out, args.format)
    terminal.import_keras()
    from zoo.inference import detector, export, preprocessing
    from zoo.weights import saving

    record = saving.record(path)
    detector.check_single(path, record)
    model = saving.load(path)
    if args.with_preprocessing:
        model = preprocessing.around(model, path, record, args.boxes)
    elif args.boxes is not None:
        model = detector.with_boxes(model, record.get("info", {}), args.boxes)
    facts = preprocessing.facts(record, args.with_preprocessing, args.boxes)
    difference = export.export(model, args.out, args.format, facts)
    equal = (
        f"differ from those of Keras by {difference:.2g} at most"
        if difference
        else "equal those of Keras"
    )
    print(f"{args.out}: written in {args.format} and checked: outputs {equal}")
    if facts:
        print(f"{args.out}: input {facts['input']}; output {facts['output']}")
    if export.takes_one(model, args.format):
        print(f"{args.out}: it takes one series at a time, as LiteRT has it")
    if args.format == "litert" and (missing := export.select_ops(args.out)):
        names = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
        print(
            f"{args.out}: LiteRT alone cannot run it: it needs TensorFlow's Select operations "
            f"({names}). Link them, or use --format onnx"
        )
    return 0


def run_card(args):
    """Make a preset."""
    from datasets import recorded

    def example(model, record):
        from zoo.inference import stored_example

        return stored_example.make(model, record, recorded.prepare)

    settings = dict(source=args.source, licence=args.licence, url=args.url, replace=args.replace)
    folder = presets.publish(args.folder, args.name, example=example, **settings)
    print(f"{folder}: made. Load it with zoo.load({args.name!r})")
    return 0


def run_verify(args):
    """Check presets and runs, a line each check; return 1 if one of them fails."""
    from zoo.inference import verification

    names = args.names or sorted([*index.presets(), *index.damaged_presets()])
    for name in names:
        verification.record_file(name)  # a misspelt one is named before the others are verified
    terminal.import_keras()
    from datasets import recorded

    failed = []
    for name in names:
        print(name)
        checks = verification.verify(name, recorded.prepare, args.scores)
        for check in checks:
            result = {True: "ok", False: "FAILED", None: "-"}[check.passed]
            print(f"  {check.name:9}  {result:6}  {check.text}", flush=True)
        if any(check.passed is False for check in checks):
            failed.append(name)
    print(f"{len(failed)} of {len(names)} failed" if failed else f"{len(names)} verified")
    return 1 if failed else 0


def run_example(args):
    """Store an example beside presets and runs."""
    from zoo.inference import verification

    for name in args.names:
        verification.place(name)  # likewise
    terminal.import_keras()
    from datasets import recorded

    for name in args.names:
        path, entry = verification.store(name, recorded.prepare, args.replace)
        print(f"{path}: {path.stat().st_size:,} bytes, {entry['input']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
