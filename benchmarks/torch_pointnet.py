"""The PyTorch baseline of `benchmarks.pointnet`: a plain PointNet in two layouts.

"conv" has clouds (B, C, N) and convolutions of kernel size 1, as in most public code; "linear" has
the points of all clouds as rows (B·N, C) and linear layers. Layers and parameters are the same as
in the zoo's PointNet.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional

from benchmarks import contest


def block(before, after, conv=False):
    """Return a dense layer over the channels, batch normalization and ReLU."""
    dense = nn.Conv1d(before, after, 1) if conv else nn.Linear(before, after)
    return nn.Sequential(dense, nn.BatchNorm1d(after), nn.ReLU(inplace=True))


def mlp(channels, conv=False):
    """Return a sequence of blocks with these numbers of channels."""
    return nn.Sequential(*[block(*pair, conv) for pair in itertools.pairwise(channels)])


def pool(x, clouds):
    """Return the global max pooling over the points of each cloud, (B, C)."""
    return x.amax(2) if x.dim() == 3 else x.view(clouds, -1, x.shape[1]).amax(1)


class Align(nn.Module):
    """A T-Net, which transforms each cloud by a predicted matrix."""

    def __init__(self, size, widths, conv):
        super().__init__()
        self.size = size
        self.local = mlp([size, *widths[:3]], conv)
        self.overall = mlp(widths[2:])
        self.entries = nn.Linear(widths[-1], size * size)
        nn.init.zeros_(self.entries.weight)
        self.entries.bias.data = torch.eye(size).flatten()

    def forward(self, x, clouds):
        """Return the transformed points, in the layout of the input, and the matrices (B, C, C)."""
        overall = self.overall(pool(self.local(x), clouds))
        matrix = self.entries(overall).view(clouds, self.size, self.size)
        if x.dim() == 3:
            return torch.bmm(matrix.transpose(1, 2), x), matrix
        return torch.bmm(x.view(clouds, -1, self.size), matrix).view_as(x), matrix


class PointNet(nn.Module):
    """Points (B, N, 3) to logits (B, K) and the matrices of the feature transform."""

    def __init__(self, classes, width=1.0, layout="linear"):
        super().__init__()
        c64, c128, c256, c512, c1024 = (int(c * width) for c in (64, 128, 256, 512, 1024))
        self.conv = layout == "conv"
        widths = [c64, c128, c1024, c512, c256]
        self.align_points = Align(3, widths, self.conv)
        self.local = mlp([3, c64, c64], self.conv)
        self.align_features = Align(c64, widths, self.conv)
        self.overall = mlp([c64, c64, c128, c1024], self.conv)
        self.head = nn.Sequential(
            block(c1024, c512), nn.Dropout(0.3), block(c512, c256), nn.Dropout(0.3)
        )
        self.logits = nn.Linear(c256, classes)

    def forward(self, points):
        """Compute Fig. 2 of the paper."""
        clouds = len(points)
        x = points.transpose(1, 2) if self.conv else points.reshape(-1, 3)
        x, _ = self.align_points(x, clouds)
        x, matrix = self.align_features(self.local(x), clouds)
        return self.logits(self.head(pool(self.overall(x), clouds))), matrix


def steps(x, y, classes, width, layout, compiled=False):
    """Build the model and its timed steps.

    Args:
        x: points (B, N, 3), float32.
        y: labels (B,), integers.
        classes: number of classes.
        width: factor on the channel counts.
        layout: "conv" or "linear".
        compiled: whether to use torch.compile.

    Returns:
        The number of parameters, and the functions that run one step, by their kind.
    """
    torch.manual_seed(0)
    device = contest.torch_device()
    net = PointNet(classes, width, layout).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001, fused=True)
    x, y = torch.from_numpy(x).to(device), torch.from_numpy(y).long().to(device)
    identity = torch.eye(int(64 * width), device=device)
    run = torch.compile(net) if compiled else net

    def training():
        net.train()
        optimizer.zero_grad(set_to_none=True)
        logits, matrix = run(x)
        error = identity - torch.bmm(matrix, matrix.transpose(1, 2))
        loss = functional.cross_entropy(logits, y) + 1e-3 * error.square().sum((1, 2)).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    def inference():
        net.eval()
        with torch.inference_mode():
            return run(x)[0].cpu().numpy()

    parameters = sum(weight.numel() for weight in net.parameters())
    return parameters, {"training": training, "inference": inference}
