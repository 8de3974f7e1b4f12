"""What the tasks on point clouds share: sampling, normalisation, augmentation, .ply files."""

import keras
import numpy as np

from zoo import layers


def sample(points, count, how="random"):
    """Choose `count` of n points; of fewer, all of them and some again.

    Args:
        points: (n, 3).
        count: how many.
        how: "random", the same choice whenever it is made, or "farthest" (farthest-point sampling,
            Qi et al. 2017, PointNet++, Sec. 3.2), which spreads them evenly.

    Returns:
        Indices (count,) into the points, int64.
    """
    if how not in ("random", "farthest"):
        raise ValueError(f"sampling is {how!r}: it can be 'random' or 'farthest'")
    rng = np.random.default_rng(len(points))
    if len(points) <= count:
        again = rng.integers(len(points), size=count - len(points))
        return np.concatenate([rng.permutation(len(points)), again])
    if how == "random":
        return rng.choice(len(points), count, replace=False)
    chosen = np.zeros(count, np.int64)
    distance = np.full(len(points), np.inf)
    for i in range(1, count):
        step = np.sum((points - points[chosen[i - 1]]) ** 2, axis=1)
        distance = np.minimum(distance, step)
        chosen[i] = np.argmax(distance)
    return chosen


def settle(points):
    """Move points (n, 3) so that the middle of their extent and the ground are at the origin."""
    low, high = points.min(axis=0), points.max(axis=0)
    ground = np.percentile(points[:, 2], 1)  # a stray return below the ground is no ground
    return (points - np.array([*(low + high)[:2] / 2, ground])).astype(np.float32)


def radius(settled):
    """Root mean square distance (metres) of settled clouds' points from their origins."""
    squares = [np.mean(np.sum(points.astype(np.float64) ** 2, axis=1)) for points in settled]
    return float(np.sqrt(np.mean(squares)))


def normalize(settled, info, how):
    """Divide settled points (n, 3) by the data set's radius, or by their own largest one.

    Outdoors the size in metres tells a car from a lorry, so the constant is the default.
    """
    if how == "dataset":
        return settled / np.float32(info["radius"])
    if how == "unit_ball":
        centred = settled - settled.mean(axis=0)
        return centred / max(np.sqrt(np.sum(centred**2, axis=1)).max(), np.float32(1e-6))
    raise ValueError(f"normalize is {how!r}: it can be 'dataset' or 'unit_ball'")


def augment(options):
    """Return a function (x, y, entropy) to (x, y) that turns, scales and shakes clouds.

    x is (B, N, 3), or a dictionary with these "points"; labels (B, N) travel with their points.
    """
    steps = [
        layers.RandomTurn() if options["rotate"] else None,
        layers.RandomStretch(options["scale"]) if options["scale"] else None,
        layers.RandomJitter(options["jitter"]) if options["jitter"] else None,
        layers.RandomPointDropout(options["point_dropout"]) if options["point_dropout"] else None,
    ]
    steps = [step for step in steps if step is not None]
    if not steps:
        return None
    pipeline = keras.Sequential(steps)

    def apply(x, y, entropy):
        if isinstance(x, dict):
            points, y = apply(x["points"], y, entropy)
            return {**x, "points": points}, y
        layers.reseed(pipeline, entropy)
        if y.ndim == 1:
            return pipeline(x, training=True), y
        rows = np.concatenate([x, y[..., None].astype(x.dtype)], axis=-1)
        rows = keras.ops.convert_to_numpy(pipeline(rows, training=True))
        return rows[..., :-1], rows[..., -1].astype(y.dtype)

    return apply


def write_ply(path, points, labels, colours, offset=(0.0, 0.0, 0.0)):
    """Write points with labels and colours as a binary .ply file, in double precision.

    Args:
        path: of the file.
        points: (n, 3), metres.
        labels: (n,) integers.
        colours: (n, 3), 0 to 1.
        offset: (3,), metres, added to the points: what a survey's reader took off.
    """
    fields = [(axis, "<f8") for axis in "xyz"]
    fields += [(name, "u1") for name in ("red", "green", "blue")] + [("label", "<i4")]
    rows = np.empty(len(points), fields)
    for axis, name in enumerate("xyz"):
        rows[name] = points[:, axis].astype(np.float64) + offset[axis]
    for channel, name in enumerate(("red", "green", "blue")):
        rows[name] = np.round(colours[:, channel] * 255)
    rows["label"] = labels
    names = {"<f8": "double", "u1": "uchar", "<i4": "int"}
    properties = "".join(f"property {names[kind]} {name}\n" for name, kind in fields)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{properties}"
    with open(path, "wb") as file:
        file.write(f"{header}end_header\n".encode() + rows.tobytes())
