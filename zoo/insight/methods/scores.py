"""What is explained: the score of one class in a model's outputs, as a function with a gradient.

A classifier has one score for each class. Of a segmenter the score is that of all pixels that are
predicted as the class (Vinogradova et al. 2020, https://arxiv.org/abs/2002.11434), of a detector
that of its most probable box.
"""

import dataclasses

import numpy as np
from keras import ops

from zoo.nn.ensemble import TwoClasses
from zoo.tasks import targets
from zoo.tasks.boxes import coding
from zoo.tasks.image_segmentation import masks

LEAST = 1e-9  # of a probability before the logarithm


@dataclasses.dataclass(frozen=True)
class Score:
    """The score of a class.

    Attributes:
        index: of the class.
        name: of the class.
        text: the prediction that is explained, for titles.
        logit: function from outputs (B, ...), a tensor, to scores (B,), a tensor.
        probability: function from outputs (B, ...), an array, to probabilities (B,), an array.
        share: of the pixels that are predicted as the class; 1 where there are none.
        box: of a detector, (4,) x1, y1, x2, y2 in pixels of the input; else None.
    """

    index: int
    name: str
    text: str
    logit: object
    probability: object
    share: float = 1.0
    box: object = None


def of(task, info, outputs, target=None):
    """Return the `Score` of a class.

    Args:
        task: the task record.
        info: of the model.
        outputs: its outputs for the example, (1, ...).
        target: index of the class; None for the predicted one.

    Raises:
        ValueError: if the class is not predicted anywhere in the example.
    """
    if task.name == "image_segmentation":
        return of_pixels(info, outputs, target)
    if task.name == "image_detection":
        return of_box(info, outputs, target)
    return of_class(task, info, outputs, target)


def of_class(task, info, outputs, target):
    """Return the score of a classifier's class or label."""
    names = info["classes"]
    known = next(iter(targets.decode(outputs, info)))["probabilities"]
    shares = np.array([known[name] for name in names])
    k = int(shares.argmax()) if target is None else target

    def probability(outputs):
        shares = [row["probabilities"][names[k]] for row in targets.decode(outputs, info)]
        return np.array(shares)

    def logit(outputs):
        return ops.cast(outputs, "float32")[:, k]

    return Score(k, names[k], f"{names[k]}  {shares[k]:.0%}", logit, probability)


def of_pixels(info, outputs, target):
    """Return the score of the pixels that are predicted as a class: the largest but background."""
    names, labels = info["classes"], masks.labels(outputs)
    counts = np.bincount(labels.ravel(), minlength=len(names))
    if target is None:
        _, painted = masks.painted(names)
        counts = counts * painted if (counts * painted).any() else counts
        target = int(counts.argmax())
    inside = (labels == target).astype(np.float32)[..., None]
    if not inside.any():
        raise ValueError(f"no pixel is predicted as {names[target]}. Give another --target")

    def logit(outputs):
        logits = TwoClasses.of(ops.cast(outputs, "float32"))
        own = logits[..., target : target + 1]
        if outputs.shape[-1] == 1:  # of one logit, class 0 has its negative
            own = outputs if target else -outputs
        return ops.sum(own * inside, axis=(1, 2, 3)) / inside.sum()

    def probability(outputs):
        shares = masks.probabilities(outputs)
        own = shares[..., [0 if shares.shape[-1] == 1 else target]]
        own = 1 - own if shares.shape[-1] == 1 and target == 0 else own
        return (own * inside).sum(axis=(1, 2, 3)) / inside.sum()

    share = float(inside.mean())
    text = f"{names[target]}  {share:.0%} of the pixels"
    return Score(target, names[target], text, logit, probability, share)


def of_box(info, outputs, target):
    """Return the score of a detector's most probable box, of any class or of one."""
    names, grid = info["classes"], info["grid"]
    boxes, scores = (ops.convert_to_numpy(part)[0] for part in coding.scored(outputs, grid))
    place = scores.argmax() if target is None else scores[:, target].argmax() * len(names) + target
    row, k = np.unravel_index(place, scores.shape)

    def probability(outputs):
        return ops.convert_to_numpy(coding.scored(outputs, grid)[1])[:, row, k]

    def logit(outputs):
        return ops.log(coding.scored(outputs, grid)[1][:, row, k] + LEAST)

    text = f"{names[k]}  {scores[row, k]:.0%}"
    return Score(int(k), names[k], text, logit, probability, box=boxes[row])
