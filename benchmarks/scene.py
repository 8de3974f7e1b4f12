"""Figure of a simulated scan: ground truth and predictions of the preset.

python -m benchmarks.scene
"""

import numpy as np

import zoo
from benchmarks.records import ROOT
from datasets import builders
from zoo import index, plots, tasks
from zoo.inference import predictors

PRESET = "pointnet_segmentation_lidar_scenes"
RADIUS = 25.0  # radius around the sensor that is shown, in metres


def main():
    """Plot the first test scene."""
    card, model = index.presets()[PRESET], zoo.load(PRESET)
    task, info, options = tasks.get(card["task"]), card["info"], card["task_options"]
    example = next(iter(builders.load(card["data"]["name"]).splits["test"])).read()
    pieces = task.data.cut(example, options)
    x = np.stack([task.data.prepare(piece, info, options)[0] for piece in pieces])
    labels = np.empty(len(example["points"]), np.int64)
    predictions = task.usage.decode(predictors.predict(model, x, 32), info)
    for piece, prediction in zip(pieces, predictions, strict=True):
        labels[piece["index"]] = prediction["labels"][: len(piece["index"])]
    near = np.linalg.norm(example["points"][:, :2], axis=1) < RADIUS
    accuracy = np.mean(labels[near] == example["labels"][near])
    colours = plots.palette(len(info["classes"]))
    panels = [
        (example["points"][near], colours[point_labels[near]], title, plots.INK)
        for point_labels, title in [
            (example["labels"], "ground truth"),
            (labels, f"{PRESET}: {accuracy:.0%} of the points correct"),
        ]
    ]
    legend = list(zip(info["classes"], colours, strict=True))
    figure = plots.clouds(panels, legend, columns=2, size=6.0)
    plots.save(figure, ROOT / "docs" / "images" / "scene.png", dpi=90)


if __name__ == "__main__":
    main()
