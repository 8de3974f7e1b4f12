"""bccd: photographs of blood cells with boxes, for detection."""

import csv
import pathlib

import tensorflow_datasets as tfds

HERE = pathlib.Path(__file__).parent
HEIGHT, WIDTH = 480, 640


# Not registered: tensorflow-datasets also has a bccd, and names must be unique.
class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builder of bccd; other images, boxes or splits need a new VERSION."""

    VERSION = tfds.core.Version("2.0.0")  # 1.0.0 is that of tensorflow-datasets, in the same folder
    RELEASE_NOTES = {"2.0.0": "Embedded; the two boxes without size are left out."}
    OPTIONS = {"flip": "horizontal_and_vertical"}  # cells have no upright orientation
    CLASSES = ("RBC", "WBC", "Platelets")
    COUNTS = {"train": 205, "validation": 87, "test": 72}
    SECONDS = 3  # approximate duration of the generation, for the message before it

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(HEIGHT, WIDTH, 3), encoding_format="jpeg"),
                "objects": tfds.features.Sequence(
                    {
                        "bbox": tfds.features.BBoxFeature(),
                        "label": tfds.features.ClassLabel(names=self.CLASSES),
                    }
                ),
            }
        )
        return self.dataset_info_from_configs(features=features, license="MIT")

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(images) for split, images in self.rows().items()}

    def _generate_examples(self, images):
        """Yield examples; boxes of zero size are left out."""
        for name, rows in images.items():
            objects = [
                {
                    "bbox": tfds.features.BBox(
                        ymin=ymin / HEIGHT, xmin=xmin / WIDTH, ymax=ymax / HEIGHT, xmax=xmax / WIDTH
                    ),
                    "label": label,
                }
                for label, xmin, ymin, xmax, ymax in rows
                if xmin < xmax and ymin < ymax
            ]
            yield name, {"image": HERE / "images" / name, "objects": objects}

    @classmethod
    def rows(cls):
        """Return the boxes as they were published.

        Returns:
            {split: {file name of the image: [(class, xmin, ymin, xmax, ymax)]}}, in pixels.
        """
        splits = {split: {} for split in cls.COUNTS}
        with open(HERE / "boxes.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                corners = (int(row[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
                splits[row["split"]].setdefault(row["image"], []).append((row["label"], *corners))
        return splits
