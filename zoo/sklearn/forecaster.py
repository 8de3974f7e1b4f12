"""Forecasters of the zoo that scikit-learn can use."""

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from datasets import windows
from zoo import tasks
from zoo.inference import predictors
from zoo.sklearn import training
from zoo.sklearn.base import MODEL, ZooEstimator
from zoo.tasks.forecasting import forecasts

TASK = "forecasting"


class ZooForecaster(ZooEstimator):
    """A forecaster of a series: the rows of X are its steps, in the order of time.

    Columns are the values of a step. All are forecast, or those of `options={"target": "0,2"}`, by
    name or number. Cross-validation needs `cv=TimeSeriesSplit()`. The last 15 % of the steps are
    held out to choose the best epoch.
    """

    __doc__ += ZooEstimator.__doc__.partition("\n")[2]

    DEFAULT = "lstm"

    def fit(self, X, y=None):  # noqa: N803
        """Train on a series.

        Args:
            X: (T,) or (T, F), the steps of the series; NaN where a value is missing.
            y: ignored.

        Returns:
            The estimator.

        Raises:
            ValueError: if the series is too short for window and horizon, or does not fit.
        """
        task = tasks.get(TASK)
        if TASK not in training.tasks_of(self._model):
            raise ValueError(f"{self._model} is no forecaster. Use lstm, gru or autoregression")
        training.train(self, task, [{"values": self._steps(X, reset=True)}])
        return self

    def predict(self, X):  # noqa: N803
        """Return the forecast of the steps after those of X, (horizon, targets) float64."""
        check_is_fitted(self, MODEL)
        task, options = tasks.get(TASK), self.record_["task_options"]
        piece = task.data.cover({"values": self._steps(X)}, options)[0]
        x, _ = task.data.prepare(piece, self.record_["info"], options)
        outputs = predictors.predict(self.model_, x[None], 1)
        return forecasts.in_units(np.float64(outputs[0]), self.record_["info"])

    def score(self, X, y=None):  # noqa: N803
        """Return R² of the forecasts of all windows of X, the mean over targets.

        The first window of X only serves as input.
        """
        check_is_fitted(self, MODEL)
        task, options, info = tasks.get(TASK), self.record_["task_options"], self.record_["info"]
        piece = task.data.cut({"values": self._steps(X)}, options)[0]
        steps, _ = task.data.prepare(piece, info, options)
        x, y = windows.views(steps, options["window"], options["horizon"], info["targets"])
        if not len(x):
            needed = options["window"] + options["horizon"]
            raise ValueError(f"X has {len(steps)} steps, and one window and horizon are {needed}")
        outputs = predictors.predict(self.model_, x, self.record_["settings"]["batch_size"])
        scores, _ = task.results.evaluate(y, outputs, info)
        return scores.get("r2", float("nan"))

    def _steps(self, X, reset=False):  # noqa: N803
        """Return a series (T, F) float64 after checking it."""
        if np.ndim(X) == 1:
            X = np.reshape(X, (-1, 1))  # noqa: N806
        settings = dict(dtype=np.float64, ensure_all_finite="allow-nan")
        return validate_data(self, X, reset=reset, ensure_min_samples=1 + reset, **settings)

    def __sklearn_tags__(self):
        """Return the tags: missing values are filled, as the option `fill` says."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
