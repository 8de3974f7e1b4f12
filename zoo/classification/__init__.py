"""Networks that say what a whole image shows."""

from zoo.classification.vgg import VGG
