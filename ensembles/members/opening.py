"""Open saved models as members of an ensemble, frozen and uniquely named.

members = opening.open(["runs/unet-dsb2018-1", "old_model.h5", "unet_dsb2018"])
common = checks.check(members)    # what they share; raises an error if two are incompatible
model = members[0].load(common)   # one of them, from the shared input to logits
"""

import dataclasses
import pathlib

import keras
import numpy as np
from keras import layers

from ensembles.members import foreign, graph
from zoo import index, tasks
from zoo.nn.ensemble import Frozen, TwoClasses
from zoo.tasks.image_detection import task as image_detection
from zoo.weights import presets, saving


@dataclasses.dataclass(frozen=True)
class Member:
    """A saved model that is not loaded into memory.

    Attributes:
        name: unique name for tables: its preset, run folder or file.
        layer: the name of its layer in the ensemble, "member_1" ...
        path: of the model file.
        sha256: of the file.
        record: metadata saved with it, see `zoo.weights.saving.save`; {} if it was not saved by the
            zoo.
        input_shape: (..., C), without the batch axis; None for axes of any size.
        output_shape: (..., K), likewise.
        ending: activation of its output: "linear", "sigmoid" or "softmax".
        parameters: number of parameters; of another library's file its bytes.
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
        """Load the model, frozen, from the shared input to logits, named after its layer."""
        if foreign.matches(self.path):
            model = foreign.load(self.path, self.input_shape, common.task.values)
        else:
            model = saving.load(self.path)
        if not common.task.values:
            model = graph.in_logits(model, self.path, common.task.multilabel)
        model = adapted(model, common, self)
        return Frozen.of(model, self.layer)

    def manifest(self):
        """Return the metadata of the member that is saved with an ensemble."""
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
    """Open members, loading each model once, so that a corrupt file raises an error early.

    Args:
        sources: presets, run folders, `.keras` or `.h5` files, `.onnx` or `.skops` files of other
            libraries; duplicates are allowed.
        detectors: True if all members must be detectors, False if none may be.

    Returns:
        A list of `Member`.

    Raises:
        ValueError: if one cannot be read, does not have exactly one input and one output, returns
            vectors to compare, or is a detector and `detectors` is False, or the reverse; the two
            latter are checked before any model is loaded.
    """
    paths = [presets.locate(source) for source in sources]
    records = [{} if foreign.matches(path) else saving.record(path) for path in paths]
    names = [path.parent.name if path.name == presets.MODEL else path.stem for path in paths]
    for name, record in zip(names, records, strict=True):
        kind = record.get("task")
        if kind in index.tasks() and tasks.get(kind).vectors:
            raise vectors_error(name)
        if (kind == image_detection.TASK.name) != detectors:
            raise detector_error(name) if not detectors else no_detector_error(name, kind)
    members, like, of_values = [None] * len(paths), None, False
    own_first = sorted(range(len(paths)), key=lambda i: foreign.matches(paths[i]))
    for i in own_first:  # members of other libraries take the inputs of the zoo's
        path, record, name = paths[i], records[i], names[i]
        if foreign.matches(path):
            model = foreign.load(path, like, of_values)
        else:
            model = saving.load(path)
        shapes = [tuple(tensor.shape[1:]) for tensor in input_and_output(model, path)]
        check_finite(model, path)
        values = "task" in record and tasks.of(record).values
        of_values |= values
        count = names[: i + 1].count(name)
        members[i] = Member(
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
        like = like or shapes[0]
        del model
        keras.backend.clear_session()
    return members


def vectors_error(name):
    """Return the error for a member whose outputs are vectors to compare."""
    return ValueError(
        f"{name} returns vectors to compare, and the axes of two models have nothing in common, so "
        "they cannot be combined. Train classifiers to combine them, or use the best of these alone"
    )


def detector_error(name):
    """Return the error for a member that is a detector."""
    return ValueError(
        f"{name} is a detector, and boxes cannot be averaged like maps or classes. Combine "
        "detectors with python -m ensembles fuse, which also scores each of them"
    )


def no_detector_error(name, kind):
    """Return the error for a member that is no detector; `kind` is its task, or None."""
    what = f"its task is {kind}" if kind else "it has no record of its task"
    return ValueError(
        f"{name}: {what}, and fuse is for detectors. Combine other models with average, stack or "
        "another command of python -m ensembles"
    )


def check_finite(model, path):
    """Raise a `ValueError` if not all weights of a model are finite."""
    for variable in model.weights:
        array = keras.ops.convert_to_numpy(variable)
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            why = f"its weights {variable.path} contain NaN or infinite values"
            raise saving.trouble(path, why, "Train it again with a lower learning rate")


def input_and_output(model, path):
    """Return the input and output tensors of a model, which must have one of each."""
    if not getattr(model, "built", False) or not hasattr(model, "inputs"):
        raise saving.trouble(path, "its layers are not a graph", "Save a functional model")
    for tensors, kind in ((model.inputs, "inputs"), (model.outputs, "outputs")):
        if len(tensors) != 1:
            why = f"it has {len(tensors)} {kind}, but a member must have one"
            raise saving.trouble(path, why, "Save a model with one input and one output")
    return model.inputs[0], model.outputs[0]


def adapted(model, common, member):
    """Return a model with the layers that adapt its input and output to the ensemble, if needed.

    Images are resized to the member's input size, and its logit maps back. Of a point cloud, whose
    points are in random order, the member gets the first points; of a series, the last steps.
    """
    size, units = member.input_shape, member.output_shape[-1]
    resized = tuple(size) != tuple(common.input_shape) and None not in size
    if not resized and units == common.units:
        return model
    if isinstance(model.output, list):  # a list of one in models from legacy files
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    x = entry = keras.Input(common.input_shape, name="input")
    if resized and len(size) == 3:
        x = layers.Resizing(*size[:2], name="resize")(x)
    elif resized:
        rest = common.input_shape[0] - size[0]
        x = layers.Cropping1D((rest, 0) if common.task.values else (0, rest), name="some")(x)
    y = model(x)
    if resized and len(size) == 3 and len(member.output_shape) == 3:
        y = layers.Resizing(*common.input_shape[:2], name="resize_back")(y)
    if units != common.units:
        y = TwoClasses(common.units, name="units")(y)
    return keras.Model(entry, y)
