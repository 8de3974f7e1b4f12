"""Stacking: a meta-learner that is trained on the members' predictions.

Wolpert 1992, Neural Networks 5. Members are frozen, so the meta-learner is fitted to their kept
outputs and costs what it costs alone; then it is joined to them.
"""

import keras
import numpy as np
from keras import layers, ops

from ensembles.combining import combine, holdout
from ensembles.members import cache, graph
from zoo.nn.blocks import MOMENTUM
from zoo.nn.ensemble import Mixture, StepMixture, TwoClasses
from zoo.weights import safety


def linear(logits, passed, units, kernel_size):
    """Weigh every logit of every member: it starts as the exact mean of their logits."""
    x = together(logits, passed)
    kernel = np.tile(np.eye(units, dtype=np.float32) / len(logits), (len(logits), 1))
    kernel = np.concatenate([kernel, np.zeros((x.shape[-1] - len(kernel), units), np.float32)])
    layer = layers.Dense(units, name="weights")
    y = layer(x)
    layer.set_weights([kernel, np.zeros(units, np.float32)])
    return y


def dense(logits, passed, units, kernel_size):
    """Correct the mean of their probabilities by a hidden layer of 16, which starts at nothing."""
    x = together([ops.log_softmax(TwoClasses.of(one), axis=-1) for one in logits], passed)
    x = layers.Dense(16, activation="relu", name="hidden")(x)
    x = layers.Dense(units, kernel_initializer="zeros", name="correction")(x)
    return layers.Add(name="corrected")([Mixture(name="average")(logits), x])


def conv(logits, passed, units, kernel_size):
    """Look at the neighbours too: the convolutional meta-learner of the course.

    Probabilities set side by side, a convolution of 16 channels, batch normalisation, ReLU, and a
    convolution of size 1.
    """
    convolution = {3: layers.Conv1D, 4: layers.Conv2D}.get(len(logits[0].shape))
    if convolution is None:
        raise ValueError(
            f"conv stacks maps, and these members return {tuple(logits[0].shape[1:])}. Use dense "
            "or linear"
        )
    squash = ops.sigmoid if units == 1 else ops.softmax
    x = together([squash(one) for one in logits], passed)
    x = convolution(16, kernel_size, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    return convolution(units, 1, name="logits")(x)


def by_step(values, passed, units, kernel_size):
    """Weigh members' values (B, H, K) by weights of each step ahead: it starts as their mean."""
    return StepMixture(name="weights")(values)


def across_steps(values, passed, units, kernel_size):
    """Correct that mean at each step by how members differ at all steps, alike for all K.

    The correction starts at nothing and is held small: forecasts overlap, so a validation split of
    thousands of them has seen the world but a few times.
    """
    mean = StepMixture(name="weights")(values)
    differing = ops.concatenate([each - mean for each in values], axis=1)
    x = layers.Permute((2, 1), name="values_first")(differing)
    x = layers.Dense(
        mean.shape[1],
        use_bias=False,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(0.1),
        name="correction",
    )(x)  # (B, K, H)
    return layers.Add(name="corrected")([mean, layers.Permute((2, 1), name="steps_first")(x)])


MEANS = ("linear", "dense")  # they start as the members' mean, so that no epoch may be best
HEADS = {"linear": linear, "dense": dense, "conv": conv}  # of logits
FORECASTS = {"linear": by_step, "dense": across_steps}  # of values


def of_values(build):
    """Return a builder on values (B, K) for one on forecasts (B, H, K): each value is a step."""

    def built(values, passed, units, kernel_size):
        if len(values[0].shape) == 3:
            return build(values, passed, units, kernel_size)
        steps = [layers.Reshape((units, 1), name=f"step_{i}")(x) for i, x in enumerate(values, 1)]
        return layers.Reshape((units,), name="values")(build(steps, passed, 1, kernel_size))

    return built


def together(tensors, passed):
    """Concatenate the members' outputs and the input, of which labels get mean and maximum."""
    if passed is not None and len(passed.shape) > len(tensors[0].shape):
        axes = tuple(range(1, len(passed.shape) - 1))
        tensors = [*tensors, ops.mean(passed, axis=axes), ops.max(passed, axis=axes)]
    elif passed is not None:
        tensors = [*tensors, passed]
    return ops.concatenate(tensors, axis=-1) if len(tensors) > 1 else tensors[0]


def meta_learner(build, shapes, common, passthrough=False):
    """Return an untrained head.

    Args:
        build: "linear", "dense", "conv", or a function (list of logits (B, ..., K), input or None,
            K, kernel size) to logits (B, ..., K).
        shapes: of the members' logits, without the batch's axis.
        common: what the members share.
        passthrough: give it the input too.

    A function's may end in a sigmoid or softmax, which is turned into logits.

    Raises:
        ValueError: if there is no such head, it does not fit these shapes, or a function's holds
            what no saved model may hold, such as a Lambda or a class of the user's own.
    """
    own = not isinstance(build, str)
    if isinstance(build, str):
        known = FORECASTS if common.task.values else HEADS
        if build not in known:
            raise ValueError(f"unknown meta-learner {build!r}: there are {', '.join(known)}")
        if passthrough and common.task.values:
            raise ValueError("values are stacked by themselves: leave --passthrough away")
        build = of_values(known[build]) if common.task.values else known[build]
    kernel = 1 if common.task.name.startswith("pointcloud") else 3  # points have no neighbours
    made = combine.head(
        lambda logits, passed: build(logits, passed, common.units, kernel),
        shapes,
        common.input_shape if passthrough else None,
    )
    if made.outputs[0].shape[-1] != common.units:
        raise ValueError(
            f"the meta-learner returns {made.outputs[0].shape[-1]} logits, and {common.units} are "
            "needed"
        )
    if own:
        saveable(made)
        made = made if common.task.values else graph.in_logits(made, "the meta-learner")
    return made


def saveable(model):
    """Raise a `ValueError` if a model would be refused when it is loaded again."""
    try:
        config = keras.saving.serialize_keras_object(model)
        reason = safety.objection(config)
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = f"has a layer that cannot be saved ({str(error).strip().splitlines()[0]})"
    if reason:
        raise ValueError(
            f"the meta-learner {reason}, so that its file would be refused. Build it of Keras' "
            "layers and keras.ops alone"
        )


def fit(
    model,
    take,
    parts,
    common,
    *,
    epochs=20,
    batch_size=4,
    learning_rate=0.01,
    seed=0,
    least=1,
    **more,
):
    """Train a head, or a joined model, for the number of epochs that is best.

    The best has the lowest loss of the examples held out. Then the training begins again from the
    same weights, with all examples. On scikit-learn's digits and wine and on noisy labels, with two
    heads and three seeds, this was right in 73.2 % on average; the head as it was at that epoch in
    72.8 %, one picked by accuracy in 73.0 %, and one picked by five cross-fitted heads, which take
    three times as long, in 73.3 %.

    Args:
        model: a `keras.Model`; it is compiled.
        take: function from rows to (x, y), see `combine.taker`.
        parts: (rows to fit, rows held out), see `ensembles.combining.holdout.split`.
        common: what the members share; its task brings loss and metrics.
        epochs: passes over the examples at most.
        batch_size: batch size.
        learning_rate: of Adam; at the 0.001 of the course a convolution has not arrived after 20
            epochs of a few dozen images.
        seed: of the order.
        least: epochs; 0 where the model may turn out to be best as it is.
        more: arguments of `fit`.

    Returns:
        (history, epoch): a dictionary of lists by logged value, of the training without the
        examples held out; and the epochs of the final one.

    Raises:
        ValueError: if no epoch has a finite loss.
    """
    start, more = model.get_weights(), {"verbose": 2, "shuffle": False, **more}
    held = cache.Batches(take, parts[1], batch_size)
    prepare(model, common, learning_rate)
    before = model.evaluate(held, verbose=0, return_dict=True)["loss"]
    ordered = cache.Batches(take, parts[0], batch_size, seed)
    history = model.fit(ordered, validation_data=held, epochs=epochs, **more).history
    losses = np.array([before, *history["val_loss"]])
    losses[:least] = np.nan
    if not np.isfinite(losses).any():
        raise ValueError(
            "the meta-learner's loss is not a number in any epoch. Lower --learning-rate, or use "
            "average"
        )
    epoch = int(np.nanargmin(losses))
    model.set_weights(start)
    if epoch:
        rows = np.sort(np.concatenate(parts))
        if more["verbose"]:
            print(
                f"Epoch {epoch} has the lowest val_loss: {epoch} epochs of all {len(rows)} follow"
            )
        prepare(model, common, learning_rate)
        model.fit(cache.Batches(take, rows, batch_size, seed), epochs=epoch, **more)
    return history, epoch


def prepare(model, common, learning_rate):
    """Compile a model with a fresh optimizer, and the loss and metrics of the task."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=common.task.training.loss(common.info, common.options),
        metrics=common.task.training.metrics(common.info),
        jit_compile=False,
    )


def fine_tune(model, models, work, args, epochs):
    """Train a joined model with its members for some epochs, at a hundredth of the rate.

    Members keep to what they do in prediction: no dropout, statistics as they were learnt. If no
    epoch has a lower loss of the examples held out than the beginning, which the head was fitted
    to, everything is left as it was.

    Args:
        model: the joined model.
        models: those of its members, which are trained.
        work: the `Assembly`.
        args: settings of the command.
        epochs: passes over the validation split at most.

    Returns:
        Whether it was better.
    """
    data, common = work.data.splits["validation"], work.common
    many = len(model.inputs) > 1

    def take(rows):
        x, y = data.take(rows)
        return (tuple([x] * len(models)) if many else x), y

    parts = holdout.split(data, work.labels("validation"), common, args.seed)
    for one in models:
        one.trainable = True
    rate = args.learning_rate / 100
    settings = dict(epochs=epochs, batch_size=args.batch_size, learning_rate=rate, seed=args.seed)
    settings["least"] = 0
    _, epoch = fit(model, take, parts, common, **settings)
    for one in models:
        one.trainable = False
    return epoch > 0
