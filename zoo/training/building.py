"""What a training fits: a model with the weights of another, or a student of a teacher."""

import inspect

from zoo import registry
from zoo.system import terminal
from zoo.training import distillation
from zoo.training.finetuning import freezing, lora, transfer
from zoo.training.recorder import student
from zoo.weights import darknet_weights, initial, presets, provenance, saving
from zoo.weights.published import converter

LARGER = 64  # pixels, points or time steps by which a measured size is increased at most

print = terminal.say  # escapes control characters in names of files and classes


def build(settings, task, record, previous):
    """Build the model of a run, with weights transferred if set; complete the record.

    Args:
        settings: of the command: model, options, init.
        task: the task record.
        record: of the run; it gets options, arguments and info of the model.
        previous: the record of the run that is resumed; {} for a new one.

    Returns:
        (model, exported): the `keras.Model` to train, and a function from what is fitted, the
        model or its distillation, to the model that is saved.

    Raises:
        ValueError: "what: why. remedy", if the model cannot be built, or no weight fits it.
    """
    init, source, trained, brought, exported = settings["init"], {}, None, {}, student
    try:
        if init:
            path = presets.locate(init)
            if converter.matches(path):
                trained, source = converter.read(path, settings["model"], settings["options"])
            elif not darknet_weights.matches(path):
                source, trained = saving.record(path), saving.load(path)
        same = source.get("model") == settings["model"]
        build = registry.get(settings["model"]).builder
        inherited = source["options"] if same else {}
        inherited = {**inherited, **epsilon(build, inherited, trained)}
        record["options"] = {**inherited, **settings["options"]}
        arguments = task.training.arguments(record["info"], record["task_options"])
        given = record["options"]  # the user's options override those of the data
        record["arguments"] = {name: arguments[name] for name in arguments if name not in given}
        if init and trained is None:
            settled = {**arguments, **given}
            brought = transfer.published_anchors(path, settings["model"], settled)
            record["arguments"] |= brought
        earlier = source if same else previous
        record["arguments"] |= suggested(build, task, record, earlier.get("arguments"))
        foreign = record["arguments"].keys() - inspect.signature(build).parameters.keys()
        if foreign:
            raise ValueError(f"it takes no {', '.join(foreign)}: leave that option out")
        model = build(**record["arguments"], **record["options"])
        record["info"] = {**record["info"], **task.training.built(model, record["task_options"])}
        model = task.training.whole(model, record["info"], record["task_options"])
        if trained is not None:
            built, keep = transfer.epsilons(model), "epsilon" in settings["options"]
            head = new_head(model, settings["recipe"], source, record)
            transferred, fresh = transfer.transfer(trained, model, keep, without=head)
        elif init:
            transferred, fresh = darknet_weights.load(model, path, partial=True)
        if init and transferred:
            exported = tuned(model, settings["recipe"], transferred)
    except ValueError as error:
        given = [f" --set {name}={value}" for name, value in settings["options"].items()]
        why = " ".join(str(error).split())  # Keras' messages name its own arguments, on many lines
        why = why.removeprefix(f"{settings['model']}: ")
        raise ValueError(f"{settings['model']}{''.join(given)}: {why}") from error
    if init:
        if not transferred:
            raise ValueError(f"{init}: none of its weights fits {settings['model']}")
        count = len(transferred)
        print(f"From {init}: {count} weights transferred, {len(fresh)} newly initialized")
        for place in fresh:
            print(f"  newly initialized: {place}")
        grids = (of.get("info", {}).get("grid") for of in (source, record))
        messages = [] if brought else transfer.notes(init, *grids, fresh)
        if trained is not None:
            messages += transfer.epsilon_notes(init, transfer.epsilons(trained), built, model)
        messages = [*messages, *provenance.inherit(record, init, source)]
        for message in messages:
            print(message)
    kinds = ("trained", "trainable", "total")
    record["parameters"] = dict(zip(kinds, freezing.counts(model), strict=True))
    return model, exported


def larger(settings, task, data):
    """Return the size that the data decided, increased to the next one that the model takes.

    ViT's images, say, are made of whole patches: of images of 28 pixels, its are of 32.

    Args:
        settings: of the command: model, options, task_options.
        task: the task record.
        data: `datasets.prepared.Prepared`.

    Returns:
        A dictionary from the name of the option to the size; {} if the model takes the data's, the
        user chose it, or no size up to LARGER more fits.
    """
    if len(task.data.sizes) != 1 or settings["task_options"].get(task.data.sizes[0]):
        return {}
    (name,) = task.data.sizes
    build, given = registry.get(settings["model"]).builder, settings["options"]

    def fits(size):
        try:
            arguments = task.training.arguments(data.info, {**data.options, name: size})
            arguments = {key: arguments[key] for key in arguments if key not in given}
            initial.without_weights(lambda: build(**arguments, **given))
        except (TypeError, ValueError):  # the build that follows says why
            return False
        return True

    smallest = data.options[name]
    size = next((size for size in range(smallest, smallest + LARGER + 1) if fits(size)), smallest)
    return {} if size == smallest else {name: size}


def new_head(model, recipe, source, record):
    """Return the paths of the weights of the output layers if they must be trained anew.

    That is where transferred layers stay as they are and their classes were others, even if there
    were as many.

    Args:
        model: the `keras.Model` that is trained.
        recipe: see `zoo.training.recipe`.
        source: the record of the model whose weights are transferred.
        record: of the run.
    """
    known, classes = (of.get("info", {}).get("classes") for of in (source, record))
    if not (recipe["freeze"] or recipe["lora"]) or known == classes:
        return set()
    layers = {tensor._keras_history.operation for tensor in model.outputs}
    return {transfer.path(model, weight) for layer in layers for weight in layer.weights}


def tuned(model, recipe, transferred):
    """Freeze transferred layers if the recipe says so; return what exports the fitted model.

    Args:
        model: the `keras.Model` with transferred weights.
        recipe: see `zoo.training.recipe`.
        transferred: the paths of these weights.
    """
    if recipe["freeze"]:
        freezing.freeze(model, transferred)
    if not recipe["lora"]:
        return student
    merged = lora.adapt(model, recipe["lora"], transferred)
    return lambda fitted: merged(student(fitted))


def epsilon(build, options, trained):
    """Return the builder's option `epsilon` if transferred weights were trained with another one.

    The model is then built with it as a whole, as its record says.

    Args:
        build: the builder.
        options: of the builder, that are inherited.
        trained: the model whose weights are transferred, or None.
    """
    known = inspect.signature(build).parameters
    values = set(transfer.epsilons(trained)) if trained is not None else set()
    if "epsilon" not in known or len(values) != 1:
        return {}
    (value,) = values
    unchanged = value == options.get("epsilon", known["epsilon"].default)
    return {} if unchanged else {"epsilon": value}


def suggested(build, task, record, earlier):
    """Return values of a builder's options that the task suggests and the user did not set.

    Args:
        build: the builder.
        task: the task record.
        record: of the run.
        earlier: the arguments of the model whose weights are transferred, whose values are
            used; or None.
    """
    values = task.training.suggestions(record["info"], record["task_options"])
    if earlier is not None:
        values = {name: earlier[name] for name in values if name in earlier}
    free = inspect.signature(build).parameters.keys() - record["options"].keys()
    values = {name: value for name, value in values.items() if name in free}
    if values:
        words = " ".join(f"--set {name}={value}" for name, value in values.items())
        print(f"Defaults for these data: {words}, unless set otherwise")
    return values


def distilled(model, settings, task, record, previous):
    """Return what is fitted: the model, or its distillation by a teacher; complete the record.

    Args:
        model: the `keras.Model` that is trained.
        settings: of the command: teacher, temperature.
        task: the task record.
        record: of the run; it gets the teacher and what the teacher was trained on.
        previous: the record of the run that is resumed; {} for a new one.

    Raises:
        ValueError: "what: why. remedy", if there is no such teacher, or it does not fit.
    """
    source = settings.get("teacher")
    if not source:
        return model
    teacher, record["teacher"] = distillation.load(source, model, record, task)
    earlier = previous.get("teacher", record["teacher"])
    if earlier["sha256"] != record["teacher"]["sha256"]:
        since = f"it changed since {settings['resume']} started"
        raise ValueError(f"{source}: {since}. Start a new run")
    print(f"Teacher: {record['teacher']['name']}, {teacher.count_params():,} parameters")
    inherited = saving.record(presets.locate(source))
    for message in provenance.inherit(record, record["teacher"]["name"], inherited):
        print(message)
    return distillation.distiller(teacher, model, settings["temperature"], task.multilabel)
