"""What the benchmarks share: contestants and their steps, measured in turn; medians and record.

Each contestant lives in a process of its own, because the thread pools of two frameworks in one
disturb each other. They are asked in turn, one at a time, so what else the machine does hits all
alike; the idle ones sleep.
"""

import argparse
import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import pathlib
import shlex
import statistics
import sys
import time

from zoo.system import terminal

KINDS = ("training", "inference")


def keras_steps(model, x, y):
    """Return how many parameters of a compiled model are trained, and one step of each kind."""
    parameters = sum(math.prod(one.shape) for one in model.trainable_variables)
    return parameters, {
        "training": lambda: model.train_on_batch(x, y),
        "inference": lambda: model.predict_on_batch(x),
    }


def torch_steps(net, loss, x, y, compiled=False, threads=None):
    """Return how many parameters of a PyTorch network are trained, and one step of each kind.

    Args:
        net: a module from images (B, C, H, W), or anything else (B, ...), to outputs; images get
            the channels last in memory.
        loss: function from outputs and y to a scalar.
        x: images (B, H, W, C), or anything else, float32.
        y: truth, an array.
        compiled: whether torch.compile builds the network.
        threads: how many it may use; all cores' unless given.
    """
    import torch

    torch.set_num_threads(threads or os.cpu_count())
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    if x.ndim == 4:
        net = net.to(memory_format=torch.channels_last)
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    trained = [one for one in net.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.001, fused=True)
    run = torch.compile(net) if compiled else net

    def training():
        net.train()
        optimizer.zero_grad(set_to_none=True)
        value = loss(run(x), y)
        value.backward()
        optimizer.step()
        return value.item()

    def inference():
        net.eval()
        with torch.inference_mode():
            return run(x).numpy()

    parameters = sum(one.numel() for one in trained)
    return parameters, {"training": training, "inference": inference}


def settings(name, doc, rounds, seconds):
    """Return the parser of a benchmark's command, with the settings that all have.

    Args:
        name: of the module.
        doc: its docstring.
        rounds: how many measurements there are unless it is set.
        seconds: how long one takes at least unless it is set.
    """
    parser = argparse.ArgumentParser(name, description=doc.split("\n")[0])
    add = parser.add_argument
    add("--rounds", type=int, default=rounds, help=f"measurements of each contestant ({rounds})")
    words = f"of a measurement, at least ({seconds})"
    add("--seconds", type=float, default=seconds, help=words)
    add("--out", type=pathlib.Path, metavar="FILE.json", help="where the record is written")
    return parser


@contextlib.contextmanager
def worker():
    """Start a process that sleeps until it is asked: submit(function, *arguments).result()."""
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")  # it inherits these
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool.submit


def compare(build, names, size, rounds, seconds):
    """Measure contestants in turn, after all have warmed up side by side.

    Args:
        build: a function from a name and the numbers of `size` to the contestant's number of
            parameters and a dictionary of functions that take one step, by their kind of KINDS.
        names: of the contestants; who cannot run on this machine is left out with a message.
        size: of the task, as `build` takes it; the first number is that of the examples a step.
        rounds: how many measurements of each.
        seconds: of one, at least.

    Returns:
        Examples per second of each round: {name: {"training": [...], "inference": [...]}}.

    Raises:
        ValueError: if the contestants' numbers of parameters differ.
    """
    with contextlib.ExitStack() as stack:
        submit = {name: stack.enter_context(worker()) for name in names}
        started = {name: submit[name](start, build, name, size) for name in names}
        parameters, found = {}, {}
        for name in names:
            try:
                parameters[name], kinds = started[name].result()
                found[name] = {kind: [] for kind in kinds}
            except Exception as error:
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"{name} does not run here: {why}", file=sys.stderr)
        if len(set(parameters.values())) > 1:
            raise ValueError(f"networks of different sizes: {parameters}")
        for number in range(rounds):
            for kind in KINDS:
                for name in found:
                    if kind in found[name]:
                        speed = size[0] * submit[name](measure, kind, seconds).result()
                        found[name][kind].append(float(f"{speed:.4g}"))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


STEPS = {}  # what `measure` times, in a worker's process


def start(build, name, size):
    """Build a contestant in this process, warm it up; return its parameters' number and kinds."""
    parameters, steps = build(name, *size)
    for step in steps.values():
        step()
    STEPS.update(steps)
    return parameters, list(steps)


def measure(kind, seconds):
    """Return steps per second of this process' contestant.

    The first step wakes threads and fills caches, so it counts only where it takes as long as the
    whole measurement should.
    """
    step, began = STEPS[kind], time.perf_counter()
    step()
    if (passed := time.perf_counter() - began) >= seconds:
        return 1 / passed
    began, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        step()
        count += 1
    return count / passed


def on_images(build, names, pairs, task, args):
    """Measure contestants on images of one size and print the table; return the record.

    Args:
        build: as of `compare`.
        names: as of `compare`.
        pairs: as of `ratios`.
        task: images a step, their height and width, and the factor on the channel counts.
        args: settings of the command: rounds and seconds, as of `compare`.
    """
    batch, size, width = task
    title = f"Width {width}, {batch} images of {size} x {size} a step"
    setting = {"width": width, "size": size, "batch_size": batch}
    return setting | measured(build, names, pairs, task, args, "images", title)


def measured(build, names, pairs, task, args, unit, title):
    """Measure contestants, print the table below a title; return medians, ratios and rounds.

    Args:
        build: as of `compare`.
        names: as of `compare`.
        pairs: as of `ratios`.
        task: `size` of `compare`.
        args: settings of the command: rounds and seconds, as of `compare`.
        unit: what is counted in a second, in the plural.
        title: of the table.
    """
    rounds = compare(build, names, task, args.rounds, args.seconds)
    speeds = medians(rounds)
    found = ratios(speeds, pairs)
    print(title)
    print(table(unit, speeds, found), end="\n\n", flush=True)
    return {f"{unit}_per_second": speeds, "ratios": found, "rounds": rounds}


def medians(rounds):
    """Return the median over the rounds of each contestant and kind."""
    return {
        name: {kind: statistics.median(values) for kind, values in kinds.items()}
        for name, kinds in rounds.items()
    }


def ratios(speeds, pairs):
    """Return how many times as fast as the best of some contestants the best of others is.

    Args:
        speeds: medians.
        pairs: what is compared, {key: (kind, names, names of the rivals)}; left out of the result
            where one side could not run.
    """
    found = {}
    for key, (kind, *sides) in pairs.items():
        best = [max((speeds[x][kind] for x in names if x in speeds), default=0) for names in sides]
        if all(best):
            found[key] = round(best[0] / best[1], 2)
    return found


def table(unit, speeds, ratios):
    """Describe medians and ratios for the terminal."""
    rows = [(f"{unit} per second", *KINDS)]
    for name, kinds in speeds.items():
        rows.append((name, *(f"{kinds[kind]:.2f}" if kind in kinds else "" for kind in KINDS)))
    lines = [f"{name:<20} {one:>10} {two:>10}" for name, one, two in rows]
    return "\n".join([*lines, *(f"{key}: {value:.2f} x" for key, value in ratios.items())])


def write(path, module, arguments, record):
    """Write the record of a benchmark with the command, the versions and the machine."""
    terminal.import_keras()
    from zoo.training import runs

    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", module, *words])
    runs.write_json(path, {"command": command, **record, **runs.environment()})
