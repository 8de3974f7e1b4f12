"""Published weights as a finished run: converted, scored on the test split of data, recorded."""

import numpy as np

from zoo.inference import predictors
from zoo.training import evaluation, runs
from zoo.weights import provenance, saving
from zoo.weights.published import converter

BATCH = 100  # images at a time


def convert(path, name, options, data, task, folder, *, settings, began):
    """Convert a file of published weights and score it; return the report.

    Others may have trained on every example of the data outside of its test split, so that is what
    the record says.

    Args:
        path: of the file.
        name: of the model.
        options: of its builder, that are given.
        data: a `datasets.prepared.Prepared`, which has classes, sizes and range of the images.
        task: the task record.
        folder: the new run folder.
        settings: of the command: "command" and "data".
        began: when it began, seconds since the epoch.

    Raises:
        ValueError: if the file does not fit.
    """
    info, test = data.info, data.splits["test"]
    prepared = dict(task_options=data.options, classes=info["classes"])
    model, record = converter.read(path, name, options, **prepared)
    rows = [data.examples[split] for split in ("train", "validation")]
    examples = {**data.examples, "train": np.unique(np.concatenate(rows), axis=0)}
    record |= {"info": info, "data": data.about, "examples": provenance.encode(examples)}
    record |= {"settings": {**settings, "batch_size": BATCH}, **runs.environment()}
    run = runs.Run.named(folder, record, began)
    saving.save(model, run.folder / "model.keras", record)
    sample = predictors.Sample(len(test))
    summary = task.results.summary(predictors.parts(model, test, BATCH, sample), info)
    scores, report = task.results.score(summary, info)
    figures = {**task.results.curves(summary, info), **task.results.plot(*sample.arrays(), info)}
    evaluation.draw(run.folder, figures)
    (run.folder / "report.txt").write_text(report, "utf-8", "backslashreplace")
    digest = saving.sha256(run.folder / "model.keras")
    run.note(status="finished", scores={"test": scores}, sha256=digest)
    return report
