"""Networks that say what every pixel of an image belongs to."""

from zoo.segmentation.fcn import FCN
from zoo.segmentation.unet import UNet
