"""Speed of U-Net and its ONNX export, compared with a plain PyTorch U-Net of the same size.

    pip install ".[export,torch-bench]"
    python -m benchmarks.unet --rounds 3 --out benchmarks/results/benchmark_unet.json

A step is what a user's program runs: forward, binary cross-entropy, backward and Adam, or
prediction, with the batch in memory. Ours is the model of train.py, for images of any size.
"""

import functools

import numpy as np

from benchmarks import contest
from zoo.system import terminal

SETTINGS = (  # width, size, images per step
    (0.25, 128, 8),
    (0.25, 256, 4),
    (1.0, 128, 4),
    (1.0, 256, 2),
)
IMPLEMENTATIONS = ("ours", "ours, jit", "ours, onnx", "torch", "torch.compile")
PAIRS = {
    **{kind: (kind, ("ours", "ours, jit"), ("torch",)) for kind in contest.KINDS},
    "onnx": ("inference", ("ours, onnx",), ("torch",)),
}


def main(arguments=None):
    """Run the command."""
    parser = contest.settings("benchmarks.unet", __doc__, rounds=3, seconds=0.5)
    add = parser.add_argument
    widths, sizes, _ = (sorted(set(values)) for values in zip(*SETTINGS, strict=True))
    add("--width", type=float, choices=widths, help="factor on the channel counts (all in turn)")
    add("--size", type=int, choices=sizes, help="height and width of the images (all in turn)")
    add("--batch-size", type=int, help="images per step (8, 4, 4 and 2)")
    add("--precision", choices=contest.PRECISIONS, default="float32", help="(float32)")
    args = parser.parse_args(arguments)
    tasks = [
        (args.batch_size or batch, size, width)
        for width, size, batch in SETTINGS
        if args.width in (None, width) and args.size in (None, size)
    ]
    names, make = IMPLEMENTATIONS, functools.partial(build, precision=args.precision)
    if args.precision != "float32" or contest.on_gpu():  # the exported file computes in float32
        names = [name for name in names if "onnx" not in name]
    if contest.on_gpu():
        names = contest.compiled(names)
    settings = [contest.on_images(make, names, PAIRS, task, args) for task in tasks]
    settings = [{**setting, "precision": args.precision} for setting in settings]
    if args.out:
        contest.write(args.out, "benchmarks.unet", arguments, {"settings": settings})


def build(name, images, size, width, precision="float32"):
    """Build an implementation, on `images` images of size x size; see `contest.compare`."""
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"none of {', '.join(IMPLEMENTATIONS)}")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(images, size, size, 1)).astype(np.float32)
    y = rng.integers(2, size=(images, size, size), dtype=np.int32)
    if name.startswith("torch"):
        from benchmarks import torch_unet

        options = dict(compiled="compile" in name, bfloat16=precision == "bfloat16")
        return torch_unet.steps(x, y, width, **options)
    terminal.import_keras().config.set_dtype_policy(contest.PRECISIONS[precision])
    if "onnx" in name:
        return contest.onnx_steps(create(width), x)
    return ours(x, y, width, jit="jit" in name)


def ours(x, y, width, jit):
    """Build the zoo's U-Net; see `contest.keras_steps`."""
    import keras

    from zoo.nn import losses

    model = create(width)
    model.compile(keras.optimizers.Adam(0.001), losses.BinaryCrossEntropy(), jit_compile=jit)
    return contest.keras_steps(model, x, y)


def create(width):
    """Build the model that train.py builds for grayscale images and two classes."""
    import keras

    import zoo

    keras.utils.set_random_seed(0)
    return zoo.create("unet", input_shape=(None, None, 1), num_classes=1, width=width)


if __name__ == "__main__":
    main()
