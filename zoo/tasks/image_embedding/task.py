"""Image embedding: which images are alike, of classes never seen too?"""

import numpy as np

from zoo.tasks import images
from zoo.tasks.image_classification.task import TASK as CLASSIFICATION
from zoo.tasks.image_embedding import figures, retrieval, sampling
from zoo.tasks.task import Data, Results, Task, Training, Usage


def arguments(info, options):
    """Return what the data decides of the builder's arguments."""
    if options["examples_per_class"] < 2:
        raise ValueError(
            "examples_per_class is 1, and an image needs others of its class: 2 or more"
        )
    size, channels = options["image_size"], images.channels(info, options)
    return dict(input_shape=(size, size, channels))


def decode(vectors, info):
    """Return the vectors (n, D) as a list of dictionaries."""
    return [{"embedding": np.asarray(vector, np.float32)} for vector in vectors]


def present(example, pieces, outputs, info):
    """Return the row of one image, which has its vector (D,) and no picture."""
    (vector,) = outputs
    length = float(np.linalg.norm(vector))
    return {"length": length, "arrays": {"embedding": np.asarray(vector, np.float32)}}, {}


TASK = Task(
    name="image_embedding",
    dataset="characters",
    options=dict(
        image_size=0,  # pixels a side of the square that images are resized to; 0 as the data
        channels=0,  # 1 gray, 3 colour, or the number of bands; 0 as the data
        classes="",  # names or indices of those chosen, separated by commas; all if empty
        examples_per_class=4,  # images of each class in a batch, 2 or more; the classes fill it
        turned_classes=False,  # images turned by right angles are of further classes
        fill="reflect",
        flip="horizontal",
        rotation=10.0,
        zoom=0.1,
        shift=0.05,
        shear=0.0,
        perspective=0.0,
        elastic=0.0,
        brightness=0.1,
        contrast=0.1,
        saturation=0.0,
        hue=0.0,
        color_jitter=0.0,
        channel_shift=0.0,
        blur=0.0,
        noise=0.0,
        erasing=0.0,
        cutout=0,
        randaugment=0.0,
    ),
    values=True,
    vectors=True,
    data=Data(
        prepared=("image_size", "channels"),
        sizes=("image_size",),
        fields=("image", "label"),
        by_class=True,
        measure=CLASSIFICATION.data.measure,
        prepare=CLASSIFICATION.data.prepare,
    ),
    training=Training(
        defaults=dict(epochs=40, updates=2000, batch_size=64, learning_rate=0.001, jit=False),
        losses=(),
        best=("val_recall_at_1", "max"),
        arguments=arguments,
        loss=lambda info, options: None,
        metrics=lambda info: [],
        sampler=sampling.sampler,
        augment=lambda info, options: sampling.augment(options),
        preview=figures.preview,
    ),
    results=Results(
        summarize=retrieval.summarize,
        score=retrieval.score,
        curves=lambda summary, info: {},
        plot=figures.plot,
    ),
    usage=Usage(
        decode=decode,
        present=present,
    ),
)
