"""Classifiers and regressors of the zoo that scikit-learn can use."""

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from datasets.readers import targets
from zoo.sklearn.base import MODEL, ZooEstimator
from zoo.tasks.targets import report, values


class ZooClassifier(ClassifierMixin, ZooEstimator):
    """A classifier of rows (n, F), images (n, H, W, C), series (n, T, F) or clouds (n, points, 3).

    A part of the training data, 15 % of each class, is held out to choose the best epoch.

    Attributes:
        classes_: the labels, sorted.
    """

    __doc__ += ZooEstimator.__doc__.partition("\n")[2]

    def fit(self, X, y):  # noqa: N803
        """Train on arrays.

        Args:
            X: (n, F), or what the model takes; images are uint8, or floats in any range.
            y: (n,) labels.

        Returns:
            The estimator.

        Raises:
            ValueError: if the arrays or the parameters do not fit the model.
        """
        X, y = validate_data(self, X, y, allow_nd=True, ensure_min_samples=2)  # noqa: N806
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]}: give examples of two or more")
        self._train(self._task(X.ndim), X, labels, [str(name) for name in self.classes_])
        return self

    def predict_proba(self, X):  # noqa: N803
        """Return the probabilities of the classes, (n, K) float64."""
        check_is_fitted(self, MODEL)
        X = validate_data(self, X, reset=False, allow_nd=True)  # noqa: N806
        return report.softmax(self._outputs(self._task(X.ndim), X))

    def predict(self, X):  # noqa: N803
        """Return the most probable classes, (n,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]


class ZooRegressor(RegressorMixin, ZooEstimator):
    """A regressor of rows (n, F) or images (n, H, W, C) to one or several values.

    A part of the training data, 15 %, is held out to choose the best epoch.
    """

    __doc__ += ZooEstimator.__doc__.partition("\n")[2]

    def fit(self, X, y):  # noqa: N803
        """Train on arrays.

        Args:
            X: (n, F), or what the model takes; images are uint8, or floats in any range.
            y: (n,) or (n, K) values, in any units.

        Returns:
            The estimator.

        Raises:
            ValueError: if the arrays or the parameters do not fit the model.
        """
        settings = dict(allow_nd=True, ensure_min_samples=2, multi_output=True, y_numeric=True)
        X, y = validate_data(self, X, y, **settings)  # noqa: N806
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._flat = y.ndim == 1
        numbers = np.asarray(y, np.float64).reshape(len(y), -1)
        task = self._task(X.ndim)
        if task.name not in ("rows", "image_classification"):
            why = f"{self._model} returns classes or forecasts for X with {X.ndim} axes"
            raise ValueError(f"{why}, not values. Use a model of images, or rows with mlp")
        names = ["value"] if self._flat else [f"value {k}" for k in range(numbers.shape[1])]
        self._train(task, X, numbers, constants=targets.values(names, numbers)[0])
        return self

    def predict(self, X):  # noqa: N803
        """Return the values, (n,) or (n, K) float64, in the units of the training."""
        check_is_fitted(self, MODEL)
        X = validate_data(self, X, reset=False, allow_nd=True)  # noqa: N806
        outputs = values.in_units(self._outputs(self._task(X.ndim), X), self.record_["info"])
        return outputs[:, 0] if self._flat else outputs

    def __sklearn_tags__(self):
        """Return the tags, with several targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
