"""Batches of P classes with K images each, so that every image has others to be compared with."""

import numpy as np

from zoo.tasks import images


def sampler(options):
    """Return the function that draws the batches of an epoch, see `datasets.pipeline.Batches`."""
    images = options["examples_per_class"]
    return lambda y, size, rng: batches(y, images, max(2, size // images), rng)


def batches(y, images, classes, rng):
    """Draw batches of P different classes with K images each.

    The images of a class are divided into sets of K; the last one is completed by others of the
    class, or by repeated ones if it has fewer. Classes with the most sets left come first, so that
    an epoch shows every image if the classes are of equal size; of a class that has more sets than
    there are batches, it shows a part.

    Args:
        y: labels (n,).
        images: K.
        classes: P, or all classes if there are fewer.
        rng: a NumPy generator.

    Returns:
        Indices (batches, P · K), the images of a class side by side.
    """
    rows = [np.flatnonzero(y == label) for label in np.unique(y)]
    classes = min(classes, len(rows))
    queues = [sets(of_class, images, rng) for of_class in rows]
    count = -(-sum(map(len, queues)) // classes)
    result = np.empty((count, classes, images), np.int64)
    for batch in result:
        ties = rng.random(len(queues))
        left = np.array([len(queue) for queue in queues])
        for place, k in enumerate(np.lexsort((ties, -left))[:classes]):
            if not queues[k]:
                queues[k] = sets(rows[k], images, rng)[:1]
            batch[place] = queues[k].pop()
    return result.reshape(count, classes * images)


def sets(rows, images, rng):
    """Return the images of a class, shuffled, as a list of sets of K."""
    count = -(-len(rows) // images)
    return list(np.resize(rng.permutation(rows), (count, images)))


def augment(options):
    """Return the augmentation of images, which also turns whole classes by right angles, or None.

    Turned classes are further ones, as in Santoro et al. 2016, https://arxiv.org/abs/1605.06065.
    All images of a class in a batch are turned alike, so that the labels (B,) need no change.
    """
    change = images.augment(options)
    if not options["turned_classes"]:
        return change

    def apply(x, y, entropy):
        rng = np.random.default_rng((*entropy, len(x)))
        classes, number = np.unique(y, return_inverse=True)
        quarters = rng.integers(4, size=len(classes))[number]
        x = np.stack([np.rot90(image, k) for image, k in zip(x, quarters, strict=True)])
        return change(x, y, entropy) if change else (x, y)

    return apply
