"""MixUp and CutMix: training on mixtures of two images, whose targets are mixed in the same shares.

Zhang et al. 2018, https://arxiv.org/abs/1710.09412, Eq. 1; Yun et al. 2019,
https://arxiv.org/abs/1905.04899, Eq. 1. The layers are Keras'.
"""

import numpy as np
from keras import layers, ops

from zoo.nn.layers import reseed
from zoo.tasks import images


def augment(info, options):
    """Return the augmentation of images and their targets, or None.

    Args:
        info: constants of the data, of which the number of classes is needed.
        options: as of `zoo.tasks.images.augment`; mixup and cutmix, the parameters alpha of the
            beta distributions of shares, 0 for none. With both, a batch gets one of them.

    Returns:
        A function (x, y, entropy) to (x, y): images (B, H, W, C) from 0 to 1, and targets, classes
        (B,) or a row each (B, D), which become float32 rows if they are mixed.
    """
    change, mixers = images.augment(options), []
    if options["mixup"]:
        mixers.append(layers.MixUp(options["mixup"]))
    if options["cutmix"]:
        mixers.append(layers.CutMix(options["cutmix"]))
    if not mixers:
        return change
    count = len(info["classes"])

    def apply(x, y, entropy):
        if change:
            x, y = change(x, y, entropy)
        mixer = mixers[np.random.default_rng([*entropy, 1]).integers(len(mixers))]
        reseed(mixer, (*entropy, 2))
        rows = np.eye(count, dtype=np.float32)[y] if y.ndim == 1 else y.astype(np.float32)
        mixed = mixer({"images": x, "labels": rows}, training=True)
        return tuple(ops.convert_to_numpy(mixed[name]) for name in ("images", "labels"))

    return apply
