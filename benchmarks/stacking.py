"""Speed of stacking with cached predictions, and of inference with the combined model.

    python -m benchmarks.stacking --rounds 1 --out benchmarks/results/benchmark_stacking.json

Five U-Nets and the convolutional meta-learner. The naive method trains one model that contains the
frozen members; ours predicts once with each member and trains the meta-learner on the cached
predictions. Both start from the same files and end with the combined model in memory; batches,
initial weights and epochs are the same, so the final losses must agree. Each method runs in its own
process.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import numpy as np

from benchmarks import contest
from zoo.system import terminal

COUNT = 5
BATCH = 8


def main(arguments=None):
    """Run the command."""
    parser = argparse.ArgumentParser("benchmarks.stacking", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--width", type=float, default=0.5, help="factor on the U-Nets' channel counts (0.5)")
    add("--size", type=int, default=128, help="height and width of the images (128)")
    add("--images", type=int, default=24, help="number of images to fit the meta-learner to (24)")
    add("--epochs", type=int, default=20, help="epochs of the meta-learner (20)")
    add("--rounds", type=int, default=1, help="measurements of both methods, in turn (1)")
    add("--out", type=pathlib.Path, metavar="FILE.json", help="where the record is written")
    args = parser.parse_args(arguments)
    task = (args.size, args.images, args.epochs)
    with tempfile.TemporaryDirectory() as folder:
        with contest.worker() as submit:
            paths = submit(make, folder, args.width).result()
        rounds = {"naive": [], "ours": []}
        for number in range(args.rounds):
            for method in rounds:
                with contest.worker() as submit:
                    rounds[method].append(submit(stack, method, paths, *task).result())
                print(f"round {number + 1}, {method}: {rounds[method][-1]}", flush=True)
        speeds = []
        for onnx in (False, True):
            with contest.worker() as submit:
                speeds.append(submit(inference, paths, args.size, folder, onnx).result())
            print(speeds[-1], flush=True)
    seconds = {
        method: statistics.median(run["seconds"] for run in runs) for method, runs in rounds.items()
    }
    record = {
        "members": COUNT,
        "width": args.width,
        "size": args.size,
        "images": args.images,
        "epochs": args.epochs,
        "batch_size": BATCH,
        "rounds": rounds,
        "ratio": round(seconds["naive"] / seconds["ours"], 2),
        "loss_difference": max(
            abs(naive["loss"] - ours["loss"])
            for naive, ours in zip(rounds["naive"], rounds["ours"], strict=True)
        ),
        "inference": dict(zip(("keras", "onnx"), speeds, strict=True)),
    }
    print(f"ours is {record['ratio']} times as fast; losses differ by {record['loss_difference']}")
    if args.out:
        contest.write(args.out, "benchmarks.stacking", arguments, record)


def make(folder, width):
    """Save the members; return their paths."""
    keras = terminal.import_keras()

    import zoo
    from zoo import tasks
    from zoo.weights import saving

    paths = []
    for seed in range(COUNT):
        keras.utils.set_random_seed(seed)
        model = zoo.create("unet", input_shape=(None, None, 1), num_classes=1, width=width)
        record = {
            "task": "image_segmentation",
            "task_options": dict(tasks.get("image_segmentation").options),
            "info": {"classes": ["background", "thing"], "channels": 1, "range": [0.0, 255.0]},
        }
        paths.append(pathlib.Path(folder, f"unet_{seed}.keras"))
        saving.save(model, paths[-1], record)
    return paths


def examples(size, images):
    """Return smooth random images, and masks of their bright pixels."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    x = gaussian_filter(rng.normal(size=(images, size, size)), (0, 4, 4)).astype(np.float32)
    y = (x > 0.03).astype(np.int16)
    return (x / x.std() / 6 + 0.5)[..., None], y


def stack(method, paths, size, images, epochs):
    """Stack with one method; return its seconds and the final loss."""
    keras = terminal.import_keras()
    from ensembles.combining import combine, holdout, stacking
    from ensembles.members import cache, checks, opening

    x, y = examples(size, images)
    data = cache.Examples(x, y)
    began = time.perf_counter()
    opened = opening.open(paths)
    common = checks.check(opened)
    parts = holdout.split(data, y, common)
    settings = dict(epochs=epochs, batch_size=BATCH, verbose=0)
    keras.utils.set_random_seed(0)
    head = stacking.meta_learner("conv", [(None, None, 1)] * len(paths), common)
    if method == "naive":
        model = combine.build_model(opened, common, head)
        history, _ = stacking.fit(model, data.take, parts, common, **settings)
    else:
        with tempfile.TemporaryDirectory() as folder:
            outputs = cache.outputs(opened, common, data, folder=folder, batch_size=BATCH)
            take = combine.batch_function(outputs, y)
            history, _ = stacking.fit(head, take, parts, common, **settings)
        model = combine.build_model(opened, common, head)
    return {"seconds": round(time.perf_counter() - began, 2), "loss": history["loss"][-1]}


def inference(paths, size, folder, onnx, repeats=5):
    """Time the combined model and its members in turn; return medians and their ratio."""
    terminal.import_keras()
    from ensembles.combining import combine
    from ensembles.members import checks, opening
    from zoo.inference import export

    opened = opening.open(paths)
    common = checks.check(opened)
    x, _ = examples(size, BATCH)
    head = combine.mixture([(None, None, 1)] * len(paths))
    members = [member.load(common) for member in opened]
    combined = combine.build_model(opened, common, head, models=members)
    models = [combined, *members]
    if onnx:
        runs = []
        for number, model in enumerate(models):
            path = pathlib.Path(folder, f"{number}.onnx")
            export.export(model, path, "onnx")
            runs.append(export.run_onnx(path, model))
    else:
        runs = [model.predict_on_batch for model in models]
    times = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, seconds in zip(runs, times, strict=True):
            began = time.perf_counter()
            run(x)
            seconds.append(time.perf_counter() - began)
    medians = [statistics.median(seconds[1:]) for seconds in times]
    total = sum(medians[1:])
    numbers = {"joined": medians[0], "members": total, "ratio": medians[0] / total}
    return {key: round(value, 4) for key, value in numbers.items()}


if __name__ == "__main__":
    main()
