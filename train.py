"""Train any model of the zoo with one command: parse, task, data, build, fit, save, score, draw.

    python train.py --model pointnet                               # on the embedded data
    python train.py --model pointnet --data my_scans --epochs 50   # on your own files
    python train.py --resume runs/pointnet-my_scans-1              # after a crash

Nothing heavy is imported before the command line has been parsed.
"""

import argparse
import functools
import json
import os
import pathlib
import shlex
import sys
import time

from datasets import builders
from datasets.prepared import expand
from datasets.source import HINTS, TARGETS, BadInput, flag
from zoo import assignments, describe, index
from zoo.registry import unknown
from zoo.system import disk, precision, terminal
from zoo.training import recipe

print = terminal.say  # escapes control characters in names of files and classes
TEMPERATURE = 3.0  # of the 2.5 to 4 that Hinton et al. 2015, Sec. 3, found best for small students


def main(arguments=None):
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    terminal.accept_any_name()
    with terminal.Interrupt() as interrupt:
        try:
            return train(parse(arguments), interrupt)
        except BadInput as error:
            print(f"train.py: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            print(f"train.py: {disk.sentence(error)}", file=sys.stderr)
            saved(error)
            return 2
        except KeyboardInterrupt:  # before or after the epochs, which handle it themselves
            print("\ntrain.py: interrupted", file=sys.stderr)
            return terminal.INTERRUPTED


def saved(error):
    """Print how to use and resume a run whose folder could not be written to."""
    folder = pathlib.Path(os.fsdecode(error.filename or "")).parent
    if (folder / "run.json").exists() and (folder / "model.keras").exists():
        print(f"Best model so far: {folder / 'model.keras'}")
        print(f"Resume after fixing that: python train.py --resume {folder}")


def parse(arguments):
    """Turn the command line into a dictionary of settings, or exit with a message."""
    parser = terminal.Parser("train.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    add = parser.add_argument_group("model and data").add_argument
    add("--model", metavar="NAME", help="what to train; --list shows the names")
    add("--data", metavar="SOURCE", help="name of a data set, or path of your own files")
    add("--task", metavar="NAME", help="of a model with several, if the data do not decide it")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an option; see --list")
    add("--loss", metavar="NAME", help="one of the task's; --list shows them")
    for hint, (metavar, text) in HINTS.items():
        choices = TARGETS if hint == "target" else None
        add(flag(hint), metavar=metavar, choices=choices, help=text)
    add("--skip-bad", action="store_true", help="train without the files that cannot be read")
    add("--fold", type=fold, metavar="K/N", help="test on the K-th of N parts of the data")
    add("--validate", type=fold, metavar="K/N", help="validate on the K-th of N parts, test apart")
    add("--bootstrap", action="store_true", help="train on examples drawn with replacement")
    text = "prepare N changed copies of each training example once, instead of changing it anew"
    add("--augment-offline", type=positive(int), metavar="N", help=text)
    add("--list", action="store_true", help="show models, their options, and data sets")
    add = parser.add_argument_group("training").add_argument
    text = "passes over the training data; by default more for a small data set"
    add("--epochs", type=positive(int), metavar="N", help=text)
    text = "batch size; by default smaller for a small data set"
    add("--batch-size", type=positive(int), metavar="B", help=text)
    several = positive(int, above=1)
    add("--snapshots", type=several, metavar="N", help="cycles of the rate; keep a model of each")
    add("--seed", type=int, default=0, metavar="S", help="of weights, order and augmentation")
    text = "of activations and gradients (float32); auto: mixed_bfloat16 where it is native"
    add("--precision", choices=precision.POLICIES, default="float32", help=text)
    add("--jit", action=argparse.BooleanOptionalAction, help="compile with XLA")
    recipe.add(parser, positive, between)
    text = "robustness against attacks: --adversarial fgsm --epsilon 0.03"
    add = parser.add_argument_group("adversarial training", text).add_argument
    add("--adversarial", choices=("fgsm",), help="train on attacked batches, too")
    add("--epsilon", type=positive(float), metavar="E", help="of the attack: largest change")
    text = "fine-tuning: --init PRESET --freeze --unfreeze-after 5"
    add = parser.add_argument_group("weights of other models", text).add_argument
    add("--init", metavar="PRESET_OR_FILE", help="transfer the weights of a trained model")
    add("--freeze", action="store_true", help="train only layers that are not transferred")
    text = "then train all, after N epochs, at a tenth of the rate"
    add("--unfreeze-after", type=positive(int), metavar="N", help=text)
    text = "train updates of rank R of transferred weights, which stay (LoRA)"
    add("--lora", type=positive(int), metavar="R", help=text)
    add("--teacher", metavar="PRESET_OR_FILE", help="distil a trained model: fit its outputs, too")
    add("--temperature", type=positive(float), metavar="T", help="of the teacher's outputs (3.0)")
    add = parser.add_argument_group("run folder").add_argument
    add("--out", metavar="DIR", default="runs", help="where the run folder is made (runs)")
    add("--name", metavar="NAME", help="of the run folder (MODEL-DATA-1, -2, ...)")
    add("--resume", metavar="DIR", help="resume the run in this folder; takes no other option")
    args = vars(parser.parse_args(arguments))
    if args.pop("list"):
        print(listing())
        parser.exit()
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
    hints = {hint: args.pop(hint) for hint in HINTS}
    args["hints"] = {hint: value for hint, value in hints.items() if value is not None}
    args["task"] = task_of(parser, row, args["task"], args["data"], args["hints"])
    task = index.tasks()[args["task"]]
    args["data"] = args["data"] or task["dataset"]
    if not args["data"]:
        parser.error(f"argument --data: {args['task']} has no default data set: give a path")
    if not expand(args["data"]).exists() and not builders.known(args["data"]):
        why = f"there is no file, folder or data set called {args['data']!r}"
        parser.error(f"argument --data: {why}. {builders.suggestion(args['data'])}")
    for option in ("init", "teacher"):
        source = args[option]
        if source and not expand(source).exists() and source not in index.presets():
            near = unknown("preset", source, index.presets())
            parser.error(f"argument --{option}: no file or folder of that name, and {near}")
    if args["name"]:
        check_name(parser, args["out"], args["name"])
    words = args.pop("set") + task_words(parser, args, row, task)
    explanations = {**row.explanations, **task["explanations"]}
    known, owner = {**row.options, **task["options"]}, f"option of {row.name}"
    chosen = assignments.parse(parser, "--set", words, known, owner, explanations)
    if (loss := chosen.get("loss")) not in (None, *task["losses"]):
        kind = f"loss of {args['task']}"
        parser.error(f"argument --loss: {unknown(kind, loss, task['losses'])}")
    builder_options = row.options.keys() - task["options"].keys()
    args["options"] = {key: value for key, value in chosen.items() if key in builder_options}
    args["task_options"] = {key: value for key, value in chosen.items() if key in task["options"]}
    agree(parser, args)
    args["recipe"] = recipe.taken(parser, args, functools.partial(assignments.parse, parser))
    if args["learning_rate"] is None:
        default = task["defaults"]["learning_rate"]
        args["learning_rate"] = recipe.learning_rate(args["recipe"], default)
    if args["jit"] is None:  # batch size and epochs depend on the data, too
        args["jit"] = task["defaults"]["jit"]
    args["precision"] = precision.chosen(args["precision"])
    return {**args, "resume": None, "command": shlex.join(["python", "train.py", *arguments])}


def task_of(parser, row, name, data, hints):
    """Return the given task, or the first of the model's tasks that the data suit."""
    if name is not None:
        if name not in row.tasks:
            parser.error(f"argument --task: {unknown(f'task of {row.name}', name, row.tasks)}")
        return name
    if len(row.tasks) > 1 and data is not None:
        if expand(data).exists():
            from datasets import readers

            task = readers.suited(expand(data), row.tasks, hints)
            others = " or ".join(known for known in row.tasks if known != task)
            print(
                f"{data}: the task is {task}, judging by the files; otherwise give --task {others}"
            )
            return task
        for task in row.tasks:
            if index.tasks()[task]["dataset"] == data:
                return task
    return row.tasks[0]


def check_name(parser, out, name):
    """Exit with a message if a run folder cannot have this name."""
    if name != pathlib.PurePath(name).name or name.startswith("."):
        parser.error(f"argument --name: {name!r} is not a folder name; --out sets where it is")
    if (folder := pathlib.Path(out, name)).exists():
        hint = f"choose another name, or resume it: --resume {folder}"
        parser.error(f"argument --name: {folder} exists already: {hint}")


def task_words(parser, args, row, task):
    """Return KEY=VALUE words of the arguments that are options of some tasks."""
    words = []
    for key in ("loss", "label_smoothing", "class_weights"):
        value = args.pop(key)
        if value is None:
            continue
        option = f"argument --{key.replace('_', '-')}"
        if key == "loss" and not task["losses"]:
            parser.error(f"{option}: {row.name} has a loss of its own, leave the option out")
        if key not in task["options"]:
            parser.error(f"{option}: {args['task']} has no such option of its loss, leave it out")
        words.append(f"{key}={value}")
    return words


def agree(parser, args):
    """Exit with a message if options contradict each other; set defaults that depend on others."""
    if args["fold"] and args["validate"]:
        parser.error("argument --validate: --fold divides the data otherwise, give one of them")
    epochs, count = args["epochs"], args["snapshots"] or 1
    if epochs and epochs % count:
        near = [n for n in (epochs // count * count, (epochs // count + 1) * count) if n]
        near = " or ".join(f"--epochs {n}" for n in near)
        parser.error(f"argument --snapshots: {epochs} epochs are not {count} equal cycles: {near}")
    if args["temperature"] and not args["teacher"]:
        parser.error("argument --temperature: it is for a teacher, and there is no --teacher")
    if bool(args["adversarial"]) != bool(args["epsilon"]):
        parser.error("argument --epsilon: it is for --adversarial fgsm; give both, or neither")
    if args["adversarial"] and args["teacher"]:
        parser.error("argument --adversarial: a student of a --teacher is not attacked; give one")
    if args["teacher"]:
        args["temperature"] = args["temperature"] or TEMPERATURE


def positive(kind, above=0):
    """Return a converter to a number above a bound, 0 by default."""

    def convert(text):
        value = kind(text)
        if not above < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above {above}")
        return value

    convert.__name__ = kind.__name__
    return convert


def between(low, high):
    """Return a converter to a number between two bounds, which it must not be."""

    def convert(text):
        value = float(text)
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return value

    convert.__name__ = "float"
    return convert


def fold(text):
    """Turn "2/5" into [2, 5]."""
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n) and int(n) > 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 1/5, 2/5 ... 5/5")
    return [int(k), int(n)]


def resumed(parser, folder):
    """Return the settings of the run in a folder."""
    path = folder / "run.json"
    if not path.exists():
        parser.error(f"argument --resume: {folder} is not a run folder: it has no run.json")
    try:
        run = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"argument --resume: {path} cannot be read: {str(error).splitlines()[0]}")
    if isinstance(run, dict) and "members" in run:
        hint = "run its command again instead"
        parser.error(f"argument --resume: {folder} holds an ensemble, which is not resumed: {hint}")
    settings = run.get("settings") if isinstance(run, dict) else None
    needed = {"model", "data", "epochs", "batch_size", "options", "task_options"}
    if not isinstance(settings, dict) or not needed <= settings.keys():
        hint = "it is damaged, or not written by train.py"
        parser.error(f"argument --resume: {path} holds no settings of a training: {hint}")
    if run.get("status") == "finished":
        parser.error(f"argument --resume: {folder} is finished: its scores are in run.json")
    chosen = {**recipe.DEFAULTS, **settings.get("recipe", {})}
    return {**settings, "recipe": chosen, "resume": str(folder)}


def listing():
    """Describe models and tasks with their options, and data sets."""
    lines = ["Models (--model), with their options (--set KEY=VALUE):"]
    for row in index.models().values():
        lines += ["", f"  {row.name}: {row.idea}", f"    {row.source}"]
        lines += [f"    for {', '.join(row.tasks)}"]
        lines += describe.options(row.options, row.explanations, "    ")
    lines += ["", "Tasks (--task), with their options (--set KEY=VALUE):"]
    for name, task in index.tasks().items():
        losses = " | ".join(task["losses"]) or "none: its models have their own"
        lines += ["", f"  {name}", f"    --loss {losses}"]
        lines += describe.options(task["options"], task["explanations"], "    ")
    lines += ["", f"Data (--data): {', '.join(builders.ours())}, a name of tensorflow-datasets,"]
    lines += ["  or a path: class folders, images and masks, boxes (VOC, COCO, YOLO), KITTI,"]
    lines += ["  labelled scans, an .npz; see datasets/readers"]
    return "\n".join(lines)


def train(settings, interrupt):
    """Train with the settings, until the end or Ctrl-C; return the exit status."""
    began = time.time()
    row = index.models()[settings["model"]]
    source = opened(settings, settings.get("task") or row.tasks[0])
    keras = terminal.import_keras()
    from datasets import pipeline
    from zoo import tasks
    from zoo.training import adversarial, balance, building, evaluation, fitting, runs
    from zoo.training.finetuning import freezing

    interrupt.check()
    if settings["resume"]:
        disk.lock(settings["resume"])
    keras.utils.set_random_seed(settings["seed"])
    keras.config.set_dtype_policy(settings["precision"])
    task = tasks.get(settings.get("task") or row.tasks[0])
    previous = previous_run(settings)
    splits, record = prepare(settings, task, source, previous)
    task, settings = tasks.of(record), record["settings"]
    try:
        model, exported = building.build(settings, task, record, previous)
        learner = building.distilled(model, settings, task, record, previous)
        learner = adversarial.learner(learner, settings, task)
        if getattr(model, "one_shot", False) and settings["recipe"] != recipe.DEFAULTS:
            why = "it is solved in one step, without an optimizer"
            raise ValueError(f"{settings['model']}: {why}. Leave the options of optimizers out")
    except ValueError as error:
        what, _, why = str(error).partition(": ")
        raise BadInput(what, why.rstrip(".")) from error
    interrupt.check()
    if settings["resume"]:
        run = runs.Run.opened(settings["resume"], record, began)
    elif settings["name"]:
        run = runs.Run.named(pathlib.Path(settings["out"], settings["name"]), record, began)
    else:
        name = f"{settings['model']}-{record['data']['name']}"
        run = runs.Run.created(settings["out"], name, record, began)
    count = len(splits["train"])
    print(f"{model.name}: {freezing.sentence(model)}; {count:,} training examples; {run.folder}")
    size, options = settings["batch_size"], record["task_options"]
    if parts := recipe.described(settings["recipe"], settings["learning_rate"], options):
        print(parts)
    shared = dict(seed=settings["seed"], sampler=task.training.sampler(options))
    augment = task.training.augment(record["info"], options)
    if settings.get("augment_offline"):
        splits["train"], augment = copies(splits["train"], augment, settings, record), None
    batches = pipeline.Batches(splits["train"], size, training=True, augment=augment, **shared)
    validation = pipeline.Batches(splits["validation"], size, **shared)
    run.note(batch_size=batches.size)  # the largest one up to the setting, or the sampler's
    if batches.size > size:
        why = f"{size} are too few for the classes, and the examples of each, that a batch needs"
        print(f"Batches have {batches.size} examples: {why}")
    evaluation.draw(run.folder, {"preview": task.training.preview(*batches[0], record["info"])})
    recorder, status = fitting.fit(
        learner, batches, validation, run, task, settings, interrupt, exported
    )
    snapshots = {"snapshots": recorder.snapshots} if settings.get("snapshots") else {}
    run.note(epochs=recorder.epochs, best_epoch=recorder.best_epoch, **snapshots)
    if status != "finished":
        run.note(status=status)
        return unfinished(status, run.folder, recorder.epochs)
    labels = balance.labels(splits["train"])
    for warning in balance.unlearned(labels, recorder.history.get("accuracy", ())):
        print(warning)
    report = evaluation.evaluate(run, recorder, splits, task, size)
    if settings.get("adversarial"):
        report = f"{report}\n{adversarial.report(run, splits)}\n"
    return report_run(run, report)


def report_run(run, report):
    """Print what a finished run achieved and what to do with it; return the exit status."""
    numbers = {k: v for k, v in run.record["scores"]["test"].items() if isinstance(v, float)}
    best, epochs = run.record["best_epoch"], run.record["epochs"]
    print(f"\n{report}")
    print(f"Run folder: {run.folder}  (best epoch {best} of {epochs})")
    scores = ", ".join(f"{key} {value:.4f}" for key, value in numbers.items())
    print(f"Test: {scores or 'nothing to score'}")
    print(f"Use it: python -m zoo predict {run.folder} FILE...")
    if "snapshots" in run.record:
        print(f"Combine them: python -m ensembles average {run.folder}/snapshot-*.keras")
    return 0


def opened(settings, task):
    """Return the source of the user's own files, to reject bad ones early; None of others."""
    path = expand(settings["data"])
    if not path.exists():
        return None
    from datasets import open_source, readers

    if task not in readers.LAYOUTS:  # the task's own ones are read with the task
        return None
    return open_source(path, task, settings.get("hints"))


def prepare(settings, task, source, previous):
    """Prepare the data; return their splits, and the record of the run.

    The record's "settings" are the given ones and those that depend on the data.

    Args:
        settings: of the command.
        task: the task record.
        source: what `opened` returned.
        previous: the record of the run that is resumed; {} for a new one.
    """
    from datasets import prepared, splits
    from zoo import tasks
    from zoo.training import balance, building, length, runs

    def prepare_with(options):
        return prepared.prepare(
            settings["data"],
            task,
            tasks.fingerprint(),
            source=source,
            options=options,
            skip_bad=settings["skip_bad"],
            fold=settings.get("fold"),
            validate=settings.get("validate"),
            fingerprint=previous.get("data", {}).get("fingerprint"),
            hints=settings.get("hints"),
        )

    data = prepare_with(settings["task_options"])
    if size := building.larger(settings, task.of(data.info), data):
        ((name, value),) = size.items()
        print(f"{settings['model']} takes no {name} of {data.options[name]}: it is {value}")
        data = prepare_with({**settings["task_options"], **size})
    task = task.of(data.info)
    for message in data.about["skipped"]:
        print(f"skipped {message}")
    if "layout" in data.about:
        print(f"{settings['data']}: read as {data.about['layout']}")
    messages = [*data.about["notes"], *data.info.get("notes", ())]
    messages += task.training.notes(data.splits["train"], data.info, data.options)
    if not task.data.by_class:
        labels = balance.labels(data.splits["train"], task.multilabel)
        messages += balance.sentences(labels, data.info["classes"])
    messages += unscored(data, task)
    messages += data.about.get("duplicates", [])
    for message in messages:
        print(message)
    if data.options.get("class_weights", "none") == "balanced":
        if task.values or task.multilabel:
            what = "values" if task.values else "several labels"
            raise BadInput("--class-weights", f"it is for classes, and the data have {what}")
        weights = balance.weights(data.splits["train"], len(data.info["classes"]))
        data.info["class_weights"] = weights
        pairs = zip(data.info["classes"], weights, strict=True)
        print(f"Class weights: {', '.join(f'{name} {weight:.3g}' for name, weight in pairs)}")
    record = runs.record(settings, task, data, messages)
    parts = data.splits
    if settings.get("bootstrap"):
        parts = {**parts, "train": splits.bootstrap(parts["train"], settings["seed"])}
        drawn, distinct = len(parts["train"]), len(set(parts["train"].rows.tolist()))
        record["bootstrap"] = {"drawn": drawn, "distinct": distinct}
        print(f"Bootstrap: {distinct:,} distinct examples of {drawn:,}, some of them repeatedly")
    record["settings"] = length.complete(settings, task.training.defaults, len(parts["train"]))
    for option, why in recipe.too_long(settings["recipe"], record["settings"]["epochs"]):
        raise BadInput(f"--{option.replace('_', '-')}", why, "Give --epochs")
    return parts, record


def copies(arrays, augment, settings, record):
    """Return the training split with `--augment-offline` changed copies of each example."""
    from datasets import copies
    from zoo import tasks

    options = record["task_options"]
    if options.get("mixup") or options.get("cutmix"):
        why = "mixup and cutmix mix the examples of a batch, and are drawn anew in each epoch"
        raise BadInput("--augment-offline", why, "Leave one of them out")
    if augment is None:
        why = f"no option of {settings['task']} that changes examples is set"
        raise BadInput("--augment-offline", why, "Set one, or leave it out")
    key = f"{record['data']['fingerprint']} {json.dumps(options)} {tasks.fingerprint()}"
    count = settings["augment_offline"]
    arrays = copies.augmented(arrays, augment, count, settings["seed"], key)
    print(f"Augmented offline: {len(arrays):,} training examples, {count} of {count + 1} changed")
    return arrays


def unscored(data, task):
    """Return sentences on splits without an object; raise `BadInput` if it is the training."""
    import numpy as np

    sentences = []
    for split, arrays in data.splits.items():
        if task.data.objects is None or task.data.objects(np.asarray(arrays.y[arrays.rows])):
            continue
        if split == "train":
            why = f"none of its {len(arrays):,} training images has an object to learn from"
            hint = "Boxes that are marked as a crowd, or as difficult, are not trained on"
            raise BadInput(data.about["name"], why, hint)
        effect = {
            "validation": "the epoch of the lowest loss is taken as the best",
            "test": "there is nothing to score",
        }
        sentences.append(f"No image of the {split} split has an object: {effect[split]}")
    return sentences


def previous_run(settings):
    """Return the record of the run that is resumed; {} for a new one."""
    if not settings["resume"]:
        return {}
    return json.loads(pathlib.Path(settings["resume"], "run.json").read_text(encoding="utf-8"))


def unfinished(status, folder, epochs):
    """Print why a training ended early, and return the exit status."""
    if status == "diverged":
        print(
            f"train.py: the loss is not finite in epoch {epochs + 1}: stopped. "
            "Try a smaller --learning-rate, or --precision float32",
            file=sys.stderr,
        )
    else:
        resume = f"Resume: python train.py --resume {folder}"
        print(f"\nInterrupted after {terminal.counted(epochs, 'epoch')}. " + resume)
    if epochs:
        print(f"Best model so far: {folder / 'model.keras'}")
    return terminal.INTERRUPTED if status == "interrupted" else 1


if __name__ == "__main__":
    terminal.leave(main())
