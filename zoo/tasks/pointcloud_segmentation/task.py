"""Point cloud segmentation: what does each point of this scan belong to?"""

import numpy as np

from zoo import plots
from zoo.nn import metrics
from zoo.tasks import clouds
from zoo.tasks.targets import conformal, report
from zoo.tasks.task import Data, Results, Task, Training, Usage


def arguments(info, options):
    """Return what the data decides of the builder's arguments."""
    return dict(
        input_shape=(options["points"], 3),
        num_classes=len(info["classes"]),
        num_objects=options["num_objects"],
    )


def measure(examples, options):
    """Return the radius in metres of the data set's blocks, the constant they are divided by."""
    pieces = [piece for example in examples for piece in cut(example, options)]
    settled = [clouds.settle(piece["points"], options["ground"]) for piece in pieces]
    return {"radius": clouds.radius(settled)}


def cut(example, options):
    """Split a scan into pieces of at most `points` points, each point in one of them.

    With `block` above 0 the scan is first cut into square columns of that many metres (Qi et al.
    2017, Sec. 5.1, use 1 m indoors). "index" holds the indices of a piece's points in the scan,
    "block" that of its column.
    """
    points = example["points"]
    blocks = np.zeros(len(points), np.int64)
    if options["block"]:
        cells = np.floor((points[:, :2] - points[:, :2].min(axis=0)) / options["block"])
        blocks = np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.random.default_rng(0).permutation(len(points))
    order = order[np.argsort(blocks[order], kind="stable")]
    pieces = []
    for block in np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1):
        for index in np.array_split(block, -(-len(block) // options["points"])):
            piece = {"points": points[index], "index": index, "block": int(blocks[index[0]])}
            if "labels" in example:
                piece["labels"] = example["labels"][index]
            if "object" in example:
                piece["object"] = example["object"]
            pieces.append(piece)
    return pieces


def prepare(piece, info, options):
    """Return points (N, 3) float32, normalised, and labels (N,); repeated points are void, -1.

    With `num_objects` x is a dictionary of "points" and "object", the kind of the object.
    """
    count = options["points"]
    chosen = clouds.sample(piece["points"], count, options["sampling"])
    if len(piece["points"]) <= count:
        chosen = np.concatenate([np.arange(len(piece["points"])), chosen[len(piece["points"]) :]])
    x = clouds.normalize(
        clouds.settle(piece["points"], options["ground"]), info, options["normalize"]
    )[chosen]
    if options["num_objects"]:
        if "object" not in piece:
            raise ValueError("num_objects is set, and the data lack the kind of each object")
        x = {"points": x, "object": np.int32(piece["object"])}
    if "labels" not in piece:
        return x, None
    y = piece["labels"][chosen].astype(np.int32)
    y[len(piece["points"]) :] = -1
    return x, y


def logged(info):
    """Return the metrics of the progress bar."""
    count = len(info["classes"])
    return [
        metrics.Accuracy(count, "accuracy"),
        metrics.MeanClassAccuracy(count, "mean_class_accuracy"),
        metrics.MeanIoU(count, "mean_iou"),
    ]


def decode(outputs, info):
    """Turn logits (B, N, K) into the label and the probability of each point."""
    probabilities = report.softmax(outputs)
    return [
        {"labels": np.argmax(piece, axis=-1), "probability": np.max(piece, axis=-1)}
        for piece in probabilities
    ]


def plot(x, y, outputs, info):
    """Draw pieces, ground truth and prediction side by side."""
    predicted = np.argmax(outputs, axis=-1)
    x = x["points"] if isinstance(x, dict) else x
    colours = plots.palette(len(info["classes"]))
    panels = []
    for i in np.random.default_rng(0).permutation(len(x))[:4]:
        known = y[i] >= 0
        iou = report.mean_iou(report.confusion(y[i], predicted[i], len(info["classes"])))
        score = f"prediction, mean IoU {iou:.3f}"
        for labels, title in [(y[i], "ground truth"), (predicted[i], score)]:
            panels.append((x[i][known], colours[labels[known]], title, plots.INK))
    legend = list(zip(info["classes"], colours, strict=True))
    return {"examples": plots.clouds(panels, legend, columns=2, size=5.0)}


def preview(x, y, info):
    """Draw pieces as training sees them, coloured by label."""
    x = x["points"] if isinstance(x, dict) else x
    colours, panels = plots.palette(len(info["classes"])), []
    for points, labels in zip(x[:4], y[:4], strict=True):
        panels.append((points[labels >= 0], colours[labels[labels >= 0]], "", plots.INK))
    legend = list(zip(info["classes"], colours, strict=True))
    return plots.clouds(panels, legend, columns=2, size=5.0)


def present(example, pieces, outputs, info):
    """Return the table's row of one scan (the share of each class), its .ply and its picture.

    A survey whose classes have codes becomes a .las or .laz file as it was, instead of a .ply.
    """
    points = np.asarray(example["points"])
    probabilities = np.zeros((len(points), len(info["classes"])), np.float32)
    for piece, logits in zip(pieces, outputs, strict=True):
        probabilities[piece["index"]] = report.softmax(logits[: len(piece["index"])])
    labels = np.argmax(probabilities, axis=-1).astype(np.int32)
    shares = np.bincount(labels, minlength=len(info["classes"])) / len(labels)
    colours = plots.palette(len(info["classes"]))

    def picture(path):
        seen = np.random.default_rng(0).permutation(len(points))[:40_000]
        legend = list(zip(info["classes"], colours, strict=True))
        panel = (points[seen], colours[labels[seen]], "", plots.INK)
        plots.save(plots.clouds([panel], legend, size=9), path)

    row = {"points": len(points), **dict(zip(info["classes"], shares.tolist(), strict=True))}
    row["arrays"] = {"labels": labels, "probabilities": probabilities}
    if "conformal" in info:
        inside = conformal.sets(probabilities, info["conformal"])
        row |= {"certain points": float(np.mean(inside.sum(axis=-1) == 1))}
        row["arrays"]["sets"] = inside

    def scan(path):
        offset = example.get("offset", np.zeros(3))
        clouds.write_ply(path, points, labels, colours[labels], offset)

    copies = example["labelled"](labels, info["classes"]) if "labelled" in example else {}
    return row, {**(copies or {".ply": scan}), ".png": picture}


TASK = Task(
    name="pointcloud_segmentation",
    dataset="lidar_scenes",
    options=dict(
        points=4096,  # of a block or scan, sampled
        block=0.0,  # metres a side of the squares that scans are cut into; 0 leaves scans whole
        classes="",  # names or indices of those chosen; other points become background, or void
        loss="cross_entropy",
        label_smoothing=0.0,
        class_weights="none",
        num_objects=0,  # above 0: parts of objects whose kind is known, a second input
        sampling="random",
        normalize="dataset",
        ground="lowest",
        rotate=True,
        jitter=0.002,
        scale=0.1,
        point_dropout=0.3,
    ),
    data=Data(
        prepared=("points", "sampling", "normalize", "ground", "block", "num_objects"),
        fields=("points", "labels"),
        measure=measure,
        cut=cut,
        prepare=prepare,
    ),
    training=Training(
        defaults=dict(epochs=20, updates=800, batch_size=8, learning_rate=0.001, jit=True),
        best=("val_mean_iou", "max"),
        arguments=arguments,
        augment=lambda info, options: clouds.augment(options),
        metrics=logged,
        preview=preview,
    ),
    results=Results(
        score=report.score_iou,
        plot=plot,
    ),
    usage=Usage(
        views=clouds.views,
        decode=decode,
        present=present,
    ),
)
