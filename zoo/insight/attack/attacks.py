"""Attacks on classifiers: changes of an input, too small to be seen, that change the prediction.

Goodfellow, Shlens & Szegedy, ICLR 2015, https://arxiv.org/abs/1412.6572, Sec. 4: the fast gradient
sign method (FGSM). Madry et al., ICLR 2018, https://arxiv.org/abs/1706.06083, Sec. 2.1: projected
gradient descent (PGD). An attack may change every value of an input by `epsilon` at most, in the
unit of the model's input: images are from 0 to 1, series and clouds are standardized.

Untargeted attacks raise the loss of the true class; targeted ones lower that of a chosen class.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from zoo.inference import predictors
from zoo.nn import gradients
from zoo.nn.layers import PADDING

REACH = 2.5  # a step of PGD is this times epsilon / steps, so that it can cross the ball


@dataclasses.dataclass(frozen=True)
class Domain:
    """Which inputs there are.

    Attributes:
        low: smallest value of an input.
        high: largest value.
        padding: whether steps of only `PADDING`, at the end of series, are left as they are.
    """

    low: float = -np.inf
    high: float = np.inf
    padding: bool = False

    @classmethod
    def of(cls, task):
        """Return the domain of a task's inputs."""
        if task.name.startswith("image"):
            return cls(0.0, 1.0)
        return cls(padding=task.name.startswith("sequence"))

    def project(self, changed, x, epsilon):
        """Return changed inputs, brought to within epsilon of x and into the domain, a tensor."""
        low, high = ops.maximum(x - epsilon, self.low), ops.minimum(x + epsilon, self.high)
        changed = ops.minimum(ops.maximum(changed, low), high)
        if self.padding:
            return ops.where(ops.all(ops.equal(x, PADDING), axis=-1, keepdims=True), x, changed)
        return changed

    def within(self, changed, x, epsilon):
        """Return `project` as a NumPy array, float32."""
        tensors = (ops.convert_to_tensor(array, "float32") for array in (changed, x))
        return ops.convert_to_numpy(self.project(*tensors, epsilon))


def slope(model):
    """Return the compiled function (x, y) to the gradient of the cross-entropy, as NumPy arrays.

    Args:
        model: a `keras.Model` from x (B, ...) to logits (B, K), or several equal inputs.

    Returns:
        A function of x and labels (B,) to an array of the shape of x. The losses of a batch are
        added, so that no example affects the gradient of another.
    """

    def loss(x, y):
        logits = model(predictors.for_each_input(model, x), training=False)
        losses = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        return ops.sum(losses)

    run = gradients.compiled(gradients.of(loss))
    return lambda x, y: ops.convert_to_numpy(run(x, y)[1])


def fgsm(slope, x, y, epsilon, domain, targeted=False):
    """Change every value by epsilon, in the direction of the gradient's sign: Eq. in Sec. 4.

    Args:
        slope: as of `slope`.
        x: inputs (B, ...).
        y: true labels (B,); of a targeted attack, the chosen ones.
        epsilon: the change, or a list of them, for which the gradient is computed once.
        domain: the `Domain` of the inputs.
        targeted: whether y is to be predicted, not avoided.

    Returns:
        Attacked inputs (B, ...) float32; a list of them for a list of epsilons.
    """
    direction = (-1 if targeted else 1) * np.sign(slope(x, y))
    attacked = [domain.within(x + e * direction, x, e) for e in np.atleast_1d(epsilon)]
    return attacked if np.ndim(epsilon) else attacked[0]


def pgd(slope, x, y, epsilon, domain, targeted=False, steps=10, seed=0):
    """Take several steps of the gradient's sign, each projected, from a random start.

    Args:
        slope: as of `slope`.
        x: inputs (B, ...).
        y: as of `fgsm`.
        epsilon: the largest change.
        domain: the `Domain` of the inputs.
        targeted: whether y is to be predicted, not avoided.
        steps: how many.
        seed: of the random start.

    Returns:
        Attacked inputs (B, ...) float32.
    """
    direction, rng = -1 if targeted else 1, np.random.default_rng(seed)
    changed = domain.within(x + rng.uniform(-epsilon, epsilon, x.shape), x, epsilon)
    for _ in range(steps):
        step = REACH * epsilon / steps * np.sign(slope(changed, y))
        changed = domain.within(changed + direction * step, x, epsilon)
    return changed
