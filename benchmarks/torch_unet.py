"""The rival of `benchmarks.unet`: U-Net as a PyTorch user writes it, with the channels last.

Layers and parameters are those of ours.
"""

import itertools
import os

import torch
from torch import nn
from torch.nn import functional

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
        """Run Fig. 1 of the paper, padded."""
        maps = []
        for level, layer in enumerate(self.down):
            x = layer(functional.max_pool2d(x, 2) if level else x)
            x = self.dropout(x) if level >= DEPTH - 1 else x
            maps.append(x)
        for level in reversed(range(DEPTH)):
            x = self.up[level](torch.cat([maps[level], self.rise[level](x)], 1))
        return self.logits(x)


def steps(x, y, width, compiled=False):
    """Make the network and what is timed.

    Args:
        x: images (B, H, W, 1), float32.
        y: masks (B, H, W), integers 0 or 1.
        width: factor on the channel counts.
        compiled: whether torch.compile builds it.

    Returns:
        The number of parameters, and the functions that take one step by their kind.
    """
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())
    net = UNet(width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001, fused=True)
    x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(y).float()
    run = torch.compile(net) if compiled else net

    def training():
        net.train()
        optimizer.zero_grad(set_to_none=True)
        loss = functional.binary_cross_entropy_with_logits(run(x)[:, 0], y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def inference():
        net.eval()
        with torch.inference_mode():
            return run(x).numpy()

    parameters = sum(one.numel() for one in net.parameters())
    return parameters, {"training": training, "inference": inference}
