"""Point cloud classification: what is this object?"""

import numpy as np

from zoo import plots
from zoo.tasks import clouds
from zoo.tasks.targets import report
from zoo.tasks.task import Data, Results, Task, Training, Usage


def arguments(info, options):
    """Return what the data decides of the builder's arguments."""
    return dict(input_shape=(options["points"], 3), num_classes=len(info["classes"]))


def measure(examples, options):
    """Return the data set's radius in metres, the constant that its clouds are divided by."""
    settled = [clouds.settle(example["points"], options["ground"]) for example in examples]
    return {"radius": clouds.radius(settled)}


def prepare(piece, info, options):
    """Return points (N, 3) float32, settled and normalised, and the label."""
    points = np.asarray(piece["points"], np.float32)[:, :3]
    chosen = clouds.sample(points, options["points"], options["sampling"])
    x = clouds.normalize(clouds.settle(points, options["ground"]), info, options["normalize"])[
        chosen
    ]
    return x, np.int32(piece["label"]) if "label" in piece else None


def plot(x, y, outputs, info):
    """Draw a page of clouds coloured by height, misclassified ones first."""
    predicted = report.predicted(outputs, info)
    panels = []
    for i in report.examples(y, predicted, 16):
        title, ink = report.verdict(info["classes"], y[i], predicted[i])
        panels.append((x[i], plots.by_height(x[i]), title, ink))
    return {"examples": plots.clouds(panels)}


def preview(x, y, info):
    """Draw clouds as training sees them, coloured by height."""
    shown = zip(x[:12], y[:12], strict=True)
    panels = [(cloud, plots.by_height(cloud), info["classes"][k], plots.INK) for cloud, k in shown]
    return plots.clouds(panels)


def present(example, pieces, outputs, info):
    """Return the table's row of one file, and its picture."""
    result = report.decode(np.stack([*outputs]), info)[0]
    points = np.asarray(example["points"])

    def picture(path):
        title = report.caption(result)
        panel = (points - points.mean(axis=0), plots.by_height(points), title, plots.INK)
        plots.save(plots.clouds([panel], size=5), path)

    return report.row(result, info), {".png": picture}


TASK = Task(
    name="pointcloud_classification",
    dataset="lidar_objects",
    options=dict(
        points=1024,  # of a cloud, sampled; some are repeated where there are fewer
        classes="",  # names or indices of those chosen, separated by commas; all if empty
        loss="cross_entropy",
        label_smoothing=0.0,  # share of each target that is spread evenly over the classes
        class_weights="none",  # "none", or "balanced": a class counts inversely to its frequency
        sampling="random",  # "random", or "farthest", which spreads points evenly
        normalize="dataset",  # by the radius of the "dataset", or by its own: "unit_ball"
        ground="lowest",  # at the "lowest" points, or where the file has z = 0, "zero"
        rotate=True,  # turned about the up axis at random
        jitter=0.01,  # standard deviation of noise on each point, in radii
        scale=0.05,  # grown or shrunk by this share; little, as size distinguishes classes
        point_dropout=0.2,  # share of the points left out at most
    ),
    data=Data(
        prepared=("points", "sampling", "normalize", "ground"),
        sizes=("points",),
        fields=("points", "label"),
        measure=measure,
        prepare=prepare,
    ),
    training=Training(
        defaults=dict(epochs=20, updates=800, batch_size=32, learning_rate=0.001, jit=True),
        arguments=arguments,
        augment=lambda info, options: clouds.augment(options),
        preview=preview,
    ),
    results=Results(
        plot=plot,
    ),
    usage=Usage(
        views=clouds.views,
        present=present,
    ),
)
