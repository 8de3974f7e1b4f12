"""Detections of several models combined: as in the authors' package, and by hand."""

import ensemble_boxes
import numpy as np
import pytest

from zoo.tasks.boxes import fusion as boxes

NONE = np.zeros((0, 6))


def drawn(seed, models=3, objects=12, classes=3, most=4):
    """Return rows of models that detect the same objects, some of them twice or not at all."""
    rng = np.random.default_rng(seed)
    centers, sizes = rng.uniform(0.2, 0.8, (objects, 2)), rng.uniform(0.05, 0.2, (objects, 2))
    labels = rng.integers(classes, size=objects)
    rows = []
    for _ in range(models):
        seen = np.repeat(np.arange(objects), rng.integers(most, size=objects))
        middle = centers[seen] + sizes[seen] * rng.normal(scale=0.12, size=(len(seen), 2))
        half = sizes[seen] * rng.uniform(0.8, 1.25, (len(seen), 2)) / 2
        scores = rng.uniform(0.02, 1, len(seen))[:, None]
        rows.append(
            np.concatenate([middle - half, middle + half, scores, labels[seen, None]], axis=1)
        )
    return rows


def parted(detections):
    """Return rows as the package takes them: lists of boxes, of scores, of labels."""
    return tuple([rows[:, part].copy() for rows in detections] for part in (slice(4), 4, 5))


def rows(outputs):
    """Return the package's outputs as rows, best first."""
    outputs = np.concatenate([outputs[0], np.stack(outputs[1:], axis=1)], axis=1)
    return outputs[np.argsort(-outputs[:, 4], kind="stable")]


def assert_same(actual, expected):
    """Compare rows; the package rounds to float32 on the way."""
    assert actual.dtype == np.float32 and actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=2e-5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weights", [None, [2, 1, 0.5]])
@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_fusion_is_the_authors(confidence, weights, seed):
    detections = drawn(seed)
    for iou, skip in ((0.55, 0.0), (0.4, 0.3), (0.75, 0.1)):
        fused = boxes.weighted_boxes_fusion(detections, weights, iou, skip, confidence)
        options = {"iou_thr": iou, "skip_box_thr": skip, "conf_type": confidence}
        expected = ensemble_boxes.weighted_boxes_fusion(*parted(detections), weights, **options)
        assert_same(fused, rows(expected))
        assert len(fused) < sum((member[:, 4] >= skip).sum() for member in detections)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weights", [None, [2, 1, 0.5]])
def test_suppression_is_the_packages(weights, seed):
    detections = drawn(seed)
    for iou in (0.3, 0.5, 0.7):
        expected = ensemble_boxes.nms(*parted(detections), iou_thr=iou, weights=weights)
        assert_same(boxes.suppressed(detections, weights, iou), rows(expected))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_soft_suppression_keeps_the_packages_boxes(sigma, seed):
    # The package returns which boxes stay above the least score, in the order in which they had
    # their turn within a class, with the scores that they had before.
    detections = drawn(seed)
    skip = 0.15
    expected = ensemble_boxes.soft_nms(*parted(detections), sigma=sigma, thresh=skip)
    fused = boxes.suppressed(detections, sigma=sigma, skip=skip)
    assert len(fused) < sum(map(len, detections))
    for label in range(3):
        of_class = expected[2] == label
        np.testing.assert_allclose(
            fused[fused[:, 5] == label, :4], expected[0][of_class], rtol=1e-6
        )
    everything = np.concatenate(detections)
    for row in fused:  # and the new score, from all that are better and stay in the queue
        [old] = everything[np.isclose(everything[:, :4], row[:4]).all(axis=1), 4]
        assert row[4] == pytest.approx(old * factor(row, fused, sigma), rel=1e-5)


def factor(row, rows, sigma):
    """Return by what the better rows of its class have lowered the score of a row."""
    better = rows[(rows[:, 5] == row[5]) & (rows[:, 4] > row[4])].astype(float)
    return np.prod([np.exp(-(overlap(row.astype(float), other) ** 2) / sigma) for other in better])


def overlap(a, b):
    """Return the intersection over union of two boxes, one number at a time."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_fusion_by_hand():
    first = np.array([[0.0, 0, 10, 10, 0.9, 1], [50, 50, 60, 60, 0.6, 1]])
    second = np.array([[1.0, 0, 11, 10, 0.3, 1]])  # IoU with the first: 90 / 110
    fused = boxes.weighted_boxes_fusion([first, second])
    assert fused[0] == pytest.approx([0.25, 0, 10.25, 10, 0.6, 1])  # 3 to 1; mean of 0.9 and 0.3
    assert fused[1] == pytest.approx([50, 50, 60, 60, 0.3, 1])  # half of the models
    fused = boxes.weighted_boxes_fusion([first, second], weights=[1, 3])
    assert fused[0] == pytest.approx([0.5, 0, 10.5, 10, 0.45, 1])  # 1 to 1; 0.9 + 3 * 0.3 over 4
    assert fused[1] == pytest.approx([50, 50, 60, 60, 0.15, 1])
    assert len(boxes.weighted_boxes_fusion([first, second], iou=0.85)) == 3


def test_the_unit_does_not_matter():
    detections = drawn(0)
    scale = np.array([640, 640, 640, 640, 1, 1])
    for combine in (boxes.weighted_boxes_fusion, boxes.suppressed):
        pixels = combine([member * scale for member in detections])
        np.testing.assert_allclose(pixels, combine(detections) * scale, rtol=1e-5)


@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_identical_boxes_become_one(confidence):
    row = np.array([[0.1, 0.2, 0.4, 0.5, 0.8, 2]])
    detections = [row, row, np.repeat(row, 2, axis=0)]
    fused = boxes.weighted_boxes_fusion(detections, confidence=confidence)
    expected = ensemble_boxes.weighted_boxes_fusion(*parted(detections), conf_type=confidence)
    assert_same(fused, rows(expected))
    np.testing.assert_allclose(fused, row, rtol=1e-6)
    np.testing.assert_allclose(boxes.suppressed(detections), row, rtol=1e-6)


def test_classes_are_kept_apart():
    detections = [np.array([[0, 0, 1, 1, 0.9, 0]]), np.array([[0, 0, 1, 1, 0.7, 1.0]])]
    for combine in (boxes.weighted_boxes_fusion, boxes.suppressed):
        assert combine(detections)[:, 5].tolist() == [0, 1]
    assert boxes.suppressed(detections, sigma=0.1)[:, 4] == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_a_model_that_finds_nothing(confidence):
    detections = [*drawn(1)[:2], NONE]
    fused = boxes.weighted_boxes_fusion(detections, confidence=confidence)
    expected = ensemble_boxes.weighted_boxes_fusion(*parted(detections), conf_type=confidence)
    assert_same(fused, rows(expected))
    np.testing.assert_array_equal(boxes.suppressed(detections), boxes.suppressed(detections[:2]))


@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_nothing_is_found_at_all(confidence):
    for detections in ([NONE], [NONE, NONE]):
        assert boxes.weighted_boxes_fusion(detections, confidence=confidence).shape == (0, 6)
        assert (
            boxes.suppressed(detections).shape
            == boxes.suppressed(detections, sigma=0.5).shape
            == (0, 6)
        )
    detections = drawn(2)
    assert boxes.weighted_boxes_fusion(detections, skip=1.1, confidence=confidence).shape == (0, 6)


@pytest.mark.filterwarnings("ignore:Zero area box")
def test_rows_without_an_area_and_padding_are_skipped():
    valid = drawn(3)
    flat = np.array([[0.3, 0.3, 0.3, 0.6, 0.9, 0], [0.1, 0.7, 0.6, 0.7, 0.8, 1]])
    detections = [np.concatenate([flat, member]) for member in valid]
    expected = ensemble_boxes.weighted_boxes_fusion(*parted(detections), conf_type="avg")
    assert_same(boxes.weighted_boxes_fusion(detections, confidence="avg"), rows(expected))
    assert_same(boxes.suppressed(detections), rows(ensemble_boxes.nms(*parted(detections))))
    padding = np.array([[0.3, 0.3, 0.6, 0.6, 0.9, -1], [0, 0, 0, 0, 0, -1]])
    detections = [np.concatenate([member, padding]) for member in valid]
    for combine in (boxes.weighted_boxes_fusion, boxes.suppressed):
        np.testing.assert_array_equal(combine(detections), combine(valid))


@pytest.mark.filterwarnings("ignore:(X|Y)")
@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_swapped_corners_and_boxes_beyond_the_edges_are_as_the_packages(confidence):
    detections = drawn(7)
    for i, member in enumerate(detections):
        member[:, :4] = (member[:, :4] - 0.5) * 1.8 + 0.5  # some lie beyond 0 and 1
        member[i::3, :4] = member[i::3, [2, 1, 0, 3]]
        member[i::4, :4] = member[i::4, [0, 3, 2, 1]]
    assert (
        min(member[:, :4].min() for member in detections)
        < 0
        < 1
        < max(member[:, :4].max() for member in detections)
    )
    expected = ensemble_boxes.weighted_boxes_fusion(*parted(detections), conf_type=confidence)
    assert_same(
        boxes.weighted_boxes_fusion(detections, confidence=confidence, limit=1), rows(expected)
    )
    expected = rows(ensemble_boxes.nms(*parted(detections)))
    assert_same(boxes.suppressed(detections, limit=1), expected)
    assert boxes.suppressed(detections)[:, :4].min() < 0, (
        "without a limit they are left as they are"
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("weights", [[1, 0, 2], [0, 1, 1]])
@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_a_weight_of_zero_is_as_the_packages(confidence, weights):
    detections = drawn(8, most=2)  # two boxes of weight 0 that meet alone are at NaN in the package
    expected = ensemble_boxes.weighted_boxes_fusion(
        *parted(detections), weights, conf_type=confidence
    )
    expected = rows(expected)
    expected = expected[expected[:, 4] > 0]  # boxes of models of weight 0 alone are 0 or NaN there
    assert_same(boxes.weighted_boxes_fusion(detections, weights, confidence=confidence), expected)
    expected = rows(ensemble_boxes.nms(*parted(detections), weights=weights))
    assert_same(boxes.suppressed(detections, weights, skip=0.0), expected[expected[:, 4] > 0])


def test_a_member_that_finds_nothing_may_be_an_empty_list():
    detections = drawn(1)[:2]
    for combine in (boxes.weighted_boxes_fusion, boxes.suppressed):
        np.testing.assert_array_equal(combine([*detections, []]), combine([*detections, NONE]))
        assert combine([[], []]).shape == (0, 6)


@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_scores_of_zero(confidence):
    row = np.array([[0.1, 0.2, 0.4, 0.5, 0, 0]])
    fused = boxes.weighted_boxes_fusion([row, row + [0.01, 0, 0, 0, 0, 0]], confidence=confidence)
    np.testing.assert_allclose(fused, row, rtol=1e-6)


def test_the_rows_given_are_left_as_they_were():
    detections = drawn(4)
    copies = [member.copy() for member in detections]
    boxes.weighted_boxes_fusion(detections, [3, 2, 1])
    boxes.suppressed(detections, [3, 2, 1])
    boxes.suppressed(detections, [3, 2, 1], sigma=0.5)
    for member, copy in zip(detections, copies, strict=True):
        np.testing.assert_array_equal(member, copy)


@pytest.mark.parametrize("combine", [boxes.weighted_boxes_fusion, boxes.suppressed])
def test_what_does_not_fit_is_named(combine):
    detections = drawn(5)
    with pytest.raises(ValueError, match=r"weights \[1.0, 2.0\] of 3 models"):
        combine(detections, [1, 2])
    for weights in ([1, 2, -1], [0, 0, 0], [1, np.nan, 1], [1, np.inf, 1]):
        with pytest.raises(
            ValueError, match="give one per model, none negative and at least one positive"
        ):
            combine(detections, weights)
    with pytest.raises(ValueError, match="0 models"):
        combine([])
    with pytest.raises(ValueError, match=r"model 1: rows \(4, 5\)"):
        combine([detections[0], np.zeros((4, 5)), detections[2]])


def test_there_is_no_such_confidence():
    with pytest.raises(ValueError, match="no confidence is 'mean'"):
        boxes.weighted_boxes_fusion(drawn(6), confidence="mean")
