"""The PyTorch baseline of `benchmarks.classification`: torchvision's networks, initial weights."""

import numpy as np
import torch
from torch.nn import functional
from torchvision import models

from benchmarks import contest

# ViT-Ti/16 as in Touvron et al. 2021, https://arxiv.org/abs/2012.12877, which torchvision can build
# but does not name.
TINY = dict(patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768)


def create(model, size, classes=1000):
    """Return the network of a name in `benchmarks.classification.MODELS`."""
    if model == "vit":
        return models.VisionTransformer(image_size=size, num_classes=classes, **TINY)
    build = {"resnet": models.resnet50, "mobilenet": models.mobilenet_v2}[model]
    return build(num_classes=classes)


def steps(x, y, model, compiled=False, bfloat16=False):
    """Build the network and its timed steps, see `contest.torch_steps`; labels y (B,)."""
    torch.manual_seed(0)
    net, y = create(model, x.shape[1]), y.astype(np.int64)
    return contest.torch_steps(net, functional.cross_entropy, x, y, compiled, bfloat16=bfloat16)
