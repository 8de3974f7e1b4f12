"""Image segmentation: what does each pixel of this image belong to?"""

import numpy as np

from zoo import plots
from zoo.nn import losses, metrics
from zoo.tasks import images
from zoo.tasks.image_segmentation import tiles
from zoo.tasks.image_segmentation.masks import (
    labels,
    painted,
    plot,
    preview,
    probabilities,
    score,
    summarize,
)
from zoo.tasks.targets import conformal
from zoo.tasks.task import Data, Results, Task, Training, Usage


def arguments(info, options):
    """Return what the data decides of the builder's arguments: one logit for two classes."""
    count = len(info["classes"])
    fixed = options["margin"] or options["fixed_size"]
    size = (options["tile_height"], options["tile_width"]) if fixed else (None, None)
    shape = (*size, images.channels(info, options))
    return dict(input_shape=shape, num_classes=1 if count == 2 else count)


def whole(example, options):
    """Return image and mask at the resolution asked for, and the image's range or None."""
    image, mask = example["image"], example.get("segmentation_mask")
    limits = images.spread([image]) if options["normalize"] == "image" else images.bits(image)
    if options["resolution"] != 1.0:
        size = [max(1, round(side * options["resolution"])) for side in image.shape[:2]]
        image = images.resize(image, *size)
        mask = mask if mask is None else images.resize_mask(mask, *size)
    return image, mask, limits


def cut(example, options):
    """Cut an image and its mask into overlapping tiles."""
    image, mask, limits = whole(example, options)
    size = options["tile_height"], options["tile_width"]
    pairs = tiles.cut(image, mask, *size, options["overlap"], options["margin"])
    return [
        {"image": image, "segmentation_mask": mask, "limits": limits, "block": i}
        for i, (image, mask) in enumerate(pairs)
    ]


def cover(example, options):
    """Cover an image with tiles whose predictions are combined into that of the image."""
    image, _, limits = whole(example, options)
    tile = {}
    if options["margin"] or options["fixed_size"]:
        tile = dict(tile=(options["tile_height"], options["tile_width"]), fixed=True)
    pieces = tiles.cover(image, options["margin"], **tile)
    return [{**piece, "limits": limits, "shape": image.shape[:2]} for piece in pieces]


def prepare(piece, info, options):
    """Return image (H, W, C) float32 from 0 to 1, and mask (H, W) int16, -1 is void."""
    x = images.scale(piece["image"], piece["limits"] or info["range"], info["channels"])
    mask = piece.get("segmentation_mask")
    return x, None if mask is None else mask.astype(np.int16)


LOSSES = {
    "dice_bce": lambda options: losses.DiceBCE(),
    "dice": lambda options: losses.Dice(),
    "bce": lambda options: losses.BinaryCrossEntropy(),
    "tversky": lambda options: losses.Tversky(options["alpha"], options["beta"]),
    "focal_tversky": lambda options: losses.Tversky(
        options["alpha"], options["beta"], options["gamma"], name="focal_tversky"
    ),
}


def loss(info, options):
    """Return the loss that the options name; raise `ValueError` for options it has not."""
    name, weights = options["loss"], info.get("class_weights")
    if name == "cross_entropy":
        return losses.CrossEntropy(options.get("label_smoothing", 0.0), weights)
    if weights or options.get("label_smoothing"):
        why = f"label_smoothing and class_weights are for cross_entropy, and the loss is {name}"
        raise ValueError(f"{why}: give --loss cross_entropy, or leave them out")
    return LOSSES[name](options)


def logged(info):
    """Return the metrics of the progress bar."""
    count = len(info["classes"])
    return [
        metrics.Accuracy(count, "accuracy"),
        metrics.DiceScore(count, "dice"),
        metrics.MeanIoU(count, "mean_iou"),
    ]


def decode(outputs, info):
    """Turn logits (B, H, W, K) into the label and the probability of each pixel."""
    results = []
    for shares, chosen in zip(probabilities(outputs), labels(outputs, info), strict=True):
        if shares.shape[-1] == 1:
            shares = np.concatenate([1 - shares, shares], axis=-1)
        results.append({"labels": chosen, "probability": np.max(shares, axis=-1)})
    return results


def present(example, pieces, outputs, info):
    """Return the table's row of one image (each class' share and parts), its mask and overlay.

    With a conformal quantile in `info`: the area that a class certainly and possibly has, and a
    picture of how many classes are possible at each pixel.
    """
    image = example["image"]
    shares = tiles.blend(pieces, map(probabilities, outputs), pieces[0]["shape"])
    if shares.shape[:2] != image.shape[:2]:
        shares = images.resize(shares, *image.shape[:2])
    if shares.shape[-1] == 1:
        predicted = shares[..., 0] > info.get("threshold", 0.5)
    else:
        predicted = np.argmax(shares, axis=-1)
    predicted = predicted.astype(np.uint8)
    colours, shown = painted(info["classes"])

    def mask(path):
        plots.save_mask(path, predicted, colours, shown)

    def overlay(path):
        limits = pieces[0]["limits"] or info["range"]
        x = images.scale(image, limits, image.shape[-1])
        plots.save_image(path, plots.overlay(x, predicted, colours, shown))

    row = {"height": image.shape[0], "width": image.shape[1]}
    if shares.shape[-1] == 1:
        shares = np.concatenate([1 - shares, shares], axis=-1)
    arrays = {"mask": predicted, "probabilities": shares.astype(np.float32)}
    for k, name in enumerate(info["classes"]):
        row |= {f"{name} {key}": value for key, value in region(predicted == k).items()}
    writers = {"_mask.png": mask, "_overlay.png": overlay}
    if "conformal" in info:
        inside = conformal.sets(shares, info["conformal"])
        sizes, arrays["sets"] = inside.sum(axis=-1), inside
        for k, name in enumerate(info["classes"]):
            certain = inside[..., k] & (sizes == 1)
            row[f"{name} area lower"], row[f"{name} area upper"] = (
                float(np.mean(part)) for part in (certain, inside[..., k])
            )
        writers["_sizes.png"] = lambda path: plots.save_sizes(path, sizes, len(info["classes"]))
    return {**row, "arrays": arrays}, writers


def region(inside):
    """Describe a region (H, W) of booleans: its share of the area, its connected parts."""
    from scipy.ndimage import label

    return {"area": float(np.mean(inside)), "parts": label(inside, np.ones((3, 3)))[1]}


TASK = Task(
    name="image_segmentation",
    dataset="dsb2018",
    options=dict(
        tile_height=256,  # pixels of a tile that is trained on; the data may suggest others
        tile_width=256,  # likewise
        overlap=32,  # pixels that neighbouring tiles share at least; 0: none
        margin=0,  # pixels that unpadded convolutions remove; 92 for unet with padding=valid
        fixed_size=False,  # the model takes tiles of this size only
        resolution=1.0,  # images are resized by this factor
        channels=0,  # 1 gray, 3 colour, or the number of bands; 0 as the data
        normalize="range",  # values by the "range" of the data set; "image": of each image's own
        classes="",  # names or indices of those chosen; other pixels become background, or void
        loss="dice_bce",
        label_smoothing=0.0,  # share of each target that is spread evenly over the classes
        class_weights="none",  # "none", or "balanced": a class counts inversely to its frequency
        alpha=0.3,  # weight of false positives, of tversky and focal_tversky
        beta=0.7,  # weight of false negatives, likewise
        gamma=0.75,  # exponent of focal_tversky
        fill="reflect",
        flip="horizontal_and_vertical",
        rotation=15.0,
        zoom=0.1,
        shift=0.05,
        shear=0.0,
        perspective=0.0,
        elastic=0.0,
        brightness=0.1,
        contrast=0.1,
        saturation=0.0,
        hue=0.0,
        color_jitter=0.0,
        channel_shift=0.0,
        blur=0.0,
        noise=0.0,
        erasing=0.0,
        cutout=0,
    ),
    data=Data(
        prepared=(
            "tile_height",
            "tile_width",
            "overlap",
            "margin",
            "resolution",
            "channels",
            "normalize",
        ),
        sizes=("tile_height", "tile_width", "overlap"),
        fields=("image", "segmentation_mask"),
        measure=images.measure,
        cut=cut,
        cover=cover,
        prepare=prepare,
    ),
    training=Training(
        defaults=dict(epochs=20, updates=500, batch_size=8, learning_rate=0.001, jit=False),
        losses=("dice_bce", "dice", "bce", "cross_entropy", "tversky", "focal_tversky"),
        best=("val_dice", "max"),
        arguments=arguments,
        augment=lambda info, options: images.augment(options),
        loss=loss,
        metrics=logged,
        preview=preview,
    ),
    results=Results(
        summarize=summarize,
        score=score,
        plot=plot,
    ),
    usage=Usage(
        views=images.views,
        decode=decode,
        present=present,
    ),
)
