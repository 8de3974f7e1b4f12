"""COCO's scores: values worked out by hand from the rules, and what is ignored or absent."""

import numpy as np
import pytest

from zoo.tasks.boxes.average_precision import average_precision

POINTS = 101  # recalls 0, 0.01, ... 1
OVERLAPS = np.arange(50, 100, 5)  # per cent


def image(*objects, **more):
    """Return the truth of an image from (box, label) or (box, label, ignored)."""
    boxes = np.array([row[0] for row in objects], float).reshape(-1, 4)
    return {
        "boxes": boxes,
        "labels": np.array([row[1] for row in objects], int),
        "area": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        "ignore": np.array([row[2] if len(row) > 2 else False for row in objects], bool),
        **more,
    }


def rows(*detections):
    """Return rows from (box, score, class)."""
    return np.array([[*box, score, label] for box, score, label in detections]).reshape(-1, 6)


def square(place, side=10):
    """Return a box of a side, apart from that of any other place."""
    return [100.0 * place, 0, 100.0 * place + side, side]


def cut(box, share):
    """Return the left share of a box, whose IoU with it is the share."""
    return [box[0], box[1], box[0] + share * (box[2] - box[0]), box[3]]


@pytest.mark.parametrize("objects", [5, 4])
def test_a_ranked_table_by_hand(objects):
    # Ranks 1 2 6 7 are right: precisions 1 1 2/3 1/2 2/5 1/2 4/7. As precision is that of the best
    # later rank, it is 1 up to the recall of the second object, 4/7 up to the fourth's, then 0.
    truth = [image(*((square(i), 0) for i in range(objects)))]
    places, right = iter(range(objects)), (1, 2, 6, 7)
    detections = [
        (square(next(places) if rank in right else 10 + rank), 1 - rank / 10, 0)
        for rank in range(1, 8)
    ]
    score = average_precision(truth, [rows(*detections)], 1)
    sure, half_sure = {5: (41, 40), 4: (51, 50)}[objects]  # points to recalls 0.4, 0.8; 0.5, 1
    wanted = (sure + half_sure * 4 / 7) / POINTS
    assert score["map50"] == score["map"] == score["map75"] == pytest.approx(wanted)
    assert score["classes"] == {0: {"ap": score["map"], "ap50": score["map50"], "support": objects}}
    assert score["ar100"] == pytest.approx(4 / objects)
    recall, precision = score["curves"][0]
    np.testing.assert_allclose(recall, np.arange(POINTS) / 100)
    steps = [1] * sure + [4 / 7] * half_sure + [0] * (POINTS - sure - half_sure)
    np.testing.assert_allclose(precision, steps)


def test_all_found_and_none():
    truth = [image((square(0), 0), (square(1), 1)), image((square(2), 1))]
    perfect = [rows((square(0), 0.9, 0), (square(1), 0.2, 1)), rows((square(2), 0.4, 1))]
    score = average_precision(truth, perfect, 2)
    assert score["map"] == score["map50"] == score["ar100"] == pytest.approx(1)
    score = average_precision(truth, [rows(), rows()], 2)
    assert score["map"] == score["map50"] == score["map75"] == score["ar100"] == 0
    assert [row["ap"] for row in score["classes"].values()] == [0, 0]
    wrong_class = [rows((square(0), 0.9, 1), (square(1), 0.2, 0)), rows((square(2), 0.4, 0))]
    assert average_precision(truth, wrong_class, 2)["map"] == 0


def test_overlap_decides_up_to_which_iou_a_box_is_right():
    box = square(0, 16)
    score = average_precision([image((box, 0))], [rows((cut(box, 0.8125), 0.5, 0))], 1)
    assert score["map50"] == score["map75"] == pytest.approx(1)
    assert score["map"] == pytest.approx(np.mean(OVERLAPS <= 81.25))  # 7 of 10


@pytest.mark.parametrize("share, wanted", [(0.5, 1), (0.4375, 0)])
def test_an_overlap_at_the_threshold_is_enough(share, wanted):
    box = square(0, 16)
    score = average_precision([image((box, 0))], [rows((cut(box, share), 0.5, 0))], 1)
    assert score["map50"] == pytest.approx(wanted)
    assert score["map"] == pytest.approx(wanted / 10)


def test_found_twice_is_wrong_once():
    # Two objects: right, twice, right. Precision 1, 1/2, 2/3: 2/3 from recall 0.51.
    truth = [image((square(0), 0), (square(1), 0))]
    detections = rows((square(0), 0.9, 0), (square(0), 0.8, 0), (square(1), 0.7, 0))
    score = average_precision(truth, [detections], 1)
    assert score["map50"] == pytest.approx((51 + 50 * 2 / 3) / POINTS)


def test_ranks_go_through_all_images():
    # The better row is wrong, in an image without an object: precision 0, 1/2.
    truth = [image(), image((square(0), 0)), image()]
    detections = [rows((square(0), 0.9, 0)), rows((square(0), 0.8, 0)), rows()]
    assert average_precision(truth, detections, 1)["map"] == pytest.approx(0.5)


def test_classes_that_do_not_occur_are_left_out_of_the_mean():
    truth = [image((square(0), 1), (square(1), 3, True))]
    detections = [rows((square(0), 0.9, 1), (square(0), 0.9, 0), (square(1), 0.9, 3))]
    score = average_precision(truth, detections, 4)
    assert score["map"] == pytest.approx(1)
    assert score["classes"][0] == {"ap": None, "ap50": None, "support": 0}
    assert score["classes"][3]["support"] == 0  # only ignored
    assert [*score["curves"]] == [1]


def test_the_mean_is_over_classes_not_objects():
    truth = [image(*((square(i), 0) for i in range(9)), (square(9), 1))]
    detections = [rows(*((square(i), 0.5, 0) for i in range(9)))]
    assert average_precision(truth, detections, 2)["map"] == pytest.approx(0.5)


def test_no_object_at_all():
    score = average_precision([image(), image((square(0), 0, True))], [rows(), rows()], 2)
    assert [v for k, v in score.items() if k not in ("classes", "curves")] == [None] * 7
    assert score["curves"] == {}
    assert average_precision([], [], 1)["map"] is None


def test_sizes():
    truth = [image((square(0, 20), 0), (square(1, 60), 0))]
    detections = [rows((square(0, 20), 0.9, 0), (square(5, 20), 0.8, 0))]
    score = average_precision(truth, detections, 1)
    assert score["map_small"] == pytest.approx(1)  # the wrong one, also small, ranks below
    assert score["map_medium"] == 0
    assert score["map_large"] is None
    detections = [rows((square(5, 20), 0.9, 0), (square(1, 60), 0.8, 0), (square(0, 20), 0.7, 0))]
    score = average_precision(truth, detections, 1)
    assert score["map_small"] == pytest.approx(0.5)
    assert score["map_medium"] == pytest.approx(1)  # the wrong one is of another size


def test_the_truth_says_how_large_an_object_is():
    # A picture that was shrunk four times: sides of 20 were 80.
    truth = [image((square(0, 20), 0), area=np.array([6400.0]), scale=16.0)]
    detections = [rows((square(5, 20), 0.9, 0), (square(0, 20), 0.8, 0))]
    score = average_precision(truth, detections, 1)
    assert (score["map_small"], score["map_large"]) == (None, None)
    assert score["map_medium"] == pytest.approx(0.5)  # the wrong one was medium too


def test_what_finds_an_ignored_object_does_not_count():
    truth = [image((square(0), 0), (square(1), 0, True))]
    good = (square(0), 0.5, 0)
    twice = [rows((square(1), 0.9, 0), (square(1), 0.8, 0), good)]
    assert average_precision(truth, twice, 1)["map"] == pytest.approx(1)
    assert average_precision(truth, [rows(good)], 1)["ar100"] == pytest.approx(1)
    part = [rows((cut(square(1), 0.25), 0.9, 0), good)]  # too small to match it
    assert average_precision(truth, part, 1)["map"] == pytest.approx(0.5)
    crowd = [{**truth[0], "crowd": np.array([False, True])}]  # any part of which will do
    assert average_precision(crowd, part, 1)["map"] == pytest.approx(1)
    assert average_precision(crowd, twice, 1)["map"] == pytest.approx(1)


def test_an_object_that_counts_is_preferred_to_an_ignored_one():
    box = square(0, 16)
    truth = [image((box, 0, True), (cut(box, 0.75), 0))]
    assert average_precision(truth, [rows((box, 0.9, 0))], 1)["map50"] == pytest.approx(1)


def test_no_more_than_a_hundred_rows_of_a_class_count():
    truth = [image((square(0), 0), (square(1), 1))]
    wrong = [(square(5), 0.9, 0)] * 100
    detections = [rows(*wrong, (square(0), 0.8, 0), (square(1), 0.7, 1))]
    score = average_precision(truth, detections, 2)
    assert [score["classes"][i]["ap"] for i in (0, 1)] == [0, pytest.approx(1)]


def test_padding_is_skipped_and_nothing_is_printed(capfd):
    padded = np.concatenate([rows((square(0), 0.9, 0)), [[0, 0, 0, 0, 0, -1]] * 5])
    truth = [image((square(0), 0))]
    score = average_precision(truth, [padded.astype(np.float32)], 1)
    assert score["map"] == pytest.approx(1)
    assert capfd.readouterr() == ("", "")


def test_the_truth_is_left_as_it_was():
    truth = [image((square(0), 0), (square(1), 0, True))]
    copies = {name: np.copy(value) for name, value in truth[0].items()}
    average_precision(truth, [rows((square(0), 0.9, 0))], 1)
    assert truth[0].keys() == copies.keys()
    for name, value in copies.items():
        np.testing.assert_array_equal(truth[0][name], value)


@pytest.mark.parametrize(
    "truth, detections, message",
    [
        ([image()], [], "0 lists of rows do not fit 1 images"),
        ([image((square(0), 2))], [rows()], "image 0: truth of class 2 of 2"),
        ([image((square(0), -1))], [rows()], "image 0: truth of class -1 of 2"),
        ([image(), image()], [rows(), rows((square(0), 1, 3))], "image 1: rows of class 3 of 2"),
        ([image()], [np.zeros((3, 5))], r"image 0: rows \(3, 5\)"),
        ([image((square(0), 0), area=np.ones(2))], [rows()], r"image 0: area \(2,\)"),
        ([image((square(0), 0), boxes=np.ones((1, 5)))], [rows()], r"image 0: boxes \(1, 5\)"),
    ],
)
def test_what_does_not_fit_is_named(truth, detections, message):
    with pytest.raises(ValueError, match=message):
        average_precision(truth, detections, 2)
