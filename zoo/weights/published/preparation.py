"""How the authors of published weights prepare images: size, crop, interpolation, mean, deviation.

A folder of the Hugging Face hub has a config.json of timm beside `model.safetensors`, which states
it. Otherwise it is what is usual for the model, as torchvision and timm have it.
"""

import pathlib

from zoo import index
from zoo.weights import records

TASK = "image_classification"
CONFIG = "config.json"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of its channels
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # from -1 to 1
USUAL = {"mean": IMAGENET[0], "std": IMAGENET[1], "crop_pct": 0.875, "interpolation": "bilinear"}
OF_MODEL = {
    "googlenet": {"mean": HALVES[0], "std": HALVES[1]},
    "vit": {"mean": HALVES[0], "std": HALVES[1], "crop_pct": 0.9, "interpolation": "bicubic"},
}
TIMM_MOBILENET = "conv_stem.weight"  # name of an array that torchvision's MobileNetV2 lacks
SIZE = 224


def of(name, path, arrays, size=SIZE):
    """Return how the images of a file's weights are prepared.

    Args:
        name: of the model.
        path: of the file.
        arrays: in the file, by name.
        size: pixels a side, if no config.json is beside the file.

    Returns:
        (options, task_options, names): of the builder, pixel_mean and pixel_std; of the task;
        and the names of the classes, None if they are not stated.

    Raises:
        ValueError: if an entry of the config.json has another type, or is not supported.
    """
    config = read_config(pathlib.Path(path))
    stated = {key: value for key, value in config.items() if value is not None}
    for key in ("input_size", "crop_pct"):  # timm's test settings are for larger images
        stated[key] = stated.get(f"test_{key}", stated.get(key))
        if stated[key] is None:
            del stated[key]
    usual = {**USUAL, **OF_MODEL.get(name, {}), "input_size": [3, size, size]}
    if TIMM_MOBILENET in arrays:
        usual["interpolation"] = "bicubic"
    entries = {**usual, **stated}
    task_options = {
        "image_size": entries["input_size"][-1],
        "crop": entries["crop_pct"],
        "interpolation": entries["interpolation"],
    }
    options = {"pixel_mean": [*entries["mean"]], "pixel_std": [*entries["std"]]}
    return options, task_options, stated.get("label_names")


def read_config(path):
    """Return the entries of timm's config.json beside a `.safetensors`, {} if there is none."""
    beside = path.with_name(CONFIG)
    if path.suffix.lower() != ".safetensors" or not beside.is_file():
        return {}
    content = records.read_json(beside)
    inner = content.get("pretrained_cfg")
    config = {**content, **inner} if isinstance(inner, dict) else {}
    task = index.tasks()[TASK]
    methods = index.choices(task["options"]["interpolation"], task["explanations"]["interpolation"])
    checks = {
        **dict.fromkeys(("mean", "std"), is_colour),
        **dict.fromkeys(("crop_pct", "test_crop_pct"), is_share),
        **dict.fromkeys(("input_size", "test_input_size"), is_size),
        "interpolation": lambda value: value in methods,
        "label_names": records.is_names,
    }
    for key, is_valid in checks.items():
        if config.get(key) is not None and not is_valid(config[key]):
            why = f"its {key} is {records.shown(config[key])}, which is not supported"
            raise records.trouble(beside, why, "Correct it, or move the weights to another folder")
    return {key: config[key] for key in checks if key in config}


def is_colour(value):
    """Return whether a value is three numbers."""
    return records.is_numbers(value) and len(value) == 3


def is_share(value):
    """Return whether a value is a number above 0, up to 1."""
    return records.is_number(value) and 0 < value <= 1


def is_size(value):
    """Return whether a value is channels, height and width of a square of colour."""
    counts = isinstance(value, list) and len(value) == 3 and all(map(records.is_count, value))
    return counts and value[0] == 3 and value[1] == value[2] <= records.MOST_PIXELS
