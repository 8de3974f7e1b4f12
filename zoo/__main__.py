"""Use the zoo: list, show, predict, explain, attack, embed, export, convert, publish and verify.

python -m zoo list
python -m zoo show pointnet
python -m zoo predict runs/pointnet-lidar_objects-1 my_scans/
python -m zoo explain runs/resnet-clothing-1 shirt.png --method gradcam
python -m zoo attack runs/resnet-clothing-1 --method fgsm
python -m zoo embed runs/triplet-characters-1 my_pictures/
python -m zoo export runs/pointnet-lidar_objects-1 --format onnx --out pointnet.onnx
python -m zoo export runs/yolov3-bccd-1 --format onnx --out yolov3.onnx --boxes
python -m zoo convert resnet model.safetensors --set depth=50 --out resnet50.keras
python -m zoo card runs/pointnet-lidar_objects-1 --name pointnet_lidar_objects
python -m zoo verify pointnet_lidar_objects

Keras is imported only after the command line has been parsed.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import pathlib
import shlex
import sys
import time

from datasets.prepared import expand
from datasets.source import HINTS, BadInput, flag
from zoo import assignments, describe, index
from zoo.inference import formats
from zoo.insight import options
from zoo.registry import unknown
from zoo.system import disk, precision, terminal
from zoo.weights import presets, records

print = terminal.say  # without control sequences in names of files and classes


def main(arguments=None):
    """Run the command; return its exit status."""
    terminal.accept_any_name()
    args = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return args.run(args)
    except ValueError as error:
        return complain(str(error))
    except BrokenPipeError:  # for example "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        return complain(disk.sentence(error))


def complain(message):
    """Print an error message; return the exit status."""
    print(f"zoo: {message}", file=sys.stderr)
    return 2


def parse(arguments):
    """Parse the command line, or exit with a message."""
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
    add("--task", metavar="NAME", help="only models of one task")
    add("--json", action="store_true", help="as JSON")
    add = command("show", run_show, "describe a model: idea, paper, options, layers")
    add("name", metavar="NAME", help=f"a model, or a {trained}")
    text = "receptive field, stride, multiply-adds and memory of each layer"
    add("--layers", action="store_true", help=text)
    add = command("predict", run_predict, "predict files with a trained model")
    add("model", metavar="MODEL", help=trained)
    add("files", metavar="FILE", nargs="+", help="files, or folders of them")
    add("--out", metavar="DIR", help="a new folder (predictions-1, -2, ...)")
    add("--tta", action="store_true", help="average over flips or rotations; 2 to 8 times slower")
    text = "of a forecast; beyond the horizon of the model, forecasts are fed back as inputs"
    add("--steps", type=count(1), metavar="N", help=text)
    text = "of a detector: boxes of lower scores are dropped (0.25)"
    add("--confidence", type=share, metavar="SCORE", help=text)
    text = "of a detector: IoU threshold of non-maximum suppression"
    add("--iou", type=share, metavar="SHARE", help=text)
    text = "of image embeddings: images to search, or folders of them (the other files)"
    add("--gallery", metavar="PATH", nargs="+", help=text)
    text = "of image embeddings: list the N nearest images (5)"
    add("--nearest", type=count(1), metavar="N", help=text)
    add("--batch-size", type=count(1), default=16, metavar="B", help="batch size (16)")
    text = "of activations (that of the training); auto: mixed_bfloat16 where it is native"
    add("--precision", choices=precision.POLICIES, help=text)
    for hint in ("columns", "up", "units"):  # of clouds, see `zoo.inference.files`
        add(flag(hint), metavar=HINTS[hint][0], help=HINTS[hint][1])
    add("--pictures", type=count(0), default=100, metavar="N", help="draw at most N pictures (100)")
    add = command("explain", run_explain, "draw what a model looks at, and what its layers see")
    options.explain(add, trained)
    add = command(
        "attack", run_attack, "change images so that a classifier errs; measure how often"
    )
    options.attack(add, trained)
    add = command("embed", run_embed, "write the vectors of images, and draw their plane")
    add("model", metavar="MODEL", help=f"of image embedding, or a classifier: {trained}")
    add("files", metavar="FILE", nargs="+", help="images, or folders of them")
    add("--out", metavar="DIR", help="a new folder (embeddings-1, -2, ...)")
    add("--batch-size", type=count(1), default=16, metavar="B", help="batch size (16)")
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
        "take raw inputs (images from 0 to 255, metres, series in their original units) and return "
        "probabilities, boxes, or forecasts in these units"
    )
    add("--with-preprocessing", action="store_true", help=text)
    text = "store weights in fewer bits, int8 computes with them; measured beside float32"
    add("--quantize", choices=("int8", "float16", "bfloat16"), help=text)
    text = "where the data of the training are now, to calibrate and score; if they were moved"
    add("--data", metavar="SOURCE", help=text)
    text = "turn weights that others published into a model of the zoo"
    add = command("convert", run_convert, text)
    add("name", metavar="MODEL", help="googlenet, mobilenet, resnet, vgg or vit")
    text = ".safetensors or .npz as of timm or torchvision, or .h5 of keras.applications"
    add("file", metavar="FILE", type=expand, help=text)
    text = "a .keras file; with --data, a new run folder"
    add("--out", metavar="PATH", required=True, type=pathlib.Path, help=text)
    text = "an option of the model, such as depth=50, or of image classification"
    add("--set", action="append", default=[], metavar="KEY=VALUE", help=text)
    text = "names of the classes: a text, one a line, or Keras' imagenet_class_index.json"
    add("--classes", metavar="FILE", type=pathlib.Path, help=text)
    text = "images of these classes and this size: score their test split"
    add("--data", metavar="SOURCE", help=text)
    add = command("card", run_card, "make a finished run a preset of the zoo")
    add("folder", metavar="RUN", help="the run folder")
    add("--name", required=True, help="of the preset: <model>_<data>")
    add("--source", default="", help="origin of the data")
    add("--licence", default="", help="of the data")
    add("--url", default="", help="download address of the file, if it is not copied")
    add("--replace", action="store_true", help="overwrite the preset of that name")
    add = command("verify", run_verify, "check presets against their cards")
    text = "presets or run folders; all presets of the zoo's own files if none is named"
    add("names", metavar="PRESET_OR_RUN", nargs="*", help=text)
    add("--scores", action="store_true", help="score the test split again, too (up to minutes)")
    add = command("example", run_example, "store an input and its output, for verify")
    add("names", metavar="PRESET_OR_RUN", nargs="+", help="presets or runs without an example")
    add("--replace", action="store_true", help="overwrite the stored example")
    args, more = parser.parse_known_args(arguments)
    if args.run is run_convert:
        args.settings = converted_options(parser, args, more)
        args.command_line = shlex.join(["python", "-m", "zoo", *arguments])
    elif more:
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    return args


def converted_options(parser, args, more):
    """Return the options of the model and of the task of a conversion, or exit with a message.

    Args:
        parser: of the command line.
        args: of the command, with KEY=VALUE words of --set.
        more: the words that are left, --KEY VALUE or --KEY=VALUE.
    """
    if args.name not in index.models():
        parser.error(f"argument MODEL: {unknown('model', args.name, index.models())}")
    words, row = [*args.set], index.models()[args.name]
    while more:
        word, *more = more
        key = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if not word.startswith("--") or key not in row.options:
            parser.error(f"unrecognized arguments: {word}")
        if "=" not in word:
            value, *more = more or parser.error(f"argument {word}: expected one argument")
            word = f"{word}={value}"
        words.append(f"{key}={word.partition('=')[2]}")
    task = index.tasks()["image_classification"]
    known, owner = {**row.options, **task["options"]}, f"option of {row.name}"
    explanations = {**row.explanations, **task["explanations"]}
    chosen = assignments.parse(parser, "--set", words, known, owner, explanations)
    of_task = {key: value for key, value in chosen.items() if key in task["options"]}
    return {key: value for key, value in chosen.items() if key not in of_task}, of_task


def count(least):
    """Return a converter to an integer of at least `least`."""

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
    """Print the description of a model."""
    if args.name in index.models():
        terminal.import_keras()
        from zoo import registry

        row = registry.get(args.name)
        model = row.builder(**row.paper)
        table = layers(model, {}) if args.layers else None
        print(describe.model_page(args.name, model, table))
        return 0
    path = presets.locate(args.name, also=index.models())
    terminal.import_keras()
    from zoo.weights import saving

    model, run = saving.load(path), path.parent / "run.json"
    record = {**saving.record(path), **index.presets().get(args.name, {})}
    if "published" in record:  # the card leaves out what the converter knows
        record |= saving.record(path)
    if run.is_file():
        record = {**record, **records.read_run(run.parent)}
    table = layers(model, record) if args.layers else None
    print(describe.trained_page(args.name, record, model, table))
    return 0


def layers(model, record):
    """Return the table of what each layer sees and costs."""
    from zoo.insight import costs

    return costs.table(model, record)


def run_predict(args):
    """Predict files: print a table, and write it with the outputs of each file into a folder."""
    path = presets.locate(args.model)
    errors, note = noting()
    paths = existing(args.files, note)
    if not paths:
        return 2
    if text := disk.unfinished(path):
        complain(f"warning: {text}")
    with new_folder(args.out) as folder:
        done = predict(args, path, paths, folder, note)
        if done:
            print(f"\n{done} of {done + len(errors)} files predicted; see {folder}/")
    return 2 if errors else 0


def run_explain(args):
    """Draw explanations of files, or of a model, into a folder."""
    path = presets.locate(args.model)
    options.check_files(args)
    errors, note = noting()
    paths = existing(args.files, note)
    if args.files and not paths:
        return 2
    terminal.import_keras()
    from zoo.insight import explain

    with new_folder(args.out, args.method) as folder:
        count = explain.run(path, paths, args, folder, note)
        if count:
            print(f"{count} picture{'s' * (count > 1)}: {folder}/")
    return 2 if errors else 0


def run_attack(args):
    """Attack classifiers, and write their accuracies and pictures into a folder."""
    for source in args.models:
        presets.locate(source)
    strengths = options.strengths(args)
    terminal.import_keras()
    from datasets import recorded
    from zoo.insight.attack import robustness

    attack = robustness.Attack(args.method, strengths, args.target, args.steps or options.STEPS)
    prepare = functools.partial(recorded.prepare, other=args.data)
    with new_folder(args.out, "attack") as folder:
        settings = dict(most=args.examples, batch_size=args.batch_size)
        print(robustness.run(args.models, attack, prepare, folder, **settings))
    return 0


def run_embed(args):
    """Write the vectors of images into a folder, and a figure of them."""
    path = presets.locate(args.model)
    errors, note = noting()
    from zoo.inference import files
    from zoo.weights import inspection

    record = inspection.record(path)
    if record.get("task") not in index.tasks() or not record["task"].startswith("image"):
        why = "it was not trained on images by train.py"
        raise ValueError(f"{path}: {why}. Use siamese, triplet, or a classifier of images")
    names, read = files.gather(existing(args.files, note), record, note)
    if not names:
        return 2
    terminal.import_keras()
    from zoo.inference import prediction, similarity
    from zoo.insight import projector

    prediction.check(path, record)
    predictor = similarity.opened(path, record, batch_size=args.batch_size)
    names, vectors = similarity.vectors(names, read, note, predictor)
    if not names:
        return 2
    with new_folder(args.out, "embeddings") as folder:
        similarity.save_vectors(names, vectors, read, folder, predictor.info)
        examples = (read(name)["image"] for name in names)
        projector.write(folder, names, vectors, examples, predictor.info)
    count, size = vectors.shape
    vectors = f"{terminal.counted(count, 'vector')} of {terminal.counted(size, 'value')}"
    print(f"{vectors}: {folder}/vectors.npy, vectors.csv and plane.png")
    print(f"TensorBoard's projector shows them, too: tensorboard --logdir {folder}")
    return 2 if errors else 0


def noting():
    """Return a list of messages, and a function that prints one and appends it."""
    errors = []

    def note(message):
        errors.append(message)
        complain(message)

    return errors, note


def existing(names, note):
    """Return the paths of files, folders and patterns; note those that do not exist."""
    from zoo.inference import files

    paths = []
    for name in names:
        try:
            paths += files.matches(name)
        except BadInput as error:
            note(str(error))
    return paths


def predict(args, path, paths, folder, note):
    """Predict files and write the results into a folder; return how many were predicted.

    Args:
        args: of the command.
        path: of the model.
        paths: existing files and folders.
        folder: an empty folder.
        note: called with the message about a file that is skipped.
    """
    from zoo.inference import files
    from zoo.weights import inspection

    record = inspection.record(path)
    if record.get("task") not in index.tasks():
        why = "it has no record of its task"
        raise ValueError(f"{path}: {why}. Use a model that was trained by train.py")
    compares = index.tasks()[record["task"]].get("vectors", False)
    of_images = record["task"].startswith("image") and not compares
    videos = [p for p in paths if of_images and p.suffix.lower() in formats.VIDEOS]
    rest = [p for p in paths if p not in videos]
    hints = {name: value for name in files.HINTS if (value := getattr(args, name)) is not None}
    names, read = files.gather(rest, record, note, hints) if rest else ([], None)
    if not names and not videos:
        return 0
    terminal.import_keras()
    from zoo.inference import prediction

    options = dict(tta=args.tta, steps=args.steps, confidence=args.confidence, iou=args.iou)
    prediction.check(path, record, gallery=args.gallery, nearest=args.nearest, **options)
    policy = precision.chosen(args.precision)
    if compares:
        return compare(args, path, record, policy, (names, read), folder, note)
    predictor = prediction.opened(path, record, policy, batch_size=args.batch_size, **options)
    results = prediction.predict(names, read, note, predictor)
    rows = []
    try:
        for row in prediction.write_all(results, folder, args.pictures):
            rows.append(row)
            if sys.stderr.isatty():
                print(f"\r{len(rows)} of {len(names)} ", end="", file=sys.stderr)
    finally:  # also after an interruption
        if rows:
            prediction.save_tables(rows, folder)
            print(describe.rows_table(rows))
    return len(rows) + watch(videos, folder, note, predictor)


def compare(args, path, record, policy, queries, folder, note):
    """Find similar images and write the results into a folder; return how many were compared.

    Args:
        args: of the command.
        path: of the model.
        record: of the model.
        policy: precision of the activations, None for that of the training.
        queries: (names, read), see `zoo.inference.files.gather`.
        folder: an empty folder.
        note: called with the message about a file that is skipped.
    """
    from zoo.inference import files, similarity

    gallery = None
    if args.gallery:
        if not (paths := existing(args.gallery, note)):
            return 0
        gallery = files.gather(paths, record, note)
    predictor = similarity.opened(path, record, policy, batch_size=args.batch_size)
    count = args.nearest or similarity.SHOWN
    rows = similarity.compared(*queries, note, predictor, gallery, count)
    if rows:
        lines = similarity.write(rows, queries[1], folder, args.pictures, predictor.info)
        print(describe.rows_table(lines))
    return len(rows)


def watch(videos, folder, note, predictor):
    """Predict videos, showing a frame count on a terminal; return how many were predicted."""
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
def new_folder(out, name="predictions"):
    """Create the folder of the predictions, and remove it if it stays empty.

    Args:
        out: its name; None for the next one, predictions-N.
        name: in place of "predictions".

    Raises:
        ValueError: if the folder is not empty, or is a file.
        OSError: if it cannot be created.
    """
    if out is None:
        folder = numbered(name)
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


def numbered(name):
    """Create the next folder name-1, -2, ..., unique even if commands run in parallel."""
    for number in itertools.count(1):
        folder = pathlib.Path(f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder


def run_export(args):
    """Export a model, optionally with boxes as outputs, and report the difference of outputs."""
    path = presets.locate(args.model)
    formats.check(args.out, args.format, args.quantize)
    terminal.import_keras()
    from zoo.inference import detector, export, preprocessing
    from zoo.weights import saving

    record = saving.record(path)
    detector.check_single(path, record)
    model = saving.load(path)
    if args.quantize:
        return run_quantize(args, model, record)
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
        print(f"{args.out}: it takes one series at a time, a limit of LiteRT")
    if args.format == "litert" and (missing := export.select_ops(args.out)):
        names = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
        print(
            f"{args.out}: LiteRT alone cannot run it: it needs TensorFlow's Select operations "
            f"({names}). Link them, or use --format onnx"
        )
    return 0


def run_quantize(args, model, record):
    """Export a model with weights of fewer bits, and print what that costs and gains."""
    from datasets import recorded
    from zoo import tasks
    from zoo.inference import export, preprocessing, quantization, stored_example

    if args.boxes is not None or args.with_preprocessing:
        why = "it is calibrated and scored on the network alone"
        raise ValueError(f"--quantize: {why}. Leave --boxes and --with-preprocessing out")
    if args.data:
        settings = {**record.get("settings", {}), "data": args.data}
        record = {**record, "settings": settings}
    splits = stored_example.prepared(record, recorded.prepare).splits
    examples, _ = splits["validation"].take(slice(0, quantization.CALIBRATED))
    facts = preprocessing.facts(record, False, None)
    runs, sizes = quantization.write(model, args.out, args.format, args.quantize, examples, facts)
    single = export.takes_one(model, args.format)
    task, info = tasks.of(record), record["info"]
    rows = quantization.measure(model, runs, sizes, task, info, splits["test"], single)
    report = formats.report(args.out)
    report.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(quantization.table(rows))
    print(f"{args.out}: written in {args.format} with {args.quantize}; the table is in {report}")
    return 0


def run_convert(args):
    """Convert published weights; with data, score them and make a run folder."""
    options, task_options = args.settings
    if not args.file.is_file():
        raise ValueError(f"{args.file}: there is no such file. Check the spelling")
    if args.out.exists():
        raise ValueError(f"{args.out}: it exists already. Remove it or choose another name")
    if not args.data and args.out.suffix != ".keras":
        raise ValueError(f"{args.out}: a model's file ends in .keras. Choose another name")
    began, settings = time.time(), {"command": args.command_line}
    terminal.import_keras()
    from zoo.weights import saving
    from zoo.weights.published import cards, converter

    if args.data:
        from datasets import prepared
        from zoo import tasks
        from zoo.training import conversion

        settings |= {"data": args.data}
        task = tasks.get("image_classification")
        data = prepared.prepare(args.data, task, tasks.fingerprint(), options=task_options)
        content = args.file, args.name, options, data, task.of(data.info), args.out
        print(conversion.convert(*content, settings=settings, began=began))
        print(f"Run folder: {args.out}")
        return 0
    names = cards.listed(args.classes) if args.classes else None
    content = dict(task_options=task_options, classes=names)
    model, record = converter.read(args.file, args.name, options, **content)
    saving.save(model, args.out, {**record, "settings": settings})
    known = record["task_options"] | record["options"]
    used = ("image_size", "crop", "interpolation", "pixel_mean", "pixel_std")
    print(f"{args.out}: {model.count_params():,} parameters, {model.output_shape[-1]:,} classes")
    print("Images: " + ", ".join(f"{key} {known[key]}" for key in used if key in known))
    print(f"Use it: python -m zoo predict {args.out} FILE...")
    return 0


def run_card(args):
    """Create a preset of a run."""
    from datasets import recorded

    def example(model, record):
        from zoo.inference import stored_example

        return stored_example.make(model, record, recorded.prepare)

    settings = dict(source=args.source, licence=args.licence, url=args.url, replace=args.replace)
    folder = presets.publish(args.folder, args.name, example=example, **settings)
    print(f"{folder}: created. Load it with zoo.load({args.name!r})")
    return 0


def run_verify(args):
    """Verify presets and runs, one line per check; return 1 if one of them fails."""
    from zoo.inference import verification

    names = args.names or sorted([*presets.stored(), *index.damaged_presets()])
    for name in names:
        verification.record_file(name)  # report a misspelt name before verifying the others
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
    """Store an example with presets and runs."""
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
    terminal.leave(main())
