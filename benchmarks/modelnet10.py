"""ModelNet10's voxels as point clouds: the centres of the surface cells of each solid.

python -m benchmarks.modelnet10 $ZOO_DATA/modelnet10_voxels/modelnet10.npz runs/modelnet10.npz
python train.py --model pointnet --data runs/modelnet10.npz --set normalize=unit_ball ...
"""

import argparse
import pathlib

import numpy as np

CLASSES = "bathtub bed chair desk dresser monitor night_stand sofa table toilet".split()
POINTS = 1024  # a cloud; of more surface cells a seeded choice, of fewer some twice


def main():
    """Convert one file into the other."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("voxels", type=pathlib.Path, help=".npz of packed 32 x 32 x 32 voxels")
    parser.add_argument("clouds", type=pathlib.Path, help=".npz to write, for train.py --data")
    args = parser.parse_args()
    arrays, rng = {"classes": np.array(CLASSES)}, np.random.default_rng(0)
    with np.load(args.voxels) as packed:
        for split in ("train", "test"):
            solids = np.unpackbits(packed[f"voxels_{split}"], axis=1).reshape(-1, 32, 32, 32)
            arrays[f"x_{split}"] = np.stack([cloud(solid, rng) for solid in surface(solids)])
            arrays[f"y_{split}"] = packed[f"label_{split}"].astype(np.int64)
    args.clouds.parent.mkdir(parents=True, exist_ok=True)
    np.savez(args.clouds, **arrays)
    print(f"{args.clouds}: {len(arrays['x_train'])} train, {len(arrays['x_test'])} test")


def surface(solids):
    """Return the occupied cells (n, 32, 32, 32) that have an empty one beside them."""
    around = np.pad(solids, [(0, 0), (1, 1), (1, 1), (1, 1)])
    inside = np.ones_like(solids)
    for axis in (1, 2, 3):
        for step in (-1, 1):
            inside &= np.roll(around, step, axis=axis)[:, 1:-1, 1:-1, 1:-1]
    return solids & ~inside & 1


def cloud(cells, rng):
    """Return POINTS cell centres (POINTS, 3) float32, in cells.

    34 of the 4,899 solids are empty. The official test set keeps its size, so each is one point.
    """
    centres = np.argwhere(cells).astype(np.float32)
    if not len(centres):
        centres = np.full((1, 3), 15.5, np.float32)
    order = rng.permutation(len(centres))
    return centres[np.resize(order, POINTS)]


if __name__ == "__main__":
    main()
