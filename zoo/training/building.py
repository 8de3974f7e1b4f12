"""What a training fits: a model with the weights of another, or a student of a teacher."""

import inspect

from zoo import registry
from zoo.system import terminal
from zoo.training import distillation, transfer
from zoo.weights import darknet_weights, presets, provenance, saving

print = terminal.say  # escapes control characters in names of files and classes


def build(settings, task, record, previous):
    """Build the model of a run, with weights transferred if set; complete the record.

    Args:
        settings: of the command: model, options, init.
        task: the task record.
        record: of the run; it gets options, arguments and info of the model.
        previous: the record of the run that is resumed; {} for a new one.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: "what: why. remedy", if the model cannot be built, or no weight fits it.
    """
    init, source, trained = settings["init"], {}, None
    try:
        if init:
            path = presets.locate(init)
            if not darknet_weights.matches(path):
                source, trained = saving.record(path), saving.load(path)
        same = source.get("model") == settings["model"]
        record["options"] = {**(source["options"] if same else {}), **settings["options"]}
        arguments = task.training.arguments(record["info"], record["task_options"])
        given = record["options"]  # the user's options override those of the data
        record["arguments"] = {name: arguments[name] for name in arguments if name not in given}
        build = registry.get(settings["model"]).builder
        earlier = source if same else previous
        record["arguments"] |= suggested(build, task, record, earlier.get("arguments"))
        foreign = record["arguments"].keys() - inspect.signature(build).parameters.keys()
        if foreign:
            raise ValueError(f"it takes no {', '.join(foreign)}: leave that option out")
        model = build(**record["arguments"], **record["options"])
        record["info"] = {**record["info"], **task.training.built(model, record["task_options"])}
        model = task.training.whole(model, record["info"], record["task_options"])
        if trained is not None:
            transferred, fresh = transfer.transfer(trained, model)
        elif init:
            transferred, fresh = darknet_weights.load(model, path, partial=True)
    except ValueError as error:
        raise ValueError(f"{settings['model']}: {error}") from error
    if init:
        if not transferred:
            raise ValueError(f"{init}: none of its weights fits {settings['model']}")
        count = len(transferred)
        print(f"From {init}: {count} weights transferred, {len(fresh)} newly initialized")
        for place in fresh:
            print(f"  newly initialized: {place}")
        grids = (of.get("info", {}).get("grid") for of in (source, record))
        messages = transfer.notes(init, *grids, fresh)
        messages = [*messages, *provenance.inherit(record, init, source)]
        for message in messages:
            print(message)
    return model


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
