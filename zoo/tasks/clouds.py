"""What the tasks on point clouds share: sampling, normalisation, augmentation, .ply files."""

import numpy as np


def sample(points, count, how="random"):
    """Choose `count` of n points; of fewer, all of them and some again.

    Args:
        points: (n, 3).
        count: how many.
        how: "random", deterministic for n and count, or "farthest" (farthest-point sampling,
            Qi et al. 2017, PointNet++, Sec. 3.2), which spreads them evenly.

    Returns:
        Indices (count,) into the points, int64.
    """
    if how not in ("random", "farthest"):
        raise ValueError(f"sampling is {how!r}: it can be 'random' or 'farthest'")
    rng = np.random.default_rng(len(points))
    if len(points) <= count:
        repeated = rng.integers(len(points), size=count - len(points))
        return np.concatenate([rng.permutation(len(points)), repeated])
    if how == "random":
        return rng.choice(len(points), count, replace=False)
    chosen = np.zeros(count, np.int64)
    distance = np.full(len(points), np.inf)
    for i in range(1, count):
        step = np.sum((points - points[chosen[i - 1]]) ** 2, axis=1)
        distance = np.minimum(distance, step)
        chosen[i] = np.argmax(distance)
    return chosen


def settle(points, ground="lowest"):
    """Move points (n, 3) so that the middle of their extent and the ground are at the origin.

    The ground is at the "lowest" points, or where the file has z = 0 ("zero"), which keeps the
    height of an object whose foot is hidden.
    """
    if ground not in ("lowest", "zero"):
        raise ValueError(f"ground is {ground!r}: it can be 'lowest' or 'zero'")
    low, high = points.min(axis=0), points.max(axis=0)
    # robust to stray returns below the ground
    height = np.percentile(points[:, 2], 1) if ground == "lowest" else 0.0
    return (points - np.array([*(low + high)[:2] / 2, height])).astype(np.float32)


def radius(settled):
    """Return the root mean square distance (metres) of settled clouds' points from their origins.

    Raises:
        ValueError: all clouds have all their points at one place.
    """
    squares = [np.mean(np.sum(points.astype(np.float64) ** 2, axis=1)) for points in settled]
    return size(
        float(np.sqrt(np.mean(squares))),
        "no cloud has an extent: the points of each are at one place",
    )


def size(radius, why):
    """Return a radius that float32 can divide by; raise a `ValueError` of `why` otherwise."""
    if type(radius) not in (int, float) or not np.float32(1e-20) < radius < np.float32(1e20):
        raise ValueError(why)
    return radius


def normalize(settled, info, how):
    """Divide settled points (n, 3) by the data set's radius, or by their own largest one.

    Outdoors the size in metres distinguishes a car from a lorry, so the constant is the default.

    Raises:
        ValueError: the radius is missing, 0 or not finite, or there is no such way.
    """
    if how == "dataset":
        radius = info.get("radius")
        why = f"the radius that is stored with the model is {radius!r}, not metres above 0"
        return settled / np.float32(size(radius, why))
    if how == "unit_ball":
        centred = settled - settled.mean(axis=0)
        return centred / max(np.sqrt(np.sum(centred**2, axis=1)).max(), np.float32(1e-6))
    raise ValueError(f"normalize is {how!r}: it can be 'dataset' or 'unit_ball'")


def augment(options):
    """Return a function (x, y, entropy) to (x, y) that rotates, scales and jitters clouds.

    In NumPy: for a batch of small clouds Keras' eager calls cost more than the work. Each cloud is
    turned about the up axis z (`rotate`) and scaled by 1 ± `scale`; normal noise of standard
    deviation `jitter` is added to each point, in the cloud's unit; up to the share `point_dropout`
    of the points is replaced by the first one, which for a max over the points is the same as
    leaving them out.
    x is (B, N, 3), or a dictionary with these "points"; labels (B, N) stay with their points.
    """

    def apply(x, y, entropy):
        if isinstance(x, dict):
            points, y = apply(x["points"], y, entropy)
            return {**x, "points": points}, y
        rng, (batch, count) = np.random.default_rng(entropy), x.shape[:2]
        if options["rotate"]:
            x = x @ turns(rng.uniform(-np.pi, np.pi, batch)).astype(np.float32)
        size = rng.uniform(1 - options["scale"], 1 + options["scale"], (batch, 1, 1))
        noise = rng.standard_normal(x.shape, np.float32) * np.float32(options["jitter"])
        x = x * size.astype(np.float32) + noise
        share = rng.uniform(0, options["point_dropout"], (batch, 1))
        lost = rng.random((batch, count)) < share
        x = np.where(lost[..., None], x[:, :1], x)
        return x, y if y.ndim == 1 else np.where(lost, y[:, :1], y)

    return apply


def views(shape, options):
    """Return 8 turns about the up axis z, if training turned clouds; else the cloud as it is.

    Outputs are per point, in the same order, or per cloud: there is nothing to undo.

    Args:
        shape: (N, C) of the model's input; all do.
        options: rotate, as in `augment`.

    Returns:
        A list of (there, back), see `zoo.tasks.Task`. x is as in `augment`.
    """
    angles = np.arange(8) * np.pi / 4 if options["rotate"] else np.zeros(1)
    return [(turned(matrix), lambda outputs: outputs) for matrix in turns(angles)]


def turned(matrix):
    """Return the function that multiplies points (B, N, 3) by a matrix (3, 3)."""

    def there(x):
        if isinstance(x, dict):
            return {**x, "points": there(x["points"])}
        return x @ matrix.astype(x.dtype)

    return there


def turns(angles):
    """Return matrices (B, 3, 3) that turn rows of coordinates about z by angles (B,), radians."""
    matrices = np.zeros((len(angles), 3, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angles)
    matrices[:, 0, 1] = np.sin(angles)
    matrices[:, 1, 0] = -matrices[:, 0, 1]
    matrices[:, 2, 2] = 1
    return matrices


def write_ply(path, points, labels, colours, offset=(0.0, 0.0, 0.0)):
    """Write points with labels and colours as a binary .ply file, in double precision.

    Args:
        path: of the file.
        points: (n, 3), metres.
        labels: (n,) integers.
        colours: (n, 3), 0 to 1.
        offset: (3,), metres, added to the points: what a survey's reader subtracted.
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
