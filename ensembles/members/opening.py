"""Opening: saved models as members of an ensemble, frozen and uniquely named.

members = opening.open(["runs/unet-dsb2018-1", "old_model.h5", "unet_dsb2018"])
common = checks.check(members)    # what they share, or an error that names two and the difference
model = members[0].load(common)   # one of them, from the common input to logits
"""

import dataclasses
import pathlib

import keras
import numpy as np
from keras import layers

from ensembles.members import graph
from zoo import tasks
from zoo.nn.ensemble import Frozen, TwoClasses
from zoo.tasks.image_detection import task as image_detection
from zoo.weights import presets, saving


@dataclasses.dataclass(frozen=True)
class Member:
    """A saved model, not in memory.

    Attributes:
        name: what tables call it: its preset, run folder or file; no two alike.
        layer: the name of its layer in the ensemble, "member_1" ...
        path: of its file.
        sha256: of the file.
        record: what was saved with it, see `zoo.weights.saving.save`; {} if it is not of the zoo.
        input_shape: (..., C), without the batch's axis; None where any size is taken.
        output_shape: (..., K), likewise.
        ending: what its last layer makes of logits: "linear", "sigmoid" or "softmax".
        parameters: how many.
    """

    name: str
    layer: str
    path: pathlib.Path
    sha256: str
    record: dict
    input_shape: tuple
    output_shape: tuple
    ending: str
    parameters: int

    def load(self, common):
        """Load the model frozen, from the common input to logits, under the name of its layer."""
        model = saving.load(self.path)
        model = model if common.task.values else graph.in_logits(model, self.path)
        model = fitted(model, common, self)
        return Frozen.of(model, self.layer)

    def manifest(self):
        """Return what an ensemble keeps of its member."""
        data = self.record.get("data", {})
        return {
            "name": self.name,
            "layer": self.layer,
            "sha256": self.sha256,
            "model": self.record.get("model"),
            "parameters": self.parameters,
            "data": {key: data[key] for key in ("name", "fingerprint") if key in data},
            "command": self.record.get("settings", {}).get("command"),
        }


def open(sources, *, detectors=False):
    """Open members, reading one after the other once, so that a damaged file is found now.

    Args:
        sources: presets, run folders, `.keras` or `.h5` files; the same one may come twice.
        detectors: whether all are to be detectors, or none.

    Returns:
        A list of `Member`.

    Raises:
        ValueError: if one cannot be read, is no model of one input and one output, or is a
            detector where none is wanted, or the other way round; this is said before any model
            is loaded.
    """
    paths = [presets.locate(source) for source in sources]
    records = [saving.record(path) for path in paths]
    names = [path.parent.name if path.name == presets.MODEL else path.stem for path in paths]
    for name, record in zip(names, records, strict=True):
        kind = record.get("task")
        if (kind == image_detection.TASK.name) != detectors:
            raise of_boxes(name) if not detectors else not_of_boxes(name, kind)
    found = []
    for i, (path, record, name) in enumerate(zip(paths, records, names, strict=True)):
        model = saving.load(path)
        shapes = [tuple(tensor.shape[1:]) for tensor in one_each(model, path)]
        finite(model, path)
        values = "task" in record and tasks.get(record["task"]).values
        count = names[: i + 1].count(name)
        found.append(
            Member(
                name=name if count == 1 else f"{name} ({count})",
                layer=f"member_{i + 1}",
                path=path,
                sha256=saving.sha256(path),
                record=record,
                input_shape=shapes[0],
                output_shape=shapes[1],
                ending="linear" if values or detectors else graph.kind_of(model, path),
                parameters=model.count_params(),
            )
        )
        del model
        keras.backend.clear_session()
    return found


def of_boxes(name):
    """Return the error that a member is a detector."""
    return ValueError(
        f"{name} is a detector, and boxes cannot be averaged like maps or classes. Combine "
        "detectors by python -m ensembles fuse, which scores each of them too"
    )


def not_of_boxes(name, kind):
    """Return the error that a member is no detector; `kind` is its task, or None."""
    what = f"its task is {kind}" if kind else "it has no record of its task"
    return ValueError(
        f"{name}: {what}, and fuse is for detectors. Combine other models by average, stack or "
        "another command of python -m ensembles"
    )


def finite(model, path):
    """Raise a `ValueError` if not all weights of a model are finite numbers."""
    for variable in model.weights:
        array = keras.ops.convert_to_numpy(variable)
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            why = f"its weights {variable.path} hold NaN or infinite numbers"
            raise saving.trouble(path, why, "Train it again, with a lower learning rate")


def one_each(model, path):
    """Return the input and the output tensor of a model that has one of each."""
    if not getattr(model, "built", False) or not hasattr(model, "inputs"):
        raise saving.trouble(path, "its layers are not a graph", "Save a functional model")
    for tensors, kind in ((model.inputs, "inputs"), (model.outputs, "outputs")):
        if len(tensors) != 1:
            why = f"it has {len(tensors)} {kind}, and a member has one"
            raise saving.trouble(path, why, "Make a model of the one that is combined, and save it")
    return model.inputs[0], model.outputs[0]


def fitted(model, common, member):
    """Return a model with what it needs in front and behind to fit the ensemble, if anything.

    An image is resized to the member's size, and its map of logits back; of a cloud's points, which
    come in random order, the member gets the first ones, of a series' steps the last.
    """
    own, units = member.input_shape, member.output_shape[-1]
    resized = tuple(own) != tuple(common.input_shape) and None not in own
    if not resized and units == common.units:
        return model
    if isinstance(model.output, list):  # of legacy files it is a list of one
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    x = entry = keras.Input(common.input_shape, name="input")
    if resized and len(own) == 3:
        x = layers.Resizing(*own[:2], name="resize")(x)
    elif resized:
        rest = common.input_shape[0] - own[0]
        x = layers.Cropping1D((rest, 0) if common.task.values else (0, rest), name="some")(x)
    y = model(x)
    if resized and len(own) == 3 and len(member.output_shape) == 3:
        y = layers.Resizing(*common.input_shape[:2], name="resize_back")(y)
    if units != common.units:
        y = TwoClasses(common.units, name="units")(y)
    return keras.Model(entry, y)
