"""clothing: photographs of clothes in ten classes, for classification."""

import csv
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

HERE = pathlib.Path(__file__).parent
SIDE = 64  # pixels a side of a photograph
COLUMNS = 32  # photographs in a row of a sheet


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of clothing; other photographs, classes or splits need a new VERSION."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    CLASSES = (
        "dress",
        "hat",
        "longsleeve",
        "outwear",
        "pants",
        "shirt",
        "shoes",
        "shorts",
        "skirt",
        "t-shirt",
    )
    COUNTS = {"train": 3068, "validation": 341, "test": 372}
    SECONDS = 3  # approximate duration of the generation, for the message before it

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=self.CLASSES),
            }
        )
        return self.dataset_info_from_configs(
            features=features, supervised_keys=("image", "label"), license="CC0-1.0"
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.COUNTS}

    def _generate_examples(self, split):
        """Yield the photographs of a split, cut from its sheet row by row."""
        sheet = np.asarray(Image.open(HERE / "images" / f"{split}.jpg"))
        for i, (name, label) in enumerate(self.rows()[split]):
            row, column = divmod(i, COLUMNS)
            top, left = row * SIDE, column * SIDE
            image = sheet[top : top + SIDE, left : left + SIDE]
            yield name, {"image": image, "label": label}

    @classmethod
    def rows(cls):
        """Return the names and classes of the photographs of each split, as on its sheet."""
        splits = {split: [] for split in cls.COUNTS}
        with open(HERE / "labels.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                splits[row["split"]].append((row["photo"], row["class"]))
        return splits
