"""Non-maximum suppression: equal to a sequential program, compiled, exported, on any backend."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import ensemble_boxes
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import JAX

from zoo.inference import export
from zoo.tasks.boxes.nms import detections, suppress

ROOT = pathlib.Path(__file__).parents[2]
PADDING = [0, 0, 0, 0, 0, -1]
KINDS = [{}, {"sigma": 0.5}]


def overlap(a, b):
    """Return the intersection over union of two boxes, one number at a time."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def one_by_one(boxes, scores, iou=0.5, score=0.01, limit=100, candidates=1000, sigma=0.0):
    """Apply non-maximum suppression to one image as in Fig. 2 of the paper."""
    pairs = [(-float(scores[a, c]), a, c) for a, c in zip(*np.nonzero(scores > score), strict=True)]
    queue = [[-negative, a, c] for negative, a, c in sorted(pairs)[:candidates]]
    rows, boxes = [], boxes.astype(float)
    while queue and len(rows) < limit:
        best, anchor, label = queue.pop(max(range(len(queue)), key=lambda i: queue[i][0]))
        if best <= score:
            break
        rows.append([*boxes[anchor], best, label])
        rest = []
        for box in queue:
            shared = overlap(boxes[anchor], boxes[box[1]]) if box[2] == label else 0.0
            if sigma:
                box[0] *= np.exp(-(shared**2) / sigma)
            if sigma or shared <= iou:
                rest.append(box)
        queue = rest
    return np.array(rows + [PADDING] * (limit - len(rows)), np.float32)


def drawn(seed, images=2, anchors=150, classes=3, levels=None):
    """Return boxes (B, A, 4) that overlap a lot, and scores (B, A, C), of so many levels."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 100, (images, anchors, 2))
    sizes = rng.uniform(10, 45, (images, anchors, 2))
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=-1)
    scores = rng.random((images, anchors, classes))
    if levels:
        scores = np.ceil(scores * levels) / levels
    return boxes.astype(np.float32), scores.astype(np.float32)


def expected(boxes, scores, **options):
    """Return the rows of the sequential program for each image of a batch."""
    pairs = zip(boxes, scores, strict=True)
    return np.stack([one_by_one(*pair, **options) for pair in pairs])


def suppressed(boxes, scores, **options):
    """Return rows as an array."""
    return keras.ops.convert_to_numpy(suppress(np.float32(boxes), np.float32(scores), **options))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"iou": 0.2, "limit": 30},
        {"iou": 0.8, "score": 0.5, "limit": 300},
        {"candidates": 60},
        {"sigma": 0.5},
        {"sigma": 0.1, "limit": 40, "score": 0.3},
        {"sigma": 2.0, "candidates": 60, "limit": 80},
    ],
)
def test_equal_to_one_by_one(options, seed):
    boxes, scores = drawn(seed)
    wanted = expected(boxes, scores, **options)
    np.testing.assert_allclose(suppressed(boxes, scores, **options), wanted, rtol=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 10])
@pytest.mark.parametrize("options", [{"limit": 200}, {"candidates": 100}, {"limit": 7}])
def test_of_equal_scores_the_lower_index_comes_first(levels, options):
    boxes, scores = drawn(5, levels=levels)
    np.testing.assert_array_equal(
        suppressed(boxes, scores, **options), expected(boxes, scores, **options)
    )


def test_as_another_program():
    boxes, scores = drawn(6, images=1, anchors=120)
    boxes = np.clip(boxes / 100, 0, 1)
    labels = np.tile(np.arange(3), 120)
    given = ([np.repeat(boxes[0], 3, axis=0)], [scores[0].ravel()], [labels])
    expected_rows = ensemble_boxes.nms(*given, iou_thr=0.4)
    expected_rows = np.concatenate(
        [expected_rows[0], expected_rows[1][:, None], expected_rows[2][:, None]], axis=1
    )
    expected_rows = expected_rows[np.argsort(-expected_rows[:, 4])]
    [rows] = detections(suppress(boxes, scores, iou=0.4, score=0, limit=360))
    np.testing.assert_allclose(rows, expected_rows, rtol=1e-6)


def test_a_chain_in_which_each_box_decides_on_the_next():
    # Shifted by a quarter of a side: neighbours overlap by 0.6, the next but one by 0.33.
    x = np.arange(257) * 2.5
    boxes = np.stack([x, x * 0, x + 10, x * 0 + 10], axis=1)[None]
    scores = np.linspace(0.9, 0.1, 257)[None, :, None]
    [rows] = detections(suppress(boxes, scores, limit=200))
    np.testing.assert_array_equal(rows[:, 0], x[::2])


def test_classes_do_not_touch_each_other():
    boxes = np.tile([[10.0, 10, 20, 20]], (3, 1))[None]
    scores = np.array([[[0.9, 0.1], [0.8, 0.2], [0.005, 0.7]]])
    rows = suppressed(boxes, scores, limit=4)[0]
    np.testing.assert_allclose(rows[:2, 4:], [[0.9, 0], [0.7, 1]])  # the best of each class
    np.testing.assert_array_equal(rows[2:], [PADDING] * 2)


def test_one_anchor_gives_several_classes():
    boxes, scores = np.array([[[1.0, 2, 3, 4]]]), np.array([[[0.3, 0.01, 0.6]]])
    rows = suppressed(boxes, scores, limit=3)[0]  # 0.01 is not above the least score
    np.testing.assert_allclose(rows, [[1, 2, 3, 4, 0.6, 2], [1, 2, 3, 4, 0.3, 0], PADDING])


def test_an_overlap_at_the_limit_stays():
    boxes = np.array([[[0.0, 0, 4, 4], [0, 0, 4, 2]]])  # IoU 8 / 16
    scores = np.array([[[0.9], [0.8]]])
    assert len(detections(suppress(boxes, scores, iou=0.5))[0]) == 2
    assert len(detections(suppress(boxes, scores, iou=0.499))[0]) == 1


def test_soft_scores_by_hand():
    boxes = np.array([[[0.0, 0, 4, 4], [0, 0, 4, 2], [9, 9, 10, 10]]])
    scores = np.array([[[0.9], [0.8], [0.5]]])
    lowered = 0.8 * np.exp(-(0.5**2) / 0.5)  # 0.485: now it is the last
    rows = suppressed(boxes, scores, sigma=0.5, limit=3)[0]
    np.testing.assert_allclose(rows[:, 4], [0.9, 0.5, lowered], rtol=1e-6)
    np.testing.assert_array_equal(rows[:, :4], boxes[0, [0, 2, 1]])
    assert len(detections(suppress(boxes, scores, sigma=0.5, score=0.49))[0]) == 2


@pytest.mark.parametrize("options", KINDS)
def test_no_box_is_good_enough(options):
    boxes, scores = drawn(7)
    rows = suppressed(boxes, scores * 0, limit=5, **options)
    np.testing.assert_array_equal(rows, np.full((2, 5, 6), PADDING))
    assert [image.shape for image in detections(rows)] == [(0, 6), (0, 6)]
    scores[1] = np.nan  # of a model that has diverged
    rows = suppressed(boxes, scores, **options)
    np.testing.assert_allclose(rows[0], one_by_one(boxes[0], scores[0], **options), rtol=1e-5)
    np.testing.assert_array_equal(rows[1], [PADDING] * 100)


@pytest.mark.parametrize("options", KINDS)
def test_boxes_without_an_area_touch_no_other(options):
    boxes = np.array([[[5.0, 5, 5, 9], [5, 5, 5, 9], [8, 8, 2, 2], [1, 1, 9, 9]]])
    scores = np.array([[[0.9], [0.8], [0.7], [0.6]]])
    [rows] = detections(suppress(boxes, scores, **options))
    np.testing.assert_allclose(rows[:, 4], [0.9, 0.8, 0.7, 0.6])


def test_rows_are_as_many_as_asked_for():
    boxes, scores = drawn(8, anchors=4, classes=1)
    assert suppressed(boxes, scores, limit=9).shape == (2, 9, 6)
    assert suppressed(boxes, scores, limit=2).shape == (2, 2, 6)
    best = detections(suppress(boxes, scores, iou=1, limit=2))[0][:, 4]
    np.testing.assert_allclose(best, np.sort(scores[0, :, 0])[:-3:-1])


@pytest.mark.parametrize(
    "options", [{"limit": 0}, {"score": -0.1}, {"sigma": -1.0}, {"candidates": 0}]
)
def test_settings_that_mean_nothing(options):
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        suppress(*drawn(0), **options)


@pytest.mark.parametrize("options", KINDS)
def test_compiled(options):
    boxes, scores = drawn(9)
    for compiled in (False, True):
        run = tf.function(lambda *x: suppress(*x, **options), jit_compile=compiled)
        wanted = expected(boxes, scores, **options)
        np.testing.assert_allclose(run(boxes, scores).numpy(), wanted, rtol=1e-5)


OTHER = """
import sys, keras, numpy as np
from zoo.tasks.boxes.nms import suppress
data = np.load(sys.argv[1])
def run(boxes, scores):
    return suppress(boxes, scores), suppress(boxes, scores, sigma=0.5)
if keras.backend.backend() == "jax":
    import jax
    run = jax.jit(run)
hard, soft = map(keras.ops.convert_to_numpy, run(data["boxes"], data["scores"]))
np.savez(sys.argv[2], hard=hard, soft=soft)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    boxes, scores = drawn(10)
    np.savez(tmp_path / "x.npz", boxes=boxes, scores=scores)
    environment = {**os.environ, **JAX, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", OTHER, tmp_path / "x.npz", tmp_path / "y.npz"]
    subprocess.run(command, check=True, env=environment, cwd=ROOT)
    rows = np.load(tmp_path / "y.npz")
    np.testing.assert_allclose(rows["hard"], expected(boxes, scores), rtol=1e-5)
    np.testing.assert_allclose(rows["soft"], expected(boxes, scores, sigma=0.5), rtol=1e-5)


class Suppression(keras.layers.Layer):
    """Boxes of random numbers (B, A, 4 + C), suppressed."""

    def __init__(self, sigma=0.0, **kwargs):
        super().__init__(**kwargs)
        self.sigma = sigma

    def call(self, x):
        sides = keras.ops.abs(x[..., 2:4]) + 0.5
        boxes = keras.ops.concatenate([x[..., :2] - sides, x[..., :2] + sides], axis=-1)
        scores = keras.ops.sigmoid(x[..., 4:])
        return suppress(boxes, scores, sigma=self.sigma, candidates=50, limit=20)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_exported(format, sigma, tmp_path):
    x = keras.Input((60, 7))
    model = keras.Model(x, Suppression(sigma)(x), name="suppression")
    assert model.output.shape == (None, 20, 6)
    path = tmp_path / {"onnx": "m.onnx", "litert": "m.tflite"}[format]
    assert export.export(model, path, format) < 1e-5  # compares the outputs with those of Keras
    rows = detections(model.predict_on_batch(export.inputs(model, 3, 1)))
    assert 0 < min(map(len, rows))
