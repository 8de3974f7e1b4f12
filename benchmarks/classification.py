"""Speed of image classifiers, compared with those of torchvision and of keras.applications.

    pip install ".[export,torch-bench]"
    python -m benchmarks.classification --out benchmarks/results/benchmark_classification.json

A step is what a user's program runs: forward, cross-entropy, backward and Adam, or prediction, with
the batch in memory. ResNet-50, MobileNetV2 and ViT-Ti/16 have the same layers everywhere, but for
biases of Keras' ResNet in front of batch normalisation, which have no effect and are not counted.
Inference of ours is that of Keras, and of the file that `python -m zoo export` writes.
"""

import math
import os

import numpy as np

from benchmarks import contest
from zoo.system import terminal

CLASSES = 1000
MODELS = {"resnet": {"depth": 50}, "mobilenet": {}, "vit": {"size": "Ti"}}
APPLICATIONS = {"resnet": "ResNet50", "mobilenet": "MobileNetV2"}  # there is no ViT
OURS = ("ours", "ours, jit", "ours, torch")  # the last one with KERAS_BACKEND=torch
KERAS, TORCH = ("keras", "keras, jit"), ("torch", "torch.compile")
EXPORTED = ("ours, onnx",)  # in float32
BEST = {"training": OURS, "inference": OURS + EXPORTED}
PAIRS = {
    **{kind: (kind, best, KERAS + TORCH) for kind, best in BEST.items()},
    **{f"{kind}, plain torch": (kind, best, TORCH[:1]) for kind, best in BEST.items()},
}


def main(arguments=None):
    """Run the command."""
    parser = contest.settings("benchmarks.classification", __doc__, rounds=5, seconds=3.0)
    add = parser.add_argument
    add("--model", choices=MODELS, help="the model (all in turn)")
    text = "float32, or bfloat16 (both in turn; bfloat16 only where the device computes it)"
    add("--precision", choices=contest.PRECISIONS, help=text)
    add("--size", type=int, default=224, help="height and width of the images (224)")
    add("--batch-size", type=int, default=8, help="images per step (8)")
    args = parser.parse_args(arguments)
    settings = []
    for model in [args.model] if args.model else MODELS:
        for kind in [args.precision] if args.precision else contest.precisions():
            names = [*OURS, *(EXPORTED if kind == "float32" and not contest.on_gpu() else ())]
            names += [*(KERAS if model in APPLICATIONS else ()), *TORCH]
            names = contest.compiled(names) if contest.on_gpu() else names
            task = (args.batch_size, args.size, model, kind)
            title = f"{model}, {kind}, {task[0]} images of {task[1]} x {task[1]} per step"
            setting = dict(zip(("batch_size", "size", "model", "precision"), task, strict=True))
            part = contest.measured(build, names, PAIRS, task, args, "images", title)
            settings.append(setting | part)
    if args.out:
        contest.write(args.out, "benchmarks.classification", arguments, {"settings": settings})


def build(name, images, size, model, kind):
    """Build an implementation, on `images` images of size x size; see `contest.compare`."""
    if name not in OURS + EXPORTED + KERAS + TORCH:
        raise ValueError(f"none of {', '.join(OURS + EXPORTED + KERAS + TORCH)}")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(images, size, size, 3)).astype(np.float32)
    y = rng.integers(CLASSES, size=images)
    if name in TORCH:
        from benchmarks import torch_classification

        options = dict(compiled="compile" in name, bfloat16=kind == "bfloat16")
        return torch_classification.steps(x, y, model, **options)
    if name == "ours, torch":  # must be set before Keras is imported
        os.environ["KERAS_BACKEND"] = "torch"
    keras = terminal.import_keras()
    keras.config.set_dtype_policy(contest.PRECISIONS[kind])
    if name in EXPORTED:
        return contest.onnx_steps(create(model, size), x)
    network = create(model, size) if name in OURS else stock(model, size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.001), loss, jit_compile="jit" in name)
    parameters, steps = contest.keras_steps(network, x, y)
    return parameters - (idle(network) if name in KERAS else 0), steps


def create(model, size):
    """Build the model that train.py builds for 1000 classes."""
    import keras

    import zoo

    keras.utils.set_random_seed(0)
    return zoo.create(model, (size, size, 3), CLASSES, **MODELS[model])


def stock(model, size):
    """Build the same network of keras.applications, without its softmax."""
    import keras

    keras.utils.set_random_seed(0)
    builder = getattr(keras.applications, APPLICATIONS[model])
    options = dict(input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None)
    return builder(weights=None, **options)


def idle(network):
    """Count the biases of convolutions, all of which have batch normalisation behind them."""
    import keras

    convs = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    return sum(math.prod(layer.bias.shape) for layer in convs if layer.use_bias)


if __name__ == "__main__":
    main()
