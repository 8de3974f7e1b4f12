"""Speed of tiny YOLOv3, compared with a plain PyTorch implementation of the same layers and loss.

    pip install ".[torch-bench]"
    python -m benchmarks.yolo --rounds 5 --out benchmarks/results/benchmark_yolo.json

A step is what a user's program runs: forward, YOLOv3's loss with the complete IoU, backward and
Adam, or prediction of raw outputs, with the batch in memory. Boxes are padded as by train.py.
"""

import numpy as np

from benchmarks import contest
from zoo.system import terminal

CLASSES = 80
BOXES, PLACES = 8, 100  # per image, about as in COCO; padded to train.py's `max_boxes`
WIDTHS = (0.5, 1.0)
IMPLEMENTATIONS = ("ours", "ours, jit", "torch", "torch.compile")
PAIRS = {kind: (kind, ("ours", "ours, jit"), ("torch",)) for kind in contest.KINDS}


def main(arguments=None):
    """Run the command."""
    parser = contest.settings("benchmarks.yolo", __doc__, rounds=5, seconds=2.0)
    add = parser.add_argument
    add("--width", type=float, help="factor on the channel counts (0.5 and 1.0 in turn)")
    add("--size", type=int, default=416, help="height and width of the images (416)")
    add("--batch-size", type=int, default=8, help="images per step (8)")
    args = parser.parse_args(arguments)
    widths = WIDTHS if args.width is None else (args.width,)
    tasks = [(args.batch_size, args.size, width) for width in widths]
    settings = [contest.on_images(build, IMPLEMENTATIONS, PAIRS, task, args) for task in tasks]
    if args.out:
        contest.write(args.out, "benchmarks.yolo", arguments, {"settings": settings})


def build(name, images, size, width):
    """Build an implementation, on `images` images of size x size; see `contest.compare`."""
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"none of {', '.join(IMPLEMENTATIONS)}")
    x, y = examples(images, size)
    if name.startswith("torch"):
        from benchmarks import torch_yolo

        return torch_yolo.steps(x, y, CLASSES, width, compiled="compile" in name)
    terminal.import_keras()
    return ours(x, y, width, jit="jit" in name)


def examples(images, size):
    """Return random images (B, S, S, 3) and boxes of all sizes (B, M, 7), float32."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(images, size, size, 3)).astype(np.float32)
    sides = size * 2 ** rng.uniform(-5, -0.5, size=(images, BOXES, 2))
    corner = rng.uniform(size=sides.shape) * (size - sides)
    y = np.zeros((images, PLACES, 7), np.float32)
    y[..., 4] = -1
    y[:, :BOXES, :4] = np.concatenate([corner, corner + sides], axis=-1)
    y[:, :BOXES, 4] = rng.integers(CLASSES, size=(images, BOXES))
    y[:, :BOXES, 5] = sides.prod(axis=-1)
    return x, y


def ours(x, y, width, jit):
    """Build the zoo's detector; see `contest.keras_steps`."""
    import keras

    from zoo.tasks.boxes import coding, losses

    model = create(x.shape[1], width)
    loss = losses.YOLOv3Loss(coding.grid(model), ciou=True)
    model.compile(keras.optimizers.Adam(0.001), loss, jit_compile=jit)
    return contest.keras_steps(model, x, y)


def create(size, width):
    """Build the model that train.py builds for the 80 classes of COCO."""
    import keras

    import zoo

    keras.utils.set_random_seed(0)
    return zoo.create("yolov3_tiny", (size, size, 3), CLASSES, width=width)


if __name__ == "__main__":
    main()
