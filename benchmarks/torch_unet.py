"""The PyTorch baseline of `benchmarks.unet`: a plain U-Net in channels-last memory format.

Layers and parameters are the same as in the zoo's U-Net.
"""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import contest

DEPTH = 4


def convs(before, after):
    """Return two 3x3 convolutions, each with ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Images (B, 1, H, W) to logits (B, 1, H, W); H and W are multiples of 16."""

    def __init__(self, width=1.0):
        super().__init__()
        channels = [int(64 * width * 2**level) for level in range(DEPTH + 1)]
        pairs = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(convs(*pair) for pair in [(1, channels[0]), *pairs])
        self.rise = nn.ModuleList(nn.ConvTranspose2d(low, high, 2, 2) for high, low in pairs)
        self.up = nn.ModuleList(convs(2 * high, high) for high, _ in pairs)
        self.dropout = nn.Dropout(0.5)
        self.logits = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x):
        """Compute Fig. 1 of the paper, with padded convolutions."""
        maps = []
        for level, layer in enumerate(self.down):
            x = layer(functional.max_pool2d(x, 2) if level else x)
            x = self.dropout(x) if level >= DEPTH - 1 else x
            maps.append(x)
        for level in reversed(range(DEPTH)):
            x = self.up[level](torch.cat([maps[level], self.rise[level](x)], 1))
        return self.logits(x)


def steps(x, y, width, compiled=False, bfloat16=False):
    """Build the model and its timed steps, see `contest.torch_steps`; masks y (B, H, W), 0 or 1."""
    torch.manual_seed(0)

    def loss(logits, y):
        return functional.binary_cross_entropy_with_logits(logits[:, 0], y)

    y = y.astype(np.float32)
    return contest.torch_steps(UNet(width), loss, x, y, compiled, bfloat16=bfloat16)
