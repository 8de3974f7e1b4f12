"""Speed of PointNet, compared with a plain PyTorch PointNet, and the time spent on data loading.

    pip install ".[torch-bench]"
    python -m benchmarks.pointnet --out benchmarks/results/benchmark_pointnet.json

A step is what a user's program runs: forward, loss with the orthogonality term, backward and Adam,
or prediction, with the batch in memory.
"""

import time

import numpy as np

from benchmarks import contest
from zoo.system import terminal

CLASSES = 40
EPOCH = (1700, 512)  # training clouds of `lidar_objects`, and their points
IMPLEMENTATIONS = ("ours", "ours, jit", "torch, conv", "torch, linear", "torch.compile")
PAIRS = {
    kind: (kind, ("ours", "ours, jit"), ("torch, conv", "torch, linear")) for kind in contest.KINDS
}


def main(arguments=None):
    """Run the command."""
    parser = contest.settings("benchmarks.pointnet", __doc__, rounds=7, seconds=1.5)
    add = parser.add_argument
    add("--width", type=float, default=1.0, help="factor on the channel counts (1.0)")
    add("--points", type=int, default=1024, help="points per cloud (1024)")
    add("--batch-size", type=int, default=32, help="clouds per step (32)")
    args = parser.parse_args(arguments)
    size = (args.batch_size, args.points, args.width)
    names = contest.compiled(IMPLEMENTATIONS) if contest.on_gpu() else IMPLEMENTATIONS
    rounds = contest.compare(build, names, size, args.rounds, args.seconds)
    speeds = contest.medians(rounds)
    ratios = contest.ratios(speeds, PAIRS)
    print(contest.table("clouds", speeds, ratios))
    data = {}
    for width in () if contest.on_gpu() else (1.0, 0.5):
        with contest.worker() as submit:
            data[f"width {width}"] = times = submit(waiting, width, *EPOCH).result()
        print(
            f"Data at width {width}: batches take {times['preparing']:.2f} s of an epoch of "
            f"{times['epoch']:.1f} s, at most {times['share']:.1%} of it is spent waiting"
        )
    if args.out:
        record = {"batch_size": args.batch_size, "clouds_per_second": speeds, "ratios": ratios}
        record |= {"data": data, "rounds": rounds}
        contest.write(args.out, "benchmarks.pointnet", arguments, record)


def build(name, clouds, points, width):
    """Build an implementation, on a batch of `clouds` clouds; see `contest.compare`."""
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"none of {', '.join(IMPLEMENTATIONS)}")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(clouds, points, 3)).astype(np.float32)
    y = rng.integers(CLASSES, size=clouds)
    if name.startswith("ours"):
        terminal.import_keras()
        return ours(x, y, width, jit="jit" in name)
    from benchmarks import torch_pointnet

    layout = "conv" if "conv" in name else "linear"
    return torch_pointnet.steps(x, y, CLASSES, width, layout, compiled="compile" in name)


def ours(x, y, width, jit):
    """Build the zoo's PointNet; see `torch_pointnet.steps`."""
    import keras

    import zoo

    keras.utils.set_random_seed(0)
    model = zoo.create("pointnet", input_shape=x.shape[1:], num_classes=CLASSES, width=width)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.001), loss, jit_compile=jit)
    return contest.keras_steps(model, x, y)


def waiting(width, clouds, points, jit=True):
    """Train one epoch as train.py does and time the preparation of its batches.

    Keras prepares the next batch during the current step, so the returned share is an upper bound
    of the time that the model waits for data.
    """
    import keras

    import zoo
    from datasets import pipeline, splits
    from zoo import tasks

    class Timed(pipeline.Batches):
        """Batches that record the time of their preparation."""

        seconds = 0.0

        def __getitem__(self, i):
            start = time.perf_counter()
            batch = keras.tree.map_structure(np.asarray, super().__getitem__(i))
            self.seconds += time.perf_counter() - start
            return batch

    task, info = tasks.get("pointcloud_classification"), {"classes": [*"abcdefghij"]}
    rng = np.random.default_rng(0)
    x = rng.normal(size=(clouds, points, 3)).astype(np.float32)
    y = rng.integers(10, size=clouds).astype(np.int32)
    arrays = splits.Arrays(x, y, np.arange(clouds))
    size, augment = task.training.defaults["batch_size"], task.training.augment({}, task.options)
    batches = Timed(arrays, size, training=True, augment=augment)
    model = zoo.create("pointnet", input_shape=(points, 3), num_classes=10, width=width)
    adam = keras.optimizers.Adam(task.training.defaults["learning_rate"])
    model.compile(
        adam,
        task.training.loss(info, task.options),
        metrics=task.training.metrics(info),
        jit_compile=jit,
    )
    model.fit(batches, shuffle=False, verbose=0)  # compiles
    batches.seconds, start = 0.0, time.perf_counter()
    model.fit(batches, shuffle=False, verbose=0)
    epoch, preparing = time.perf_counter() - start, batches.seconds
    times = {"epoch": epoch, "preparing": preparing, "share": preparing / epoch}
    return {key: round(value, 4) for key, value in times.items()}


if __name__ == "__main__":
    main()
