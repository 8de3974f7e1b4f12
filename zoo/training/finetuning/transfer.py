"""Transfer learning: initialise a model with the weights of another one."""

import keras

from zoo.system import terminal

print = terminal.say  # escapes control characters in names of files

# Anchors of the published yolov3-tiny.weights, which do not use the smallest of the six.
TINY = [[23, 27], [37, 58], [81, 82], [81, 82], [135, 169], [344, 319]]
TINY_BYTES = 35_434_956  # its size
COCO = 80  # its classes


def transfer(source, target, keep_epsilon=False, without=()):
    """Copy to `target` every weight of `source` with the same path and shape.

    Normalisation layers also get the epsilon of the source, with which the weights were trained,
    but keep their momentum.

    Args:
        source: a `keras.Model`; of an ensemble's members, the first with a path is used.
        target: a `keras.Model`; its other weights are unchanged.
        keep_epsilon: leave the epsilon of `target` as it is.
        without: paths of weights that are not copied.

    Returns:
        (copied, missing): the paths of the weights that were copied, and of those that were not.
    """
    weights, layers, target_layers = {}, {}, owners(target)
    for layer in owners(source).values():
        for variable in layer.weights:
            layers.setdefault(path(source, variable), layer)
    for variable in source.weights:
        weights.setdefault(path(source, variable), variable)
    copied, missing = [], []
    for variable in target.weights:
        place = path(target, variable)
        weight = weights.get(place) if place not in without else None
        if weight is not None and tuple(weight.shape) == tuple(variable.shape):
            variable.assign(keras.ops.convert_to_numpy(weight))
            copied.append(place)
            if not keep_epsilon and hasattr(layers.get(place), "epsilon"):
                target_layers[id(variable)].epsilon = layers[place].epsilon
        else:
            missing.append(place)
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


def epsilons(model):
    """Return the epsilon of each batch normalisation in a model, including inner models."""
    layers = {id(layer): layer for layer in owners(model).values()}.values()
    kind = keras.layers.BatchNormalization
    return [layer.epsilon for layer in layers if isinstance(layer, kind)]


def epsilon_notes(source, trained, built, model):
    """Return a sentence if batch normalisations differ in epsilon from the transferred ones.

    Args:
        source: the user's name of the file.
        trained: `epsilons` of the model whose weights were transferred.
        built: `epsilons` of the target as it was built.
        model: the target.
    """
    now = epsilons(model)
    changed = sum(after != before for before, after in zip(built, now, strict=True))
    values, others = (" and ".join(map(str, sorted(set(part)))) for part in (trained, now))
    if changed:
        return [f"{source}: {changed} batch normalisations take over its epsilon {values}"]
    if trained and values != others:
        return [f"{source}: it was trained with the epsilon {values}, and the model has {others}"]
    return []


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


def published_anchors(path, name, arguments):
    """Return the builder's argument `anchors` of the published yolov3-tiny.weights, {} of others.

    Args:
        path: of a Darknet file.
        name: of the model.
        arguments: of the builder, those given included. With other classes than COCO's, the output
            layers are newly initialized.
    """
    published = name == "yolov3_tiny" and path.stat().st_size == TINY_BYTES
    if not published or "anchors" in arguments or arguments.get("num_classes") != COCO:
        return {}
    print(f"{path.name}: the model takes the anchors that these weights were trained with: {TINY}")
    return {"anchors": TINY}


def smallest_first(grid):
    """Return the anchors of a grid in the order of the option `anchors`, finest map first."""
    return [list(pair) for level in reversed(grid["anchors"]) for pair in level]


def path(model, variable):
    """Return the variable's path without the name of the model."""
    return variable.path.removeprefix(f"{model.name}/")
