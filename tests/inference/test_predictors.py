"""Prediction of a split part by part, and the sample for figures."""

import numpy as np

from datasets import splits
from zoo.inference import predictors


class Doubling:
    """A model that returns twice its input, and counts how many examples it has predicted."""

    count = 0

    def predict_on_batch(self, x):
        """Return twice a batch."""
        self.count += len(x)
        return 2 * x


def test_a_sample_is_kept_while_all_are_predicted_once(monkeypatch):
    x, model = np.arange(90.0).reshape(30, 3), Doubling()
    arrays = splits.Arrays(x, np.arange(30), np.arange(30))
    sample = predictors.Sample(len(arrays))
    y = np.concatenate([part for part, _ in predictors.parts(model, arrays, 7, sample)])
    np.testing.assert_array_equal(y, np.arange(30))
    assert model.count == 35  # the last batch is filled up
    for array, wanted in zip(sample.arrays(), (x, y, 2 * x), strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_of_many_large_examples_a_few_are_kept_in_their_order(monkeypatch):
    monkeypatch.setattr(predictors, "SAMPLE", 1)
    x = np.arange(90.0).reshape(30, 3)
    arrays, samples = splits.Arrays(x, np.arange(30), np.arange(30)), []
    for _ in range(2):
        sample = predictors.Sample(len(arrays))
        for _ in predictors.parts(Doubling(), arrays, 7, sample):
            pass
        samples.append(sample.arrays())
    (first, y, outputs), (second, _, _) = samples
    assert len(first) == predictors.LEAST and (np.diff(y) > 0).all()
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(outputs, 2 * x[y])
