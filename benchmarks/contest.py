"""What the benchmarks share: contestants measured in turn, their medians, ratios and record.

Each contestant lives in a process of its own, because the thread pools of two frameworks in one
disturb each other. They are asked in turn, one at a time, so what else the machine does hits all
alike; the idle ones sleep.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import shlex
import statistics
import sys
import time

from zoo import terminal

KINDS = ("training", "inference")


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
    from zoo import runs

    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", module, *words])
    runs.write_json(path, {"command": command, **record, **runs.environment()})
