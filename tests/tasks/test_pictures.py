"""What pictures show: examples of all classes, matches by overlap, counted pixels, plain texts."""

import numpy as np
import pytest
from conftest import toy

from zoo import plots
from zoo.tasks.boxes import detections, preparation
from zoo.tasks.boxes.losses import CROWD, DIFFICULT, IGNORED
from zoo.tasks.image_segmentation import masks
from zoo.tasks.targets import report


def test_examples_come_from_all_classes_wrong_ones_first():
    y = np.repeat(np.arange(10), 20)  # in the order of their classes, as readers bring them
    predicted = y.copy()
    predicted[::2] = (predicted[::2] + 1) % 10
    rows = report.examples(y, predicted, 20)
    assert len(set(rows)) == 20 and (predicted[rows] != y[rows])[:10].all()
    assert sorted(y[rows[:10]]) == list(range(10)) == sorted(y[rows[10:]])
    np.testing.assert_array_equal(rows, report.examples(y, predicted, 20))
    assert len(report.examples(y, y, 16)) == 16 and not len(report.examples(y[:0], y[:0], 16))
    assert len(report.examples(y[:3], y[:3], 16)) == 3
    assert report.verdict(["a", "b"], 0, 1)[0] == "true a, predicted b"


def test_texts_are_drawn_as_they_stand():
    names = ["$x_{$", "a$b$", "\udcff", "cat"]
    figures = [
        plots.confusion_matrix(np.eye(4, dtype=int), names),
        plots.images([(np.zeros((4, 4, 3)), name, plots.INK) for name in names]),
        plots.clouds([(np.eye(3), np.eye(3), name, plots.INK) for name in names], [("$a_$", "k")]),
        plots.precision_recall([(np.linspace(0, 1, 5), np.ones(5))] * 4, names),
    ]
    for figure in figures:
        figure.canvas.draw()
    ticks = [text.get_text() for text in figures[0].axes[0].get_xticklabels()]
    assert ticks[1] == r"a\$b\$", "escaped, so that it is no formula"


def test_curves_of_one_epoch_are_points_at_that_epoch():
    axes = plots.learning_curves({"loss": [2.0], "val_loss": [1.5], "map50": [0.1]}).axes
    assert [ax.get_title() for ax in axes] == ["loss", "mAP50"]
    assert axes[0].get_xlim() == (0.5, 1.5) and axes[0].lines[0].get_markersize() > 8
    assert [tick for tick in axes[0].get_xticks() if 0.5 <= tick <= 1.5] == [1]


def test_contours_contrast_with_a_picture_of_their_colour():
    colours = plots.palette(2)
    image = np.broadcast_to(colours[1].astype(np.float32), (20, 20, 3))
    mask = np.zeros((20, 20), int)
    mask[5:15, 5:15] = 1
    drawn = plots.overlay(image, mask, colours, [False, True])
    outside = drawn[10, :5]
    assert np.abs(outside[:4] - image[10, :4]).max() < 1e-6, "the picture stays"
    assert outside[4].max() < 0.25, "but for a dark line along the contour"


def test_the_dice_of_an_image_counts_what_the_score_counts():
    y = np.array([[0, 1, 1, -1]])
    assert masks.image_dice(y, np.array([[0, 1, 0, 1]]), 2) == pytest.approx(2 / 3)
    assert np.isnan(masks.image_dice(np.zeros((2, 2), int), np.zeros((2, 2), int), 2))
    assert masks.image_dice(np.array([[0, 2]]), np.array([[0, 2]]), 4) == 1.0
    assert masks.image_dice(np.array([[0, 2]]), np.array([[0, 1]]), 4) == pytest.approx(1 / 3)


def test_masks_are_titled_by_dice_and_show_the_counted_pixels():
    batch = toy("image_segmentation")
    y = batch.y.copy()
    y[:, :, 20:] = -1  # as where another tile counts
    figure = masks.plot(batch.x, y, batch.truth(), batch.info)["examples"]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["image", "ground truth", "prediction, Dice 1.000"]
    for axes in figure.axes[1:3]:
        assert (axes.images[0].get_array()[:, 20:] == 0.5).all(), "grayed out"


def test_the_frame_of_a_letterboxed_picture_is_found():
    rng = np.random.default_rng(0)
    for shape in ((30, 64), (64, 31), (64, 64), (7, 60)):
        square, _, (left, top) = preparation.letterbox(
            rng.random((*shape, 3)).astype(np.float32), 64
        )
        _, (height, width), _ = preparation.fitted(shape, 64)
        expected = (left, top, left + width, top + height)
        assert preparation.unframed(square.astype(np.float16)) == expected
    assert preparation.unframed(np.full((8, 8, 3), preparation.GRAY, np.float16)) == (0, 0, 8, 8)


def row(x, label, ignored=0):
    """Return an object, 10 pixels wide, as the task has it."""
    out = np.zeros(7, np.float32)
    out[:5] = x, 0, x + 10, 10, label
    out[IGNORED] = ignored
    return out


def test_detections_are_matched_by_overlap_and_class_each_object_once():
    truth = np.stack([row(0, 0), row(20, 1), row(40, 0), row(60, 0, DIFFICULT)])
    seen = np.array(
        [
            [1, 0, 11, 10, 0.9, 0],  # finds the first
            [0, 0, 10, 10, 0.8, 0],  # the same again: a false positive
            [20, 0, 30, 10, 0.7, 0],  # of another class
            [60, 0, 70, 10, 0.6, 0],  # finds what is ignored
            [46, 0, 56, 10, 0.5, 0],  # overlaps by a quarter
        ]
    )
    hits, missed = detections.matched(truth, seen)
    assert hits.tolist() == [True, False, False, True, False]
    assert missed.tolist() == [False, True, True], "the difficult one is not missed"
    assert detections.f1(hits, missed) == pytest.approx(4 / 9)
    assert [len(part) for part in detections.matched(truth[:0], seen)] == [5, 0]
    assert [len(part) for part in detections.matched(truth, seen[:0])] == [0, 3]
    assert detections.f1(*detections.matched(truth[:0], seen[:0])) == 1.0
    crowd = np.stack([row(0, 0, CROWD)])
    assert detections.matched(crowd, seen[:2])[0].all()


def test_pictures_of_detections_tell_matches_and_leave_the_frame_out():
    x = np.full((2, 64, 64, 3), preparation.GRAY, np.float16)
    x[:, 16:48] = 0.25
    y = np.full((2, 3, 7), -1.0, np.float32)
    y[:, 0], y[:, 0, 1], y[:, 0, 3] = row(4, 0), 20, 30
    good = np.array([[4, 20, 14, 30, 0.9, 0], [30, 20, 44, 40, 0.4, 1]])
    figure = detections.pictures(x, y, [good, good[:0]], {"classes": ["a", "b"]})["examples"]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["ground truth, 1 boxes", "TP 0, FP 0, FN 1"] + [
        "ground truth, 1 boxes",
        "TP 1, FP 1, FN 0",
    ]
    assert figure.axes[0].images[0].get_array().shape == (32, 64, 3)


def test_a_picture_is_cut_and_resized_as_the_options_say():
    ramp = np.arange(40, dtype=np.uint8)[:, None, None].repeat(60, axis=1).repeat(3, axis=2)
    batch = toy("image_classification", image_size=20)
    prepare, piece = batch.task.data.prepare, {"image": ramp}
    shown = {}
    for crop, method in (
        (1.0, "bilinear"),
        (0.5, "bilinear"),
        (0.75, "nearest"),
        (0.75, "bicubic"),
    ):
        options = {**batch.options, "crop": crop, "interpolation": method}
        shown[crop, method] = 255 * prepare(piece, batch.info, options)[0][:, 0, 0]
    np.testing.assert_allclose(shown[0.5, "bilinear"], np.arange(10, 30), atol=1e-3)
    np.testing.assert_allclose(shown[1.0, "bilinear"][5:15], 2 * np.arange(5, 15) + 0.5, atol=1e-3)
    assert set(shown[0.75, "nearest"].round(3)) <= set(range(5, 35))
    assert np.abs(shown[0.75, "bicubic"] - shown[0.75, "nearest"]).max() > 0.1
    with pytest.raises(ValueError, match="crop is 1.5, and must be"):
        batch.task.data.measure([piece], {**batch.options, "crop": 1.5})
