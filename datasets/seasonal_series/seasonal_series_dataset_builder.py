"""seasonal_series: two waves, a trend and noise, for forecasting."""

import numpy as np
import tensorflow_datasets as tfds

EXACT = tfds.features.Encoding.BYTES  # otherwise float64 would be stored as float32


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of seasonal_series; another curve or other noise needs a new VERSION."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    SEED = 0
    OPTIONS = {"center": "mean"}  # the trend leaves the range of the training values
    COUNTS = {"train": 1}  # one series, which is split by time
    STEPS = 10_000
    SECONDS = 1  # approximate duration of the generation, for the message before it

    def _info(self):
        values = tfds.features.Tensor(shape=(self.STEPS, 1), dtype=np.float64, encoding=EXACT)
        features = tfds.features.FeaturesDict({"values": values})
        return self.dataset_info_from_configs(features=features, license="Apache-2.0")

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        """Yield the series."""
        noise = np.random.default_rng(self.SEED).normal(size=self.STEPS)
        yield 0, {"values": (self.curve() + noise)[:, None]}

    @classmethod
    def curve(cls):
        """Return the series without its noise, (T,)."""
        x = np.arange(cls.STEPS)
        return np.sin(x / 50) - np.sin(x / 200) + (2 * x / cls.STEPS) ** 2
