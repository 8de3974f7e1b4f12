"""CIFAR-10's test images in two halves, to combine models that others trained on all the rest.

python -m benchmarks.cifar10 $ZOO_DATA/cifar10 runs
python -m ensembles weights resnet20_cifar10 resnet56_cifar10 --data runs/cifar10_half_1.npz

Each file has the training images as train, one half of the test images as validation, on which
combinations are fitted, and the other half as test. Each class is divided evenly, at random.
"""

import argparse
import pathlib

import numpy as np


def main(arguments=None):
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=pathlib.Path, help="folder of cifar10.npz and classes.txt")
    parser.add_argument("folder", type=pathlib.Path, help="where the files are written")
    args = parser.parse_args(arguments)
    classes = np.array((args.data / "classes.txt").read_text(encoding="utf-8").split())
    with np.load(args.data / "cifar10.npz") as arrays:
        train = {"x_train": arrays["x_train"], "y_train": arrays["y_train"].ravel()}
        x, y = arrays["x_test"], arrays["y_test"].ravel()
    args.folder.mkdir(parents=True, exist_ok=True)
    parts = halves(y)
    for number, (validation, test) in enumerate((parts, parts[::-1]), 1):
        path = args.folder / f"cifar10_half_{number}.npz"
        splits = dict(x_val=x[validation], y_val=y[validation], x_test=x[test], y_test=y[test])
        np.savez(path, classes=classes, **train, **splits)
        print(f"{path}: {len(validation):,} validation, {len(test):,} test")


def halves(y, seed=0):
    """Return the indices of two halves of labels (n,), each with half of every class, ascending."""
    rng, first = np.random.default_rng(seed), []
    for label in np.unique(y):
        order = rng.permutation(np.flatnonzero(y == label))
        first += order[: len(order) // 2].tolist()
    return np.sort(first), np.setdiff1d(np.arange(len(y)), first)


if __name__ == "__main__":
    main()
