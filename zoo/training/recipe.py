"""The recipe of a training: optimizer, learning rate, regularization, averaging of weights.

What the command line offers and checks, before Keras is imported. A run stores all of it, and
resumes with it. `zoo.training.optimization.optimizers` and its neighbours do what it says.
"""

# The class in keras.optimizers, its arguments with their defaults, and the factor on the learning
# rate that a task has for Adam.
OPTIMIZERS = {
    "sgd": ("SGD", dict(momentum=0.0, nesterov=False), 10.0),
    "momentum": ("SGD", dict(momentum=0.9, nesterov=False), 10.0),
    "nesterov": ("SGD", dict(momentum=0.9, nesterov=True), 10.0),
    "adagrad": ("Adagrad", dict(initial_accumulator_value=0.1, epsilon=1e-7), 10.0),
    "rmsprop": ("RMSprop", dict(rho=0.9, momentum=0.0, epsilon=1e-7, centered=False), 1.0),
    "adam": ("Adam", dict(beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False), 1.0),
    "adamw": ("AdamW", dict(beta_1=0.9, beta_2=0.999, epsilon=1e-7, amsgrad=False), 1.0),
    "lion": ("Lion", dict(beta_1=0.9, beta_2=0.99), 0.1),
    "muon": ("Muon", dict(momentum=0.95, nesterov=True, ns_steps=5, adam_lr_ratio=1.0), 1.0),
    "schedule_free_adamw": ("ScheduleFreeAdamW", dict(beta_1=0.9, beta_2=0.999, epsilon=1e-8), 2.5),
}
# Options of the learning rate, see `zoo.training.optimization.rates`.
SCHEDULES = {
    "cosine": dict(end=0.01),  # share of the rate at the end
    "constant": dict(),
    "linear": dict(end=0.01, until=1.0),  # share at the end; share of the steps until it stays
    "step": dict(factor=0.1, at=(0.5, 0.75)),  # the rate's factor at these shares of the steps
    "exponential": dict(factor=0.95),  # the rate's factor every epoch
    "plateau": dict(factor=0.1, patience=5),  # the factor after epochs without a better score
}
DEFAULTS = dict(
    optimizer="adam",
    optimizer_options={},
    schedule="cosine",
    schedule_options={},
    warmup=0.0,
    weight_decay=None,
    l1=0.0,
    l2=0.0,
    max_norm=None,
    clip_norm=None,
    clip_value=None,
    gradient_noise=0.0,
    accumulate=1,
    early_stopping=None,
    ema=None,
    swa=None,
    prune=None,
    freeze=False,
    unfreeze_after=None,
    lora=None,
)
AVERAGED = 0.75  # share of the epochs after which --swa averages, of Izmailov et al. 2018, Sec. 5


def add(parser, positive, between):
    """Add the options of the recipe to a parser of the command line, in groups.

    Args:
        parser: an `argparse.ArgumentParser`.
        positive: function from a type to a converter to a number above 0.
        between: function from two numbers to a converter to a number between them.
    """
    group = parser.add_argument_group(
        "optimizer",
        "ResNet's recipe: --optimizer momentum --learning-rate 0.1 --schedule step "
        "--l2 5e-5; ViT's: --optimizer adamw --weight-decay 0.3 --warmup 5 --clip-norm 1 "
        "--set mixup=0.2",
    )
    add = group.add_argument
    add("--optimizer", choices=OPTIMIZERS, metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (adam)")
    text = "of the optimizer, such as beta_2=0.99"
    add("--set-optimizer", action="append", default=[], metavar="KEY=VALUE", help=text)
    text = "by default that of the task, times 10 for SGD and Adagrad, 0.1 for Lion"
    add("--learning-rate", type=positive(float), metavar="R", help=text)
    text = f"of the learning rate: {', '.join(SCHEDULES)} (cosine)"
    add("--schedule", choices=SCHEDULES, metavar="NAME", help=text)
    text = "of the schedule, such as factor=0.2"
    add("--set-schedule", action="append", default=[], metavar="KEY=VALUE", help=text)
    text = "epochs in which the rate grows linearly from 0, before the schedule"
    add("--warmup", type=positive(float), metavar="N", help=text)
    text = "batches whose mean gradient makes one update"
    add("--accumulate", type=positive(int, above=1), metavar="N", help=text)
    add("--clip-norm", type=positive(float), metavar="C", help="largest norm of all gradients")
    add("--clip-value", type=positive(float), metavar="C", help="largest value of a gradient")
    text = "variance of noise added to gradients at first; falls as (1 + step)^-0.55"
    add("--gradient-noise", type=positive(float), metavar="V", help=text)
    group = parser.add_argument_group(
        "regularization",
        "the course's: --optimizer sgd --learning-rate 0.001 --weight-decay 1e-5 "
        "--label-smoothing 0.3",
    )
    add = group.add_argument
    text = "share of the rate times itself that a weight loses at each step (AdamW's form); not of "
    text += "biases and normalisations"
    add("--weight-decay", type=positive(float), metavar="D", help=text)
    text = "times the sum of squared weights, added to the loss; ResNet's decay 1e-4 is --l2 5e-5"
    add("--l2", type=positive(float), metavar="L", help=text)
    add("--l1", type=positive(float), metavar="L", help="times the sum of absolute weights")
    text = "largest norm of the weights into a unit"
    add("--max-norm", type=positive(float), metavar="C", help=text)
    text = "share of the target spread over all classes"
    add("--label-smoothing", type=between(0, 1), metavar="A", help=text)
    text = "balanced: the loss of a class counts inversely to its frequency"
    add("--class-weights", choices=("balanced",), help=text)
    text = "stop after N epochs without a better score"
    add("--early-stopping", type=positive(int), metavar="N", help=text)
    text = "save and score an exponential moving average of the weights, of momentum M (0.999)"
    add("--ema", type=between(0, 1), nargs="?", const=0.999, metavar="M", help=text)
    text = "share S of the weights of each kernel that become zero while training, the smallest"
    add("--prune", type=between(0, 1), metavar="S", help=text)
    text = f"save and score the mean of the weights after each epoch from a share S on ({AVERAGED})"
    add("--swa", type=between(0, 1), nargs="?", const=AVERAGED, metavar="S", help=text)


def taken(parser, args, assignments):
    """Take the options of the recipe out of parsed arguments; return the recipe, a dictionary.

    Args:
        parser: to exit with a message by its method `error`.
        args: parsed arguments, a dictionary, from which the recipe is removed.
        assignments: function (flag, words, known values, owner) from KEY=VALUE words to values.
    """
    given = {key: args.pop(key) for key in DEFAULTS if key in args}
    recipe = {**DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    for kind, table in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        entry = table[recipe[kind]]
        known = entry if isinstance(entry, dict) else entry[1]
        words, owner = args.pop(f"set_{kind}"), f"option of {recipe[kind]}"
        recipe[f"{kind}_options"] = assignments(f"--set-{kind}", words, known, owner)
    if given["schedule"] is None and recipe["optimizer"] == "schedule_free_adamw":
        recipe["schedule"] = "constant"
    for option, why in conflicts(recipe, args):
        parser.error(f"argument --{option.replace('_', '-')}: {why}")
    return recipe


def conflicts(recipe, args):
    """Yield (option, why and the remedy) of each option that contradicts another one."""
    cosine = recipe["schedule"] == "cosine" and not recipe["warmup"]
    if args["snapshots"] and not cosine:
        yield "snapshots", "its cycles of the rate are the schedule, without --warmup"
    if args["snapshots"] and (recipe["ema"] or recipe["swa"]):
        yield "snapshots", "it is for weights that are not averaged: leave --ema and --swa out"
    if recipe["schedule"] == "plateau" and recipe["warmup"]:
        yield "warmup", "plateau decides the rate by scores, from the first epoch on: leave it out"
    if recipe["ema"] and recipe["swa"]:
        yield "swa", "the weights are averaged by --ema already: give one of them"
    if recipe["optimizer"] == "schedule_free_adamw" and (recipe["ema"] or recipe["swa"]):
        yield "optimizer", "schedule_free_adamw averages weights itself: leave --ema and --swa out"
    for option in ("freeze", "lora"):
        if recipe[option] and not args["init"]:
            yield option, "it is for transferred weights, and there is no --init"
    if recipe["unfreeze_after"] and not recipe["freeze"]:
        yield "unfreeze_after", "nothing is frozen: give --freeze"
    if recipe["lora"] and recipe["freeze"]:
        yield "lora", "it keeps transferred weights frozen: leave --freeze out"
    if recipe["unfreeze_after"] and args["epochs"] and recipe["unfreeze_after"] >= args["epochs"]:
        yield "unfreeze_after", f"it is not below --epochs {args['epochs']}"
    averaged = recipe["ema"] or recipe["swa"] or recipe["optimizer"] == "schedule_free_adamw"
    if recipe["prune"] and averaged:
        yield "prune", "zeros do not stay zero in averages of weights: leave those out"
    if recipe["prune"] and recipe["lora"]:
        yield "prune", "zeros do not stay zero where updates are merged: leave --lora out"
    for option in ("snapshots", "swa", "prune"):
        if recipe["unfreeze_after"] and (args.get(option) or recipe.get(option)):
            yield option, "it is for one stage of training: leave --unfreeze-after out"


def averaged_from(recipe, epochs):
    """Return the number of the first epoch, from 0, whose weights `--swa` averages."""
    return int(recipe["swa"] * epochs)


def learning_rate(recipe, default):
    """Return the learning rate of a recipe, where a task has this one for Adam."""
    return default * OPTIMIZERS[recipe["optimizer"]][2]


def described(recipe, rate):
    """Return the parts of a recipe that are not the defaults, as a text; "" if there are none."""
    parts = []
    for key, value in recipe.items():
        if value == DEFAULTS[key]:
            continue
        if isinstance(value, dict):
            parts += [f"{name}={item}" for name, item in value.items()]
        elif key in ("optimizer", "schedule"):
            parts.append(f"{key} {value}")
        else:
            words = key.replace("_", " ")
            parts.append(words if value is True else f"{words} {value:g}")
    return f"Recipe: {', '.join(parts)}; learning rate {rate:g}" if parts else ""
