"""characters: handwritten characters of eight alphabets, to learn to compare images."""

import pathlib

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

HERE = pathlib.Path(__file__).parent
SIDE = 105  # pixels a side of a character
WRITERS = 20  # of each character, a column of the sheet each


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of characters; other images, classes or splits need a new VERSION."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    ALPHABETS = {  # of each split, with the number of characters
        "train": {"balinese": 24, "katakana": 47, "korean": 40, "sanskrit": 42, "tagalog": 17},
        "validation": {"latin": 26},
        "test": {"early_aramaic": 22, "greek": 24},
    }
    COUNTS = {"train": 3400, "validation": 520, "test": 920}
    SECONDS = 4  # approximate duration of the generation, for the message before it
    OPTIONS = {  # 28 pixels as in Vinyals et al. 2016; a mirrored character is another one
        "image_size": 28,
        "turned_classes": True,
        "flip": "none",
        "rotation": 15.0,
        "zoom": 0.15,
        "shift": 0.1,
        "shear": 10.0,
        "brightness": 0.0,
        "contrast": 0.0,
    }

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(SIDE, SIDE, 1), encoding_format="png"),
                "label": tfds.features.ClassLabel(names=self.classes()),
            }
        )
        return self.dataset_info_from_configs(
            features=features, supervised_keys=("image", "label"), license="MIT"
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.ALPHABETS}

    def _generate_examples(self, split):
        """Yield the characters of a split, cut from the sheets of its alphabets row by row."""
        for alphabet, count in self.ALPHABETS[split].items():
            with Image.open(HERE / "images" / f"{alphabet}.png") as file:
                sheet = np.asarray(file.convert("L"))[..., None]
            for character in range(count):
                label = self.name_of(alphabet, character)
                for writer in range(WRITERS):
                    top, left = SIDE * character, SIDE * writer
                    image = sheet[top : top + SIDE, left : left + SIDE]
                    yield f"{label}/{writer + 1:02}", {"image": image, "label": label}

    @classmethod
    def classes(cls):
        """Return the names of all classes, those of training first."""
        return [
            cls.name_of(alphabet, character)
            for alphabets in cls.ALPHABETS.values()
            for alphabet, count in alphabets.items()
            for character in range(count)
        ]

    @staticmethod
    def name_of(alphabet, character):
        """Return the name of a class: "greek/03" of the third character."""
        return f"{alphabet}/{character + 1:02}"
