"""Calibration of logits: temperature, vector, Dirichlet and isotonic, chosen by cross-validation.

- "temperature" and "vector", a factor and a bias per class (of one logit: Platt scaling): Guo et
  al., ICML 2017, https://arxiv.org/abs/1706.04599, Sec. 4.2.
- "dirichlet", a matrix on log-probabilities: Kull et al., NeurIPS 2019,
  https://arxiv.org/abs/1910.12656, Eq. 2, regularised off the diagonal
  (ODIR). Departure: the penalty is that of a standard normal prior, not tuned.
- "isotonic": Zadrozny & Elkan, KDD 2002, see `zoo.nn.isotonic`.

Logits are (m, K) of labels (m,), a single logit is that of class 1; or of several labels, (m, K)
bool, with a sigmoid each.
"""

import keras
import numpy as np
from scipy.optimize import minimize

from ensembles.evaluation import calibration, probabilities
from zoo.nn.ensemble import TwoClasses
from zoo.nn.isotonic import Isotonic

METHODS = ("none", "temperature", "vector", "dirichlet", "isotonic")
OF_LABELS = ("none", "temperature", "vector")  # several labels at once
FOLDS = 5
LEAST = 10  # examples from which methods are compared
MOST = 2**16  # labels that parameters other than the temperature are fitted to
BATCH = 2**16  # labels that are calibrated at once
KNOTS = 64  # of an isotonic function at most


def choose(logits, y, groups=None):
    """Compare the methods by their log-loss on folds that they were not fitted to.

    Args:
        logits: (m, K).
        y: labels (m,), or (m, K) bool of several labels.
        groups: (m,) integers: labels of one group are not divided. None: each is its own.

    Returns:
        {method: log-loss}, the mean over all labels, in nats; {} if there are too few examples.
    """
    groups = np.arange(len(y)) if groups is None else groups
    ids = np.unique(groups, return_inverse=True)[1]
    if ids.max() + 1 < LEAST:
        return {}
    fold = (np.random.default_rng(0).permutation(ids.max() + 1) % FOLDS)[ids]
    losses = {}
    for method in OF_LABELS if y.ndim == 2 else METHODS:
        total = 0.0
        for k in range(FOLDS):
            fitted = fit(method, logits[fold != k], y[fold != k])
            inside = fold == k
            part = convert(layer(fitted, logits.shape[-1]), logits[inside])
            total += inside.mean() * log_loss(part, y[inside])
        losses[method] = float(total)
    return losses


def log_loss(logits, y):
    """Return the mean negative log-likelihood of labels, in nats."""
    logits = logits[..., None] if y.ndim == 2 else logits
    return probabilities.negative_log_likelihood(probabilities.of_logits(logits), y.astype(int))


def fit(method, logits, y):
    """Fit a method to logits (m, K) and labels; return its parameters, a dictionary."""
    if method == "none":
        return {"method": method}
    if method == "temperature":
        own = logits[..., None] if y.ndim == 2 else logits
        return {"method": method, "temperature": calibration.temperature(own, y.astype(int))}
    if len(y) > MOST:
        rows = np.sort(np.random.default_rng(0).choice(len(y), MOST, replace=False))
        logits, y = logits[rows], y[rows]
    logits = np.asarray(logits, np.float64)
    return {"method": method, **FITS[method](logits, y)}


def vector(logits, y):
    """Return the factor and the bias of each logit."""
    count = logits.shape[-1]

    def loss(parameters):
        factor, bias = np.split(parameters, 2)
        value, slope = with_gradient(logits * factor + bias, y)
        return value, np.concatenate([(slope * logits).sum(axis=0), slope.sum(axis=0)])

    start = np.concatenate([np.ones(count), np.zeros(count)])
    factor, bias = np.split(minimize(loss, start, jac=True, method="L-BFGS-B").x, 2)
    return {"factor": factor.tolist(), "bias": bias.tolist()}


def dirichlet(logits, y):
    """Return the matrix (C, C) and the bias (C,) that log-probabilities are changed by."""
    features = log_softmax(logits)
    count = features.shape[-1]
    others = 1 - np.eye(count)

    def loss(parameters):
        matrix, bias = parameters[:-count].reshape(count, count), parameters[-count:]
        value, slope = with_gradient(features @ matrix + bias, y)
        value += ((others * matrix**2).sum() + (bias**2).sum()) / (2 * len(y))
        of_matrix = features.T @ slope + others * matrix / len(y)
        of_bias = slope.sum(axis=0) + bias / len(y)
        return value, np.concatenate([of_matrix.ravel(), of_bias])

    start = np.concatenate([np.eye(count).ravel(), np.zeros(count)])
    best = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return {"matrix": best[:-count].reshape(count, count).tolist(), "bias": best[-count:].tolist()}


def isotonic(logits, y):
    """Return the knots of the function of each probability, see `Isotonic`."""
    from sklearn.isotonic import IsotonicRegression

    p, single = probabilities.of_logits(logits), logits.shape[-1] == 1
    least, knots = 1 / (len(y) + 2), {"x": [], "y": []}
    for k in range(1, 2) if single else range(p.shape[-1]):
        fitted = IsotonicRegression(y_min=least, y_max=1 - least).fit(p[:, k], y == k)
        x, values = fitted.X_thresholds_, fitted.y_thresholds_
        places = np.linspace(0, len(x) - 1, KNOTS).round().astype(int)  # short ones are repeated
        knots["x"].append(x[places].tolist())
        knots["y"].append(values[places].tolist())
    return knots


FITS = {"vector": vector, "dirichlet": dirichlet, "isotonic": isotonic}


def log_softmax(logits):
    """Return the log-probabilities (m, C) of logits (m, K); C is 2 for a single logit."""
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def with_gradient(logits, y):
    """Return the log-loss of logits (m, K), and its gradient by them."""
    if y.ndim == 2 or logits.shape[-1] == 1:
        truth = np.reshape(y, logits.shape).astype(np.float64)
        p = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        value = np.logaddexp(0, np.where(truth > 0, -logits, logits)).mean()
        return float(value), (p - truth) / truth.size
    logarithms, rows = log_softmax(logits), np.arange(len(y))
    slope = np.exp(logarithms)
    slope[rows, y] -= 1
    return -float(logarithms[rows, y].mean()), slope / len(y)


def layer(fitted, units):
    """Return the model from logits (B, ..., K) to calibrated ones for parameters of `fit`.

    It is a function of tensors, for a head of any rank; `convert` applies it to an array.
    """
    method = fitted["method"]
    if method == "none":
        return keras.layers.Identity(name="uncalibrated")
    if method == "temperature":
        return keras.layers.Rescaling(1 / fitted["temperature"], name="temperature")
    if method == "isotonic":
        return Isotonic(fitted["x"], fitted["y"], name="isotonic")
    if method == "vector":
        return keras.layers.Rescaling(fitted["factor"], fitted["bias"], name="vector")
    dense = keras.layers.Dense(max(units, 2), name="dirichlet")
    dense.build((None, max(units, 2)))
    dense.set_weights([np.array(fitted["matrix"]), np.array(fitted["bias"])])

    def change(logits):
        x = TwoClasses(2, name="two_classes")(logits) if units == 1 else logits
        x = dense(keras.layers.Activation("log_softmax", name="log_probabilities")(x))
        return TwoClasses(1, name="one_logit")(x) if units == 1 else x

    return change


def convert(change, logits):
    """Return the calibrated logits (m, K) float32 of an array, by a `layer`."""
    starts = range(0, len(logits), BATCH)
    parts = [np.asarray(logits[start : start + BATCH], np.float32) for start in starts]
    return np.concatenate([keras.ops.convert_to_numpy(change(part)) for part in parts])
