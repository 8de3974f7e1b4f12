"""Transfer learning: initialise a model with the weights of another one."""

import keras

# Anchors of the published yolov3-tiny.weights, which do not use the smallest of the six.
TINY = [[23, 27], [37, 58], [81, 82], [81, 82], [135, 169], [344, 319]]


def transfer(source, target):
    """Copy to `target` every weight of `source` with the same path and shape.

    Batch normalisation layers also get the epsilon of the source, with which the weights were
    trained, but keep their momentum.

    Args:
        source: a `keras.Model`; of an ensemble's members, the first with a path is used.
        target: a `keras.Model`; its other weights are unchanged.

    Returns:
        (copied, missing): the paths of the weights that were copied, and of those that were not.
    """
    weights, layers, target_layers = {}, {}, owners(target)
    for layer in owners(source).values():
        for variable in layer.weights:
            layers.setdefault(_path(source, variable), layer)
    for variable in source.weights:
        weights.setdefault(_path(source, variable), variable)
    copied, missing = [], []
    for variable in target.weights:
        path = _path(target, variable)
        weight = weights.get(path)
        if weight is not None and tuple(weight.shape) == tuple(variable.shape):
            variable.assign(keras.ops.convert_to_numpy(weight))
            copied.append(path)
            if path in layers and hasattr(layers[path], "epsilon"):
                target_layers[id(variable)].epsilon = layers[path].epsilon
        else:
            missing.append(path)
    return copied, missing


def owners(model):
    """Return the layer of each weight of a model, including inner models, by the weight's id."""
    layers = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layers.update(owners(layer))
        else:
            layers.update({id(variable): layer for variable in layer.weights})
    return layers


def notes(source, earlier, grid, fresh):
    """Return warnings if transferred weights were trained with other anchors.

    Args:
        source: the user's name of the file.
        earlier: the grid in the file's record; None if there is none, as in Darknet files.
        grid: of the model, see `zoo.tasks.boxes.coding.grid`; None if it is not a detector with
            anchors.
        fresh: the paths of the weights that were not copied: if there are any, the output layers
            are newly initialized.
    """
    if not grid or grid["form"] != "yolov3" or fresh:
        return []
    anchors = smallest_first(grid)
    if earlier is None:
        message = (
            f"{source}: it does not contain the anchors of its training, and the model has "
            f"{anchors}. If its .cfg has others, use them: --set anchors=..."
        )
        if len(anchors) == len(TINY) and anchors != TINY:
            message += f"; the published yolov3-tiny.weights have {TINY}"
        return [message]
    source_anchors = smallest_first(earlier)
    if source_anchors == anchors:
        return []
    return [
        f"{source}: its weights were trained with the anchors {source_anchors}, and the model has "
        f"{anchors}. Use the former if the objects are of similar size: --set anchors=..."
    ]


def smallest_first(grid):
    """Return the anchors of a grid in the order of the option `anchors`, finest map first."""
    return [list(pair) for level in reversed(grid["anchors"]) for pair in level]


def _path(model, variable):
    """Return the variable's path without the name of the model."""
    return variable.path.removeprefix(f"{model.name}/")
