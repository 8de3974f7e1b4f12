"""The epochs of a training by its recipe: one stage, or two if layers are frozen at first."""

import sys

import keras

from zoo.system import terminal
from zoo.training import callbacks, length, recipe
from zoo.training.finetuning import freezing
from zoo.training.optimization import averaging, optimizers, pruning, rates
from zoo.training.recorder import Recorder, student


def fit(learner, batches, validation, run, task, settings, interrupt, exported):
    """Train to the end, until Ctrl-C, or until the loss is not finite.

    Args:
        learner: the `keras.Model` to fit: the network, or one around it.
        batches: the training batches, `datasets.pipeline.Batches`.
        validation: the validation batches.
        run: the `zoo.training.runs.Run`, whose checkpoint is resumed if there is one.
        task: the task record.
        settings: of the command.
        interrupt: the `zoo.system.terminal.Interrupt` that handles Ctrl-C.
        exported: function from the learner to the model that is saved.

    Returns:
        (recorder, status): the `zoo.training.recorder.Recorder`, and "finished", "interrupted" or
        "diverged".
    """
    chosen, network, record = settings["recipe"], student(learner), run.record
    one_shot = getattr(learner, "one_shot", False)
    epochs = 1 if one_shot else settings["epochs"]
    average = averaging.averaging(chosen, network, batches, epochs)
    cycle = epochs // settings["snapshots"] if settings.get("snapshots") else 0
    recorder = Recorder(
        run.folder,
        record,
        task.training.best,
        settings["seed"],
        batches,
        cycle,
        average,
        exported,
        first_epoch(chosen, epochs),
    )
    done = recorder.finished()
    if done:
        print(f"Resuming after epoch {done} of {epochs}")
    if not one_shot:
        print("\n".join(length.described(len(batches), epochs, batches.size)))
    for start, end, factor in stages(chosen, epochs):
        if done >= end:
            continue
        if start:
            freezing.unfreeze(network)
            print(f"Epoch {start + 1}: {freezing.sentence(network)}")
        optimizers.regularize(network, chosen["l1"], chosen["l2"], chosen["max_norm"])
        rate = factor * settings["learning_rate"]
        learner.compile(
            optimizer=optimizers.optimizer(
                settings, network.trainable_variables, len(batches), end - start, rate
            ),
            loss=task.training.loss(record["info"], record["task_options"]),
            metrics=task.training.metrics(record["info"]),
            jit_compile=settings["jit"],
        )
        pruned = []
        if chosen["prune"]:
            pruned = [pruning.Pruning(network, learner.optimizer, chosen["prune"], epochs)]
        # In any case: TensorFlow traces a step twice that creates variables.
        learner.optimizer.build(network.trainable_variables)
        if start <= done:  # else the earlier stage has just ended in this process
            recorder.restore(learner, start)
        stopping = callbacks.EarlyStopping(recorder, chosen["early_stopping"] or epochs, start)
        if stopping.due:
            break
        called = [
            keras.callbacks.TerminateOnNaN(),
            *([average] if average else []),
            *pruned,
            *callbacks.scored(task, record, validation),
            callbacks.Interruptible(interrupt),
            callbacks.Remaining(),
            *callbacks.tensorboard(run.folder, settings),
            recorder,
            stopping,
        ]
        if chosen["schedule"] == "plateau":
            called.append(rates.Plateau(recorder, rate, start=start, **chosen["schedule_options"]))
        try:
            with interrupt.steps():
                learner.fit(
                    batches,
                    validation_data=validation,
                    epochs=end,
                    initial_epoch=max(done, start),
                    shuffle=False,
                    verbose=1 if sys.stdout.isatty() else 2,  # a bar, or a line an epoch
                    callbacks=called,
                )
        except KeyboardInterrupt:
            return recorder, "interrupted"
        if stopping.due:
            break
        if recorder.epochs < end:
            return recorder, "diverged"
    if recorder.epochs < epochs:
        waited = chosen["early_stopping"]
        print(f"Stopped early: {terminal.counted(waited, 'epoch')} without a better score")
    if chosen["prune"]:
        run.note(pruned=pruning.measured(network, run.folder / "model.keras"))
        print(pruning.sentence(run.record["pruned"]))
    return recorder, "finished"


def first_epoch(chosen, epochs):
    """Return the first epoch, from 0, whose model is what the recipe asks for."""
    if chosen["prune"]:
        return pruning.growing(epochs) - 1
    return recipe.averaged_from(chosen, epochs) if chosen["swa"] else 0


def stages(chosen, epochs):
    """Return (first epoch, epoch after the last, factor on the learning rate) of each stage."""
    if not chosen["unfreeze_after"]:
        return [(0, epochs, 1.0)]
    end = chosen["unfreeze_after"]
    return [(0, end, 1.0), (end, epochs, freezing.SLOWER)]
