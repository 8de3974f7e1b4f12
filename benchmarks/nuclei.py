"""Figure of nuclei: images, ground truth and predictions of the preset.

python -m benchmarks.nuclei
"""

import zoo
from benchmarks.records import ROOT
from datasets import builders
from zoo import index, plots, tasks
from zoo.inference import predictors

PRESET, SHOWN = "unet_dsb2018", (5, 12)  # indices of test images


def main():
    """Plot some test images."""
    card, model = index.presets()[PRESET], zoo.load(PRESET)
    task, info, options = tasks.get(card["task"]), card["info"], card["task_options"]
    split = [*builders.load(card["data"]["name"]).splits["test"]]
    panels = []
    for i in SHOWN:
        [piece] = task.data.cut(split[i].read(), options)
        x, y = task.data.prepare(piece, info, options)
        [prediction] = task.usage.decode(predictors.predict(model, x[None], 1), info)
        panels.append((plots.rgb(x), "image", plots.INK))
        for mask, title in [(y, "ground truth"), (prediction["labels"], "prediction")]:
            colours = plots.palette(len(info["classes"]))
            panels.append((plots.overlay(x, mask, colours, [False, True]), title, plots.INK))
    figure = plots.images(panels, columns=6, size=2.2)
    plots.save(figure, ROOT / "docs" / "images" / "nuclei.png", dpi=90)


if __name__ == "__main__":
    main()
