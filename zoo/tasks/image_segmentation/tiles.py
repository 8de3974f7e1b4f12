"""Large images in overlapping tiles, and the tiles' predictions blended without seams."""

import numpy as np

GRID = 32  # pixels; tiles begin at multiples, so that pooling halves them as it halves the whole
COVER = 640  # pixels; side of a tile in prediction
CONTEXT = 112  # pixels; the context of a pixel's cell in a U-Net of four poolings
BLEND = 32  # pixels over which one tile fades into the next


def cut(image, mask, height, width, overlap, margin=0):
    """Cut an image into tiles of one size, spread evenly, that overlap by at least so much.

    An image smaller than a tile is padded by mirroring. There the mask is void, -1, and it is
    void where an earlier tile has the pixel already, so that every pixel counts once.

    Args:
        image: (H, W, C).
        mask: (H, W) integers, or None.
        height: of a tile, pixels.
        width: likewise.
        overlap: pixels.
        margin: pixels at each side of a tile that the model returns nothing for; the image is
            padded by so many, and tiles overlap by so many more.

    Returns:
        A list of (tile (height, width, C), its mask (height, width) or None).

    Raises:
        ValueError: if an image is larger than a tile and the overlap is not smaller than the tile.
    """
    image = extend(image, height - margin, width - margin, before=margin)
    image = np.pad(image, [(0, margin), (0, margin), (0, 0)], mode="symmetric")
    if mask is not None:
        uncounted = np.full(image.shape[:2], -1, mask.dtype)
        uncounted[margin : margin + mask.shape[0], margin : margin + mask.shape[1]] = mask
    pairs = []
    for top in starts(image.shape[0], height, overlap + 2 * margin):
        for first in starts(image.shape[1], width, overlap + 2 * margin):
            rows, columns = slice(top, top + height), slice(first, first + width)
            tile = None if mask is None else uncounted[rows, columns].copy()
            pairs.append((image[rows, columns], tile))
            if mask is not None:
                uncounted[rows, columns][margin : height - margin, margin : width - margin] = -1
    return pairs


def starts(length, tile, overlap):
    """Return the starts of tiles that cover a length, evenly spread; a single one if enough."""
    if length > tile and overlap >= tile:
        raise ValueError(
            f"tiles of {tile} pixels cannot overlap by {overlap}, margins included: make them "
            "larger, tile_height and tile_width"
        )
    count = 1 if length <= tile else -(-(length - overlap) // (tile - overlap))
    return np.linspace(0, length - tile, count).round().astype(int).tolist()


def extend(image, height, width, before=0):
    """Mirror an image (H, W, C) beyond its edges: `before` it, and behind to (height, width)."""
    behind = [
        max(0, size - length) for size, length in zip((height, width), image.shape[:2], strict=True)
    ]
    if not (any(behind) or before):
        return image
    return np.pad(image, [(before, pixels) for pixels in behind] + [(0, 0)], mode="symmetric")


def cover(image, border=0, tile=(COVER, COVER), context=CONTEXT, fixed=False):
    """Cover an image with tiles for prediction, each with its weight at every pixel.

    A tile's weight is 0 where it lacks context that its neighbour has, rises over the next pixels,
    and the weights of all tiles add up to 1 everywhere.

    Args:
        image: (H, W, C).
        border: pixels that the model's output lacks on each side; the image is padded by so
            many, and all tiles have one size.
        tile: the largest height and width of a tile, pixels.
        context: pixels on each side of a tile that are predicted and not used, where `border` is 0.
        fixed: all tiles have this height and width exactly; an eighth of it is context.

    Returns:
        A list of dictionaries: "image", a view (h, w, C); "place", the slices where its output
        belongs in an output of "size" (H', W'), which is that of the image or somewhat larger;
        "rows" and "columns", the weights along them.
    """
    plans = [
        plan(
            length,
            largest - 2 * border,
            fixed or border > 0,
            0 if border else largest // 8 if fixed else context,
        )
        for length, largest in zip(image.shape[:2], tile, strict=True)
    ]
    size = tuple(covered for covered, _, _ in plans)
    image = extend(image, *(covered + border for covered in size), before=border)
    (_, height, rows), (_, width, columns) = plans
    pieces = []
    for top, down in rows:
        for left, across in columns:
            view = image[top : top + height + 2 * border, left : left + width + 2 * border]
            place = np.s_[top : top + height, left : left + width]
            pieces.append(dict(image=view, place=place, size=size, rows=down, columns=across))
    return pieces


def plan(length, tile, fixed, context):
    """Lay tiles along one side of an image.

    Returns:
        The length covered, the length of a tile, and for each tile its start and its weights.
    """
    covered = max(length, tile) if fixed else -(-length // GRID) * GRID
    tile = min(tile, covered)
    blend = min(BLEND, tile // 8) if context else 0
    first = [0]
    if covered > tile:
        first = [*range(0, covered - tile, tile - 2 * context - blend), covered - tile]
    weights = np.ones((len(first), tile), np.float32)
    rise = np.concatenate([np.zeros(context), (np.arange(blend) + 0.5) / max(blend, 1)])
    if len(first) > 1:
        weights[1:, : len(rise)] = rise
        weights[:-1, tile - len(rise) :] *= rise[::-1]
    total = np.zeros(covered, np.float32)
    for start, row in zip(first, weights, strict=True):
        total[start : start + tile] += row
    shares = [row / total[start : start + tile] for start, row in zip(first, weights, strict=True)]
    return covered, tile, list(zip(first, shares, strict=True))


def blend(pieces, outputs, shape):
    """Blend the outputs of `cover`'s tiles.

    Args:
        pieces: what `cover` returned.
        outputs: for each an array (h, w, K), in order; of an iterator, one is in memory at a time.
        shape: (H, W) of the image.

    Returns:
        (H, W, K) float32.

    Raises:
        ValueError: if an output is smaller than its place.
    """
    blended = None
    for piece, output in zip(pieces, outputs, strict=True):
        height, width = len(piece["rows"]), len(piece["columns"])
        top, left = (output.shape[0] - height) // 2, (output.shape[1] - width) // 2
        if top < 0 or left < 0:
            raise ValueError(
                f"the model returns {output.shape[0]} x {output.shape[1]} pixels for a tile of "
                f"{height} x {width}: train it with a margin, --set margin={-min(top, left)}"
            )
        if blended is None:
            blended = np.zeros((*piece["size"], output.shape[-1]), np.float32)
        weight = piece["rows"][:, None, None] * piece["columns"][:, None]
        blended[piece["place"]] += weight * output[top : top + height, left : left + width]
    return blended[: shape[0], : shape[1]]
