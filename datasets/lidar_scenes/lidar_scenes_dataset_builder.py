"""lidar_scenes: simulated LiDAR scans of streets with a class per point, for segmentation."""

import numpy as np
import tensorflow_datasets as tfds

from datasets.lidar import example_rng, street


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of lidar_scenes; a change of the simulator needs a new VERSION."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    SEED = 0
    OPTIONS = {"block": 12.0, "points": 512}  # a street from house to house; most blocks have fewer
    COUNTS = {"train": 160, "test": 40}
    SECONDS = 50  # approximate duration of the generation, for the message before it

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "points": tfds.features.Tensor(shape=(None, 3), dtype=np.float32),
                "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=street.CLASSES)),
            }
        )
        return self.dataset_info_from_configs(
            features=features,
            supervised_keys=("points", "labels"),
            license="Apache-2.0",
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, n) for split, n in self.COUNTS.items()}

    def _generate_examples(self, split, count):
        """Yield one scan per example, each of another street."""
        for index in range(count):
            scan = street.street_scan(example_rng(self.SEED, split, index))
            yield index, {"points": scan.points, "labels": scan.labels}
