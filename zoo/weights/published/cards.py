"""Presets whose weights others publish: the card has address and hash, and no file is here.

The file is downloaded into Keras' cache when it is first used, where keras.applications keeps it,
too; it is converted once, and the model of the zoo is kept beside it.
"""

import hashlib
import json
import os
import pathlib

from zoo import index
from zoo.weights.records import trouble

FOLDERS = {"downloaded": "models", "converted": "zoo"}  # in Keras' cache


def located(name, card):
    """Return the path of a preset's model, a `.keras` file, downloaded and converted if needed.

    Args:
        name: of the preset.
        card: its card, with "published": "url" and, if known, "md5" of the file, and "classes",
            likewise of a JSON object of names by the number of the class.

    Raises:
        ValueError: if a file cannot be downloaded, has another hash, or does not fit the model.
    """
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()
    home = pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    path = home / FOLDERS["converted"] / f"{name}-{digest[:12]}.keras"
    if path.is_file():
        return path
    from zoo.weights import saving
    from zoo.weights.published import converter

    file, labels = (download(name, card["published"][key]) for key in ("weights", "classes"))
    model, record = converter.read(file, card["model"], card["options"], classes=names(labels))
    path.parent.mkdir(parents=True, exist_ok=True)
    saving.save(model, path, {**record, "data": card["data"]})
    return path


def imagenet(model, depth=None):
    """Return the name of the preset with ImageNet's weights of a model, of ResNet's version 1.

    Args:
        model: its name.
        depth: of the model; None for its default.

    Raises:
        ValueError: if there is none.
    """
    defaults = {"version": 1, **index.models()[model].options}
    wanted = {"depth": depth or defaults.get("depth"), "version": 1}
    for name, card in index.presets().items():
        options = {**defaults, **card.get("options", {})}
        own = {key: options.get(key) for key in wanted}
        if "published" in card and card["model"] == model and own == wanted:
            return name
    raise ValueError(f"there are no ImageNet weights of {model}: name a trained classifier")


def download(name, entry):
    """Return the path of a file in Keras' cache, downloaded if it is not there."""
    import keras

    file = entry["url"].rpartition("/")[2]
    settings = dict(cache_subdir=FOLDERS["downloaded"], file_hash=entry.get("md5"))
    try:
        return pathlib.Path(keras.utils.get_file(file, entry["url"], **settings))
    except Exception as error:  # a network error, or a wrong hash
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise trouble(
            entry["url"],
            f"preset {name} cannot be downloaded ({why})",
            "Check the network, or put the file into the folder models of Keras' cache",
        ) from error


def listed(path):
    """Return the names of classes in a text, one a line, or in a class index of Keras."""
    if path.suffix == ".json":
        return names(path)
    return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def names(path):
    """Return the names of classes in a class index of Keras: {"0": ["n01440764", "tench"], ...}."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [str(entries[str(i)][1]) for i in range(len(entries))]
    except (ValueError, LookupError, TypeError) as error:
        raise trouble(path, "it is no index of classes", "Delete it, and try again") from error
