"""sunspots: yearly numbers of sunspots from 1700 to 2008, for forecasting."""

import csv
import pathlib

import numpy as np
import tensorflow_datasets as tfds

HERE = pathlib.Path(__file__).parent
EXACT = tfds.features.Encoding.BYTES  # otherwise float64 would be stored as float32


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of sunspots; other numbers need a new VERSION."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    OPTIONS = {"window": 33, "horizon": 11, "season": 11}  # three cycles, and one
    COUNTS = {"train": 1}  # one series, which is split by time
    STEPS = 309
    SECONDS = 1  # approximate duration of the generation, for the message before it

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "values": tfds.features.Tensor(
                    shape=(self.STEPS, 1), dtype=np.float64, encoding=EXACT
                ),
                "times": tfds.features.Tensor(shape=(self.STEPS, 1), dtype=np.int64),
            }
        )
        return self.dataset_info_from_configs(features=features, license="Public domain")

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        """Yield the series; the time of a year is its first day, in nanoseconds since 1970."""
        years, numbers = zip(*self.rows(), strict=True)
        times = np.array(years, "datetime64[Y]").astype("datetime64[ns]").astype(np.int64)
        yield 0, {"values": np.array(numbers)[:, None], "times": times[:, None]}

    @staticmethod
    def rows():
        """Return (year, number) of each year, a string and a float."""
        with open(HERE / "sunspots.csv", newline="", encoding="utf-8") as file:
            return [(row["YEAR"], float(row["SUNACTIVITY"])) for row in csv.DictReader(file)]
