"""What the tasks on images share: their range of values, tiles, and augmentation."""

import numpy as np
from keras import layers, ops
from PIL import Image

from zoo.nn.layers import reseed

LUMA = np.float32([0.299, 0.587, 0.114])  # gray of red, green and blue, of ITU-R BT.601


def measure(examples, options):
    """Return the number of channels and the range of values of the data set's images."""
    images = [example["image"] for example in examples]
    counts = {image.shape[-1] for image in images}
    count = options["channels"] or max(counts)
    for given in sorted(counts):
        fit(given, count)
    deep = [image for image in images if bits(image) is None]
    return {"channels": count, "range": spread(deep) if deep else [0.0, 255.0]}


def channels(info, options):
    """Return the number of channels; raise `ValueError` if the options do not fit it."""
    count = info["channels"]
    for name in ("color_jitter", "saturation", "hue", "randaugment"):
        if count != 3 and options.get(name):
            what = "are gray" if count == 1 else f"have {count} bands"
            raise ValueError(
                f"{name} is set, and the images {what}: --set {name}=0, and brightness and "
                "contrast in its place"
            )
    sizes = (options.get(name) for name in ("image_size", "tile_height", "tile_width"))
    side, hole = min(filter(None, sizes), default=0), options.get("cutout", 0)
    if 0 < side <= hole:
        raise ValueError(
            f"cutout={hole} covers whole images of {side} pixels: --set cutout={side // 4}, say"
        )
    return count


def fit(given, count):
    """Raise `ValueError` unless an image of so many channels can be given `count`.

    Gray is repeated, and colour becomes gray; bands are neither dropped nor added.
    """
    if given != count and given != 1 and (given, count) != (3, 1):
        raise ValueError(
            f"an image has {given} channels, and {count} are expected: give all the same bands"
        )


def bits(image):
    """Return the range (low, high) that an image of 8 bits has by its type, None for others."""
    return (0.0, 255.0) if image.dtype == np.uint8 else None


def spread(images):
    """Return the lowest and highest value of images, leaving out one in a thousand at each end."""
    # robust to hot pixels of a sensor
    edges = [np.percentile(image, [0.1, 99.9]) for image in images]
    return [float(min(low for low, _ in edges)), float(max(high for _, high in edges))]


def scale(image, limits, channels):
    """Bring values between the limits to 0 ... 1 and the channels to their number.

    Args:
        image: (H, W, C) of any type.
        limits: (low, high); what lies outside is clipped.
        channels: how many, see `fit`.

    Returns:
        (H, W, channels) float32.

    Raises:
        ValueError: the image has other bands.
    """
    fit(image.shape[-1], channels)
    low, high = limits
    x = (np.asarray(image, np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
    x = np.clip(x, 0.0, 1.0)
    if x.shape[-1] == 3 and channels == 1:
        return x @ LUMA[:, None]
    return np.repeat(x, channels, axis=-1) if x.shape[-1] < channels else x


def resize(image, height, width, interpolation="bilinear"):
    """Return an image (H, W, C) resized to (height, width, C) float32, without aliasing.

    Pillow computes the same as Keras with `antialias`, but JAX compiles that for each size anew,
    and every photograph has its own.
    """
    image = np.asarray(image, np.float32)
    if image.shape[:2] == (height, width):
        return image
    how = Image.Resampling[interpolation.upper()]
    channels = [Image.fromarray(channel) for channel in np.moveaxis(image, -1, 0)]
    resized = [np.asarray(channel.resize((width, height), how)) for channel in channels]
    return np.stack(resized, axis=-1)


def resize_mask(mask, height, width):
    """Return a mask (H, W) of class indices resized to (height, width) by nearest neighbours."""
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return mask[rows[:, None], columns]


def augment(options):
    """Return the augmentation that the options set, deterministic for a given entropy.

    Args:
        options: flip is "horizontal", "vertical", "horizontal_and_vertical" or "none"; of the rest
            0 leaves a change out. Image and mask are moved by rotation and shear (degrees), zoom
            and shift (shares of the size), where fill says what comes in from outside as Keras'
            fill_mode, by perspective (share of a corner's way to the middle) and
            elastic (pixels). The image alone is changed by brightness, contrast, saturation, hue,
            color_jitter, channel_shift, blur and noise (shares of the range of values), erasing
            (share of the images), cutout (pixels) and randaugment (strength).

    Returns:
        A function (x, y, entropy) to (x, y): images (B, H, W, C) float32 from 0 to 1, and masks
        (B, H, W), which are moved alike, or labels (B,), which stay.
    """
    moves, changes = geometric(options), photometric(options)
    shift, bend, hole = options["channel_shift"], options["elastic"], options.get("cutout", 0)

    def apply(x, y, entropy):
        rng = np.random.default_rng(entropy)
        for i, layer in enumerate([*moves, *changes]):
            reseed(layer, (*entropy, i))
        # What comes in from outside the picture is 0: void, if the classes are counted from 1.
        maps = y.ndim == 3
        data = {"images": x}
        if maps:
            data["segmentation_masks"] = y[..., None].astype(np.float32) + 1
        for layer in moves:
            data = layer(data, training=True)
        if maps:
            masks = ops.convert_to_numpy(data["segmentation_masks"])[..., 0]
            y = masks.astype(y.dtype) - 1
        x = ops.convert_to_numpy(data["images"])
        if bend:
            x, bent = elastic(x, y if maps else None, bend, rng)
            y = bent if maps else y
        for layer in changes:
            x = layer(x, training=True)
        x = ops.convert_to_numpy(x)
        if hole:
            x = cutout(x, hole, rng)
        if shift:
            x = x + rng.uniform(-shift, shift, (len(x), 1, 1, x.shape[-1])).astype(np.float32)
        return np.clip(x, 0.0, 1.0), y

    return apply if moves or changes or shift or bend or hole else None


def views(shape, options):
    """Return the symmetries of the square that the flips of training allow.

    A photograph, flipped "horizontal" at most, is never turned upside down. Images flipped both
    ways have no up, so they are turned by right angles too, although training does not.

    Args:
        shape: (H, W, C) of the model's input; None where it takes any size. Right angles swap
            height and width, so they need H = W, or both free; else a half turn is left.
        options: flip, as in `augment`.

    Returns:
        A list of (there, back), see `zoo.tasks.Task`: 1, 2, 4 or 8.
    """
    quarters = range(4) if shape[0] == shape[1] else (0, 2)
    moves = {
        "none": [(0, False)],
        "horizontal": [(0, False), (0, True)],
        "vertical": [(0, False), (2, True)],
        "horizontal_and_vertical": [(turns, flip) for flip in (False, True) for turns in quarters],
    }
    return [view(*move) for move in moves[options["flip"]]]


def view(turns, flip):
    """Return (there, back): flip left and right if set, then turn by right angles; the inverse.

    Images are (B, H, W, C). Maps (B, h, w, K) are turned back; (B, K) has no positions.
    """

    def there(x):
        x = np.rot90(x[:, :, ::-1] if flip else x, turns, axes=(1, 2))
        return np.ascontiguousarray(x)  # PyTorch takes no negative strides

    def back(outputs):
        if outputs.ndim == 2:
            return outputs
        outputs = np.rot90(outputs, -turns, axes=(1, 2))
        return outputs[:, :, ::-1] if flip else outputs

    return there, back


def geometric(options):
    """Return Keras' layers that move image and mask together."""
    chosen = []
    if options["flip"] != "none":
        chosen.append(layers.RandomFlip(options["flip"]))
    outside = dict(fill_mode=options.get("fill", "reflect"))
    if size := options["rotation"]:
        chosen.append(layers.RandomRotation(size / 360, **outside))
    if size := options["zoom"]:
        chosen.append(layers.RandomZoom(size, **outside))
    if size := options["shift"]:
        chosen.append(layers.RandomTranslation(size, size, **outside))
    if size := options["shear"]:
        factor = np.tan(np.radians(size))
        chosen.append(layers.RandomShear(factor, factor, **outside))
    if size := options["perspective"]:
        chosen.append(layers.RandomPerspective(scale=size))
    return chosen


def photometric(options):
    """Return Keras' layers that change the image alone."""
    chosen, limits = [], dict(value_range=(0, 1))
    if size := options["brightness"]:
        chosen.append(layers.RandomBrightness(size, **limits))
    if size := options["contrast"]:
        chosen.append(layers.RandomContrast(size, **limits))
    if size := options.get("saturation"):
        factor = (0.5 - size / 2, 0.5 + size / 2)  # 0.5 changes nothing
        chosen.append(layers.RandomSaturation(factor, **limits))
    if size := options.get("hue"):
        chosen.append(layers.RandomHue(size, **limits))
    if size := options["color_jitter"]:
        saturation = (0.5 - size / 2, 0.5 + size / 2)  # 0.5 changes nothing
        chosen.append(
            layers.RandomColorJitter(saturation_factor=saturation, hue_factor=size, **limits)
        )
    if size := options["blur"]:
        chosen.append(layers.RandomGaussianBlur(size, kernel_size=5, sigma=(0.1, 1.5), **limits))
    if size := options["noise"]:
        chosen.append(layers.GaussianNoise(size))
    if size := options["erasing"]:
        chosen.append(layers.RandomErasing(size, **limits))
    if size := options.get("randaugment"):
        chosen.append(layers.RandAugment(factor=size, **limits))
    return chosen


def cutout(x, size, rng):
    """Set a square in each image to 0; DeVries & Taylor 2017, https://arxiv.org/abs/1708.04552.

    Args:
        x: images (B, H, W, C).
        size: pixels a side; what is outside the image does not count.
        rng: the NumPy generator of the centres.

    Returns:
        A changed copy.
    """
    x = np.array(x)
    centres = rng.integers(0, x.shape[1:3], (len(x), 2))
    for image, (row, column) in zip(x, centres, strict=True):
        top, left = (max(0, centre - size // 2) for centre in (row, column))
        image[top : row - size // 2 + size, left : column - size // 2 + size] = 0
    return x


def elastic(x, y, size, rng):
    """Bend images and masks by displacements drawn on a coarse grid, smooth between its points.

    Ronneberger et al. 2015, Sec. 3.1: a 3 x 3 grid, normal displacements, bicubic between. Keras'
    RandomElasticTransform draws the same numbers for both axes and others for the mask.

    Args:
        x: images (B, H, W, C) float32.
        y: masks (B, H, W), or None.
        size: standard deviation of the displacements, pixels; the paper's is 10.
        rng: the NumPy generator to draw from.

    Returns:
        (x, y), mirrored where the edge is moved inwards.
    """
    from scipy.ndimage import map_coordinates, zoom

    batch, height, width, channels = x.shape
    places = np.indices((height, width), np.float32)
    factors = (1, height / 3, width / 3)
    x, y = x.copy(), None if y is None else y.copy()
    for i in range(batch):
        field = zoom(rng.normal(scale=size, size=(2, 3, 3)), factors, order=3, mode="nearest")
        where = places + field[:, :height, :width].astype(np.float32)
        for c in range(channels):
            x[i, ..., c] = map_coordinates(x[i, ..., c], where, order=1, mode="reflect")
        if y is not None:
            y[i] = map_coordinates(y[i], where, order=0, mode="reflect")
    return x, y
