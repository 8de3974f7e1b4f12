"""Losses of detectors, compared with the papers' equations in NumPy, one box after the other."""

import keras
import numpy as np
import pytest

from zoo.tasks.boxes import coding, losses

V3 = {
    "form": "yolov3",
    "anchors": [[[40.0, 30.0], [60.0, 60.0]], [[8.0, 8.0], [16.0, 20.0]]],
    "strides": [32, 16],
    "size": [64, 96],
}
V1 = {"form": "yolo", "anchors": [[[64.0, 64.0]] * 2], "strides": [16], "size": [64, 64]}
BOX = [20.0, 10.0, 30.0, 24.0]


def truth(*rows, count=4):
    """Return padded truth (1, count, 7) of rows (x1, y1, x2, y2, class, ignored)."""
    y = np.zeros((1, count, 7), np.float32)
    y[..., 4] = -1
    for i, (*corners, label, ignored) in enumerate(rows):
        y[0, i] = [*corners, label, 1.0, ignored]
    return y


def raw(grid, classes=3, seed=0):
    """Return random raw outputs of a grid."""
    count = len(coding.places(grid)[0])
    shape = (1, count, 5 + classes)
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def overlap(a, b):
    """Return the IoU of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])  # noqa: E731
    return sides.prod() / (area(a) + area(b) - sides.prod())


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def bce(target, logit):
    p = sigmoid(logit)
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


def slow_v3(y, out, grid):
    """Compute the paper's loss of one image, squared errors, as the text has it."""
    boxes = np.asarray(coding.decode(out[None], grid)[0])[0]
    cells, strides, anchors = coding.places(grid)
    height, width = grid["size"]
    targets, total = np.zeros(len(out)), 0.0
    best = np.zeros(len(out))
    flat = [
        (tuple(a), s)
        for level, s in zip(grid["anchors"], grid["strides"], strict=True)
        for a in level
    ]
    for x1, y1, x2, y2, label, _, ignored in y:
        if label < 0:
            continue
        box = np.array([x1, y1, x2, y2])
        best = np.maximum(best, [overlap(predicted, box) for predicted in boxes])
        if ignored:
            continue
        w, h = x2 - x1, y2 - y1
        ious = [min(w, a[0]) * min(h, a[1]) for a, _ in flat]
        ious = [s / (w * h + a[0] * a[1] - s) for s, (a, _) in zip(ious, flat, strict=True)]
        anchor, stride = flat[int(np.argmax(ious))]
        cx, cy = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
        (row,) = np.flatnonzero(
            (cells[:, 0] == int(cx))
            & (cells[:, 1] == int(cy))
            & (strides[:, 0] == stride)
            & (anchors == anchor).all(axis=1)
        )
        t = out[row]
        error = (sigmoid(t[0]) - cx % 1) ** 2 + (sigmoid(t[1]) - cy % 1) ** 2
        error += (t[2] - np.log(w / anchor[0])) ** 2 + (t[3] - np.log(h / anchor[1])) ** 2
        total += (2 - w * h / (height * width)) * error
        total += sum(bce(float(k == label), t[5 + k]) for k in range(len(t) - 5))
        targets[row] = 1
    counts = (targets == 1) | (best <= 0.5)
    return total + sum(bce(targets[i], out[i, 4]) for i in np.flatnonzero(counts))


@pytest.mark.parametrize("seed", range(4))
def test_yolov3_is_the_papers(seed):
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 40, (3, 2)), rng.uniform(5, 45, (3, 2))
    rows = np.concatenate([corner, corner + side], axis=1)
    y = truth(*([*row, rng.integers(3), i == 2] for i, row in enumerate(rows)))
    out = raw(V3, seed=seed)
    loss = losses.loss(V3, ciou=False)
    np.testing.assert_allclose(loss(y, out), slow_v3(y[0], out[0], V3), rtol=1e-4)


def test_a_perfect_prediction_has_no_loss():
    y = truth([*BOX, 2, 0])
    out = np.full((1, len(coding.places(V3)[0]), 8), -30.0, np.float32)
    loss = losses.loss(V3, ciou=True)
    row = int(loss.assign(y[..., :4], None)[0, 0])
    cells, strides, anchors = (part[row] for part in coding.places(V3))
    share = np.array([25.0, 17.0]) / strides - cells
    out[0, row] = [*np.log(share / (1 - share)), *np.log([10, 14] / anchors), 30, -30, -30, 30]
    assert tuple(anchors) == (8.0, 8.0) or tuple(anchors) == (16.0, 20.0)
    assert float(loss(y, out)) < 1e-4
    np.testing.assert_allclose(coding.decode(out, V3)[0][0, row], BOX, rtol=1e-5)
    assert float(losses.loss(V3, ciou=False)(y, out)) < 1e-4


def test_yolo_is_equation_3():
    y = truth([*BOX, 1, 0])  # center (25, 17): cell (1, 1) of 4 x 4
    out = raw(V1)
    boxes = np.asarray(coding.decode(out, V1)[0])[0]
    pair = [2 * (1 * 4 + 1) + i for i in range(2)]
    row = max(pair, key=lambda i: overlap(boxes[i], np.array(BOX)))
    t = out[0, row].astype(float)
    expected = 5 * ((t[0] - 9 / 16) ** 2 + (t[1] - 1 / 16) ** 2)
    roots = np.sqrt([10 / 64, 14 / 64])
    expected += 5 * ((abs(t[2]) - roots[0]) ** 2 + (abs(t[3]) - roots[1]) ** 2)
    expected += ((t[5:] - [0, 1, 0]) ** 2).sum()
    expected += (t[4] - overlap(boxes[row], np.array(BOX))) ** 2
    expected += 0.5 * sum(out[0, i, 4] ** 2 for i in range(32) if i != row)
    np.testing.assert_allclose(losses.loss(V1, ciou=False)(y, out), expected, rtol=1e-4)


@pytest.mark.parametrize("grid", [V3, V1], ids=["yolov3", "yolo"])
@pytest.mark.parametrize("ciou", [True, False])
def test_gradients_are_finite_whatever_the_boxes_are(grid, ciou):
    tf = pytest.importorskip("tensorflow")
    height, width = grid["size"]
    rows = [
        [],
        [[*BOX, 0, 0]],
        [[0, 0, width, height, 0, 0], [width - 1, height - 1, width, height, 1, 0]],
        [[5, 5, 5, 5, 0, 0], [9, 9, 5, 5, 0, 0], [3, 3, 3, 9, 0, 0]],  # no area
        [[width, height, width, height, 0, 0], [-5, -5, 3, 3, 2, 0]],  # at and over the border
        [[*BOX, 0, 1]],
        [[*BOX, 0, 0]] * 4,
    ]
    y = np.concatenate([truth(*some) for some in rows])
    loss = losses.loss(grid, ciou=ciou, smoothing=0.1, focal=1.5)
    for scale in (1.0, 40.0, -40.0):
        out = tf.constant(np.concatenate([scale * raw(grid)] * len(rows)))
        with tf.GradientTape() as tape:
            tape.watch(out)
            value = loss(y, out)
        assert np.isfinite(value)
        assert np.isfinite(tape.gradient(value, out)).all()


def slow_ciou(box, truth_, alpha=None):
    """Return the complete IoU of two boxes (4,) as Zheng et al. write it, and its alpha."""
    share = overlap(box, truth_)
    centers = [(b[:2] + b[2:]) / 2 for b in (box, truth_)]
    around = np.maximum(box[2:], truth_[2:]) - np.minimum(box[:2], truth_[:2])
    angle = [np.arctan((b[2] - b[0]) / (b[3] - b[1])) for b in (truth_, box)]
    v = 4 / np.pi**2 * (angle[0] - angle[1]) ** 2
    alpha = v / (1 - share + v) if alpha is None else alpha
    apart = ((centers[0] - centers[1]) ** 2).sum() / (around**2).sum()
    return share - apart - alpha * v, alpha


def test_complete_iou_has_the_papers_value_and_a_gradient_with_alpha_held_constant():
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 30, (2, 8, 2)), rng.uniform(10, 40, (2, 8, 2))
    side[0, :, 0] *= 3  # of another aspect, so that alpha counts
    drawn, truth_ = np.concatenate([corner, corner + side], axis=-1)
    x = tf.constant(drawn, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = losses.complete_iou(x, tf.constant(truth_, tf.float32))
    expected, slopes, step = [], np.zeros_like(drawn), 1e-5
    for i, (box, target) in enumerate(zip(drawn, truth_, strict=True)):
        known, alpha = slow_ciou(box, target)
        expected.append(known)
        for k, move in enumerate(step * np.eye(4)):
            ends = (slow_ciou(box + way * move, target, alpha)[0] for way in (1, -1))
            slopes[i, k] = (next(ends) - next(ends)) / (2 * step)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    np.testing.assert_allclose(tape.gradient(value, x), slopes, atol=2e-5)
    library = keras.utils.bounding_boxes.compute_ciou(drawn, truth_, "xyxy")
    np.testing.assert_allclose(value, library, atol=1e-5)


def test_boxes_to_ignore_are_neither_right_nor_wrong():
    out, loss = raw(V3), losses.loss(V3)
    boxes = np.asarray(coding.decode(out, V3)[0])[0]
    box = boxes[7]
    both = [float(loss(truth([*box, 0, ignored]), out)) for ignored in (0, 1)]
    none = float(loss(truth(), out))
    near = [i for i, predicted in enumerate(boxes) if overlap(predicted, box) > 0.5]
    assert 7 in near
    np.testing.assert_allclose(none - both[1], sum(bce(0, out[0, i, 4]) for i in near), rtol=1e-3)
    assert both[0] > both[1]


def test_images_count_alike_and_padding_counts_nothing():
    out = np.concatenate([raw(V3, seed=seed) for seed in (0, 1)])
    first, second = truth([*BOX, 1, 0]), truth([*BOX, 0, 0], [0, 0, 50, 50, 2, 0])
    loss = losses.loss(V3)
    values = [float(loss(y, o[None])) for y, o in zip((first, second), out, strict=True)]
    np.testing.assert_allclose(
        loss(np.concatenate([first, second]), out), np.mean(values), rtol=1e-5
    )
    longer = np.concatenate([truth([*BOX, 1, 0], count=9)])
    np.testing.assert_allclose(loss(longer, out[:1]), values[0], rtol=1e-6)


def test_it_compiles_with_xla():
    tf = pytest.importorskip("tensorflow")
    loss, y, out = losses.loss(V3), truth([*BOX, 1, 0]), raw(V3)
    fast = tf.function(loss, jit_compile=True)
    np.testing.assert_allclose(fast(tf.constant(y), tf.constant(out)), loss(y, out), rtol=1e-5)


def test_smoothing_and_focal_weights_are_what_they_say():
    y, out = truth([*BOX, 1, 0]), raw(V3)
    row = int(losses.loss(V3).assign(y[..., :4], None)[0, 0])
    t = out[0, row, 5:]
    plain, smooth = (float(losses.loss(V3, smoothing=s)(y, out)) for s in (0.0, 0.3))
    hard = sum(bce(target, v) for target, v in zip([0, 1, 0], t, strict=True))
    soft = sum(bce(target, v) for target, v in zip([0.1, 0.8, 0.1], t, strict=True))
    np.testing.assert_allclose(smooth - plain, soft - hard, rtol=1e-3)
    focal = float(losses.loss(V3, focal=2.0)(truth(), out))
    expected = sum(sigmoid(v) ** 2 * bce(0, v) for v in out[0, :, 4])
    np.testing.assert_allclose(focal, expected, rtol=1e-4)


def test_a_grid_is_found_in_its_model_and_only_there():
    from zoo.nn.layers import Grid

    image = keras.Input((64, 96, 3))
    maps = [keras.layers.Conv2D(2 * 8, 1, s, padding="same")(image) for s in (32, 16)]
    model = keras.Model(image, Grid(V3["anchors"], V3["strides"])(maps))
    assert coding.grid(model) == V3
    assert model.output_shape == (None, len(coding.places(V3)[0]), 8)
    with pytest.raises(ValueError, match="not a detector"):
        coding.grid(keras.Model(image, maps[0]))
    with pytest.raises(ValueError, match="yolov3 or yolo, not 'v9'"):
        Grid(V3["anchors"], V3["strides"], "v9")
    with pytest.raises(ValueError, match="2 lists of anchors do not fit 1 maps"):
        Grid(V3["anchors"], [8])
