"""Speed benchmarks: steps of several implementations, measured in turn; medians and records.

Each implementation has its own process, because the thread pools of two frameworks in one process
slow each other down. They are measured one at a time in alternating rounds, so that other load on
the machine affects all equally; idle processes sleep.

The CPU is measured, or a GPU if CUDA_VISIBLE_DEVICES names one, which Keras uses through JAX:

    CUDA_VISIBLE_DEVICES=0 KERAS_BACKEND=jax python -m benchmarks.classification --batch-size 128
"""

import argparse
import concurrent.futures
import contextlib
import functools
import math
import multiprocessing
import os
import pathlib
import shlex
import statistics
import sys
import tempfile
import time

from zoo.system import precision, terminal

KINDS = ("training", "inference")
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # Keras' names


def on_gpu():
    """Return whether a GPU is measured."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "-1") not in ("", "-1")


def compiled(names):
    """Return the implementations without ours and Keras' as JAX runs them without compilation.

    It then runs one operation after the other, as no user would.
    """
    return [name for name in names if name not in ("ours", "keras")]


def precisions(path="/proc/cpuinfo"):
    """Return the precisions in which the measured device computes; Linux lists the CPU's flags."""
    if on_gpu():
        native = (precision.gpu() or 0) >= precision.AMPERE
    else:
        native = precision.flags(path) & {*precision.BFLOAT16}
    return [*PRECISIONS] if native else ["float32"]


def keras_steps(model, x, y):
    """Return the number of trainable parameters of a compiled model, and a step of each kind."""
    from keras import ops

    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)  # on the device, as PyTorch's are
    model.optimizer.build(model.trainable_variables)  # or else the first step is traced twice
    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    return parameters, {
        "training": lambda: model.train_on_batch(x, y),
        "inference": lambda: model.predict_on_batch(x),
    }


def onnx_steps(model, x):
    """Return the number of trainable parameters, and inference as an ONNX file in ONNX Runtime."""
    from zoo.inference import export

    for weight in model.weights:
        if weight.path.endswith("bias"):
            weight.assign(weight + 0.1)  # the converter drops biases of 0, unlike trained ones
    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.onnx")
        export.export(model, path, "onnx")
        run = export.run_onnx(path, model)
    return parameters, {"inference": lambda: run(x)[0]}


def torch_steps(net, loss, x, y, compiled=False, threads=None, bfloat16=False):
    """Return the number of trainable parameters of a PyTorch model, and a step of each kind.

    Args:
        net: a module from images (B, C, H, W), or other inputs (B, ...), to outputs; images use the
            channels-last memory format.
        loss: function from outputs and y to a scalar.
        x: images (B, H, W, C), or other inputs, float32.
        y: targets, an array.
        compiled: whether to use torch.compile.
        threads: number of threads; the number of cores by default.
        bfloat16: whether to compute in bfloat16 where PyTorch's autocast does.
    """
    import torch

    device = torch_device(threads)
    x, y, net = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device), net.to(device)
    if x.ndim == 4:
        net = net.to(memory_format=torch.channels_last)
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    trainable = [weight for weight in net.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.001, fused=True)
    run = torch.compile(net) if compiled else net
    mixed = functools.partial(torch.autocast, device, torch.bfloat16, enabled=bfloat16)

    def training():
        net.train()
        optimizer.zero_grad(set_to_none=True)
        with mixed():
            value = loss(run(x), y)
        value.backward()
        optimizer.step()
        return value.item()

    def inference():
        net.eval()
        with torch.inference_mode(), mixed():
            return run(x).float().cpu().numpy()

    parameters = sum(weight.numel() for weight in trainable)
    return parameters, {"training": training, "inference": inference}


def torch_device(threads=None):
    """Return the name of the device that PyTorch is measured on, set up to be fast.

    Args:
        threads: number of threads on the CPU; the number of cores by default.
    """
    import torch

    torch.set_num_threads(threads or os.cpu_count())
    torch.set_float32_matmul_precision("high")  # TensorFloat-32 on a GPU, as XLA takes it
    torch.backends.cudnn.benchmark = True
    return "cuda" if on_gpu() else "cpu"


def settings(name, doc, rounds, seconds):
    """Return the argument parser of a benchmark, with the common options.

    Args:
        name: name of the module.
        doc: its docstring.
        rounds: default number of measurements.
        seconds: default minimum duration of a measurement.
    """
    parser = argparse.ArgumentParser(name, description=doc.split("\n")[0])
    add = parser.add_argument
    add(
        "--rounds", type=int, default=rounds, help=f"measurements of each implementation ({rounds})"
    )
    text = f"minimum duration of a measurement ({seconds})"
    add("--seconds", type=float, default=seconds, help=text)
    add("--out", type=pathlib.Path, metavar="FILE.json", help="where the record is written")
    return parser


@contextlib.contextmanager
def worker():
    """Start a worker process; yield its submit: submit(function, *arguments).result()."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # inherited by the worker, as all of these
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # workers share the memory
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool.submit


def compare(build, names, size, rounds, seconds):
    """Measure implementations in turn, after all have warmed up, in parallel on a CPU.

    Args:
        build: a function from a name and the numbers of `size` to an implementation's number of
            parameters and a dictionary of functions that run one step, by their kind in KINDS.
        names: of the implementations; those that cannot run on this machine are skipped with a
            message.
        size: of the task, as `build` takes it; the first number is the batch size.
        rounds: number of measurements of each.
        seconds: minimum duration of a measurement.

    Returns:
        Examples per second in each round: {name: {"training": [...], "inference": [...]}}.

    Raises:
        ValueError: if the implementations' numbers of parameters differ.
    """
    with contextlib.ExitStack() as stack:
        submit = {name: stack.enter_context(worker()) for name in names}
        started = {}
        for name in names:
            started[name] = submit[name](start, build, name, size)
            if on_gpu():  # one after the other: compilers time kernels on it, to choose among them
                concurrent.futures.wait([started[name]])
        parameters, speeds = {}, {}
        for name in names:
            try:
                parameters[name], kinds = started[name].result()
                speeds[name] = {kind: [] for kind in kinds}
            except Exception as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                print(f"{name} does not run here: {reason}", file=sys.stderr)
        if len(set(parameters.values())) > 1:
            raise ValueError(f"models of different sizes: {parameters}")
        for number in range(rounds):
            for kind in KINDS:
                for name in speeds:
                    if kind in speeds[name]:
                        speed = size[0] * submit[name](measure, kind, seconds).result()
                        speeds[name][kind].append(float(f"{speed:.4g}"))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return speeds


STEPS = {}  # the steps that `measure` times, in a worker process


def start(build, name, size):
    """Build and warm up an implementation in this process; return its parameter count and kinds."""
    parameters, steps = build(name, *size)
    for step in steps.values():
        step()
    STEPS.update(steps)
    return parameters, list(steps)


def measure(kind, seconds):
    """Return steps per second of this process's implementation.

    The first step warms up threads and caches, so it counts only if it takes at least as long as a
    measurement.
    """
    step, began = STEPS[kind], time.perf_counter()
    step()
    if (elapsed := time.perf_counter() - began) >= seconds:
        return 1 / elapsed
    began, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        step()
        count += 1
    return count / elapsed


def on_images(build, names, pairs, task, args):
    """Measure implementations on images of one size and print the table; return the record.

    Args:
        build: as of `compare`.
        names: as of `compare`.
        pairs: as of `ratios`.
        task: batch size, height and width of the images, and the factor on the channel counts.
        args: settings of the command: rounds and seconds, as of `compare`.
    """
    batch, size, width = task
    title = f"Width {width}, {batch} images of {size} x {size} per step"
    setting = {"width": width, "size": size, "batch_size": batch}
    return setting | measured(build, names, pairs, task, args, "images", title)


def measured(build, names, pairs, task, args, unit, title):
    """Measure implementations, print the table below a title; return medians, ratios and rounds.

    Args:
        build: as of `compare`.
        names: as of `compare`.
        pairs: as of `ratios`.
        task: `size` of `compare`.
        args: settings of the command: rounds and seconds, as of `compare`.
        unit: name of the examples, in the plural.
        title: of the table.
    """
    rounds = compare(build, names, task, args.rounds, args.seconds)
    speeds = medians(rounds)
    factors = ratios(speeds, pairs)
    print(title)
    print(table(unit, speeds, factors), end="\n\n", flush=True)
    return {f"{unit}_per_second": speeds, "ratios": factors, "rounds": rounds}


def medians(rounds):
    """Return the median over the rounds of each implementation and kind."""
    return {
        name: {kind: statistics.median(values) for kind, values in kinds.items()}
        for name, kinds in rounds.items()
    }


def ratios(speeds, pairs):
    """Return the speedups of the best of some implementations over the best of others.

    Args:
        speeds: medians.
        pairs: comparisons, {key: (kind, names, names of the baselines)}; omitted from the result if
            one side could not run.
    """
    factors = {}
    for key, (kind, *sides) in pairs.items():
        best = [
            max((speeds[name][kind] for name in names if name in speeds), default=0)
            for names in sides
        ]
        if all(best):
            factors[key] = round(best[0] / best[1], 2)
    return factors


def table(unit, speeds, ratios):
    """Return medians and ratios as text for the terminal."""
    rows = [(f"{unit} per second", *KINDS)]
    for name, kinds in speeds.items():
        rows.append((name, *(f"{kinds[kind]:.2f}" if kind in kinds else "" for kind in KINDS)))
    lines = [f"{name:<20} {training:>10} {inference:>10}" for name, training, inference in rows]
    return "\n".join([*lines, *(f"{key}: {value:.2f} x" for key, value in ratios.items())])


def write(path, module, arguments, record):
    """Write the record of a benchmark with the command, the versions and the machine."""
    terminal.import_keras()
    from zoo.training import runs

    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", module, *words])
    runs.write_json(path, {"command": command, **record, **runs.environment()})
