"""Images and their boxes move together: whatever is done, a box still encloses its thing."""

import numpy as np
import pytest
from conftest import toy

from zoo import tasks
from zoo.tasks.boxes import preparation

SIZE = 64
PLAIN = dict(flip="none", scale=0.0, shift=0.0, mosaic=0.0, mixup=0.0)
STILL = dict(brightness=0.0, contrast=0.0, color_jitter=0.0, blur=0.0, noise=0.0, erasing=0.0)


def scene(count=6, seed=0):
    """Return black images, each with a white rectangle, and its box."""
    rng = np.random.default_rng(seed)
    x, y = np.zeros((count, SIZE, SIZE, 3), np.float32), np.zeros((count, 5, 7), np.float32)
    y[..., 4] = -1
    for i in range(count):
        left, top = rng.integers(8, 24, 2)
        width, height = rng.integers(10, 30, 2)
        x[i, top : top + height, left : left + width] = 1
        y[i, 0] = [left, top, left + width, top + height, i % 3, width * height, 0]
    return x, y


def extent(image):
    """Return the corners of what is white."""
    rows, columns = np.nonzero(image[..., 0] > 0.75)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize(
    "change",
    [dict(flip="horizontal"), dict(flip="vertical"), dict(scale=0.6), dict(shift=0.2)],
    ids=str,
)
def test_a_box_still_encloses_its_thing(change):
    apply, changed = preparation.augment({**PLAIN, **STILL, **change}), 0
    x, y = scene()
    for entropy in range(5):
        moved, boxes = apply(x, y, (entropy,))
        assert moved.shape == x.shape and boxes.shape == y.shape and boxes.dtype == np.float32
        for image, rows, before in zip(moved, boxes, y, strict=True):
            if rows[0, 4] < 0:  # hardly anything is left of it
                continue
            np.testing.assert_allclose(rows[0, :4], extent(image), atol=1.5)
            assert rows[0, 4] == before[0, 4]
            changed += not np.allclose(rows[0, :4], before[0, :4])
    assert changed > 5


def test_a_mosaic_is_four_images_with_their_boxes():
    apply = preparation.augment({**PLAIN, **STILL, "mosaic": 1.0})
    x, y = scene()
    moved, boxes = apply(x, y, (0,))
    assert max((rows[:, 4] >= 0).sum() for rows in boxes) >= 3
    for image, rows in zip(moved, boxes, strict=True):
        white = image[..., 0] > 0.75
        inside = np.zeros_like(white)
        for x1, y1, x2, y2, *_ in preparation.real(rows):
            assert white[round(y1) : round(y2), round(x1) : round(x2)].mean() > 0.8
            inside[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
        most = (
            4 * preparation.VISIBLE * 30 * 30
        )  # a corner of each, hardly visible, may have no box
        assert (white & ~inside).sum() < most


def test_mixup_shows_two_images_and_keeps_both_sets_of_boxes():
    apply = preparation.augment({**PLAIN, **STILL, "mixup": 1.0})
    x, y = scene()
    moved, boxes = apply(x, y, (3,))
    for i in range(len(x)):
        wanted = {tuple(y[j, 0]) for j in (i, (i + 1) % len(x))}
        assert {tuple(row) for row in preparation.real(boxes[i])} == wanted
        only = (x[i] > 0) != (x[(i + 1) % len(x)] > 0)
        assert np.all((moved[i][only] > 0.05) & (moved[i][only] < 0.95))


def test_the_same_entropy_draws_the_same():
    options = tasks.get("image_detection").options
    apply, (x, y) = preparation.augment(options), scene()
    (x1, y1), (x2, y2), (x3, _) = (apply(x, y, entropy) for entropy in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(x1, x2)
    np.testing.assert_array_equal(y1, y2)
    assert not np.array_equal(x1, x3)
    assert x1.dtype == np.float32 and x1.min() >= 0 and x1.max() <= 1
    assert preparation.augment({**PLAIN, **STILL}) is None


def test_what_is_cut_off_has_no_box_and_what_is_half_cut_a_smaller_one():
    rows = np.float32([[10, 10, 30, 30, 1, 400, 0], [50, 10, 60, 20, 2, 100, 0]])
    boxes = preparation.moved(rows, 1.0, np.array([-20.0, 0.0]), (0, 0, SIZE, SIZE))
    np.testing.assert_allclose(boxes[:, :5], [[0, 10, 10, 30, 1], [30, 10, 40, 20, 2]])
    boxes = preparation.moved(rows, 1.0, np.array([-27.0, 0.0]), (0, 0, SIZE, SIZE))
    np.testing.assert_allclose(boxes[:, :5], [[23, 10, 33, 20, 2]])
    assert rows[0, 0] == 10, "the truth is not changed in place"


def test_letterbox_and_back():
    image = np.zeros((30, 60, 3), np.float32)
    image[10:20, 40:50] = 1
    square, factor, (left, top) = preparation.letterbox(image, SIZE)
    assert square.shape == (SIZE, SIZE, 3) and (left, top) == (0, 16)
    assert square[:16].max() == square[:16].min() == 0.5
    np.testing.assert_allclose(factor, SIZE / 60)
    rows = np.float32([[*(np.array([40, 10, 50, 20]) * factor + [left, top] * 2), 0.9, 1]])
    [boxes] = preparation.unboxed(rows, image.shape, SIZE)
    np.testing.assert_allclose(boxes, [40, 10, 50, 20, 0.9, 1], rtol=1e-5)


def test_more_boxes_than_there_is_room_for_leave_the_smallest_out():
    rows = np.zeros((5, 7), np.float32)
    rows[:, 2:4] = np.array([3, 9, 5, 7, 1])[:, None]
    boxes = preparation.padded(rows, 3)
    assert boxes[:, 2].tolist() == [9, 5, 7]
    assert (preparation.padded(rows[:0], 3)[:, 4] == -1).all()


def test_anchors_are_the_shapes_that_there_are():
    rng = np.random.default_rng(0)
    kinds = np.array([[10, 20], [30, 30], [80, 40]])
    sizes = np.repeat(kinds, 50, axis=0) * rng.uniform(0.9, 1.1, (150, 2))
    shapes = np.array(preparation.anchors(sizes, 3))
    np.testing.assert_allclose(shapes, kinds, rtol=0.05)
    assert preparation.anchors(sizes[::-1], 3) == preparation.anchors(sizes, 3)
    with pytest.raises(ValueError, match="2 boxes are too few for 6 anchors"):
        preparation.anchors([[1, 2], [3, 4]], 6)


def test_anchors_of_the_data_are_in_pixels_of_the_input():
    batch = toy("image_detection", count=20, anchors="auto")
    six = np.array(batch.info["anchors"]["6"])
    assert six.shape == (6, 2) and len(batch.info["anchors"]["9"]) == 9
    assert six.min() > 10 * SIZE / 48 * 0.9 and six.max() < 14 * SIZE / 48 * 1.1
    assert batch.arguments["anchors"] is batch.info["anchors"]
