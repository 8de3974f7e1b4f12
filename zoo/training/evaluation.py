"""What ends a training: the scores of the best epoch's model, its report and its figures."""

from zoo import plots
from zoo.inference import predictors
from zoo.weights import saving


def evaluate(run, recorder, splits, task, size):
    """Score the best epoch's model on validation and test, save figures, and complete the run."""
    path, info = run.folder / "model.keras", run.record["info"]
    model, scores, results = saving.load(path), {}, task.results
    for split in ("validation", "test"):
        sample = predictors.Sample(len(splits[split]))
        summary = results.summary(predictors.parts(model, splits[split], size, sample), info)
        scores[split], report = results.score(summary, info)
        if split == "validation" and (errors := results.errors(summary, info)):
            info["found"] = errors
            saving.save(model, path, {**saving.record(path), "info": info})
    figures = {"learning_curves": plots.learning_curves(recorder.history)}
    figures |= results.curves(summary, info)
    figures |= results.plot(*sample.arrays(), info)
    draw(run.folder, figures)
    (run.folder / "report.txt").write_text(report, "utf-8", "backslashreplace")
    run.note(status="finished", scores=scores, sha256=saving.sha256(path))
    recorder.state.unlink(missing_ok=True)
    return report


def draw(folder, figures):
    """Write figures, a dictionary by name, into a run folder."""
    (folder / "plots").mkdir(exist_ok=True)
    for name, figure in figures.items():
        if figure is not None:
            plots.save(figure, folder / "plots" / f"{name}.png")
