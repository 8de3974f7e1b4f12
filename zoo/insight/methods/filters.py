"""Filters and features: the kernels of a convolution, and what layers compute for an image.

Zeiler & Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901, Fig. 2 and 4.
"""

import keras
import numpy as np
from keras import ops

from zoo.inference import predictors
from zoo.insight import figures
from zoo.insight.methods.gradcam import activated, mapped
from zoo.insight.methods.layers import convolutions, named

LARGEST = 64  # kernels or maps of a layer on a page
ROWS, ROW = 6, 8  # layers on a page of several, and maps of each


def kernels(model, layer=None):
    """Draw the kernels of a convolution: in colour those of RGB, else one panel a channel.

    Args:
        model: a `keras.Model`.
        layer: name of the layer; None for the first convolution.

    Returns:
        (figure, name of the layer).

    Raises:
        ValueError: if there is no convolution, or the layer's kernels have too many channels.
    """
    candidates = [named(model, layer)] if layer else convolutions(model)[:1]
    if not candidates or candidates[0] not in convolutions(model):
        what = layer or model.name
        raise ValueError(f"{what}: it has no kernels of two-dimensional convolutions to show")
    kernel = ops.convert_to_numpy(candidates[0].kernel).astype(np.float32)  # (h, w, C, K)
    if isinstance(candidates[0], keras.layers.DepthwiseConv2D):
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    channels, count = kernel.shape[2:]
    if channels not in (1, 3):
        why = f"its kernels have {channels} channels, which are no picture"
        raise ValueError(f"{candidates[0].name}: {why}. Use maximise, or a layer on the input")
    kernel = np.moveaxis(kernel, -1, 0)[:LARGEST]
    if channels == 1:
        panels = [(image[..., 0], str(i)) for i, image in enumerate(kernel)]
        return figures.maps(panels, f"{candidates[0].name}: weight", signed=True), candidates[
            0
        ].name
    own = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True)
    colours = 0.5 + 0.5 * kernel / np.maximum(own, 1e-12)
    panels = [
        (image, f"{i}: {size:.2f}")
        for i, (image, size) in enumerate(zip(colours, own.ravel(), strict=True))
    ]
    return figures.kernels(panels, candidates[0].name), candidates[0].name


def features(model, x, layer=None):
    """Draw what layers compute for an image: of several layers the strongest maps, of one all.

    Args:
        model: a functional `keras.Model` of one input.
        x: the image (H, W, C).
        layer: name of the layer; None for up to ROWS, from the first to the last.

    Returns:
        A figure.

    Raises:
        ValueError: if the layer, or no layer, has maps.
    """
    if layer:
        chosen = [mapped(model, layer)]
    else:
        candidates = activated(model)
        if not candidates:
            raise ValueError(f"{model.name}: no layer of it has maps. Use saliency or occlusion")
        places = np.unique(np.linspace(0, len(candidates) - 1, ROWS).round().astype(int))
        chosen = [candidates[i] for i in places]
    reader = keras.Model(model.inputs, [item.output for item in chosen])
    outputs = reader.predict_on_batch(predictors.for_each_input(model, np.float32(x[None])))
    outputs = outputs if isinstance(outputs, list) else [outputs]
    if layer:
        maps = np.moveaxis(np.asarray(outputs[0][0], np.float32), -1, 0)
        panels = [(values, str(i)) for i, values in enumerate(maps[:LARGEST])]
        return figures.maps(panels, f"{layer}: output", signed=bool((maps < 0).any()))
    rows = []
    for item, output in zip(chosen, outputs, strict=True):
        maps = np.moveaxis(np.asarray(output[0], np.float32), -1, 0)
        order = np.argsort(-np.abs(maps).mean(axis=(1, 2)), kind="stable")[:ROW]
        size = " x ".join(map(str, maps.shape[1:]))
        rows.append((f"{item.name}, {len(maps)} maps of {size}", [(maps[i], i) for i in order]))
    return figures.layers(rows)
