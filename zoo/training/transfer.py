"""Transfer learning: initialise a model with another one's weights."""

import keras

# Of the published yolov3-tiny.weights; their configuration leaves the smallest of its six out.
TINY = [[23, 27], [37, 58], [81, 82], [81, 82], [135, 169], [344, 319]]


def transfer(source, target):
    """Copy into `target` every weight of `source` that has the same place and shape.

    A layer whose weights are copied also gets the epsilon that they were trained with, the number
    that normalisation adds to the variance. Its momentum stays: it is of the training to come.

    Args:
        source: a `keras.Model`; of an ensemble's members, the first that has a place is taken.
        target: a `keras.Model`; its other weights stay as they are.

    Returns:
        (kept, fresh): the paths of the weights that were copied, and of those that were not.
    """
    weights, layers, own = {}, {}, owners(target)
    for layer in owners(source).values():
        for variable in layer.weights:
            layers.setdefault(_place(source, variable), layer)
    for variable in source.weights:
        weights.setdefault(_place(source, variable), variable)
    kept, fresh = [], []
    for variable in target.weights:
        place = _place(target, variable)
        other = weights.get(place)
        if other is not None and tuple(other.shape) == tuple(variable.shape):
            variable.assign(keras.ops.convert_to_numpy(other))
            kept.append(place)
            if place in layers and hasattr(layers[place], "epsilon"):
                own[id(variable)].epsilon = layers[place].epsilon
        else:
            fresh.append(place)
    return kept, fresh


def owners(model):
    """Return the layer that holds each weight of a model, inner models included, by its id."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found.update(owners(layer))
        else:
            found.update({id(variable): layer for variable in layer.weights})
    return found


def notes(source, earlier, grid, fresh):
    """Return sentences on what transferred weights were trained with and the model is not.

    Args:
        source: what the user calls the file.
        earlier: the grid in the file's record; None if it has none, as Darknet's.
        grid: of the model, see `zoo.tasks.boxes.coding.grid`; None if it is no detector with
            anchors.
        fresh: the paths of the weights that were not copied: if there are any, the layers that
            know the anchors are newly initialized.
    """
    if not grid or grid["form"] != "yolov3" or fresh:
        return []
    own = smallest_first(grid)
    if earlier is None:
        message = (
            f"{source}: it does not hold the anchors that it was trained with, and the model has "
            f"{own}. If its .cfg has others, give them: --set anchors=..."
        )
        if len(own) == len(TINY) and own != TINY:
            message += f"; the published yolov3-tiny.weights have {TINY}"
        return [message]
    theirs = smallest_first(earlier)
    if theirs == own:
        return []
    return [
        f"{source}: its weights were trained with the anchors {theirs}, and the model has {own}. "
        "Give them if the objects are of similar size: --set anchors=..."
    ]


def smallest_first(grid):
    """Return the anchors of a grid as the option `anchors` takes them, those of fine maps first."""
    return [list(pair) for level in reversed(grid["anchors"]) for pair in level]


def _place(model, variable):
    """Return the variable's path without the model's own name."""
    return variable.path.removeprefix(f"{model.name}/")
