"""Conformal prediction: sets of classes and intervals of values with a promised coverage.

A quantile of nonconformity scores on held-out examples decides what is in a set. If these and a new
example are exchangeable, the set holds the truth with at least the promised probability.

- "lac", 1 - p of the class: Sadinle, Lei & Wasserman, JASA 2019, https://arxiv.org/abs/1609.00451.
  Also known as THR; the smallest sets on average.
- "aps", the probability of the class and of all more probable ones: Romano, Sesia & Candès, NeurIPS
  2020, https://arxiv.org/abs/2006.02544. Departure: not randomized, so that a prediction is always
  the same; sets are slightly larger.
- "raps", which adds a penalty to improbable classes: Angelopoulos et al., ICLR 2021,
  https://arxiv.org/abs/2009.14193, Eq. 4, without randomization.
- "split", residuals: Lei et al., JASA 2018, https://arxiv.org/abs/1604.04173, Algorithm 2.
- "quantile", distances from conditional quantiles: Romano, Patterson & Candès, NeurIPS 2019,
  https://arxiv.org/abs/1905.03222, Eq. 6 and 7.
- Examples of many labels, such as the pixels of an image, have a risk, the share of labels that
  their sets miss: Angelopoulos et al., ICLR 2024, https://arxiv.org/abs/2208.02814, Eq. 4.

A model's `info` stores the result under "conformal", a dictionary: method, coverage, and quantile,
penalty and free (of classes), or lower, upper and slopes (of values).
"""

import numpy as np

SETS = ("lac", "aps", "raps")
INTERVALS = ("split", "quantile")
ROUNDING = 1e-6  # differences of scores that are the rounding of float32


def quantile(scores, coverage, groups=None):
    """Return the smallest score such that sets up to it miss no more than promised.

    With one score an example this is the k-th smallest of n, k = ⌈(n + 1) coverage⌉.

    Args:
        scores: nonconformity scores of the true labels, (m,).
        coverage: the promised coverage, between 0 and 1.
        groups: (m,) integers: scores of one group are of one example, whose risk is the share of
            scores above the quantile. None: each score is an example.

    Returns:
        A number; infinite if there are too few examples for this coverage, see `least`.
    """
    scores = np.asarray(scores, np.float64)
    weights, count = np.ones(len(scores)), len(scores)
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1]
        sizes = np.bincount(groups)
        weights, count = 1 / sizes[groups], len(sizes)
    allowed = (1 - coverage) * (count + 1) - 1
    if not count or allowed < -ROUNDING:
        return float("inf")
    values, places = np.unique(scores, return_inverse=True)
    mass = np.bincount(places, weights)
    missed = mass[::-1].cumsum()[::-1] - mass  # total risk of the examples at each value
    return float(values[np.argmax(missed <= allowed + ROUNDING)])


def least(coverage):
    """Return the number of examples from which a quantile of this coverage is finite."""
    return int(np.ceil(coverage / (1 - coverage) - ROUNDING))


def scores(p, method, penalty=0.0, free=0):
    """Return the nonconformity score of every class.

    Args:
        p: probabilities (..., C).
        method: one of SETS.
        penalty: λ of "raps", added for each rank beyond `free`.
        free: k of "raps", the number of most probable classes without penalty.

    Returns:
        (..., C), not below 0; the higher, the less a class conforms.
    """
    p = np.asarray(p)
    if method == "lac":
        return 1 - p
    order = np.argsort(-p, axis=-1, kind="stable")
    total = np.cumsum(np.take_along_axis(p, order, -1), axis=-1)
    if method == "raps":
        total = total + penalty * np.maximum(np.arange(1, p.shape[-1] + 1) - free, 0)
    result = np.empty_like(total)
    np.put_along_axis(result, order, total, -1)
    return result


def sets(p, settings):
    """Return which classes are in the set of each prediction, the most probable one always.

    Args:
        p: probabilities (..., C).
        settings: what a model's `info` stores under "conformal".

    Returns:
        (..., C) bool.
    """
    extra = {key: settings[key] for key in ("penalty", "free") if key in settings}
    bound = settings["quantile"] + ROUNDING
    inside = scores(p, settings["method"], **extra) <= bound
    best = np.argmax(p, axis=-1)[..., None]
    np.put_along_axis(inside, best, True, -1)
    return inside


def stored(info):
    """Return what a model's `info` stores of its intervals, {} if it has none.

    Older forecasters have them under "found".
    """
    return info.get("conformal", info.get("found", {}))


def offsets(outputs, settings):
    """Return how far intervals reach from predicted values, below and above.

    Args:
        outputs: values (..., K), standardized as in training.
        settings: "lower" and "upper", (..., K); with "slopes", these are from the conditional
            quantiles a + b times the output, {"lower": [a, b], "upper": [a, b]}.

    Returns:
        (low, high), to be added to the outputs; of shape (..., K).
    """
    low, high = (np.array(settings[key], np.float64) for key in ("lower", "upper"))
    if "slopes" not in settings:
        return low, high
    ends = [conditional(outputs, settings["slopes"][key]) for key in ("lower", "upper")]
    return np.minimum(*ends) - outputs + low, np.maximum(*ends) - outputs + high


def conditional(outputs, slopes):
    """Return the quantiles a + b times the outputs (..., K); slopes are [a, b], (..., K) each."""
    constant, slope = np.array(slopes, np.float64)
    return constant + slope * outputs
