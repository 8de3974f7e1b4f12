"""Scores and speed of a trained model in float32 and in mixed bfloat16, in one run.

python -m benchmarks.precision MODEL --out benchmarks/results/benchmark_precision_MODEL.json
"""

import argparse
import pathlib

from benchmarks import contest
from zoo.system import terminal

POLICIES = ("float32", "mixed_bfloat16")


def main(arguments=None):
    """Run the command."""
    parser = argparse.ArgumentParser("benchmarks.precision", description=__doc__.split("\n")[0])
    parser.add_argument("model", metavar="MODEL", help="preset, run folder or .keras file")
    text = "where the record is written"
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE.json", help=text)
    args = parser.parse_args(arguments)
    rows = measured(args.model)
    from zoo.inference import quantization  # it imports Keras, which `measured` prepares

    print(quantization.table(rows))
    if args.out:
        contest.write(args.out, "benchmarks.precision", arguments, {"rows": rows})


def measured(source):
    """Return the rows of `zoo.inference.quantization.measure` of a model in both precisions.

    Args:
        source: a preset, run folder or file, whose data are at hand.
    """
    terminal.import_keras()
    from datasets import recorded
    from zoo import tasks
    from zoo.inference import quantization, rebuilding, stored_example
    from zoo.weights import presets, saving

    path = presets.locate(source)
    model, record = saving.load(path), saving.record(path)
    arrays = stored_example.prepared(record, recorded.prepare).splits["test"]
    models = {p: rebuilding.in_precision(model, record, path, p) for p in POLICIES}
    runs = {p: lambda x, m=built: [m.predict_on_batch(x)] for p, built in models.items()}
    sizes = dict.fromkeys(POLICIES, path.stat().st_size)  # the file holds float32 in both cases
    return quantization.measure(model, runs, sizes, tasks.of(record), record["info"], arrays)


if __name__ == "__main__":
    main()
