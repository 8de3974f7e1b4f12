"""Models that are attacked: which ones can be, and the members of ensembles."""

import dataclasses

from zoo import tasks
from zoo.inference import prediction
from zoo.insight import options
from zoo.nn.ensemble import Members
from zoo.weights import presets, saving


@dataclasses.dataclass
class Victim:
    """A model that is attacked.

    Attributes:
        name: in tables.
        model: the `keras.Model`.
        record: what was saved with it.
        data: its `datasets.prepared.Prepared` data.
        members: pairs (name, model) of an ensemble.
        patches: those that were trained against it, (S, S, C) each.
    """

    name: str
    model: object
    record: dict
    data: object = None
    members: tuple = ()
    patches: list = dataclasses.field(default_factory=list)


def opened(source, attack):
    """Load a model as a `Victim`, without its data.

    Raises:
        ValueError: if the attack does not fit it; the message has the reason.
    """
    record = saving.record(path := presets.locate(source))
    prediction.check(path, record)
    task = tasks.of(record)
    if reason := objection(task):
        raise ValueError(f"{source}: {reason}")
    if attack.method == "patch" and not task.name.startswith("image"):
        raise ValueError(f"{source}: a patch is laid on images, and it is for {task.name}. Use pgd")
    classes = record["info"]["classes"]
    if attack.target is not None and attack.target not in classes:
        raise ValueError(f"{source}: it has no class {attack.target!r}: {', '.join(classes)}")
    model = saving.load(path)
    guards = [layer for layer in model.layers if isinstance(layer, Members)]
    layers = [model.get_layer(name) for guard in guards for name in guard.digests]
    names = [entry["name"] for entry in record.get("members", ())]
    members = tuple(zip(names, layers, strict=True)) if len(names) == len(layers) else ()
    return Victim(options.named(path), model, record, members=members)


def objection(task):
    """Return why models of a task cannot be attacked, with the remedy, or None."""
    if task.name.endswith("_classification") and not (task.values or task.multilabel):
        return None
    what = "values" if task.values else "labels" if task.multilabel else task.name
    why = f"attacks change the class that a classifier predicts, and it is for {what}"
    return f"{why}. Use a classifier of one class an example"
