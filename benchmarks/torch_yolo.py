"""The rival of `benchmarks.yolo`: tiny YOLOv3 as a PyTorch user writes it, with the channels last.

Layers, their names and parameters are those of ours, and the loss is the same arithmetic on the
same padded truth (B, M, 7), see `zoo.tasks.boxes.losses`.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import contest

ANCHORS = (  # pixels, of the map of stride 32 and of that of 16
    ((81, 82), (135, 169), (344, 319)),
    ((10, 14), (23, 27), (37, 58)),
)
STRIDES = (32, 16)
IGNORE = 0.5  # IoU above which a row that answers for no box counts as neither right nor wrong
TINY = 1e-7  # what Keras adds to the denominators of the complete IoU


def block(before, after, size):
    """Return a convolution, batch normalisation and leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(0.1, inplace=True),
    )


class YOLOv3Tiny(nn.Module):
    """Images (B, 3, H, W) to raw rows (B, A, 5 + C); H and W are multiples of 32."""

    def __init__(self, classes, width=1.0):
        super().__init__()
        channels = [3, *(int(2**i * width) for i in range(4, 11))]
        wide, raw = int(256 * width), len(ANCHORS[0]) * (5 + classes)
        for i in range(1, 8):
            self.add_module(f"block{i}", block(channels[i - 1], channels[i], 3))
        self.neck32_1 = block(channels[7], wide, 1)
        self.head32 = block(wide, 2 * wide, 3)
        self.head32_raw = nn.Conv2d(2 * wide, raw, 1)
        self.neck16_up = block(wide, wide // 2, 1)
        self.head16 = block(wide // 2 + channels[5], 2 * (wide // 2), 3)
        self.head16_raw = nn.Conv2d(2 * (wide // 2), raw, 1)
        for head in (self.head32_raw, self.head16_raw):
            nn.init.zeros_(head.bias)
            head.bias.data[4 :: 5 + classes] = math.log(0.01 / 0.99)

    def forward(self, x):
        """Run the layers of yolov3-tiny.cfg."""
        for i in range(1, 8):
            x = self.get_submodule(f"block{i}")(x)
            if i == 5:
                fine = x
            if i < 6:
                x = functional.max_pool2d(x, 2)
            elif i == 6:
                x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-math.inf), 2, 1)
        x = self.neck32_1(x)
        above = functional.interpolate(self.neck16_up(x), scale_factor=2)
        maps = [
            self.head32_raw(self.head32(x)),
            self.head16_raw(self.head16(torch.cat([above, fine], 1))),
        ]
        count = len(ANCHORS[0])
        rows = [one.permute(0, 2, 3, 1).reshape(len(x), -1, one.shape[1] // count) for one in maps]
        return torch.cat(rows, 1)


def area(boxes):
    """Return the areas (...) of boxes (..., 4) in corners."""
    left, top, right, bottom = boxes.unbind(-1)
    return (right - left).clamp(min=0) * (bottom - top).clamp(min=0)


def iou(one, other):
    """Return the intersection over union of boxes (..., 4) in corners, broadcast."""
    a, b = one.unbind(-1), other.unbind(-1)
    wide = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp_(min=0)
    high = (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp_(min=0)
    shared = wide.mul_(high)
    return shared / (area(one) + area(other) - shared).clamp_(min=1e-9)


def complete_iou(one, other):
    """Return the complete IoU of pairs of boxes (..., 4): Zheng et al. 2020, arXiv 1911.08287."""
    x1, y1, x2, y2 = one.unbind(-1)
    left, top, right, bottom = other.unbind(-1)
    width, height = x2 - x1, y2 - y1 + TINY
    wide, high = right - left, bottom - top + TINY
    shared = (torch.minimum(x2, right) - torch.maximum(x1, left)).clamp(min=0)
    shared = shared * (torch.minimum(y2, bottom) - torch.maximum(y1, top)).clamp(min=0)
    overlap = shared / (width * height + wide * high - shared + 2 * TINY)
    diagonal = (torch.maximum(x2, right) - torch.minimum(x1, left)).square()
    diagonal = diagonal + (torch.maximum(y2, bottom) - torch.minimum(y1, top)).square() + TINY
    apart = ((x1 + x2 - left - right).square() + (y1 + y2 - top - bottom).square()) / 4
    angles = torch.atan(wide / high) - torch.atan(width / height)
    shape = 4 / math.pi**2 * angles.square()
    return overlap - apart / diagonal - shape * shape / (shape - overlap + 1 + TINY)


class Loss:
    """The loss of raw rows (B, A, 5 + C) on images of size x size, a scalar."""

    def __init__(self, size):
        cells, strides, anchors, starts = [], [], [], [0]
        for level, stride in zip(ANCHORS, STRIDES, strict=True):
            side, count = size // stride, len(level)
            y, x = np.mgrid[:side, :side].reshape(2, -1, 1)
            cells.append(np.repeat(np.concatenate([x, y], 1), count, 0))
            strides.append(np.full((len(cells[-1]), 1), stride))
            anchors.append(np.tile(np.array(level), (side * side, 1)))
            starts.append(starts[-1] + len(cells[-1]))
        parts = [np.concatenate(part).astype(np.float32) for part in (cells, strides, anchors)]
        self.cells, self.strides, self.anchors = map(torch.from_numpy, parts)
        shapes = [
            (*pair, stride, start, order)
            for level, stride, start in zip(ANCHORS, STRIDES, starts[:-1], strict=True)
            for order, pair in enumerate(level)
        ]
        self.shapes, self.size = torch.tensor(shapes), size

    def decode(self, place):
        """Return the boxes (B, A, 4) of raw ones (B, A, 4), corners in pixels."""
        centers, sizes = place.split(2, -1)
        centers = (centers.sigmoid() + self.cells) * self.strides
        halves = self.anchors * sizes.clamp(max=10).exp() / 2
        return torch.cat([centers - halves, centers + halves], -1)

    def assign(self, corners):
        """Return which row answers for each box: (B, M), of boxes (B, M, 4)."""
        sizes = (corners[..., 2:] - corners[..., :2]).clamp(min=0)[..., None, :]
        anchors = self.shapes[:, :2]
        shared = torch.minimum(sizes, anchors).prod(-1)
        best = (shared / (sizes.prod(-1) + anchors.prod(-1) - shared)).argmax(-1)
        stride, start, order = self.shapes[best][..., 2:].unbind(-1)
        centers = ((corners[..., :2] + corners[..., 2:]) / 2).clamp(0, self.size - 1)
        column, row = (centers / stride[..., None]).long().unbind(-1)
        return (row * (self.size // stride) + column) * len(ANCHORS[0]) + start + order

    def __call__(self, raw, truth):
        """Return the mean over the images."""
        corners, labels, classes = truth[..., :4], truth[..., 4], raw.shape[-1] - 5
        place, objects, said = raw.split((4, 1, classes), -1)
        found, objects = self.decode(place), objects[..., 0]
        with torch.no_grad():
            sound = (labels >= 0) & (area(corners) > 0)
            kept = sound & (truth[..., 6] == 0)
            overlap = iou(found[:, :, None], corners[:, None])  # (B, A, M)
            best = overlap.masked_fill_(~sound[:, None], 0).amax(-1)
            rows = self.assign(corners)
            answers = torch.zeros_like(best).scatter_reduce(1, rows, kept.float(), "amax")
            counts = (answers > 0) | (best <= IGNORE)
            wanted = functional.one_hot(labels.clamp(min=0).long(), classes).float()
        said = said.gather(1, rows[..., None].expand(-1, -1, classes))
        drawn = found.gather(1, rows[..., None].expand(-1, -1, 4))
        wrong = (2 - area(corners) / self.size**2) * (1 - complete_iou(drawn, corners))
        entropy = functional.binary_cross_entropy_with_logits
        wrong = wrong + entropy(said, wanted, reduction="none").sum(-1)
        objects = entropy(objects, answers, reduction="none")
        wrong, objects = torch.where(kept, wrong, 0), torch.where(counts, objects, 0)
        return (wrong.sum() + objects.sum()) / len(raw)


def steps(x, y, classes, width, compiled=False):
    """Make the network, and what is timed: see `contest.torch_steps`; boxes y (B, M, 7)."""
    torch.manual_seed(0)
    loss = torch.compile(Loss(x.shape[1])) if compiled else Loss(x.shape[1])
    return contest.torch_steps(YOLOv3Tiny(classes, width), loss, x, y, compiled)
