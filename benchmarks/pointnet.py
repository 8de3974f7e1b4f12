"""PointNet beside a plain PyTorch PointNet of the same size, and its share of waiting for data.

    pip install ".[torch-bench]"
    python -m benchmarks.pointnet --out benchmarks/pointnet.json

Each contestant lives in a process of its own, because the thread pools of two frameworks in one
disturb each other. They are asked in turn, one at a time, so what else the machine does hits all
alike; the idle ones sleep. A step is what a user's program does: forward, loss with the
orthogonality term, backward and Adam, or prediction, with the batch in memory.
"""

import argparse
import concurrent.futures
import contextlib
import multiprocessing
import os
import pathlib
import shlex
import statistics
import sys
import time

import numpy as np

CLASSES = 40
EPOCH = (1700, 512)  # clouds and points of `lidar_objects` in training
CONTESTANTS = ("ours", "ours, jit", "torch, conv", "torch, linear", "torch.compile")
RIVALS = ("torch, conv", "torch, linear")
KINDS = ("training", "inference")


def main(arguments=None):
    """Run the command."""
    parser = argparse.ArgumentParser("benchmarks.pointnet", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--width", type=float, default=1.0, help="factor on the channel counts (1.0)")
    add("--points", type=int, default=1024, help="points a cloud (1024)")
    add("--batch-size", type=int, default=32, help="clouds a step (32)")
    add("--rounds", type=int, default=7, help="measurements of each contestant (7)")
    add("--seconds", type=float, default=1.5, help="of a measurement, at least (1.5)")
    add("--out", type=pathlib.Path, metavar="FILE.json", help="where the record is written")
    args = parser.parse_args(arguments)
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")  # of the workers too
    size = (args.batch_size, args.points, args.width)
    rounds = compare(CONTESTANTS, size, args.rounds, args.seconds)
    speeds = {
        name: {kind: statistics.median(values) for kind, values in kinds.items()}
        for name, kinds in rounds.items()
    }
    ratios = {kind: ratio(speeds, kind) for kind in KINDS}
    print(table(speeds, ratios))
    data = {}
    for width in (1.0, 0.5):
        with worker() as ask:
            data[f"width {width}"] = found = ask(waiting, width, *EPOCH)
        print(
            f"Data at width {width}: an epoch of {found['epoch']:.1f} s prepares its batches for "
            f"{found['preparing']:.2f} s, {found['share']:.1%} of it: at most that is waited"
        )
    if args.out:
        from zoo import runs

        words = sys.argv[1:] if arguments is None else arguments
        command = shlex.join(["python", "-m", "benchmarks.pointnet", *words])
        record = {"command": command, "clouds_per_second": speeds, "ratios": ratios, "data": data}
        runs.write_json(args.out, {**record, "rounds": rounds, **runs.environment()})


@contextlib.contextmanager
def worker():
    """Start a process that sleeps until it is asked: ask(function, *arguments)."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def compare(names, size, rounds, seconds):
    """Measure contestants in turn.

    Args:
        names: of CONTESTANTS; one that this machine cannot run is left out with a message.
        size: (clouds a batch, points a cloud, width).
        rounds: how many measurements of each.
        seconds: of one, at least.

    Returns:
        Clouds per second of each round: {name: {"training": [...], "inference": [...]}}.

    Raises:
        ValueError: if the contestants' numbers of parameters differ.
    """
    with contextlib.ExitStack() as stack:
        ask, parameters = {}, {}
        for name in names:
            ask[name] = stack.enter_context(worker())
            try:
                parameters[name] = ask[name](prepare, name, *size)
            except Exception as error:
                print(f"{name} does not run here: {str(error).splitlines()[0]}", file=sys.stderr)
                del ask[name]
        if len(set(parameters.values())) > 1:
            raise ValueError(f"networks of different sizes: {parameters}")
        found = {name: {kind: [] for kind in KINDS} for name in ask}
        for number in range(rounds):
            for kind in KINDS:
                for name in ask:
                    speed = ask[name](measure, kind, seconds)
                    found[name][kind].append(round(speed, 2))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


STEPS = {}  # what `measure` times, in a worker's process


def prepare(name, clouds, points, width):
    """Build a contestant in this process, warm it up, and return its number of parameters."""
    if name not in CONTESTANTS:
        raise ValueError(f"none of {', '.join(CONTESTANTS)}")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(clouds, points, 3)).astype(np.float32)
    y = rng.integers(CLASSES, size=clouds)
    if name.startswith("ours"):
        made = ours(x, y, width, jit="jit" in name)
    else:
        from benchmarks import torch_pointnet

        layout = "conv" if "conv" in name else "linear"
        made = torch_pointnet.steps(x, y, CLASSES, width, layout, compiled="compile" in name)
    parameters, *functions = made
    STEPS.update(zip(KINDS, functions, strict=True))
    for step in functions:
        step()
        step()
    return parameters


def ours(x, y, width, jit):
    """Make the zoo's PointNet; see `torch_pointnet.steps`."""
    import keras

    import zoo

    keras.utils.set_random_seed(0)
    model = zoo.create("pointnet", input_shape=x.shape[1:], num_classes=CLASSES, width=width)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.001), loss, jit_compile=jit)
    parameters = sum(int(np.prod(one.shape)) for one in model.trainable_variables)
    return parameters, lambda: model.train_on_batch(x, y), lambda: model.predict_on_batch(x)


def measure(kind, seconds):
    """Return clouds per second of this process' contestant."""
    step = STEPS[kind]
    clouds = len(STEPS["inference"]())
    step()
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        step()
        count += 1
    return clouds * count / passed


def ratio(speeds, kind):
    """Return the best of ours over the best of the plain rivals."""
    best = max(speeds[name][kind] for name in speeds if name.startswith("ours"))
    return round(best / max(speeds[name][kind] for name in RIVALS), 2)


def table(speeds, ratios):
    """Describe medians and ratios."""
    lines = [f"{'clouds per second':<20} {'training':>10} {'inference':>10}"]
    rows = [(name, [f"{kinds[kind]:.1f}" for kind in KINDS]) for name, kinds in speeds.items()]
    rows.append(("best / best plain", [f"{ratios[kind]:.2f} x" for kind in KINDS]))
    lines += [f"{name:<20} {one:>10} {two:>10}" for name, (one, two) in rows]
    return "\n".join(lines)


def waiting(width, clouds, points, jit=True):
    """Train one epoch as train.py does and time the making of its batches.

    Keras makes the next batch while the model works on this one, so the model waits for at most
    the share that is returned.
    """
    import keras

    import zoo
    from datasets import pipeline
    from zoo import tasks

    class Timed(pipeline.Batches):
        """Batches that know how long they took."""

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
    arrays = pipeline.Arrays(x, y, np.arange(clouds))
    size, augment = task.training["batch_size"], task.augment(task.options)
    batches = Timed(arrays, size, training=True, augment=augment)
    model = zoo.create("pointnet", input_shape=(points, 3), num_classes=10, width=width)
    adam = keras.optimizers.Adam(task.training["learning_rate"])
    model.compile(adam, task.loss(info), metrics=task.metrics(info), jit_compile=jit)
    model.fit(batches, shuffle=False, verbose=0)  # compiles
    batches.seconds, start = 0.0, time.perf_counter()
    model.fit(batches, shuffle=False, verbose=0)
    epoch, preparing = time.perf_counter() - start, batches.seconds
    found = {"epoch": epoch, "preparing": preparing, "share": preparing / epoch}
    return {key: round(value, 4) for key, value in found.items()}


if __name__ == "__main__":
    main()
