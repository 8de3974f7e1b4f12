"""Models of the zoo as scikit-learn estimators, around the steps of train.py.

    from zoo.sklearn import ZooClassifier, ZooForecaster, ZooRegressor

    cross_val_score(ZooClassifier("mlp", options={"widths": (64, 64)}), X, y)   # rows (n, F)
    ZooClassifier("resnet", epochs=20).fit(images, labels).predict(images)      # (n, H, W, C)
    ZooForecaster("lstm", options={"window": 48, "horizon": 12}).fit(series).predict(series)

They can be cloned, searched, put into pipelines and stacked like any other estimator.
"""

from zoo.sklearn.estimators import ZooClassifier, ZooRegressor
from zoo.sklearn.forecaster import ZooForecaster

__all__ = ["ZooClassifier", "ZooForecaster", "ZooRegressor"]
