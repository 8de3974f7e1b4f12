"""gunpoint: the motion of a hand that draws a gun or points a finger, for classification."""

import pathlib

import numpy as np
import tensorflow_datasets as tfds

from datasets.readers.series import ucr

HERE = pathlib.Path(__file__).parent


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of gunpoint; other series or splits need a new VERSION."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    CLASSES = ("gun", "point")  # 1 and 2 in the files
    COUNTS = {"train": 50, "test": 150}
    STEPS = 150
    SECONDS = 1  # approximate duration of the generation, for the message before it

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "series": tfds.features.Tensor(shape=(self.STEPS, 1), dtype=np.float32),
                "label": tfds.features.ClassLabel(names=self.CLASSES),
            }
        )
        return self.dataset_info_from_configs(
            features=features, supervised_keys=("series", "label"), license="BSD-3-Clause"
        )

    def _split_generators(self, dl_manager):
        splits = ucr.read(HERE).splits
        return {split: self._generate_examples(splits[split]) for split in self.COUNTS}

    def _generate_examples(self, examples):
        """Yield examples, in the order of the file."""
        for index, example in enumerate(examples):
            yield index, example.read()
