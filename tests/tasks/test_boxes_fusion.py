"""Detections of several models joined: as the authors' package does, and by hand."""

import ensemble_boxes
import numpy as np
import pytest

from zoo.tasks.boxes import fusion as boxes

NONE = np.zeros((0, 6))


def drawn(seed, models=3, objects=12, classes=3, most=4):
    """Return rows of models that see the same objects, some twice, some not, and see things."""
    rng = np.random.default_rng(seed)
    centers, sizes = rng.uniform(0.2, 0.8, (objects, 2)), rng.uniform(0.05, 0.2, (objects, 2))
    labels = rng.integers(classes, size=objects)
    found = []
    for _ in range(models):
        seen = np.repeat(np.arange(objects), rng.integers(most, size=objects))
        middle = centers[seen] + sizes[seen] * rng.normal(scale=0.12, size=(len(seen), 2))
        half = sizes[seen] * rng.uniform(0.8, 1.25, (len(seen), 2)) / 2
        scores = rng.uniform(0.02, 1, len(seen))[:, None]
        found.append(
            np.concatenate([middle - half, middle + half, scores, labels[seen, None]], axis=1)
        )
    return found


def parted(found):
    """Return rows as the package takes them: lists of boxes, of scores, of labels."""
    return tuple([rows[:, part].copy() for rows in found] for part in (slice(4), 4, 5))


def rows(theirs):
    """Return what the package gives as rows, best first."""
    theirs = np.concatenate([theirs[0], np.stack(theirs[1:], axis=1)], axis=1)
    return theirs[np.argsort(-theirs[:, 4], kind="stable")]


def assert_same(ours, theirs):
    """Compare rows; the package rounds to float32 on the way."""
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weights", [None, [2, 1, 0.5]])
@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_fusion_is_the_authors(confidence, weights, seed):
    found = drawn(seed)
    for iou, skip in ((0.55, 0.0), (0.4, 0.3), (0.75, 0.1)):
        ours = boxes.weighted_boxes_fusion(found, weights, iou, skip, confidence)
        options = {"iou_thr": iou, "skip_box_thr": skip, "conf_type": confidence}
        theirs = ensemble_boxes.weighted_boxes_fusion(*parted(found), weights, **options)
        assert_same(ours, rows(theirs))
        assert len(ours) < sum((one[:, 4] >= skip).sum() for one in found)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weights", [None, [2, 1, 0.5]])
def test_suppression_is_the_packages(weights, seed):
    found = drawn(seed)
    for iou in (0.3, 0.5, 0.7):
        theirs = ensemble_boxes.nms(*parted(found), iou_thr=iou, weights=weights)
        assert_same(boxes.suppressed(found, weights, iou), rows(theirs))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_soft_suppression_keeps_the_packages_boxes(sigma, seed):
    # The package tells which boxes stay above the least score, in the order in which they had
    # their turn within a class, with the scores that they had before.
    found = drawn(seed)
    skip = 0.15
    theirs = ensemble_boxes.soft_nms(*parted(found), sigma=sigma, thresh=skip)
    ours = boxes.suppressed(found, sigma=sigma, skip=skip)
    assert len(ours) < sum(map(len, found))
    for label in range(3):
        own = theirs[2] == label
        np.testing.assert_allclose(ours[ours[:, 5] == label, :4], theirs[0][own], rtol=1e-6)
    everything = np.concatenate(found)
    for row in ours:  # and the new score, from all that are better and stay in the queue
        [old] = everything[np.isclose(everything[:, :4], row[:4]).all(axis=1), 4]
        assert row[4] == pytest.approx(old * factor(row, ours, sigma), rel=1e-5)


def factor(row, kept, sigma):
    """Return by what the better rows of its class have lowered the score of a row."""
    better = kept[(kept[:, 5] == row[5]) & (kept[:, 4] > row[4])].astype(float)
    return np.prod([np.exp(-(overlap(row.astype(float), one) ** 2) / sigma) for one in better])


def overlap(one, other):
    """Return the intersection over union of two boxes, one number at a time."""
    width = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def test_fusion_by_hand():
    one = np.array([[0.0, 0, 10, 10, 0.9, 1], [50, 50, 60, 60, 0.6, 1]])
    other = np.array([[1.0, 0, 11, 10, 0.3, 1]])  # IoU with the first: 90 / 110
    fused = boxes.weighted_boxes_fusion([one, other])
    assert fused[0] == pytest.approx([0.25, 0, 10.25, 10, 0.6, 1])  # 3 to 1; mean of 0.9 and 0.3
    assert fused[1] == pytest.approx([50, 50, 60, 60, 0.3, 1])  # half of the models
    fused = boxes.weighted_boxes_fusion([one, other], weights=[1, 3])
    assert fused[0] == pytest.approx([0.5, 0, 10.5, 10, 0.45, 1])  # 1 to 1; 0.9 + 3 * 0.3 over 4
    assert fused[1] == pytest.approx([50, 50, 60, 60, 0.15, 1])
    assert len(boxes.weighted_boxes_fusion([one, other], iou=0.85)) == 3


def test_the_unit_does_not_matter():
    found = drawn(0)
    scale = np.array([640, 640, 640, 640, 1, 1])
    for join in (boxes.weighted_boxes_fusion, boxes.suppressed):
        pixels = join([one * scale for one in found])
        np.testing.assert_allclose(pixels, join(found) * scale, rtol=1e-5)


@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_identical_boxes_become_one(confidence):
    row = np.array([[0.1, 0.2, 0.4, 0.5, 0.8, 2]])
    found = [row, row, np.repeat(row, 2, axis=0)]
    ours = boxes.weighted_boxes_fusion(found, confidence=confidence)
    theirs = ensemble_boxes.weighted_boxes_fusion(*parted(found), conf_type=confidence)
    assert_same(ours, rows(theirs))
    np.testing.assert_allclose(ours, row, rtol=1e-6)
    np.testing.assert_allclose(boxes.suppressed(found), row, rtol=1e-6)


def test_classes_are_kept_apart():
    found = [np.array([[0, 0, 1, 1, 0.9, 0]]), np.array([[0, 0, 1, 1, 0.7, 1.0]])]
    for join in (boxes.weighted_boxes_fusion, boxes.suppressed):
        assert join(found)[:, 5].tolist() == [0, 1]
    assert boxes.suppressed(found, sigma=0.1)[:, 4] == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_a_model_that_finds_nothing(confidence):
    found = [*drawn(1)[:2], NONE]
    ours = boxes.weighted_boxes_fusion(found, confidence=confidence)
    theirs = ensemble_boxes.weighted_boxes_fusion(*parted(found), conf_type=confidence)
    assert_same(ours, rows(theirs))
    np.testing.assert_array_equal(boxes.suppressed(found), boxes.suppressed(found[:2]))


@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_nothing_is_found_at_all(confidence):
    for found in ([NONE], [NONE, NONE]):
        assert boxes.weighted_boxes_fusion(found, confidence=confidence).shape == (0, 6)
        assert boxes.suppressed(found).shape == boxes.suppressed(found, sigma=0.5).shape == (0, 6)
    found = drawn(2)
    assert boxes.weighted_boxes_fusion(found, skip=1.1, confidence=confidence).shape == (0, 6)


@pytest.mark.filterwarnings("ignore:Zero area box")
def test_rows_without_an_area_and_padding_are_skipped():
    sound = drawn(3)
    flat = np.array([[0.3, 0.3, 0.3, 0.6, 0.9, 0], [0.1, 0.7, 0.6, 0.7, 0.8, 1]])
    found = [np.concatenate([flat, one]) for one in sound]
    theirs = ensemble_boxes.weighted_boxes_fusion(*parted(found), conf_type="avg")
    assert_same(boxes.weighted_boxes_fusion(found, confidence="avg"), rows(theirs))
    assert_same(boxes.suppressed(found), rows(ensemble_boxes.nms(*parted(found))))
    padding = np.array([[0.3, 0.3, 0.6, 0.6, 0.9, -1], [0, 0, 0, 0, 0, -1]])
    found = [np.concatenate([one, padding]) for one in sound]
    for join in (boxes.weighted_boxes_fusion, boxes.suppressed):
        np.testing.assert_array_equal(join(found), join(sound))


@pytest.mark.filterwarnings("ignore:(X|Y)")
@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_swapped_corners_and_boxes_beyond_the_edges_are_as_the_packages(confidence):
    found = drawn(7)
    for i, one in enumerate(found):
        one[:, :4] = (one[:, :4] - 0.5) * 1.8 + 0.5  # some lie beyond 0 and 1
        one[i::3, :4] = one[i::3, [2, 1, 0, 3]]
        one[i::4, :4] = one[i::4, [0, 3, 2, 1]]
    assert min(one[:, :4].min() for one in found) < 0 < 1 < max(one[:, :4].max() for one in found)
    theirs = ensemble_boxes.weighted_boxes_fusion(*parted(found), conf_type=confidence)
    assert_same(boxes.weighted_boxes_fusion(found, confidence=confidence, limit=1), rows(theirs))
    theirs = rows(ensemble_boxes.nms(*parted(found)))
    assert_same(boxes.suppressed(found, limit=1), theirs)
    assert boxes.suppressed(found)[:, :4].min() < 0, "without a limit they are left as they are"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("weights", [[1, 0, 2], [0, 1, 1]])
@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_a_weight_of_zero_is_as_the_packages(confidence, weights):
    found = drawn(8, most=2)  # two boxes of weight 0 that meet alone are at NaN in the package
    theirs = ensemble_boxes.weighted_boxes_fusion(*parted(found), weights, conf_type=confidence)
    theirs = rows(theirs)
    theirs = theirs[theirs[:, 4] > 0]  # what only models of weight 0 have found is 0 or NaN there
    assert_same(boxes.weighted_boxes_fusion(found, weights, confidence=confidence), theirs)
    theirs = rows(ensemble_boxes.nms(*parted(found), weights=weights))
    assert_same(boxes.suppressed(found, weights, skip=0.0), theirs[theirs[:, 4] > 0])


def test_a_member_that_finds_nothing_may_be_an_empty_list():
    found = drawn(1)[:2]
    for join in (boxes.weighted_boxes_fusion, boxes.suppressed):
        np.testing.assert_array_equal(join([*found, []]), join([*found, NONE]))
        assert join([[], []]).shape == (0, 6)


@pytest.mark.parametrize("confidence", boxes.CONFIDENCES)
def test_scores_of_zero(confidence):
    row = np.array([[0.1, 0.2, 0.4, 0.5, 0, 0]])
    fused = boxes.weighted_boxes_fusion([row, row + [0.01, 0, 0, 0, 0, 0]], confidence=confidence)
    np.testing.assert_allclose(fused, row, rtol=1e-6)


def test_the_rows_given_are_left_as_they_were():
    found = drawn(4)
    copies = [one.copy() for one in found]
    boxes.weighted_boxes_fusion(found, [3, 2, 1])
    boxes.suppressed(found, [3, 2, 1])
    boxes.suppressed(found, [3, 2, 1], sigma=0.5)
    for one, copy in zip(found, copies, strict=True):
        np.testing.assert_array_equal(one, copy)


@pytest.mark.parametrize("join", [boxes.weighted_boxes_fusion, boxes.suppressed])
def test_what_does_not_fit_is_named(join):
    found = drawn(5)
    with pytest.raises(ValueError, match=r"weights \[1.0, 2.0\] of 3 models"):
        join(found, [1, 2])
    for weights in ([1, 2, -1], [0, 0, 0], [1, np.nan, 1], [1, np.inf, 1]):
        with pytest.raises(
            ValueError, match="give one per model, none negative and at least one positive"
        ):
            join(found, weights)
    with pytest.raises(ValueError, match="0 models"):
        join([])
    with pytest.raises(ValueError, match=r"model 1: rows \(4, 5\)"):
        join([found[0], np.zeros((4, 5)), found[2]])


def test_there_is_no_such_confidence():
    with pytest.raises(ValueError, match="no confidence is 'mean'"):
        boxes.weighted_boxes_fusion(drawn(6), confidence="mean")
