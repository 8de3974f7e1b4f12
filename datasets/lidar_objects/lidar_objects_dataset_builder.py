"""lidar_objects: street objects cut out of simulated LiDAR scans, for classification."""

import numpy as np
import tensorflow_datasets as tfds

from datasets.lidar import example_rng, objects


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of lidar_objects; a change of the simulator needs a new VERSION."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    SEED = 0
    OPTIONS = {"points": 256, "ground": "zero"}  # the median object has 312 points
    COUNTS = {"train": 2000, "test": 500}
    SECONDS = 30  # approximate duration of the generation, for the message before it

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "points": tfds.features.Tensor(shape=(None, 3), dtype=np.float32),
                "label": tfds.features.ClassLabel(names=objects.CLASSES),
            }
        )
        return self.dataset_info_from_configs(
            features=features,
            supervised_keys=("points", "label"),
            license="Apache-2.0",
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, n) for split, n in self.COUNTS.items()}

    def _generate_examples(self, split, count):
        """Yield examples of alternating classes, so that all classes are equally frequent."""
        for index in range(count):
            kind = objects.CLASSES[index % len(objects.CLASSES)]
            seen = objects.seen_object(example_rng(self.SEED, split, index), kind)
            yield index, {"points": seen.points, "label": kind}
