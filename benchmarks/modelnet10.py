"""ModelNet10 as point clouds: the centres of the surface voxels of each object.

python -m benchmarks.modelnet10 $ZOO_DATA/modelnet10_voxels/modelnet10.npz runs/modelnet10.npz
python train.py --model pointnet --data runs/modelnet10.npz --set normalize=unit_ball ...
"""

import argparse
import pathlib

import numpy as np

CLASSES = "bathtub bed chair desk dresser monitor night_stand sofa table toilet".split()
POINTS = 1024  # per cloud; surface voxels are sampled, or repeated if there are fewer


def main():
    """Convert the file of voxels to a file of point clouds."""
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
    """Return the occupied voxels (n, 32, 32, 32) with an empty neighbour."""
    padded = np.pad(solids, [(0, 0), (1, 1), (1, 1), (1, 1)])
    inside = np.ones_like(solids)
    for axis in (1, 2, 3):
        for step in (-1, 1):
            inside &= np.roll(padded, step, axis=axis)[:, 1:-1, 1:-1, 1:-1]
    return solids & ~inside & 1


def cloud(cells, rng):
    """Return POINTS voxel centres (POINTS, 3) float32, in voxel units.

    34 of the 4,899 objects are empty. They become a single repeated point, so that the
    size of the official test set does not change.
    """
    centres = np.argwhere(cells).astype(np.float32)
    if not len(centres):
        centres = np.full((1, 3), 15.5, np.float32)
    order = rng.permutation(len(centres))
    return centres[np.resize(order, POINTS)]


if __name__ == "__main__":
    main()
