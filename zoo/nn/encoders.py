"""Encoders: the convolutions of a classifier, optionally pretrained, as part of another network.

A classifier can be an encoder if its file has `features(x, *, width, ...)`, from images to a
dictionary of feature maps by stride. ImageNet's weights are those of a preset, or those
that `imagenet(x)` and `applications(depth)` in the same file give access to.
"""

import inspect

import keras

from zoo import registry
from zoo.nn.blocks import standardized
from zoo.training.finetuning.transfer import transfer
from zoo.weights import inspection, presets
from zoo.weights.published import cards

IMAGENET = "imagenet"


def features(name, weights=None):
    """Return the function `features` of the classifier called `name`.

    Options that are not given are those with which the weights were trained. It also takes
    `batch_norm` if the classifier always normalises, and a width of 1 if it has one width, and
    raises a `ValueError` about other options that the classifier does not have.

    Raises:
        ValueError: if there is no such model, or it has no `features`; the message names the models
            that have.
    """
    function = home(name).features
    known = inspect.signature(function).parameters

    def apply(x, **options):
        needless = {"batch_norm"} | ({"width"} if options.get("width") == 1 else set())
        options = {key: options[key] for key in options if key in known or key not in needless}
        if unknown := sorted(options.keys() - known.keys()):
            raise ValueError(f"the encoder {name} has no option {unknown[0]}: remove it")
        trained = recorded(name, weights, options.get("depth"))
        trained = {key: trained[key] for key in trained if key in known}
        return function(x, **{**trained, **options})

    return apply


def check_sizes(name, image, maps):
    """Raise a `ValueError` if maps do not lie on the image, as a decoder needs them to.

    Convolutions without padding, of LeNet for example, cut off edges.

    Args:
        name: of the classifier.
        image: (B, H, W, C) of a `keras.Input`.
        maps: its feature maps, a dictionary by stride.
    """
    sides = [side or 4 * max(maps) for side in image.shape[1:3]]
    for stride, x in maps.items():
        cells = x.shape[1:3]
        if None in cells:
            cells = keras.Model(image, x).compute_output_shape((1, *sides, image.shape[-1]))[1:3]
        if any(abs(n - side / stride) >= 1 for n, side in zip(cells, sides, strict=True)):
            raise ValueError(
                f"{name} has convolutions without padding: its map of stride {stride} does not lie "
                "on the image. Choose darknet, googlenet, mobilenet, resnet or vgg"
            )


def recorded(name, weights, depth=None):
    """Return the options of a trained classifier's builder, {} if there are no weights.

    Args:
        name: of the classifier.
        weights: as for `load_weights`.
        depth: of the classifier; None for its default.

    Raises:
        ValueError: if there are no such weights.
    """
    if not weights or (weights == IMAGENET and hasattr(home(name), "imagenet")):
        return {}
    path = presets.locate(cards.imagenet(name, depth) if weights == IMAGENET else weights)
    return inspection.record(path).get("options", {})


def prepared(image, name, weights, depth=None):
    """Convert images (B, H, W, C) in [0, 1] to the input range of the weights.

    Raises:
        ValueError: if there are no ImageNet weights, or they are used with images that do not have
            3 channels.
    """
    if weights != IMAGENET or not hasattr(home(name), "imagenet"):
        trained = recorded(name, weights, depth)
        return standardized(image, trained.get("pixel_mean"), trained.get("pixel_std"))
    if image.shape[-1] != 3:
        raise ValueError(
            f"the ImageNet weights of {name} need images of 3 channels, red, green and blue, "
            f"not of {image.shape[-1]}"
        )
    return home(name).imagenet(image)


def load_weights(model, name, weights, depth=None, **options):
    """Copy trained weights into an encoder: all of them, or none.

    Args:
        model: a `keras.Model` of the layers of the encoder only.
        name: name of the encoder.
        weights: "imagenet", or the source of a trained classifier of the zoo, see `zoo.load`.
        depth: the encoder's depth, if it is not the default.
        options: of `applications`, for ImageNet weights.

    Returns:
        The model that the weights come from.

    Raises:
        ValueError: if there are no such weights, or they do not fit all layers.
    """
    if weights == IMAGENET and hasattr(home(name), "imagenet"):
        source = published(name, depth, options)
    else:
        source = presets.load(cards.imagenet(name, depth) if weights == IMAGENET else weights)
    missing = transfer(source, model)[1]
    if missing:
        raise ValueError(
            f"{weights}: {source.name} has no weight for {missing[0]} of the encoder {name}, or "
            "one of another shape. Set depth, width, batch_norm and channels as in its training"
        )
    return source


def published(name, depth, options):
    """Return the model of `keras.applications`; raise a one-line error if that fails."""
    arguments = {**options, **({"depth": depth} if depth else {})}
    try:
        return home(name).applications(**arguments)
    except ValueError:
        raise
    except Exception as error:  # a network error
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"the ImageNet weights of {name} cannot be downloaded ({why})") from error


def home(name, others=()):
    """Return the module that builds the classifier called `name`, if it can be an encoder.

    Raises:
        ValueError: if it cannot; the message names those that can, and the others of the model.
    """
    registry.import_models()
    models = registry.MODELS.items()
    modules = {known: inspect.getmodule(model.builder) for known, model in models}
    able = sorted(known for known, module in modules.items() if has_features(module))
    if name in able:
        return modules[name]
    if name not in modules:
        raise ValueError(registry.unknown("encoder", name, [*others, *able]))
    raise ValueError(f"{name} cannot be an encoder: it has no feature maps. {', '.join(able)} can")


def has_features(module):
    """Return whether a model's file defines `features`; importing another one's is not enough."""
    function = getattr(module, "features", None)
    return function is not None and inspect.getmodule(function) is module
