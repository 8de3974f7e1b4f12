"""Encoders: the convolutions of a classifier, optionally pretrained, as part of another network.

A classifier can be an encoder if its file has `features(x, *, width, ...)`, from images to a
dictionary of feature maps by stride. `imagenet(x)` and `applications(depth)` in the
same file give access to published weights.
"""

import inspect

from zoo import registry
from zoo.training.finetuning.transfer import transfer
from zoo.weights import presets

IMAGENET = "imagenet"


def features(name):
    """Return the function `features` of the classifier called `name`.

    It also takes `batch_norm` if the classifier always normalises, and raises a `ValueError` about
    other options that the classifier does not have.

    Raises:
        ValueError: if there is no such model, or it has no `features`; the message names the models
            that have.
    """
    function = home(name).features
    known = inspect.signature(function).parameters

    def apply(x, **options):
        options = {key: options[key] for key in options if key in known or key != "batch_norm"}
        if unknown := sorted(options.keys() - known.keys()):
            raise ValueError(f"the encoder {name} has no option {unknown[0]}: remove it")
        return function(x, **options)

    return apply


def prepared(image, name, weights):
    """Convert images (B, H, W, C) in [0, 1] to the input range of the weights.

    Raises:
        ValueError: if there are no ImageNet weights, or they are used with images that do not have
            3 channels.
    """
    if weights != IMAGENET:
        return image
    if not hasattr(home(name), "imagenet"):
        raise ValueError(f"there are no ImageNet weights of {name}: name a trained classifier")
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
    if weights == IMAGENET:
        source = published(name, depth, options)
    else:
        source = presets.load(weights)
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


def home(name):
    """Return the module that builds the classifier called `name`, if it can be an encoder."""
    module = inspect.getmodule(registry.get(name).builder)
    if has_features(module):
        return module
    models = registry.MODELS.values()
    able = sorted(m.name for m in models if has_features(inspect.getmodule(m.builder)))
    raise ValueError(f"{name} cannot be an encoder: it has no feature maps. {', '.join(able)} can")


def has_features(module):
    """Return whether a model's file defines `features`; importing another one's is not enough."""
    function = getattr(module, "features", None)
    return function is not None and inspect.getmodule(function) is module
