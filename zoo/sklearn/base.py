"""What the estimators share: parameters, inputs as examples, pickles, saved models."""

import pathlib
import tempfile

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from zoo import tasks
from zoo.inference import predictors
from zoo.sklearn import rows, training
from zoo.weights import saving

BLOCK = 4096  # examples that are prepared at once for a prediction
MODEL = "model_"


class ZooEstimator(BaseEstimator):
    """A model of the zoo with the parameters of train.py.

    Args:
        model: name of the model; by default mlp, of a forecaster lstm.
        options: of the model and of its task, as after --set; a dictionary.
        epochs: passes over the training data; by default more for little data.
        batch_size: by default smaller for little data.
        learning_rate: by default the task's.
        recipe: options of the training by their names in `zoo.training.recipe.DEFAULTS`, such as
            {"optimizer": "adamw", "weight_decay": 0.05, "early_stopping": 10}.
        init: preset or file whose weights are transferred.
        precision: of activations and gradients.
        jit: whether to compile with XLA; by default the task's choice.
        random_state: of weights, order and augmentation; an integer is train.py's --seed.
        verbose: whether to print what train.py prints.

    Attributes:
        model_: the `keras.Model` of the best epoch, from preprocessed inputs to logits or
            standardized values.
        record_: what train.py stores with a model.
        history_: dictionary of the values of each epoch.
        best_epoch_: number of the best epoch on the part that is held out for validation, from 1.
        n_features_in_: size of the second axis of X.
    """

    DEFAULT = "mlp"

    def __init__(
        self,
        model=None,
        *,
        options=None,
        epochs=None,
        batch_size=None,
        learning_rate=None,
        recipe=None,
        init=None,
        precision="float32",
        jit=None,
        random_state=None,
        verbose=False,
    ):
        self.model, self.options, self.epochs = model, options, epochs
        self.batch_size, self.learning_rate, self.recipe = batch_size, learning_rate, recipe
        self.init, self.precision, self.jit = init, precision, jit
        self.random_state, self.verbose = random_state, verbose

    def __getstate__(self):
        """Return the state with the model as the bytes of its file."""
        state = dict(super().__getstate__())
        if MODEL in state:
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder, "model.keras")
                self.save(path)
                state[MODEL] = path.read_bytes()
        return state

    def __setstate__(self, state):
        """Load the model from the bytes of its file."""
        super().__setstate__(state)
        if isinstance(content := vars(self).get(MODEL), bytes):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder, "model.keras")
                path.write_bytes(content)
                self.model_ = saving.load(path)

    def save(self, path):
        """Write the model and its record to a `.keras` file, as train.py does.

        That of images, series or clouds can be used by `zoo.predict`, ensembles and exports. That
        of rows, which have no files, can be loaded by `zoo.load`.
        """
        check_is_fitted(self, MODEL)
        record = {**self.record_}
        if record["task"] == rows.TASK.name:
            del record["task"]
        saving.save(self.model_, path, record)

    @property
    def _model(self):
        """The name of the model."""
        return self.DEFAULT if self.model is None else self.model

    def _task(self, axes):
        """Return the task of the model for arrays with so many axes.

        Raises:
            ValueError: if there is no such model, or it takes other arrays.
        """
        model = self._model
        known = {name: AXES[name] for name in training.tasks_of(model) if name in AXES}
        if axes == 2 and model in rows.MODELS:
            return rows.TASK
        for name, (_, shapes) in known.items():
            if axes in shapes:
                return tasks.get(name)
        takes = " or ".join(shapes[max(shapes)] for _, shapes in known.values()) or "other data"
        raise ValueError(
            f"{model} takes X of shape {takes}, not an array with {axes} axes. Rows (n, F) "
            f"are for {' and '.join(rows.MODELS)}"
        )

    def _outputs(self, task, x):
        """Return the outputs of the model for inputs, (n, ...)."""
        info, options, outputs = self.record_["info"], self.record_["task_options"], []
        size = self.record_["settings"]["batch_size"]
        for start in range(0, len(x), BLOCK):
            pieces = (
                task.data.cover(part, options)[0] for part in examples(task, x[start:][:BLOCK])
            )
            prepared = np.stack([task.data.prepare(piece, info, options)[0] for piece in pieces])
            outputs.append(predictors.predict(self.model_, prepared, size))
        return np.concatenate(outputs)

    def _train(self, task, x, labels, classes=(), constants=None):
        training.train(self, task, examples(task, x, labels), classes, constants)


AXES = {  # by task: its name of an input, and the shapes of X by their number of axes
    "image_classification": ("image", {3: "(n, H, W)", 4: "(n, H, W, C)"}),
    "sequence_classification": ("series", {2: "(n, T)", 3: "(n, T, F)"}),
    "pointcloud_classification": ("points", {3: "(n, points, 3)"}),
    "rows": ("row", {2: "(n, F)"}),
}


def examples(task, x, labels=None):
    """Return inputs (n, ...) and their labels as examples, as the readers of files do."""
    name, shapes = AXES[task.name]
    if x.ndim < max(shapes):
        x = x[..., None]
    if labels is None:
        return [{name: value} for value in x]
    return [{name: value, "label": label} for value, label in zip(x, labels, strict=True)]
