"""Transfer learning: start a model from another one's weights."""

import keras


def transfer(source, target):
    """Copy into `target` every weight of `source` that has the same place and shape.

    Args:
        source: a `keras.Model`; of an ensemble's members, the first that has a place is taken.
        target: a `keras.Model`; its other weights stay as they are.

    Returns:
        (kept, fresh): the paths of the weights that were copied, and of those that were not.
    """
    weights = {}
    for variable in source.weights:
        weights.setdefault(_place(source, variable), variable)
    kept, fresh = [], []
    for variable in target.weights:
        place = _place(target, variable)
        other = weights.get(place)
        if other is not None and tuple(other.shape) == tuple(variable.shape):
            variable.assign(keras.ops.convert_to_numpy(other))
            kept.append(place)
        else:
            fresh.append(place)
    return kept, fresh


def _place(model, variable):
    """Return the variable's path without the model's own name."""
    return variable.path.removeprefix(f"{model.name}/")
