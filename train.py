"""Train any model of the zoo with one command: parse, task, data, build, fit, save, score, draw.

    python train.py --model pointnet                               # on the embedded data
    python train.py --model pointnet --data my_scans --epochs 50   # on your own files
    python train.py --resume runs/pointnet-my_scans-1              # after a crash

Nothing heavy is imported before the command line has been understood.
"""

import argparse
import ast
import difflib
import json
import os
import pathlib
import shlex
import sys
import time

from datasets import builders
from datasets.source import BadInput
from zoo import index
from zoo.registry import unknown


def main(arguments=None):
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        settings = parse(arguments)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        return train(settings)
    except BadInput as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2


class Parser(argparse.ArgumentParser):
    """An argument parser whose every error is one line that names the nearest right thing."""

    def error(self, message):
        """Print the line and leave with status 2."""
        word = message.rpartition(": ")[2].split(" ")[0]
        if "unrecognized" in message:
            near = difflib.get_close_matches(word.split("=")[0], self._option_string_actions, n=2)
            message += f" (did you mean {' or '.join(near)}?)" if near else " (see --help)"
        self.exit(2, f"{self.prog}: {message}\n")


def parse(arguments):
    """Turn the command line into a dictionary of settings, or leave with a message."""
    parser = Parser("train.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add("--model", metavar="NAME", help="what to train; --list shows the names")
    add("--data", metavar="SOURCE", help="name of a data set, or path of your own files")
    add("--epochs", type=positive(int), metavar="N", help="passes over the training data")
    add("--batch-size", type=positive(int), metavar="B", help="examples a step")
    add("--learning-rate", type=positive(float), metavar="R", help="of Adam, decaying by a cosine")
    add("--seed", type=int, default=0, metavar="S", help="of weights, order and augmentation")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an option; see --list")
    add("--init", metavar="PRESET_OR_FILE", help="start from a trained model's weights")
    policies = ("float32", "mixed_bfloat16", "mixed_float16")
    add("--precision", choices=policies, default="float32")
    add("--jit", action=argparse.BooleanOptionalAction, default=True, help="compile with XLA")
    add("--out", metavar="DIR", default="runs", help="where the run folder is made (runs)")
    add("--skip-bad", action="store_true", help="train without the files that cannot be read")
    add("--resume", metavar="DIR", help="go on with the run in this folder; takes no other option")
    add("--list", action="store_true", help="show models, their options, and data sets")
    args = vars(parser.parse_args(arguments))
    if args.pop("list"):
        parser.exit(0, listing())
    resume = args.pop("resume")
    if resume is not None:
        if len(arguments) > 1 + ("--resume" in arguments):
            parser.error("argument --resume: takes no other option, the run's own are used")
        return resumed(parser, pathlib.Path(resume))
    if args["model"] is None:
        parser.error(f"argument --model: choose one of {', '.join(index.models())}")
    if args["model"] not in index.models():
        parser.error(f"argument --model: {unknown('model', args['model'], index.models())}")
    if args["seed"] < 0:
        parser.error(f"argument --seed: {args['seed']} is negative")
    row = index.models()[args["model"]]
    task = index.tasks()[row.task]
    args["data"] = args["data"] or task["dataset"]
    if not expand(args["data"]).exists() and not builders.known(args["data"]):
        near = unknown("data set", args["data"], [*builders.names()])
        parser.error(f"argument --data: no file or folder of that name, and {near}")
    if args["init"] and not pathlib.Path(args["init"]).exists():
        if args["init"] not in index.presets():
            near = unknown("preset", args["init"], index.presets())
            parser.error(f"argument --init: no file or folder of that name, and {near}")
    chosen = assignments(parser, args.pop("set"), row, task)
    args["options"] = {key: value for key, value in chosen.items() if key in row.options}
    args["task_options"] = {key: value for key, value in chosen.items() if key in task["options"]}
    for key, value in task["training"].items():
        args[key] = value if args[key] is None else args[key]
    return {**args, "resume": None, "command": shlex.join(["python", "train.py", *arguments])}


def expand(text):
    """Return the path that a text means, with $VARIABLES and ~ filled in."""
    return pathlib.Path(os.path.expandvars(text)).expanduser()


def assignments(parser, words, row, task):
    """Read KEY=VALUE words; a value has the type of the option's default."""
    known = {**row.options, **task["options"]}
    chosen = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            parser.error(f"argument --set: {word!r} is not of the form KEY=VALUE")
        if key not in known:
            parser.error(f"argument --set: {unknown(f'option of {row.name}', key, known)}")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = {"true": True, "false": False, "none": None}.get(text.lower(), text)
        default = known[key]
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if default is not None and type(value) is not type(default):
            kind = type(default).__name__
            parser.error(
                f"argument --set: {key} is {text!r}, it must be of type {kind}, as {default}"
            )
        chosen[key] = value
    return chosen


def positive(kind):
    """Return a converter to a number above 0."""

    def convert(text):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    convert.__name__ = kind.__name__
    return convert


def resumed(parser, folder):
    """Return the settings of the run in a folder."""
    if not (folder / "run.json").exists():
        parser.error(f"argument --resume: {folder} is no run folder: it has no run.json")
    run = json.loads((folder / "run.json").read_text())
    if run["status"] == "finished":
        parser.error(f"argument --resume: {folder} is finished: its scores stand in run.json")
    return {**run["settings"], "resume": str(folder)}


def listing():
    """Describe models with their options, and data sets."""
    lines = ["Models (--model), with their options and their task's (--set KEY=VALUE):"]
    for row in index.models().values():
        known = {**row.options, **index.tasks()[row.task]["options"]}
        pairs = ", ".join(f"{key}={value}" for key, value in known.items())
        lines += [f"  {row.name}: {row.idea}", f"    {row.source}", f"    {pairs}"]
    lines += ["", f"Data (--data): {', '.join(builders.ours())}, a name of tensorflow-datasets,"]
    lines += ["  or a path: class folders, KITTI, labelled scans, an .npz; see datasets/readers"]
    return "\n".join(lines) + "\n"


def train(settings):
    """Train as the settings say; return the exit status."""
    import keras

    import datasets
    from datasets import pipeline
    from zoo import inference, presets, registry, runs, saving, tasks, transfer

    started = time.time()
    keras.utils.set_random_seed(settings["seed"])
    keras.config.set_dtype_policy(settings["precision"])
    model_row = registry.get(settings["model"])
    task = tasks.get(model_row.task)

    # data
    data = expand(settings["data"])
    source = datasets.open_source(data if data.exists() else settings["data"], task.name)
    task_options = {**task.options, **settings["task_options"]}
    info = {"classes": list(source.classes)}
    prepared = {key: task_options[key] for key in task.prepared}
    splits, facts = pipeline.prepare(
        source,
        measure=lambda examples: task.measure(examples, task_options),
        cut=lambda example: task.cut(example, task_options),
        prepare=lambda piece, found: task.prepare(piece, {**info, **found}, task_options),
        fields=task.fields,
        key=f"{task.name} {json.dumps(prepared, sort_keys=True)} {tasks.fingerprint()}",
        skip_bad=settings["skip_bad"],
    )
    info.update(facts["constants"])
    for message in facts["skipped"]:
        print(f"skipped {message}")

    # build
    init = saving.record(presets.locate(settings["init"])) if settings["init"] else {}
    same = init.get("model") == settings["model"]
    options = {**(init["options"] if same else {}), **settings["options"]}
    arguments = task.arguments(info, task_options)
    try:
        model = model_row.builder(**arguments, **options)
    except ValueError as error:
        raise BadInput(settings["model"], str(error).rstrip("."), "Change its options") from error
    if settings["init"]:
        kept, fresh = transfer.transfer(presets.load(settings["init"]), model)
        print(
            f"From {settings['init']}: {len(kept)} weights kept, {len(fresh)} start afresh"
            + (f" ({', '.join(fresh[:6])}{' ...' if len(fresh) > 6 else ''})" if fresh else "")
        )
        if not kept:
            raise BadInput(settings["init"], f"none of its weights fits {settings['model']}")

    # the run folder
    folder = settings["resume"] or runs.new_folder(
        settings["out"], f"{settings['model']}-{source.name}"
    )
    folder = pathlib.Path(folder)
    record = {
        "model": settings["model"],
        "arguments": arguments,
        "options": options,
        "task": task.name,
        "task_options": task_options,
        "info": info,
        "data": {
            "source": settings["data"],
            "name": source.name,
            "fingerprint": source.fingerprint,
            "sizes": {split: len(arrays) for split, arrays in splits.items()},
            "skipped": facts["skipped"],
            **source.info,
        },
        "seed": settings["seed"],
        "settings": settings,
        **runs.environment(),
    }
    earlier = json.loads((folder / "run.json").read_text()) if settings["resume"] else {}
    if earlier and earlier["data"]["fingerprint"] != source.fingerprint:
        raise BadInput(
            settings["data"], f"the data changed since {folder} began", "Start a new run"
        )
    run = {"status": "running", "seconds": earlier.get("seconds", 0.0), **record}
    before = run["seconds"]

    def note(**changes):
        run.update(changes, seconds=round(before + time.time() - started, 1))
        runs.write_json(folder / "run.json", run)

    note()

    # fit
    size, epochs = settings["batch_size"], settings["epochs"]
    training = pipeline.Batches(
        splits["train"],
        size,
        training=True,
        augment=task.augment(task_options),
        seed=settings["seed"],
    )
    steps = epochs * len(training)
    rate = keras.optimizers.schedules.CosineDecay(settings["learning_rate"], steps, alpha=0.01)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=task.loss(info),
        metrics=task.metrics(info),
        jit_compile=settings["jit"],
    )
    recorder = runs.Recorder(folder, record, task.best, settings["seed"], training)
    done = recorder.restore(model)
    print(
        f"{model.name}: {model.count_params():,} parameters; "
        f"{len(splits['train']):,} training examples; run folder {folder}"
    )
    if done:
        print(f"Going on after epoch {done} of {epochs}")
    status = "finished"
    try:
        model.fit(
            training,
            validation_data=pipeline.Batches(splits["validation"], size),
            epochs=epochs,
            initial_epoch=done,
            shuffle=False,
            callbacks=[keras.callbacks.TerminateOnNaN(), recorder, *tensorboard(folder)],
        )
    except KeyboardInterrupt:
        status = "interrupted"
        if not recorder.epochs:
            saving.save(model, folder / "model.keras", record)
        print(f"\nInterrupted after {recorder.epochs} epochs.")
    if status == "finished" and recorder.epochs < epochs:
        status = "diverged"
    best = {"epochs": recorder.epochs, "best_epoch": recorder.best_epoch}
    if status != "finished":
        note(status=status, **best)
        return leave(status, folder, recorder)

    # score and draw
    model = saving.load(folder / "model.keras")
    scores, report = {}, ""
    for split in ("validation", "test"):
        x, y = splits[split].take()
        outputs = inference.predict(model, x, size)
        scores[split], report = task.score(y, outputs, info)
    plots = {"learning_curves": draw_history(recorder.history)}
    plots.update(task.plot(x, y, outputs, info))
    (folder / "plots").mkdir(exist_ok=True)
    for name, figure in plots.items():
        figure.savefig(folder / "plots" / f"{name}.png", dpi=120)
    (folder / "report.txt").write_text(report)
    note(status=status, **best, scores=scores, sha256=saving.sha256(folder / "model.keras"))
    recorder.state.unlink(missing_ok=True)
    numbers = {key: value for key, value in scores["test"].items() if isinstance(value, float)}
    print(f"\n{report}")
    print(f"Run folder: {folder}  (best epoch {recorder.best_epoch} of {epochs})")
    print("Test: " + ", ".join(f"{key} {value:.4f}" for key, value in numbers.items()))
    print(f"Use it: python -m zoo predict {folder} FILE...")
    return 0


def draw_history(history):
    """Return the figure of the learning curves."""
    from zoo import plots

    return plots.learning_curves(history)


def tensorboard(folder):
    """Return the TensorBoard callback, if TensorFlow is there to write its files."""
    import importlib.util

    import keras

    if importlib.util.find_spec("tensorflow") is None:
        return []
    return [keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False)]


def leave(status, folder, recorder):
    """Say how a training ended that did not finish, and return the exit status."""
    if status == "diverged":
        print(
            f"train.py: the loss is no longer a number in epoch {recorder.epochs + 1}: stopped. "
            "Try a smaller --learning-rate, or --precision float32",
            file=sys.stderr,
        )
    if (folder / "model.keras").exists():
        print(f"Best model so far: {folder / 'model.keras'}")
    if status == "interrupted":
        print(f"Go on: python train.py --resume {folder}")
    return 130 if status == "interrupted" else 1


if __name__ == "__main__":
    sys.exit(main())
