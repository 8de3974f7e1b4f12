"""Encoders: the convolutions of a classifier, trained if wished, as the start of another network.

A classifier can be one if its file has `features(x, *, depth, width, batch_norm)`, from images to
a dictionary of feature maps by stride. `imagenet(x)` and `applications(depth)` beside it lead to
published weights.
"""

import inspect

from zoo import registry
from zoo.training.transfer import transfer
from zoo.weights import presets

IMAGENET = "imagenet"


def features(name):
    """Return the function `features` of the classifier called `name`.

    Raises:
        ValueError: if there is no such model, or its file has none; the message names who has.
    """
    return home(name).features


def prepared(image, name, weights):
    """Turn images (B, H, W, C) in [0, 1] into what the weights expect; zoo models expect just that.

    Raises:
        ValueError: if the weights are ImageNet's and there are none, or the images do not have 3
            channels.
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
    """Copy trained weights into an encoder: every one of them, or none.

    Args:
        model: a `keras.Model` that holds the layers of the encoder and no others.
        name: name of the encoder.
        weights: "imagenet", or what `zoo.load` takes for a classifier that was trained here.
        depth: the encoder's depth, if it is not the default.
        options: of `applications`, for weights of ImageNet.

    Returns:
        The model that the weights are from.

    Raises:
        ValueError: if there are no such weights, or they do not fit all layers.
    """
    if weights == IMAGENET:
        source = published(name, depth, options)
    else:
        source = presets.load(weights)
    unfit = transfer(source, model)[1]
    if unfit:
        raise ValueError(
            f"{weights}: {source.name} has no weight for {unfit[0]} of the encoder {name}, or one "
            "of another shape. Set depth, width, batch_norm and channels as it was trained with"
        )
    return source


def published(name, depth, options):
    """Return the model of `keras.applications`, or say in one line why it cannot be had."""
    arguments = {**options, **({"depth": depth} if depth else {})}
    try:
        return home(name).applications(**arguments)
    except ValueError:
        raise
    except Exception as error:  # of the network
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"the ImageNet weights of {name} cannot be fetched ({why})") from error


def home(name):
    """Return the module that builds the classifier called `name`, if it can be an encoder."""
    module = inspect.getmodule(registry.get(name).builder)
    if hasattr(module, "features"):
        return module
    models = registry.MODELS.values()
    able = sorted(m.name for m in models if hasattr(inspect.getmodule(m.builder), "features"))
    raise ValueError(f"{name} cannot be an encoder: it shows no features. {', '.join(able)} can")
