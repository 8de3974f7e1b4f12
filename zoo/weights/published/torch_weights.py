"""Weights of PyTorch programs with the names of timm or torchvision, for a model of the zoo."""

import math
import re

from zoo.weights.published import arrays, filling, preparation, torch_names

OPTIONS = {"mobilenet": {"epsilon": 1e-5}}  # of builders, where PyTorch's value is another
SIZE = 224  # pixels a side


def read(path, name, options, task_options):
    """Return the `filling.Content` of a file for a model.

    Args:
        path: of a `.safetensors` or `.npz` file.
        name: of the model.
        options: of its builder, that are given.
        task_options: of image classification, that are given.

    Raises:
        ValueError: if the file is damaged, or holds no such classifier.
    """
    find, values = torch_names.of(name, path), arrays.read(path)
    head = torch_names.head(name, values, path)
    pixels, prepared, labels = preparation.of(name, path, values, side(values))
    unused = torch_names.UNUSED.get(name)

    def left_out(model):
        ours = any(layer.name.startswith("auxiliary") for layer in model.layers)
        drop = unused if unused and not ours else "$"
        return [key for key in values if key.endswith(filling.COUNTERS) or re.match(drop, key)]

    return filling.Content(
        arrays=values,
        count=len(values[f"{head}.weight"]),
        options={**OPTIONS.get(name, {}), **pixels},
        task_options=prepared,
        labels=labels,
        places=lambda model: filling.from_torch(model, find(model, values)),
        unused=left_out,
    )


def side(values):
    """Return the size of a ViT's images by its positions, or the usual one."""
    if not {"pos_embed", "patch_embed.proj.weight"} <= values.keys():
        return SIZE
    patches, patch = values["pos_embed"].shape[-2] - 1, values["patch_embed.proj.weight"].shape[-1]
    return math.isqrt(max(patches, 1)) * patch
