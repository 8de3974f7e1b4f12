"""The PyTorch baseline of `benchmarks.yolo`: a plain tiny YOLOv3 in channels-last memory format.

Layers, their names and parameters are the same as in the zoo's model, and so is the loss on padded
ground truth (B, M, 7), see `zoo.tasks.boxes.losses`.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import contest

ANCHORS = (  # in pixels, for the maps of stride 32 and 16
    ((81, 82), (135, 169), (344, 319)),
    ((10, 14), (23, 27), (37, 58)),
)
STRIDES = (32, 16)
IGNORE = 0.5  # IoU above which an unassigned prediction does not count as background
TINY = 1e-7  # added to the denominators of the complete IoU, as in Keras


def block(before, after, size):
    """Return a convolution, batch normalization and leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(0.1, inplace=True),
    )


class YOLOv3Tiny(nn.Module):
    """Images (B, 3, H, W) to raw outputs (B, A, 5 + C); H and W are multiples of 32."""

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
        """Compute the layers of yolov3-tiny.cfg."""
        for i in range(1, 8):
            x = self.get_submodule(f"block{i}")(x)
            if i == 5:
                fine = x
            if i < 6:
                x = functional.max_pool2d(x, 2)
            elif i == 6:
                x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-math.inf), 2, 1)
        x = self.neck32_1(x)
        upsampled = functional.interpolate(self.neck16_up(x), scale_factor=2)
        maps = [
            self.head32_raw(self.head32(x)),
            self.head16_raw(self.head16(torch.cat([upsampled, fine], 1))),
        ]
        count = len(ANCHORS[0])
        rows = [y.permute(0, 2, 3, 1).reshape(len(x), -1, y.shape[1] // count) for y in maps]
        return torch.cat(rows, 1)


def area(boxes):
    """Return the areas (...) of boxes (..., 4) given by their corners."""
    left, top, right, bottom = boxes.unbind(-1)
    return (right - left).clamp(min=0) * (bottom - top).clamp(min=0)


def iou(first, second):
    """Return the intersection over union of boxes (..., 4), given by their corners, broadcast."""
    a, b = first.unbind(-1), second.unbind(-1)
    width = (torch.minimum(a[2], b[2]) - torch.maximum(a[0], b[0])).clamp_(min=0)
    height = (torch.minimum(a[3], b[3]) - torch.maximum(a[1], b[1])).clamp_(min=0)
    shared = width.mul_(height)
    return shared / (area(first) + area(second) - shared).clamp_(min=1e-9)


def complete_iou(first, second):
    """Return the complete IoU of pairs of boxes (..., 4): Zheng et al. 2020, arXiv 1911.08287."""
    x1, y1, x2, y2 = first.unbind(-1)
    left, top, right, bottom = second.unbind(-1)
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
    """The YOLOv3 loss of raw outputs (B, A, 5 + C) for images of size x size, a scalar."""

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

    def decode(self, raw):
        """Return the boxes (B, A, 4) of raw outputs (B, A, 4), as corners in pixels."""
        centers, sizes = raw.split(2, -1)
        centers = (centers.sigmoid() + self.cells) * self.strides
        halves = self.anchors * sizes.clamp(max=10).exp() / 2
        return torch.cat([centers - halves, centers + halves], -1)

    def assign(self, corners):
        """Return the index of the prediction assigned to each box: (B, M), of boxes (B, M, 4)."""
        sizes = (corners[..., 2:] - corners[..., :2]).clamp(min=0)[..., None, :]
        anchors = self.shapes[:, :2]
        shared = torch.minimum(sizes, anchors).prod(-1)
        best = (shared / (sizes.prod(-1) + anchors.prod(-1) - shared)).argmax(-1)
        stride, start, order = self.shapes[best][..., 2:].unbind(-1)
        centers = ((corners[..., :2] + corners[..., 2:]) / 2).clamp(0, self.size - 1)
        column, row = (centers / stride[..., None]).long().unbind(-1)
        return (row * (self.size // stride) + column) * len(ANCHORS[0]) + start + order

    def __call__(self, raw, truth):
        """Return the mean loss over the images."""
        corners, labels, classes = truth[..., :4], truth[..., 4], raw.shape[-1] - 5
        coordinates, objectness, class_logits = raw.split((4, 1, classes), -1)
        boxes, objectness = self.decode(coordinates), objectness[..., 0]
        with torch.no_grad():
            valid = (labels >= 0) & (area(corners) > 0)
            assigned = valid & (truth[..., 6] == 0)
            overlap = iou(boxes[:, :, None], corners[:, None])  # (B, A, M)
            best = overlap.masked_fill_(~valid[:, None], 0).amax(-1)
            rows = self.assign(corners)
            target = torch.zeros_like(best).scatter_reduce(1, rows, assigned.float(), "amax")
            counted = (target > 0) | (best <= IGNORE)
            one_hot = functional.one_hot(labels.clamp(min=0).long(), classes).float()
        class_logits = class_logits.gather(1, rows[..., None].expand(-1, -1, classes))
        predicted = boxes.gather(1, rows[..., None].expand(-1, -1, 4))
        error = (2 - area(corners) / self.size**2) * (1 - complete_iou(predicted, corners))
        entropy = functional.binary_cross_entropy_with_logits
        error = error + entropy(class_logits, one_hot, reduction="none").sum(-1)
        objectness = entropy(objectness, target, reduction="none")
        error = torch.where(assigned, error, 0)
        objectness = torch.where(counted, objectness, 0)
        return (error.sum() + objectness.sum()) / len(raw)


def steps(x, y, classes, width, compiled=False):
    """Build the model and its timed steps, see `contest.torch_steps`; boxes y (B, M, 7)."""
    torch.manual_seed(0)
    loss = torch.compile(Loss(x.shape[1])) if compiled else Loss(x.shape[1])
    return contest.torch_steps(YOLOv3Tiny(classes, width), loss, x, y, compiled)
