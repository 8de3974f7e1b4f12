"""Networks that say what a whole image shows."""

from zoo.classification.darknet import Darknet
from zoo.classification.vgg import VGG
