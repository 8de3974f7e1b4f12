"""Preparation of images and their boxes for detection: letterbox, augmentation, anchors."""

import numpy as np
from keras import layers, ops

from zoo.nn.layers import reseed
from zoo.tasks import images
from zoo.tasks.boxes.losses import AREA, COLUMNS, CORNERS, LABEL

GRAY = 0.5  # padding around an image that does not fill the input, as in Darknet
VISIBLE = 0.2  # share of a box that must be left for it to count
SMALLEST = 2.0  # pixels of a side that must be left


def fitted(shape, size):
    """Return how an image of a shape (H, W, ...) is placed in a square, its proportions unchanged.

    Returns:
        The factor of its size; its (height, width) there; and its (left, top), pixels.
    """
    factor = size / max(shape[:2])
    height, width = (max(1, round(side * factor)) for side in shape[:2])
    return factor, (height, width), ((size - width) // 2, (size - height) // 2)


def letterbox(image, size):
    """Fit an image into a square, padded with gray: see `fitted`.

    Args:
        image: (H, W, C) from 0 to 1.
        size: S, pixels.

    Returns:
        (S, S, C) float32; the factor of its size; and its (left, top), pixels.
    """
    factor, (height, width), (left, top) = fitted(image.shape, size)
    out = np.full((size, size, image.shape[-1]), GRAY, np.float32)
    image = np.clip(images.resize(image, height, width), 0.0, 1.0)
    out[top : top + height, left : left + width] = image
    return out, factor, (left, top)


def unboxed(rows, shape, size):
    """Return detections (m, 6) in pixels of an image of a shape, not of the square of a size."""
    (height, width), (factor, _, corner) = shape[:2], fitted(shape, size)
    corners = (rows[:, :4] - np.float32([*corner, *corner])) / factor
    corners = np.clip(corners, 0, np.float32([width, height, width, height]))
    return np.concatenate([corners, rows[:, 4:]], axis=1)


def unframed(image):
    """Return the place of the picture in a letterboxed image: its (left, top, right, bottom).

    Args:
        image: (S, S, C) as `letterbox` returns it; an image without padding is all picture.
    """
    size = image.shape[0]
    differs = np.abs(np.asarray(image, np.float32) - GRAY).max(axis=-1) > 0.5 / 255
    sides = []
    for axis in (0, 1):  # columns, then rows; the frame's far side may be a pixel wider
        indices = np.flatnonzero(differs.any(axis=axis))
        first, last = (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, size)
        frame = min(first, size - last)
        sides.append((frame, max(last, size - frame - 1)))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def padded(rows, count):
    """Return boxes (n, 7) padded to (count, 7) float32; of more than `count`, the largest."""
    out = np.zeros((count, COLUMNS), np.float32)
    out[:, LABEL] = -1
    if len(rows) > count:
        sides = rows[:, 2:4] - rows[:, :2]
        rows = rows[np.sort(np.argsort(-sides.prod(axis=1), kind="stable")[:count])]
    out[: len(rows)] = rows
    return out


def real(rows):
    """Return padded rows (M, 7) without the padding."""
    return rows[rows[:, LABEL] >= 0]


def anchors(sizes, count, seed=0):
    """Cluster the shapes of boxes by k-means with 1 - IoU as the distance.

    Redmon & Farhadi 2017, https://arxiv.org/abs/1612.08242, Sec. 2. Starts from quantiles of the
    area and takes medians, so the same boxes give the same shapes.

    Args:
        sizes: (n, 2) widths and heights, pixels.
        count: number of shapes.
        seed: of the boxes that replace the shape of an empty cluster.

    Returns:
        A list of `count` pairs (width, height), smallest area first.

    Raises:
        ValueError: if there are fewer different sizes than shapes.
    """
    sizes = np.asarray(sizes, np.float64)
    if len(np.unique(sizes, axis=0)) < count:
        raise ValueError(f"{len(sizes)} boxes are too few for {count} anchors: leave anchors unset")
    order, rng = np.argsort(sizes.prod(axis=1), kind="stable"), np.random.default_rng(seed)
    shapes = sizes[order[((np.arange(count) + 0.5) * len(sizes) / count).astype(int)]]
    before = None
    for _ in range(300):
        shared = np.minimum(sizes[:, None], shapes).prod(axis=-1)
        union = sizes.prod(axis=-1)[:, None] + shapes.prod(axis=-1) - shared
        nearest = np.argmax(shared / union, axis=1)
        if before is not None and (nearest == before).all():
            break
        before = nearest
        for k in range(count):
            near = sizes[nearest == k]
            shapes[k] = np.median(near, axis=0) if len(near) else sizes[rng.integers(len(sizes))]
    shapes = shapes[np.argsort(shapes.prod(axis=1), kind="stable")]
    return [[round(float(side), 2) for side in pair] for pair in shapes]


def augment(options):
    """Return the augmentation that the options set, deterministic for a given entropy.

    Args:
        options: of geometry, flip as in `zoo.tasks.images.augment`; scale (0.5: from 1/1.5 to 1.5
            times the size), shift (share of the size); mosaic and mixup (shares of the images that
            are made of four, Bochkovskiy et al. 2020, or blended with another, Zhang et al.
            2018); and the changes of colour of `zoo.tasks.images.photometric`.

    Returns:
        A function (x, y, entropy) to (x, y), of images (B, S, S, C) from 0 to 1 and boxes
        (B, M, 7); or None.
    """
    mode = options["flip"]
    flips = [] if mode == "none" else [layers.RandomFlip(mode, bounding_box_format="xyxy")]
    changes = images.photometric(options)
    rearranges = any(options[key] for key in ("scale", "shift", "mosaic", "mixup"))

    def apply(x, y, entropy):
        rng = np.random.default_rng(entropy)
        for i, layer in enumerate([*flips, *changes]):
            reseed(layer, (*entropy, i))
        x, kind = np.asarray(x, np.float32), x.dtype
        for layer in flips:
            x, y = flipped(layer, x, y)
        if rearranges:
            x, y = rearranged(x, y, rng, options)
        for layer in changes:
            x = layer(x, training=True)
        return np.clip(ops.convert_to_numpy(x), 0.0, 1.0).astype(kind), y

    return apply if flips or changes or rearranges else None


def flipped(layer, x, y):
    """Apply Keras' layer to images and to the corners of their boxes."""
    data = {"images": x, "bounding_boxes": {"boxes": y[..., CORNERS], "labels": y[..., LABEL]}}
    data = layer(data, training=True)
    y = y.copy()
    y[..., CORNERS] = ops.convert_to_numpy(data["bounding_boxes"]["boxes"])
    return ops.convert_to_numpy(data["images"]), y


def rearranged(x, y, rng, options):
    """Scale and shift images, combine some into mosaics of four, and blend some (mixup)."""
    count, size = len(x), x.shape[1]
    tiles = []  # (image it is for, image it comes from, region, scale, offset)
    for i in range(count):
        if rng.random() < options["mosaic"]:
            tiles += [(i, *tile) for tile in mosaic(i, count, size, rng, options["scale"])]
        else:
            tiles.append((i, i, *single(size, rng, options["scale"], options["shift"])))
    _, sources, _, scales, offsets = zip(*tiles, strict=True)
    drawn = warp(x[list(sources)], np.array(scales), np.array(offsets))
    out, rows = np.full_like(x, GRAY), [[] for _ in range(count)]
    for picture, (i, source, (left, top, right, bottom), factor, offset) in zip(
        drawn, tiles, strict=True
    ):
        out[i, top:bottom, left:right] = picture[top:bottom, left:right]
        rows[i].append(moved(real(y[source]), factor, offset, (left, top, right, bottom)))
    rows = [np.concatenate(parts) for parts in rows]
    below, under = out.copy(), list(rows)
    for i in np.flatnonzero(rng.random(count) < options["mixup"]):
        partner, share = (i + 1) % count, np.float32(rng.beta(8.0, 8.0))  # near 0.5
        out[i] = share * out[i] + (1 - share) * below[partner]
        rows[i] = np.concatenate([rows[i], under[partner]])
    return out, np.stack([padded(boxes, y.shape[1]) for boxes in rows])


def single(size, rng, scale, shift):
    """Draw the placement of a single image: region (all of it), scale and offset, pixels."""
    factor = (1 + scale) ** rng.uniform(-1, 1)
    offset = size / 2 * (1 - factor) + size * rng.uniform(-shift, shift, 2)
    return (0, 0, size, size), factor, offset


def mosaic(i, count, size, rng, scale):
    """Draw placements of four images, one per corner: source, region, scale and offset."""
    x, y = (rng.uniform(0.3, 0.7, 2) * size).astype(int)
    others = rng.choice(count, 3, replace=count < 4)
    for source, right, below in zip((i, *others), (0, 1, 0, 1), (0, 0, 1, 1), strict=True):
        region = (right * x, below * y, size if right else x, size if below else y)
        factor = (1 + scale) ** rng.uniform(-1, 0)
        offset = [x - (not right) * factor * size, y - (not below) * factor * size]
        yield source, region, factor, np.array(offset)


def warp(x, scales, offsets):
    """Return images (n, S, S, C) scaled and then moved by offsets (n, 2) x and y, pixels."""
    zeros, factor = np.zeros(len(x)), 1 / scales
    start = (0.5 - offsets) * factor[:, None] - 0.5  # of the centers of pixels
    columns = [factor, zeros, start[:, 0], zeros, factor, start[:, 1], zeros, zeros]
    columns = np.stack(columns, axis=1).astype(np.float32)
    x = ops.image.affine_transform(x, columns, fill_mode="constant", fill_value=GRAY)
    return ops.convert_to_numpy(x)


def moved(rows, factor, offset, region):
    """Return boxes (n, 7) scaled, moved and clipped to a region, without hardly visible ones."""
    rows = rows.copy()
    left, top, right, bottom = region
    corners = rows[:, CORNERS] * factor + np.tile(offset, 2)
    before = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    corners = np.clip(corners, (left, top, left, top), (right, bottom, right, bottom))
    sides = corners[:, 2:] - corners[:, :2]
    rows[:, CORNERS] = corners
    rows[:, AREA] *= factor**2
    return rows[(sides.min(axis=1) >= SMALLEST) & (sides.prod(axis=1) >= VISIBLE * before)]
