"""Grad-CAM: the maps of a late convolution, weighted by how much each raises the class's score.

Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391, Eq. 1 and 2: a map's weight is the
mean of the score's gradient over the map, and of the weighted sum only what is positive is kept.
"""

import keras
import numpy as np
from keras import layers, ops

from zoo.inference import predictors
from zoo.insight import costs
from zoo.insight.methods.layers import named
from zoo.insight.receptive_fields import ATTENTION
from zoo.nn import gradients

SMALLER = (  # they only make maps smaller, or change none
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
)


def explain(model, x, score, layer, task):
    """Compute the heat map of an image.

    Args:
        model: a functional `keras.Model` of one input.
        x: the image (H, W, C).
        score: what is explained, a `zoo.insight.methods.scores.Score`.
        layer: name of the layer whose maps are weighted; None for a suitable one, see `candidates`.
        task: name of the task.

    Returns:
        (heat, name): (H, W) float32 from 0 upwards, and the name of the layer.

    Raises:
        ValueError: if the model has no such layer, or no maps.
    """
    if layer is not None:
        chosen = [mapped(model, layer)]
    elif not (chosen := candidates(model, task)):
        why = "it has no layer of maps that a class is read from"
        raise ValueError(f"{why}. Use saliency or occlusion")
    batch = predictors.for_each_input(model, ops.convert_to_tensor(x[None]))
    for layer in chosen:
        front, back = cut(model, layer)
        maps = front(batch, training=False)

        def value(maps, back=back):
            inputs = [*(batch if isinstance(batch, list) else [batch]), maps]
            return ops.sum(score.logit(back(inputs, training=False)))

        slope = ops.convert_to_numpy(gradients.of(value)(maps)[1])
        if slope.any():
            break
    weights = slope.mean(axis=(1, 2), keepdims=True)
    heat = np.maximum((weights * ops.convert_to_numpy(maps)).sum(axis=-1), 0)[0]
    heat = ops.image.resize(ops.convert_to_tensor(heat[..., None]), x.shape[:2])
    return ops.convert_to_numpy(heat)[..., 0], layer.name


def cut(model, layer):
    """Return the model up to a layer's maps, and that from the input and these maps to the output.

    The second takes the input for connections that skip the layer.
    """
    front = keras.Model(model.inputs, layer.output)
    return front, keras.Model([*model.inputs, layer.output], model.outputs[0])


def candidates(model, task):
    """Return layers with maps, the most suitable one first.

    Of a classifier that is the last one; none if attention follows, as in a transformer, whose maps
    are only patches of the image. Of a segmenter, whose last maps are as fine as its output,
    the last of the coarsest ones. Of a detector, which reads boxes from several maps, the last one
    that the box is read from, which only the gradient shows: so all are returned.
    """
    with_maps = [layer for layer in model.layers if has_maps(layer)]
    if any(isinstance(layer, ATTENTION) for layer in model.layers):
        return []
    if task == "image_detection":
        return [layer for layer in with_maps[::-1] if not feeds(layer, "Grid")]
    if task == "image_segmentation":
        strides = costs.strides(model)
        coarsest = max((strides[layer.name] for layer in with_maps), default=0)
        with_maps = [layer for layer in with_maps if strides[layer.name] == coarsest]
    return with_maps[-1:]


def has_maps(layer):
    """Return whether a layer's output is maps (B, H, W, C) of more than a pixel, from features."""
    if isinstance(layer, (layers.InputLayer, keras.Model, *SMALLER)):
        return False
    shape = getattr(layer.output, "shape", ())
    return len(shape) == 4 and shape[1] != 1 and shape[2] != 1


def activated(model):
    """Return the layers with maps that end in an activation; all with maps if there is none."""
    with_maps = [layer for layer in model.layers if has_maps(layer)]
    active = [layer for layer in with_maps if ends_in_activation(layer)]
    return active or with_maps


def ends_in_activation(layer):
    """Return whether a layer is an activation, or a convolution with one that is not linear."""
    kinds = (layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU)
    activation = getattr(layer, "activation", keras.activations.linear)
    return isinstance(layer, kinds) or activation is not keras.activations.linear


def feeds(layer, kind):
    """Return whether a layer's output is the input of one of a kind."""
    nodes = getattr(layer, "_outbound_nodes", ())
    return any(type(node.operation).__name__ == kind for node in nodes)


def mapped(model, name):
    """Return the layer of a name, which must have maps."""
    layer = named(model, name)
    shape = getattr(layer.output, "shape", ())
    if len(shape) != 4:
        raise ValueError(f"{name}: its output has the shape {tuple(shape)}, and is no maps")
    return layer
