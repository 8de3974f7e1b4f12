"""Speed of the BiLSTM, compared with PyTorch's LSTM of the same size and Keras's own LSTM.

    pip install ".[torch-bench,jax]"
    python -m benchmarks.bilstm --rounds 7 --seconds 1 --out FILE.json

The model has the zoo's defaults, 2 layers of 16 units per direction on windows of 100 steps. A
step is what a user's program runs: forward, squared error, backward and Adam, or prediction, with
the batch in memory. PyTorch is also measured on one thread, which is sometimes faster.
"""

import os

import numpy as np

from benchmarks import contest
from zoo.system import terminal

UNITS, LAYERS, DROPOUT = 16, 2, 0.2
BATCHES = (32, 128)
OURS = {"ours": "tensorflow", "ours, jax": "jax"}
STOCK = {"keras": None, "keras, jit": True}  # `jit_compile`; None is Keras's default
TORCH = {"torch": None, "torch, one thread": 1}
IMPLEMENTATIONS = (*OURS, *STOCK, *TORCH)
PAIRS = {kind: (kind, tuple(OURS), tuple(TORCH)) for kind in contest.KINDS}


def main(arguments=None):
    """Run the command."""
    parser = contest.settings("benchmarks.bilstm", __doc__, rounds=5, seconds=2.0)
    add = parser.add_argument
    add("--batch-size", type=int, help="series per step (32 and 128 in turn)")
    add("--length", type=int, default=100, help="time steps of a series (100)")
    args = parser.parse_args(arguments)
    batches = BATCHES if args.batch_size is None else (args.batch_size,)
    settings = [on_series((batch, args.length), args) for batch in batches]
    if args.out:
        contest.write(args.out, "benchmarks.bilstm", arguments, {"settings": settings})


def on_series(task, args):
    """Measure the implementations on a number of series of one length; return the record."""
    batch, length = task
    title = f"{batch} series of {length} values per step"
    record = contest.measured(build, IMPLEMENTATIONS, PAIRS, task, args, "series", title)
    return {"length": length, "batch_size": batch} | record


def build(name, series, length):
    """Build an implementation, on a batch of `series` series of a length; see `contest.compare`."""
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"none of {', '.join(IMPLEMENTATIONS)}")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(series, length, 1)).astype(np.float32)
    y = rng.normal(size=(series, 1, 1)).astype(np.float32)
    if name in TORCH:
        from benchmarks import torch_bilstm

        return torch_bilstm.steps(x, y, UNITS, LAYERS, DROPOUT, threads=TORCH[name])
    if name in OURS:  # must be set before Keras is imported
        os.environ["KERAS_BACKEND"] = OURS[name]
    terminal.import_keras()
    return ours(x, y, jit=STOCK.get(name, True), stock=name in STOCK)


def ours(x, y, jit, stock=False):
    """Build the zoo's model, or the same model of Keras LSTM layers; see `contest.keras_steps`."""
    import keras

    import zoo
    from zoo.inference import export

    keras.utils.set_random_seed(0)
    sizes = dict(units=UNITS, layers=LAYERS, dropout=DROPOUT)
    model = zoo.create("bilstm", x.shape[1:], y.shape[1:], **sizes)
    if stock:
        model = export.portable(model)
    model.compile(keras.optimizers.Adam(0.001), "mse", jit_compile="auto" if jit is None else jit)
    return contest.keras_steps(model, x, y)


if __name__ == "__main__":
    main()
