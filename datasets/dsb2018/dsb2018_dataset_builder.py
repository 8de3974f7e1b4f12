"""dsb2018: fluorescence images of nuclei with masks, for segmentation."""

import hashlib
import pathlib

import tensorflow_datasets as tfds
from PIL import Image

from datasets.readers.images import read_mask

HERE = pathlib.Path(__file__).parent


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of dsb2018; other images, masks or splits need a new VERSION."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    SEED = 0
    OPTIONS = {"tile_height": 256, "tile_width": 256, "normalize": "image"}
    COUNTS = {"train": 234, "validation": 50, "test": 50}
    SECONDS = 3  # approximate duration of the generation, for the message before it

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 1)),
                "segmentation_mask": tfds.features.LabeledImage(
                    labels=["background", "nucleus"], shape=(None, None, 1)
                ),
            }
        )
        return self.dataset_info_from_configs(
            features=features,
            supervised_keys=("image", "segmentation_mask"),
            license="CC0-1.0",
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(names) for split, names in self.names().items()}

    def _generate_examples(self, names):
        """Yield examples; masks are encoded again, as TensorFlow reads 1 bit as 0 and 255."""
        for name in names:
            mask = Image.fromarray(read_mask(HERE / "masks" / name))  # 0 or 1
            yield name, {"image": HERE / "images" / name, "segmentation_mask": mask}

    @classmethod
    def names(cls):
        """Return the files of each split.

        They are ordered by a hash of seed and name, which no version of a random generator changes.
        """

        def rank(name):
            return hashlib.blake2b(f"{cls.SEED} {name}".encode()).digest()

        names = sorted((path.name for path in (HERE / "images").glob("*.png")), key=rank)
        splits = {}
        for split, count in cls.COUNTS.items():
            splits[split], names = sorted(names[:count]), names[count:]
        return splits
