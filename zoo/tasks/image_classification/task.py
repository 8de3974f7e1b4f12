"""Image classification: what does this image show?

The data decide whether that is a class, several labels, or values, see `zoo.tasks.targets`.
"""

import numpy as np

from zoo import plots
from zoo.tasks import images, targets
from zoo.tasks.image_classification import mixing
from zoo.tasks.task import Data, Results, Task, Training, Usage

LARGEST = 224  # pixels a side, unless `image_size` asks for more


def measure(examples, options):
    """Return the channels, the range of values and the size of the data set's images."""
    if not 0 < options.get("crop", 1.0) <= 1:
        raise ValueError(f"crop is {options['crop']}, and must be above 0 and at most 1")
    sides = [min(example["image"].shape[:2]) for example in examples]
    return {**images.measure(examples, options), "image_size": min(int(np.median(sides)), LARGEST)}


def arguments(info, options):
    """Return what the data decides of the builder's arguments."""
    targets.loss(info, options)  # raises, before anything is built
    size, channels = options["image_size"], images.channels(info, options)
    return dict(input_shape=(size, size, channels), num_classes=targets.of(info).units(info))


def prepare(piece, info, options):
    """Return the middle square of the image, (S, S, C) float32 from 0 to 1, and its target."""
    image, size = piece["image"], options["image_size"]
    side = max(1, round(min(image.shape[:2]) * options.get("crop", 1.0)))
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    square = images.resize(square, size, size, options.get("interpolation", "bilinear"))
    limits = images.bits(image) or info["range"]
    x = images.scale(square, limits, info["channels"])
    return x, targets.of(info).label(piece["label"], info) if "label" in piece else None


def plot(x, y, outputs, info):
    """Draw a page of images, wrong predictions first, and the figures of the kind of target."""
    target = targets.of(info)
    panels = [(plots.rgb(x[i]), title, ink) for i, title, ink in target.shown(y, outputs, info, 16)]
    return {"examples": plots.images(panels), **target.figures(y, outputs, info)}


def preview(x, y, info):
    """Draw images as training sees them."""
    shown = zip(x[:12], targets.of(info).titles(y[:12], info), strict=True)
    return plots.images([(plots.rgb(image), title, plots.INK) for image, title in shown])


def present(example, pieces, outputs, info):
    """Return the table's row of one file, and its picture."""
    target = targets.of(info)
    result = target.decode(np.stack([*outputs]), info)[0]

    def picture(path):
        image = example["image"]
        limits = images.bits(image) or info["range"]
        title = target.caption(result, info)
        panel = (plots.rgb(images.scale(image, limits, image.shape[-1])), title, plots.INK)
        plots.save(plots.images([panel], size=5), path)

    return target.row(result, info), {".png": picture}


TASK = Task(
    name="image_classification",
    dataset="clothing",
    options=dict(
        image_size=0,  # pixels a side of the square that images are resized to; 0 as the data
        crop=1.0,  # share of the shorter side that the square of an image has
        interpolation="bilinear",  # "bilinear", "bicubic" or "nearest", of resized images
        channels=0,  # 1 gray, 3 colour, or the number of bands; 0 as the data
        classes="",  # names or indices of those chosen, separated by commas; all if empty
        loss="auto",  # as --loss; auto: cross_entropy of classes or labels, mse of values
        label_smoothing=0.0,  # share of each target that is spread evenly over the classes
        class_weights="none",  # "none", or "balanced": a class counts inversely to its frequency
        fill="reflect",  # outside a moved image: "reflect", "nearest", "wrap", or "constant" 0
        flip="horizontal",  # "none", "horizontal", "vertical" or "horizontal_and_vertical"
        rotation=10.0,  # degrees from 0 to 360, turned by up to so many either way
        zoom=0.1,  # share of the size by which images grow or shrink at most
        shift=0.05,  # share of the size by which images are moved at most
        shear=0.0,  # degrees from 0 to 45, sheared by up to so many
        perspective=0.0,  # share of a corner's way to the middle
        elastic=0.0,  # pixels by which images are bent (standard deviation)
        brightness=0.1,  # share of the range of values by which it changes at most
        contrast=0.1,  # share by which it changes at most
        saturation=0.0,  # share by which it changes at most; colour images only
        hue=0.0,  # share of the circle of colours by which it changes at most; colour images only
        color_jitter=0.0,  # share by which saturation and hue both change at most
        channel_shift=0.0,  # share of the range by which each channel is moved at most
        blur=0.0,  # share of the images that are blurred
        noise=0.0,  # standard deviation of Gaussian noise, share of the range of values
        erasing=0.0,  # share of the images in which a rectangle is erased
        cutout=0,  # pixels a side of a square of zeros in each image, below the image's; 0: none
        randaugment=0.0,  # strength from 0 to 1 of two changes drawn from eleven
        mixup=0.0,  # alpha of the beta distribution of shares of two images; 0: none
        cutmix=0.0,  # alpha of the shares of a rectangle of another image; 0: none
    ),
    data=Data(
        prepared=("image_size", "crop", "interpolation", "channels"),
        sizes=("image_size",),
        fields=("image", "label"),
        measure=measure,
        prepare=prepare,
    ),
    training=Training(
        arguments=arguments,
        losses=("auto", "cross_entropy", "one_vs_all", "mse", "mae", "huber"),
        loss=targets.loss,
        metrics=targets.metrics,
        augment=mixing.augment,
        preview=preview,
    ),
    results=Results(
        summarize=targets.summarize,
        score=targets.score,
        curves=targets.curves,
        plot=plot,
    ),
    usage=Usage(
        decode=targets.decode,
        views=images.views,
        present=present,
    ),
)
